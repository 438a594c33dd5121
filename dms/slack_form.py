"""A tick's programme as the barrier method sees it: equations, and variables and slacks inside bounds.

    minimise  sigma f(x)   subject to   c_E(x) = b,   c_R(x) - s = 0,   lo <= (x, s) <= hi

R are the rows that are ranges. Fixed variables and rows without bounds take no part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dms.compact import CompactTick
from dms.newton import NewtonSystem
from feeders.table import Array


@dataclass
class Iterate:
    """A point strictly inside the bounds, with multipliers of sigma f.

    v (n + n_ranges,) x and s         y (m,)
    below, above                      distances to the finite bounds, > 0, kept apart from v: their
                                      last digits are lost in v
    z_low, z_up                       multipliers of those bounds, > 0
    c (m,)                            c_E - b and c_R - s
    """

    v: Array
    y: Array
    below: Array
    above: Array
    z_low: Array
    z_up: Array
    c: Array

    @property
    def complementarity(self) -> Array:
        """Distance times multiplier, of every bound."""
        return np.concatenate([self.below * self.z_low, self.above * self.z_up])

    @property
    def mean_product(self) -> float:
        """Mean of the complementarities, zero without bounds."""
        products = self.complementarity
        return float(products.mean()) if len(products) else 0.0

    @property
    def theta(self) -> float:
        """Sum of all violations."""
        return float(np.abs(self.c).sum())


@dataclass(frozen=True)
class Direction:
    """A step of every part of an `Iterate`."""

    v: Array
    y: Array
    z_low: Array
    z_up: Array


class SlackForm:
    """What stays the same during a solve; `low` and `up` are the finite bounds among (x, s)."""

    def __init__(self, program: CompactTick, objective_scale: float) -> None:
        self.program, self.n, self.m, numbers = program, program.n, program.m, program.numbers
        self.sigma = objective_scale
        self.fixed = numbers.x_lo == numbers.x_hi
        equation = numbers.row_lo == numbers.row_hi
        self.equations = np.flatnonzero(equation)
        bounded = np.isfinite(numbers.row_lo) | np.isfinite(numbers.row_hi)
        self.ranges = np.flatnonzero(~equation & bounded)
        self.idle = ~bounded
        self.target = np.where(equation, numbers.row_lo, 0.0)
        self.lo = np.concatenate([np.where(self.fixed, -np.inf, numbers.x_lo), numbers.row_lo[self.ranges]])
        self.hi = np.concatenate([np.where(self.fixed, np.inf, numbers.x_hi), numbers.row_hi[self.ranges]])
        self.low, self.up = np.flatnonzero(np.isfinite(self.lo)), np.flatnonzero(np.isfinite(self.hi))
        row, col = program.jacobian_structure
        h_row, h_col = program.hessian_structure
        self._jacobian_live = ~(self.fixed[col] | self.idle[row])
        self._hessian_live = ~(self.fixed[h_row] | self.fixed[h_col])

    # Values ---------------------------------------------------------------------------------

    def violation(self, v: Array) -> Array:
        """c_E(x) - b and c_R(x) - s, (m,)."""
        c = self.program.constraints(v[: self.n]) - self.target
        c[self.ranges] -= v[self.n :]
        c[self.idle] = 0.0
        return c

    def objective(self, v: Array) -> float:
        """sigma f."""
        return self.sigma * self.program.objective(v[: self.n])

    def gradient(self, v: Array) -> Array:
        """Of sigma f, by (x, s); zero where x is fixed."""
        slope = np.where(self.fixed, 0.0, self.sigma * self.program.gradient(v[: self.n]))
        return np.concatenate([slope, np.zeros(len(self.ranges))])

    def jacobian(self, v: Array) -> Array:
        """Values on the programme's structure; zero where a variable is fixed or a row idle."""
        return self.program.jacobian(v[: self.n]) * self._jacobian_live

    def hessian(self, v: Array, y: Array) -> Array:
        """Values on the programme's structure; zero where a variable is fixed."""
        return self.program.hessian(v[: self.n], y, self.sigma) * self._hessian_live

    # Points -----------------------------------------------------------------------------------

    def inside(self, x: Array, push: float) -> tuple[Array, Array, Array]:
        """v = (x, c_R(x)) moved off its bounds by `push` times their distance or size; below and above."""
        v = np.concatenate([x, self.program.constraints(x)[self.ranges]])
        lo, hi = self.lo, self.hi
        room = push * (hi - lo)
        with np.errstate(invalid="ignore"):
            off_lo = np.minimum(push * np.maximum(1.0, np.abs(lo)), room)
            off_hi = np.minimum(push * np.maximum(1.0, np.abs(hi)), room)
            v = np.where(np.isfinite(lo), np.maximum(v, lo + off_lo), v)
            v = np.where(np.isfinite(hi), np.minimum(v, hi - off_hi), v)
        return v, v[self.low] - lo[self.low], hi[self.up] - v[self.up]

    def moved(self, at: Iterate, d: Direction, primal: float) -> Iterate:
        """The point after a step of v (and of y, by the same length); multipliers of bounds stay."""
        v = at.v + primal * d.v
        return Iterate(
            v=v,
            y=at.y + primal * d.y,
            below=at.below + primal * d.v[self.low],
            above=at.above - primal * d.v[self.up],
            z_low=at.z_low,
            z_up=at.z_up,
            c=self.violation(v),
        )

    def row_multipliers(self, at: Iterate) -> Array:
        """(m,) y, without what rounding leaves of the sign that a row open on one side cannot have."""
        y = at.y.copy()
        lo, hi = self.lo[self.n :], self.hi[self.n :]
        at_most = np.where(np.isfinite(hi), np.inf, 0.0)
        y[self.ranges] = np.clip(y[self.ranges], np.where(np.isfinite(lo), -np.inf, 0.0), at_most)
        return y

    def by_variable(self, at: Iterate) -> tuple[Array, Array]:
        """Multipliers of the lower and the upper bounds, of every entry of v."""
        z_low, z_up = np.zeros((2, len(at.v)))
        z_low[self.low], z_up[self.up] = at.z_low, at.z_up
        return z_low, z_up

    def barrier(self, at: Iterate, mu: float) -> float:
        """sigma f - mu sum log(distances)."""
        return self.objective(at.v) - mu * float(np.log(at.below).sum() + np.log(at.above).sum())

    def stationarity(self, at: Iterate, system: NewtonSystem) -> Array:
        """Gradient of the Lagrangian without its bounds, by (x, s), with the system's Jacobian."""
        slope = self.gradient(at.v)
        slope[: self.n] += system.jacobian.T @ at.y
        slope[self.n :] -= at.y[self.ranges]
        return slope


