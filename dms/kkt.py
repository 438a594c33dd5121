"""Our own Karush-Kuhn-Tucker residuals of a point, from `Program` alone.

With f the objective, c_r the rows and z the multipliers of the bounds, a local optimum satisfies

    grad f + J' lambda - z_lo + z_hi = 0,      z_lo, z_hi >= 0
    lambda_r >= 0 where a row stands at its upper end, <= 0 at its lower, 0 between

Multipliers are of the *unscaled* objective: cyipopt hands them out that way, whatever
`obj_scaling_factor` was. Residuals are measured on the objective times `objective_scale`, as it
is optimised (`dms.tick.objective_scale`): in MW^2 the objective of L2 and its gradient are about
1e-4, where a test against max(1, ...) would pass anything.

Nothing here knows how the point was found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog
from scipy.sparse.linalg import SuperLU, splu

from dms.interior import InteriorPoint
from dms.program import Numbers, Program
from dms.scaling import KW_PER_PU
from feeders.table import Array

STATIONARITY_TOLERANCE = 1e-5
COMPLEMENTARITY_TOLERANCE = 1e-5
SIGN_TOLERANCE = 1e-8
LAW_TOLERANCE_PU = 1e-8
POWER_TOLERANCE_KW = 1e-5
BAND_TOLERANCE_PU2 = 2e-8
"""Of |v|^2: 1e-8 pu of voltage, where optimisers may be compared."""
RATING_TOLERANCE = 2e-7
"""Of |i|^2 / Imax^2: 1e-7 of the rating."""
BANDS = ("v_band", "v_ll_band")
"""Rows |u|^2 of voltage bands, to earth and between phases."""
ACTIVE = 1e-6
"""Distance of a row from its end, in the row's own unit, at which it may have a multiplier."""


class Multipliers(NamedTuple):
    """Of rows (m,) and of the lower and upper bounds of variables (n,), of the unscaled objective."""

    rows: Array
    lower: Array
    upper: Array

    @staticmethod
    def of(point: InteriorPoint) -> Multipliers:
        """Those an optimiser came with."""
        return Multipliers(point.row_multipliers, point.lower_multipliers, point.upper_multipliers)

    @property
    def known(self) -> bool:
        """There is a finite one for everything."""
        return all(bool(np.isfinite(part).all()) for part in self)


@dataclass(frozen=True)
class KktResiduals:
    """Residuals of one point; the first four have no unit.

    stationarity     ||grad f + J' lambda - z_lo + z_hi||_inf / max(1, ||grad f||_inf, ||lambda||_inf), scaled
    reduced          the gradient left on the controls once laws are eliminated, / ||grad f||_inf: large
                     multipliers cannot hide it
    complementarity  largest of multiplier times distance from the end, / max(1, |f|), scaled
    sign             largest multiplier of the wrong sign, / max(1, ||lambda||_inf), scaled
    law_pu           Ohm's and Kirchhoff's laws             power_kw    power rows and bounds of curtailment
    band_pu2         voltage band, of |v|^2                 rating      further limits, of A^2 / Imax^2
    """

    stationarity: float
    reduced: float
    complementarity: float
    sign: float
    law_pu: float
    power_kw: float
    band_pu2: float
    rating: float

    @property
    def reasons(self) -> tuple[str, ...]:
        """What is wrong, empty at a point that satisfies the conditions."""
        tests = (
            ("stationarity", self.stationarity, STATIONARITY_TOLERANCE),
            ("reduced gradient", self.reduced, STATIONARITY_TOLERANCE),
            ("complementarity", self.complementarity, COMPLEMENTARITY_TOLERANCE),
            ("a multiplier's sign", self.sign, SIGN_TOLERANCE),
            ("laws, pu", self.law_pu, LAW_TOLERANCE_PU),
            ("powers, kW", self.power_kw, POWER_TOLERANCE_KW),
            ("voltage band, pu^2", self.band_pu2, BAND_TOLERANCE_PU2),
            ("ratings, A^2/Imax^2", self.rating, RATING_TOLERANCE),
        )
        return tuple(
            f"{name}: {found:.2g} above {most:g}" for name, found, most in tests if not found <= most
        )

    @property
    def ok(self) -> bool:
        """Every residual is within its tolerance."""
        return not self.reasons

    @property
    def worst(self) -> float:
        """The largest of stationarity, reduced gradient and complementarity."""
        return max(self.stationarity, self.reduced, self.complementarity)


