"""A small quadratic programme with few dense rows, solved by Mehrotra's predictor-corrector method.

    minimise    g.d + d' H d / 2        H = diag(curvature) + bend' diag(stiffness) bend
    subject to  row_lo <= A d <= row_hi,   plain_lo <= P d <= plain_hi,   lo <= d <= hi

For the rounds of `dms.reduced`: some hundred variables, a few dense rows A, many sparse ones P. HiGHS's
active-set method needs 0.1 to 0.25 s for 416 variables with a diagonal H, this one 3 to 6 ms
(docs/design.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse.linalg import splu

from feeders.table import Array

ROUNDS = 60
TOLERANCE, GOOD = 1e-9, 1e-6
"""Residuals at which it stops at once, and those that will do where rounding stops it."""
GAP = 1e3
"""How much smaller than those a mean complementarity has to be: there are hundreds of them."""
EXCHANGES = 30
"""Most changes of the guess of the active bounds."""
REFINED = 3
"""Refinements of its linear solves."""
TWIN = 1e-11
"""Give of an equation, so that two that say the same have a solution."""
BACK = 0.995
"""Share of the way to the nearest bound that a step may go."""


@dataclass(frozen=True)
class Quadratic:
    """g, curvature, lo, hi (n,); a (m, n), p (l, n) sparse, and their bounds; bend (k, n), stiffness (k,)."""

    g: Array
    curvature: Array
    lo: Array
    hi: Array
    a: Array
    row_lo: Array
    row_hi: Array
    p: sp.csr_matrix
    plain_lo: Array
    plain_hi: Array
    bend: Array
    stiffness: Array

    def times_hessian(self, d: Array) -> Array:
        """H d."""
        return np.asarray(self.curvature * d + self.bend.T @ (self.stiffness * (self.bend @ d)))

    def rows(self, d: Array) -> Array:
        """A d, then P d."""
        return np.concatenate([self.a @ d, self.p @ d])

    def rows_transposed(self, multipliers: Array) -> Array:
        """A' and P' times multipliers (m + l,)."""
        m = len(self.row_lo)
        return np.asarray(self.a.T @ multipliers[:m] + self.p.T @ multipliers[m:])


@dataclass(frozen=True)
class QuadraticPoint:
    """d (n,) and the multipliers of the rows (m + l,), positive at the upper bound."""

    d: Array
    multipliers: Array
    converged: bool
    iterations: int


def solve(q: Quadratic) -> QuadraticPoint:
    """The minimum of a convex programme; `converged` is False where none was found (infeasible, say)."""
    moving = q.hi > q.lo
    if not moving.all():
        return _solve_moving(q, moving)
    # Steps that overflow are found not to be finite, and end the rounds.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _solve_inside(q, _Bounds.of(q))


def _solve_inside(q: Quadratic, bounds: _Bounds) -> QuadraticPoint:
    d = np.clip(0.0, q.lo, q.hi)
    inner = np.isfinite(q.lo) & np.isfinite(q.hi)
    d[inner] = np.clip(d[inner], (0.9 * q.lo + 0.1 * q.hi)[inner], (0.1 * q.lo + 0.9 * q.hi)[inner])
    gap, z = _start(q, bounds, d)
    best, found, done = np.inf, (d, z), 0
    while done < ROUNDS:
        done += 1
        dual = q.g + q.times_hessian(d) + bounds.adjoint(z, q)
        primal = bounds.slack(d, q) - gap
        mu = float(gap @ z) / max(len(z), 1)
        scale = 1 + float(np.abs(q.g).max(initial=0.0))
        sizes = (np.abs(dual).max(initial=0.0) / scale, np.abs(primal).max(initial=0.0), GAP * mu / scale)
        worst = float(max(sizes))
        if not worst < 10 * best and best < GOOD:
            break
        if worst < best:
            best, found = worst, (d, z)
        if worst < TOLERANCE:
            break
        system = _System.of(q, bounds, z / gap)
        if system is None:
            break
        affine = system.step(dual, primal, gap * z, z, gap)
        reach = min(_reach(gap, affine[1]), _reach(z, affine[2]))
        after = float((gap + reach * affine[1]) @ (z + reach * affine[2])) / max(len(z), 1)
        centre = (after / mu) ** 3 * mu if mu > 0 else 0.0
        step = system.step(dual, primal, gap * z + affine[1] * affine[2] - centre, z, gap)
        both = min(1.0, *(BACK * _reach(part, move) for part, move in ((gap, step[1]), (z, step[2]))))
        d, gap, z = d + both * step[0], gap + both * step[1], z + both * step[2]
        if not (np.isfinite(d).all() and np.isfinite(z).all()):
            break
    d, z = found
    rough = QuadraticPoint(np.clip(d, q.lo, q.hi), bounds.multipliers(z), best < GOOD, done)
    return _polished(q, bounds, rough, z) if rough.converged else rough


def _start(q: Quadratic, bounds: _Bounds, d: Array) -> tuple[Array, Array]:
    """Slacks and multipliers well inside, of the size that a first affine step asks for (Mehrotra)."""
    slack = bounds.slack(d, q)
    wide = max(float(np.abs(slack).max(initial=0.0)), 1e-3)
    bent = (q.curvature * np.minimum(q.hi - q.lo, 1.0)).max(initial=0.0)
    steep = max(float(np.abs(q.g).max(initial=0.0) + bent), 1e-6)
    gap, z = np.maximum(slack, 0.1 * wide), np.full(len(slack), steep)
    system = _System.of(q, bounds, z / gap)
    if system is None:
        return gap, z
    dual = q.g + q.times_hessian(d) + bounds.adjoint(z, q)
    _, more_gap, more_z = system.step(dual, slack - gap, gap * z, z, gap)
    return np.maximum(np.abs(gap + more_gap), 1e-2 * wide), np.maximum(np.abs(z + more_z), 1e-1 * steep)


def _solve_moving(q: Quadratic, moving: Array) -> QuadraticPoint:
    """The same with the variables that cannot move taken out."""
    d = np.where(moving, 0.0, q.lo)
    dense, sparse = q.a @ d, q.p @ d
    part = Quadratic(
        (q.g + q.times_hessian(d))[moving],
        q.curvature[moving],
        q.lo[moving],
        q.hi[moving],
        q.a[:, moving],
        q.row_lo - dense,
        q.row_hi - dense,
        q.p[:, moving],
        q.plain_lo - sparse,
        q.plain_hi - sparse,
        q.bend[:, moving],
        q.stiffness,
    )
    found = solve(part)
    d[moving] = found.d
    return QuadraticPoint(d, found.multipliers, found.converged, found.iterations)


def _polished(q: Quadratic, bounds: _Bounds, rough: QuadraticPoint, z: Array) -> QuadraticPoint:
    """The same point to working accuracy: a guess of the active bounds as equations, the rest free.

    H_ff d_f + A_a' lambda = -(g + H d)_f at the fixed ones,   A_a d = bound

    What comes out beyond a bound becomes active, what pulls off its bound becomes free, until nothing changes
    (a primal-dual active set method); where that does not end, the point stays as it was.
    """
    n_var = len(bounds.var)
    active = z > np.maximum(bounds.slack(rough.d, q), 0.0)
    small = 1e-11 * (1 + float(np.abs(q.g).max(initial=0.0)))
    for _ in range(EXCHANGES):
        found = _with_active(q, bounds, active)
        if found is None:
            return rough
        d, multipliers = found
        pull = q.g + q.times_hessian(d) + q.rows_transposed(multipliers)
        slack = bounds.slack(d, q)
        on_rows = -bounds.row_sign * multipliers[bounds.row]
        force = np.concatenate([bounds.var_sign * pull[bounds.var], on_rows])
        wrong = active & (force < -small)
        beyond = ~active & (slack < -1e-13)
        # Of two rows that all but say the same only one can hold as an equation: the stricter.
        wrong |= active & (slack > 1e-12) & (np.arange(len(slack)) >= n_var)
        if not (wrong.any() or beyond.any()):
            return QuadraticPoint(np.clip(d, q.lo, q.hi), multipliers, True, rough.iterations)
        active = (active & ~wrong) | beyond
        # One end of a variable at a time.
        both = np.bincount(bounds.var[active[:n_var]], minlength=len(q.g)) > 1
        active[:n_var] &= ~both[bounds.var]
    return rough


def _with_active(q: Quadratic, bounds: _Bounds, active: Array) -> tuple[Array, Array] | None:
    """d (n,) and the multipliers of the rows (m + l,) with some bounds as equations."""
    var, row = bounds.split(active)
    free = np.ones(len(q.g), dtype=bool)
    free[bounds.var[var]] = False
    d = np.zeros(len(q.g))
    d[bounds.var[var]] = bounds.bound[: len(bounds.var)][var]
    held, goal = bounds.row[row], bounds.bound[len(bounds.var) :][row]
    m, k = len(q.row_lo), len(q.stiffness)
    equations = sp.vstack([sp.csr_matrix(q.a[held[held < m]]), q.p[held[held >= m] - m]]).tocsr()
    order = np.argsort(held >= m, kind="stable")
    bend = sp.csr_matrix(q.bend)
    # Stiff directions as unknowns of their own keep the matrix sparse: bend d - f / stiffness = 0.
    soft = np.where(q.stiffness > 0, 1 / np.where(q.stiffness > 0, q.stiffness, 1.0), 1.0)
    below = sp.vstack([bend[:, free], equations[:, free]])
    corner = -sp.diags(np.concatenate([soft, np.full(len(held), TWIN)])) if k + len(held) else None
    if corner is None:
        d[free] = -(q.g + q.times_hessian(d))[free] / q.curvature[free]
        return d, np.zeros(m + q.p.shape[0])
    blocks: list[list[Any]] = [[sp.diags(q.curvature[free]), below.T], [below, corner]]
    matrix: Any = sp.bmat(blocks, format="csc")
    right = np.concatenate([-(q.g + q.curvature * d)[free], -(bend @ d), goal[order] - equations @ d])
    try:
        lu = splu(matrix)
    except RuntimeError:
        return None
    found = lu.solve(right)
    # The give is taken back by refining against the equations as they are.
    give = np.concatenate([np.zeros(len(found) - len(held)), np.full(len(held), TWIN)])
    for _ in range(REFINED):
        found += lu.solve(right - matrix @ found - give * found)
    n_free = int(free.sum())
    d[free] = found[:n_free]
    multipliers = np.zeros(m + q.p.shape[0])
    multipliers[held[order]] = found[n_free + k :]
    return d, multipliers


@dataclass(frozen=True)
class _Bounds:
    """Every one-sided bound: its slack is sign (value - bound) >= 0, first of variables, then of rows."""

    var: Array
    var_sign: Array
    row: Array
    row_sign: Array
    bound: Array
    width: Array
    n: int
    n_rows: int

    @staticmethod
    def of(q: Quadratic) -> _Bounds:
        row_lo = np.concatenate([q.row_lo, q.plain_lo])
        row_hi = np.concatenate([q.row_hi, q.plain_hi])
        low, high = np.flatnonzero(np.isfinite(q.lo)), np.flatnonzero(np.isfinite(q.hi))
        row_low, row_high = np.flatnonzero(np.isfinite(row_lo)), np.flatnonzero(np.isfinite(row_hi))
        width = np.concatenate([(q.hi - q.lo)[low], (q.hi - q.lo)[high]])
        return _Bounds(
            np.concatenate([low, high]),
            np.concatenate([np.ones(len(low)), -np.ones(len(high))]),
            np.concatenate([row_low, row_high]),
            np.concatenate([np.ones(len(row_low)), -np.ones(len(row_high))]),
            np.concatenate([q.lo[low], q.hi[high], row_lo[row_low], row_hi[row_high]]),
            np.where(np.isfinite(width), width, 1.0),
            len(q.g),
            len(row_lo),
        )

    def slack(self, d: Array, q: Quadratic) -> Array:
        value = np.concatenate([d[self.var], q.rows(d)[self.row]])
        return np.concatenate([self.var_sign, self.row_sign]) * (value - self.bound)

    def split(self, z: Array) -> tuple[Array, Array]:
        return z[: len(self.var)], z[len(self.var) :]

    def multipliers(self, z: Array) -> Array:
        """Of the rows, positive at the upper bound."""
        return -np.bincount(self.row, weights=self.row_sign * self.split(z)[1], minlength=self.n_rows)

    def adjoint(self, z: Array, q: Quadratic) -> Array:
        """Gradient of -(z . slack) with respect to d."""
        mine = np.bincount(self.var, weights=self.var_sign * self.split(z)[0], minlength=self.n)
        return -mine + q.rows_transposed(self.multipliers(z))


class _System:
    """The Newton system of one round: K = diagonal and sparse rows, then the dense rows and bends on it."""

    def __init__(self, q: Quadratic, bounds: _Bounds, sigma_var: Array, sigma_row: Array) -> None:
        self.q, self.bounds = q, bounds
        m = len(q.row_lo)
        self.diagonal = q.curvature + sigma_var
        self._k = None
        if q.p.shape[0]:
            self._k = splu((sp.diags(self.diagonal) + q.p.T @ sp.diags(sigma_row[m:]) @ q.p).tocsc())
        self.used = used = np.flatnonzero(sigma_row[:m] > 0)
        stiff = np.flatnonzero(q.stiffness > 0)
        self.dense = np.vstack([q.a[used], q.bend[stiff]])
        weight = np.concatenate([sigma_row[:m][used], q.stiffness[stiff]])
        self._weight = weight
        self._through = self._inverse(self.dense.T)
        self._schur = None
        if len(weight):
            self._schur = cho_factor(np.diag(1 / weight) + self.dense @ self._through)

    @staticmethod
    def of(q: Quadratic, bounds: _Bounds, weight: Array) -> _System | None:
        var, row = bounds.split(weight)
        sigma_var = np.bincount(bounds.var, weights=var, minlength=bounds.n)
        sigma_row = np.bincount(bounds.row, weights=row, minlength=bounds.n_rows)
        try:
            return _System(q, bounds, sigma_var, sigma_row)
        except (LinAlgError, ValueError, RuntimeError):  # not positive definite, not finite, singular
            return None

    def _inverse(self, b: Array) -> Array:
        if self._k is None:
            return np.asarray((b.T / self.diagonal).T)
        return np.asarray(self._k.solve(np.ascontiguousarray(b)))

    def step(
        self, dual: Array, primal: Array, products: Array, z: Array, gap: Array
    ) -> tuple[Array, Array, Array]:
        """Move of d, of the slacks and of the multipliers that zeroes the three residuals to first order."""
        pull = (products + z * primal) / gap
        signs = np.concatenate([self.bounds.var_sign, self.bounds.row_sign])
        var, row = self.bounds.split(signs * pull)
        right = -dual - np.bincount(self.bounds.var, weights=var, minlength=self.bounds.n)
        by_row = np.bincount(self.bounds.row, weights=row, minlength=self.bounds.n_rows)
        right -= self.q.rows_transposed(by_row)
        d = self._inverse(right)
        rows = None
        if self._schur is not None and np.isfinite(d).all():
            pushed = cho_solve(self._schur, self.dense @ d)
            d = d - self._through @ pushed
            rows = self.q.rows(d)
            # A d of an active row is the small difference of large numbers; weight A d = pushed is exact.
            rows[self.used] = (pushed / self._weight)[: len(self.used)]
        rows = self.q.rows(d) if rows is None else rows
        moved = np.concatenate([d[self.bounds.var], rows[self.bounds.row]])
        move = signs * moved + primal
        return d, move, -(products + z * move) / gap


def _reach(value: Array, move: Array) -> float:
    """How far along a move positive values stay positive, at most 1."""
    falling = move < 0
    return min(1.0, float((-value[falling] / move[falling]).min(initial=np.inf)))
