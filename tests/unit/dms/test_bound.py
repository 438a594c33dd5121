"""The lower bound holds against brute force, is tight where it claims to be, and says where there is none."""

from dataclasses import replace

import numpy as np
import pytest

from dms import Controls, DmsProblem, DmsRequest, DmsSolution, Limits, compile, solve
from dms.bound import (
    Devices,
    Domain,
    Lagrangian,
    LowerBound,
    Response,
    farthest_currents,
    lower_bound,
)
from dms.certificate import measure, run
from dms.optimality import certify_optimal, point_of
from feeders import Connections, Transformers, library

GRID = 25
NORMS = ["l1", "l2", "linf"]
TIGHT = {
    "current": Limits(v_max_pu=1.5),
    "voltage": Limits(v_max_pu=1.02, current=False),
    "both": Limits(v_max_pu=1.025),
}


def bound_of(problem: DmsProblem, request: DmsRequest, solution: DmsSolution) -> LowerBound:
    numbers, x, multipliers, _ = point_of(problem, request, solution)
    objective = problem.objective(solution.unit_curtail_kw)
    return lower_bound(problem.program, numbers, x, multipliers, objective)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("limits", TIGHT.values(), ids=TIGHT)
def test_no_safe_point_of_a_grid_is_below_the_bound(street, norm: str, limits: Limits) -> None:
    """Two homes on two sections: every pair of curtailments on a grid, by the independent power flow."""
    feeder = street(
        z_ohm=(0.05 + 0.02j, 0.08 + 0.03j), i_max_a=(100.0, 60.0), homes=((1,), (2,)), loads=((1, 3.0, 1.0),)
    )
    problem = compile(feeder, norm=norm, limits=limits, weights={"h1": 1.5})
    request = problem.request(np.array([25.0, 20.0]), q_kvar=np.array([3.0, -2.0]))
    solution = solve(problem, request).raise_for_status()
    found = bound_of(problem, request, solution)
    assert (found.reason, found.assumed) == ("", 0)
    assert found.contraction < 0.9
    best = np.inf
    for share in np.stack(np.meshgrid(*[np.linspace(0, 1, GRID)] * 2), axis=-1).reshape(-1, 2):
        curtail = share * request.p_export_kw
        objective = problem.objective(curtail)
        if objective < best:
            flow = run(problem.network, request, curtail)
            best = objective if measure(problem.network, flow, solution.values).within(0, 0) else best
    own = problem.objective(solution.unit_curtail_kw)
    assert 0 < found.value <= own
    assert found.value <= best * (1 + 1e-9)
    assert found.gap == pytest.approx(1 - found.value / own)
    assert found.gap < (1e-6 if norm == "l2" else 0.2)
    # and the grid, which is finer than the gap, is no better than the optimum either
    assert best >= own * (1 - 1e-6)


@pytest.fixture(scope="module", params=NORMS)
def mixed(request: pytest.FixtureRequest) -> tuple[DmsProblem, DmsRequest, DmsSolution]:
    """Laterals of one to three phases, loops, some devices between phases."""
    feeder = library.load("synthetic", n_buses=40, seed=1, prosumers=0.5)
    problem = compile(feeder, norm=request.param, limits=Limits(v_max_pu=1.05))
    tick = problem.request(4.0 * feeder[Connections].p_pv_max_kw)
    return problem, tick, solve(problem, tick).raise_for_status()


def test_currents_move_no_further_than_the_proof_allows(mixed) -> None:
    """(c) against the Newton power flow at random curtailments of no larger objective."""
    problem, request, solution = mixed
    program = problem.program
    numbers, x, multipliers, _ = point_of(problem, request, solution)
    lagrangian = Lagrangian.at(program, numbers, x, multipliers)
    objective = problem.objective(solution.unit_curtail_kw)
    domain = Domain.of(program, numbers, x, lagrangian, objective)
    devices = Devices.of(program)
    response = Response.of(program, x, devices)
    far, radius, _ = farthest_currents(program, numbers, x, devices, response, domain)
    assert radius < 1
    rng, curtail = np.random.default_rng(0), program.variables["p_curtail"]
    closest = 0.0
    for _ in range(20):
        c = rng.uniform(0, 1, len(curtail.label)) * solution.unit_curtail_kw
        assert problem.objective(c) <= objective
        flow = problem.power_flow.solve(numbers, c / 1e3)
        assert flow.converged
        moved = np.hypot(*(flow.x[part] - x[part] for part in (devices.re, devices.im)))
        steps = np.zeros(program.n)
        steps[curtail.span] = np.abs(flow.x - x)[curtail.span]
        allowed = far @ steps[domain.columns]
        assert (moved <= allowed + 1e-9).all()
        closest = max(closest, float((moved / np.maximum(allowed, 1e-12)).max()))
    assert closest > 0.5  # and the allowance is no wild one


