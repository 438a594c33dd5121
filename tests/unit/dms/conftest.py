"""Small feeders whose answers can be reasoned about, shared by the tests of `dms`."""

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
import pytest

from feeders import (
    ABSENT,
    EARTH,
    Connections,
    Draft,
    Feeder,
    Lines,
    Loads,
    Sources,
    Switches,
    Transformers,
    WindingPairs,
    Windings,
)
from feeders.elements import Admittances, Capacitors, Generators, Reactors
from feeders.elements.sources import balanced_emf_v
from feeders.elements.transformers import delta_pairs, wye_pairs
from feeders.library.parts import add_transformer, float_s, padded, source_ohm

Z_3 = padded(np.full((3, 3), 0.02 + 0.06j) + np.diag([0.10 + 0.21j, 0.11 + 0.20j, 0.12 + 0.22j]))
C_3 = padded(np.full((3, 3), -4.0) + np.eye(3) * 40.0)
Z_4 = np.full((4, 4), 0.002 + 0.003j) + np.diag(
    [0.010 + 0.006j, 0.011 + 0.006j, 0.012 + 0.006j, 0.02 + 0.01j]
)
C_4 = np.full((4, 4), -3.0) + np.eye(4) * 30.0

Street = Callable[..., Feeder]
STREET_V = 240.0
"""Voltage of the ideal source of a `street`."""


def _source(draft: Draft, bus: str, v_ll_kv: float) -> list[int]:
    z_ohm = source_ohm(v_ll_kv, s_3ph_mva=500.0, s_1ph_mva=400.0)
    node = draft.phases(bus, width=3)
    draft.add(Sources, name=f"source {bus}", node=node, z_ohm=z_ohm, e_v=balanced_emf_v(v_ll_kv, 1.02))
    return node


def _line(
    draft: Draft, name: str, start: Sequence[int], end: Sequence[int], i_max_a: float, km: float = 1.0
) -> None:
    """A line between given nodes, -1 where a conductor is absent."""
    here = np.array([ABSENT not in ends for ends in zip(start, end, strict=True)])
    z, c = (Z_3, C_3) if here.tolist() == [True] * 3 + [False] else (Z_4, C_4)
    both = np.outer(here, here)
    draft.add(
        Lines,
        name=name,
        from_node=start,
        to_node=end,
        z_ohm=np.where(both, z * km, 0),
        c_nf=np.where(both, c * km, 0),
        i_max_a=np.where(here, i_max_a, np.nan),
        length_m=1e3 * km,
    )


def _add_followers(draft: Draft, e: Sequence[int], far: Sequence[int]) -> None:
    """A load of every model that follows the voltage, and generators of each, in and out of their band."""
    band = {"v_low_pu": 0.5, "v_min_pu": 0.95, "v_max_pu": 1.05}
    high, low = ((e[1], e[2]), 4.16), ((far[1], far[3]), 0.48 / sqrt(3))
    for model, (pair, v_nom_kv), more in (
        ("constant_power", low, {**band, "v_max_pu": 0.96}),
        ("constant_power", high, {**band, "v_min_pu": 1.04}),
        ("constant_impedance", low, {}),
        ("constant_current", low, band),
        ("constant_current", high, {**band, "v_min_pu": 1.06, "v_max_pu": 1.1}),
        ("cvr", low, {**band, "cvr_p": 0.8, "cvr_q": 2.7}),
        ("cvr", high, {**band, "cvr_p": 2.0, "cvr_q": 1.4}),
        ("zip", low, {**band, "zip": (0.5, 0.3, 0.2, 0.1, 0.7, 0.2), "v_cutoff_pu": 0.6}),
        ("fixed_q", high, band),
        ("fixed_x", low, band),
    ):
        name = f"{model} at {v_nom_kv:.2f} kV, {more.get('v_max_pu', '-')}"
        draft.add(Loads, name=name, pair=pair, v_nom_kv=v_nom_kv, model=model, p_kw=6.0, q_kvar=2.0, **more)
    for model, (pair, v_nom_kv), more in (
        ("constant_power", low, {}),
        ("constant_power", high, {"v_min_pu": 0.8, "v_max_pu": 0.9}),
        ("constant_current", low, {"v_min_pu": 0.8, "v_max_pu": 1.2}),
        ("constant_impedance", high, {}),
    ):
        row = {"unit": model, "name": f"{model} {v_nom_kv:.2f}", "pair": pair, "v_nom_kv": v_nom_kv}
        draft.add(Generators, **row, model=model, p_kw=5.0, q_kvar=-1.0, **more)


