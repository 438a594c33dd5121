"""The OpenDSS engine beside ours in one process: what the tests compare, put into rows, and timings.

The comparison is that of `tests/validation/feeders/conftest.py`, and so are the circuits and the cases: what
is published is what is tested.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from math import pi
from pathlib import Path
from typing import Any

import dss
import numpy as np

from dms.network import Network
from feeders import Capacitors, Feeder, Generators, Lines, Loads, Regulators, Switches, Transformers
from feeders.readers.opendss import read

ROOT = Path(__file__).resolve().parent.parent
CORPUS = Path(os.environ.get("ANOCA_TEST_FEEDERS", ROOT.parent / "shared" / "feeders"))
REPEATS = 7
READINGS = 3
MORE_LOAD = 1.01


def module(path: str) -> Any:
    """A test module by its path from the root."""
    name = path.replace("/", "_").removesuffix(".py")
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, ROOT / path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


TESTS = "tests/validation/feeders"
COMPARISON = module(f"{TESTS}/conftest.py")
ENGINE = module("tests/conftest.py").OpenDss(dss.dss)


@dataclass(frozen=True)
class Times:
    """Seconds, the quickest of a few interleaved rounds: ours, the engine's, also at its usual tolerance.

    Also the rounds of both cold solutions.
    """

    cold: float
    cold_engine: float
    cold_engine_loose: float
    warm: float
    warm_engine: float
    rounds: int
    rounds_engine: int


def compared(master: Path, readings: int = 1) -> tuple[Any, float]:
    """The comparison of the tests, and the seconds it takes to read the file."""
    seconds = min(_seconds(lambda: read(master)) for _ in range(readings - 1)) if readings > 1 else 0.0
    began = time.perf_counter()
    result = read(master)
    last = time.perf_counter() - began
    return COMPARISON.compared(ENGINE, master, result), min(seconds or last, last)


def counts(feeder: Feeder) -> list[int]:
    """Nodes, lines, switches, transformers, regulators, capacitor banks, loads, generators.

    A bank's or a load's phases count once.
    """
    single = {n.rsplit(".", 1)[0] if n.endswith((".1", ".2", ".3")) else n for n in feeder[Loads].name}
    made = {n.rsplit(".", 1)[0] if n.endswith((".1", ".2", ".3")) else n for n in feeder[Generators].name}
    tables = (Lines, Switches, Transformers, Regulators)
    return [
        feeder.n_nodes,
        *(len(feeder[table]) for table in tables),
        len(set(feeder[Capacitors].bank)),
        len(single),
        len(made),
    ]


def timed(feeder: Feeder) -> Times:
    """Both power flows of the circuit that the engine has compiled and settled, in turn.

    cold  from nothing: circuit matrix, factors, solution; the engine has its elements' admittances at hand
    warm  from the solution before, all loads one per cent up
    """
    solution = ENGINE.engine.ActiveCircuit.Solution
    base, drawn = solution.LoadMult, feeder[Loads]
    more = drawn.replace(p_kw=drawn.p_kw * MORE_LOAD, q_kvar=drawn.q_kvar * MORE_LOAD)
    network = Network(feeder)
    flow = network.solve_loads()
    found: dict[str, list[float]] = {name: [] for name in list(Times.__dataclass_fields__)[:5]}
    rounds_engine = 0
    for _ in range(REPEATS):
        found["cold"].append(_seconds(lambda: Network(feeder).solve_loads()))
        found["cold_engine"].append(_seconds(_engine_cold))
        rounds_engine = int(solution.Iterations)
        found["warm"].append(_seconds(lambda: network.solve_loads(drawn=more, start=flow)))
        solution.LoadMult = base * MORE_LOAD
        found["warm_engine"].append(_seconds(lambda: ENGINE.run("solve")))
        solution.LoadMult = base
        ENGINE.run("set tolerance=1e-4")
        found["cold_engine_loose"].append(_seconds(_engine_cold))
        ENGINE.run("set tolerance=1e-10", "solve")
    quickest = {name: min(values) for name, values in found.items()}
    return Times(**quickest, rounds=flow.iterations, rounds_engine=rounds_engine)


def _engine_cold() -> None:
    """Circuit matrix built and factorised again, then a solution from the start."""
    ENGINE.engine.YMatrix.SystemYChanged = True
    ENGINE.run("init", "solve")


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def tightened(master: Path) -> list[tuple[str, float]]:
    """Largest voltage difference to the engine at every node, per unit, as its tolerance is tightened."""
    feeder = read(master).feeder
    flow = Network(feeder).solve_loads()
    COMPARISON.settle(ENGINE, master)
    found = []
    for algorithm, tolerance in (
        *(("normal", t) for t in ("1e-6", "1e-8", "1e-10", "1e-12", "1e-14")),
        ("newton", "1e-10"),
        ("newton", "1e-14"),
    ):
        # A solution that never gets there ends with the iterations; what it has then is what counts.
        ENGINE.run(f"set algorithm={algorithm}", "set maxiterations=100", f"set tolerance={tolerance}")
        for command in ("init", "solve"):
            try:
                ENGINE.run(command)
            except dss.DSSException:
                continue
        v = ENGINE.voltages()
        theirs = np.array([0j, *(v.get(str(n), np.nan) for n in feeder.node_names[1:])])
        gap = float(np.nanmax(np.abs(flow.v - theirs) / feeder.v_base_v))
        done = "" if ENGINE.engine.ActiveCircuit.Solution.Converged else ", not converged"
        found.append((f"{algorithm}, {tolerance}{done}", gap))
    ENGINE.run("set algorithm=normal")
    return found


def angle_error_rad() -> tuple[float, float]:
    """The angle of an ideal source's first phase in the engine, and what ten digits of 180/pi make of 360."""
    ENGINE.run("clear", "new circuit.c basekv=12.47 phases=3 bus1=a mvasc3=2000 mvasc1=2100")
    ENGINE.solve(1e-14)
    return float(np.angle(ENGINE.voltages()["a.1"])), 360 / 57.29577951 - 2 * pi


def engine_version() -> str:
    """The engine behind dss_python, without its licence and settings."""
    return str(ENGINE.engine.Version).split(" revision")[0].replace("DSS C-API Library", "DSS C-API")
