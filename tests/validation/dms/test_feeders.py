"""Curtailment on public circuits: certified optima beside independent power flows, OpenDSS and brute force.

The same cases are measured and published by `benchmarks/dms_feeders.py` (docs/dms-feeders.md).
"""

import importlib.util
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dms import Controls, DmsProblem, DmsSolution, Status, solve
from dms.regimes import WIDE_EDGE
from dms.tick import Tick, from_point, optimise, start_numbers
from feeders import Loads
from feeders.elements.loads import per_unit, power_va

HERE = Path(__file__).parent
_spec = importlib.util.spec_from_file_location("feeder_cases", HERE / "feeder_cases.py")
assert _spec is not None
assert _spec.loader is not None
feeder_cases = sys.modules["feeder_cases"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(feeder_cases)
CASES, NORMS, state_at = feeder_cases.CASES, feeder_cases.NORMS, feeder_cases.state_at

QUICK, SLOW = ("IEEE 13", "IEEE 34", "IEEE 123"), ("European LV", "EPRI J1", "EPRI M1")
BAND_PU, CURRENT = 1e-6, 1e-6
TWO_STATES = {"EPRI J1": (1e-5, 1e-4)}
"""Thousands of CVR loads, some with two states: only the certificate's tolerances are kept in both."""
ENGINE_PU = 1e-6
SOLVER_VA = 0.05
"""Ipopt's tolerance, 1e-8 of 1 MVA, on each part of the current and voltage behind a load's power."""
MOST_OF_MEDIAN = 20.0

Place = Callable[[str], Any]
_placed: dict[str, Any] = {}
_solved: dict[tuple[str, str], tuple[DmsProblem, Any, DmsSolution]] = {}

ALL = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]


@pytest.fixture
def place(feeder_folder: Callable[[str], Path]) -> Place:
    """`place(name)`: a circuit with its units, read once."""
    pytest.importorskip("dss", reason="needs dss_python: make setup")

    def at(name: str) -> Any:
        if name not in _placed:
            folder, file = CASES[name].master.split("/")
            _placed[name] = feeder_cases.Placed.read(CASES[name], feeder_folder(folder) / file)
        return _placed[name]

    return at


def optimum(placed: Any, norm: str) -> tuple[DmsProblem, Any, DmsSolution]:
    """The answer with the taps where they are."""
    key = placed.case.name, norm
    if key not in _solved:
        problem = placed.problem(norm)
        request = placed.request(problem)
        _solved[key] = problem, request, solve(problem, request).raise_for_status()
    return _solved[key]


@pytest.mark.parametrize("name", ALL)
def test_units_are_what_the_case_says(place: Place, name: str) -> None:
    placed = place(name)
    assert placed.share >= 0.3
    assert placed.p_export_kw.max() <= MOST_OF_MEDIAN * np.median(placed.p_export_kw)
    problem = placed.problem("l1")
    rest = placed.request(problem, scale=0.0)
    assert feeder_cases.measure(
        placed.network, feeder_cases.run(placed.network, rest), problem.values
    ).within(0.0, 0.0)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ALL)
def test_certified_optimum_at_several_limits(place: Place, name: str, norm: str) -> None:
    """Kept by a power flow from nothing; one limit is enough to fix a peak, so linf may bind at fewer."""
    problem, request, solution = optimum(place(name), norm)
    assert (solution.status, solution.certificate.safe, solution.preexisting) == (Status.CURTAILED, "yes", ())
    state = state_at(problem, request, solution)
    band, current = TWO_STATES.get(name, (BAND_PU, CURRENT))
    assert state.flow.converged
    assert state.worst_over_v <= band
    assert state.worst_over_i <= current
    nodes, wires = feeder_cases.binding(solution)
    assert solution.binding() >= (1 if norm == "linf" else 5)
    assert norm == "linf" or wires >= 1
    assert nodes + wires >= 1


