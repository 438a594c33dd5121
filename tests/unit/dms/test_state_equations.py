"""Linear solves with the state Jacobian: condensed or not, they are those of the whole matrix."""

import numpy as np
import pytest

from dms import Controls, compile
from dms.program import Program, RowValues
from dms.state_equations import StateEquations, StateFactors
from feeders import Feeder
from feeders.table import Array


def _equations(program: Program, x: Array) -> tuple[StateEquations, StateFactors]:
    rows, cols = program.row_indices("law", "power"), program.columns("state", "drawn")
    equations = StateEquations.of(program, rows, cols, x)
    return equations, StateFactors(equations, equations.whole.at(program.jacobian(x)))


@pytest.fixture
def program_and_point(zoo: Feeder) -> tuple[Program, Array]:
    problem = compile(zoo)
    return problem.program, problem.power_flow.solve(problem.at(problem.request(np.full(7, 40.0)))).x


def test_solves_are_those_of_the_whole_jacobian(program_and_point: tuple[Program, Array]) -> None:
    program, x = program_and_point
    equations, factors = _equations(program, x)
    rows, cols = program.row_indices("law", "power"), program.columns("state", "drawn")
    matrix = program.jacobian_matrix(x)[rows][:, cols].toarray()
    assert np.abs(equations.whole.at(program.jacobian(x)).toarray() - matrix).max() == 0
    b = np.random.default_rng(0).normal(size=(len(rows), 2))
    for found, a in ((factors.solve(b), matrix), (factors.solve_transposed(b), matrix.T)):
        assert found is not None
        assert np.abs(a @ found - b).max() <= 1e-9 * np.abs(b).max()
    rough = factors.approximate(b)
    assert np.abs(matrix @ rough - b).max() <= 1e-3 * np.abs(b).max()


def test_laws_with_a_free_tap_are_not_condensed(controllable: Feeder) -> None:
    """Their coefficients are no constants then; the factors at another tap are right all the same."""
    kept = {}
    for taps in ((), ("dy",)):
        problem = compile(controllable, controls=Controls(taps=taps))
        request = problem.request(np.full(7, 40.0))
        program, x = problem.program, problem.power_flow.solve(problem.at(request)).x
        equations, _ = _equations(program, x)
        kept[taps] = len(program.row_indices("law")) - len(equations.gone[0])
        if taps:
            x[program.variables["position"].span] *= 1.02
        moved = StateFactors(equations, equations.whole.at(program.jacobian(x)))
        trial = np.cos(np.arange(moved.matrix.shape[0]))
        found = moved.solve(trial)
        assert found is not None
        assert np.abs(moved.matrix @ found - trial).max() <= 1e-9
    assert kept[("dy",)] > kept[()]


def test_a_start_near_by_ends_at_the_same_solution(program_and_point: tuple[Program, Array]) -> None:
    program, x = program_and_point
    _, factors = _equations(program, x)
    b = np.cos(np.arange(factors.matrix.shape[0]))
    plain = factors.solve_transposed(b)
    assert plain is not None
    again = factors.solve_transposed(b, start=plain + 1e-3 * np.abs(plain).max())
    assert again == pytest.approx(plain, rel=1e-6, abs=1e-8 * np.abs(plain).max())


def test_some_rows_have_the_values_that_they_have_among_all(program_and_point: tuple[Program, Array]) -> None:
    program, x = program_and_point
    rows = np.arange(3, program.m, 4)
    assert RowValues.of(program, rows).at(x) == pytest.approx(program.constraints(x)[rows], rel=1e-14)
