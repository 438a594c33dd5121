"""A small quadratic programme with few dense rows: its data, its bounds, and a point of it.

    minimise    g.d + d' H d / 2        H = diag(curvature) + bend' diag(stiffness) bend
    subject to  row_lo <= A d <= row_hi,   plain_lo <= P d <= plain_hi,   lo <= d <= hi

For the rounds of `dms.reduced`: some hundred variables, a few dense rows A, many sparse ones P.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sp

from feeders.table import Array


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

    @cached_property
    def own(self) -> Own:
        """What the sparse rows say of variables that stand in no other one."""
        return Own.of(self.p)

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
class Own:
    """Sparse rows with a variable of their own: coef d_variable + others d_shared.

    variable, coef (l,)   zeros for a row with none     others (l, k), shared (k,)
    """

    variable: Array
    coef: Array
    others: Array
    shared: Array

    @staticmethod
    def of(p: sp.csr_matrix) -> Own:
        """Of sparse rows (l, n)."""
        entries = p.tocoo()
        single = np.bincount(entries.col, minlength=p.shape[1]) == 1
        mine = single[entries.col]
        row, which = np.unique(entries.row[mine], return_index=True)
        variable, coef = np.zeros(p.shape[0], dtype=int), np.zeros(p.shape[0])
        variable[row], coef[row] = entries.col[mine][which], entries.data[mine][which]
        rest = np.ones(len(entries.data), dtype=bool)
        rest[np.flatnonzero(mine)[which]] = False
        shared = np.unique(entries.col[rest])
        others = np.zeros((p.shape[0], len(shared)))
        others[entries.row[rest], np.searchsorted(shared, entries.col[rest])] = entries.data[rest]
        return Own(variable, coef, others, shared)


@dataclass(frozen=True)
class QuadraticPoint:
    """d (n,) and the multipliers of the rows (m + l,), positive at the upper bound.

    variables  (n,) which of them a bound holds: -1 the lower one, 1 the upper one
    """

    d: Array
    multipliers: Array
    converged: bool
    iterations: int
    variables: Array


@dataclass(frozen=True)
class ActiveSet:
    """A guess of the bounds that hold as equations: -1 the lower one, 1 the upper one, 0 none.

    variables (n,), rows (m + l,)
    d (n,)  a point where they hold and nothing is beyond its bound, None where none is known
    """

    variables: Array
    rows: Array
    d: Array | None = None

    def among(self, moving: Array) -> ActiveSet:
        """The same of some variables (n,) bool."""
        return ActiveSet(self.variables[moving], self.rows, None if self.d is None else self.d[moving])


@dataclass(frozen=True)
class Bounds:
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
    def of(q: Quadratic) -> Bounds:
        """Every finite bound of a programme."""
        row_lo = np.concatenate([q.row_lo, q.plain_lo])
        row_hi = np.concatenate([q.row_hi, q.plain_hi])
        low, high = np.flatnonzero(np.isfinite(q.lo)), np.flatnonzero(np.isfinite(q.hi))
        row_low, row_high = np.flatnonzero(np.isfinite(row_lo)), np.flatnonzero(np.isfinite(row_hi))
        width = np.concatenate([(q.hi - q.lo)[low], (q.hi - q.lo)[high]])
        return Bounds(
            np.concatenate([low, high]),
            np.concatenate([np.ones(len(low)), -np.ones(len(high))]),
            np.concatenate([row_low, row_high]),
            np.concatenate([np.ones(len(row_low)), -np.ones(len(row_high))]),
            np.concatenate([q.lo[low], q.hi[high], row_lo[row_low], row_hi[row_high]]),
            np.where(np.isfinite(width), width, 1.0),
            len(q.g),
            len(row_lo),
        )

    def active(self, guess: ActiveSet) -> Array:
        """The bounds of a guess, in the order of `bound`."""
        by_var = guess.variables[self.var] == -self.var_sign
        return np.concatenate([by_var, guess.rows[self.row] == -self.row_sign])

    def variables(self, active: Array) -> Array:
        """Which end holds each variable, (n,): -1, 0 or 1."""
        at = np.zeros(self.n, dtype=int)
        mine = self.split(active)[0]
        at[self.var[mine]] = -self.var_sign[mine]
        return at

    def slack(self, d: Array, q: Quadratic) -> Array:
        """Distance of every bound at d (n,), negative beyond it."""
        value = np.concatenate([d[self.var], q.rows(d)[self.row]])
        return np.concatenate([self.var_sign, self.row_sign]) * (value - self.bound)

    def split(self, z: Array) -> tuple[Array, Array]:
        """Values of the bounds of variables, and of those of rows."""
        return z[: len(self.var)], z[len(self.var) :]

    def multipliers(self, z: Array) -> Array:
        """Of the rows, positive at the upper bound."""
        return -np.bincount(self.row, weights=self.row_sign * self.split(z)[1], minlength=self.n_rows)

    def adjoint(self, z: Array, q: Quadratic) -> Array:
        """Gradient of -(z . slack) with respect to d."""
        mine = np.bincount(self.var, weights=self.var_sign * self.split(z)[0], minlength=self.n)
        return -mine + q.rows_transposed(self.multipliers(z))
