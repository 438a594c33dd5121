"""Binding limits: what each is worth against solving again, and whom it curtails against stationarity."""

from dataclasses import fields

import numpy as np
import pytest

from dms import NORMS, DmsProblem, DmsRequest, DmsSolution, IpoptOptions, Limits, compile, solve
from dms.certificate import measure, run
from dms.diagnose import Binding, binding_limits, causes, marginal_causes, marginal_cost
from dms.sensitivity import active_set
from feeders import Connections, Feeder, Inverters, Lines, Loads, library
from feeders.table import Array

WIDE = Limits(v_min_pu=0.5, v_max_pu=1.5)
EXACT = IpoptOptions(tol=1e-11)


def _solved(
    feeder: Feeder, norm: str, limits: Limits, p_kw: Array, **given
) -> tuple[DmsProblem, DmsRequest, DmsSolution]:
    problem = compile(feeder, norm=norm, limits=limits)
    loads = feeder[Loads]
    request = problem.request(p_kw, p_load_kw=0.1 * loads.p_kw, q_load_kvar=0.1 * loads.q_kvar)
    solution = solve(problem, request, options=EXACT)
    assert solution.status == "curtailed"
    return problem, request, solution


@pytest.fixture(scope="module")
def village() -> Feeder:
    """Forty buses, half of the loads with PV."""
    return library.load("synthetic", n_buses=40, seed=1, prosumers=0.5)


def _exports(feeder: Feeder) -> Array:
    problem = compile(feeder)
    rng = np.random.default_rng(3)
    return rng.uniform(20.0, 60.0, len(problem.units.of_connection))


@pytest.mark.parametrize("norm", NORMS)
def test_what_an_ampere_is_worth_is_what_solving_again_with_one_more_saves(street, norm) -> None:
    def solved(i_max_a: float):
        feeder = street(z_ohm=(0.05 + 0.02j,) * 2, i_max_a=(i_max_a, 300.0), homes=((1,), (2,)))
        return _solved(feeder, norm, Limits(v_max_pu=1.5), np.array([20.0, 20.0]))

    problem, request, solution = solved(100.0)
    found = binding_limits(problem, request, solution)
    assert set(found.group) == {found.group[0]}, "both ends of one cable are one limit"
    step = 0.02
    above, below = (solved(100.0 + way)[2] for way in (step, -step))
    saved = (below.total_curtailed_kw - above.total_curtailed_kw) / (2 * step)
    assert found.kw_per_unit.sum() == pytest.approx(saved, rel=1e-3)
    peak = (below.largest_kw - above.largest_kw) / (2 * step)
    if norm != "l1":  # which of the two homes gives way under l1 is a matter of losses, not of the limit
        assert found.peak_kw_per_unit.sum() == pytest.approx(peak, rel=1e-3)


@pytest.mark.parametrize("norm", NORMS)
def test_what_a_voltage_limit_is_worth(village, norm) -> None:
    """All limits that bind are raised at once; the sum of what each is worth is what that saves."""
    p_kw, step = _exports(village), 1e-5
    problem, request, solution = _solved(village, norm, Limits(v_max_pu=1.05), p_kw)
    found = binding_limits(problem, request, solution)
    assert found.binding.any()
    assert set(found.rows.kind) == {"v_max"}
    around = [_solved(village, norm, Limits(v_max_pu=1.05 + way), p_kw)[2] for way in (-step, step)]
    saved = (around[0].total_curtailed_kw - around[1].total_curtailed_kw) / (2 * step / 0.01)
    assert found.kw_per_unit.sum() == pytest.approx(saved, rel=1e-2)


@pytest.mark.parametrize(
    "norm", [n for n in NORMS if n != "proportional"]
)  # which cuts those who do not help
def test_causes_of_a_home_between_its_bounds_sum_to_what_curtailing_it_costs(village, norm) -> None:
    problem, request, solution = _solved(village, norm, Limits(v_max_pu=1.05), _exports(village))
    found = binding_limits(problem, request, solution)
    point = solution.point
    active = active_set(problem.program, problem.at(request, solution.values), point)
    between = active.free[problem.program.variables["p_curtail"].span]
    assert between.any()
    cost, asked = marginal_cost(problem, point), marginal_causes(found).sum(axis=0)
    np.testing.assert_allclose(asked[between], cost[between], rtol=1e-5, atol=1e-6 * cost.max())
    why = causes(solution, found)
    curtailed = np.flatnonzero(solution.unit_curtail_kw > 0.1)
    assert set(why.unit) == set(curtailed), "no home is curtailed without a cause"
    for unit in curtailed:
        share = why.share[why.unit == unit]
        assert share[share > 0].sum() == pytest.approx(1.0, abs=0.05)
    assert (np.diff(solution.unit_curtail_kw[why.unit]) <= 1e-9).all(), "the most curtailed come first"


