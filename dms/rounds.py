"""One round of the reduced method: a linear or quadratic model of the limits around a point.

    minimise    g.d + d' H d / 2
    subject to  lo - h - t <= G d <= hi - h + t    limits of the circuit
                lo - h     <= A d <= hi - h        limits that are linear in the controls anyway
                box of the controls, and |d_j| <= radius s_j

t = 0 wherever the model has a solution; else the least t for which it has one, so that the round brings the
limits as close as it can. A model without curvature goes to HiGHS, one with to `dms.quadratic`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import highspy
import numpy as np
import scipy.sparse as sp

from dms import quadratic
from dms.quadratic_form import ActiveSet, Quadratic
from feeders.table import Array

PROXIMAL = 1e-6
"""Curvature, relative to the gradient, that every scaled control gets in a quadratic model: one minimum."""
TIE = 1e-7
"""Cost of a scaled move in a linear model, relative to the gradient: of equal vertices the one near by.
A peak, which follows the others, has none."""
AT_BOUND = 1e-12
"""Scaled distance from its bound at which a control is at it."""
FELT = 1e-10
"""Multiplier, relative to the largest, from which a limit counts as binding."""
LOOSER = 1 + 1e-6
"""Where limits have to give way, they do by the least slack times this, so that the model has an interior."""


@dataclass(frozen=True)
class Model:
    """Everything scaled: controls d = s y, rows so that the largest coefficient is 1.

    g, lo, hi (n,)         gradient and box of y          curvature (n,) diagonal of H
    bend (k, n)            H also has bend' diag(stiffness) bend, stiffness (k,)
    a (m, n)               rows of the circuit's limits   row_lo, row_hi (m,)
    plain (l, n) sparse    linear rows                    plain_lo, plain_hi (l,)
    """

    g: Array
    lo: Array
    hi: Array
    curvature: Array
    bend: Array
    stiffness: Array
    a: Array
    row_lo: Array
    row_hi: Array
    plain: sp.csr_matrix
    plain_lo: Array
    plain_hi: Array

    def within(self, radius: Array) -> Model:
        """The same with |y| <= radius (n,)."""
        return replace(self, lo=np.maximum(self.lo, -radius), hi=np.minimum(self.hi, radius))

    def tighter(self, by: Array) -> Model:
        """The same with the limits' rows narrower by (m,)."""
        return replace(self, row_lo=self.row_lo + by, row_hi=self.row_hi - by)

    def about(self, y: Array, gap: Array) -> Model:
        """Rows whose values at the step y (n,) are gap (m,) off their linear prediction (second order)."""
        return replace(self, row_lo=self.row_lo - gap, row_hi=self.row_hi - gap)

    def change(self, y: Array) -> float:
        """Predicted change of the objective, slack left out."""
        bend = float(self.curvature @ (y * y))
        bend += float(self.stiffness @ (self.bend @ y) ** 2)
        return float(self.g @ y) + bend / 2


@dataclass(frozen=True)
class Step:
    """y (n,), multipliers of the circuit's rows (m,) and the plain ones (l,), positive at the upper bound.

    controls  (n,) which of them a bound holds: -1 the lower one, 1 the upper one
    """

    y: Array
    rows: Array
    plain: Array
    slack: float
    controls: Array

    @property
    def length(self) -> float:
        """The largest move of a control, scaled."""
        return float(np.abs(self.y).max(initial=0.0))

    @property
    def active(self) -> ActiveSet:
        """The bounds that hold as equations."""
        rows = np.concatenate([np.where(felt(part), np.sign(part), 0) for part in (self.rows, self.plain)])
        return ActiveSet(self.controls, rows.astype(int))


def felt(multipliers: Array) -> Array:
    """Which multipliers (k,) are more than rounding, beside the largest."""
    size = np.abs(multipliers)
    return np.asarray(size > FELT * size.max(initial=0.0))


def solve(model: Model, guess: ActiveSet | None = None) -> Step | None:
    """The minimum of the model, None where the solver has none.

    guess  the bounds that may hold as equations
    """
    if len(model.stiffness) and not (model.curvature > 0).any():
        found = None if guess is None else _quadratic(model, guess)
        return found or _from_vertex(model, guess)
    method = partial(_quadratic if (model.curvature > 0).any() else _linear, guess=guess)
    found = method(model)
    if found is not None or not len(model.row_lo):
        return found
    slack = _least_slack(model)
    if slack is None or slack <= 0:
        return None
    give = slack * LOOSER
    found = method(replace(model, row_lo=model.row_lo - give, row_hi=model.row_hi + give))
    return None if found is None else replace(found, slack=slack)


def _from_vertex(model: Model, guess: ActiveSet | None) -> Step | None:
    """A linear objective and bent limits: from the vertex without the bends, in less than by interior steps.

    The vertex itself where limits have to give way, or the way does not end.
    """
    vertex = solve(replace(model, bend=model.bend[:0], stiffness=np.zeros(0)), guess)
    if vertex is None or vertex.slack:
        return vertex
    return _quadratic(model, replace(vertex.active, d=vertex.y)) or vertex


def _linear(model: Model, guess: ActiveSet | None = None) -> Step | None:
    """y = y_up - y_down in HiGHS, from the vertex of a guess, which may be a few pivots away."""
    n, m = len(model.g), len(model.row_lo)
    up, down = np.flatnonzero(model.hi > 0), np.flatnonzero(model.lo < 0)
    tie = TIE * float(np.abs(model.g).max(initial=0.0)) * np.isfinite(model.hi - model.lo)
    rows = _all_rows(model)
    matrix = sp.hstack([rows[:, up], -rows[:, down]]).tocsc()
    cost = np.concatenate([(model.g + tie)[up], (tie - model.g)[down]])
    basis = None if guess is None else _basis(guess, up, down)
    found = _highs(model, matrix, cost, np.concatenate([model.hi[up], -model.lo[down]]), basis)
    if found is None:
        return None
    value, dual = found
    y = np.zeros(n)
    y[up] += value[: len(up)]
    y[down] -= value[len(up) :]
    y = np.clip(y, model.lo, model.hi)
    at = np.where(y <= model.lo + AT_BOUND, -1, np.where(y >= model.hi - AT_BOUND, 1, 0))
    return Step(y, dual[:m], dual[m:], 0.0, at)


