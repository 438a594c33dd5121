"""Our own optimality residuals: small at an optimum, large anywhere else, whoever found the point."""

from dataclasses import replace

import numpy as np
import pytest

from dms import NORMS, DmsProblem, DmsRequest, DmsSolution, IpoptOptions, Limits, compile, solve
from dms.kkt import KktResiduals, Multipliers, estimate_multipliers, kkt
from dms.stages import objective_scale
from feeders import Connections, library


@pytest.fixture(scope="module", params=["l1", "l2", "linf"])
def solved(request: pytest.FixtureRequest) -> tuple[DmsProblem, DmsRequest, DmsSolution]:
    """A radial and meshed feeder of 60 buses on which voltages and lines bind."""
    feeder = library.load("synthetic", n_buses=60, seed=1, prosumers=0.5)
    problem = compile(feeder, norm=request.param, limits=Limits(v_max_pu=1.05))
    tick = problem.request(6.0 * feeder[Connections].p_pv_max_kw)
    return problem, tick, solve(problem, tick, method="ipopt").raise_for_status()


def residuals(solved, multipliers: Multipliers | None = None, x: np.ndarray | None = None) -> KktResiduals:
    problem, _, solution = solved
    point = solution.point
    scale = objective_scale(problem, point.numbers)
    x, multipliers = point.x if x is None else x, multipliers or Multipliers.of(point)
    return kkt(problem.program, point.numbers, x, multipliers, objective_scale=scale)


def test_an_optimum_passes_with_the_multipliers_ipopt_hands_out(solved) -> None:
    """cyipopt's multipliers are of the objective itself, whatever it was scaled with."""
    found = residuals(solved)
    assert found.ok, found.reasons
    assert found.worst < 1e-8


def test_multipliers_of_the_wrong_sign_fail(solved) -> None:
    given = Multipliers.of(solved[2].point)
    assert not residuals(solved, given._replace(rows=-given.rows)).ok
    bent = residuals(solved, given._replace(lower=-given.lower))
    assert bent.sign > 1e-8
    assert any("sign" in reason for reason in bent.reasons)


def test_a_multiplier_on_a_limit_that_does_not_bind_fails(solved) -> None:
    problem, _, solution = solved
    program, given = problem.program, Multipliers.of(solution.point)
    idle = program.rows["i_limit"].start + int(
        np.argmin(program.constraints(solution.point.x)[program.rows["i_limit"].span])
    )
    rows = given.rows.copy()
    rows[idle] += 0.1 * np.abs(given.rows).max()
    assert residuals(solved, given._replace(rows=rows)).complementarity > 1e-5


def test_large_multipliers_of_laws_cannot_hide_a_gradient(solved) -> None:
    """Divided by a huge multiplier any residual is small; what is left on the controls is not."""
    problem, _, solution = solved
    given = Multipliers.of(solution.point)
    rows = given.rows.copy()
    curtail = problem.program.variables["p_curtail"].index
    lower, upper = given.lower.copy(), given.upper.copy()
    lower[curtail], upper[curtail] = 0.0, 0.0  # the gradient is no longer cancelled
    rows[problem.program.rows["kcl_re"].start] = 1e12
    found = residuals(solved, Multipliers(rows, lower, upper))
    assert found.reduced > 1e-5
    assert not found.ok


def test_a_stop_short_of_the_optimum_fails(solved) -> None:
    problem, request, _ = solved
    loose = IpoptOptions(tol=1e-1, extra={"dual_inf_tol": 1e5, "compl_inf_tol": 1e5, "acceptable_iter": 0})
    early = solve(problem, request, options=loose, method="ipopt")
    assert early.point is not None
    assert not residuals((problem, request, early)).ok


def test_a_point_outside_its_limits_fails_in_their_own_units(solved) -> None:
    problem, _, solution = solved
    point, blocks = solution.point, problem.program.variables
    for block, shift, where in (("v_re", 1e-4, "law_pu"), ("p_curtail", -1e-3, "power_kw")):
        x = point.x.copy()
        x[blocks[block].start] += shift
        found = residuals(solved, x=x)
        assert getattr(found, where) > 1e-5
        assert not found.ok
    narrow = replace(point.numbers.copy(), row_hi=point.numbers.row_hi - 1e-4)
    found = kkt(problem.program, narrow, point.x, Multipliers.of(point))
    assert max(found.band_pu2, found.rating) == pytest.approx(1e-4, rel=1e-3)


def test_estimated_multipliers_are_those_of_ipopt(solved) -> None:
    """No limit of this feeder is redundant at the optimum but the two ends of a line, which tie."""
    problem, _, solution = solved
    point, program = solution.point, problem.program
    found = estimate_multipliers(program, point.numbers, point.x)
    assert residuals(solved, found).ok
    limits = program.row_indices("limit")
    assert np.allclose(found.rows[limits], point.row_multipliers[limits], atol=1e-4, rtol=1e-4)
    power = program.row_indices("power")
    assert np.allclose(found.rows[power], point.row_multipliers[power], atol=1e-4, rtol=1e-4)


def test_no_multipliers_make_a_poor_point_stationary(solved) -> None:
    problem, request, solution = solved
    numbers = solution.point.numbers
    more = np.minimum(
        1.01 * solution.unit_curtail_kw + 1.0, request.units.unit_export_kw(request.p_export_kw)
    )
    x = problem.power_flow.solve(numbers, more / 1e3).x
    if "peak" in problem.program.variables:
        x[problem.program.variables["peak"].start] = more.max() / 1e3
    found = residuals(solved, estimate_multipliers(problem.program, numbers, x), x)
    assert found.worst > 1e-3


def test_every_norm_has_an_objective_scale_above_one(solved) -> None:
    """In MW the gradient of L2 is so small that an unscaled residual would pass anything."""
    problem, request, _ = solved
    assert problem.norm in NORMS
    assert objective_scale(problem, problem.at(request)) > 1
