"""The barrier method: known optima, KKT residuals by hand, and Ipopt's answers on small feeders."""

import gc
import importlib.util
import weakref
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dms import IpoptOptions, Limits, Status, barrier, compile, interior, solve
from dms.interior import InteriorPoint, InteriorStatus
from dms.newton import compact_of, system_of
from dms.phasor import Powers, Products, Terms
from dms.program import Block, Numbers, Objective, Program
from dms.stages import objective_scale
from feeders import Connections
from feeders.library import load

INF = np.inf
ipopt = pytest.mark.skipif(importlib.util.find_spec("cyipopt") is None, reason="needs cyipopt: make setup")


def _program(
    cost: list[float],
    squares: list[float],
    rows: list[list[float]],
    products: tuple[tuple[int, int, int, float], ...] = (),
) -> Program:
    """min cost.x + sum squares x^2, rows linear in x but for products (row, i, j, coef)."""
    n, m = len(cost), len(rows)
    dense = np.array(rows, dtype=float).reshape(m, n)
    row, col = np.nonzero(dense)
    at = np.arange(n)
    terms = np.array([p[:3] for p in products], dtype=int).reshape(-1, 3)
    none = np.zeros(0, dtype=int)
    return Program(
        n=n,
        m=m,
        objectives=(Objective(np.array(cost), Products(0 * at, at, at, np.array(squares))),),
        linear=Terms(row, col, dense[row, col]),
        products=Products(terms[:, 0], terms[:, 1], terms[:, 2], np.array([p[3] for p in products])),
        powers=Powers(none, none, np.zeros(0), np.zeros(0)),
        variables={"x": Block("x", 0, at.astype(object), "control")},
        rows={"limit": Block("limit", 0, np.arange(m).astype(object), "limit")},
        numbers=Numbers(*(np.zeros(size) for size in (n, n, m, m, n))),
    )


def _numbers(x_lo, x_hi, row_lo, row_hi, x0) -> Numbers:
    return Numbers(*(np.array(a, dtype=float) for a in (x_lo, x_hi, row_lo, row_hi, x0)))


def _kkt_residual(program: Program, numbers: Numbers, p: InteriorPoint) -> float:
    """Stationarity, signs and complementarity of unscaled multipliers, relative to the cost's slope."""
    free = numbers.x_lo < numbers.x_hi
    slope = program.gradient(p.x) + program.jacobian_matrix(p.x).T @ p.row_multipliers
    slope = (slope - p.lower_multipliers + p.upper_multipliers)[free]
    values = program.constraints(p.x)
    with np.errstate(invalid="ignore"):
        low = np.maximum(-p.row_multipliers, 0) * (values - numbers.row_lo)
        up = np.maximum(p.row_multipliers, 0) * (numbers.row_hi - values)
        below = (p.lower_multipliers * (p.x - numbers.x_lo))[free]
        above = (p.upper_multipliers * (numbers.x_hi - p.x))[free]
    products = np.nan_to_num(np.concatenate([low, up, below, above]))
    size = np.abs(program.gradient(p.x)).max()
    assert min(p.lower_multipliers.min(), p.upper_multipliers.min()) >= 0
    return float(max(np.abs(slope).max(), np.abs(products).max()) / size)


def _violation(program: Program, numbers: Numbers, x: np.ndarray) -> float:
    values = program.constraints(x)
    return float(max((numbers.row_lo - values).max(), (values - numbers.row_hi).max(), 0.0))


# Programmes whose optimum is known ---------------------------------------------------------------


def test_an_equality_constrained_square() -> None:
    """min x^2 + 2 y^2 with x + y = 3 has its optimum at (2, 1), and lambda = -4."""
    program = _program([0, 0], [1, 2], [[1, 1]])
    found = barrier.solve(program, _numbers([-INF] * 2, [INF] * 2, [3], [3], [0, 0]))
    assert found.status is InteriorStatus.SOLVED
    assert found.x == pytest.approx([2, 1], abs=1e-9)
    assert found.row_multipliers == pytest.approx([-4], abs=1e-7)
    assert found.objective == pytest.approx(6)