def _add_shunts(draft: Draft, e: Sequence[int], lv: Sequence[int], far: Sequence[int]) -> None:
    """A delta bank with series impedance and two of three steps in, a wye unit, reactors, fixed entries."""
    bank = {"kvar": 20.0, "v_nom_kv": 4.16, "steps": 3, "steps_on": 2, "z_ohm": 0.1 + 2.0j}
    draft.add(Capacitors, name="bank", pair=(e[0], e[1]), **bank)
    draft.add(Capacitors, name="unit", pair=(far[0], far[3]), kvar=3.0, v_nom_kv=0.277)
    draft.add(Reactors, name="phase", pair=(e[1], e[2]), z_ohm=20 + 900j, g_s=1e-5)
    draft.add(Reactors, name="ground", pair=(lv[3], EARTH), z_ohm=0.5 + 0.2j)
    for to, of, y_s in ((0, 0, 2e-3 - 1e-3j), (0, 1, -1e-3 + 4e-4j), (1, 0, -1e-3 + 4e-4j), (1, 1, 2e-3)):
        draft.add(Admittances, element="box", to_node=far[to], of_node=far[of], y_s=y_s)


@pytest.fixture(scope="session")
def zoo() -> Feeder:
    """One of every device, and of every way to connect it.

    s - line - m - breaker (and an open tie) - n - delta-delta - d - line - e - delta-wye - lv, whose
    neutral is earthed through a rod - four wires - far - two phases - two, and one phase with neutral - one
    """
    draft = Draft("zoo", frequency_hz=50.0)
    levels = {"s": 12.47, "m": 12.47, "n": 12.47, "d": 4.16, "e": 4.16, "lv": 0.48, "far": 0.48, "two": 0.48}
    for bus, v_ll_kv in {**levels, "one": 0.48}.items():
        draft.add_bus(bus, v_base_kv=v_ll_kv / sqrt(3))
    s, m, n, d, e = (draft.phases(bus) for bus in "smnde")
    lv, far = (draft.phases(bus, (1, 2, 3, 4)) for bus in ("lv", "far"))
    two = [draft.node("two", 1), draft.node("two", 2), ABSENT, ABSENT]
    one = [ABSENT, ABSENT, draft.node("one", 3), draft.node("one", 4)]
    _source(draft, "s", 12.47)
    _line(draft, "high", s, m, 300.0)
    poles = {"to_node": n, "z_ohm": 1e-4 + 1e-4j, "i_max_a": [400.0] * 3 + [np.nan]}
    draft.add(Switches, name="breaker", from_node=m, c_nf=C_3 / 10, **poles)
    draft.add(Switches, name="tie", from_node=s, closed=False, c_nf=C_3 / 20, **poles)
    ends = [(delta_pairs(n[:3], lag=False), 12.47), (delta_pairs(d[:3], lag=False), 4.16)]
    add_transformer(draft, "dd", 2000.0, ends, r_pct=1.0, x_pct=6.0)
    _line(draft, "mid", d, e, 600.0, km=3.0)
    _tapped(draft, delta_pairs(e[:3], lag=True), wye_pairs(lv[:3], lv[3]))
    _line(draft, "rod", [ABSENT] * 3 + [lv[3]], [ABSENT] * 3 + [EARTH], np.nan, km=5.0)
    _line(draft, "main", lv, far, 500.0, km=0.5)
    _line(draft, "two", [far[0], far[1], ABSENT, ABSENT], two, 200.0)
    _line(draft, "one", [ABSENT, ABSENT, far[2], far[3]], one, 200.0)
    _add_shunts(draft, e, lv, far)
    for name, pair, p_kw, q_kvar in (
        ("wye", (far[0], far[3]), 20.0, 8.0),
        ("to earth", (far[1], EARTH), 15.0, 4.0),
        ("delta", (far[1], far[2]), 18.0, -3.0),
        ("primary", (e[0], e[1]), 150.0, 60.0),
    ):
        draft.add(Loads, name=name, pair=pair, p_kw=p_kw, q_kvar=q_kvar)
    _add_followers(draft, e, far)
    for prosumer, pair, share in (
        ("wye", (far[0], far[3]), 1.0),
        ("three", (lv[0], lv[3]), 0.5),
        ("delta", (far[1], far[2]), 1.0),
        ("three", (lv[1], lv[3]), 0.3),
        ("to earth", (two[1], EARTH), 1.0),
        ("three", (lv[2], lv[3]), 0.2),
        ("one", (one[2], one[3]), 1.0),
    ):
        draft.add(Connections, prosumer=prosumer, pair=pair, share=share)
    return draft.finish()


@pytest.fixture(scope="session")
def controllable(zoo: Feeder) -> Feeder:
    """The zoo with both transformers between two steps of a tap changer of their own."""
    windings = zoo[Windings]
    steps = np.array([20, 16, 32, 32])
    return zoo.with_tables(windings.replace(tap_steps=steps, tap_min=np.full(4, 0.9)))


@pytest.fixture(scope="session")
def zoo_backwards(zoo: Feeder) -> Feeder:
    """The zoo with every line and switch written from its other end, the earthing rod from earth."""
    lines, switches = zoo[Lines], zoo[Switches]
    return zoo.with_tables(
        lines.replace(from_node=lines.to_node, to_node=lines.from_node),
        switches.replace(from_node=switches.to_node, to_node=switches.from_node),
    )


