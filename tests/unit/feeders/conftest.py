"""A small feeder that has one of everything."""

from math import sqrt

import numpy as np
import pytest

from feeders import Connections, Draft, Feeder, Lines, Loads, Sources, Switches
from feeders.elements.sources import balanced_emf_v
from feeders.elements.transformers import delta_pairs, wye_pairs
from feeders.library.parts import add_transformer, padded, source_ohm

HIGH_KV, LOW_KV = 12.47, 0.48
Z_OHM = padded(np.full((3, 3), 0.02 + 0.05j) + np.eye(3) * (0.1 + 0.2j))
C_NF = padded(np.full((3, 3), -1.0) + np.eye(3) * 10.0)


def _line(draft: Draft, name: str, start: str, end: str) -> None:
    draft.add(
        Lines,
        name=name,
        from_node=draft.phases(start),
        to_node=draft.phases(end),
        z_ohm=Z_OHM,
        c_nf=C_NF,
        i_max_a=[400.0] * 3 + [np.nan],
        length_m=100.0,
    )


@pytest.fixture
def small() -> Feeder:
    """Source `s` - line `high` - `m` - switch - `n` - delta-wye - `lv` - line `low` - `end`: two loads."""
    draft = Draft("small", origin="tests")
    for name, v_ll_kv in (("s", HIGH_KV), ("m", HIGH_KV), ("n", HIGH_KV), ("lv", LOW_KV), ("end", LOW_KV)):
        draft.add_bus(name, v_base_kv=v_ll_kv / sqrt(3))
    z_ohm = source_ohm(HIGH_KV, s_3ph_mva=1000.0, s_1ph_mva=900.0)
    draft.add(Sources, name="grid", node=draft.phases("s", width=3), z_ohm=z_ohm, e_v=balanced_emf_v(HIGH_KV))
    _line(draft, "high", "s", "m")
    draft.add(
        Switches, name="breaker", from_node=draft.phases("m"), to_node=draft.phases("n"), z_ohm=1e-6 + 1e-6j
    )
    ends = [
        (delta_pairs(draft.phases("n", width=3), lag=True), HIGH_KV),
        (wye_pairs(draft.phases("lv", width=3)), LOW_KV / sqrt(3)),
    ]
    add_transformer(draft, "unit", 500.0, ends, r_pct=1.0, x_pct=5.0)
    _line(draft, "low", "lv", "end")
    a, b, _ = draft.phases("end", width=3)
    draft.add(Loads, name="wye", pair=[a, 0], p_kw=20.0, q_kvar=5.0)
    draft.add(Loads, name="delta", pair=[a, b], p_kw=30.0, q_kvar=10.0)
    draft.add(Connections, prosumer="home", pair=[a, 0], load="wye")
    return draft.finish()
