"""Barrier method of our own: a `Program` solved by a sparse primal-dual interior point.

A drop-in for `dms.interior`, for ticks where many limits bind. Each iteration factorises one symmetric
system (`dms.newton`) and solves it a few times: the affine step, Mehrotra's corrected step with the barrier
that the affine one suggests (SIAM J. Optim. 2, 1992), and Gondzio's further corrections where bounds still
block it (Comput. Optim. Appl. 6, 1996). A step counts if it lowers the violation or the barrier function,
by the line-search filter of Waechter and Biegler (Math. Program. 106, 2006); where none does, the barrier
is held for a while and then falls step by step. There is no restoration phase: where that fails as well,
the status says so and another method is asked.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

import numpy as np

from dms.compact import CompactTick
from dms.interior import InteriorPoint, InteriorStatus, IpoptOptions
from dms.newton import NewtonSystem, compact_of, system_of
from dms.newton_steps import TIGHT, Steps
from dms.program import Numbers, Program
from dms.slack_form import Direction, Iterate, KktError, SlackForm, kkt_error
from feeders.table import Array

MOST_ITERATIONS = 150

# What is a solution.
FEASIBLE = 1e-9
"""Largest violation of a row, per unit."""
SETTLED = 1e-13
"""Violation of the circuit's laws that is left alone, per unit."""
STEEP = 0.1
"""The dual error is small as well where it is `tol` times this share of the objective's steepest slope."""
GAP = 1e-6
"""Sum of the complementarities, of the objective (or of one, if that is smaller)."""

ACCEPTABLE, ENOUGH = 1e-6, 3
"""Dual error that will do where the barrier cannot fall any more and it is reached that often."""

# Start points: barrier, distance from the bounds, largest multiplier; and where a warm start begins.
FIRST_MU, FIRST_PUSH, LARGEST_FIRST_Z = 1.0, 1e-2, 1e3
WARM_MU, WARM_PUSH = 1e-3, 1e-2
WARM_ITERATIONS = 15
"""Of a warm start: where it leads nowhere, a cold one takes hardly more."""

# Steps.
LEAST_MU = 1e-11
TO_THE_BOUNDARY = 0.995
LOOSE = 1e-6
"""Relative residual of the affine step, which is not taken."""
CORRECTIONS, REACH, BAND = 2, 0.3, 10.0
"""Gondzio's: most of them, how much longer a step they aim at, and products kept within BAND of mu."""
HALVINGS = 15
FILTER_MARGIN, ROUNDING = 1e-5, 1e-12

# Where the problem is not convex.
FIRST_CONVEXITY, LEAST_CONVEXITY, MOST_CONVEXITY = 1e-2, 1e-5, 1e8
CONVEXITY_GROWS, CONVEXITY_FADES = 4.0, 3.0
FLATTENED = 0.011
"""Where more convexity than this is needed, the rows' curvature is left out instead, until steps crawl."""
END = 1e-8
"""Mean product from which, instead, Newton's step is taken whatever the inertia, as long as errors fall."""
SHORT = 0.5
"""After a shorter step, and where convexity was added, the barrier does not fall: it is convex, too."""
HELD_AT = 0.8
"""Share of the mean product that a barrier is held at."""
CRAWL, CRAWLS = 0.1, 3
"""Steps shorter than this, and how many in a row, after which the barrier is held: it fell too fast."""
RELEASES = 3
"""Times that a held barrier is let go again where no step is taken."""
STALLED = 30
"""Iterations without a smaller error after which the method gives up."""


