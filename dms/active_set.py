"""Active sets of a small quadratic programme: a guess of the bounds that hold, and how it is put right.

With the active bounds as equations the minimum is one linear solve,

    H_ff d_f + A_a' lambda = -(g + H d)_f at the fixed ones,   A_a d = bound

`by_exchange` changes them from any guess (primal-dual; it ends at once near a solution, and may not far from
one), `from_vertex` from a feasible point (primal; it always ends). Dense rows, sparse rows that tie a
variable to others, and stiff directions each have the linear algebra that suits them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.linalg.lapack import dgetrf, dgetrs
from scipy.sparse.linalg import splu

from dms.quadratic_form import Bounds, Quadratic, QuadraticPoint
from feeders.table import Array

MOVES = 100
"""Most changes of the active bounds from a feasible point."""
EVEN = 1e-3
"""Smallest diagonal entry of H, relative to the largest, that is well conditioned."""
RELEASED = 8
"""Most active bounds that are let go at a time: many at once fly apart."""
MANY = 40
"""Changes of the active bounds at a time that are too many when they become more."""
DENSE = 150
"""Unknowns up to which an active set's equations are solved as a dense matrix."""
REFINED = 3
"""Refinements of its linear solves."""
TWIN = 1e-11
"""Give of an equation, so that two that say the same have a solution."""


def by_exchange(q: Quadratic, bounds: Bounds, active: Array, most: int) -> QuadraticPoint | None:
    """The minimum from a guess of the active bounds: they are equations, the rest is free.

    H_ff d_f + A_a' lambda = -(g + H d)_f at the fixed ones,   A_a d = bound

    What comes out beyond a bound becomes active, what pulls off its bound becomes free, until nothing changes
    (a primal-dual active set method). None where that does not end.
    """
    n_var = len(bounds.var)
    small = 1e-11 * (1 + float(np.abs(q.g).max(initial=0.0)))
    last = len(active)
    for _ in range(most):
        found = _with_active(q, bounds, active)
        if found is None:
            return None
        d, multipliers = found
        pull = q.g + q.times_hessian(d) + q.rows_transposed(multipliers)
        slack = bounds.slack(d, q)
        on_rows = -bounds.row_sign * multipliers[bounds.row]
        force = np.concatenate([bounds.var_sign * pull[bounds.var], on_rows])
        wrong = active & (force < -small)
        beyond = ~active & (slack < -1e-13)
        # Of two rows that all but say the same only one can hold as an equation: the stricter.
        wrong |= active & (slack > 1e-12) & (np.arange(len(slack)) >= n_var)
        changes = int(wrong.sum() + beyond.sum())
        if changes > MANY and changes > last:  # it flies apart
            return None
        last = max(changes, MANY)
        if not changes:
            return QuadraticPoint(np.clip(d, q.lo, q.hi), multipliers, True, 0, bounds.variables(active))
        active = (active & ~wrong) | beyond
        # One end of a variable at a time.
        both = np.bincount(bounds.var[active[:n_var]], minlength=len(q.g)) > 1
        active[:n_var] &= ~both[bounds.var]
    return None


def from_vertex(q: Quadratic, bounds: Bounds, active: Array, d: Array) -> QuadraticPoint | None:
    """The minimum from a feasible point d (n,) and its active bounds, the objective falling all the way.

    The primal active set method (Nocedal and Wright, Numerical Optimization, 2006, algorithm 16.3): to the
    minimum with the active bounds as equations, or the first bound on the way, which joins them; at a
    minimum the bounds that pull the most the wrong way are let go.
    """
    small = 1e-11 * (1 + float(np.abs(q.g).max(initial=0.0)))
    for _ in range(MOVES):
        found = _with_active(q, bounds, active)
        if found is None:
            return None
        goal, multipliers = found
        slack, ahead = np.maximum(bounds.slack(d, q), 0.0), bounds.slack(goal, q)
        closing = ~active & (ahead < -1e-13)
        share = np.full(len(slack), np.inf)
        share[closing] = slack[closing] / np.maximum(slack - ahead, 1e-300)[closing]
        first = int(np.argmin(share))
        if share[first] < 1:
            d = d + share[first] * (goal - d)
            active[first] = True
            continue
        d = goal
        pull = q.g + q.times_hessian(d) + q.rows_transposed(multipliers)
        on_rows = -bounds.row_sign * multipliers[bounds.row]
        force = np.where(active, np.concatenate([bounds.var_sign * pull[bounds.var], on_rows]), np.inf)
        wrong = force < -small
        if not wrong.any():
            return QuadraticPoint(np.clip(d, q.lo, q.hi), multipliers, True, 0, bounds.variables(active))
        active &= force > np.partition(force, RELEASED)[RELEASED - 1] if wrong.sum() > RELEASED else ~wrong
    return None


