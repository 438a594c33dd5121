"""A test of optimality that shares nothing with the optimiser: small steps in the power flow.

Set-points are moved by about a per cent along many directions; each is held against the limits by
`dms.certificate`'s power flow, the derivatives needed for trades are its finite differences. One safe
point that is better proves the set-points not optimal; finding none proves nothing, and says how many
were tried.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from dms.certificate import State, measure, other_flows, run
from dms.network import Network
from dms.norms import follow
from dms.problem import DmsProblem
from dms.request import DmsRequest
from dms.scaling import KW_PER_PU
from dms.solution import DmsSolution
from feeders.table import Array

STEPS = (1e-2, 1e-3, 1e-4)
"""Sizes of a step, relative to the curtailments moved."""
BETTER = 1e-5
"""Relative gain from which a point counts as better: set-points are sent in whole milliwatts."""
BETTER_KW = 1e-4
"""The same for a total of a few watts."""
NEAR = 5e-3
"""Limits within this of their end, pu or relative, are watched when one home's kilowatt buys another's."""
SPARE = 1.02
"""What is taken in exchange, over what finite differences ask for."""
ROUNDING_PU = 1e-12
SPARE_SHARE = 1e-4
"""A point is safe if it keeps every limit as well as the set-points do, give or take this share of what a
certificate forgives."""
RELEASED, TAKING, TRADES, RANDOM = 12, 12, 24, 16
"""Most curtailed units, further units drawn at random, trades tried, random directions tried."""


@dataclass(frozen=True)
class DirectionalTest:
    """Outcome.

    tried            directions held against the limits by a power flow
    improvement      best gain of a safe point, relative to the objective; 0: none was found
    direction        what was moved for it, in words
    p_curtail_kw     (n_units,) the better point, None if there is none
    """

    tried: int
    improvement: float
    direction: str
    p_curtail_kw: Array | None = field(repr=False, default=None)

    @property
    def ok(self) -> bool:
        """No better safe point was found."""
        return self.p_curtail_kw is None


@dataclass(frozen=True)
class _Move:
    """Released units (weights of their curtailment) and, for it, curtailed ones, (n_units,) kW."""

    name: str
    release_kw: Array
    take_kw: Array


def directional_test(
    problem: DmsProblem, request: DmsRequest, solution: DmsSolution, *, seed: int = 0
) -> DirectionalTest:
    """Look for a better safe point near the set-points of a solution.

    release  each of the most curtailed units, those at the peak, all of them
    trade    release as before, and curtail one other unit by what the limits ask for in exchange
    mixed    release a random mixture, curtail another
    random   any direction at all, orthogonal to nothing

    seed  of the units and mixtures that are drawn
    """
    request = request.holding(solution.q_set_kvar)  # where reactive power is free it stays as it is
    return _Search(problem, request, solution, np.random.default_rng(seed)).best()


def held_objective(
    problem: DmsProblem, solution: DmsSolution, unit_curtail_kw: Array, request: DmsRequest
) -> float:
    """`DmsProblem.objective` of a curtailment (n_units,); infinite where it exceeds what earlier stages hold.

    Norms with several objectives (`dms.stages`) hold the peak of the first; only points within it compare.
    Where the norm is proportional, neither do shares that differ.
    """
    most_kw = request.units.unit_export_kw(request.p_export_kw)
    program, point = problem.program, solution.point
    held = [program.variables[o.hold].span for o in program.objectives if o.hold is not None]
    if held and point is not None and point.numbers is not None:
        x, own = np.zeros((2, program.n))
        curtail = program.variables["p_curtail"].span
        x[curtail], own[curtail] = unit_curtail_kw / KW_PER_PU, solution.unit_curtail_kw / KW_PER_PU
        for values in (x, own):
            follow(program, values, problem.weights, most_kw / KW_PER_PU)
        for span in held:
            if (x[span] > np.maximum(point.numbers.x_hi[span], own[span]) + ROUNDING_PU).any():
                return np.inf
    if "same_share" in program.rows:
        same = most_kw * (unit_curtail_kw.sum() / max(float(most_kw.sum()), 1e-12))
        if np.abs(unit_curtail_kw - same).max(initial=0.0) > BETTER_KW:
            return np.inf
    return problem.objective(unit_curtail_kw, request)


class _Search:
    def __init__(
        self, problem: DmsProblem, request: DmsRequest, solution: DmsSolution, rng: np.random.Generator
    ) -> None:
        self.problem, self.request, self.solution, self.rng = problem, request, solution, rng
        self.network: Network = problem.network_at(solution.position)
        self.most_kw = request.units.unit_export_kw(request.p_export_kw)
        self.here_kw = np.clip(solution.unit_curtail_kw, 0.0, self.most_kw)
        self.objective = self.cost(self.here_kw)
        # Limit by limit: where multipliers are large, what one exceeds by rounding would buy others much.
        here = solution.state
        families = zip(here.values.families, here.over, strict=True)
        self.allowed = [np.maximum(over, 0.0) + SPARE_SHARE * f.tolerance for f, over in families]
        self.tried = 0

    def cost(self, unit_curtail_kw: Array) -> float:
        """The objective; infinite above what a stage before has fixed."""
        return held_objective(self.problem, self.solution, unit_curtail_kw, self.request)

    def state(self, unit_curtail_kw: Array) -> State:
        """Power flow at a curtailment, held against the limits in force."""
        split = np.minimum(self.request.units.split_kw(unit_curtail_kw), self.request.p_export_kw)
        flow = run(self.network, self.request, split, start=self.solution.state.flow)
        return measure(self.network, flow, self.solution.values)

    def is_safe(self, unit_curtail_kw: Array) -> bool:
        """Inside every limit as well as the set-points are, in every state that is found."""
        state = self.state(unit_curtail_kw)
        if not self._within(state):
            return False
        split = self.request.units.split_kw(unit_curtail_kw)
        others = other_flows(self.network, self.request, split, state.flow)
        values = self.solution.values
        return all(self._within(measure(self.network, f, values)) for f in others)

    def _within(self, state: State) -> bool:
        kept = (bool((over <= most).all()) for over, most in zip(state.over, self.allowed, strict=True))
        return state.flow.converged and all(kept)

    def best(self) -> DirectionalTest:
        """Try everything; keep the largest gain."""
        gain, where, point = 0.0, "", None
        least = max(BETTER * self.objective, self._least_gain())
        if self.objective <= 0 or self.here_kw.sum() <= BETTER_KW:
            return DirectionalTest(0, 0.0, "")
        for name, there_kw in self._points():
            found = self.objective - self.cost(there_kw)
            if found <= max(least, gain):
                continue
            self.tried += 1
            if self.is_safe(there_kw):
                gain, where, point = found, name, there_kw
        return DirectionalTest(self.tried, gain / self.objective, where, point)

    def _least_gain(self) -> float:
        """Of a uniform tenth of a watt in all, by the degree of the norm."""
        total = float(self.here_kw.sum())
        return self.objective - self.cost(self.here_kw * (1 - min(BETTER_KW / max(total, 1e-12), 1.0)))

    def _points(self) -> Iterator[tuple[str, Array]]:
        """Names and curtailments to try, without regard to limits."""
        trades = self._best_trades()
        for step in STEPS:
            for move in (*self._releases(), *trades, *self._mixtures()):
                yield move.name, self._stepped(move, step)
        scale = np.maximum(self.here_kw, 1e-2 * self.here_kw.max())
        for k in range(RANDOM):
            direction = self.rng.normal(size=len(scale)) * scale
            for sign in (1, -1):
                there = np.clip(self.here_kw + sign * STEPS[0] * direction, 0.0, self.most_kw)
                yield f"random {k + 1}", there

    def _stepped(self, move: _Move, step: float) -> Array:
        return np.clip(self.here_kw + step * (move.take_kw - move.release_kw), 0.0, self.most_kw)

    # Directions ---------------------------------------------------------------------------

    def _releases(self) -> Iterator[_Move]:
        nothing = np.zeros(len(self.here_kw))
        yield _Move("release all", self.here_kw, nothing)
        weighted = self.problem.weights * self.here_kw
        at_peak = np.where(weighted >= 0.999 * weighted.max(), self.here_kw, 0.0)
        if 1 < np.count_nonzero(at_peak) < np.count_nonzero(self.here_kw):
            yield _Move("release all at the peak", at_peak, nothing)
        for k in self._most_curtailed:
            yield _Move(f"release {self.problem.units.name[k]}", _only(self.here_kw, k), nothing)

    def _best_trades(self) -> list[_Move]:
        """Releases, each paid for by one other unit; those that promise most, some in any case."""
        found: list[tuple[float, _Move]] = []
        for move in self._releases():
            for k in self._watched:
                if move.release_kw[k] > 0:
                    continue
                take = self._in_exchange(move.release_kw, _only(self.most_kw, k))
                if take is not None:
                    name = f"{move.name}, curtail {self.problem.units.name[k]}"
                    trade = _Move(name, move.release_kw, take)
                    found.append((self.cost(self._stepped(trade, STEPS[1])), trade))
        return [trade for _, trade in sorted(found, key=lambda pair: pair[0])[:TRADES]]

    def _mixtures(self) -> Iterator[_Move]:
        chosen = np.array(self._watched, dtype=int)
        for k in range(RANDOM):
            released, taken = np.zeros(len(self.here_kw)), np.zeros(len(self.here_kw))
            part = self.rng.random(len(chosen)) < 0.5
            released[chosen[part]] = self.here_kw[chosen[part]] * self.rng.random(int(part.sum()))
            taken[chosen[~part]] = self.rng.random(int((~part).sum()))
            take = self._in_exchange(released, taken)
            if take is not None and released.any():
                yield _Move(f"mixture {k + 1}", released, take)

    def _in_exchange(self, release_kw: Array, by: Array) -> Array | None:
        """As much of `by` (n_units,) as keeps the limits that stand near when `release_kw` is released."""
        index = self._watched
        pushed = -(self._slopes @ release_kw[index])
        eased = -(self._slopes @ by[index])
        outside = np.delete(release_kw, index).any()
        if outside or (eased[pushed > 0] <= 1e-12 * max(np.abs(pushed).max(initial=0.0), 1e-12)).any():
            return None
        need = (pushed[pushed > 0] / eased[pushed > 0]).max(initial=0.0)
        return SPARE * need * by if need > 0 else None

    # Finite differences ---------------------------------------------------------------------

    @cached_property
    def _most_curtailed(self) -> list[int]:
        order = np.argsort(-self.problem.weights * self.here_kw, kind="stable")[:RELEASED]
        return [int(k) for k in order if self.here_kw[k] > 0]

    @cached_property
    def _watched(self) -> list[int]:
        """The most curtailed units, and some of the others drawn at random."""
        rest = np.setdiff1d(np.flatnonzero(self.most_kw > 0), self._most_curtailed)
        drawn = self.rng.choice(rest, min(TAKING, len(rest)), replace=False) if len(rest) else rest
        return [*self._most_curtailed, *(int(k) for k in np.sort(drawn))]

    @cached_property
    def _slopes(self) -> Array:
        """Rise of every near limit per kW curtailed of every watched unit, (n_near, n_watched)."""
        here = self.solution.state
        over = np.concatenate(here.over)
        near = over >= -NEAR
        slopes = np.zeros((int(near.sum()), len(self._watched)))
        for column, k in enumerate(self._watched):
            # Towards the side where there is room.
            step = 1e-3 * self.most_kw[k] * (1 if self.here_kw[k] < 0.5 * self.most_kw[k] else -1)
            there = self.state(self.here_kw + step * _only(np.ones(len(self.here_kw)), k))
            slopes[:, column] = (np.concatenate(there.over) - over)[near] / step
        return slopes


def _only(values: Array, k: int) -> Array:
    """All zero but entry k."""
    result = np.zeros(len(values))
    result[k] = values[k]
    return result
