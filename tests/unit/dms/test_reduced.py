"""The reduced method: its linear algebra, its gradients, and its optima beside Ipopt's."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from anoca.studies.benching.dms_cases import cases
from dms import (
    DmsProblem,
    DmsRequest,
    Limits,
    Status,
    certify_optimal,
    compile,
    quadratic,
    reduced,
    rounds,
    solve,
)
from dms.adjoint import Sensitivity, SingularError
from dms.certificate import measure, run
from dms.interior import InteriorStatus
from dms.powerflow import PowerFlow
from dms.quadratic import Quadratic
from dms.reduced import ReducedOptions
from dms.scaling import KW_PER_PU
from dms.stages import objective_scale
from feeders import Connections, library

NORMS = ("l1", "l2", "linf", "linf_l1", "linf_l2")


def _tick(seed: int, norm: str, n_buses: int = 40) -> tuple[DmsProblem, DmsRequest]:
    feeder = library.load("synthetic", n_buses=n_buses, seed=seed, prosumers=0.5)
    export_kw = 2.0 * feeder[Connections].p_pv_max_kw
    free = compile(feeder, limits=Limits(v_min_pu=0.5, v_max_pu=2.0))
    rest, full = (
        measure(free.network, run(free.network, free.request(share * export_kw)), free.values).v_pu.max()
        for share in (0.0, 1.0)
    )
    problem = compile(feeder, norm=norm, limits=Limits(v_min_pu=0.5, v_max_pu=(rest + full) / 2))
    return problem, problem.request(export_kw)


def _numbers(problem: DmsProblem, request: DmsRequest):
    numbers = problem.at(request)
    numbers.x0[:] = problem.power_flow.solve(numbers).x
    return numbers


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_optima_are_ipopts(seed: int, norm: str) -> None:
    """To 1e-5 (l1: 0.5 %), and on the limits to the 1e-8 pu and 1e-7 at which optima may be compared."""
    problem, request = _tick(seed, norm)
    mine, theirs = (solve(problem, request, method=method) for method in ("reduced", "ipopt"))
    assert (mine.method, mine.status, mine.certificate.safe) == ("reduced", Status.CURTAILED, "yes")
    ours, other = (problem.objective(s.unit_curtail_kw) for s in (mine, theirs))
    assert ours <= other * (1 + (5e-3 if norm.endswith("l1") else 1e-5))
    curtail = mine.point.x[problem.program.variables["p_curtail"].span] * KW_PER_PU
    state = measure(problem.network, run(problem.network, request, curtail), problem.values)
    assert state.worst_over_v <= 1e-8
    assert state.worst_over_i <= 1e-7


def test_multipliers_balance_the_objective() -> None:
    problem, request = _tick(1, "l2")
    point = solve(problem, request, method="reduced").point
    slope = problem.program.gradient(point.x)
    slope = slope + problem.program.jacobian_matrix(point.x).T @ point.row_multipliers
    slope = slope - point.lower_multipliers + point.upper_multipliers
    assert np.abs(slope).max() <= 1e-9 * np.abs(point.row_multipliers).max()
    assert min(point.lower_multipliers.min(), point.upper_multipliers.min()) >= 0.0


def test_a_warm_start_takes_fewer_rounds() -> None:
    problem, request = _tick(1, "l1")
    cold = solve(problem, request, method="reduced")
    near = problem.request(1.001 * request.p_export_kw)
    warm = solve(problem, near, method="reduced", warm=cold)
    again = solve(problem, near, method="reduced")
    assert (warm.method, again.method) == ("reduced_warm", "reduced")
    assert warm.iterations <= again.iterations
    assert warm.total_curtailed_kw == pytest.approx(again.total_curtailed_kw, rel=1e-5)


def test_too_many_limits_are_left_to_others() -> None:
    problem, request = _tick(1, "l2")
    numbers = _numbers(problem, request)
    point = reduced.solve(problem.program, numbers, options=ReducedOptions(max_rows=0))
    assert point.status is InteriorStatus.LIMIT


def test_more_limits_may_bind_where_the_last_tick_says_which() -> None:
    problem, request = _tick(1, "l1")
    few = ReducedOptions(max_bound=0)
    point = reduced.solve(problem.program, _numbers(problem, request), options=few)
    assert point.status is InteriorStatus.LIMIT
    last = solve(problem, request, method="reduced")
    near = problem.request(1.001 * request.p_export_kw)
    scale = objective_scale(problem, _numbers(problem, near))
    warm = reduced.solve(problem.program, _numbers(problem, near), objective_scale=scale, warm=last.point)
    assert reduced.WARM.max_bound > ReducedOptions().max_bound
    assert warm.status is InteriorStatus.SOLVED


def test_the_trust_region_stays_where_limits_join(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step that breaks limits which were not in the model says nothing of how far the model is good."""
    radii: list[float] = []
    within = rounds.Model.within

    def kept(model: rounds.Model, radius: np.ndarray) -> rounds.Model:
        radii.append(float(radius[np.isfinite(radius)].max()))
        return within(model, radius)

    monkeypatch.setattr(rounds.Model, "within", kept)
    [case] = cases("synthetic-1000")
    problem = case.compile("linf")
    request = case.request(problem)
    numbers = _numbers(problem, request)
    search = reduced._Search(problem.program, numbers, objective_scale(problem, numbers), ReducedOptions())
    search.run(None)
    assert radii
    assert radii[0] == 1.0


