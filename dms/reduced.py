"""The reduced method: the limits as functions of the curtailments (and taps) alone.

A `Program`'s variables are split into controls u and states s, which the laws F(s, u) = 0 tie to them. Each
round solves the power flow at u, takes exact gradients of the limits near their bounds by adjoint solves
(`dms.adjoint`), and moves u by a linear or quadratic model (`dms.rounds`) inside a trust region; a filter
on (objective, violation) accepts the move or not. A fixed point is a KKT point of the programme, and the
model's multipliers are the limits'. It is fast where few limits are near; ticks with many go to
`dms.barrier`.

    Fletcher, Leyffer, Toint: On the global convergence of a filter-SQP algorithm, SIAM J. Optim. 13 (2002);
    Byrd, Gould, Nocedal, Waltz: An algorithm for nonlinear optimization using linear programming and
    equality constrained subproblems, Math. Program. 100 (2004): working set from the LP, curvature on it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

import numpy as np

from dms import rounds
from dms.adjoint import Linearised, SingularError
from dms.bends import Bends
from dms.interior import InteriorPoint, InteriorStatus
from dms.program import Numbers, Program
from dms.quadratic_form import ActiveSet
from dms.reduced_model import FEASIBLE, NEAR, Point, ReducedModel
from dms.rounds import Model, Step
from feeders.table import Array

log = logging.getLogger(__name__)

LEAST_REACH = 2e-4
"""How far, scaled, a control may always move: what swings less is at rest."""
GROW = 1.3
"""By how much a control's own trust region grows while it moves on."""
TINY = 1e-10
"""What the objective might fall by for limits that are not quite reached that is not worth a step."""
HELD = 1e-5
"""Multiplier of a control's bound, relative to the largest, from which it held in the last tick."""
MUCH = 1e-3
"""How far beyond its bound a limit is foreseen that is worth another look before the move."""
BESIDE, AT = 1e-4, 1e-12
"""Scaled distance from it within which a control stood at such a bound, and at any."""
SHORT = 1e-2
"""Scaled step after which the multipliers are worth a look before another round."""
FLAT = 1e-3
"""Share of the predicted change of the objective that a step must bring."""
SLOPE = 1e-4
"""How far below a filter entry's objective a point must lie, per unit of violation."""
ALMOST = 1e-5
"""Violation below which a stationary point is only brought back inside its limits."""
TRIFLE = 1e-9
"""Most that limits are tightened by for that."""
CLOSE = 1e3
"""Scaled move, per unit of violation, that may be needed to meet limits that are all but met."""


@dataclass(frozen=True)
class ReducedOptions:
    """Limits of effort; where they are reached the status is `LIMIT` and another method is better.

    max_rounds  linearisations     max_rejected  steps that the filter takes not
    max_rows    limits in the working set        max_size  rows x controls, those of a norm counted too
    max_bound   limits that bind x controls: where many bind more will, and a sparse method is better
    """

    max_rounds: int = 60
    max_rejected: int = 12
    max_rows: int = 200
    max_size: float = 2.5e5
    max_bound: float = 1e4


WARM = ReducedOptions(max_rounds=10, max_rejected=6, max_bound=4e4)
"""From the last tick's limits, which few more join: it ends soon, or another start is as good."""


def solve(
    program: Program,
    numbers: Numbers,
    *,
    objective_scale: float = 1.0,
    warm: InteriorPoint | None = None,
    options: ReducedOptions | None = None,
) -> InteriorPoint:
    """Solve the programme from `numbers.x0`, or from an earlier point and its active limits.

    objective_scale  tolerances mean something for this times the objective; multipliers are of the
                     objective itself
    Returns          `InteriorPoint`; multipliers as Ipopt's, grad f + J' lambda - z_lower + z_upper = 0
    """
    began = time.perf_counter()
    search = _Search(
        program, numbers, objective_scale, options or (ReducedOptions() if warm is None else WARM)
    )
    try:
        point = search.finish(search.run(warm))
    except SingularError:  # at the end of the power flow's solutions: another method may go on from here
        point = search.finish(InteriorStatus.FAILED)
    return replace(point, seconds=time.perf_counter() - began)