def kkt(
    program: Program,
    numbers: Numbers,
    x: Array,
    multipliers: Multipliers,
    *,
    objective_scale: float = 1.0,
) -> KktResiduals:
    """Residuals of the optimality conditions at x (n,) with given multipliers."""
    gradient, jacobian = program.gradient(x), program.jacobian_matrix(x)
    rows, free = multipliers.rows, numbers.x_lo < numbers.x_hi
    left = gradient + jacobian.T @ rows - multipliers.lower + multipliers.upper
    size_g = float(np.abs(gradient).max(initial=0.0)) * objective_scale
    size_l = float(np.abs(rows).max(initial=0.0)) * objective_scale
    slack, wrong = _products(program, numbers, x, multipliers)
    objective = abs(program.objective(x)) * objective_scale
    return KktResiduals(
        stationarity=objective_scale * _worst(left[free]) / max(1.0, size_g, size_l),
        reduced=_reduced(program, numbers, x, left, jacobian) / max(_worst(gradient), 1e-300),
        complementarity=objective_scale * slack / max(1.0, objective),
        sign=objective_scale * wrong / max(1.0, size_l),
        **_primal(program, numbers, x),
    )


def _worst(values: Array) -> float:
    """Largest magnitude; infinite if one is no number."""
    return float(np.abs(values).max(initial=0.0)) if np.isfinite(values).all() else np.inf


def _products(program: Program, numbers: Numbers, x: Array, found: Multipliers) -> tuple[float, float]:
    """Largest multiplier times distance from the end it pushes against, and largest of the wrong sign."""
    value = program.constraints(x)
    bound = numbers.row_lo < numbers.row_hi
    free = numbers.x_lo < numbers.x_hi
    slack = wrong = 0.0
    for push, room in (
        (np.maximum(found.rows, 0)[bound], (numbers.row_hi - value)[bound]),
        (np.maximum(-found.rows, 0)[bound], (value - numbers.row_lo)[bound]),
        (found.lower[free], (x - numbers.x_lo)[free]),
        (found.upper[free], (numbers.x_hi - x)[free]),
    ):
        ends = np.isfinite(room)
        slack = max(slack, _worst(push[ends] * room[ends]))
        wrong = max(wrong, _worst(push[~ends]), _worst(np.minimum(push, 0.0)))
    return slack, wrong


def _reduced(program: Program, numbers: Numbers, x: Array, left: Array, jacobian: sp.csr_matrix) -> float:
    """What is left on the controls after the laws' multipliers are corrected by an adjoint solve."""
    elimination = Elimination.at(program, jacobian)
    controls = program.columns("control")
    controls = controls[numbers.x_lo[controls] < numbers.x_hi[controls]]
    return _worst((left + jacobian.T @ elimination.law_multipliers(left, program.m))[controls])


def _primal(program: Program, numbers: Numbers, x: Array) -> dict[str, float]:
    value = program.constraints(x)
    beyond = np.maximum(np.maximum(numbers.row_lo - value, value - numbers.row_hi), 0.0)
    outside = np.maximum(np.maximum(numbers.x_lo - x, x - numbers.x_hi), 0.0)
    bands = [program.rows[name].index for name in BANDS if name in program.rows]
    band = np.concatenate([np.zeros(0, dtype=int), *bands])
    other = np.setdiff1d(program.row_indices("limit"), band)
    power = max(_worst(beyond[program.row_indices("power")]), _worst(outside))
    return {
        "law_pu": _worst(beyond[program.row_indices("law")]),
        "power_kw": power * KW_PER_PU,
        "band_pu2": _worst(beyond[band]),
        "rating": _worst(beyond[other]),
    }


@dataclass(frozen=True)
class Elimination:
    """States eliminated by their laws F(s, u) = 0 at a point.

    states, rows  indices of the states (found by the laws) and of the laws and power rows
    factor        of (dF/ds)', for adjoint solves
    """

    states: Array
    rows: Array
    factor: SuperLU

    @staticmethod
    def at(program: Program, jacobian: sp.csr_matrix) -> Elimination:
        """From the Jacobian (m, n) of all rows at the point.

        Raises  RuntimeError  dF/ds is singular there
        """
        states = program.columns("state", "drawn")
        rows = program.row_indices("law", "power")
        return Elimination(states, rows, splu(jacobian[rows][:, states].T.tocsc()))

    def law_multipliers(self, gradient: Array, m: int) -> Array:
        """Multipliers (m,) of the laws that take a gradient (n,) to zero on the states."""
        found = np.zeros(m)
        found[self.rows] = -self.factor.solve(gradient[self.states])
        return found


