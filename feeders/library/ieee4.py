"""IEEE 4-node test feeder: grounded wye - grounded wye step-down, balanced load.

Source of the figures: IEEE PES Distribution Test Feeders, "4 Node Test Feeder" (Kersting), and
the earth model, source strength and load voltage range of the public OpenDSS circuit
`4Bus-YY-Bal` (electricdss-tst, EPRI and DSS-Extensions, BSD-3).

    n1 --- 2000 ft --- n2 ---(6 MVA, 12.47/4.16 kV)--- n3 --- 2500 ft --- n4: 5400 kW, pf 0.9
"""

from __future__ import annotations

from math import sqrt

import numpy as np

from feeders.draft import Draft
from feeders.elements import Lines, Loads, Sources
from feeders.elements.sources import balanced_emf_v
from feeders.elements.transformers import wye_pairs
from feeders.feeder import Feeder
from feeders.library.parts import FT_M, Wire, add_transformer, overhead, padded, source_ohm

ORIGIN = "IEEE PES 4 Node Test Feeder, Y-Y step-down, balanced; earth and source as in OpenDSS 4Bus-YY-Bal"

V_HIGH_KV, V_LOW_KV = 12.47, 4.16
S_FAULT_MVA = 200_000.0  # three- and one-phase: an almost infinite bus
S_TRANSFORMER_KVA, R_PCT, X_PCT = 6000.0, 1.0, 6.0
P_PHASE_KW, POWER_FACTOR = 1800.0, 0.9

PHASE = Wire(gmr_ft=0.0244, r_ohm_per_mile=0.306, diameter_in=0.721, i_max_a=530.0)  # 336 400 26/7 ACSR
NEUTRAL = Wire(gmr_ft=0.00814, r_ohm_per_mile=0.592, diameter_in=0.563, i_max_a=340.0)  # 4/0 6/1 ACSR
POLE_X_FT = [-4.0, -1.5, 3.0, 0.0]
POLE_H_FT = [28.0, 28.0, 28.0, 24.0]


def build() -> Feeder:
    """The feeder; loads "0", "1", "2" are phases A, B, C of bus `n4`, 1800 kW each."""
    draft = Draft("ieee4", frequency_hz=60.0, origin=ORIGIN)
    for k, v_ll_kv in enumerate([V_HIGH_KV, V_HIGH_KV, V_LOW_KV, V_LOW_KV]):
        draft.add_bus(f"n{k + 1}", v_base_kv=v_ll_kv / sqrt(3), x=float(k), y=0.0)
    draft.add(
        Sources,
        name="source",
        node=draft.phases("n1", width=3),
        z_ohm=source_ohm(V_HIGH_KV, s_3ph_mva=S_FAULT_MVA, s_1ph_mva=S_FAULT_MVA),
        e_v=balanced_emf_v(V_HIGH_KV),
    )
    _add_line(draft, "n1", "n2", 2000 * FT_M)
    high = (wye_pairs(draft.phases("n2", width=3)), V_HIGH_KV / sqrt(3))
    low = (wye_pairs(draft.phases("n3", width=3)), V_LOW_KV / sqrt(3))
    add_transformer(draft, "n2-n3", S_TRANSFORMER_KVA, [high, low], r_pct=R_PCT, x_pct=X_PCT)
    _add_line(draft, "n3", "n4", 2500 * FT_M)
    q_kvar = P_PHASE_KW * sqrt(1 / POWER_FACTOR**2 - 1)
    for k, node in enumerate(draft.phases("n4", width=3)):
        draft.add(Loads, name=str(k), pair=[node, 0], p_kw=P_PHASE_KW, q_kvar=q_kvar)
    return draft.finish()


def _add_line(draft: Draft, start: str, end: str, length_m: float) -> None:
    z, p = overhead([PHASE] * 3 + [NEUTRAL], POLE_X_FT, POLE_H_FT, frequency_hz=draft.frequency_hz)
    draft.add(
        Lines,
        name=f"{start}-{end}",
        from_node=draft.phases(start),
        to_node=draft.phases(end),
        z_ohm=padded(z) * length_m,
        c_nf=padded(np.linalg.inv(p)) * length_m * 1e9,
        i_max_a=[PHASE.i_max_a] * 3 + [np.nan],
        length_m=length_m,
    )
