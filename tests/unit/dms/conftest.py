"""Small feeders whose answers can be reasoned about, shared by the tests of `dms`."""

from collections.abc import Callable, Sequence
from math import sqrt

import numpy as np
import pytest

from dms import DmsRequest
from feeders import ABSENT, EARTH, Connections, Draft, Feeder, Lines, Loads, Sources, Switches
from feeders import Transformers, WindingPairs, Windings
from feeders.elements.sources import balanced_emf_v
from feeders.elements.transformers import delta_pairs, wye_pairs
from feeders.library.parts import add_transformer, float_s, padded, source_ohm

Z_3 = padded(np.full((3, 3), 0.02 + 0.06j) + np.diag([0.10 + 0.21j, 0.11 + 0.20j, 0.12 + 0.22j]))
C_3 = padded(np.full((3, 3), -4.0) + np.eye(3) * 40.0)
Z_4 = np.full((4, 4), 0.002 + 0.003j) + np.diag([0.010 + 0.006j, 0.011 + 0.006j, 0.012 + 0.006j, 0.02 + 0.01j])
C_4 = np.full((4, 4), -3.0) + np.eye(4) * 30.0

Street = Callable[..., Feeder]
STREET_V = 240.0


def _source(draft: Draft, bus: str, v_ll_kv: float) -> None:
    z_ohm = source_ohm(v_ll_kv, s_3ph_mva=500.0, s_1ph_mva=400.0)
    node = draft.phases(bus, width=3)
    draft.add(Sources, name=f"source {bus}", node=node, z_ohm=z_ohm, e_v=balanced_emf_v(v_ll_kv, 1.02))


def _line(draft: Draft, name: str, start: Sequence[int], end: Sequence[int], i_max_a: float, km: float = 1.0) -> None:
    """A line between given nodes, -1 where a conductor is absent; three wires, or four if the neutral is there."""
    here = np.array([a != ABSENT and b != ABSENT for a, b in zip(start, end, strict=True)])
    z, c = (Z_4, C_4) if here[3] or here.sum() < 3 else (Z_3, C_3)
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
    rated = [400.0] * 3 + [np.nan]
    draft.add(Switches, name="breaker", from_node=m, to_node=n, z_ohm=1e-4 + 1e-4j, i_max_a=rated)
    draft.add(Switches, name="tie", from_node=s, to_node=n, z_ohm=1e-4 + 1e-4j, closed=False, i_max_a=rated)
    dd = [(delta_pairs(n[:3], lag=False), 12.47), (delta_pairs(d[:3], lag=False), 4.16)]
    add_transformer(draft, "dd", 2000.0, dd, r_pct=1.0, x_pct=6.0)
    _line(draft, "mid", d, e, 600.0, km=3.0)
    row = draft.add(Transformers, name="dy", s_kva=750.0)
    for k, (pair, kv) in enumerate([(delta_pairs(e[:3], lag=True), 4.16), (wye_pairs(lv[:3], lv[3]), 0.48 / sqrt(3))]):
        rest = {"r_pct": 0.6, "tap": 1.025 - 0.0125 * k, "i_max_a": (80.0, 900.0)[k], "float_s": float_s(750.0, kv)}
        draft.add(Windings, transformer=row, winding=k, pair=pair, v_coil_kv=kv, **rest)
    draft.add(WindingPairs, transformer=row, winding_a=0, winding_b=1, x_pct=5.0)
    _line(draft, "rod", [ABSENT] * 3 + [lv[3]], [ABSENT] * 3 + [EARTH], np.nan, km=5.0)
    _line(draft, "main", lv, far, 500.0, km=0.5)
    _line(draft, "two", [far[0], far[1], ABSENT, ABSENT], two, 200.0)
    _line(draft, "one", [ABSENT, ABSENT, far[2], far[3]], one, 150.0)
    for name, pair, p_kw, q_kvar in (
        ("wye", (far[0], far[3]), 20.0, 8.0),
        ("to earth", (far[1], EARTH), 15.0, 4.0),
        ("delta", (far[1], far[2]), 18.0, -3.0),
        ("primary", (e[0], e[1]), 150.0, 60.0),
    ):
        draft.add(Loads, name=name, pair=pair, p_kw=p_kw, q_kvar=q_kvar)
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
