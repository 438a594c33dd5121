"""Ticks without an answer: what blocks them has a name, and none is called infeasible that is not."""

from functools import partial

import numpy as np
import pytest

from dms import Blocked, DmsProblem, Infeasibility, Limits, Status, compile, explain_infeasible, solve
from dms.certificate import measure, run
from dms.elastic import support_of, with_limit_slack, with_support
from dms.program import Program
from dms.sensitivity import network_rows
from feeders import Feeder, Loads, library
from feeders.table import Array

WIDE = {"v_min_pu": 0.5, "v_max_pu": 1.5}
Z = 0.05 + 0.02j


def _strict(feeder: Feeder, **limits) -> DmsProblem:
    return compile(feeder, norm="l2", limits=Limits(**{**WIDE, **limits}, preexisting="strict"))


def _names(found: Infeasibility) -> set[str]:
    return {element.rsplit(" phase", 1)[0] for element in found.elements}


def test_the_one_cable_is_named_whose_rating_is_below_what_flows_without_export(street) -> None:
    """30 A flow through c2 whatever the home before it does; c1 and c3 have room."""
    feeder = street(z_ohm=(Z, Z, Z), i_max_a=(300.0, 20.0, 300.0), homes=((1,),), loads=((2, 7.2, 0.0),))
    problem = _strict(feeder)
    request = problem.request(np.array([5.0]))
    solution = solve(problem, request)
    assert solution.status is Status.INFEASIBLE
    found = explain_infeasible(problem, request)
    assert found.kind is Blocked.BY_LIMITS
    assert _names(found) == {"line c2"}
    slack = found.of("limits")[0]
    assert slack.limit == pytest.approx(20.0)
    assert slack.amount == pytest.approx(solution.state.through[2] - 20.0, abs=1.0)
    assert {p.element.rsplit(" phase", 1)[0] for p in solution.preexisting} == {"line c2"}


def test_support_goes_where_the_cable_needs_it(street) -> None:
    feeder = street(z_ohm=(Z, Z, Z), i_max_a=(300.0, 20.0, 300.0), homes=((1,),), loads=((2, 7.2, 0.0),))
    problem = _strict(feeder)
    found = explain_infeasible(problem, problem.request(np.array([5.0])))
    sparse, spread = found.of("currents_sparse"), found.of("currents_spread")
    assert sparse[0].element in ("b2.1", "b3.1"), "behind the cable, nowhere else"
    assert 0 < len(sparse) < len(spread)
    flow = 7.2e3 / 240
    assert sum(s.amount for s in sparse) == pytest.approx(flow - 20.0, rel=0.2)
    assert max(s.amount for s in spread) < max(s.amount for s in sparse)


def test_what_export_mends_is_told_apart(street) -> None:
    """Zero export overloads the cable, all of it does the other way; the right part of it does not."""
    feeder = street(z_ohm=(Z,), i_max_a=(20.0,), homes=((1,),), loads=((1, 7.2, 0.0),))
    problem = _strict(feeder)
    request = problem.request(np.array([30.0]))
    solution = solve(problem, request).raise_for_status()
    assert (solution.status, solution.certificate.safe) == (Status.CURTAILED, "yes")
    found = explain_infeasible(problem, request)
    assert found.kind is Blocked.AT_ZERO_EXPORT
    assert set(found.elements) == {p.element for p in solution.preexisting}
    state = measure(problem.network, run(problem.network, request, found.unit_curtail_kw), problem.values)
    assert state.within(0.0, 0.0)
    rest = measure(problem.network, run(problem.network, request, request.p_export_kw), problem.values)
    relaxed = explain_infeasible(problem, request, values=problem.values.relaxed(rest.found))
    assert relaxed.kind is Blocked.NOT_AT_ALL, "once widened, nothing blocks"


