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
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.sparse as sp

from dms import rounds
from dms.adjoint import Linearised, Sensitivity
from dms.box import Box
from dms.interior import InteriorPoint, InteriorStatus
from dms.powerflow import PowerFlow, StateFactors
from dms.program import Numbers, Program
from dms.rounds import Model, Step
from feeders.table import Array

log = logging.getLogger(__name__)

FEASIBLE = 2e-10
"""Largest violation of a limit's row, per unit squared or of the rating squared, at a solution."""
BALANCED, BALANCED_CURVED = 8e-6, 1e-8
"""Largest gradient, relative, that nothing balances at a solution; the same where the norm is curved."""
NEARLY_STATIONARY, NEARLY_STATIONARY_TOTAL = 5e-5, 5e-4
"""What a peak or a total might fall by then, relative, in the linear model: far more than in truth."""
LEAST_REACH = 2e-4
"""How far, scaled, a control may always move: what swings less is at rest."""
GROW = 1.3
"""By how much a control's own trust region grows while it moves on."""
UNUSED, TINY = 1e-7, 1e-10
"""What it might fall by for limits that are not quite reached, relative; and what is not worth a step."""
STATIONARY, UNBALANCED = 1e-6, 1e-4
"""Or what it might fall by with a larger unbalanced gradient."""
NEAR = 5e-3
"""Distance from its bound, relative, at which a limit is in the working set from the start."""
PER_ROUND = 24
"""Most limits that join the working set at a time."""
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

    max_rounds  linearisations     max_rows  limits in the working set     max_size  rows x controls
    """

    max_rounds: int = 60
    max_rows: int = 60
    max_size: float = 4e4


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
    search = _Search(program, numbers, objective_scale, options or ReducedOptions())
    status = search.run(warm)
    point = search.finish(status)
    return replace(point, seconds=time.perf_counter() - began)


@dataclass(frozen=True)
class _Point:
    """x (n,) whose states obey the laws, limits h and how far over (n_h,), violation, scaled objective."""

    x: Array
    h: Array
    over: Array
    theta: float
    f: float


@dataclass
class _Search:
    """The state of the method between rounds."""

    program: Program
    numbers: Numbers
    scale: float
    options: ReducedOptions
    rounds: int = 0
    pairs: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.flow: PowerFlow = self.program.once("power_flow", lambda: PowerFlow(self.program))
        self.split = Sensitivity.of(self.program)
        self.box = Box.of(self.split, self.numbers)
        self.s = self.box.scale
        self.factors: StateFactors | None = None
        self.work = np.zeros(len(self.split.limits), dtype=bool)
        self.step: Step | None = None
        self.stepped: Array = np.zeros(0, dtype=int)
        self.limit_multipliers = np.zeros(len(self.split.limits))
        self.point: _Point | None = None
        self.residual = self.gain = self.unused = np.inf
        self.reach, self.moved = np.ones(len(self.s)), np.zeros(len(self.s))

    # Rounds ---------------------------------------------------------------------------------

    def run(self, warm: InteriorPoint | None) -> InteriorStatus:
        x = self.numbers.x0.copy() if warm is None else warm.x.copy()
        given = self.program.columns("given")
        x[given] = self.numbers.x_lo[given]
        self.point = self._at(np.clip(x[self.split.controls], self.box.lo, self.box.hi), x)
        if self.point is None:
            return InteriorStatus.FAILED
        if warm is not None:
            self.work |= (np.abs(warm.row_multipliers[self.split.limits]) > 0) & ~self.split.linear
        self._enlarge(self.point, NEAR)
        radius = 1.0
        while self.rounds < self.options.max_rounds:
            self.rounds += 1
            if self._too_large():
                return InteriorStatus.LIMIT
            here = self.split.at(self.point.x, self.factors)
            model, chosen = self._model(here)
            # Multipliers come from the whole box: a trust region that binds would stand in for limits.
            step = rounds.solve(model)
            self.factors = here.factors
            if step is None:
                return InteriorStatus.FAILED
            if self._is_stationary(model, chosen, step):
                if self._is_done():
                    self._use_up(step)
                    return InteriorStatus.SOLVED
                if self.point.theta < ALMOST:
                    # A little more than is asked, for the cables of a bundle not in the working set; and no
                    # long way along equal objectives only to meet the limits.
                    near = min(radius, max(1e-6, CLOSE * self.point.theta))
                    more = model.tighter(min(self.point.theta, TRIFLE) / self.size)
                    step = rounds.solve(more.within(self._radius(near))) or step
            elif not (model.curvature.any() or model.plain.shape[0]) and self.rounds > 1:
                model = self._bent(here, model, chosen, step)
                bent = rounds.solve(model.within(self._radius(radius)))
                if bent is None:
                    model = replace(model, stiffness=np.zeros(0), bend=model.bend[:0])
                    bent = rounds.solve(model.within(self._radius(radius)))
                step = bent or step
                if self._is_stationary(model, chosen, step) and self._is_done():
                    return InteriorStatus.SOLVED
            elif (np.abs(step.y) > self._radius(radius)).any():
                step = rounds.solve(model.within(self._radius(radius))) or step
            moved, radius = self._move(here, model, chosen, step, radius)
            if not moved:
                return InteriorStatus.INFEASIBLE if self.point.theta > 1e-6 else InteriorStatus.LIMIT
        return InteriorStatus.LIMIT

    def _too_large(self) -> bool:
        return self._is_too_large(int(np.count_nonzero(self.work)))

    def _is_too_large(self, n: int) -> bool:
        """Too many limits for dense rows; also where the objective is not one of the controls alone."""
        states = np.setdiff1d(np.arange(self.program.n), self.split.controls)
        foreign = self.program.gradient(np.ones(self.program.n))[states].any()
        return bool(foreign) or n > self.options.max_rows or n * len(self.s) > self.options.max_size

    def _at(self, u: Array, x: Array) -> _Point | None:
        """The power flow at controls u, from the states of x; None where there is none."""
        x = x.copy()
        x[self.split.controls] = u
        found, factors = self.flow.settle(x, self.numbers, self.factors)
        if not found.converged:
            return None
        self.factors = factors
        h = self.program.constraints(found.x)[self.split.limits]
        over = _over(self.split, self.numbers, h)
        theta = max(float(over.max(initial=0.0)), 0.0)
        return _Point(found.x, h, over, theta, self.scale * self.program.objective(found.x))

    def _enlarge(self, point: _Point, margin: float = 0.0) -> int:
        """Limits beyond or near their bounds join the working set; of those that read the same, one does."""
        outside = ~self.work & ~self.split.linear & (point.over > FEASIBLE - margin)
        new = np.flatnonzero(_distinct(point.over, outside))
        new = new[np.argsort(-point.over[new], kind="stable")][:PER_ROUND]
        self.work[new] = True
        return len(new)

    def _model(self, here: Linearised) -> tuple[Model, Array]:
        """The model around the point, without curvature; and which limits its rows are, with their scale."""
        split, point = self.split, self.point
        assert point is not None
        chosen = np.flatnonzero(self.work)
        a = here.gradients(chosen) * self.s if len(chosen) else np.zeros((0, len(self.s)))
        size = np.maximum(np.abs(a).max(axis=1, initial=0.0), 1e-9)
        lo, hi = (bound[split.limits] for bound in (self.numbers.row_lo, self.numbers.row_hi))
        u = point.x[split.controls]
        plain = self.box.plain
        matrix = here.plain_rows(plain) @ sp.diags(self.s)
        gradient = self.scale * self.program.gradient(point.x)[split.controls] * self.s
        model = Model(
            g=gradient,
            lo=np.minimum((self.box.lo - u) / self.s, 0.0),
            hi=np.maximum((self.box.hi - u) / self.s, 0.0),
            curvature=self.scale * self.program.objective_curvature[split.controls] * self.s**2,
            bend=np.zeros((0, len(u))),
            stiffness=np.zeros(0),
            a=a / size[:, None],
            row_lo=(lo[chosen] - point.h[chosen]) / size,
            row_hi=(hi[chosen] - point.h[chosen]) / size,
            plain=matrix.tocsr(),
            plain_lo=lo[plain] - point.h[plain],
            plain_hi=hi[plain] - point.h[plain],
        )
        self.size = size
        return model, chosen

    def _radius(self, radius: float) -> Array:
        """Trust region of every control; the peak follows the others."""
        bounded = np.isfinite(self.box.hi - self.box.lo)
        return np.where(bounded, np.minimum(radius, self.reach), np.inf)

    def _damp(self, y: Array) -> None:
        """Controls that a linear model moves to and fro get half of the way, others more (Rprop's rule)."""
        back = (y * self.moved < 0) & (np.abs(y) > 1e-12)
        on = y * self.moved > 0
        half = 0.5 * np.minimum(self.reach, np.abs(self.moved))
        self.reach[back] = np.maximum(half, LEAST_REACH)[back]
        self.reach[on] = np.minimum(GROW * self.reach[on], 1.0)
        self.moved = np.where(y != 0, y, self.moved)

    def _bent(self, here: Linearised, model: Model, chosen: Array, step: Step) -> Model:
        """The model with the curvature of the limits that the linear model found to bind."""
        parts: list[Array] = []
        stiffness: list[Array] = []
        for k in np.flatnonzero(step.rows > 1e-9 * np.abs(step.rows).max(initial=0.0)):
            gradients, weights = here.forms(int(chosen[k]))
            up = weights > 0
            parts.append(gradients[up] * self.s)
            stiffness.append(2 * step.rows[k] / self.size[k] * weights[up])
        if not parts:
            return model
        return replace(model, bend=np.vstack(parts), stiffness=np.concatenate(stiffness))

    def _all_multipliers(self, here: Linearised, chosen: Array, step: Step) -> Array:
        """Multipliers of every row of the programme (m,), of the scaled objective."""
        split, p = self.split, self.program
        limits = np.zeros(len(split.limits))
        limits[chosen] = step.rows / self.size
        limits[self.box.plain] = step.plain
        self.limit_multipliers = limits
        rows = np.zeros(p.m)
        rows[split.limits] = limits
        rows[self.flow.rows] = here.law_multipliers(self.scale * p.gradient(here.x), limits)
        return rows

    def _is_stationary(self, model: Model, chosen: Array, step: Step) -> bool:
        """The objective cannot fall much, by the gradient at the point itself and the model's multipliers.

        gain      sum over the controls of |pull| x room, or of pull^2 / (2 H) where the objective is curved,
                  and over the limits of |lambda| x slack: the duality gap of the linearised problem
        residual  the largest pull that no bound balances
        """
        assert self.point is not None
        pull = model.g + model.a.T @ step.rows + model.plain.T @ step.plain
        room = np.where(pull > 0, -model.lo, model.hi)
        room = np.where(np.isfinite(room), room, 1.0)
        gain = np.where(pull == 0, 0.0, np.abs(pull) * np.where(pull == 0, 0.0, room))
        curved = model.curvature > 0
        gain[curved] = np.minimum(gain[curved], pull[curved] ** 2 / (2 * model.curvature[curved]))
        lost = [_complementarity(step.rows, model.row_lo, model.row_hi)]
        lost.append(_complementarity(step.plain, model.plain_lo, model.plain_hi))
        size = max(1.0, float(np.abs(model.g).max(initial=0.0)), float(np.abs(step.rows).max(initial=0.0)))
        self.residual = float(np.minimum(np.abs(pull) / size, room).max(initial=0.0))
        unused = sum(lost) / max(abs(self.point.f), 1e-6)
        self.gain = unused + float(gain.sum()) / max(abs(self.point.f), 1e-6)
        self.step, self.stepped = step, chosen
        self.unused = 0.0
        if model.curvature.any():  # one more round costs little and squares the error
            return self.residual <= BALANCED_CURVED
        flat = self.gain <= STATIONARY and self.residual <= UNBALANCED
        enough = NEARLY_STATIONARY if model.plain.shape[0] else NEARLY_STATIONARY_TOTAL
        nearly = self.gain <= enough and self.residual <= BALANCED
        self.unused = unused
        return unused <= UNUSED and (flat or nearly)

    def _is_done(self) -> bool:
        assert self.point is not None
        return self.point.theta <= FEASIBLE

    def _use_up(self, step: Step) -> None:
        """What is left of the limits, by one more step where that keeps them."""
        assert self.point is not None
        if self.unused < TINY:
            return
        u = np.clip(self.point.x[self.split.controls] + self.s * step.y, self.box.lo, self.box.hi)
        trial = self._at(u, self.point.x)
        if trial is not None and trial.theta <= FEASIBLE and trial.f < self.point.f:
            self.point = trial

    # Steps ----------------------------------------------------------------------------------

    def _move(
        self, here: Linearised, model: Model, chosen: Array, step: Step, radius: float
    ) -> tuple[bool, float]:
        """Try the step, shorter and shorter, until the filter takes it."""
        point = self.point
        assert point is not None
        for _ in range(25):
            y = step.y
            u = np.clip(point.x[self.split.controls] + self.s * y, self.box.lo, self.box.hi)
            trial = self._at(u, point.x)
            largest = float(np.abs(y[np.isfinite(self.box.hi - self.box.lo)]).max(initial=0.0))
            if trial is not None:
                predicted = -model.change(y)
                if self._accepts(trial, predicted):
                    grown = 2 * radius if largest > 0.9 * radius else radius
                    self.point = trial
                    if not model.curvature.any():
                        self._damp(y)
                    self._enlarge(trial, 0.1 * NEAR)
                    return True, min(grown, 1.0)
                if self._enlarge(trial):
                    if self._too_large():
                        return True, radius
                    self.factors = here.factors
                    model, chosen = self._model(here)
                elif (corrected := self._second_order(model, chosen, y, trial, radius)) is not None:
                    return corrected, radius
            if largest < 1e-10:
                return False, radius
            radius = 0.5 * min(radius, largest) if trial is None or not self._grew(chosen) else radius
            shorter = rounds.solve(model.within(self._radius(radius)))
            if shorter is None:
                return False, radius
            step = shorter
        return False, radius

    def _grew(self, chosen: Array) -> bool:
        return len(chosen) != np.count_nonzero(self.work)

    def _second_order(
        self, model: Model, chosen: Array, y: Array, trial: _Point, radius: float
    ) -> bool | None:
        """The step corrected for what the limits did beyond their linear prediction; None if no better."""
        point = self.point
        assert point is not None
        gap = (trial.h[chosen] - point.h[chosen]) / self.size - model.a @ y
        found = rounds.solve(model.about(y, gap).within(self._radius(radius)))
        if found is None:
            return None
        u = np.clip(point.x[self.split.controls] + self.s * found.y, self.box.lo, self.box.hi)
        corrected = self._at(u, trial.x)
        if corrected is None or not self._accepts(corrected, -model.change(found.y)):
            return None
        self.point = corrected
        self._enlarge(corrected)
        return True

    def _accepts(self, trial: _Point, predicted: float) -> bool:
        """Filter: better in objective or in violation than every pair, and enough of what was predicted."""
        point = self.point
        assert point is not None
        floor = FEASIBLE
        theta, old = max(trial.theta - floor, 0.0), max(point.theta - floor, 0.0)
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

    def finish(self, status: InteriorStatus) -> InteriorPoint:
        """The point with multipliers of the unscaled objective."""
        p = self.program
        lower, upper, rows = np.zeros(p.n), np.zeros(p.n), np.zeros(p.m)
        x = self.numbers.x0 if self.point is None else self.point.x
        if self.step is not None and self.point is not None and status is InteriorStatus.SOLVED:
            here = self.split.at(x, self.factors)
            rows = self._all_multipliers(here, self.stepped, self.step)
            gradient = self.scale * p.gradient(x)
            pull = here.stationarity(gradient, rows[self.flow.rows], self.limit_multipliers)
            pull = self.box.to_rows(x[self.split.controls], pull, rows)
            lower[self.split.controls] = np.maximum(pull, 0.0)
            upper[self.split.controls] = np.maximum(-pull, 0.0)
        return InteriorPoint(
            x=x,
            row_multipliers=rows / self.scale,
            lower_multipliers=lower / self.scale,
            upper_multipliers=upper / self.scale,
            status=status,
            objective=p.objective(x),
            iterations=self.rounds,
            seconds=0.0,
            numbers=self.numbers,
        )


def _complementarity(multipliers: Array, lo: Array, hi: Array) -> float:
    """Sum of |multiplier| x distance from the bound that it stands for."""
    slack = np.where(multipliers > 0, hi, np.where(multipliers < 0, lo, 0.0))
    return float(np.abs(multipliers * np.where(np.isfinite(slack), slack, 0.0)).sum())


def _over(split: Sensitivity, numbers: Numbers, h: Array) -> Array:
    """How far limits (n_h,) lie beyond their nearer bound; negative inside."""
    lo, hi = numbers.row_lo[split.limits], numbers.row_hi[split.limits]
    return np.asarray(np.maximum(lo - h, h - hi))


def _distinct(over: Array, among: Array) -> Array:
    """Of those among (n_h,) bool that read alike (cables of a bundle, both ends) the one furthest over."""
    index = np.flatnonzero(among)
    index = index[np.argsort(-over[index], kind="stable")]
    _, first = np.unique(np.round(over[index], 6), return_index=True)
    kept = np.zeros(len(over), dtype=bool)
    kept[index[first]] = True
    return kept