def estimate_multipliers(program: Program, numbers: Numbers, x: Array, active: float = ACTIVE) -> Multipliers:
    """The multipliers that come nearest to stationarity at a feasible x, whoever found it.

    Those of the laws follow from an adjoint solve; those of the limits within `active` of an end and of
    the controls' bounds minimise the largest reduced gradient:

        min ||g + sum_r mu_r a_r - z_lo + z_hi||_inf,   mu_r of the row's sign,   z >= 0

    g, a_r  gradients of the objective and of the active rows on the controls, laws eliminated

    Raises  RuntimeError  the laws are singular at x
    """
    jacobian, gradient = program.jacobian_matrix(x), program.gradient(x)
    elimination = Elimination.at(program, jacobian)
    controls = program.columns("control")
    controls = controls[numbers.x_lo[controls] < numbers.x_hi[controls]]
    rows, sign = _active_rows(program, numbers, x, active)
    near = sp.diags_array(sign) @ jacobian[rows]
    adjoint = -elimination.factor.solve(near[:, elimination.states].T.toarray())
    onto = jacobian[elimination.rows][:, controls].T
    pushed = near[:, controls].T.toarray() + onto @ adjoint  # (controls, active rows)
    g = gradient + jacobian.T @ elimination.law_multipliers(gradient, program.m)
    size = max(_worst(g[controls]), 1e-300)
    mu = size * _least_residual(g[controls] / size, pushed, *_at_bounds(numbers, x, controls, active))

    found = np.zeros(program.m)
    found[rows] = sign * mu
    found += elimination.law_multipliers(gradient + jacobian.T @ found, program.m)
    left = gradient + jacobian.T @ found
    low, high = _at_bounds(numbers, x, np.arange(program.n), active)
    lower, upper = np.where(low, np.maximum(left, 0.0), 0.0), np.where(high, np.maximum(-left, 0.0), 0.0)
    return Multipliers(found, lower, upper)


def _active_rows(program: Program, numbers: Numbers, x: Array, active: float) -> tuple[Array, Array]:
    """Limit rows at an end, and +1 at the upper, -1 at the lower one."""
    limits = program.row_indices("limit")
    value = program.constraints(x)[limits]
    high = numbers.row_hi[limits] - value <= active
    low = ~high & (value - numbers.row_lo[limits] <= active)
    return limits[high | low], np.where(high, 1.0, -1.0)[high | low]


def _at_bounds(numbers: Numbers, x: Array, which: Array, active: float) -> tuple[Array, Array]:
    """(k,) bool each: variables at their lower and at their upper bound."""
    x = x[which]
    return x - numbers.x_lo[which] <= active, numbers.x_hi[which] - x <= active


def _least_residual(g: Array, pushed: Array, low: Array, high: Array) -> Array:
    """mu >= 0 with the least t such that g + pushed mu <= t where not at the lower bound, >= -t likewise."""
    count = pushed.shape[1]
    if not count:
        return np.zeros(0)
    over, under = ~low, ~high
    minus_t = -np.ones((len(g), 1))
    a = np.vstack([np.hstack([pushed, minus_t])[over], np.hstack([-pushed, minus_t])[under]])
    b = np.concatenate([-g[over], g[under]])
    answer = linprog(np.eye(count + 1)[-1], A_ub=a, b_ub=b, bounds=(0, None), method="highs")
    mu = np.maximum(answer.x[:count], 0.0) if answer.x is not None else np.zeros(count)
    # HiGHS is exact to 1e-7: what carries weight is made exact on the controls that are free to move.
    free, support = over & under, mu > 1e-9
    if free.any() and support.any():
        fine = np.linalg.lstsq(pushed[np.ix_(free, support)], -g[free], rcond=None)[0]
        if (fine >= 0).all():
            refined = np.zeros(count)
            refined[support] = fine
            if _violation(g + pushed @ refined, over, under) <= _violation(g + pushed @ mu, over, under):
                return refined
    return mu


def _violation(left: Array, over: Array, under: Array) -> float:
    return max(float(left[over].max(initial=0.0)), float(-left[under].min(initial=0.0)))
