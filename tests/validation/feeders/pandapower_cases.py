"""Make the fixtures of `test_pandapower_voltages.py` with pandapower itself.

Run in an environment of its own (pandapower pins pandas), here with pandapower 3.5.6:

    python -m venv .venv-pandapower && .venv-pandapower/bin/pip install pandapower==3.5.6
    .venv-pandapower/bin/python tests/validation/feeders/pandapower_cases.py

Each fixture is `pp.to_json` of a network without its results, and the voltages that `runpp_3ph` (or `runpp`
for balanced cases) finds: {"network": ..., "kind": "3ph" | "balanced", "voltages": {bus index: [[magnitude
per unit, degrees], ...]}}, gzipped.
"""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandapower as pp
import pandapower.networks as pn

FOLDER = Path(__file__).parent / "pandapower"
STIFF_MVA = 1e7
LINE = {"r_ohm_per_km": 0.32, "x_ohm_per_km": 0.083, "c_nf_per_km": 210.0, "max_i_ka": 0.27}
ZERO = {"r0_ohm_per_km": 0.95, "x0_ohm_per_km": 0.31, "c0_nf_per_km": 120.0}


def small(group: str, shift: float, *, n_lv: int = 2, tap: int = 0, **trafo: Any) -> Any:
    """20 kV source, line, transformer, two low-voltage lines with unequal loads."""
    net = pp.create_empty_network(f_hz=50.0, sn_mva=1.0)
    high = [pp.create_bus(net, 20.0, name=f"h{k}") for k in range(2)]
    low = [pp.create_bus(net, 0.4, name=f"l{k}") for k in range(n_lv + 1)]
    pp.create_ext_grid(
        net, high[0], vm_pu=1.02, s_sc_max_mva=STIFF_MVA, rx_max=0.1, x0x_max=1.0, r0x0_max=0.1
    )
    pp.create_line_from_parameters(net, high[0], high[1], length_km=3.0, **LINE, **ZERO)
    zero = {
        "vk0_percent": 5.0,
        "vkr0_percent": 1.6,
        "mag0_percent": 80.0,
        "mag0_rx": 0.3,
        "si0_hv_partial": 0.8,
    }
    given = {"vk_percent": 6.0, "vkr_percent": 1.4, "pfe_kw": 1.2, "i0_percent": 0.4, **zero, **trafo}
    pp.create_transformer_from_parameters(
        net,
        high[1],
        low[0],
        sn_mva=0.63,
        vn_hv_kv=20.0,
        vn_lv_kv=0.41,
        shift_degree=shift,
        vector_group=group,
        tap_side="hv",
        tap_neutral=0,
        tap_min=-2,
        tap_max=2,
        tap_step_percent=2.5,
        tap_pos=tap,
        tap_changer_type="Ratio",
        **given,
    )
    for a, b in pairwise(low):
        pp.create_line_from_parameters(net, a, b, length_km=0.2, parallel=1 + (a == low[0]), **LINE, **ZERO)
    pp.create_asymmetric_load(
        net, low[-1], p_a_mw=0.03, p_b_mw=0.01, p_c_mw=0.02, q_a_mvar=0.01, q_c_mvar=0.004
    )
    pp.create_asymmetric_load(net, low[1], p_a_mw=0.012, p_b_mw=0.0, p_c_mw=0.02, q_b_mvar=0.01, type="delta")
    pp.create_load(net, low[-1], p_mw=0.02, q_mvar=0.005, scaling=0.8)
    pp.create_asymmetric_sgen(net, low[1], p_a_mw=0.0, p_b_mw=0.015, p_c_mw=0.0, q_b_mvar=-0.002)
    pp.create_sgen(net, low[-1], p_mw=0.009, type="wye")  # without a type, runpp_3ph leaves it out
    return net


