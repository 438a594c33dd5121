"""How far a point of the reduced method is from a KKT point: what pulls at it, and what that is worth.

pull      gradient of the Lagrangian with respect to the controls, which their bounds have to balance
gain      sum over the controls of |pull| x room, or of pull^2 / (2 H) where the objective is curved, and over
          the limits of |lambda| x slack, relative to the objective: the duality gap of the linearised problem
residual  the largest pull that no bound balances, relative to the largest gradient or multiplier
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feeders.table import Array

BALANCED, BALANCED_CURVED, GAIN_CURVED = 8e-6, 2e-8, 1e-9
"""Largest residual at a solution; the same, and the largest gain, where the objective is curved."""
NEARLY_STATIONARY, NEARLY_STATIONARY_TOTAL = 5e-5, 5e-4
"""What a peak or a total might fall by then, relative, in the linear model: far more than in truth."""
UNUSED = 1e-7
"""What it might fall by for limits that are not quite reached, relative."""
STATIONARY, UNBALANCED = 1e-6, 1e-4
"""Or what it might fall by with a larger residual."""
NEARLY_FEASIBLE, STILL = 1e-9, 1e-6
"""Violation, per unit squared, and scaled step of a point that cannot come nearer to its limits."""
HERE = 1e-9
"""Scaled step of a linear model whose minimum is the point itself: what gain is left then is rounding."""


@dataclass(frozen=True)
class Balance:
    """residual and gain as above; `unused` is the part of the gain that the limits' slack is."""

    residual: float
    gain: float
    unused: float

    @staticmethod
    def of(
        pull: Array, room: tuple[Array, Array], curvature: Array, *, lost: float, size: float, f: float
    ) -> Balance:
        """At a point with objective f, all of it scaled.

        pull (n,)   curvature (n,) of the objective   room  distances (n,) to the lower and the upper bounds
        lost        sum of |lambda| x slack           size  the largest gradient or multiplier
        """
        ahead = np.where(pull > 0, room[0], room[1])
        ahead = np.where(np.isfinite(ahead), ahead, 1.0)
        gain = np.where(pull == 0, 0.0, np.abs(pull) * np.where(pull == 0, 0.0, ahead))
        bent = curvature > 0
        gain[bent] = np.minimum(gain[bent], pull[bent] ** 2 / (2 * curvature[bent]))
        residual = float(np.minimum(np.abs(pull) / size, ahead).max(initial=0.0))
        unused = lost / max(abs(f), 1e-6)
        return Balance(residual, unused + float(gain.sum()) / max(abs(f), 1e-6), unused)

    def holds(self, *, curved: bool, tied: bool) -> bool:
        """A curved objective has one minimum near; a peak, tied to all, is sharper than a total."""
        if curved:
            return self.residual <= BALANCED_CURVED and self.gain - self.unused <= GAIN_CURVED
        flat = self.gain <= STATIONARY and self.residual <= UNBALANCED
        enough = NEARLY_STATIONARY if tied else NEARLY_STATIONARY_TOTAL
        return self.unused <= UNUSED and (flat or (self.gain <= enough and self.residual <= BALANCED))

    def is_at_rest(self, theta: float, length: float, *, curved: bool) -> bool:
        """Stationary but for limits that no step meets: hardly any point keeps them (a peak held close).

        Or the minimum of the linear model itself, where a peak is so small beside the boxes of the controls
        that the cost of a move (`dms.rounds.TIE`) times their room is more than any gain that is asked for.

        theta  violation of the limits      length  of the model's step, scaled
        """
        residual, gain = (BALANCED_CURVED, GAIN_CURVED) if curved else (BALANCED, STATIONARY)
        if theta > NEARLY_FEASIBLE:
            return False
        if not curved and length <= HERE and self.residual <= STATIONARY:
            return True
        return length <= STILL and self.residual <= residual and self.gain - self.unused <= gain


def complementarity(multipliers: Array, lo: Array, hi: Array) -> float:
    """Sum of |multiplier| x distance from the bound that it stands for."""
    slack = np.where(multipliers > 0, hi, np.where(multipliers < 0, lo, 0.0))
    return float(np.abs(multipliers * np.where(np.isfinite(slack), slack, 0.0)).sum())
