"""A small quadratic programme with few dense rows, solved by Mehrotra's predictor-corrector method.

    minimise    g.d + d' H d / 2        H = diag(curvature) + bend' diag(stiffness) bend
    subject to  row_lo <= A d <= row_hi,   plain_lo <= P d <= plain_hi,   lo <= d <= hi

For the rounds of `dms.reduced`: some hundred variables, a few dense rows A, many sparse ones P. HiGHS's
active-set method needs 0.1 to 0.25 s for 416 variables with a diagonal H, this one 3 to 6 ms
(docs/design.md).
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from scipy.sparse.linalg import splu

from dms.active_set import by_exchange, from_vertex
from dms.quadratic_form import ActiveSet, Bounds, Quadratic, QuadraticPoint
from feeders.table import Array

ROUNDS = 60
TOLERANCE, GOOD = 1e-9, 1e-6
"""Residuals at which it stops at once, and those that will do where rounding stops it."""
GAP = 1e3
"""How much smaller than those a mean complementarity has to be: there are hundreds of them."""
EXCHANGES, EXCHANGES_OF_A_GUESS = 30, 6
"""Most changes of the active bounds, after the interior method and from a guess."""
BACK = 0.995
"""Share of the way to the nearest bound that a step may go."""


def solve(q: Quadratic, guess: ActiveSet | None = None, *, inside: bool = True) -> QuadraticPoint:
    """The minimum of a convex programme; `converged` is False where none was found (infeasible, say).

    guess   where to try first: near the end of a search it is right, or wrong in a few places
    inside  the interior method is tried where no guess leads to the minimum
    """
    moving = q.hi > q.lo
    if not moving.all():
        return _solve_moving(q, moving, guess, inside=inside)
    bounds = Bounds.of(q)
    if guess is not None:
        active = bounds.active(guess)
        if guess.d is None:
            found = by_exchange(q, bounds, active, EXCHANGES_OF_A_GUESS)
        else:
            found = from_vertex(q, bounds, active, guess.d)
        if found is not None:
            return found
    if not inside:
        nothing = np.zeros(len(q.g))
        return QuadraticPoint(nothing, np.zeros(bounds.n_rows), False, 0, nothing.astype(int))
    # Steps that overflow are found not to be finite, and end the rounds.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        return _solve_inside(q, bounds)


def _solve_inside(q: Quadratic, bounds: Bounds) -> QuadraticPoint:
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
    active = z > np.maximum(bounds.slack(d, q), 0.0)
    at = bounds.variables(active)
    rough = QuadraticPoint(np.clip(d, q.lo, q.hi), bounds.multipliers(z), best < GOOD, done, at)
    # To working accuracy, where exchanges end.
    return (by_exchange(q, bounds, active, EXCHANGES) or rough) if rough.converged else rough


def _start(q: Quadratic, bounds: Bounds, d: Array) -> tuple[Array, Array]:
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


def _solve_moving(q: Quadratic, moving: Array, guess: ActiveSet | None, *, inside: bool) -> QuadraticPoint:
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
    found = solve(part, guess and guess.among(moving), inside=inside)
    d[moving] = found.d
    variables = np.full(len(d), -1)
    variables[moving] = found.variables
    return QuadraticPoint(d, found.multipliers, found.converged, found.iterations, variables)


class _System:
    """The Newton system of one round: K = diagonal and sparse rows, then the dense rows and bends on it."""

    def __init__(self, q: Quadratic, bounds: Bounds, sigma_var: Array, sigma_row: Array) -> None:
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
    def of(q: Quadratic, bounds: Bounds, weight: Array) -> _System | None:
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