def solve(
    program: Program,
    numbers: Numbers,
    *,
    objective_scale: float = 1.0,
    warm: InteriorPoint | None = None,
    options: IpoptOptions | None = None,
    push: float = FIRST_PUSH,
) -> InteriorPoint:
    """Solve the programme from `numbers.x0`, or from an earlier point and its multipliers.

    Multipliers come back as Ipopt's do, of the objective as it is (not times `objective_scale`):
    grad f + J' row_multipliers - lower_multipliers + upper_multipliers = 0.

    objective_scale  what is minimised is this times the objective, so that tolerances mean something
    options          `tol`, `max_iter` and `max_wall_s` are obeyed
    push             least distance of a cold start from its bounds, of their distance or size
    Returns  status SOLVED only at a KKT point: dual and complementarity error <= tol in Ipopt's measure,
             violation <= 1e-9, gap <= 1e-6 of the objective. LIMIT and FAILED say nothing about the problem.
    """
    options = options or IpoptOptions()
    began = time.perf_counter()
    tick = compact_of(program).at(program.stage, numbers)
    form, system = SlackForm(tick, objective_scale), system_of(program)
    run = _Run(form, system, options.tol, began + options.max_wall_s)
    start = _cold(form, tick.numbers, push) if warm is None else _warm(form, tick, warm)
    most = MOST_ITERATIONS if warm is None else WARM_ITERATIONS
    at, status = run.to_the_end(start, min(options.max_iter, most))
    kept = tick.structure.columns
    x, y = tick.whole(np.clip(at.v[: form.n], tick.numbers.x_lo, tick.numbers.x_hi), form.row_multipliers(at))
    lower, upper = np.zeros((2, program.n))
    lower[kept], upper[kept] = (z[: form.n] for z in form.by_variable(at))
    return InteriorPoint(
        x=x,
        row_multipliers=y / objective_scale,
        lower_multipliers=lower / objective_scale,
        upper_multipliers=upper / objective_scale,
        status=status,
        objective=program.objective(x),
        iterations=run.iterations,
        seconds=time.perf_counter() - began,
        numbers=numbers,
    )


def _cold(form: SlackForm, numbers: Numbers, push: float) -> Iterate:
    """The start point, inside its bounds; products near `FIRST_MU`."""
    x = np.where(form.fixed, numbers.x_lo, numbers.x0)
    v, below, above = form.inside(x, push)
    z_low, z_up = (np.minimum(FIRST_MU / gap, LARGEST_FIRST_Z) for gap in (below, above))
    return Iterate(v, np.zeros(form.m), below, above, z_low, z_up, form.violation(v))


def _warm(form: SlackForm, tick: CompactTick, warm: InteriorPoint) -> Iterate:
    """An earlier point, pushed off its bounds; its multipliers, but no product far below `WARM_MU`."""
    columns, rows = tick.structure.columns, tick.structure.rows
    x = np.clip(warm.x[columns], tick.numbers.x_lo, tick.numbers.x_hi)
    v, below, above = form.inside(x, WARM_PUSH)
    y = np.where(form.idle, 0.0, warm.row_multipliers[rows] * form.sigma)
    lower, upper = (z[columns] * form.sigma for z in (warm.lower_multipliers, warm.upper_multipliers))
    z_low = np.concatenate([lower, np.maximum(-y[form.ranges], 0.0)])[form.low]
    z_up = np.concatenate([upper, np.maximum(y[form.ranges], 0.0)])[form.up]
    z_low, z_up = np.maximum(z_low, WARM_MU / 10 / below), np.maximum(z_up, WARM_MU / 10 / above)
    return Iterate(v, y, below, above, z_low, z_up, form.violation(v))