def test_no_operating_point_says_which_nodes_need_support(street) -> None:
    """240 V through 0.1 ohm carry 140 kW at the most; the load asks for 200, and support brings the rest."""
    feeder = street(z_ohm=(Z, Z), i_max_a=(np.nan, np.nan), homes=((1,),), loads=((2, 200.0, 0.0),))
    problem = _strict(feeder)
    request = problem.request(np.array([5.0]))
    assert solve(problem, request).status is Status.NO_OPERATING_POINT
    found = explain_infeasible(problem, request)
    assert found.kind is Blocked.NO_OPERATING_POINT
    assert found.elements == ("b2.1",)
    (slack,) = found.of("currents_sparse")
    assert found.of("currents_spread")
    helped = problem.request(
        np.array([0.0]),
        p_load_kw=np.array([200.0 - 1.05 * slack.p_kw]),
        q_load_kvar=np.array([-1.05 * slack.q_kvar]),
    )
    assert run(problem.network, helped).converged, "with that support there is a state"
    less = problem.request(
        np.array([0.0]),
        p_load_kw=np.array([200.0 - 0.8 * slack.p_kw]),
        q_load_kvar=np.array([-0.8 * slack.q_kvar]),
    )
    assert not run(problem.network, less).converged, "with less there is none"


def test_a_tick_that_has_an_answer_is_blocked_by_nothing(street) -> None:
    feeder = street(z_ohm=(Z, Z), i_max_a=(100.0, 300.0), homes=((1,), (2,)))
    problem = _strict(feeder)
    request = problem.request(np.array([20.0, 20.0]))
    found = explain_infeasible(problem, request)
    assert found.kind is Blocked.NOT_AT_ALL
    assert found.elements == found.slacks == ()


def test_every_limit_that_has_to_give_is_broken_without_export_or_by_any(village) -> None:
    """A source at 1.04 pu and a band to 1.02: infeasible, and the source's own nodes are named."""
    problem = compile(village, limits=Limits(v_max_pu=1.02, preexisting="strict"))
    loads = village[Loads]
    request = problem.request(_exports(problem), p_load_kw=0.1 * loads.p_kw, q_load_kvar=0.1 * loads.q_kvar)
    solution = solve(problem, request)
    assert solution.status is Status.INFEASIBLE
    found = explain_infeasible(problem, request, currents=False)
    assert {"source.1", "source.2", "source.3"} <= set(found.elements)
    assert set(found.elements) <= {p.element for p in solution.preexisting}
    zero = explain_infeasible(problem, request.without_export(), currents=False)
    give = [sum(s.amount for s in f.of("limits")) for f in (found, zero)]
    assert give[0] <= give[1] + 1e-6, "export that may be curtailed never makes it worse"


@pytest.fixture(scope="module")
def village() -> Feeder:
    return library.load("synthetic", n_buses=40, seed=1, prosumers=0.5)


def _exports(problem: DmsProblem) -> Array:
    return np.random.default_rng(3).uniform(20.0, 60.0, len(problem.units.of_connection))


def _all_may_give(program: Program) -> Program:
    return with_limit_slack(program, network_rows(program))


@pytest.mark.parametrize(
    "build", [_all_may_give, partial(with_support, sparse=True), partial(with_support, sparse=False)]
)
def test_without_slack_the_elastic_programme_is_the_programme(village, build) -> None:
    program = compile(village).program
    elastic = build(program)
    x = np.random.default_rng(0).normal(size=program.n)
    padded = np.concatenate([x, np.zeros(elastic.n - program.n)])
    np.testing.assert_array_equal(elastic.constraints(padded), program.constraints(x))
    assert elastic.objective(padded) == 0.0
    assert program.variables.keys() < elastic.variables.keys()


def test_support_enters_kirchhoffs_law_where_it_is_fed_in(village) -> None:
    program = compile(village).program
    elastic = with_support(program, True)
    x = np.zeros(elastic.n)
    x[elastic.variables["support_im_out"].start + 3] = 0.25
    change = elastic.constraints(x) - program.constraints(x[: program.n])
    assert np.flatnonzero(change).tolist() == [program.rows["kcl_im"].start + 3]
    assert support_of(elastic, x)[3] == -0.25j