def test_multipliers_do_not_depend_on_the_scale() -> None:
    """min (x - 3)^2 up to a constant, x <= 1: z_up = 4 whatever the cost is multiplied by."""
    program = _program([-6], [1], [[1]])
    numbers = _numbers([-5], [1], [-INF], [INF], [0])
    for scale in (1.0, 1e4):
        found = barrier.solve(program, numbers, objective_scale=scale)
        assert found.x == pytest.approx([1], abs=1e-7)
        assert found.x[0] <= 1
        assert found.upper_multipliers == pytest.approx([4], abs=1e-5)
        assert found.row_multipliers == pytest.approx([0])
        assert _kkt_residual(program, numbers, found) < 1e-7


def test_a_linear_programme_ends_in_its_corner() -> None:
    """max x + y with x + 2 y <= 4, 3 x + y <= 6: the corner (1.6, 1.2), multipliers 0.4 and 0.2."""
    program = _program([-1, -1], [0, 0], [[1, 2], [3, 1]])
    numbers = _numbers([0, 0], [INF, INF], [-INF] * 2, [4, 6], [0, 0])
    found = barrier.solve(program, numbers)
    assert found.x == pytest.approx([1.6, 1.2], abs=1e-6)
    assert found.row_multipliers == pytest.approx([0.4, 0.2], abs=1e-6)
    assert found.numbers is numbers


def test_a_fixed_variable_is_a_number() -> None:
    """min x^2 + y^2 with x y = 2 and y held at 4: x = 0.5."""
    program = _program([0, 0], [1, 1], [[0, 0]], ((0, 0, 1, 1.0),))
    found = barrier.solve(program, _numbers([-INF, 4], [INF, 4], [2], [2], [1, 0]))
    assert found.status is InteriorStatus.SOLVED
    assert found.x == pytest.approx([0.5, 4.0], abs=1e-9)
    assert found.x[1] == 4.0


def test_a_row_without_bounds_takes_no_part() -> None:
    program = _program([0, 0], [1, 1], [[1, 0], [1, 1]])
    found = barrier.solve(program, _numbers([-INF] * 2, [INF] * 2, [-INF, 2], [INF, 2], [5, 5]))
    assert found.x == pytest.approx([1, 1], abs=1e-9)
    assert found.row_multipliers[0] == 0


def test_a_range_binds_on_the_side_that_it_must() -> None:
    """min (x - 5)^2 with x^2 between 1 and 4, from inside: x = 2, lambda = 6 / 4."""
    program = _program([-10], [1], [[0]], ((0, 0, 0, 1.0),))
    numbers = _numbers([-10], [10], [1], [4], [1.5])
    found = barrier.solve(program, numbers)
    assert found.x == pytest.approx([2], abs=1e-7)
    assert found.row_multipliers == pytest.approx([1.5], abs=1e-5)


def test_negative_curvature_is_no_obstacle() -> None:
    """min -x^2 - y^2 on the disc of radius 2: any point of the circle, from a start that is none."""
    program = _program([0, 0], [-1, -1], [[0, 0]], ((0, 0, 0, 1.0), (0, 1, 1, 1.0)))
    numbers = _numbers([-5, -5], [5, 5], [-INF], [4], [0.3, 0.1])
    found = barrier.solve(program, numbers)
    assert found.converged
    assert np.hypot(*found.x) == pytest.approx(2, abs=1e-7)
    assert found.row_multipliers == pytest.approx([1], abs=1e-5)


@pytest.mark.parametrize(
    ("rows", "products", "row_lo", "row_hi"),
    [
        ([[1, 1], [1, 1]], (), [1, -INF], [INF, 0]),
        ([[0, 0], [0, 0]], ((0, 0, 0, 1.0), (0, 1, 1, 1.0)), [-1, -INF], [-1, INF]),
    ],
)
def test_an_infeasible_programme_is_not_solved(rows, products, row_lo, row_hi) -> None:
    """Two half-planes that do not meet; a circle of negative radius."""
    program = _program([1, 0], [1, 1], rows, products)
    found = barrier.solve(program, _numbers([-9, -9], [9, 9], row_lo, row_hi, [1, 1]))
    assert found.status in (InteriorStatus.FAILED, InteriorStatus.LIMIT)
    assert not found.converged