def _with_active(q: Quadratic, bounds: Bounds, active: Array) -> tuple[Array, Array] | None:
    """d (n,) and the multipliers of the rows (m + l,) with some bounds as equations."""
    var, row = bounds.split(active)
    free = np.ones(len(q.g), dtype=bool)
    free[bounds.var[var]] = False
    d = np.zeros(len(q.g))
    d[bounds.var[var]] = bounds.bound[: len(bounds.var)][var]
    held, goal = bounds.row[row], bounds.bound[len(bounds.var) :][row]
    order = np.argsort(held, kind="stable")
    held, goal = held[order], goal[order]
    tie = _Tie.of(q, free, d, held, goal)
    if tie.matrix.shape[1] + len(tie.rest) <= DENSE:
        found = _dense_equations(q, tie, held, goal)
    elif q.curvature[free].min(initial=np.inf) > EVEN * max(
        q.curvature.max(), (q.stiffness @ q.bend**2).max(initial=0.0)
    ):
        found = _diagonal_equations(q, free, d, held, goal)
    elif len(tie.tied):  # so far from a vertex the guess is worth nothing
        return None
    else:
        found = _sparse_equations(q, free, d, held, goal)
    if found is None:
        return None
    d[free] = found[: int(free.sum())]
    multipliers = np.zeros(bounds.n_rows)
    multipliers[held] = found[len(found) - len(held) :]
    return d, multipliers


@dataclass(frozen=True)
class _Tie:
    """Free variables x = x0 + T z, those left out of z being told by rows with a variable of their own.

    free (n_f,), x0 (n,)   places of the free variables; all variables, the free ones where z = 0
    matrix (n_f, n_z)      T
    tied, told, coef (k,)   places among the rows held, the variables they tell, and their coefficients
    rest                   places of the other rows held
    """

    free: Array
    x0: Array
    matrix: Array
    tied: Array
    told: Array
    coef: Array
    rest: Array

    @staticmethod
    def of(q: Quadratic, free: Array, d: Array, held: Array, goal: Array) -> _Tie:
        m, own = len(q.row_lo), q.own
        places = np.flatnonzero(held >= m)
        rows = held[places] - m
        use = free[own.variable[rows]] & (own.coef[rows] != 0)
        places, rows = places[use], rows[use]
        told, coef = own.variable[rows], own.coef[rows]
        index, width = np.flatnonzero(free), free.copy()
        width[told] = False
        position = np.cumsum(free) - 1
        x0, matrix = d.copy(), np.zeros((len(index), int(width.sum())))
        matrix[position[width], np.arange(matrix.shape[1])] = 1.0
        if len(told):
            x0[told] = (goal[places] - own.others[rows] @ d[own.shared]) / coef
            at = np.full(len(d), -1)
            at[width] = np.arange(matrix.shape[1])
            here = at[own.shared] >= 0
            matrix[np.ix_(position[told], at[own.shared[here]])] = -own.others[rows][:, here] / coef[:, None]
        rest = np.ones(len(held), dtype=bool)
        rest[places] = False
        return _Tie(index, x0, matrix, places, told, coef, np.flatnonzero(rest))