@dataclass(frozen=True)
class KktError:
    """How far an iterate is from a stationary point, in Ipopt's measure (Waechter and Biegler, 2006, (5)).

    dual, primal, complementary  largest entries; the first and last over the mean multiplier / 100, if that
                                 is above 1
    unscaled                     dual as it is
    gap                          sum of all complementarities: of an LP, the objective's distance to the best
    """

    dual: float
    primal: float
    complementary: float
    unscaled: float
    gap: float

    @property
    def worst(self) -> float:
        """Largest of the three."""
        return max(self.dual, self.primal, self.complementary)


def kkt_error(form: SlackForm, at: Iterate, system: NewtonSystem, mu: float = 0.0) -> KktError:
    """Of the barrier problem of `mu`; the Jacobian in `system` must be that of the iterate."""
    slope = form.stationarity(at, system)
    slope[form.low] -= at.z_low
    slope[form.up] += at.z_up
    z, y = float(at.z_low.sum() + at.z_up.sum()), float(np.abs(at.y).sum())
    bounds = max(len(at.z_low) + len(at.z_up), 1)
    products = at.complementarity
    unscaled = float(np.abs(slope).max(initial=0.0))
    return KktError(
        dual=unscaled / max(1.0, (y + z) / (form.m + bounds) / 100),
        primal=float(np.abs(at.c).max(initial=0.0)),
        complementary=float(np.abs(products - mu).max(initial=0.0)) / max(1.0, z / bounds / 100),
        unscaled=unscaled,
        gap=float(products.sum()),
    )
