"""Primitive admittances against those of OpenDSS, element by element, 1e-8 of the largest entry."""

from math import sqrt
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feeders import Draft, Feeder, Lines, Sources, Switches, Transformers, WindingPairs, Windings, library
from feeders.elements import Primitive, primitives
from feeders.elements.sources import balanced_emf_v
from feeders.elements.transformers import delta_pairs, wye_pairs
from feeders.library.ieee4 import NEUTRAL, PHASE, POLE_H_FT, POLE_X_FT
from feeders.library.parts import FT_M, float_s, overhead, padded, source_ohm

TOLERANCE = 1e-8

R = [[0.31, 0.12, 0.11], [0.12, 0.33, 0.13], [0.11, 0.13, 0.32]]
X = [[0.92, 0.41, 0.36], [0.41, 0.95, 0.43], [0.36, 0.43, 0.93]]
C = [[12.0, -3.0, -1.5], [-3.0, 13.0, -2.8], [-1.5, -2.8, 12.5]]


@pytest.fixture
def engine(opendss: Any) -> Any:
    """OpenDSS with an empty 60 Hz circuit."""
    opendss.run("clear", "set defaultbasefrequency=60")
    opendss.run("new circuit.c basekv=12.47 phases=3 bus1=a mvasc3=2000 mvasc1=2100")
    return opendss


def on_nodes(primitive: Primitive, names: list[str], feeder: Feeder) -> np.ndarray:
    """The primitive admittance of the first element, added up on the named nodes."""
    at = [feeder.node(name) for name in names]
    place = (primitive.node[0][:, None] == at).astype(float)
    return np.asarray(place.T @ primitive.yprim_s()[0] @ place)


def assert_equal(ours: np.ndarray, theirs: np.ndarray, tolerance: float = TOLERANCE) -> None:
    assert np.abs(ours - theirs).max() <= tolerance * np.abs(theirs).max()


def matrix(values: list[list[float]]) -> str:
    return "[" + " | ".join(" ".join(map(str, row)) for row in values) + "]"


def two_buses(*terminals: int) -> tuple[Draft, list[str]]:
    draft = Draft("two")
    for bus in "ab":
        draft.add_bus(bus, v_base_kv=7.2)
    return draft, [f"{bus}.{t}" for bus in "ab" for t in terminals]


def test_line(engine: Any) -> None:
    engine.run(
        f"new line.l bus1=a bus2=b length=2.5 units=km rmatrix={matrix(R)} xmatrix={matrix(X)}",
        f"line.l.cmatrix={matrix(C)}",
        "solve",
    )
    draft, names = two_buses(1, 2, 3)
    z_ohm = padded(np.array(R) + 1j * np.array(X)) * 2.5
    ends = {"from_node": draft.phases("a"), "to_node": draft.phases("b")}
    draft.add(Lines, name="l", z_ohm=z_ohm, c_nf=padded(np.array(C)) * 2.5, **ends)
    feeder = draft.finish()
    assert_equal(on_nodes(primitives(feeder)[0], names, feeder), engine.yprim("line.l"))


def test_two_phase_line_in_any_slots(engine: Any) -> None:
    r, x = [row[:2] for row in R[:2]], [row[:2] for row in X[:2]]
    engine.run(
        "new line.l phases=2 bus1=a.1.3 bus2=b.1.3 length=1 units=km",
        f"line.l.rmatrix={matrix(r)}",
        f"line.l.xmatrix={matrix(x)}",
        "line.l.cmatrix=[0 0 | 0 0]",
        "solve",
    )
    draft, names = two_buses(1, 3)
    z_ohm = np.zeros((4, 4), dtype=complex)
    z_ohm[np.ix_([0, 2], [0, 2])] = np.array(r) + 1j * np.array(x)
    from_node, to_node = ([draft.node(bus, 1), -1, draft.node(bus, 3), -1] for bus in "ab")
    draft.add(Lines, name="l", z_ohm=z_ohm, from_node=from_node, to_node=to_node)
    feeder = draft.finish()
    assert_equal(on_nodes(primitives(feeder)[0], names, feeder), engine.yprim("line.l"))