@dataclass
class _Run:
    """One solve: the loop and what it remembers between iterations.

    length      of the last step
    falls       the last step made the error smaller
    convexity   that was added to the last Hessian
    held        the barrier parameter while it falls step by step; None while it follows the affine step
    """

    form: SlackForm
    system: NewtonSystem
    tol: float
    deadline: float
    iterations: int = 0
    held: float | None = None
    convexity: float = 0.0
    length: float = 1.0
    crawled: int = 0
    released: int = 0
    falls: bool = True
    filter: list[tuple[float, float]] = field(default_factory=list)

    def to_the_end(self, at: Iterate, most: int) -> tuple[Iterate, InteriorStatus]:
        """Iterate until a KKT point, a limit or a dead end."""
        best, since, last, accepted = np.inf, 0, np.inf, 0
        while True:
            jacobian, error = self._measure(at)
            if self._optimal(at, error, ACCEPTABLE if at.mean_product < 2 * LEAST_MU else self.tol):
                at = self._settled(at, jacobian)
                jacobian, error = self._measure(at)
                if error.primal <= FEASIBLE and self._optimal(at, error, self.tol):
                    return at, InteriorStatus.SOLVED
                accepted += int(error.primal <= FEASIBLE and self._optimal(at, error, ACCEPTABLE))
                if accepted >= ENOUGH:
                    return at, InteriorStatus.ACCEPTABLE
            self.falls, last = error.worst < last, error.worst
            best, since = (error.worst, 0) if error.worst < 0.9 * best else (best, since + 1)
            if not np.isfinite(error.worst) or since > STALLED:
                return at, InteriorStatus.FAILED
            if self.iterations >= most or time.perf_counter() > self.deadline:
                return at, InteriorStatus.LIMIT
            newton = self._newton(at, jacobian)
            if newton is None:
                return at, InteriorStatus.FAILED
            self._lower_the_barrier(at)
            following = self._step(at, newton)
            self.iterations += 1
            self.crawled = self.crawled + 1 if self.length < CRAWL else 0
            if following is None and self.held is not None:  # neither way
                if self.released >= RELEASES:
                    return at, InteriorStatus.FAILED
                self.held, self.released = None, self.released + 1
            elif following is None or (self.held is None and self.crawled >= CRAWLS):
                self._hold(HELD_AT * at.mean_product)  # hold the barrier where it is, and go on
            at = following or at

    def _measure(self, at: Iterate) -> tuple[Array, KktError]:
        """The Jacobian's values, now also in the system, and the error of the original problem."""
        jacobian = self.form.jacobian(at.v)
        self.system.jacobian.data[:] = jacobian
        return jacobian, kkt_error(self.form, at, self.system)

    def _optimal(self, at: Iterate, error: KktError, tol: float) -> bool:
        """At a KKT point but for the rows."""
        gap = GAP * max(abs(self.form.objective(at.v)), 1.0)
        steepest = float(np.abs(self.form.gradient(at.v)).max(initial=0.0))
        stationary = error.dual <= tol or error.unscaled <= tol * STEEP * steepest
        return stationary and error.complementary <= tol and error.gap <= gap

    def _settled(self, at: Iterate, jacobian: Array) -> Iterate:
        """The nearest point that keeps the rows: short steps that mend them and nothing else.

        A voltage that only a trace of charging holds (the far side of an ungrounded transformer) is known
        no better than the residual of Kirchhoff's law over that trace, so the laws must hold to rounding.
        """
        laws = np.abs(at.c[self.form.equations]).max(initial=0.0)
        if laws <= SETTLED and np.abs(at.c).max(initial=0.0) <= FEASIBLE:
            return at
        newton = Steps(self.form, self.system, at, jacobian)
        if not self.system.factorise(1.0):
            return at
        for _ in range(5):
            step = newton.mending(at.c)
            trial = self.form.moved(at, step, 1.0)
            inside = min(trial.below.min(initial=1.0), trial.above.min(initial=1.0)) > 0
            if not inside or not trial.theta < at.theta:
                break
            at = trial
        return at

    def _hold(self, mu: float) -> None:
        """From now on the barrier falls step by step, as its problems are solved."""
        self.held, self.filter = max(LEAST_MU, mu), []

    def _lower_the_barrier(self, at: Iterate) -> None:
        """Let a held barrier fall once its problem is solved; faster, the smaller it is, if all is convex."""
        if self.held is None or kkt_error(self.form, at, self.system, self.held).worst > 10 * self.held:
            return
        fall = 0.1 if self.convexity > 0 else min(0.1, self.held**0.5)
        self._hold(fall * self.held)

    def _newton(self, at: Iterate, jacobian: Array) -> Steps | None:
        """Factors at the iterate, with as much added to the Hessian as makes the inertia right."""
        newton = Steps(self.form, self.system, at, jacobian)
        less, flattened = self.convexity / CONVEXITY_FADES, self.convexity == FLATTENED
        crawls = self.convexity >= FLATTENED and self.length < CRAWL
        extra, flat = less if less >= LEAST_CONVEXITY and not flattened else 0.0, False
        while not self.system.factorise(extra):
            if extra > 0.0:
                extra *= CONVEXITY_GROWS
            elif flat or crawls or self.convexity == 0.0:
                extra = FIRST_CONVEXITY
            else:
                extra = np.inf if flattened else LEAST_CONVEXITY
            if extra > FLATTENED and not flat and not crawls:
                if at.mean_product < END and self.falls:
                    self.system.factorise()
                    self.convexity = 0.0
                    return newton
                newton.flatten()
                extra, flat = 0.0, True
            if extra > MOST_CONVEXITY:
                return None
        self.convexity = FLATTENED if flat else extra
        return newton

    def _step(self, at: Iterate, newton: Steps) -> Iterate | None:
        """The next iterate; None if no step along the direction is acceptable."""
        mu, targets = self._aim(at, newton)
        d = newton.direction(targets, at.c, TIGHT)
        reach = newton.lengths(d, TO_THE_BOUNDARY)
        for _ in range(CORRECTIONS if min(reach) < 0.9 else 0):
            longer = min(1.0, reach[0] + REACH), min(1.0, reach[1] + REACH)
            corrected = newton.corrected(d, longer, targets, (mu / BAND, mu * BAND))
            other = newton.direction(corrected, at.c, TIGHT)
            further = newton.lengths(other, TO_THE_BOUNDARY)
            if sum(further) < sum(reach) + 0.1 * REACH:
                break
            d, reach, targets = other, further, corrected
        self.length = reach[0]
        found = self._search(at, newton, d, reach[0], mu)
        if found is None:
            return None
        z_low, z_up = at.z_low + reach[1] * d.z_low, at.z_up + reach[1] * d.z_up
        # Multipliers never stray far from mu / distance (Waechter and Biegler, (16)).
        z_low = np.clip(z_low, mu / (1e10 * found.below), 1e10 * mu / found.below)
        z_up = np.clip(z_up, mu / (1e10 * found.above), 1e10 * mu / found.above)
        return replace(found, z_low=z_low, z_up=z_up)

    def _aim(self, at: Iterate, newton: Steps) -> tuple[float, tuple[Array, Array]]:
        """The barrier parameter and the products to aim at, (lower, upper)."""
        if self.held is not None:
            return self.held, (np.full(len(at.below), self.held), np.full(len(at.above), self.held))
        self.filter = []  # of another barrier function
        zero = np.zeros(len(at.below)), np.zeros(len(at.above))
        affine = newton.direction(zero, at.c, LOOSE)
        primal, dual = newton.lengths(affine, 1.0)
        now = at.mean_product
        reached = np.concatenate(newton.products(affine, primal, dual))
        share = float(reached.mean()) / now if now > 0 else 0.0
        mu = max(LEAST_MU, min(1.0, share) ** 3 * now)
        if self.convexity > 0.0 and self.length < SHORT:
            mu = max(mu, now)
        # Mehrotra's term of second order, as long as the affine step and no larger than the products.
        second = (
            primal * dual * affine.v[self.form.low] * affine.z_low,
            -primal * dual * affine.v[self.form.up] * affine.z_up,
        )
        low, up = (mu - np.clip(term, -0.9 * now, 10 * now) for term in second)
        return mu, (low, up)

    def _search(self, at: Iterate, newton: Steps, d: Direction, longest: float, mu: float) -> Iterate | None:
        """Halve the step until the filter takes it; one correction of second order on the way."""
        form = self.form
        theta, phi = at.theta, form.barrier(at, mu)
        length = longest
        for halvings in range(HALVINGS):
            trial = form.moved(at, d, length)
            if self._takes(trial, mu, theta, phi):
                break
            if halvings == 0 and trial.theta >= theta:
                aims = np.full(len(at.below), mu), np.full(len(at.above), mu)
                curved = newton.direction(aims, length * at.c + trial.c, TIGHT)
                second = form.moved(at, curved, newton.lengths(curved, TO_THE_BOUNDARY)[0])
                if self._takes(second, mu, theta, phi):
                    trial = second
                    break
            length *= 0.5
        else:
            return None
        if self.held is not None:
            self.filter.append((theta, phi))
        return trial

    def _takes(self, trial: Iterate, mu: float, theta: float, phi: float) -> bool:
        """The filter's test of a trial point."""
        reached, value = trial.theta, self.form.barrier(trial, mu)
        if not (np.isfinite(reached) and np.isfinite(value)):
            return False
        rounding = ROUNDING * max(1.0, abs(phi))
        for worst, level in [*self.filter, (theta, phi)]:
            closer = reached < (1 - FILTER_MARGIN) * worst
            if not closer and value > level - FILTER_MARGIN * worst + rounding:
                return False
        return True