def test_a_peak_held_close_is_a_solution() -> None:
    """Hardly any point keeps the limits below 1 + 1e-6 times the least peak: one at rest is one of them."""
    case = cases("case2")[0]
    close = replace(case.compile("linf_l1"), peak_tol=1e-6)
    found = solve(close, case.request(close), method="reduced")
    assert (found.method, found.status, found.certificate.safe) == ("reduced", Status.CURTAILED, "yes")
    least = found.point.earlier[0].objective * KW_PER_PU
    assert found.largest_kw <= least * (1 + 1e-6) + 2e-6


def test_a_peak_far_below_the_requests_is_a_solution() -> None:
    """A few watts of each home, of hundreds of kW that it might be: the minimum of the model is enough."""
    case = cases("case2")[1]
    problem = case.compile("linf")
    request = case.request(problem)
    request = request.exporting(1.03 * request.p_export_kw)
    found, other = (solve(problem, request, method=method) for method in ("reduced", "barrier"))
    assert (found.method, found.status) == ("reduced", Status.CURTAILED)
    assert found.iterations < 10
    assert found.largest_kw == pytest.approx(other.largest_kw, rel=1e-5)
    assert certify_optimal(problem, request, found, bound=False).kkt.ok


def test_limits_that_nothing_keeps_are_no_solution() -> None:
    problem, request = _tick(1, "l2")
    numbers = _numbers(problem, request)
    band = problem.program.rows["v_band"].span
    numbers.row_lo[band], numbers.row_hi[band] = 0.2, 0.3
    scale = objective_scale(problem, numbers)
    point = reduced.solve(problem.program, numbers, objective_scale=scale)
    assert not point.converged


def test_where_the_laws_tell_no_states_it_fails_and_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, request = _tick(1, "l2")

    def singular(*_: object) -> None:
        raise SingularError("the state Jacobian is singular")

    monkeypatch.setattr("dms.adjoint.Linearised.gradients", singular)
    point = reduced.solve(problem.program, _numbers(problem, request))
    assert point.status is InteriorStatus.FAILED
    other = solve(problem, request)
    assert other.status is Status.CURTAILED
    assert not other.method.startswith("reduced")


def test_gradients_are_those_of_the_power_flow() -> None:
    """dh/du by adjoint solves against central differences of power flows."""
    problem, request = _tick(2, "l2")
    numbers = _numbers(problem, request)
    flow = PowerFlow(problem.program)
    split = Sensitivity(flow)
    x = flow.solve(numbers).x
    limits = np.array([0, 5, len(split.limits) - 1])
    found = split.at(x).gradients(limits)
    for unit in (0, 3):
        step = np.zeros(len(problem.units.name))
        step[unit] = 1e-4
        up, down = (flow.solve(numbers, sign * step).x for sign in (1, -1))
        h = [problem.program.constraints(v)[split.limits[limits]] for v in (up, down)]
        assert found[:, unit] == pytest.approx((h[0] - h[1]) / 2e-4, rel=1e-5, abs=1e-8)


def test_the_nodal_order_solves_the_same_system() -> None:
    problem, request = _tick(3, "l2", n_buses=200)
    flow = problem.power_flow
    x = flow.solve(problem.at(request)).x
    b = np.random.default_rng(0).normal(size=len(flow.states))
    factors = flow.factorise(x)
    for found, matrix in (
        (factors.solve(b), flow.state_jacobian(x)),
        (factors.solve_transposed(b), flow.state_jacobian(x).T),
    ):
        assert np.abs(matrix @ found - b).max() <= 1e-8 * np.abs(b).max()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("curvature", [1.0, 1e-6])
