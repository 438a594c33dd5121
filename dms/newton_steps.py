"""Steps from an iterate of the barrier method: its Newton system, factorised once, solved several times."""

from __future__ import annotations

import numpy as np

from dms.newton import NewtonSystem
from dms.slack_form import Direction, Iterate, SlackForm
from feeders.table import Array

TIGHT, MENDING = 1e-10, 1e-12
"""Relative residual of a step that is taken, and of the last one, which only mends the laws.

What is left in the laws of weakly held voltages is felt: from 1e-9 on IEEE 123 is not solved.
"""


class Steps:
    """The factorised system at an iterate, and steps from it."""

    def __init__(self, form: SlackForm, system: NewtonSystem, at: Iterate, jacobian: Array) -> None:
        self.form, self.system, self.at = form, system, at
        self._slope = form.stationarity(at, system)
        weight = np.zeros(len(at.v))
        weight[form.low] += at.z_low / at.below
        weight[form.up] += at.z_up / at.above
        self._weight = weight[form.n :]
        compliance = np.zeros(form.m)
        compliance[form.ranges] = 1 / self._weight
        compliance[form.idle] = 1.0
        sigma = np.where(form.fixed, 1.0, weight[: form.n])
        scale = max(1.0, float(np.abs(at.y).max(initial=0.0)))
        self._given = jacobian, sigma, compliance, scale
        system.assemble(form.hessian(at.v, at.y), *self._given)

    def flatten(self) -> None:
        """Leave the curvature of the rows out of the system, that of the objective in.

        Steps are then those of successive linear (or quadratic) programmes. Where multipliers are large and
        the objective is linear, the curvature of the rows is of both signs, and the optimum is a corner, to
        which such steps converge as fast.
        """
        self.system.assemble(self.form.hessian(self.at.v, np.zeros(self.form.m)), *self._given)

    def direction(self, targets: tuple[Array, Array], c: Array, tolerance: float) -> Direction:
        """Newton's step towards products of distance and multiplier (lower, upper), and violations c gone."""
        at, form = self.at, self.form
        low, up = targets
        rho = self._slope.copy()
        rho[form.low] -= low / at.below
        rho[form.up] += up / at.above
        of_slacks = rho[form.n :]
        right = -c
        right[form.ranges] -= of_slacks / self._weight
        dx, dy = self.system.solve(-rho[: form.n], right, tolerance)
        dv = np.concatenate([dx, (dy[form.ranges] - of_slacks) / self._weight])
        dz_low = (low - at.z_low * dv[form.low]) / at.below - at.z_low
        dz_up = (up + at.z_up * dv[form.up]) / at.above - at.z_up
        return Direction(dv, dy, dz_low, dz_up)

    def mending(self, c: Array) -> Direction:
        """The step of least size that takes violations c away, bounds left aside."""
        form = self.form
        dx, dy = self.system.solve(np.zeros(form.n), -c, MENDING)
        none = np.zeros(len(self.at.below)), np.zeros(len(self.at.above))
        return Direction(np.concatenate([dx, dy[form.ranges] / self._weight]), dy, *none)

    def lengths(self, d: Direction, share: float) -> tuple[float, float]:
        """Longest steps, at most one, that leave 1 - share of every distance and of every multiplier."""
        at, form = self.at, self.form
        primal = min(_longest(at.below, d.v[form.low], share), _longest(at.above, -d.v[form.up], share))
        return primal, min(_longest(at.z_low, d.z_low, share), _longest(at.z_up, d.z_up, share))

    def products(self, d: Direction, primal: float, dual: float) -> tuple[Array, Array]:
        """Distance times multiplier after a step, (lower, upper)."""
        at, form = self.at, self.form
        low = (at.below + primal * d.v[form.low]) * (at.z_low + dual * d.z_low)
        return low, (at.above - primal * d.v[form.up]) * (at.z_up + dual * d.z_up)

    def corrected(
        self,
        d: Direction,
        lengths: tuple[float, float],
        targets: tuple[Array, Array],
        band: tuple[float, float],
    ) -> tuple[Array, Array]:
        """Targets that pull the products after a step of given lengths back into a band around mu."""
        least, most = band
        low, up = (
            target + np.maximum(np.clip(found, least, most) - found, -most)
            for target, found in zip(targets, self.products(d, *lengths), strict=True)
        )
        return low, up


def _longest(distance: Array, change: Array, share: float) -> float:
    falling = change < 0
    return float((share * distance[falling] / -change[falling]).min(initial=1.0))
