"""Where the reduced method stands: its point, the limits that matter there, and a model around it.

What `dms.reduced` makes steps of. The limits near their bounds are the working set; their gradients and the
objective's make the linear model of a round (`dms.rounds`), and the multipliers of its minimum say how far
the point is from a KKT point (`dms.stationarity`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from dms.adjoint import Linearised, Sensitivity
from dms.box import Box
from dms.interior import InteriorPoint, InteriorStatus
from dms.powerflow import PowerFlow
from dms.program import Numbers, Program
from dms.rounds import Model, Step
from dms.state_equations import StateFactors
from dms.stationarity import Balance, complementarity
from dms.working_set import joining
from feeders.table import Array

FEASIBLE = 2e-10
"""Largest violation of a limit's row, per unit squared or of the rating squared, at a solution."""
NEAR = 5e-3
"""Distance from its bound, relative, at which a limit is in the working set from the start."""
STALE = 5
"""Steps of a power flow from which new factors at its end save more than they cost."""


@dataclass(frozen=True)
class Point:
    """x (n,) whose states obey the laws, limits h and how far over (n_h,), violation, scaled objective."""

    x: Array
    h: Array
    over: Array
    theta: float
    f: float


@dataclass
class ReducedModel:
    """The state of the method between rounds."""

    program: Program
    numbers: Numbers
    scale: float

    def __post_init__(self) -> None:
        self.rounds = 0
        self.flow: PowerFlow = self.program.once("power_flow", lambda: PowerFlow(self.program))
        self.split = Sensitivity.of(self.program)
        self.box = Box.of(self.split, self.numbers)
        self.s = self.box.scale
        self.factors: StateFactors | None = self.flow.unloaded
        self.steps = 0  # of the last power flow with them
        self.work = np.zeros(len(self.split.limits), dtype=bool)
        self.gradients: dict[int, Array] = {}  # of limits, as they were when last asked
        self.adjoints: dict[int, Array] = {}
        self.fresh, self.exact = np.zeros(0, dtype=bool), False  # gradients made anew; all that bind are
        self.limit_multipliers = np.zeros(len(self.split.limits))
        self.binding = 0
        self.point: Point | None = None
        self.balance, self.largest = Balance(np.inf, np.inf, np.inf), 1.0
        self.here: Linearised | None = None  # the point that was judged last, by the multipliers as they are
        self.curvature = self.scale * self.program.objective_curvature[self.split.controls] * self.s**2

    def _at(self, u: Array, x: Array) -> Point | None:
        """The power flow at controls u, from the states of x; None where there is none."""
        x = x.copy()
        x[self.split.controls] = u
        found, factors = self.flow.settle(x, self.numbers, self.factors)
        if not found.converged:
            return None
        self.factors, self.steps = factors, found.iterations
        return self._measured(found.x)

    def _measured(self, x: Array) -> Point:
        """Limits and objective at x (n,)."""
        h = self.split.limit_values.at(x)
        over = self.box.over(h)
        theta = max(float(over.max(initial=0.0)), 0.0)
        return Point(x, h, over, theta, self.scale * self.program.objective(x))

    def _here(self) -> Linearised:
        """Derivatives at the point, by new factors where the last power flow said that they are too old."""
        assert self.point is not None
        old = self.steps >= STALE or self.factors is self.flow.unloaded
        return self.split.at(self.point.x, None if old else self.factors, self.adjoints)

    def _enlarge(self, point: Point, margin: float = 0.0) -> int:
        """Limits beyond or near their bounds join the working set; of those that read the same, one does."""
        outside = ~self.work & ~self.split.linear & (point.over > FEASIBLE - margin)
        new = joining(point.over, outside, self.work, self.rounds)
        self.work[new] = True
        return len(new)

    def _model(self, here: Linearised) -> tuple[Model, Array]:
        """The model around the point, without curvature; and which limits its rows are, with their scale."""
        split, point = self.split, self.point
        assert point is not None
        chosen = np.flatnonzero(self.work)
        a = self._gradients(here, chosen) * self.s
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
            curvature=self.curvature,
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

    def _gradients(self, here: Linearised, chosen: Array) -> Array:
        """Of the limits chosen (k, n_u): anew where they bind, as they were where they only might."""
        assert self.point is not None
        binds = (self.limit_multipliers != 0) | (self.point.over > 0)
        new = [k for k in chosen if binds[k] or k not in self.gradients]
        self.fresh = np.isin(chosen, new)
        self.gradients |= dict(zip(new, here.gradients(np.array(new, dtype=int)), strict=True))
        return np.array([self.gradients[k] for k in chosen]).reshape(len(chosen), len(self.s))

    def _is_stationary(self, model: Model, chosen: Array, step: Step) -> bool:
        """By the gradient at the point itself and the model's multipliers, which are kept."""
        assert self.point is not None
        pull = model.g + model.a.T @ step.rows + model.plain.T @ step.plain
        lost = complementarity(step.rows, model.row_lo, model.row_hi)
        lost += complementarity(step.plain, model.plain_lo, model.plain_hi)
        self.largest = float(max(1.0, *(np.abs(v).max(initial=0.0) for v in (model.g, step.rows))))
        self.here, self.limit_multipliers = None, np.zeros(len(self.split.limits))
        self.limit_multipliers[chosen] = step.rows / self.size
        self.limit_multipliers[self.box.plain] = step.plain
        self.binding = int(np.count_nonzero(step.rows))
        self.balance = Balance.of(
            pull,
            (-model.lo, model.hi),
            model.curvature,
            lost=lost,
            size=self.largest,
            f=self.point.f,
        )
        self.exact = bool(self.fresh[step.rows != 0].all())
        return self._holds() and self.exact

    def _holds(self) -> bool:
        return self.balance.holds(curved=bool(self.curvature.any()), tied=bool(len(self.box.plain)))

    def _is_over(self, here: Linearised) -> bool:
        """The same at a new point with the last one's multipliers: after Newton's step they are right."""
        assert self.point is not None
        u, limits, gradient = (
            here.x[self.split.controls],
            self.limit_multipliers,
            self.scale * self.program.gradient(here.x),
        )
        self.here, self.lagrangian = here, (gradient, here.law_multipliers(gradient, limits), limits)
        pull = self.s * here.stationarity(*self.lagrangian)
        lo, hi = (
            bound[self.split.limits] - self.point.h for bound in (self.numbers.row_lo, self.numbers.row_hi)
        )
        self.balance = Balance.of(
            pull,
            (np.maximum((u - self.box.lo) / self.s, 0.0), np.maximum((self.box.hi - u) / self.s, 0.0)),
            self.curvature,
            lost=complementarity(limits, lo, hi),
            size=self.largest,
            f=self.point.f,
        )
        return self._holds()

    def _is_done(self) -> bool:
        assert self.point is not None
        return self.point.theta <= FEASIBLE

    def finish(self, status: InteriorStatus) -> InteriorPoint:
        """The point with multipliers of the unscaled objective."""
        p = self.program
        lower, upper, rows = np.zeros(p.n), np.zeros(p.n), np.zeros(p.m)
        x = self.numbers.x0 if self.point is None else self.point.x
        if status is InteriorStatus.SOLVED:
            if self.here is None or self.here.x is not x:
                self._is_over(self.split.at(x, self.factors, self.adjoints))
            assert self.here is not None
            rows[self.flow.rows], rows[self.split.limits] = self.lagrangian[1:]
            pull = self.here.stationarity(*self.lagrangian)
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