@pytest.mark.parametrize("name", ALL)
def test_every_norm_is_least_in_its_own_measure(place: Place, name: str) -> None:
    c = {norm: optimum(place(name), norm)[2].unit_curtail_kw for norm in NORMS}
    slack = 1 + (1e-4 if name in TWO_STATES else 1e-6)
    for norm in NORMS:
        assert c["l1"].sum() <= c[norm].sum() * slack
        assert c["l2"] @ c["l2"] <= c[norm] @ c[norm] * slack
        assert c["linf"].max() <= c[norm].max() * slack


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ALL)
def test_set_points_in_opendss(
    place: Place, feeder_folder: Callable[[str], Path], opendss: Any, name: str, norm: str
) -> None:
    placed = place(name)
    _, _, solution = optimum(placed, norm)
    folder, file = CASES[name].master.split("/")
    master, sent = feeder_folder(folder) / file, solution.p_adjusted_kw
    gap = feeder_cases.engine_gap_pu(opendss, master, placed, sent, same_state=name in TWO_STATES)
    assert gap <= ENGINE_PU


# Taps ---------------------------------------------------------------------------------------------


def _freed(placed: Any, norm: str, controls: Controls, scale: float = 1.0) -> tuple[Any, Any, DmsSolution]:
    problem = placed.problem(norm, controls)
    request = placed.request(problem, scale)
    return problem, request, solve(problem, request).raise_for_status()


@pytest.mark.parametrize("name", [*QUICK, "European LV", pytest.param("EPRI M1", marks=pytest.mark.slow)])
def test_no_tap_moves_where_nothing_binds(place: Place, name: str) -> None:
    placed = place(name)
    problem, _, solution = _freed(placed, "l2", placed.case.controls, scale=0.02)
    assert solution.status is Status.GO_AHEAD
    assert (solution.position == problem.controls.present(problem.feeder)).all()


@pytest.mark.parametrize("norm", ["l2", *(pytest.param(n, marks=pytest.mark.slow) for n in ("l1", "linf"))])
@pytest.mark.parametrize("name", ["IEEE 34", *(pytest.param(n, marks=pytest.mark.slow) for n in QUICK[::2])])
def test_one_step_a_tick(place: Place, name: str, norm: str) -> None:
    problem, request, solution = _freed(place(name), norm, Controls(taps=("regulated",), steps_per_tick=1))
    _check_moves(problem, request, solution)
    assert solution.moves is not None
    assert solution.moves.steps.max() <= 1 + 1e-9
    assert solution.moves.chosen < solution.moves.base


def _check_moves(problem: DmsProblem, request: Any, solution: DmsSolution) -> None:
    moves = solution.moves
    assert moves is not None
    assert solution.status is Status.CURTAILED
    assert moves.chosen <= moves.base * (1 + 1e-6)
    state = state_at(problem, request, solution)
    assert state.worst_over_v <= 1e-5
    assert state.worst_over_i <= 1e-4
    off = np.abs(state.flow.v - solution.state.flow.v)[1:] / problem.feeder.v_base_v[1:]
    assert off.max() <= 1e-7
    whole = (solution.position - problem.controls.lo) / problem.controls.step
    assert np.allclose(whole, np.rint(whole), atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["IEEE 13", "IEEE 34", "IEEE 123", "European LV", "EPRI M1"])
def test_free_taps_are_never_worse(place: Place, name: str, norm: str) -> None:
    placed = place(name)
    problem, request, solution = _freed(placed, norm, placed.case.controls)
    _check_moves(problem, request, solution)
    assert solution.moves is not None
    fixed = problem.objective(optimum(placed, norm)[2].unit_curtail_kw)
    assert solution.moves.chosen <= fixed * (1 + 1e-6)


@pytest.mark.slow
def test_free_tap_of_the_largest_circuit(place: Place) -> None:
    placed = place("EPRI J1")
    problem, request, solution = _freed(placed, "l2", placed.case.controls)
    _check_moves(problem, request, solution)