def test_switch(engine: Any) -> None:
    engine.run(
        "new line.s bus1=a bus2=b switch=yes r1=1e-6 r0=1e-6 x1=1e-6 x0=1e-6 c1=0 c0=0 length=1", "solve"
    )
    draft, names = two_buses(1, 2, 3)
    ends = {"from_node": draft.phases("a"), "to_node": draft.phases("b")}
    draft.add(Switches, name="s", z_ohm=1e-6 + 1e-6j, **ends)
    feeder = draft.finish()
    assert_equal(on_nodes(primitives(feeder)[0], names, feeder), engine.yprim("line.s"))


def test_source(engine: Any) -> None:
    engine.run("solve")
    draft, names = two_buses(1, 2, 3)
    z_ohm = source_ohm(12.47, s_3ph_mva=2000.0, s_1ph_mva=2100.0)
    draft.add(Sources, name="s", node=draft.phases("a", width=3), z_ohm=z_ohm, e_v=balanced_emf_v(12.47))
    feeder = draft.finish()
    assert_equal(on_nodes(primitives(feeder)[0], names[:3], feeder), engine.yprim("vsource.source")[:3, :3])


def test_overhead_line_from_wires_and_pole(engine: Any) -> None:
    """The engine's mu0 has seven digits, hence the wider tolerance."""
    engine.run("set earthmodel=carson")
    for name, wire in (("phase", PHASE), ("neutral", NEUTRAL)):
        engine.run(
            f"new wiredata.{name} runits=mi rac={wire.r_ohm_per_mile} gmrunits=ft gmrac={wire.gmr_ft} "
            f"radunits=in diam={wire.diameter_in}"
        )
    engine.run("new linegeometry.pole nconds=4 nphases=3 reduce=yes")
    for k, (x, h) in enumerate(zip(POLE_X_FT, POLE_H_FT, strict=True)):
        wire = "phase" if k < 3 else "neutral"
        engine.run(f"linegeometry.pole.cond={k + 1}", f"~ wire={wire} units=ft x={x} h={h}")
    engine.run("new line.l bus1=a bus2=b geometry=pole length=2000 units=ft", "solve")
    z, p = overhead([PHASE] * 3 + [NEUTRAL], POLE_X_FT, POLE_H_FT, frequency_hz=60.0)
    draft, names = two_buses(1, 2, 3)
    length_m = 2000 * FT_M
    ends = {"from_node": draft.phases("a"), "to_node": draft.phases("b")}
    c_nf = padded(np.linalg.inv(p)) * length_m * 1e9
    draft.add(Lines, name="l", z_ohm=padded(z) * length_m, c_nf=c_nf, **ends)
    feeder = draft.finish()
    assert_equal(on_nodes(primitives(feeder)[0], names, feeder), engine.yprim("line.l"), 1e-7)


CONNECTIONS = {"delta-delta": "dd", "delta-wye": "dy", "wye-delta": "yd", "wye-wye": "yy"}


def coil(kind: str, nodes: list[int], v_ll_kv: float, lag: bool) -> tuple[np.ndarray, float]:
    if kind == "y":
        return wye_pairs(nodes), v_ll_kv / sqrt(3)
    return delta_pairs(nodes, lag=lag), v_ll_kv


@pytest.mark.parametrize("taps", [(1.0, 1.0), (0.95, 1.0), (1.0, 1.0375)])
@pytest.mark.parametrize("kinds", CONNECTIONS.values(), ids=CONNECTIONS.keys())
def test_two_winding_transformer(engine: Any, kinds: str, taps: tuple[float, float]) -> None:
    names = {"d": "delta", "y": "wye"}
    engine.run(
        "new transformer.t phases=3 windings=2 buses=(a b) kvs=(12.47 0.48) kvas=(750 750) xhl=5.75 "
        f"conns=({names[kinds[0]]} {names[kinds[1]]}) %rs=(0.4 0.7) taps=({taps[0]} {taps[1]})",
        "solve",
    )
    draft, nodes = two_buses(1, 2, 3)
    row = draft.add(Transformers, name="t", s_kva=750.0)
    for k, (bus, v_ll_kv, r_pct) in enumerate((("a", 12.47, 0.4), ("b", 0.48, 0.7))):
        # The low side lags: with the delta above, its coils are A-C, B-A, C-B; below, A-B, B-C, C-A.
        pair, v_kv = coil(kinds[k], draft.phases(bus, width=3), v_ll_kv, lag=kinds == "dy")
        fixed = {"transformer": row, "winding": k, "r_pct": r_pct, "tap": taps[k]}
        draft.add(Windings, pair=pair, v_coil_kv=v_kv, float_s=float_s(750.0, v_kv) / taps[k] ** 2, **fixed)
    draft.add(WindingPairs, transformer=row, winding_a=0, winding_b=1, x_pct=5.75)
    feeder = draft.finish()
    phases = [0, 1, 2, 4, 5, 6]  # the fourth conductor of each side is an earthed neutral or nothing
    theirs = engine.yprim("transformer.t")
    assert_equal(on_nodes(primitives(feeder)[0], nodes, feeder), theirs[np.ix_(phases, phases)])


