"""A run: a snapshot of one DMS solve, or the two stages in a loop through simulated time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from typing import Any

import pandas as pd
import simpy

from anoca.agents import Clock, Homes, Utility, decide, prosumer, utility
from anoca.config import Scenario
from anoca.errors import InputError
from anoca.placement import Placement, load_feeder, place
from anoca.plant import Plant
from anoca.provenance import provenance
from anoca.recorder import Recorder
from anoca.results import Results
from anoca.series import build_series
from anoca.transport import SimpyTransport
from dms import DmsProblem, DmsRequest, DmsSolution, OptimalityCertificate, certify_optimal, reference
from dms import compile as compile_problem
from dms.child import Lost
from dms.controls import ControlValues
from dms.guard import guarded
from dms.limits import idle
from dms.weights import by_capacity, resolve
from feeders import Connections, Feeder

log = logging.getLogger(__name__)

TEST_BUDGETS = 10.0
"""Wall clock of the `optimal` certificate, in budgets of a tick."""

Progress = Callable[[int, int, str], None]
"""Called after every tick with (done, of how many, what is worth saying)."""


def simulate(scenario: Scenario, progress: Progress | None = None) -> Results:
    """Run a scenario from start to end, in memory.

    Raises  InputError  anything wrong with the scenario, before the first tick
    """
    feeder = load_feeder(scenario.feeder)
    placement = place(scenario, feeder)
    problem = build_problem(scenario, placement)
    tell = progress or (lambda done, total, text: None)
    recorder = Recorder(scenario, placement)
    for line in idle(placement.feeder, scenario.limits.limits()):
        log.warning("%s", line)
        recorder.warnings.append(line)
    if scenario.mode == "snapshot":
        _snapshot(scenario, placement, problem, recorder, tell)
    else:
        _loop(scenario, placement, problem, recorder, tell)
    tables = recorder.tables()
    found = scenario.resolved(), provenance(scenario), tables, recorder.summary(tables)
    return Results(*found, warnings=tuple(recorder.warnings))


def build_problem(scenario: Scenario, placement: Placement) -> DmsProblem:
    """The DMS problem of a scenario, stated by our own devices or by the Pyomo text.

    Raises  InputError  the feeder with its prosumers has errors, or something has no law yet
    """
    build = compile_problem if scenario.dms.backend == "ipopt" else reference.compile
    try:
        return build(
            placement.feeder,
            norm=scenario.dms.norm,
            limits=scenario.limits.limits(),
            weights=_weights(scenario, placement),
            curtail_unit=scenario.prosumers.curtail_unit,
            controls=scenario.controls.controls(),
            peak_tol=scenario.dms.peak_tol,
            alpha=scenario.dms.alpha,
        )
    except KeyError as exc:
        raise InputError(str(exc.args[0])) from exc
    except (ValueError, NotImplementedError) as exc:
        raise InputError(str(exc)) from exc


def _weights(scenario: Scenario, placement: Placement) -> dict[str, float]:
    """Weights by name, in inverse proportion to the PV peak where the scenario says so."""
    given = scenario.prosumers.weights
    if scenario.dms.weight_by != "capacity":
        return given
    units = placement.units
    own = resolve(placement.feeder[Connections], units, given)
    by_peak = by_capacity(units, placement.at_connections(placement.p_peak_kw))
    return {name: float(w) * by_peak[name] for name, w in zip(units.name, own, strict=True)}


def _snapshot(
    scenario: Scenario, placement: Placement, problem: DmsProblem, recorder: Recorder, tell: Progress
) -> None:
    """One tick: every prosumer asks for percent x base kW, loads stand at base."""
    behind = scenario.prosumers.export_rule == "behind_load"
    at = placement.at_connections
    request = problem.request(at(placement.p_request_kw), q_kvar=at(placement.q_kvar(net=not behind)))
    solution = decide(scenario.dms, problem, request)
    recorder.dms(0, scenario.clock.first_tick(), problem, request, solution)
    seconds = _test_optimality(scenario, problem, request, solution, recorder)
    recorder.close_tick({**seconds, "dms_s": solution.solve_s})
    tell(1, 1, f"{solution.total_curtailed_kw:.1f} kW curtailed, {solution.method}")


def _test_optimality(
    scenario: Scenario,
    problem: DmsProblem,
    request: DmsRequest,
    solution: DmsSolution,
    recorder: Recorder,
) -> dict[str, float]:
    """The `optimal` certificate where the scenario asks for it; what it cost."""
    if not scenario.dms.certify_optimal:
        return {}

    def work() -> OptimalityCertificate:
        return certify_optimal(problem, request, solution, seed=scenario.seed)

    found = guarded(work, TEST_BUDGETS * scenario.dms.budget_s) if scenario.dms.guard else work()
    if isinstance(found, Lost):
        log.warning("the test of optimality %s", found.reason)
        recorder.not_tested()
        return {}
    recorder.optimality(found)
    return {"optimal_s": found.seconds}


def _loop(
    scenario: Scenario, placement: Placement, problem: DmsProblem, recorder: Recorder, tell: Progress
) -> None:
    """Prosumers, utility and plant as processes in simulated time."""
    series = build_series(scenario, placement)
    recorder.warnings += series.audit
    homes = Homes(scenario, placement, series)
    twins = Homes(scenario, placement, series) if scenario.output.counterfactual else None
    desk = Utility(scenario, problem, series)
    plant_feeder = place(scenario, load_feeder(scenario.feeder, **scenario.plant.options)).feeder
    plant = Plant(plant_feeder, scenario.limits.limits(), _plant_controls(scenario, plant_feeder))
    env = simpy.Environment()
    clock = Clock(scenario.clock.ticks, scenario.clock.step_minutes * 60.0)
    transport = SimpyTransport(env)
    for name in placement.name:
        env.process(prosumer(env, name, homes, transport, clock))
    env.process(utility(env, desk, len(placement.name), transport, clock))

    def live(tick: int) -> None:
        home_tick, solution = homes.live(tick), desk.last
        assert solution is not None
        began = time.perf_counter()
        p_load, q_load = desk.plain_loads(tick)
        reading = plant.step(
            p_export_kw=home_tick.realised.p_export_kw,
            p_import_kw=home_tick.realised.p_import_kw,
            q_kvar=placement.q_kvar(series.load_scale[:, tick]),
            q_set_kvar=home_tick.q_set_kvar,
            p_load_kw=p_load,
            q_load_kvar=q_load,
            nominal=solution.nominal,
            in_force=solution.values,
            position=desk.position,
        )
        seconds = {**home_tick.seconds, "plant_s": time.perf_counter() - began}
        with recorder.recording():
            recorder.dms(tick, series.times[tick], desk.problem, desk.request, solution)
        seconds |= _test_optimality(scenario, desk.problem, desk.request, solution, recorder)
        with recorder.recording():
            span = _span(series.times, tick, clock.step_s)
            recorder.homes(tick, span, desk.request, solution, home_tick)
            recorder.plant(reading)
        if twins:
            began = time.perf_counter()
            recorder.granted(tick, twins.live_granted(tick))
            seconds["granted_s"] = time.perf_counter() - began
        recorder.close_tick({**seconds, "dms_s": solution.solve_s})
        tell(tick + 1, clock.ticks, recorder.headline())

    env.process(_world(env, clock, live))
    env.run()


def _span(times: pd.DatetimeIndex, tick: int, step_s: float) -> pd.DatetimeIndex:
    """Start and end of a tick."""
    return pd.DatetimeIndex([times[tick], times[tick] + pd.Timedelta(seconds=step_s)])


def _plant_controls(scenario: Scenario, feeder: Feeder) -> ControlValues:
    """The controls as the plant's own form of the network has them.

    Raises  InputError  it has none of that name
    """
    try:
        return ControlValues.resolve(feeder, scenario.controls.controls())
    except (KeyError, ValueError) as exc:
        raise InputError(f"plant: {exc.args[0]}") from exc


def _world(
    env: simpy.Environment, clock: Clock, live: Callable[[int], None]
) -> Generator[simpy.Event, Any, None]:
    """The meter: when a tick is almost over, what was decided has happened."""
    for tick in range(clock.ticks):
        yield env.timeout(clock.meter_s(tick) - env.now)
        live(tick)