def balanced() -> Any:
    """Dd and Yd transformers, switches of every kind, a shunt, load models, a part out of service."""
    net = pp.create_empty_network(f_hz=50.0)
    b = [pp.create_bus(net, 20.0) for _ in range(6)] + [pp.create_bus(net, 0.4) for _ in range(3)]
    pp.create_ext_grid(net, b[0], vm_pu=1.01, va_degree=5.0)
    for k, (a, c) in enumerate([(0, 1), (1, 2), (2, 3), (3, 0)]):
        pp.create_line_from_parameters(net, b[a], b[c], length_km=2.0 + k, parallel=1 + k % 2, **LINE, df=0.9)
    pp.create_switch(net, b[3], 3, et="l", closed=False)
    pp.create_switch(net, b[0], 0, et="l", closed=True)
    pp.create_switch(net, b[3], b[4], et="b", closed=True)
    pp.create_switch(net, b[4], b[5], et="b", closed=True, z_ohm=0.05)
    for lv, (shift, group) in enumerate([(0, "Dd"), (30, "YNd"), (150, "Dyn")]):
        pp.create_transformer_from_parameters(
            net, b[3 + lv], b[6 + lv], sn_mva=0.4, vn_hv_kv=20.0, vn_lv_kv=0.4,
            vk_percent=4.0, vkr_percent=1.2, pfe_kw=0.9, i0_percent=0.3, shift_degree=shift,
            vector_group=group, parallel=1 + (lv == 1),
            tap_side="lv" if lv == 2 else "hv", tap_neutral=0, tap_step_percent=2.5, tap_pos=lv - 1,
            tap_changer_type="Ratio",
        )  # fmt: skip
    pp.create_switch(net, b[5], 2, et="t", closed=True)
    for k in (6, 7):  # behind Dd and YNd nothing but a cable ties phases to earth
        b.append(pp.create_bus(net, 0.4))
        pp.create_line_from_parameters(net, b[k], b[-1], length_km=0.1, parallel=2, **LINE)
    pp.create_load(net, b[9], p_mw=0.1, q_mvar=0.02, type="delta")
    pp.create_load(
        net,
        b[10],
        p_mw=0.2,
        q_mvar=0.05,
        type="delta",
        const_z_p_percent=30,
        const_z_q_percent=20,
        const_i_p_percent=20,
    )
    pp.create_load(net, b[8], p_mw=0.15, q_mvar=0.03)
    pp.create_load(net, b[8], p_mw=9.0, q_mvar=3.0, in_service=False)
    pp.create_sgen(net, b[8], p_mw=0.05, q_mvar=0.01)
    pp.create_shunt(net, b[2], q_mvar=-0.3, p_mw=0.01, step=2)
    return net


def ieee_lv() -> Any:
    """The IEEE European low-voltage feeder at its peak, its source stiff."""
    net = pn.ieee_european_lv_asymmetric("on_peak_566")
    net.ext_grid["s_sc_max_mva"] = STIFF_MVA
    net.sn_mva = 1.0  # on its own base of 100 MVA runpp_3ph ends 2e-6 pu away, whatever the tolerance
    return net


def voltages(net: Any, kind: str) -> dict[int, list[list[float]]]:
    """Solve and list phase voltages by bus."""
    if kind == "balanced":
        pp.runpp(net, calculate_voltage_angles=True, tolerance_mva=1e-10, numba=False)
        table = net.res_bus[["vm_pu", "va_degree"]].dropna()
        return {int(k): [[round(v, 10), round(a, 8)]] for k, v, a in table.itertuples()}
    pp.runpp_3ph(net, tolerance_mva=1e-10, numba=False, max_iteration=200)
    table = net.res_bus_3ph[
        [f"{q}_{p}_{u}" for p in "abc" for q, u in (("vm", "pu"), ("va", "degree"))]
    ].dropna()
    return {
        int(r[0]): [[round(r[1 + 2 * k], 10), round(r[2 + 2 * k], 8)] for k in range(3)]
        for r in table.itertuples()
    }


def main() -> None:
    """Write every fixture."""
    FOLDER.mkdir(exist_ok=True)
    cases = {
        "dyn5": (small("Dyn", 150.0), "3ph"),
        "dyn1_tap": (small("Dyn", 30.0, tap=-1, parallel=2), "3ph"),
        "dyn11_equal": (
            small("Dyn", -30.0, vk0_percent=6.0, vkr0_percent=1.4, i0_percent=0.0, pfe_kw=0.0),
            "3ph",
        ),
        "ynyn0": (small("YNyn", 0.0, tap=2), "3ph"),
        "ynyn6": (small("YNyn", 180.0), "3ph"),
        "yzn5": (small("Yzn", 150.0, vk0_percent=2.0, vkr0_percent=0.5), "3ph"),
        "balanced": (balanced(), "balanced"),
        "ieee_lv": (ieee_lv(), "3ph"),
    }
    for name, (net, kind) in cases.items():
        plain = json.loads(pp.to_json(net))
        found = voltages(net, kind)
        if name == "ieee_lv":  # every twentieth bus is enough to see a difference
            found = {k: v for k, v in found.items() if k % 20 == 0}
        for key in [
            k
            for k in plain["_object"]
            if k.startswith(("res_", "_")) or k in ("std_types", "user_pf_options")
        ]:
            del plain["_object"][key]
        text = json.dumps({"kind": kind, "network": plain, "voltages": found}, separators=(",", ":"))
        path = FOLDER / f"{name}.json.gz"
        path.write_bytes(gzip.compress(text.encode(), 9, mtime=0))
        print(f"{path.name}: {path.stat().st_size} bytes, {len(found)} buses")


if __name__ == "__main__":
    main()
