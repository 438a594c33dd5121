"""Volt-VAR on the IEEE 13-node feeder: set-points in OpenDSS, as fixed powers and under its InvControl."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dms import DmsSolution, Limits, Status, compile, solve
from feeders import EARTH, Connections, Feeder, Inverters

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("feeder_cases", HERE / "feeder_cases.py")
assert _spec is not None
assert _spec.loader is not None
feeder_cases = sys.modules["feeder_cases"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(feeder_cases)

ENGINE_PU = 1e-6
CURVE = ((0.95, 0.3), (1.0, 0.0), (1.02, 0.0), (1.08, -0.44))

Case = tuple[Path, Feeder, DmsSolution]


@pytest.fixture(scope="module")
def answers() -> dict[str, Any]:
    return {}


@pytest.fixture
def case(feeder_folder: Callable[[str], Path], answers: dict[str, Any]) -> Case:
    """PV at 60 % of the loads, asking for 8 times the load; inverters of 1.1 kVA per kW."""
    pytest.importorskip("dss", reason="needs dss_python: make setup")
    if not answers:
        given = feeder_cases.CASES["IEEE 13"]
        folder, file = given.master.split("/")
        master = feeder_folder(folder) / file
        placed = feeder_cases.Placed.read(given, master)
        rating = dict(zip(placed.feeder[Connections].prosumer, 1.1 * placed.p_export_kw, strict=True))
        feeder = Inverters("volt_var", volt_var=CURVE, s_kva=rating).on(placed.feeder)
        problem = compile(feeder, norm="l2", limits=Limits(v_min_pu=0.95, v_max_pu=1.06, current=False))
        solution = solve(problem, problem.request(placed.p_export_kw)).raise_for_status()
        answers["IEEE 13"] = master, feeder, solution
    found: Case = answers["IEEE 13"]
    return found


def _at(feeder: Feeder, k: int) -> str:
    """Bus and rated voltage of a connection, as OpenDSS writes them."""
    names, (a, b) = feeder.node_names, feeder[Connections].pair[k]
    bus, first = str(names[a]).rsplit(".", 1)
    second = "0" if b == EARTH else str(names[b]).rsplit(".", 1)[1]
    return f"phases=1 bus1={bus}.{first}.{second} kv={feeder[Connections].v_nom_kv[k]:.12g}"


def _gap_pu(engine: Any, feeder: Feeder, solution: DmsSolution) -> float:
    theirs = engine.voltages()
    ours = dict(zip(map(str, feeder.node_names), solution.state.flow.v / feeder.v_base_v, strict=True))
    base = dict(zip(map(str, feeder.node_names), feeder.v_base_v, strict=True))
    return float(max(abs(u / base[name] - ours[name]) for name, u in theirs.items()))


def _ready(engine: Any, master: Path) -> None:
    """The circuit with its regulators at rest."""
    engine.compile(master)
    engine.run("set mode=snapshot", "set maxiterations=100", "set maxcontroliter=100", "solve")
    engine.run("set controlmode=off")


def _fix(engine: Any, feeder: Feeder, solution: DmsSolution, k: int) -> None:
    """A unit as a load of negative constant power."""
    engine.run(
        f"new load.unit{k} {_at(feeder, k)} kw={-solution.p_adjusted_kw[k]:.12g} "
        f"kvar={-solution.q_kvar[k]:.12g} model=1 vminpu=0 vlowpu=0 vmaxpu=10 status=fixed"
    )


def test_the_curve_is_at_work(case: Case) -> None:
    _, feeder, solution = case
    assert solution.status is Status.CURTAILED
    part = solution.q_kvar / feeder[Connections].s_inverter_kva
    assert part.min() < -0.1


def test_voltages_at_our_set_points(case: Case, opendss: Any) -> None:
    master, feeder, solution = case
    _ready(opendss, master)
    for k in range(len(feeder[Connections])):
        _fix(opendss, feeder, solution, k)
    opendss.solve(1e-12)
    assert _gap_pu(opendss, feeder, solution) <= ENGINE_PU


def test_its_own_volt_var_control_comes_to_rest_where_we_do(case: Case, opendss: Any) -> None:
    """PVSystems of our ratings at our export, their Q by InvControl with the same curve.

    Units between two phases have their power fixed: InvControl reads the voltage of one phase to earth there.
    """
    master, feeder, solution = case
    _ready(opendss, master)
    x, y = np.array(CURVE).T
    t = feeder[Connections]
    x, y = (0.5, *x, 1.5), (y[0], *y, y[-1])
    points = " ".join(f"{v:.12g}" for v in x), " ".join(f"{q:.12g}" for q in y)
    opendss.run(f"new xycurve.vv npts={len(x)} xarray=({points[0]}) yarray=({points[1]})")
    to_earth = t.pair[:, 1] == EARTH
    assert to_earth.sum() >= 5
    for k, p in enumerate(solution.p_adjusted_kw):
        s = t.s_inverter_kva[k]
        if not to_earth[k]:
            _fix(opendss, feeder, solution, k)
            continue
        opendss.run(
            f"new pvsystem.unit{k} {_at(feeder, k)} kva={s:.12g} pmpp={p:.12g} irradiance=1 "
            f"kvarmax={s:.12g} kvarmaxabs={s:.12g} %cutin=0 %cutout=0 vminpu=0.1 vmaxpu=3 wattpriority=no"
        )
    opendss.run(
        "new invcontrol.vv mode=voltvar vvc_curve1=vv refreactivepower=varmax "
        "varchangetolerance=1e-7 voltagechangetolerance=1e-7 deltaq_factor=0.4",
        "set controlmode=static",
        "set maxcontroliter=2000",
    )
    for regulator in opendss.engine.ActiveCircuit.RegControls.AllNames:
        opendss.run(f"regcontrol.{regulator}.enabled=no")
    opendss.solve(1e-10)
    assert _gap_pu(opendss, feeder, solution) <= ENGINE_PU