def test_centre_tapped_transformer(engine: Any) -> None:
    """Three windings: one high, two halves of 120 V in opposite sense."""
    engine.run(
        "new transformer.t phases=1 windings=3 buses=(a.1.0 b.1.0 b.0.2) kvs=(7.2 0.12 0.12) "
        "kvas=(25 25 25) %rs=(0.6 1.2 1.2) xhl=2.04 xht=2.04 xlt=1.36 ppm_antifloat=0",
        "solve",
    )
    draft, _ = two_buses(1)
    high, one, two = draft.node("a", 1), draft.node("b", 1), draft.node("b", 2)
    row = draft.add(Transformers, name="t", s_kva=25.0)
    ends = [([high, 0], 7.2, 0.6), ([one, 0], 0.12, 1.2), ([0, two], 0.12, 1.2)]
    for k, (pair, v_kv, r_pct) in enumerate(ends):
        legs = [pair, [-1, -1], [-1, -1]]
        draft.add(Windings, transformer=row, winding=k, pair=legs, v_coil_kv=v_kv, r_pct=r_pct)
    for a, b, x_pct in ((0, 1, 2.04), (0, 2, 2.04), (1, 2, 1.36)):
        draft.add(WindingPairs, transformer=row, winding_a=a, winding_b=b, x_pct=x_pct)
    feeder = draft.finish()
    live = [0, 2, 5]
    theirs = engine.yprim("transformer.t")[np.ix_(live, live)]
    assert_equal(on_nodes(primitives(feeder)[0], ["a.1", "b.1", "b.2"], feeder), theirs)


def test_ieee342_elements(opendss: Any, feeder_folder: Any) -> None:
    """Every line of the merged form and every transformer, against the published circuit."""
    opendss.compile(feeder_folder("LVTestCaseNorthAmerican") / "Master.dss")
    feeder = library.load("ieee342")
    theirs = _sum_by_ends(opendss)
    for p in primitives(feeder):
        if p.kind not in ("line", "transformer"):
            continue
        yprim = p.yprim_s()
        for k, name in enumerate(p.element):
            start, end = name.split("-")
            at = [feeder.node(f"{bus}.{t}") for bus in (start, end) for t in (1, 2, 3)]
            place = (p.node[k][:, None] == at).astype(float)
            # Tabulated constants have eight decimals, 5e-8 of the smallest series entry.
            assert_equal(place.T @ yprim[k] @ place, theirs[start.lower(), end.lower()], 2e-7)


def _sum_by_ends(engine: Any) -> dict[tuple[str, str], np.ndarray]:
    """Admittance between two buses, phases only, parallel elements added up."""
    circuit = engine.engine.ActiveCircuit
    found: dict[tuple[str, str], np.ndarray] = {}
    for name in circuit.AllElementNames:
        kind = Path(name).stem.lower() if "." in name else name
        if kind not in ("line", "transformer"):
            continue
        y = engine.yprim(name)
        buses = tuple(bus.split(".")[0].lower() for bus in circuit.ActiveCktElement.BusNames)
        width = len(y) // 2
        phases = [*range(3), *range(width, width + 3)]
        found[buses] = found.get(buses, 0) + y[np.ix_(phases, phases)]
    return found
