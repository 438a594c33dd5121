"""Curvature of the limits and laws in the rounds of the reduced method.

A linear model leaves every control at a bound but as many as limits bind, and where the optimum holds others
between their bounds it swings for good. Those are the controls whose pulls, of the objective and of the
limits, all but cancel; in them the model gets the curvature of the Lagrangian along the laws,

    Z' (sum_k lambda_k hess c_k) Z,   Z = [I; -F_s^-1 F_u],

its negative part left out, and the round becomes Newton's on the active bounds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dms import rounds
from dms.adjoint import Linearised
from dms.quadratic_form import ActiveSet
from dms.rounds import Model, Step
from feeders.table import Array

LOOSE, LOOSE_TIED, LOOSE_MOST = 24, 16, 250
"""Controls whose curvature a linear model gets, where a peak ties most to itself, and with what swings."""
LOOSE_SHARE = 0.1
"""What is left of the pulls of the objective and the limits at those, at most."""
SWING, SWING_SHARE, SWINGS = 1e-2, 0.2, 2
"""Scaled step that is a swing, and its share of the largest one; and how often a round looks for them."""
FLATTEST = 1e-6
"""Curvature, relative to the largest, below which there is none."""


class Bends:
    """Which controls a model bends in, and how all variables follow them; kept from round to round."""

    def __init__(self, scale: Array, *, tied: bool = False) -> None:
        """Of controls of size `scale` (n_u,); `tied`: a peak holds most of them."""
        self.scale, self._first = scale, LOOSE_TIED if tied else LOOSE
        self._loose = np.zeros(0, dtype=int)  # of the last round
        self.drift: Array | None = None  # (n,) how all variables move before any control that is free
        self._moves: dict[int, Array] = {}  # as they were when first asked

    def solve(
        self, here: Linearised, model: Model, limits: Array, multipliers: Array, guess: ActiveSet | None
    ) -> tuple[Model, Step | None]:
        """The model bent, and its minimum, None where there is none.

        limits       (m,) multipliers of the model's rows      multipliers  (m,) those of all rows of the
                     programme, laws included                  guess        bounds that may hold
        """
        free = _free(model, limits)
        loose = np.union1d(free[: self._first], np.intersect1d(self._loose, free))
        found: tuple[Model, Step | None] = model, None
        for _ in range(SWINGS):
            bent = self._bent(here, model, loose, multipliers)
            step = rounds.solve(bent, guess)
            if step is None:
                break
            found = bent, step
            # What swings from end to end for want of curvature gets some.
            size = np.abs(step.y[free])
            more = np.setdiff1d(free[size > max(SWING, SWING_SHARE * size.max(initial=0.0))], loose)
            if not len(more) or len(loose) + len(more) > LOOSE_MOST:
                break
            loose, guess = np.union1d(loose, more), replace(step.active, d=step.y)
        self._loose = loose
        return found

    def _bent(self, here: Linearised, model: Model, loose: Array, multipliers: Array) -> Model:
        new = np.array([control for control in loose if control not in self._moves], dtype=int)
        if len(new):
            self._moves |= dict(zip(new, here.moves(new).T, strict=True))
        if not len(loose):
            return model
        moves = np.stack([self._moves[control] for control in loose], axis=1)
        size = self.scale[loose]
        if self.drift is not None:  # the gradient is that at the drift's end
            curvature = here.curvature(np.column_stack([moves, here.bending(self.drift)]), multipliers)
            g = model.g.copy()
            g[loose] += size * curvature[:-1, -1]
            model, curvature = replace(model, g=g), curvature[:-1, :-1]
        else:
            curvature = here.curvature(moves, multipliers)
        weights, vectors = np.linalg.eigh(curvature * np.outer(size, size))
        kept = weights > FLATTEST * np.abs(weights).max(initial=0.0)
        kept[-1] = True  # a stiffness of 0, where all bends the other way, says that it was asked
        bend = np.zeros((int(kept.sum()), len(self.scale)))
        bend[:, loose] = vectors[:, kept].T
        return replace(model, bend=bend, stiffness=np.maximum(weights[kept], 0.0))


def _free(model: Model, multipliers: Array) -> Array:
    """Controls (k,) whose pulls all but cancel, those that are pulled the least first."""
    parts = np.abs(model.g) + np.abs(model.a).T @ np.abs(multipliers)
    pull = np.abs(model.g + model.a.T @ multipliers)
    still = ~np.isfinite(model.hi - model.lo) | (model.hi <= model.lo) | (parts <= 0)
    share = np.where(still, np.inf, pull / np.where(still, 1.0, parts))
    order = np.argsort(share, kind="stable")
    return np.asarray(order[share[order] <= LOOSE_SHARE])