def test_a_limit_on_iterations_or_time_is_kept() -> None:
    program = _program([0, 0], [1, 2], [[1, 1]])
    numbers = _numbers([0, 0], [9, 9], [3], [3], [0, 0])
    few = barrier.solve(program, numbers, options=IpoptOptions(max_iter=2))
    assert (few.status, few.iterations) == (InteriorStatus.LIMIT, 2)
    late = barrier.solve(program, numbers, options=IpoptOptions(max_wall_s=0.0))
    assert late.status is InteriorStatus.LIMIT


# The Newton system ------------------------------------------------------------------------------


def test_the_system_is_solved_as_it_is_written(street) -> None:
    """Residual of [W + Sigma, J'; J, -C], written out densely, with random numbers in every place."""
    problem = compile(street(), norm="linf", limits=Limits(v_max_pu=1.05))
    rng = np.random.default_rng(3)
    system, tick = system_of(problem.program), compact_of(problem.program).at(0, problem.program.numbers)
    x, y = tick.numbers.x0 + 0.01 * rng.normal(size=tick.n), rng.normal(size=tick.m)
    sigma, compliance = rng.uniform(0.1, 9, tick.n), rng.uniform(0, 1, tick.m)
    compliance[tick.structure.row_indices("law", "power")] = 0.0
    system.assemble(tick.hessian(x, y, 1.0), tick.jacobian(x), sigma, compliance, scale=5.0)
    convexity = 0.0
    while not system.factorise(convexity):
        convexity = max(1e-2, 4 * convexity)
    rx, ry = rng.normal(size=tick.n), rng.normal(size=tick.m)
    dx, dy = system.solve(rx, ry, 1e-12)
    w, jacobian = np.zeros((tick.n, tick.n)), np.zeros((tick.m, tick.n))
    w[tick.hessian_structure] = tick.hessian(x, y, 1.0)
    w = w + np.tril(w, -1).T
    jacobian[tick.jacobian_structure] = tick.jacobian(x)
    added = min(convexity, 1.0) * np.abs(w).sum(axis=1) + convexity * 1e-4 * 5.0
    assert (w + np.diag(sigma + added)) @ dx + jacobian.T @ dy == pytest.approx(rx, abs=1e-9)
    assert jacobian @ dx - compliance * dy == pytest.approx(ry, abs=1e-9)


def test_a_zero_pivot_is_a_wrong_inertia() -> None:
    """W + Sigma + shift is zero, and no row touches the variable: no factors, and it is said."""
    program = _program([0, 0], [1, 1], [[0, 1]])
    system = system_of(program)
    lone = np.array([-1e-8 - 2.0, 1.0])
    for _ in range(2):
        system.assemble(np.array([2.0, 2.0]), np.array([1.0]), lone, np.array([1.0]), scale=1.0)
        system._diagonal[0] = -system._shift[0]
        assert not system.factorise()
        assert system.factorise(1.0)


def test_a_system_goes_with_its_programme(street) -> None:
    problem = compile(street(), norm="linf_l1")
    first, second = (problem.program.for_stage(k) for k in range(2))
    assert system_of(first) is system_of(second)
    left = weakref.ref(system_of(first))
    del problem, first, second
    gc.collect()
    assert left() is None


# Feeders ------------------------------------------------------------------------------------------


def _tick(norm: str, seed: int = 1):
    feeder = load("synthetic", n_buses=60, seed=seed, prosumers=0.4)
    problem = compile(feeder, norm=norm, limits=Limits(v_max_pu=1.045))
    rng = np.random.default_rng(seed)
    asked = rng.uniform(150, 450, len(feeder[Connections]))
    numbers = problem.at(problem.request(asked))
    numbers.x0[:] = problem.power_flow.solve(numbers).x
    return problem, numbers