def test_quadratic_minima_satisfy_the_kkt_conditions(seed: int, curvature: float) -> None:
    rng = np.random.default_rng(seed)
    n, m, k = 60, 5, 3
    q = Quadratic(
        g=rng.random(n),
        curvature=np.full(n, curvature),
        lo=np.zeros(n),
        hi=np.ones(n),
        a=-rng.random((m, n)),
        row_lo=np.full(m, -np.inf),
        row_hi=-rng.uniform(1, 4, m),
        p=sp.csr_matrix((0, n)),
        plain_lo=np.zeros(0),
        plain_hi=np.zeros(0),
        bend=rng.normal(size=(k, n)),
        stiffness=np.ones(k),
    )
    found = quadratic.solve(q)
    assert found.converged
    d, multipliers = found.d, found.multipliers
    pull = q.g + q.times_hessian(d) + q.a.T @ multipliers
    assert ((q.a @ d) <= q.row_hi + 1e-10).all()
    assert (multipliers >= -1e-9).all()
    assert np.abs(multipliers * (q.row_hi - q.a @ d)).max() <= 1e-8
    inside = (d > 1e-9) & (d < 1 - 1e-9)
    assert np.abs(pull[inside]).max(initial=0.0) <= 1e-8
    assert pull[d <= 1e-9].min(initial=0.0) >= -1e-8
    assert pull[d >= 1 - 1e-9].max(initial=0.0) <= 1e-8


def test_an_infeasible_quadratic_is_not_called_solved() -> None:
    q = Quadratic(
        g=np.zeros(2),
        curvature=np.ones(2),
        lo=np.zeros(2),
        hi=np.ones(2),
        a=np.array([[1.0, 1.0]]),
        row_lo=np.array([3.0]),
        row_hi=np.array([np.inf]),
        p=sp.csr_matrix((0, 2)),
        plain_lo=np.zeros(0),
        plain_hi=np.zeros(0),
        bend=np.zeros((0, 2)),
        stiffness=np.zeros(0),
    )
    assert not quadratic.solve(q).converged


@pytest.mark.parametrize("norm", NORMS)
def test_where_the_last_optimum_leads_is_nearer_its_limits(norm: str) -> None:
    """With exports 3 % higher: than its curtailments are, by more than an order of magnitude."""
    problem, request = _tick(1, norm)
    last = solve(problem, request, method="reduced").point
    first = last.earlier[0] if last.earlier else last
    numbers = _numbers(problem, problem.request(1.03 * request.p_export_kw))
    program = problem.program.for_stage(0)
    scale = objective_scale(problem, numbers, 0)

    def search() -> reduced._Search:
        return reduced._Search(program, numbers, scale, reduced.WARM)

    left = search()
    there = left._at(np.clip(first.x[left.split.controls], left.box.lo, left.box.hi), first.x)
    led = search()._predicted(first.x.copy(), first)
    assert led.theta < 0.05 * there.theta
    assert np.abs(problem.power_flow.gap(led.x, numbers)).max() < 1e-9  # a power flow all the same


def test_a_limit_that_the_way_leads_beyond_is_foreseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is not among those near their bounds: here none is, and the one that bound is forgotten."""
    problem, request = _tick(2, "l1")
    last = solve(problem, request, method="reduced").point
    numbers = _numbers(problem, problem.request(1.2 * request.p_export_kw))
    scale = objective_scale(problem, numbers)
    monkeypatch.setattr(reduced, "NEAR", -np.inf)
    thetas = []
    for much in (reduced.MUCH, np.inf):
        monkeypatch.setattr(reduced, "MUCH", much)
        search = reduced._Search(problem.program, numbers, scale, reduced.WARM)
        over = search.box.over(problem.program.constraints(last.x)[search.split.limits])
        forgotten = replace(last, row_multipliers=np.zeros(problem.program.m))
        forgotten.row_multipliers[search.split.limits[np.argmin(over)]] = 1.0  # far away
        thetas.append(search._predicted(last.x.copy(), forgotten).theta)
        assert (search.work.sum() > 1) == np.isfinite(much)
    assert thetas[0] < 0.1 * thetas[1]


def test_bounds_of_the_last_tick_are_those_its_controls_stood_at() -> None:
    """A free control's pull is not quite zero, and a bound's may be."""
    problem, request = _tick(1, "linf")
    numbers = _numbers(problem, request)
    last = solve(problem, request, method="reduced").point
    search = reduced._Search(problem.program, numbers, objective_scale(problem, numbers), reduced.WARM)
    controls = search.split.controls
    lo, hi, u = (part[controls] for part in (last.numbers.x_lo, last.numbers.x_hi, last.x))
    free = np.flatnonzero((u > lo + 1e-3 * search.s) & (u < hi - 1e-3 * search.s))[0]
    pulled = replace(last, lower_multipliers=last.lower_multipliers.copy())
    pulled.lower_multipliers[controls[free]] = last.lower_multipliers.max()
    search._recall(pulled)
    assert search.held[free] == 0
    assert (search.held[u == lo] == -1).all()
    assert (search.held[u == hi] == 1).all()