def _dense_equations(q: Quadratic, tie: _Tie, held: Array, goal: Array) -> Array | None:
    """Unknowns of the equations: d of the free variables, then the multipliers of the rows held."""
    m, t, rest = len(q.row_lo), tie.matrix, held[tie.rest]
    n, k = t.shape[1], len(rest)
    bend = q.bend[:, tie.free] @ t
    plain = rest[rest >= m] - m
    equations = q.a[rest[rest < m]]
    if len(plain):
        equations = np.vstack([equations, q.p[plain].toarray()])
    matrix = np.zeros((n + k, n + k))
    matrix[:n, :n] = t.T @ (q.curvature[tie.free][:, None] * t) + bend.T @ (q.stiffness[:, None] * bend)
    matrix[n:, :n] = equations[:, tie.free] @ t
    matrix[:n, n:] = matrix[n:, :n].T
    right = np.concatenate(
        [-t.T @ (q.g + q.times_hessian(tie.x0))[tie.free], goal[tie.rest] - equations @ tie.x0]
    )
    give = np.concatenate([np.zeros(n), np.full(k, TWIN)])
    z = np.zeros(n + k)
    if len(z):
        lu, pivots, singular = dgetrf(matrix - np.diag(give))  # LAPACK itself: there are a hundred of these
        if singular:
            return None
        for _ in range(1 + REFINED):  # takes back the give, and rounding
            z += dgetrs(lu, pivots, right - matrix @ z)[0]
    x = tie.x0.copy()
    x[tie.free] += t @ z[:n]
    multipliers = np.zeros(len(held))
    multipliers[tie.rest] = z[n:]
    pull = (q.g + q.times_hessian(x) + equations.T @ z[n:])[tie.told]
    multipliers[tie.tied] = -pull / tie.coef
    found = np.concatenate([x[tie.free], multipliers])
    return found if np.isfinite(found).all() else None


def _diagonal_equations(q: Quadratic, free: Array, d: Array, held: Array, goal: Array) -> Array | None:
    """The same unknowns where the diagonal of H alone is well conditioned.

    d_f = -D^-1 (g + C' w)_f and C d = W^-1 w for the stiff directions and the rows held
    """
    m, stiff = len(q.row_lo), q.stiffness > 0
    rows = np.vstack([q.bend[stiff], q.a[held[held < m]], q.p[held[held >= m] - m].toarray()])
    c, inverse = rows[:, free], 1 / q.curvature[free]
    soft = np.concatenate([1 / q.stiffness[stiff], np.zeros(len(held))])
    aim = np.concatenate([np.zeros(int(stiff.sum())), goal]) - rows @ d
    matrix = (c * inverse) @ c.T + np.diag(soft)
    give = np.concatenate([np.zeros(int(stiff.sum())), np.full(len(held), TWIN)])
    step, w = -inverse * q.g[free], np.zeros(len(soft))
    if len(w):
        try:
            factor = cho_factor(matrix + np.diag(give), check_finite=False)
        except LinAlgError:
            return None
        for _ in range(1 + REFINED):  # C d_f - W^-1 w = aim
            w += cho_solve(factor, c @ step - soft * w - aim, check_finite=False)
            step = -inverse * (q.g[free] + c.T @ w)
    found = np.concatenate([step, w[int(stiff.sum()) :]])
    return found if np.isfinite(found).all() else None


def _sparse_equations(q: Quadratic, free: Array, d: Array, held: Array, goal: Array) -> Array | None:
    """The same unknowns, and between them those of the stiff directions: the matrix stays sparse."""
    m, k = len(q.row_lo), len(q.stiffness)
    equations = sp.vstack([sp.csr_matrix(q.a[held[held < m]]), q.p[held[held >= m] - m]]).tocsr()
    bend = sp.csr_matrix(q.bend)
    if not k + len(held):
        return np.asarray(-(q.g + q.times_hessian(d))[free] / q.curvature[free])
    # bend d - f / stiffness = 0
    soft = np.where(q.stiffness > 0, 1 / np.where(q.stiffness > 0, q.stiffness, 1.0), 1.0)
    below = sp.vstack([bend[:, free], equations[:, free]])
    corner = -sp.diags(np.concatenate([soft, np.full(len(held), TWIN)]))
    blocks: list[list[Any]] = [[sp.diags(q.curvature[free]), below.T], [below, corner]]
    matrix: Any = sp.bmat(blocks, format="csc")
    right = np.concatenate([-(q.g + q.curvature * d)[free], -(bend @ d), goal - equations @ d])
    try:
        lu = splu(matrix)
    except RuntimeError:
        return None
    found = lu.solve(right)
    # The give is taken back by refining against the equations as they are.
    give = np.concatenate([np.zeros(len(found) - len(held)), np.full(len(held), TWIN)])
    for _ in range(REFINED):
        found += lu.solve(right - matrix @ found - give * found)
    return found if np.isfinite(found).all() else None
