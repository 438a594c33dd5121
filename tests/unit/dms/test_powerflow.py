"""The programme's own power flow: curtailment held, limits ignored, honest when there is no answer."""

from dataclasses import replace

import numpy as np
import pytest

from dms import NORMS, Status, compile, solve
from dms.powerflow import PowerFlow
from feeders import Feeder, Switches


@pytest.mark.parametrize("norm", NORMS)
def test_equalities_hold_and_the_curtailment_stays(zoo: Feeder, norm: str) -> None:
    problem = compile(zoo, norm=norm)
    numbers = problem.at(problem.request(np.full(7, 40.0)))
    curtail = np.full(len(problem.units.name), 0.005)
    point = problem.power_flow.solve(numbers, curtail)
    assert point.converged
    assert point.residual < 1e-11
    gap = problem.program.constraints(point.x) - numbers.row_lo
    laws = np.concatenate([b.index for b in problem.program.rows.values() if b.role != "limit"])
    assert np.abs(gap[laws]).max() < 1e-11
    assert point.x[problem.program.variables["p_curtail"].span].tolist() == curtail.tolist()


def test_limits_are_ignored(zoo: Feeder) -> None:
    problem = compile(zoo)
    numbers = problem.at(problem.request(np.full(7, 90.0)))
    point = problem.power_flow.solve(numbers)
    band = problem.program.rows["v_band"].span
    assert point.converged
    assert (problem.program.constraints(point.x)[band] > numbers.row_hi[band]).any()


@pytest.mark.parametrize("load_kw", [1e4, 1e200, 1e306])
def test_no_solution_is_not_called_one(street, load_kw: float) -> None:
    """Also where Newton's steps leave the range of numbers."""
    problem = compile(street(loads=((1, load_kw, 0.0),)))
    with np.errstate(over="ignore", invalid="ignore"):
        point = problem.power_flow.solve(problem.at(problem.request(np.zeros(2))))
    assert not point.converged
    assert not point.residual < 1e-6


def test_a_dead_section_with_loads_has_no_solution(zoo: Feeder) -> None:
    """With the breaker open, loads stand at zero volt and the Jacobian is singular."""
    open_ = zoo[Switches].replace(closed=np.array([False, False]))
    problem = compile(zoo.with_tables(open_))
    point = problem.power_flow.solve(problem.at(problem.request(np.zeros(7))))
    assert not point.converged
    solution = solve(problem, problem.request(np.full(7, 1.0)))
    assert solution.status is Status.NO_OPERATING_POINT


def test_a_programme_with_other_than_as_many_laws_as_states_is_refused(zoo: Feeder) -> None:
    program = compile(zoo).program
    rows = {**program.rows, "p_load": replace(program.rows["p_load"], role="limit")}
    with pytest.raises(ValueError, match="state equations for"):
        PowerFlow(replace(program, rows=rows))


def test_no_load_voltages_are_those_of_the_circuit(street) -> None:
    problem = compile(street(z_ohm=(0.1, 0.1), i_max_a=(10.0, 10.0)))
    x = problem.power_flow.solve(problem.at(problem.request(np.zeros(2)))).x
    assert x[problem.program.variables["v_re"].span] == pytest.approx([1.0, 1.0, 1.0])