def _basis(guess: ActiveSet, up: Array, down: Array) -> highspy.HighsBasis:
    """Columns up and down of the controls that move so, and rows; what no bound holds is basic."""
    at, one_way = guess.variables, ~np.isin(down, up)
    fall = np.where(at[down] < 0, 1, np.where((at[down] == 0) & one_way, 0, -1))
    status = highspy.HighsBasisStatus
    by_sign = (status.kBasic, status.kUpper, status.kLower)
    basis = highspy.HighsBasis()
    basis.valid = basis.alien = True  # HiGHS completes what is no basis
    basis.col_status = [by_sign[sign] for sign in (*np.sign(at[up]), *fall)]
    basis.row_status = [by_sign[sign] for sign in guess.rows]
    return basis


def _least_slack(model: Model) -> float | None:
    """The least t for which the model has a solution."""
    n, m = len(model.g), len(model.row_lo)
    lower, upper = np.isfinite(model.row_lo), np.isfinite(model.row_hi)
    rows = _all_rows(model)
    slack = np.concatenate([np.ones(m), np.zeros(rows.shape[0] - m)])[:, None]
    both = lower & upper
    # A row with two ends is written twice, each end with the slack on its own side.
    twice = np.flatnonzero(both)
    first = np.where(lower, 1.0, -1.0)[:, None]
    slack[:m] *= first
    again = sp.hstack([rows[twice], sp.csc_matrix(-np.ones((len(twice), 1)))])
    matrix = sp.csc_matrix(sp.vstack([sp.hstack([rows, sp.csc_matrix(slack)]), again]))
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = n + 1, matrix.shape[0]
    lp.col_cost_ = np.append(np.zeros(n), 1.0)
    lp.col_lower_, lp.col_upper_ = np.append(model.lo, 0.0), np.append(model.hi, np.inf)
    lp.row_lower_ = np.concatenate([model.row_lo, model.plain_lo, np.full(len(twice), -np.inf)])
    lp.row_upper_ = np.concatenate(
        [np.where(both, np.inf, model.row_hi), model.plain_hi, model.row_hi[twice]]
    )
    found = _run(lp, matrix)
    return None if found is None else float(found[0][-1])


def _all_rows(model: Model) -> sp.csc_matrix:
    dense = sp.csr_matrix(model.a)
    return (sp.vstack([dense, model.plain]) if model.plain.shape[0] else dense).tocsc()


def _highs(
    model: Model, matrix: sp.csc_matrix, cost: Array, most: Array, basis: highspy.HighsBasis | None
) -> tuple[Array, Array] | None:
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = matrix.shape[1], matrix.shape[0]
    lp.col_cost_, lp.col_lower_, lp.col_upper_ = cost, np.zeros(len(cost)), most
    lp.row_lower_ = np.concatenate([model.row_lo, model.plain_lo])
    lp.row_upper_ = np.concatenate([model.row_hi, model.plain_hi])
    return _run(lp, matrix, basis)


def _run(
    lp: highspy.HighsLp, matrix: sp.csc_matrix, basis: highspy.HighsBasis | None = None
) -> tuple[Array, Array] | None:
    """Values of the columns and multipliers of the rows, positive at the upper bound."""
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_, lp.a_matrix_.index_, lp.a_matrix_.value_ = matrix.indptr, matrix.indices, matrix.data
    engine = highspy.Highs()
    for name, value in _SETTINGS.items():
        engine.setOptionValue(name, value)
    engine.passModel(lp)
    if basis is not None:
        engine.setBasis(basis)
    engine.run()
    best = highspy.HighsModelStatus.kOptimal
    if basis is not None and engine.getModelStatus() != best:  # where no basis was near, it may lose its way
        engine.clearSolver()
        engine.run()
    if engine.getModelStatus() != best:
        return None
    found = engine.getSolution()
    return np.array(found.col_value), -np.array(found.row_dual)


_SETTINGS: dict[str, Any] = {
    "output_flag": False,
    "threads": 1,
    "presolve": "off",
    "primal_feasibility_tolerance": 1e-10,
    "dual_feasibility_tolerance": 1e-10,
}


def _quadratic(model: Model, guess: ActiveSet | None = None) -> Step | None:
    """The objective divided by its size first, so that tolerances mean something."""
    m = len(model.row_lo)
    size = max(float(np.abs(model.g).max(initial=0.0)), 1e-2 * float(model.curvature.max(initial=0.0)), 1e-12)
    found = quadratic.solve(
        Quadratic(
            g=model.g / size,
            curvature=model.curvature / size + PROXIMAL,
            lo=model.lo,
            hi=model.hi,
            a=model.a,
            row_lo=model.row_lo,
            row_hi=model.row_hi,
            p=model.plain,
            plain_lo=model.plain_lo,
            plain_hi=model.plain_hi,
            bend=model.bend,
            stiffness=model.stiffness / size,
        ),
        guess,
        inside=bool((model.curvature > 0).any()),
    )
    if not found.converged:
        return None
    rows = found.multipliers * size
    return Step(found.d, rows[:m], rows[m:], 0.0, found.variables)
