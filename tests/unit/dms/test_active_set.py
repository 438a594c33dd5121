"""Active sets of small quadratic programmes: from a guess, from a vertex, and where rows tie variables."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import linprog

from dms import quadratic
from dms.active_set import by_exchange, from_vertex
from dms.quadratic_form import ActiveSet, Bounds, Quadratic, QuadraticPoint

SEEDS = range(8)


def _total(seed: int, curvature: float = 1e-6) -> Quadratic:
    """Least total under a few limits that bend, as in a round of l1."""
    rng = np.random.default_rng(seed)
    n, m, k = 40, 4, 6
    bend = np.zeros((k, n))
    bend[:, rng.choice(n, 12, replace=False)] = rng.normal(size=(k, 12))
    return Quadratic(
        g=np.ones(n),
        curvature=np.full(n, curvature),
        lo=np.zeros(n),
        hi=np.ones(n),
        a=-rng.random((m, n)),
        row_lo=np.full(m, -np.inf),
        row_hi=-rng.uniform(1, 4, m),
        p=sp.csr_matrix((0, n)),
        plain_lo=np.zeros(0),
        plain_hi=np.zeros(0),
        bend=bend,
        stiffness=rng.uniform(0.01, 0.1, k),
    )


def _peak(seed: int) -> Quadratic:
    """Least peak r >= d_i, as in a round of linf: r is the last variable."""
    total = _total(seed)
    n, m = len(total.g), len(total.row_lo)
    ties = sp.hstack([-sp.identity(n), np.ones((n, 1))]).tocsr()
    return replace(
        total,
        g=np.append(np.zeros(n), 1.0),
        curvature=np.full(n + 1, 1e-6),
        lo=np.zeros(n + 1),
        hi=np.append(np.ones(n), np.inf),
        a=np.hstack([total.a, np.zeros((m, 1))]),
        p=ties,
        plain_lo=np.zeros(n),
        plain_hi=np.full(n, np.inf),
        bend=np.hstack([total.bend, np.zeros((len(total.bend), 1))]),
    )


def _vertex(q: Quadratic) -> np.ndarray:
    """The minimum of the linear part, by another solver."""
    above = sp.vstack([sp.csr_matrix(q.a), -q.p])
    found = linprog(q.g, above, np.append(q.row_hi, -q.plain_lo), bounds=np.column_stack([q.lo, q.hi]))
    assert found.status == 0
    return found.x


def _require_minimum(q: Quadratic, found: QuadraticPoint) -> None:
    """The KKT conditions, one by one."""
    d, mu = found.d, found.multipliers
    rows = q.rows(d)
    lo, hi = np.append(q.row_lo, q.plain_lo), np.append(q.row_hi, q.plain_hi)
    assert (rows >= lo - 1e-10).all()
    assert (rows <= hi + 1e-10).all()
    assert (d >= q.lo).all()
    assert (d <= q.hi).all()
    slack = np.where(mu > 0, hi - rows, rows - lo)
    assert np.abs(mu * np.where(mu == 0, 0.0, slack)).max(initial=0.0) <= 1e-9
    pull = q.g + q.times_hessian(d) + q.rows_transposed(mu)
    assert pull[d > q.lo + 1e-9].max(initial=0.0) <= 1e-9
    assert pull[d < q.hi - 1e-9].min(initial=0.0) >= -1e-9


def _guess(q: Quadratic, found: QuadraticPoint) -> ActiveSet:
    return ActiveSet(found.variables, np.sign(found.multipliers).astype(int))


@pytest.mark.parametrize("make", [_total, _peak])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_way_from_a_vertex_ends_at_the_minimum(seed: int, make) -> None:
    q = make(seed)
    start = _vertex(q)
    bounds = Bounds.of(q)
    found = from_vertex(q, bounds, np.abs(bounds.slack(start, q)) < 1e-9, start)
    assert found is not None
    assert found.converged
    _require_minimum(q, found)
    value = [q.g @ d + d @ q.times_hessian(d) / 2 for d in (found.d, start)]
    assert value[0] <= value[1] + 1e-12


@pytest.mark.parametrize("make", [_total, _peak])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_right_guess_is_the_minimum_at_once(seed: int, make) -> None:
    q = make(seed)
    bounds, start = Bounds.of(q), _vertex(q)
    right = from_vertex(q, bounds, np.abs(bounds.slack(start, q)) < 1e-9, start)
    assert right is not None
    again = by_exchange(q, bounds, bounds.active(_guess(q, right)), 3)
    assert again is not None
    _require_minimum(q, again)
    assert again.d == pytest.approx(right.d, abs=1e-9)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_guess_that_is_a_little_wrong_is_put_right(seed: int) -> None:
    q = _total(seed, curvature=1.0)
    right = quadratic.solve(q)
    guess = _guess(q, right)
    variables = guess.variables.copy()
    variables[:3] = np.where(variables[:3] == 0, -1, 0)
    found = quadratic.solve(q, ActiveSet(variables, guess.rows))
    _require_minimum(q, found)
    assert found.d == pytest.approx(right.d, abs=1e-8)


def test_what_flies_apart_is_given_up() -> None:
    q = _peak(0)
    bounds = Bounds.of(q)
    nothing = ActiveSet(np.zeros(len(q.g), dtype=int), np.zeros(bounds.n_rows, dtype=int))
    assert by_exchange(q, bounds, bounds.active(nothing), 6) is None


def test_variables_that_cannot_move_keep_their_value_and_the_rest_is_a_minimum() -> None:
    q = _total(1, curvature=1.0)
    held = replace(q, lo=np.where(np.arange(40) < 5, 0.25, q.lo), hi=np.where(np.arange(40) < 5, 0.25, q.hi))
    found = quadratic.solve(held)
    assert found.d[:5].tolist() == [0.25] * 5
    _require_minimum(held, found)