def test_a_kilowatt_of_a_home_raises_its_voltage_by_what_the_table_says(village) -> None:
    p_kw = _exports(village)
    problem, request, solution = _solved(village, "l2", Limits(v_max_pu=1.05), p_kw)
    found = binding_limits(problem, request, solution)
    why = causes(solution, found)
    unit, limit = int(why.unit[0]), int(why.limit[0])
    more = solution.p_adjusted_kw + 0.01 * (np.arange(len(p_kw)) == unit)
    state = measure(problem.network, run(problem.network, request.exporting(more)), problem.values)
    at = np.flatnonzero(problem.feeder.node_names[problem.values.node] == found.rows.element[limit])
    rise = (state.v_pu[at] - solution.state.v_pu[at]) / 0.01
    assert why.per_kw[0] == pytest.approx(float(rise[0]), rel=1e-3)


def test_a_power_flow_that_decides_alone_leaves_no_multiplier(street) -> None:
    feeder = street(i_max_a=(100.0,), homes=((1,),))
    problem = compile(feeder, norm="l2", limits=Limits(v_max_pu=1.5))
    request = problem.request(np.array([5.0]))
    solution = solve(problem, request)
    found = binding_limits(problem, request, solution)
    assert isinstance(found, Binding)
    assert len(found) == 0
    assert len(causes(solution, found)) == 0


def test_limits_broken_without_export_are_set_apart(street) -> None:
    """30 A flow in through a cable of 20 A: no home causes that; the limit is listed as widened."""
    feeder = street(i_max_a=(20.0,), homes=((1,),), loads=((1, 7.2, 0.0),))
    problem = compile(feeder, norm="l2", limits=Limits(v_min_pu=0.5, v_max_pu=1.5))
    request = problem.request(np.array([30.0]))
    solution = solve(problem, request, options=EXACT)
    found = binding_limits(problem, request, solution)
    assert found.preexisting.all()
    assert found.rows.original == pytest.approx(20.0)
    assert (found.rows.limit > 30.0).all()


def test_parallel_cables_are_one_cause(village) -> None:
    """Every line twice, each with twice the impedance: the same circuit, and no more causes."""
    lines = village[Lines]
    half = lines.replace(z_ohm=2 * lines.z_ohm, c_nf=lines.c_nf / 2, i_max_a=lines.i_max_a / 2)
    columns = {f.name: np.concatenate([getattr(half, f.name)] * 2) for f in fields(half)}
    columns["name"] = np.array([f"{n}{k // len(lines)}" for k, n in enumerate(columns["name"])], dtype=object)
    found, why = [], []
    for feeder in (village, village.with_tables(Lines(**columns))):
        limits = Limits(v_max_pu=1.2, i_scale=0.2)
        problem, request, solution = _solved(feeder, "l2", limits, 2 * _exports(village))
        found.append(binding_limits(problem, request, solution))
        why.append(causes(solution, found[-1]))
    one, two = found
    assert len(two) == 2 * len(one) > 0
    assert len(set(two.group)) == len(set(one.group))
    assert two.kw_per_unit.sum() == pytest.approx(2 * one.kw_per_unit.sum(), rel=1e-3), "an ampere in each"
    np.testing.assert_array_equal(why[0].unit, why[1].unit)
    np.testing.assert_allclose(why[0].share, why[1].share, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        (Inverters("volt_var"), "inverter_rating"),
        (Inverters("unity", volt_watt=((1.03, 1.0), (1.06, 0.2))), "volt_watt"),
    ],
)
def test_an_inverter_that_holds_its_own_home_back_is_its_cause(street, rule, kind) -> None:
    """100 kW asked of 60 kVA behind a cable without limits."""
    feeder = street(z_ohm=(0.05 + 0.02j,), i_max_a=(9e3,), homes=((1,),))
    feeder = feeder.with_tables(feeder[Connections].replace(s_inverter_kva=np.array([60.0])))
    problem, request, solution = _solved(rule.on(feeder), "l2", WIDE, np.array([100.0]))
    found = binding_limits(problem, request, solution)
    why = causes(solution, found)
    assert found.rows.kind[why.limit].tolist() == [kind]
    assert why.share.tolist() == [1.0]
    assert why.asked[0] == pytest.approx(marginal_cost(problem, solution.point)[0], rel=1e-5)
