"""The linear algebra of sensitivities: projections are exact, shares are equal, adjoints are derivatives."""

import numpy as np
import pytest

from dms import Limits, compile
from dms.sensitivity import Held, Reduced, network_rows, own_rows
from feeders import library


def test_a_move_touches_no_limit_even_where_two_are_all_but_opposed() -> None:
    rows = np.array([[1.0, 1e-3, 0.0, 2.0], [1.0, 0.0, 1e-3, 2.0], [0.0, 5.0, 0.0, 0.0]])
    held = Held(rows)
    move = held.along(np.array([1.0, -2.0, 3.0, 0.5]))
    assert np.abs(rows @ move).max() < 1e-12
    np.testing.assert_allclose(held.along(move), move, atol=1e-14)
    mu = np.array([3.0, -40.0, 7.0])
    np.testing.assert_allclose(held.multipliers(rows.T @ mu), mu, rtol=1e-9)


def test_limits_that_ask_the_same_share_equally() -> None:
    row = np.array([2.0, -1.0, 0.5])
    held = Held(np.array([row, row, 3 * row]))
    mu = held.multipliers(row)
    assert (mu * [1, 1, 3]).sum() == pytest.approx(1.0)
    assert mu[0] == pytest.approx(mu[1])


def test_reduced_gradient_is_the_derivative_along_the_power_flow() -> None:
    feeder = library.load("synthetic", n_buses=20, seed=1, prosumers=0.5)
    problem = compile(feeder, limits=Limits())
    program, n = problem.program, len(problem.units.name)
    numbers = problem.at(problem.request(np.full(len(problem.units.of_connection), 20.0)))
    rows = network_rows(program)[::7]
    at, step = np.full(n, 5e-3), 1e-5

    def values(curtail):
        return program.constraints(problem.power_flow.solve(numbers, curtail).x)[rows]

    x = problem.power_flow.solve(numbers, at).x
    reduced = Reduced(program, x)
    home = n // 2
    moved = step * (np.arange(n) == home)
    slope = (values(at + moved) - values(at - moved)) / (2 * step)
    column = np.searchsorted(reduced.controls, program.variables["p_curtail"].start + home)
    found = reduced.gradient(rows)[:, column]
    np.testing.assert_allclose(found, slope, atol=1e-6 * np.abs(slope).max(), rtol=1e-5)


def test_the_peak_of_linf_is_its_own_limit_and_not_the_networks() -> None:
    feeder = library.load("synthetic", n_buses=20, seed=1, prosumers=0.5)
    program = compile(feeder, norm="linf").program
    np.testing.assert_array_equal(own_rows(program), program.rows["peak_above"].index)
    both = np.concatenate([network_rows(program), own_rows(program)])
    np.testing.assert_array_equal(np.sort(both), program.row_indices("limit"))
