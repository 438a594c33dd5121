"""Interleaved rounds of several methods in one process, medians, and ratios.

A machine that other work shares slows and speeds up by the minute. So the methods take turns, the order moves
on by one every round, and a ratio is the median over the rounds of the quotient *within* a round.
"""

from __future__ import annotations

import gc
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import numpy as np

from anoca.errors import InputError

T = TypeVar("T")

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
PATIENCE_S = 120.0
"""A method that has taken this long in one row's rounds takes no further turn."""


@dataclass(frozen=True)
class Work(Generic[T]):
    """One method: `prepare` is not timed and starts from nothing, `run` is timed and takes what it made.

    own_s  seconds and processor seconds by the outcome's own word, where the run does more than the method
    """

    prepare: Callable[[], object]
    run: Callable[[object], T]
    own_s: Callable[[T], tuple[float, float]] | None = None


@dataclass
class Rounds(Generic[T]):
    """What one method took, round by round, and its first outcome.

    seconds     by the number of the round         cpu_s      of the processor, which other work slows less
    prepare_s   of `Work.prepare`, likewise
    """

    seconds: dict[int, float] = field(default_factory=dict)
    cpu_s: dict[int, float] = field(default_factory=dict)
    prepare_s: dict[int, float] = field(default_factory=dict)
    outcome: T | None = None

    @property
    def median_s(self) -> float:
        """Median of the seconds, NaN without a round."""
        return median(self.seconds.values())

    @property
    def median_prepare_s(self) -> float:
        """Median of the seconds before the clock."""
        return median(self.prepare_s.values())


def median(values: object) -> float:
    """Median of some numbers; NaN of none."""
    numbers = np.array([float(v) for v in values])  # type: ignore[attr-defined]
    return float(np.median(numbers)) if len(numbers) else float("nan")


def interleaved(
    works: Mapping[str, Work[T]],
    runs: int,
    *,
    patience_s: float = PATIENCE_S,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Rounds[T]]:
    """Every method once a round, the order moved on by one; see `PATIENCE_S` for those that are slow."""
    names = list(works)
    found: dict[str, Rounds[T]] = {name: Rounds() for name in names}
    for k in range(runs):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            mine = found[name]
            if sum(mine.seconds.values()) > patience_s:
                continue
            began = clock()
            ready = works[name].prepare()
            gc.collect()
            started, cpu = clock(), time.process_time()
            outcome = works[name].run(ready)
            own = works[name].own_s
            took = (clock() - started, time.process_time() - cpu) if own is None else own(outcome)
            mine.seconds[k], mine.cpu_s[k] = took
            mine.prepare_s[k] = started - began
            if mine.outcome is None:
                mine.outcome = outcome
            del ready, outcome
    return found


def ratio(mine: Rounds[T], reference: Rounds[T]) -> float:
    """Median of the quotients of the rounds that both took part in; NaN where there is none."""
    both = mine.seconds.keys() & reference.seconds.keys()
    return median(mine.seconds[k] / reference.seconds[k] for k in sorted(both) if reference.seconds[k] > 0)


def on_one_thread() -> None:
    """For a script: start it again with one thread where that is not set; libraries read it as they load."""
    if any(os.environ.get(name) != "1" for name in THREAD_VARIABLES):
        one = dict.fromkeys(THREAD_VARIABLES, "1")
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **one})


def require_one_thread() -> None:
    """Times of one thread are compared with times of one thread.

    Raises  InputError  a numerical library may use more than one
    """
    more = [name for name in THREAD_VARIABLES if os.environ.get(name) != "1"]
    if more:
        raise InputError(
            f"benchmarks run on one thread: set {' '.join(f'{name}=1' for name in more)} before starting"
        )
