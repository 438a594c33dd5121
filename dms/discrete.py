"""Taps and capacitor steps: relax, round, fix, solve again, and keep the best that is certified.

The answer that leaves every control where it is is always a candidate, so moving is never worse. From
the relaxed optimum, controls are brought to whole steps one after the other, the nearest first, and the
rest is relaxed anew each time. Around what that gives, single steps are tried, of one control and of two,
as long as the objective falls, or stays and fewer steps are moved. Where all positions within reach are
no more than may be tried, all of them are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations, product

import numpy as np

from dms import methods
from dms.interior import InteriorPoint, InteriorStatus, IpoptOptions
from dms.program import Numbers
from dms.regimes import Regimes
from dms.solution import DmsSolution, Moves, Status
from dms.tick import Tick, from_point, optimise, publish, start_numbers
from feeders.table import Array

SAME = 1e-6
"""Relative difference below which two objectives are equal; the fewer steps decide."""

CANDIDATE_ITERATIONS = 120
"""Ipopt's at one position: what takes longer next to a known answer has none."""

ANSWERS = (Status.GO_AHEAD, Status.CURTAILED)


@dataclass
class _Search:
    """The best position so far."""

    tick: Tick
    best: DmsSolution
    options: IpoptOptions | None
    start: InteriorPoint | None = None
    tried: dict[bytes, DmsSolution | None] = field(default_factory=dict)

    def offer(self, position: Array) -> bool:
        """Solve at a position; True where it becomes the best."""
        key = position.tobytes()
        if key in self.tried or len(self.tried) >= self.tick.problem.controls.tries or self.spent:
            return False
        if self.value(self.best) <= self._trifle and self.moved(position) >= self.moved(self.best.position):
            return False  # nothing is curtailed: only fewer steps are better
        found = self.tried[key] = _solve_at(self.tick.at(position), self.start, self.options)
        if found is None or not self._beats(found):
            return False
        self.best, self.start = found, found.point or self.start
        return True

    @property
    def spent(self) -> bool:
        """The tick's wall-clock budget is."""
        return self.options is not None and self.options.spent

    def settle(self) -> None:
        """Solve again where the search ended, from the power flow: a warm start may have led elsewhere."""
        if self.spent:
            return
        if np.array_equal(self.best.position, self.tick.position) or self.best.status is Status.GO_AHEAD:
            return
        found = _solve_at(self.tick.at(self.best.position), None, self.options)
        if found is not None and self._beats(found):
            self.best = found

    def _beats(self, other: DmsSolution) -> bool:
        """The first stage that tells the two apart decides; where none does, fewer steps.

        What a later stage holds is the same within its tolerance.
        """
        if not np.isfinite([self.value(self.best), self.value(other)]).all():
            return self.value(other) < self.value(self.best)
        pairs = zip(self.objectives(self.best), self.objectives(other), strict=True)
        for stage, (mine, theirs) in enumerate(pairs, 1):
            last = stage == self.tick.problem.program.stages
            relative = SAME if last else max(SAME, self.tick.problem.peak_tol)
            same = relative * max(mine, theirs) + self._trifles[stage - 1]
            if abs(mine - theirs) > same:
                return theirs < mine
        return self.moved(other.position) < self.moved(self.best.position) - 1e-6

    @property
    def _trifle(self) -> float:
        return self._trifles[-1]

    @cached_property
    def _trifles(self) -> tuple[float, ...]:
        """Objective of curtailing the largest export by a watt, by stage: less is rounding."""
        one = np.zeros(len(self.tick.problem.units.name))
        one[np.argmax(self.tick.most_kw)] = 1e-3
        return self.tick.problem.objectives(one, self.tick.request)

    def objectives(self, solution: DmsSolution) -> tuple[float, ...]:
        return self.tick.problem.objectives(solution.unit_curtail_kw, self.tick.request)

    def value(self, solution: DmsSolution) -> float:
        """Objective of a certified answer, infinite for any other."""
        if not solution.certificate.ok or solution.status not in (*ANSWERS, Status.FALLBACK):
            return np.inf
        if solution.certificate.safe == "relaxed" and not self.tick.relaxed:
            return np.inf
        return self.objectives(solution)[-1]

    def moved(self, position: Array) -> float:
        return float(self.tick.problem.controls.steps_moved(position, self.tick.base).sum())


def improve(tick: Tick, base: DmsSolution, options: IpoptOptions | None) -> DmsSolution:
    """The better of `base`, which leaves the controls where they are, and what moving them gives.

    tick     with its limits in force; at another position they are no wider than zero export needs there
    Returns  `base` itself, or the certified answer at another position; `moves` tells what was found
    """
    search = _Search(tick, base, options, base.point)
    left_alone = search.value(base)
    search.tried[tick.position.tobytes()] = base
    relaxed = _relaxed(tick, base, options)
    target, bound = tick.position, np.nan
    if relaxed is None and left_alone == np.inf:
        return base  # not even positions between whole steps keep the limits
    if relaxed is not None:
        target = _positions(tick, relaxed)
        bound = relaxed.objective - _move_cost(tick, relaxed)
        search.start = relaxed
        search.offer(tick.problem.controls.rounded(target, tick.base))
        dived, search.start = _dive(tick, relaxed, options)
        search.offer(dived)
    if (all_of_them := _within_reach(search)) is not None:
        for position in sorted(all_of_them, key=lambda p: float(np.abs(p - target).sum())):
            search.offer(position)
    while any(search.offer(p) for p in _neighbours(search, target)):
        pass
    search.settle()
    steps = tick.problem.controls.steps_moved(search.best.position, tick.base)
    moves = Moves(left_alone, bound, search.value(search.best), steps, len(search.tried))
    return replace(search.best, moves=moves, solve_s=time.perf_counter() - tick.began)


