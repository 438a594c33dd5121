"""Every rung of the solve ladder is reached when those before it fail; what is sent is what is certified."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import dms.interior
import dms.tick
from anoca.studies.benching.seeded import seeded_case
from dms import (
    DmsProblem,
    DmsRequest,
    DmsSolution,
    IpoptOptions,
    Limits,
    Status,
    UncertifiedError,
    certify,
    compile,
    rungs,
)
from dms.certificate import run
from dms.diagnose import binding_limits
from dms.interior import InteriorPoint, InteriorStatus
from dms.tick import ROUND_KW
from feeders import Connections, Feeder, library

REAL = dms.interior.solve


def solve(problem: DmsProblem, request: DmsRequest, **given) -> DmsSolution:
    """Ipopt's rungs alone; those of the other methods are in tests of their own."""
    return dms.solve(problem, request, method="ipopt", **given)


LIMITS = Limits(v_max_pu=1.5)


@pytest.fixture
def problem(street) -> DmsProblem:
    """Two homes at the ends of two sections; the first section is the bottleneck."""
    return compile(_feeder(street), norm="l2", limits=LIMITS)


def _feeder(street) -> Feeder:
    return street(z_ohm=(0.05 + 0.02j, 0.05 + 0.02j), i_max_a=(100.0, 300.0), homes=((1,), (2,)))


def _request(problem: DmsProblem, kw: float = 20.0):
    return problem.request(np.array([kw, kw]))


Tamper = Callable[[InteriorPoint, DmsProblem], InteriorPoint]


class FakeIpopt:
    """Stands in for `dms.interior.solve`: the first `n` answers are tampered with, the rest are real."""

    def __init__(self, problem: DmsProblem, n: int, tamper: Tamper) -> None:
        self.problem, self.n, self.tamper = problem, n, tamper
        self.calls = 0
        self.starts: list[np.ndarray] = []
        self.warm: list[bool] = []

    def __call__(self, program, numbers, **given) -> InteriorPoint:
        point = REAL(program, numbers, **given)
        self.calls += 1
        self.starts.append(numbers.x0.copy())
        self.warm.append(given.get("warm") is not None)
        return self.tamper(point, self.problem) if self.calls <= self.n else point


def no_curtailment(point: InteriorPoint, problem: DmsProblem) -> InteriorPoint:
    """A point that claims success and curtails nothing."""
    x = point.x.copy()
    x[problem.program.variables["p_curtail"].span] = 0.0
    return replace(point, x=x)


def not_numbers(point: InteriorPoint, problem: DmsProblem) -> InteriorPoint:
    return replace(point, x=np.full_like(point.x, np.nan), status=InteriorStatus.FAILED)


def a_kilowatt_too_much(point: InteriorPoint, problem: DmsProblem) -> InteriorPoint:
    """Each home gets 1 kW more than the optimum grants it; status and voltages are left as they are."""
    x = point.x.copy()
    x[problem.program.variables["p_curtail"].span] -= 1e-3
    return replace(point, x=x)


def other_voltages(point: InteriorPoint, problem: DmsProblem) -> InteriorPoint:
    """Safe set-points, but a state that is not that of the network."""
    x = point.x.copy()
    x[problem.program.variables["v_re"].start + 1] += 2e-6
    return replace(point, x=x)


def _fake(monkeypatch: pytest.MonkeyPatch, problem: DmsProblem, n: int, tamper: Tamper) -> FakeIpopt:
    fake = FakeIpopt(problem, n, tamper)
    monkeypatch.setattr(dms.interior, "solve", fake)
    return fake