@dataclass
class _Search(ReducedModel):
    """The rounds: steps by models of where the method stands, until it stands at a KKT point."""

    options: ReducedOptions

    def __post_init__(self) -> None:
        super().__post_init__()
        self.rejected = 0
        self.pairs: list[tuple[float, float]] = []
        self.held: Array | None = None
        self.bends = Bends(self.s, tied=bool(len(self.box.plain)))
        slope = self.program.gradient(np.ones(self.program.n))
        slope[self.split.controls] = 0.0
        self.foreign = bool(slope.any())
        self.reach, self.moved = np.ones(len(self.s)), np.zeros(len(self.s))

    # Rounds ---------------------------------------------------------------------------------

    def run(self, warm: InteriorPoint | None) -> InteriorStatus:
        if self._is_too_large():  # a peak over many controls, whatever limits are near
            return InteriorStatus.LIMIT
        x = self.numbers.x0.copy() if warm is None else warm.x.copy()
        given = self.program.columns("given")
        x[given] = self.numbers.x_lo[given]
        self.point = None if warm is None else self._predicted(x, warm)
        if self.point is None:
            if warm is not None:
                self._recall(warm)
                self.rounds = 0
            self.point = self._at(np.clip(x[self.split.controls], self.box.lo, self.box.hi), x)
        if self.point is None:
            return InteriorStatus.FAILED
        self._enlarge(self.point, 0.1 * NEAR if self.rounds else NEAR)
        radius, here = 1.0, self._here()
        while self.rounds < self.options.max_rounds and self.rejected < self.options.max_rejected:
            self.rounds += 1
            if self._is_too_large():
                return InteriorStatus.LIMIT
            model, chosen = self._model(here)
            found = self._step(here, model, chosen)
            self.factors = here.factors
            if found is None:
                return InteriorStatus.FAILED
            model, step, stationary = found
            curved = bool(self.curvature.any())
            rests = self.balance.is_at_rest(self.point.theta, step.length, curved=curved)
            if (rests and self.exact) or (stationary and self._is_done()):
                self._use_up(step)
                return InteriorStatus.SOLVED
            if stationary and self.point.theta < ALMOST and not self._is_newtons(model, step):
                # A little more than is asked, for the cables of a bundle not in the working set; and no
                # long way along equal objectives only to meet the limits.
                near = min(radius, max(1e-6, CLOSE * self.point.theta))
                more = model.tighter(min(self.point.theta, TRIFLE) / self.size)
                step = rounds.solve(more.within(self._radius(near, model)), step.active) or step
            elif (np.abs(step.y) > self._radius(radius, model)).any():
                step = rounds.solve(model.within(self._radius(radius, model)), step.active) or step
            moved, radius = self._move(here, model, chosen, step, radius)
            if not moved:
                return InteriorStatus.INFEASIBLE if self.point.theta > 1e-6 else InteriorStatus.LIMIT
            here = self._here()
            if self._is_done() and self._is_newtons(model, step) and self._is_over(here):
                return InteriorStatus.SOLVED
        return InteriorStatus.LIMIT

    def _recall(self, warm: InteriorPoint) -> None:
        """Which limits and bounds held at the last tick's optimum, and how hard."""
        self.limit_multipliers = self.scale * warm.row_multipliers[self.split.limits]
        self.work |= rounds.felt(self.limit_multipliers * ~self.split.linear)
        self.binding = int(self.work.sum())
        u, z = (v[self.split.controls] for v in (warm.x, warm.upper_multipliers - warm.lower_multipliers))
        pulled = np.abs(z) > HELD * np.abs(z).max(initial=0.0)
        self.held = np.where(pulled, np.sign(z), 0).astype(int)
        if warm.numbers is not None:  # a free control's pull is what its optimum was found to
            lo, hi = (bound[self.split.controls] for bound in (warm.numbers.x_lo, warm.numbers.x_hi))
            near = np.where(pulled, BESIDE, AT) * self.s
            self.held = np.where(u <= lo + near, -1, np.where(u >= hi - near, 1, 0))

    def _predicted(self, x: Array, warm: InteriorPoint) -> Point | None:
        """Where the last tick's optimum x (n,) leads to, None where that is not to be had.

        Laws and limits are taken as linear at x itself, whose states are still those of the last exports:

            h + G du + (F_s^-T h_s')' gap,      gap = b - F(x)

        An optimum moves along with the exports and its voltages stay where they are; not so the power flow of
        its curtailments, whose gradients have half of the active bounds change that do not.
        """
        self._recall(warm)
        self.point, gap = self._measured(x), self.flow.gap(x, self.numbers)
        self._enlarge(self.point, NEAR)
        here, u = self.split.at(x, None, self.adjoints), x[self.split.controls]
        self.rounds += 1
        while not self._is_too_large():
            model, chosen = self._model(here)
            shift = np.array([self.adjoints[k] @ gap for k in chosen])
            model = model.about(np.zeros(len(u)), shift / self.size)
            if model.curvature.any():
                step = rounds.solve(model, self._guess(chosen))
            elif len(self.box.plain) or self.program.stage:  # a peak
                step = rounds.solve(model)
            else:
                model, step = self._curved(here, model, chosen, self._drift(here, x))
            if step is None or step.slack:
                return None
            self.held = step.controls
            self._is_stationary(model, chosen, step)
            goal = np.clip(u + self.s * step.y, self.box.lo, self.box.hi)
            there = self._measured(self._followed(here, x, goal))
            if not self._enlarge(there, -MUCH):
                self.factors = here.factors
                return self._at(goal, there.x)
        return None

    def _followed(self, here: Linearised, x: Array, u: Array) -> Array:
        """x (n,) with controls u, and the states that the laws, linear at x, give them."""
        there = x.copy()
        there[self.split.controls] = u
        there[self.flow.states] += here.factors.approximate(self.flow.gap(there, self.numbers))
        return there

    def _drift(self, here: Linearised, x: Array) -> Array:
        """How all variables move (n,) while the controls that bounds hold follow these."""
        u = x[self.split.controls]
        assert self.held is not None
        bound = np.where(self.held < 0, self.box.lo, np.where(self.held > 0, self.box.hi, u))
        return self._followed(here, x, bound) - x

    def _step(self, here: Linearised, model: Model, chosen: Array) -> tuple[Model, Step, bool] | None:
        """The model's minimum in the whole box, with the model it is of; and if it says to stay.

        In the whole box, as a trust region that binds would stand in for limits in the multipliers. With
        multipliers and active bounds of an earlier round, or tick, the Lagrangian's curvature makes it
        Newton's step; without, a linear model gives them first, also where a peak moves many.
        """
        known, far = self.held is not None, self.rounds == 1
        moved = far and bool(len(self.box.plain) or self.program.stage)  # a peak
        if not model.curvature.any() and (moved or not known):
            vertex = rounds.solve(model)
            if vertex is None:
                return None
            stationary = self._is_stationary(model, chosen, vertex)
            # The multipliers of a first guess of the limits mislead.
            self.held = vertex.controls if known or not far else None
            if stationary or far:
                return model, vertex, not far
        if model.curvature.any():  # the objective's own is enough
            bent, step = model, rounds.solve(model, self._guess(chosen))
        else:
            bent, step = self._curved(here, model, chosen)
        self.held = None if step is None else step.controls
        return None if step is None else (bent, step, self._is_stationary(model, chosen, step))

    def _curved(
        self, here: Linearised, model: Model, chosen: Array, drift: Array | None = None
    ) -> tuple[Model, Step | None]:
        """The same with the Lagrangian's curvature, from the bounds that are thought to hold.

        drift  (n,) how all variables move even where the controls that are free do not
        """
        limits = self.limit_multipliers[chosen] * self.size
        multipliers = np.zeros(self.program.m)
        multipliers[self.split.limits] = self.limit_multipliers
        multipliers[self.flow.rows] = here.law_multipliers_of((limits / self.size)[self.fresh])
        self.bends.drift = drift
        return self.bends.solve(here, model, limits, multipliers, self._guess(chosen))

    def _guess(self, chosen: Array) -> ActiveSet | None:
        """The bounds that held in the last round, or tick."""
        limits, plain = self.limit_multipliers[chosen] * self.size, self.limit_multipliers[self.box.plain]
        return None if self.held is None else Step(np.zeros(0), limits, plain, 0.0, self.held).active

    def _is_newtons(self, model: Model, step: Step) -> bool:
        """A short step with all the curvature that matters."""
        return bool(len(model.stiffness) or model.curvature.any()) and step.length < SHORT

    def _is_too_large(self) -> bool:
        """Too many limits for dense rows; also where the objective is not one of the controls alone."""
        n, n_u, most = int(np.count_nonzero(self.work)), len(self.s), self.options
        large = n > most.max_rows or (n + len(self.box.plain)) * n_u > most.max_size
        return self.foreign or large or self.binding * n_u > most.max_bound

    def _radius(self, radius: float, model: Model) -> Array:
        """Trust region of every control; the peak follows the others."""
        bounded = np.isfinite(self.box.hi - self.box.lo)
        each = radius if len(model.stiffness) else np.minimum(radius, self.reach)
        return np.where(bounded, each, np.inf)

    def _damp(self, y: Array) -> None:
        """Controls that a linear model moves to and fro get half of the way, others more (Rprop's rule)."""
        back = (y * self.moved < 0) & (np.abs(y) > 1e-12)
        on = y * self.moved > 0
        half = 0.5 * np.minimum(self.reach, np.abs(self.moved))
        self.reach[back] = np.maximum(half, LEAST_REACH)[back]
        self.reach[on] = np.minimum(GROW * self.reach[on], 1.0)
        self.moved = np.where(y != 0, y, self.moved)

    def _use_up(self, step: Step) -> None:
        """What is left of the limits, by one more step where that keeps them."""
        assert self.point is not None
        if self.balance.unused < TINY:
            return
        u = np.clip(self.point.x[self.split.controls] + self.s * step.y, self.box.lo, self.box.hi)
        trial = self._at(u, self.point.x)
        self.point = trial if trial and trial.theta <= FEASIBLE and trial.f < self.point.f else self.point

    # Steps ----------------------------------------------------------------------------------

    def _move(
        self, here: Linearised, model: Model, chosen: Array, step: Step, radius: float
    ) -> tuple[bool, float]:
        """Try the step, shorter and shorter, until the filter takes it."""
        point = self.point
        assert point is not None
        for _ in range(25):
            y, joined = step.y, 0
            u = np.clip(point.x[self.split.controls] + self.s * y, self.box.lo, self.box.hi)
            trial = self._at(u, point.x)
            largest = float(np.abs(y[np.isfinite(self.box.hi - self.box.lo)]).max(initial=0.0))
            if trial is not None:
                predicted = -model.change(y)
                if self._accepts(trial, predicted):
                    grown = 2 * radius if largest > 0.9 * radius else radius
                    self.point = trial
                    if not (model.curvature.any() or len(model.stiffness)):
                        self._damp(y)
                    self._enlarge(trial, 0.1 * NEAR)
                    return True, min(grown, 1.0)
                self.rejected += 1
                if self.rejected >= self.options.max_rejected:
                    return True, radius
                if joined := self._enlarge(trial):
                    if self._is_too_large():
                        return True, radius
                    self.factors = here.factors
                    model, chosen = self._model(here)
                elif (corrected := self._second_order(model, chosen, y, trial, radius)) is not None:
                    return corrected, radius
            if largest < 1e-10:
                return False, radius
            radius = radius if joined else 0.5 * min(radius, largest)
            shorter = rounds.solve(model.within(self._radius(radius, model)))
            if shorter is None:
                return False, radius
            step, self.binding = shorter, int(np.count_nonzero(shorter.rows))
            if self._is_too_large():
                return True, radius
        return False, radius

    def _second_order(
        self, model: Model, chosen: Array, y: Array, trial: Point, radius: float
    ) -> bool | None:
        """The step corrected for what the limits did beyond their linear prediction; None if no better."""
        point = self.point
        assert point is not None
        gap = (trial.h[chosen] - point.h[chosen]) / self.size - model.a @ y
        found = rounds.solve(model.about(y, gap).within(self._radius(radius, model)))
        if found is None:
            return None
        u = np.clip(point.x[self.split.controls] + self.s * found.y, self.box.lo, self.box.hi)
        corrected = self._at(u, trial.x)
        if corrected is None or not self._accepts(corrected, -model.change(found.y)):
            return None
        self.point = corrected
        self._enlarge(corrected)
        return True

    def _accepts(self, trial: Point, predicted: float) -> bool:
        """Filter: better in objective or in violation than every pair, and enough of what was predicted."""
        point = self.point
        assert point is not None
        theta, old = max(trial.theta - FEASIBLE, 0.0), max(point.theta - FEASIBLE, 0.0)
        noise = 1e-11 * (1 + abs(point.f))
        for theta_k, f_k in [*self.pairs, (old, point.f)]:
            no_nearer = theta > (1 - SLOPE) * theta_k
            if no_nearer and trial.f > f_k - SLOPE * theta + noise:
                return False
        if predicted > 1e-4 * old and old <= 1e-4 and theta <= 1e-4:
            if point.f - trial.f >= FLAT * predicted - noise:
                return True
            if theta < 0.1 * old or (theta == 0 and old > 0):
                self.pairs.append((old, point.f))
                return True
            return False
        self.pairs.append((old, point.f))
        return True