def _dive(tick: Tick, point: InteriorPoint, options: IpoptOptions | None) -> tuple[Array, InteriorPoint]:
    """Whole steps for all controls, one held after the other; the last point that Ipopt found."""
    controls = tick.problem.controls
    free = np.ones(len(controls), dtype=bool)
    held = _positions(tick, point)
    while free.any():
        target = _positions(tick, point)
        whole = controls.rounded(target, tick.base)
        off = np.where(free, np.abs(target - whole) / controls.step, np.inf)
        done = free & (off <= max(1e-3, float(off.min())))  # what is whole already needs no solve of its own
        held[done], free[done] = whole[done], False
        if not free.any():
            break
        next_tick = tick.freed(free, np.where(free, target, held))
        numbers = next_tick.numbers(Regimes(tick.problem.voltages_v(point.x)))
        numbers.x0[:] = np.clip(point.x, numbers.x_lo, numbers.x_hi)
        found = optimise(next_tick, numbers, options, method=methods.auto)
        if not found.converged:
            held = np.where(free, whole, held)
            break
        point = found
    return held, point


def _positions(tick: Tick, point: InteriorPoint) -> Array:
    """Where a point of the programme has the controls, (n_controls,)."""
    position: Array = point.x[tick.problem.program.variables["position"].span]
    return position.copy()


def _within_reach(search: _Search) -> list[Array] | None:
    """Every position within a tick's reach, None where they are more than may be tried."""
    controls, base = search.tick.problem.controls, search.tick.base
    choices = [controls.choices(base, k) for k in range(len(controls))]
    if np.prod([len(c) for c in choices]) + len(search.tried) > controls.tries:
        return None
    return [np.array(position) for position in product(*choices)]


def _neighbours(search: _Search, target: Array) -> Iterator[Array]:
    """One step of one control, then of two at once: the likeliest first.

    Likeliest: towards the relaxed position, then back to where it was. Two taps in series have the same
    effect to a first order, so that only both together find the better of two such positions.
    """
    controls, base, here = search.tick.problem.controls, search.tick.base, search.best.position
    lo, hi = controls.reach(base)
    single: list[tuple[int, float]] = []
    for k in np.argsort(-np.abs(target - here) / controls.step, kind="stable"):
        wanted = [np.sign(target[k] - here[k]), np.sign(base[k] - here[k]), 1.0, -1.0]
        for way in dict.fromkeys(w for w in wanted if w != 0 and np.isfinite(w)):
            there = controls.stepped(here[k], way, base[k], int(k))
            if lo[k] - 1e-9 <= there <= hi[k] + 1e-9:
                single.append((int(k), there))
    single.sort(key=lambda move: abs(move[1] - target[move[0]]) > abs(here[move[0]] - target[move[0]]))
    for moves in [*((m,) for m in single), *combinations(single, 2)]:
        position = here.copy()
        position[[k for k, _ in moves]] = [there for _, there in moves]
        if len({k for k, _ in moves}) == len(moves):
            yield position


def _relaxed(tick: Tick, base: DmsSolution, options: IpoptOptions | None) -> InteriorPoint | None:
    """The optimum with positions between whole steps allowed, None where Ipopt finds none."""
    free = tick.freed(np.ones(len(tick.problem.controls), dtype=bool), tick.position)
    starts: list[Numbers] = []
    if base.point is not None and base.point.converged:
        numbers = free.numbers(Regimes(base.state.flow.v))
        numbers.x0[:] = base.point.x
        starts.append(numbers)
    starts.append(start_numbers(free, tick.none_kw))
    for numbers in starts:
        point = optimise(free, numbers, options, method=methods.auto)
        if point.converged:
            return point
    return None


def _solve_at(tick: Tick, start: InteriorPoint | None, options: IpoptOptions | None) -> DmsSolution | None:
    """The certified optimum with the controls held at the tick's position, None where there is none."""
    screen = tick.state(tick.none_kw)
    if screen.within(0.0, 0.0) and not tick.problem.added:
        granted = publish(tick, tick.none_kw, "go_ahead", state=screen)
        if granted.certificate.ok:
            return granted
    brief = replace(options or IpoptOptions(), max_iter=CANDIDATE_ITERATIONS)
    method = methods.auto if tick.state(tick.most_kw).within() else methods.quick  # nothing may keep them
    for warm in (None,) if start is None else (start, None):
        if warm is None:
            numbers = start_numbers(tick, tick.none_kw)
        else:
            numbers = tick.numbers(Regimes(tick.problem.voltages_v(warm.x)))
            numbers.x0[:] = warm.x
        point = optimise(tick, numbers, brief, method=method)
        solution = from_point(tick, point, "discrete")
        if solution.status in ANSWERS:
            return solution
        if point.status is InteriorStatus.INFEASIBLE:
            return None
    return None


def _move_cost(tick: Tick, point: InteriorPoint) -> float:
    program = tick.problem.program
    moved = program.variables["moved"].span
    return float(program.cost_linear[moved] @ point.x[moved])
