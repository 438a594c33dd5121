"""Curvature along the laws, and what the reduced method makes of it."""

import numpy as np
import pytest

from dms import Limits, compile, solve
from dms.adjoint import Sensitivity
from dms.powerflow import PowerFlow
from dms.stationarity import Balance, complementarity
from feeders import Connections, library


def _problem(norm: str = "l1"):
    feeder = library.load("synthetic", n_buses=40, seed=2, prosumers=0.5)
    problem = compile(feeder, norm=norm, limits=Limits(v_min_pu=0.5, v_max_pu=1.03))
    return problem, problem.request(2.0 * feeder[Connections].p_pv_max_kw)


def test_curvature_is_that_of_the_limits_along_power_flows() -> None:
    """Z' (sum lambda_k hess c_k) Z against second differences of sum lambda_k h_k at power flows."""
    problem, request = _problem()
    numbers = problem.at(request)
    flow = PowerFlow(problem.program)
    split = Sensitivity(flow)
    x = flow.solve(numbers).x
    here = split.at(x)
    rng = np.random.default_rng(0)
    chosen = np.flatnonzero(~split.linear)[:6]
    weight = rng.uniform(0.5, 1.0, len(chosen))
    here.gradients(chosen)
    multipliers = np.zeros(problem.program.m)
    multipliers[split.limits[chosen]] = weight
    multipliers[flow.rows] = here.law_multipliers_of(weight)
    controls = np.array([0, 2, 5])
    found = here.curvature(here.moves(controls), multipliers)

    def value(step: np.ndarray) -> float:
        curtail = np.zeros(len(problem.units.name))
        curtail[controls] = step
        h = problem.program.constraints(flow.solve(numbers, curtail, tolerance=1e-13).x)
        return float(weight @ h[split.limits[chosen]])

    size, e = 2e-3, np.eye(3)
    for i in range(3):
        for j in range(3):
            ends = [value(size * (a * e[i] + b * e[j])) for a, b in ((1, 1), (1, -1), (-1, 1), (-1, -1))]
            second = (ends[0] - ends[1] - ends[2] + ends[3]) / (4 * size**2)
            assert found[i, j] == pytest.approx(second, rel=2e-3, abs=2e-3 * np.abs(found).max())


def test_the_last_rounds_square_the_error() -> None:
    """With the curvature a linear norm needs a handful of rounds, also where homes stand between bounds."""
    for norm in ("l1", "linf", "linf_l1"):
        problem, request = _problem(norm)
        found = solve(problem, request, method="reduced")
        assert found.method == "reduced"
        assert found.iterations <= 8 * problem.program.stages


def test_a_balance_counts_what_a_pull_may_gain() -> None:
    pull, room = np.array([2.0, -1.0, 0.0]), (np.array([0.5, 9.0, 9.0]), np.array([9.0, 0.25, 9.0]))
    flat = Balance.of(pull, room, np.zeros(3), lost=0.5, size=2.0, f=10.0)
    assert flat.gain == pytest.approx((0.5 + 2.0 * 0.5 + 1.0 * 0.25) / 10.0)
    assert flat.unused == pytest.approx(0.05)
    assert flat.residual == pytest.approx(0.5)  # of the first: pull 2 / 2, but only 0.5 to go
    bent = Balance.of(pull, room, np.array([100.0, 0.0, 0.0]), lost=0.0, size=2.0, f=10.0)
    assert bent.gain == pytest.approx((2.0**2 / 200.0 + 0.25) / 10.0)
    assert not flat.holds(curved=False, tied=False)
    assert Balance(0.0, 0.0, 0.0).holds(curved=True, tied=False)


def test_complementarity_is_of_the_bound_that_a_multiplier_stands_for() -> None:
    lost = complementarity(
        np.array([2.0, -3.0, 0.0]), np.array([-5.0, -0.5, -1.0]), np.array([0.25, 7.0, 1.0])
    )
    assert lost == pytest.approx(2.0 * 0.25 + 3.0 * 0.5)
