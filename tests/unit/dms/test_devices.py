"""The laws of the devices against the independent power flow on primitive elements."""

import numpy as np
import pytest

from dms import DmsProblem, DmsRequest, Limits, compile
from dms.certificate import measure, run
from dms.devices import DEVICES, in_feeder, line, source
from dms.regimes import Regimes
from feeders import Connections, Feeder, Generators, Loads, Switches, Windings

AGREE_PU = 1e-9


@pytest.fixture(params=["zoo", "zoo_backwards", "three_winding"])
def feeder(request: pytest.FixtureRequest) -> Feeder:
    return request.getfixturevalue(request.param)


def _request(problem: DmsProblem, seed: int) -> DmsRequest:
    rng = np.random.default_rng(seed)
    n, loads = len(problem.feeder[Connections]), problem.feeder[Loads]
    return problem.request(
        rng.uniform(0, 60, n),
        p_import_kw=rng.uniform(0, 20, n),
        q_kvar=rng.uniform(-15, 15, n),
        p_load_kw=loads.p_kw * rng.uniform(0.5, 1.5, len(loads)),
        q_load_kvar=loads.q_kvar * rng.uniform(0.5, 1.5, len(loads)),
    )


@pytest.mark.parametrize("seed", range(4))
def test_voltages_and_limited_currents_agree_with_the_independent_power_flow(
    feeder: Feeder, seed: int
) -> None:
    """Two statements of the same physics that share no code."""
    problem = compile(feeder, limits=Limits(i_max_default_a=100.0))
    request = _request(problem, seed)
    flow = run(problem.network, request)
    point = problem.power_flow.solve(problem.at(request, regimes=Regimes(flow.v)))
    assert point.converged
    assert flow.converged
    blocks, rows = problem.program.variables, problem.program.rows
    v = point.x[blocks["v_re"].span] + 1j * point.x[blocks["v_im"].span]
    assert np.abs(v - flow.v[1:] / feeder.v_base_v[1:]).max() < AGREE_PU
    state = measure(problem.network, flow, problem.values)
    values = problem.program.constraints(point.x)
    for name, unit, least in (("i_limit", "A", 20.0), ("s_limit", "VA", 2e4)):
        here = problem.values.unit == unit
        if here.any() or unit == "A":
            squares = values[rows[name].span]  # (through / rating)^2
            assert state.through[here].max() > least
            share = state.through[here] / problem.values.rating[here]
            assert np.abs(squares - share**2).max() < AGREE_PU
    np.testing.assert_allclose(np.sqrt(values[rows["v_band"].span]), state.v_pu, atol=AGREE_PU)


def test_a_curtailment_is_split_by_the_shares(zoo: Feeder) -> None:
    problem = compile(zoo)
    request = problem.request(np.full(7, 30.0))
    unit = problem.units.name.tolist().index("three")
    curtail_kw = np.zeros(len(problem.units.name))
    curtail_kw[unit] = 20.0
    split_kw = problem.units.split_kw(curtail_kw)
    assert split_kw.tolist() == [0.0, 10.0, 0.0, 6.0, 0.0, 4.0, 0.0]
    flow = run(problem.network, request, split_kw)
    x = problem.power_flow.solve(problem.at(request, regimes=Regimes(flow.v)), curtail_kw / 1e3).x
    blocks = problem.program.variables
    v = x[blocks["v_re"].span] + 1j * x[blocks["v_im"].span]
    assert np.abs(v - flow.v[1:] / zoo.v_base_v[1:]).max() < AGREE_PU


def test_an_open_switch_has_no_current_and_no_row(zoo: Feeder) -> None:
    program = compile(zoo).program
    assert program.variables["i_switch_re"].label.tolist() == ["breaker.1", "breaker.2", "breaker.3"]
    closed = zoo.with_tables(zoo[Switches].replace(closed=np.array([True, True])))
    assert len(compile(closed).program.variables["i_switch_re"].label) == 6


def test_a_tap_moves_the_voltage_as_its_ratio_says(zoo: Feeder) -> None:
    """Without any load, raising the high-voltage turns by 1 % lowers the low voltage by 1 %."""
    nothing = [
        zoo[t].replace(p_kw=np.zeros(len(zoo[t])), q_kvar=np.zeros(len(zoo[t]))) for t in (Loads, Generators)
    ]
    idle = zoo.with_tables(*nothing)
    tap = idle[Windings].tap.copy()
    tap[2] *= 1.01  # winding 0 of the delta-wye unit
    raised = idle.with_tables(idle[Windings].replace(tap=tap))
    low = idle.node("lv.1") - 1
    v = []
    for feeder in (idle, raised):
        problem = compile(feeder)
        x = problem.power_flow.solve(problem.at(problem.request(np.zeros(7)))).x
        blocks = problem.program.variables
        v.append(abs(complex(x[blocks["v_re"].start + low], x[blocks["v_im"].start + low])))
    assert v[0] / v[1] == pytest.approx(1.01, rel=2e-4)


def test_only_the_devices_that_are_there_are_built(street, zoo: Feeder) -> None:
    assert in_feeder(zoo) == list(DEVICES.values())
    plain = street()
    assert in_feeder(plain)[:2] == [source, line]
    assert len(in_feeder(plain)) == 3
    assert not {"p_load", "ohm_switch_re", "leakage_transformer_re"} & set(compile(plain).program.rows)
