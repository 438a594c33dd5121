"""The programme's own power flow: curtailment held, limits ignored, honest when there is no answer."""

import numpy as np
import pytest

from dms import NORMS, compile
from dms.powerflow import PowerFlow
from feeders import Feeder


@pytest.mark.parametrize("norm", NORMS)
def test_equalities_hold_and_the_curtailment_stays(zoo: Feeder, norm: str) -> None:
    problem = compile(zoo, norm=norm)
    numbers = problem.at(problem.request(np.full(7, 40.0)))
    curtail = np.full(len(problem.units.name), 0.005)
    point = problem.power_flow.solve(numbers, curtail)
    assert point.converged
    assert point.residual < 1e-11
    gap = problem.program.constraints(point.x) - numbers.row_lo
    laws = np.concatenate(
        [b.index for n, b in problem.program.rows.items() if n not in ("v_band", "i_limit", "peak_above")]
    )
    assert np.abs(gap[laws]).max() < 1e-11
    assert point.x[problem.program.variables["p_curtail"].span].tolist() == curtail.tolist()


def test_limits_are_ignored(zoo: Feeder) -> None:
    problem = compile(zoo)
    numbers = problem.at(problem.request(np.full(7, 90.0)))
    point = problem.power_flow.solve(numbers)
    band = problem.program.rows["v_band"].span
    assert point.converged
    assert (problem.program.constraints(point.x)[band] > numbers.row_hi[band]).any()


def test_no_solution_is_not_called_one(street) -> None:
    problem = compile(street(loads=((1, 1e4, 0.0),)))
    point = problem.power_flow.solve(problem.at(problem.request(np.zeros(2))))
    assert not point.converged
    assert not point.residual < 1e-6


def test_a_programme_with_other_than_as_many_laws_as_states_is_refused(zoo: Feeder) -> None:
    program = compile(zoo).program
    with pytest.raises(ValueError, match="state equations for"):
        PowerFlow(program, added=("p_load",))


def test_no_load_voltages_are_those_of_the_circuit(street) -> None:
    problem = compile(street(z_ohm=(0.1, 0.1), i_max_a=(10.0, 10.0)))
    x = problem.power_flow.solve(problem.at(problem.request(np.zeros(2)))).x
    assert x[problem.program.variables["v_re"].span] == pytest.approx([1.0, 1.0, 1.0])