def _tapped(draft: Draft, high: np.ndarray, low: np.ndarray) -> None:
    """A 4.16/0.48 kV delta-wye unit off its nominal taps, with rated coils."""
    row = draft.add(Transformers, name="dy", s_kva=750.0)
    for k, (pair, kv) in enumerate([(high, 4.16), (low, 0.48 / sqrt(3))]):
        rest = {"r_pct": 0.6, "tap": 1.025 - 0.0125 * k, "i_max_a": (80.0, 900.0)[k]}
        rest["s_max_kva"] = (np.nan, 600.0)[k]
        rest["core_pct"] = (0.0, 0.4 - 0.9j)[k]
        shunt = float_s(750.0, kv)
        draft.add(Windings, transformer=row, winding=k, pair=pair, v_coil_kv=kv, float_s=shunt, **rest)
    draft.add(WindingPairs, transformer=row, winding_a=0, winding_b=1, x_pct=5.0)


@pytest.fixture(scope="session")
def three_winding() -> Feeder:
    """A delta-wye-wye unit beside a two-winding one: 12.47 kV to 0.48 and 0.24 kV."""
    draft = Draft("three windings")
    for bus, v_ll_kv in {"s": 12.47, "a": 0.48, "b": 0.24, "c": 0.48}.items():
        draft.add_bus(bus, v_base_kv=v_ll_kv / sqrt(3))
    s = _source(draft, "s", 12.47)
    row = draft.add(Transformers, name="unit", s_kva=300.0)
    pairs = [delta_pairs(s, lag=True), *(wye_pairs(draft.phases(bus, width=3)) for bus in "ab")]
    for k, (pair, kv) in enumerate(zip(pairs, (12.47, 0.48 / sqrt(3), 0.24 / sqrt(3)), strict=True)):
        i_max_a = (np.nan, 400.0, np.nan)[k]
        rest = {"r_pct": 0.4 + 0.1 * k, "i_max_a": i_max_a, "float_s": float_s(300.0, kv)}
        draft.add(Windings, transformer=row, winding=k, pair=pair, v_coil_kv=kv, **rest)
    for a, b, x_pct in ((0, 1, 4.0), (0, 2, 5.0), (1, 2, 3.0)):
        draft.add(WindingPairs, transformer=row, winding_a=a, winding_b=b, x_pct=x_pct)
    ends = [(pairs[0], 12.47), (wye_pairs(draft.phases("c", width=3)), 0.48 / sqrt(3))]
    add_transformer(draft, "other", 200.0, ends, r_pct=1.0, x_pct=5.0)
    for k, bus in enumerate("abc"):
        node = draft.phases(bus, width=3)
        draft.add(Loads, name=bus, pair=[node[0], node[1]], p_kw=30.0, q_kvar=10.0)
        draft.add(Connections, prosumer=bus, pair=[node[k], EARTH])
    return draft.finish()


@pytest.fixture(scope="session")
def street() -> Street:
    """`street(...)`: an ideal one-phase source of 240 V and a chain of cables, b0 - b1 - b2 - ...

    z_ohm, i_max_a, c_nf  of every section; homes, loads: (bus number, ...), loads with kW and kvar
    homes         bus of every connection; prosumer and share may be given beside it: (bus, name, share)
    against       write the sections from the far end to the source
    """

    def build(
        *,
        z_ohm: Sequence[complex] = (0.05 + 0.02j,),
        i_max_a: Sequence[float] = (100.0,),
        c_nf: float = 0.0,
        homes: Sequence[tuple] = ((1,), (1,)),
        loads: Sequence[tuple[int, float, float]] = (),
        against: bool = False,
    ) -> Feeder:
        draft = Draft("street")
        for k in range(len(z_ohm) + 1):
            draft.add_bus(f"b{k}", v_base_kv=STREET_V / 1e3)
        node = [draft.node(f"b{k}", 1) for k in range(len(z_ohm) + 1)]
        e_v = [STREET_V, 0.0, 0.0]
        first = [node[0], ABSENT, ABSENT]
        draft.add(Sources, name="source", node=first, z_ohm=np.zeros((3, 3)), e_v=e_v)
        for k, (z, i_max) in enumerate(zip(z_ohm, i_max_a, strict=True)):
            ends = [[n, ABSENT, ABSENT, ABSENT] for n in node[k : k + 2]]
            ends = ends[::-1] if against else ends
            one = padded(np.ones((1, 1)))
            rating = [i_max, np.nan, np.nan, np.nan]
            wire = {"z_ohm": z * one, "c_nf": c_nf * one, "i_max_a": rating}
            draft.add(Lines, name=f"c{k + 1}", from_node=ends[0], to_node=ends[1], **wire)
        for k, (bus, *rest) in enumerate(homes):
            name, share = rest or (f"h{k + 1}", 1.0)
            draft.add(Connections, prosumer=name, pair=[node[bus], EARTH], share=share)
        for k, (bus, p_kw, q_kvar) in enumerate(loads):
            draft.add(Loads, name=f"load{k + 1}", pair=[node[bus], EARTH], p_kw=p_kw, q_kvar=q_kvar)
        return draft.finish()

    return build