def test_go_ahead_needs_no_optimisation(problem: DmsProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = _fake(monkeypatch, problem, 99, not_numbers)
    solution = solve(problem, _request(problem, 8.0)).raise_for_status()
    assert (solution.status, solution.method, fake.calls) == (Status.GO_AHEAD, "go_ahead", 0)
    assert solution.p_adjusted_kw.tolist() == [8.0, 8.0]
    assert solution.p_curtail_kw.tolist() == [0.0, 0.0]
    assert (solution.total_curtailed_kw, solution.largest_kw, solution.homes()) == (0.0, 0.0, 0)
    assert solution.point is None


def test_a_go_ahead_leans_on_no_tolerance(problem: DmsProblem) -> None:
    """Above the rating by half of what a certificate would forgive: curtailed, not waved through."""
    best = solve(problem, _request(problem)).p_adjusted_kw
    slightly = problem.request(best * (1 + 0.5e-4))
    assert certify(problem.network, slightly, slightly.p_export_kw, problem.values).ok
    solution = solve(problem, slightly).raise_for_status()
    assert solution.status is Status.CURTAILED
    assert solution.certificate.worst_i < 1e-7


def test_zero_requests_are_granted(problem: DmsProblem) -> None:
    solution = solve(problem, _request(problem, 0.0))
    assert (solution.status, solution.p_adjusted_kw.tolist()) == (Status.GO_AHEAD, [0.0, 0.0])


def test_interior_point_from_the_power_flow_comes_first(problem: DmsProblem) -> None:
    solution = solve(problem, _request(problem)).raise_for_status()
    assert (solution.status, solution.method) == (Status.CURTAILED, "interior")
    assert solution.certificate.safe == "yes"
    assert solution.binding() == 2  # both ends of the first section
    assert solution.homes() == 2
    assert solution.total_curtailed_kw == pytest.approx(solution.p_curtail_kw.sum())
    assert solution.iterations > 0


@pytest.mark.parametrize(
    ("failures", "method", "status"),
    [
        (0, "interior", Status.CURTAILED),
        (1, "interior_zero_export", Status.CURTAILED),
        (2, "interior_displaced", Status.CURTAILED),
        (3, "interior_homotopy", Status.CURTAILED),
        (99, "uniform_cap", Status.FALLBACK),
    ],
)
@pytest.mark.parametrize("tamper", [no_curtailment, not_numbers, a_kilowatt_too_much, other_voltages])
def test_a_refused_answer_leads_to_the_next_rung(
    problem: DmsProblem,
    monkeypatch: pytest.MonkeyPatch,
    failures: int,
    method: str,
    status: Status,
    tamper: Tamper,
) -> None:
    best = solve(problem, _request(problem)).raise_for_status()
    fake = _fake(monkeypatch, problem, failures, tamper)
    solution = solve(problem, _request(problem)).raise_for_status()
    assert (solution.method, solution.status, solution.certificate.safe) == (method, status, "yes")
    # Along the exports are four solves; from the easiest norm is none, as the norm is that one.
    assert fake.calls == (failures + 1 if failures < 3 else 7)
    if status is Status.CURTAILED:
        assert solution.p_adjusted_kw == pytest.approx(best.p_adjusted_kw, abs=1e-3)
    for a, b in zip(fake.starts, fake.starts[1:], strict=False):
        assert not np.allclose(a, b)


def test_the_warm_rung_comes_first_and_falls_to_the_cold_ones(
    problem: DmsProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = solve(problem, _request(problem, 19.0))
    warm = solve(problem, _request(problem), warm=last)
    cold = solve(problem, _request(problem))
    assert (warm.method, warm.status) == ("interior_warm", Status.CURTAILED)
    assert warm.iterations < cold.iterations
    assert warm.p_adjusted_kw == pytest.approx(cold.p_adjusted_kw, abs=1e-3)
    fake = _fake(monkeypatch, problem, 1, no_curtailment)
    again = solve(problem, _request(problem), warm=last)
    assert (again.method, fake.warm) == ("interior", [True, False])
    skipped = solve(problem, _request(problem, 8.0), warm=last)
    assert skipped.method == "go_ahead"


def test_a_warm_start_without_a_point_is_none(problem: DmsProblem) -> None:
    go_ahead = solve(problem, _request(problem, 8.0))
    assert solve(problem, _request(problem), warm=go_ahead).method == "interior"


def test_an_optimiser_that_stopped_early_is_not_called_an_optimum(problem: DmsProblem) -> None:
    """A safe point that an iteration limit leaves is used when nothing better comes, as a fallback."""
    best = solve(problem, _request(problem))
    limits = [IpoptOptions(max_iter=k) for k in range(1, best.iterations)]
    found = [solve(problem, _request(problem), options=options).raise_for_status() for options in limits]
    stopped = [s for s in found if s.point is not None and not s.point.converged]
    assert stopped, "no iteration limit left a safe point"
    assert {s.status for s in stopped} == {Status.FALLBACK}
    assert all(s.method.startswith("interior") for s in stopped)


def test_the_least_of_the_points_short_of_the_optimum_is_kept(
    problem: DmsProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra_kw = iter((3.0, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0))

    def short(point: InteriorPoint, problem: DmsProblem) -> InteriorPoint:
        """More curtailment than needed, from a power flow at just that, and a limit status."""
        curtail = point.x[problem.program.variables["p_curtail"].span] + next(extra_kw) / 1e3
        x = problem.power_flow.solve(problem.at(_request(problem)), curtail).x
        return replace(point, x=x, status=InteriorStatus.LIMIT, objective=problem.program.objective(x))

    _fake(monkeypatch, problem, 99, short)
    solution = solve(problem, _request(problem))
    assert (solution.method, solution.status) == ("interior_zero_export", Status.FALLBACK)


# Uniform cap ----------------------------------------------------------------------------------------


def test_the_uniform_cap_is_safe_tight_and_never_worse_than_zero_export(
    problem: DmsProblem, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = solve(problem, _request(problem))
    _fake(monkeypatch, problem, 99, not_numbers)
    request = problem.request(np.array([20.0, 6.0]))
    solution = solve(problem, request).raise_for_status()
    assert (solution.method, solution.status) == ("uniform_cap", Status.FALLBACK)
    assert solution.point is None
    cap = solution.p_adjusted_kw.max()
    assert solution.p_adjusted_kw == pytest.approx(np.minimum([20.0, 6.0], cap), abs=1e-6)
    assert solution.total_curtailed_kw < request.p_export_kw.sum()
    assert -1e-4 < solution.certificate.worst_i <= 0
    equal = solve(problem, _request(problem))
    assert (best.p_curtail_kw**2).sum() <= (equal.p_curtail_kw**2).sum()


def test_zero_export_is_sent_where_shares_leave_nothing_to_cap(street) -> None:
    """Half of a prosumer's curtailment falls on a connection that exports nothing: none is possible."""
    feeder = street(homes=((1, "pair", 0.5), (1, "pair", 0.5)))
    problem = compile(feeder, limits=LIMITS)
    request = problem.request(np.array([40.0, 0.0]))
    solution = solve(problem, request).raise_for_status()
    assert (solution.method, solution.status) == ("zero_export", Status.FALLBACK)
    assert solution.p_adjusted_kw.tolist() == [0.0, 0.0]
    assert solution.total_curtailed_kw == 40.0


# As sent --------------------------------------------------------------------------------------------


def test_set_points_are_whole_milliwatts_and_certified_as_sent(problem: DmsProblem) -> None:
    request = problem.request(np.array([20.1234567891, 17.9876543219]))
    solution = solve(problem, request).raise_for_status()
    steps = solution.p_adjusted_kw / ROUND_KW
    assert steps == pytest.approx(np.round(steps), abs=1e-4)
    exact = request.p_export_kw - solution.point.x[problem.program.variables["p_curtail"].span] * 1e3
    assert (solution.p_adjusted_kw <= exact + 1e-12).all()
    assert (exact - solution.p_adjusted_kw < 1.01e-6).all()
    assert solution.p_curtail_kw.tolist() == (request.p_export_kw - solution.p_adjusted_kw).tolist()
    again = certify(problem.network, request, solution.p_adjusted_kw, problem.values)
    assert again.worst_i == solution.certificate.worst_i
    assert again.worst_v_pu == solution.certificate.worst_v_pu
    flow = run(problem.network, request, solution.p_curtail_kw)
    np.testing.assert_array_equal(flow.v, solution.state.flow.v)


def test_a_home_that_is_not_cut_gets_just_what_it_asked_for(street) -> None:
    """Rounding alone never shaves a request."""
    feeder = street(z_ohm=(0.05 + 0.02j, 0.05 + 0.02j), i_max_a=(300.0, 40.0), homes=((1,), (2,)))
    problem = compile(feeder, norm="l1", limits=LIMITS)
    solution = solve(problem, problem.request(np.array([5.00000012345, 20.0]))).raise_for_status()
    assert solution.p_adjusted_kw[0] == 5.00000012345
    assert solution.p_curtail_kw[0] == 0.0
    assert solution.p_curtail_kw[1] > 5.0


# What is broken already, and what cannot be --------------------------------------------------------


@pytest.fixture
def sagging(street) -> Feeder:
    """A load that pulls the voltage below 0.95 pu and a cable over its rating, without any export."""
    return street(
        z_ohm=(0.1 + 0.02j, 0.1 + 0.02j), i_max_a=(100.0, 60.0), homes=((2,),), loads=((2, 16.0, 0.0),)
    )


def test_what_zero_export_breaks_is_widened_and_listed(sagging: Feeder) -> None:
    problem = compile(sagging, limits=Limits(v_min_pu=0.95, v_max_pu=1.5))
    solution = solve(problem, problem.request(np.array([0.0]))).raise_for_status()
    assert (solution.status, solution.certificate.safe) == (Status.GO_AHEAD, "relaxed")
    found = {p.element: p for p in solution.preexisting}
    assert set(found) == {"b2.1", "line c2 phase 1 from", "line c2 phase 1 to"}
    voltage, current = found["b2.1"], found["line c2 phase 1 to"]
    assert (voltage.kind, voltage.limit, voltage.unit) == ("v_min", 0.95, "pu")
    assert voltage.value < 0.95
    assert (current.kind, current.limit, current.unit) == ("i_max", 60.0, "A")
    assert current.value > 60.0
    assert problem.values.v_min_pu.tolist() == [0.95] * 3


def test_export_that_helps_is_granted_and_export_that_worsens_is_not(sagging: Feeder) -> None:
    """15 kW lift the load; 40 kW would load the cable the other way beyond what it carries now."""
    problem = compile(sagging, limits=Limits(v_min_pu=0.95, v_max_pu=1.5))
    helps = solve(problem, problem.request(np.array([15.0]))).raise_for_status()
    assert (helps.status, helps.certificate.safe, helps.preexisting) == (Status.GO_AHEAD, "yes", ())
    worsens = solve(problem, problem.request(np.array([60.0]))).raise_for_status()
    assert (worsens.status, worsens.certificate.safe) == (Status.CURTAILED, "relaxed")
    before = {p.element: p.value for p in worsens.preexisting}
    at = problem.values.label.tolist().index("line c2 phase 1 to")
    assert worsens.state.through[at] == pytest.approx(before["line c2 phase 1 to"], rel=1e-5)
    assert 60.0 < worsens.state.through[at] <= before["line c2 phase 1 to"] * (1 + 2e-6)


def test_strict_finds_the_export_that_mends_what_is_broken(sagging: Feeder) -> None:
    problem = compile(sagging, limits=Limits(v_min_pu=0.95, v_max_pu=1.5, preexisting="strict"))
    solution = solve(problem, problem.request(np.array([60.0]))).raise_for_status()
    assert (solution.status, solution.certificate.safe) == (Status.CURTAILED, "yes")
    assert 15.0 < solution.p_adjusted_kw[0] < 60.0
    assert {p.element for p in solution.preexisting} == {"b2.1", "line c2 phase 1 from", "line c2 phase 1 to"}


def test_strict_names_what_is_broken_and_sends_zero(street) -> None:
    """The load's own cable is over its rating, and the home stands before it."""
    feeder = street(
        z_ohm=(0.1 + 0.02j, 0.1 + 0.02j), i_max_a=(200.0, 60.0), homes=((1,),), loads=((2, 16.0, 0.0),)
    )
    problem = compile(feeder, limits=Limits(v_min_pu=0.5, v_max_pu=1.05, preexisting="strict"))
    solution = solve(problem, problem.request(np.array([60.0])))
    assert (solution.status, solution.method) == (Status.INFEASIBLE, "zero_export")
    assert solution.p_adjusted_kw.tolist() == [0.0]
    assert {p.element for p in solution.preexisting} == {"line c2 phase 1 from", "line c2 phase 1 to"}
    assert solution.certificate.safe == "no"
    with pytest.raises(UncertifiedError, match="infeasible: a current or power is above its rating"):
        solution.raise_for_status()


def test_strict_without_anything_broken_optimises(problem: DmsProblem) -> None:
    strict = compile(problem.feeder, limits=Limits(v_max_pu=1.5, preexisting="strict"))
    solution = solve(strict, _request(strict)).raise_for_status()
    assert (solution.status, solution.certificate.safe) == (Status.CURTAILED, "yes")


@pytest.mark.parametrize("preexisting", ["relax", "strict"])
def test_no_operating_point_is_said(street, preexisting: str) -> None:
    feeder = street(homes=((1,),), loads=((1, 2000.0, 500.0),))
    problem = compile(feeder, limits=Limits(preexisting=preexisting))
    request = problem.request(np.array([5.0]))
    solution = solve(problem, request)
    assert (solution.status, solution.p_adjusted_kw.tolist()) == (Status.NO_OPERATING_POINT, [0.0])
    assert solution.preexisting == ()
    assert len(binding_limits(problem, request, solution)) == 0
    assert not solution.certificate.ok
    with pytest.raises(UncertifiedError, match="no_operating_point: the power flow"):
        solution.raise_for_status()


def test_requests_beyond_any_power_flow_are_curtailed_into_one(street) -> None:
    """The start point does not exist; the ladder still finds the optimum."""
    feeder = street(homes=((1,),))
    problem = compile(feeder, limits=LIMITS)
    huge = problem.request(np.array([1e5]))
    assert not run(problem.network, huge).converged
    solution = solve(problem, huge).raise_for_status()
    small = solve(problem, problem.request(np.array([30.0]))).raise_for_status()
    assert solution.status is Status.CURTAILED
    assert solution.p_adjusted_kw == pytest.approx(small.p_adjusted_kw, rel=1e-5)


@pytest.mark.parametrize("trifle", [0.0, 1e-12, 1e-9, 1e-6, 1e-4])
@pytest.mark.parametrize("norm", ["l1", "linf_l2"])
def test_a_home_that_asks_for_next_to_nothing_changes_no_answer(norm: str, trifle: float) -> None:
    feeder = library.load("synthetic", n_buses=40, seed=1, prosumers=0.5)
    asked = 2.0 * feeder[Connections].p_pv_max_kw
    asked[::2] = 0.0
    problem = compile(feeder, norm=norm, limits=Limits(v_min_pu=0.5, v_max_pu=1.02))
    without = solve(problem, problem.request(asked))
    asked[::2] = trifle
    found = solve(problem, problem.request(asked))
    assert found.status is without.status
    assert found.method == without.method
    assert found.total_curtailed_kw == pytest.approx(without.total_curtailed_kw, rel=1e-5, abs=1e-3)


def test_warm_starts_of_other_problems_are_refused(problem: DmsProblem) -> None:
    request = problem.request(np.array([20.0, 18.0]))
    solution = solve(problem, request)
    with pytest.raises(ValueError, match="another feeder, norm"):
        solve(problem, request, warm=replace(solution, norm="linf"))
    with pytest.raises(ValueError, match="another feeder, norm"):
        solve(problem, request, warm=replace(solution, unit_name=solution.unit_name[::-1]))


def test_input_that_means_nothing_is_refused(problem: DmsProblem) -> None:
    with pytest.raises(ValueError, match="complex"):
        problem.request(np.array([20.0 + 1j, 18.0]))
    with pytest.raises(ValueError, match="known: prosumer, connection"):
        compile(problem.feeder, curtail_unit="prosumers")
    for budget_s in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="budget"):
            solve(problem, problem.request(np.array([20.0, 18.0])), budget_s=budget_s)


def test_the_better_of_two_local_optima_of_a_total_is_sent() -> None:
    """A tick with a tenth of its export curtailed, whose nearest local optimum is 0.7 % above another."""
    case = seeded_case(50_169, feasible=True)
    problem = case.problem("l1")
    request = case.request(problem)
    found, near, other = (dms.solve(problem, request, method=m) for m in ("auto", "reduced", "barrier"))
    assert (found.method, found.status) == ("barrier", Status.CURTAILED)
    assert found.total_curtailed_kw == pytest.approx(other.total_curtailed_kw, rel=1e-6)
    assert found.total_curtailed_kw < 0.995 * near.total_curtailed_kw


def test_totals_of_many_homes_go_to_the_barrier_method_before_the_reduced_one(
    street, monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, other = (compile(_feeder(street), norm=norm, limits=LIMITS) for norm in ("l1", "l2"))
    names = [rung.__name__ for rung in rungs.of_method("auto", problem)]
    assert names.index("reduced") < names.index("barrier")
    few = dms.solve(problem, _request(problem)).raise_for_status()
    monkeypatch.setattr(rungs, "MANY", 1)
    many = [rung.__name__ for rung in rungs.of_method("auto", problem)]
    assert many.index("reduced_warm") < many.index("barrier") < many.index("reduced")
    assert sorted(many) == sorted(names)
    assert [rung.__name__ for rung in rungs.of_method("auto", other)] == names
    found = dms.solve(problem, _request(problem)).raise_for_status()
    assert found.method == "barrier"
    assert found.total_curtailed_kw == pytest.approx(few.total_curtailed_kw, rel=1e-6)


def test_power_flows_of_a_tick_are_run_once(problem: DmsProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    """The screen, zero export and the set-points as sent; nobody asks for one of them twice."""
    asked: list[bytes] = []

    def counted(network, request, curtail_kw=0.0, start=None):
        asked.append(np.asarray(curtail_kw).tobytes())
        return run(network, request, curtail_kw, start)

    monkeypatch.setattr(dms.tick, "run", counted)
    dms.solve(problem, _request(problem), method="reduced").raise_for_status()
    assert len(asked) == len(set(asked)) == 3


def test_what_a_certificate_forgives_is_not_called_infeasible() -> None:
    """An undervoltage that export cures and an overvoltage that it brings leave only the tolerances."""
    case = seeded_case(614)
    problem = case.problem("proportional")
    solution = dms.solve(problem, case.request(problem)).raise_for_status()
    assert (solution.status, solution.certificate.safe) == (Status.FALLBACK, "yes")
    assert 0 < solution.certificate.worst_v_pu <= 1e-5
    assert solution.p_adjusted_kw.sum() > 0