def _tick(problem: DmsProblem, request: Any) -> Tick:
    """With the limits as stated: another position may break some at zero export and keep them with export."""
    none = np.zeros(0)
    return Tick(problem, request, none, none, problem.network, time.perf_counter(), problem.values)


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_brute_force_finds_nothing_better(place: Place, norm: str) -> None:
    """Every pair of two regulators' steps within three of where they were, each solved on its own."""
    placed = place("IEEE 13")
    controls = Controls(taps=("reg1", "reg3"), steps_per_tick=3)
    problem, _, solution = _freed(placed, norm, controls)
    base, step = problem.controls.present(problem.feeder), problem.controls.step
    lo, hi = problem.controls.reach(base)
    found: list[tuple[float, float]] = []
    for steps in product(range(-3, 4), repeat=2):
        position = base + np.array(steps) * step
        if ((position < lo - 1e-9) | (position > hi + 1e-9)).any():
            continue
        moved = replace(placed, feeder=problem.controls.apply(problem.feeder, position))
        fixed = moved.problem(norm)
        tick = _tick(fixed, moved.request(fixed))
        answer = from_point(tick, optimise(tick, start_numbers(tick, tick.none_kw), None), "interior")
        if answer.status is Status.CURTAILED:
            found.append((fixed.objective(answer.unit_curtail_kw), float(np.abs(steps).sum())))
    best = min(value for value, _ in found)
    assert solution.moves is not None
    chosen, moves = solution.moves.chosen, float(solution.moves.steps.sum())
    assert len(found) >= 20
    assert chosen <= best * (1 + 1e-4)
    assert moves <= min(count for value, count in found if value <= chosen * (1 + 1e-6)) + 1e-6


# Laws of the loads --------------------------------------------------------------------------------


def _drawn_va(problem: DmsProblem, x: np.ndarray) -> np.ndarray:
    """What every load draws, by the optimiser's own voltages and currents."""
    pair, blocks = problem.feeder[Loads].pair, problem.program.variables
    v = problem.voltages_v(x)
    i_base = 1e6 / problem.feeder.v_base_v[pair.max(axis=1)]
    i = (x[blocks["i_load_re"].span] + 1j * x[blocks["i_load_im"].span]) * i_base
    return np.asarray((v[pair[:, 0]] - v[pair[:, 1]]) * np.conj(i))


@pytest.mark.parametrize(
    "name", ["IEEE 34", "IEEE 123", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)]
)
def test_loads_draw_what_their_law_says(place: Place, name: str) -> None:
    """At the optimiser's own voltages; but for pinned loads, which stand at the end of their band."""
    problem, _, solution = optimum(place(name), "l2")
    assert solution.point is not None
    loads, v = problem.feeder[Loads], problem.voltages_v(solution.point.x)
    u = v[loads.pair[:, 0]] - v[loads.pair[:, 1]]
    drawn, law = _drawn_va(problem, solution.point.x), power_va(loads, u)
    size = np.maximum(np.abs(loads.p_kw + 1j * loads.q_kvar) * 1e3, 1.0)
    gap = np.abs(drawn - law)
    print(f"{name}: largest gap {gap.max():.1e} VA, {(gap / size).max():.1e} of the load")
    off = gap > 1e-6 * size + SOLVER_VA
    w = per_unit(loads.v_nom_kv, u)
    end = np.minimum(np.abs(w - loads.v_max_pu), np.abs(w - loads.v_min_pu))
    assert (end[off] <= WIDE_EDGE).all()
    assert off.mean() <= 0.02


@pytest.mark.parametrize(
    "name", ["IEEE 34", *(pytest.param(n, marks=pytest.mark.slow) for n in ("EPRI M1", "EPRI J1"))]
)
def test_constant_power_has_another_optimum(place: Place, name: str) -> None:
    """So an approximation of the loads' laws would be seen."""
    placed = place(name)
    loads = placed.feeder[Loads]
    n = len(loads)
    rigid = loads.replace(
        model=np.full(n, "constant_power", dtype=object),
        v_low_pu=np.zeros(n),
        v_min_pu=np.zeros(n),
        v_max_pu=np.full(n, np.inf),
    )
    other = replace(placed, feeder=placed.feeder.with_tables(rigid))
    problem = other.problem("l2")
    changed = solve(problem, other.request(problem)).raise_for_status()
    own = optimum(placed, "l2")[2]
    assert changed.status is Status.CURTAILED
    assert abs(changed.total_curtailed_kw - own.total_curtailed_kw) > 1e-3 * own.total_curtailed_kw