def test_least_squares_are_proven_global_and_the_others_nearly(mixed) -> None:
    found = bound_of(*mixed)
    assert found.reason == ""
    assert found.gap < {"l1": 0.3, "l2": 1e-6, "linf": 0.2}[mixed[0].norm]
    assert found.assumed > 0  # devices between phases: only voltages to earth are limited


def test_a_worse_point_has_the_same_optimum_below_it(mixed) -> None:
    """With the multipliers of the optimum, what a wasteful point loses shows as a gap."""
    problem, request, solution = mixed
    numbers, x, multipliers, _ = point_of(problem, request, solution)
    objective = problem.objective(solution.unit_curtail_kw)
    found = lower_bound(problem.program, numbers, x, multipliers, 1.2 * objective)
    assert found.value <= objective
    assert found.gap >= 0.2 / 1.2 - 1e-9


def test_any_multipliers_give_a_valid_bound(mixed) -> None:
    """Wrong ones only make it weak: wrong signs are dropped, stationarity is not taken for granted."""
    problem, request, solution = mixed
    numbers, x, multipliers, _ = point_of(problem, request, solution)
    objective = problem.objective(solution.unit_curtail_kw)
    for rows in (0.9 * multipliers.rows, 1.3 * multipliers.rows, -multipliers.rows, 0 * multipliers.rows):
        found = lower_bound(problem.program, numbers, x, multipliers._replace(rows=rows), objective)
        assert found.value <= objective * (1 + 1e-9)


def test_an_infeasible_point_is_never_proven_optimal(mixed) -> None:
    """It curtails too little; the bound stays below the optimum all the same."""
    problem, request, solution = mixed
    numbers, _, multipliers, _ = point_of(problem, request, solution)
    less = problem.power_flow.solve(numbers, 0.5 * solution.unit_curtail_kw / 1e3).x
    objective = problem.objective(solution.unit_curtail_kw)
    found = lower_bound(problem.program, numbers, less, multipliers, objective)
    assert not found.value > objective


def test_the_certificate_reports_the_gap(mixed) -> None:
    problem, request, solution = mixed
    verdict = certify_optimal(problem, request, solution)
    assert verdict.optimal == "yes"
    assert verdict.gap == verdict.bound.gap == bound_of(*mixed).gap
    assert np.isnan(certify_optimal(problem, request, solution, bound=False).gap)


def test_where_there_is_none_the_reason_is_given(street) -> None:
    """Far-off states: a feeder whose loads take half the voltage; controls that multiply states."""
    weak = street(z_ohm=(0.9 + 0.3j,), homes=((1,),), loads=((1, 10.0, 0.0),))
    problem = compile(weak, norm="l1", limits=Limits(v_min_pu=0.3, v_max_pu=1.02))
    request = problem.request(np.array([40.0]))
    found = bound_of(problem, request, solve(problem, request).raise_for_status())
    assert "far apart" in found.reason
    assert np.isnan(found.value)
    assert np.isnan(found.gap)


def test_a_tap_that_moves_multiplies_and_has_no_bound() -> None:
    feeder = library.load("synthetic", n_buses=12, seed=2, prosumers=1.0)
    name = str(feeder[Transformers].name[0])
    problem = compile(
        feeder, norm="l1", limits=Limits(v_max_pu=1.05), controls=Controls(taps=(name,), tries=1)
    )
    request = problem.request(12.0 * feeder[Connections].p_pv_max_kw)
    held = solve(problem, request).raise_for_status()
    assert bound_of(problem, request, held).reason == ""
    free_numbers = problem.at(request, held.values, free=True)
    moving = replace(held, point=replace(held.point, numbers=free_numbers))
    assert "multiplies" in bound_of(problem, request, moving).reason
