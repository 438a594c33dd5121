"""Ipopt through cyipopt: settings, statuses, warm starts, and a clear word when it is missing."""

import sys

import numpy as np
import pytest

from dms import IpoptMissingError, IpoptOptions, Limits, Status, compile, solve
from dms.interior import InteriorStatus, _ipopt_settings
from dms.interior import solve as solve_interior


@pytest.fixture
def problem(street):
    return compile(street(), norm="l2", limits=Limits(v_max_pu=1.5))


def _numbers(problem, export_kw: float):
    numbers = problem.at(problem.request(np.full(2, export_kw)))
    numbers.x0[:] = problem.power_flow.solve(numbers).x
    return numbers


def test_a_missing_cyipopt_says_how_to_get_it(problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyipopt", None)
    with pytest.raises(IpoptMissingError, match=r"make venv.*pip install 'anoca\[ipopt\]'.*conda-forge"):
        solve(problem, problem.request(np.full(2, 30.0)), method="ipopt")
    with pytest.raises(ImportError):
        solve_interior(problem.program, _numbers(problem, 30.0))


def test_without_cyipopt_a_go_ahead_is_still_given(problem, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cyipopt", None)
    assert solve(problem, problem.request(np.full(2, 5.0))).status is Status.GO_AHEAD


def test_the_point_keeps_bounds_and_rows(problem) -> None:
    numbers = _numbers(problem, 30.0)
    point = solve_interior(problem.program, numbers, objective_scale=1e6)
    assert (point.status, point.converged) == (InteriorStatus.SOLVED, True)
    assert (point.x >= numbers.x_lo).all()
    assert (point.x <= numbers.x_hi).all()
    values = problem.program.constraints(point.x)
    assert (values >= numbers.row_lo - 1e-8).all()
    assert (values <= numbers.row_hi + 1e-8).all()
    assert point.objective == pytest.approx(problem.program.objective(point.x))


def test_multipliers_make_the_lagrangian_stationary(problem) -> None:
    """Karush, Kuhn and Tucker, from the programme's own derivatives; multipliers are of the unscaled cost."""
    numbers, scale = _numbers(problem, 30.0), 1e4
    point = solve_interior(problem.program, numbers, objective_scale=scale)
    slope = problem.program.gradient(point.x)
    assert np.abs(slope).max() > 1e-3
    slope = slope + problem.program.jacobian_matrix(point.x).T @ point.row_multipliers
    slope = slope - point.lower_multipliers + point.upper_multipliers
    assert np.abs(slope).max() < 1e-10
    assert min(point.lower_multipliers.min(), point.upper_multipliers.min()) >= 0
    room = numbers.row_hi - problem.program.constraints(point.x)
    limits = problem.program.rows["i_limit"].span
    assert point.row_multipliers[limits].max() > 1e-4
    assert np.abs(point.row_multipliers[limits] * room[limits]).max() < 1e-9


def test_a_warm_start_from_the_optimum_takes_fewer_iterations(problem) -> None:
    numbers = _numbers(problem, 30.0)
    cold = solve_interior(problem.program, numbers, objective_scale=1e6)
    warm = solve_interior(problem.program, numbers, objective_scale=1e6, warm=cold)
    assert warm.status is InteriorStatus.SOLVED
    assert warm.iterations < cold.iterations
    assert warm.objective == pytest.approx(cold.objective, rel=1e-6)


def test_an_iteration_limit_is_reported_as_one(problem) -> None:
    point = solve_interior(problem.program, _numbers(problem, 30.0), options=IpoptOptions(max_iter=2))
    assert (point.status, point.iterations) == (InteriorStatus.LIMIT, 2)
    assert not point.converged


def test_contradicting_bounds_are_reported_infeasible(problem) -> None:
    """The cable cannot carry what the homes must export."""
    numbers = _numbers(problem, 30.0)
    numbers.x_hi[problem.program.variables["p_curtail"].span] = 1e-3
    point = solve_interior(problem.program, numbers)
    assert point.status is InteriorStatus.INFEASIBLE
    assert not point.converged


def test_settings_never_loosen_the_limits_and_extras_win() -> None:
    settings = _ipopt_settings(IpoptOptions(extra={"tol": 1e-6, "print_level": 5}), 10.0, False)
    assert settings["bound_relax_factor"] == 0.0
    assert settings["nlp_scaling_method"] == "none"
    assert (settings["tol"], settings["print_level"], settings["obj_scaling_factor"]) == (1e-6, 5, 10.0)
    assert "warm_start_init_point" not in settings
    assert _ipopt_settings(IpoptOptions(), 1.0, True)["warm_start_init_point"] == "yes"
