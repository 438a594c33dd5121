"""A deferrable appliance: a fixed power for a number of ticks inside a window; once started it runs.

sum_k start_k + later + missed = 1,      start_k in {0, 1}: it starts at tick k
p_k = P sum_{j < n} start_{k-j}
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import scipy.sparse as sp

from hems.checks import not_a_sequence, not_numbers
from hems.devices.device import Block, Device, Floats, Numbers, Seen, at_ticks

if TYPE_CHECKING:
    from hems.config import HemsConfig
    from hems.tariff import Tariff


@dataclass(frozen=True)
class ApplianceBlock(Block):
    """One run: power kW, and the ticks that it takes."""

    p_kw: float
    run_ticks: int

    def sizes(self) -> dict[str, int]:
        """Start at each tick; after the horizon; never; and the power that follows is no variable."""
        return {"start": self.n_ticks, "later": 1, "missed": 1}

    def equations(self) -> sp.csr_array:
        """Return the one row."""
        return sp.csr_array(np.ones((1, self.n_cols)))

    def draw(self) -> sp.csr_array:
        """Return P at the ticks that follow each start."""
        lags = range(min(self.run_ticks, self.n_ticks))
        terms = [(j, 0, np.full(self.n_ticks - j, self.p_kw)) for j in lags]
        return at_ticks(self, *terms, n_rows=self.n_ticks)

    def cost(self, tariff: Tariff, config: HemsConfig) -> Floats:
        """Return what a run costs that is not (wholly) in the horizon.

        Its ticks behind the horizon are counted at the mean import price, else it would be put off for ever;
        to miss it costs ten times the dearest run.
        """
        price = tariff.import_price_per_kwh
        energy = self.dt_h * self.p_kw
        behind = np.maximum(np.arange(self.n_ticks) + self.run_ticks - self.n_ticks, 0)
        later = energy * float(price.mean())
        worst = energy * self.run_ticks * 10.0 * max(float(np.abs(price).max()), 0.1)
        return np.concatenate([later * behind, [later * self.run_ticks, worst]])

    def settle(self, y: Floats, numbers: Numbers) -> Floats:
        """Return the one choice that is most of `y`, of those that are open."""
        found = np.zeros(self.n_cols)
        found[int(np.argmax(np.where(numbers.hi > 0.5, y, -1.0)))] = numbers.rhs[0]
        return found

    def table(self, y: Floats, numbers: Numbers) -> dict[str, Floats]:
        """Return the power that follows from the start, and that of a run begun before."""
        return {"p_kw": self.draw() @ y + numbers.fixed_kw}

    def missed(self) -> tuple[str, ...]:
        """Return the run that never comes."""
        return ("missed",)

    def integer(self) -> tuple[str, ...]:
        """Return all of it."""
        return "start", "later", "missed"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A run wanted: it may begin at `earliest_tick`, and must have ended when `end_tick` begins."""

    earliest_tick: int
    end_tick: int


@dataclass(frozen=True)
class Progress:
    """State: which run is next or under way, ticks that it still has to run, and runs that were missed."""

    run: int = 0
    left: int = 0
    missed: int = 0


@dataclass(frozen=True, kw_only=True)
class Appliance(Device):
    """A dishwasher, washing machine ...: p_kw for run_ticks ticks, in each of the windows `runs`.

    runs   in order of time, not overlapping. A plan looks at the first of them that is not over
    """

    name: str
    p_kw: float
    run_ticks: int
    runs: tuple[Run, ...]

    def faults(self) -> list[str]:
        """Return what is wrong with the numbers and windows."""
        wrong = not_numbers(self, "p_kw", "run_ticks") + not_a_sequence(self, "runs", Run)
        if not wrong:
            each = [(i, not_numbers(run, "earliest_tick", "end_tick")) for i, run in enumerate(self.runs)]
            wrong = [f"runs[{i}].{fault}" for i, faults in each for fault in faults]
        if wrong:
            return wrong
        found = []
        if not 0 < self.p_kw < math.inf:
            found.append(f"p_kw={self.p_kw!r} must be positive and finite")
        if not (self.run_ticks >= 1 and float(self.run_ticks).is_integer()):
            return [*found, f"run_ticks={self.run_ticks!r} must be a whole number, at least 1"]
        for i, run in enumerate(self.runs):
            if not all(float(t).is_integer() for t in (run.earliest_tick, run.end_tick)):
                found.append(f"runs[{i}] must begin and end at whole ticks")
            elif not run.end_tick - run.earliest_tick >= self.run_ticks:
                found.append(f"runs[{i}] is shorter than its {self.run_ticks} ticks")
        for i, (a, b) in enumerate(itertools.pairwise(self.runs)):
            if not a.end_tick <= b.earliest_tick:
                found.append(f"runs[{i + 1}] must not begin before runs[{i}] ends, at {a.end_tick}")
        return found

    def block(self, n_ticks: int, dt_h: float) -> ApplianceBlock:
        """Return the choice of the start."""
        return ApplianceBlock(n_ticks, dt_h, self.p_kw, self.run_ticks)

    def start(self) -> Hashable:
        """Return the state before the first run."""
        return Progress()

    def numbers(self, seen: Seen, block: Block) -> Numbers:
        """Return the starts that are open; none while a run is under way or when all are over."""
        T, state = block.n_ticks, cast(Progress, seen.state)
        lo, hi, fixed = np.zeros(block.n_cols), np.zeros(block.n_cols), np.zeros(T)
        fixed[: state.left] = self.p_kw
        if state.left or state.run >= len(self.runs):
            return Numbers(lo, hi, np.zeros(1), fixed)
        run, tick = self.runs[state.run], seen.tick
        k = np.arange(T)
        last = run.end_tick - self.run_ticks - tick  # latest start, counted from now
        hi[block.col["start"]] = (k >= run.earliest_tick - tick) & (k <= last)
        hi[block.col["later"]] = last >= T
        hi[block.col["missed"]] = 1.0
        return Numbers(lo, hi, np.ones(1), fixed)

    def live(self, seen: Seen, y: Floats, *, power_kw: float, block: Block) -> Hashable:
        """Return the state after the tick: under way, over, or missed."""
        state = cast(Progress, seen.state)
        starts = not state.left and y[0] > 0.5
        left = self.run_ticks if starts else state.left
        if left:
            return Progress(state.run + (left == 1), left - 1, state.missed)
        over = state.run < len(self.runs) and (
            seen.tick + 1 > self.runs[state.run].end_tick - self.run_ticks
        )  # too late to start
        return Progress(state.run + over, 0, state.missed + over)