@ipopt
@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
@pytest.mark.parametrize("seed", [1, 2])
def test_ipopt_finds_the_same_optimum(norm: str, seed: int) -> None:
    problem, numbers = _tick(norm, seed)
    scale = objective_scale(problem, numbers)
    ours = barrier.solve(problem.program, numbers, objective_scale=scale)
    theirs = interior.solve(problem.program, numbers, objective_scale=scale)
    assert (ours.status, theirs.status) == (InteriorStatus.SOLVED,) * 2
    assert theirs.objective > 1e-5
    assert ours.objective == pytest.approx(theirs.objective, rel=1e-6)
    assert _kkt_residual(problem.program, numbers, ours) < 1e-7
    assert _violation(problem.program, numbers, ours.x) <= 1e-9
    laws = problem.program.row_indices("law", "power")
    values = problem.program.constraints(ours.x)
    assert np.abs(values - numbers.row_lo)[laws].max() < 1e-12
    assert (ours.x >= numbers.x_lo).all()
    assert (ours.x <= numbers.x_hi).all()


@ipopt
def test_multipliers_are_those_of_ipopt() -> None:
    problem, numbers = _tick("l2")
    scale = objective_scale(problem, numbers)
    ours, theirs = (m.solve(problem.program, numbers, objective_scale=scale) for m in (barrier, interior))
    size = np.abs(theirs.row_multipliers).max()
    assert np.abs(theirs.row_multipliers - ours.row_multipliers).max() < 1e-4 * size
    assert np.abs(theirs.upper_multipliers - ours.upper_multipliers).max() < 1e-4 * size


@pytest.mark.parametrize("norm", ["l2", "linf"])  # l1 may end at another of its optima
def test_a_warm_start_needs_fewer_iterations(norm: str) -> None:
    problem, numbers = _tick(norm)
    scale = objective_scale(problem, numbers)
    cold = barrier.solve(problem.program, numbers, objective_scale=scale)
    moved = numbers.copy()
    moved.x_hi[problem.program.variables["p_curtail"].span] *= 1.03
    rows = problem.program.rows["p_prosumer"].span
    moved.row_lo[rows] *= 1.03
    moved.row_hi[rows] *= 1.03
    again = barrier.solve(problem.program, moved, objective_scale=scale)
    warm = barrier.solve(problem.program, moved, objective_scale=scale, warm=cold)
    assert warm.status is again.status is InteriorStatus.SOLVED
    assert warm.iterations < again.iterations
    assert warm.objective == pytest.approx(again.objective, rel=1e-6)


def test_limits_that_no_curtailment_keeps() -> None:
    problem, numbers = _tick("l2")
    numbers.row_hi[problem.program.rows["v_band"].span] = 0.9**2
    numbers.row_lo[problem.program.rows["v_band"].span] = 0.8**2
    assert not barrier.solve(problem.program, numbers, options=IpoptOptions(max_iter=60)).converged


def test_a_point_can_be_replaced(street) -> None:
    """What stages and rungs do with a point: it is the same class as Ipopt's."""
    problem = compile(street(), norm="l2", limits=Limits(v_max_pu=1.05))
    numbers = problem.at(problem.request(np.full(2, 30.0)))
    numbers.x0[:] = problem.power_flow.solve(numbers).x
    point = barrier.solve(problem.program, numbers, objective_scale=1e6)
    assert replace(point, iterations=0).converged


# Rungs --------------------------------------------------------------------------------------------


def test_its_rungs_publish_what_the_certificate_finds_safe(street) -> None:
    problem = compile(street(), norm="l2", limits=Limits(v_max_pu=1.5))
    first = solve(problem, problem.request(np.full(2, 30.0)), method="barrier").raise_for_status()
    assert (first.method, first.status, first.certificate.safe) == ("barrier", Status.CURTAILED, "yes")
    assert first.binding() == 2
    assert first.certificate.disagreement_pu < 1e-9
    moved = problem.request(np.full(2, 31.0))
    warm = solve(problem, moved, warm=first, method="barrier").raise_for_status()
    assert (warm.method, warm.status) == ("barrier_warm", Status.CURTAILED)
    assert warm.p_adjusted_kw == pytest.approx(
        solve(problem, moved, method="barrier").p_adjusted_kw, abs=1e-3
    )


