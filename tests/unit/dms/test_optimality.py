"""The `optimal` certificate says yes at optima and no, with reasons, elsewhere."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from dms import DmsProblem, DmsRequest, DmsSolution, Limits, Status, compile, solve
from dms.directional import directional_test, held_objective
from dms.multistart import multistart
from dms.optimality import certify_optimal
from dms.tick import Tick, publish
from feeders import Connections, library

Solved = tuple[DmsProblem, DmsRequest, DmsSolution]


@cache
def _solved(norm: str) -> Solved:
    feeder = library.load("synthetic", n_buses=40, seed=3, prosumers=0.5)
    problem = compile(feeder, norm=norm, limits=Limits(v_max_pu=1.05))
    tick = problem.request(6.0 * feeder[Connections].p_pv_max_kw)
    return problem, tick, solve(problem, tick).raise_for_status()


@pytest.fixture(params=["l1", "l2", "linf"])
def solved(request: pytest.FixtureRequest) -> Solved:
    return _solved(request.param)


@pytest.fixture
def squares() -> Solved:
    return _solved("l2")


def tick_of(solved: Solved) -> Tick:
    problem, request, like = solved
    return Tick(problem, request, like.position, like.position, problem.network, 0.0, like.values)


def published(solved: Solved, curtail_kw: np.ndarray) -> DmsSolution:
    """Set-points of our own, certified as the ladder would, without an optimiser's point."""
    tick = tick_of(solved)
    return publish(tick, np.minimum(curtail_kw, tick.most_kw), "by_hand").raise_for_status()


def test_an_optimum_is_called_optimal(solved: Solved) -> None:
    found = certify_optimal(*solved)
    assert (found.optimal, found.reasons) == ("yes", ())
    assert found.kkt_residual < 1e-5
    assert found.directional.tried > 0
    assert found.objective <= found.uniform_objective
    assert found.seconds > 0
    assert not found.estimated
    assert np.isnan(found.spread)


@pytest.mark.parametrize("norm", ["linf_l1", "linf_l2"])
def test_with_two_objectives_only_points_within_the_held_peak_compare(norm: str) -> None:
    """A uniform cap or an optimum of L1 may have a lower total, at a peak that the first stage rules out."""
    problem, request, solution = _solved(norm)
    found = certify_optimal(problem, request, solution, bound=False)
    assert (found.optimal, found.reasons) == ("yes", ())
    least_total = _solved("l1")[2].unit_curtail_kw
    if norm == "linf_l1":
        assert problem.objective(least_total) < found.objective
    assert held_objective(problem, solution, least_total, request) == np.inf
    assert held_objective(problem, solution, solution.unit_curtail_kw, request) == found.objective


def test_one_per_cent_too_much_is_found_by_the_power_flow_alone(solved: Solved) -> None:
    problem, request, solution = solved
    wasteful = published(solved, 1.01 * solution.unit_curtail_kw)
    found = directional_test(problem, request, wasteful)
    assert not found.ok
    assert 0 < found.improvement < 0.03
    assert problem.objective(found.p_curtail_kw) < problem.objective(wasteful.unit_curtail_kw)
    verdict = certify_optimal(problem, request, wasteful)
    assert verdict.optimal == "no"
    assert any("better by" in reason for reason in verdict.reasons)
    assert any("KKT" in reason for reason in verdict.reasons)


def test_a_bad_distribution_is_found_by_a_trade_or_mixture(solved: Solved) -> None:
    """No home can be released alone; curtailment moved from one to another pays all the same."""
    problem, request, _ = solved
    most = request.units.unit_export_kw(request.p_export_kw)
    share = published(solved, _least_share(solved) * most)
    found = directional_test(problem, request, share)
    assert not found.ok


def _least_share(solved: Solved) -> float:
    tick, low, high = tick_of(solved), 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if tick.state(middle * tick.most_kw).within(0, 0) else (middle, high)
    return high


def test_a_claim_with_other_set_points_than_its_point_is_refused(squares: Solved) -> None:
    problem, request, solution = squares
    moved = replace(solution, unit_curtail_kw=solution.unit_curtail_kw + 0.01)
    verdict = certify_optimal(problem, request, moved)
    assert verdict.optimal == "no"
    assert any("away from the optimiser's point" in reason for reason in verdict.reasons)


def test_multipliers_of_the_wrong_sign_are_refused(squares: Solved) -> None:
    problem, request, solution = squares
    point = replace(solution.point, row_multipliers=-solution.point.row_multipliers)
    verdict = certify_optimal(problem, request, replace(solution, point=point))
    assert verdict.optimal == "no"


def test_missing_multipliers_are_estimated(squares: Solved) -> None:
    problem, request, solution = squares
    point = replace(solution.point, row_multipliers=np.full(problem.program.m, np.nan))
    verdict = certify_optimal(problem, request, replace(solution, point=point))
    assert (verdict.optimal, verdict.estimated) == ("yes", True)


def test_a_go_ahead_is_optimal_and_a_failure_is_not_tested(squares: Solved) -> None:
    problem, request, solution = squares
    modest = problem.request(0.01 * request.p_export_kw)
    verdict = certify_optimal(problem, modest, solve(problem, modest))
    assert (verdict.optimal, verdict.objective, verdict.kkt_residual) == ("yes", 0.0, 0.0)
    failed = replace(solution, status=Status.UNCERTIFIED)
    assert certify_optimal(problem, request, failed).optimal == "not_tested"


def test_starts_far_apart_lead_to_one_value_or_nearly(solved: Solved) -> None:
    """L1 has local optima 0.08 % apart on this feeder, which no local test can tell from the best."""
    problem, request, solution = solved
    verdict = certify_optimal(problem, request, solution, starts=4, seed=1)
    found = verdict.multistart
    assert found.starts[0].name == "from zero export"
    assert len(found.found) == 4
    assert verdict.spread == found.spread < (2e-3 if problem.norm == "l1" else 1e-5)
    assert found.best <= problem.objective(solution.unit_curtail_kw) * (1 + 1e-6)
    assert verdict.optimal == "yes"


def test_the_same_seed_gives_the_same_starts(squares: Solved) -> None:
    problem, request, _ = squares
    once, again = (multistart(problem, request, n=1, seed=1).starts for _ in range(2))
    assert [s.objective for s in once] == [s.objective for s in again]
    with pytest.raises(ValueError, match="at least 1"):
        multistart(problem, request, n=0)


def test_a_solution_of_another_feeder_is_refused(squares: Solved, street) -> None:
    other = compile(street(), norm="l1", limits=Limits(v_max_pu=1.5))
    with pytest.raises(ValueError, match="other connections"):
        certify_optimal(other, other.request(np.array([1.0, 1.0])), squares[2])