def test_a_point_short_of_the_optimum_is_not_published(street, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = compile(street(), norm="l2", limits=Limits(v_max_pu=1.5))
    real = barrier.solve

    def short(*args, **given) -> InteriorPoint:
        return replace(real(*args, **given), status=InteriorStatus.FAILED)

    monkeypatch.setattr(barrier, "solve", short)
    solution = solve(problem, problem.request(np.full(2, 30.0)), method="barrier").raise_for_status()
    assert (solution.method, solution.status) == ("uniform_cap", Status.FALLBACK)


@ipopt
@pytest.mark.parametrize("norm", ["linf_l1", "linf_l2", "proportional", "alpha_fair"])
def test_every_other_norm(norm: str) -> None:
    feeder = load("synthetic", n_buses=40, seed=3, prosumers=0.4)
    problem = compile(feeder, norm=norm, limits=Limits(v_max_pu=1.045))
    request = problem.request(np.linspace(150, 400, len(feeder[Connections])))
    ours, theirs = (solve(problem, request, method=m).raise_for_status() for m in ("barrier", "ipopt"))
    assert (ours.method, ours.status) == ("barrier", Status.CURTAILED)
    found, wanted = (problem.objective(s.unit_curtail_kw, request) for s in (ours, theirs))
    assert found == pytest.approx(wanted, rel=1e-4)


# What is added where the Hessian is indefinite ----------------------------------------------------


class _System:
    """Factors of a Hessian that needs some convexity, less once the rows' curvature is left out."""

    def __init__(self, needs: float) -> None:
        self.needs, self.flat, self.asked = needs, False, []

    def factorise(self, convexity: float = 0.0) -> bool:
        self.asked.append(0.0 if self.flat and not convexity else convexity)
        return convexity >= self.needs or self.flat


@pytest.mark.parametrize(
    ("last", "length", "needs", "asked", "flat"),
    [
        (0.0, 1.0, 0.0, [0.0], False),
        (0.0, 1.0, 0.005, [0.0, 0.01], False),
        (0.009, 1.0, 0.001, [0.003], False),
        (0.0, 1.0, 0.5, [0.0, 0.01, 0.0], True),
        (barrier.FLATTENED, 1.0, 0.5, [0.0, 0.0], True),
        (barrier.FLATTENED, 0.01, 0.1, [0.0, 0.01, 0.04, 0.16], False),
    ],
    ids=["convex", "a little", "less than last time", "flattened", "flattened again", "after a crawl"],
)
def test_what_is_added_to_an_indefinite_hessian(
    monkeypatch: pytest.MonkeyPatch, last: float, length: float, needs: float, asked: list[float], flat: bool
) -> None:
    system = _System(needs)

    class Steps:
        def __init__(self, *_: object) -> None:
            pass

        def flatten(self) -> None:
            system.flat = True

    monkeypatch.setattr(barrier, "Steps", Steps)
    at = SimpleNamespace(mean_product=1.0)
    run = barrier._Run(None, system, 1e-8, np.inf, convexity=last, length=length)
    assert run._newton(at, np.zeros(0)) is not None
    assert system.asked == pytest.approx(asked)
    assert system.flat is flat
    assert run.convexity == pytest.approx(barrier.FLATTENED if flat else asked[-1])


def test_near_the_end_a_step_is_taken_whatever_the_inertia(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the last one made the error larger: then the rows' curvature is left out after all."""
    monkeypatch.setattr(
        barrier, "Steps", lambda *_: SimpleNamespace(flatten=lambda: setattr(system, "flat", True))
    )
    at = SimpleNamespace(mean_product=0.1 * barrier.END)
    for falls in (True, False):
        system = _System(0.5)
        run = barrier._Run(None, system, 1e-8, np.inf, falls=falls)
        assert run._newton(at, np.zeros(0)) is not None
        assert system.flat is not falls
        assert system.asked[-1] == 0.0
