"""A tick that a solver cannot take down: optimised in a child process, within a wall-clock budget.

What power flows alone decide is decided here; only a tick that needs an optimiser is forked. When the child
crashes or is over its budget, the answer is the ladder's safe fallback, found and certified by power flows,
and `DmsSolution.guard` says so. The rungs' own budgets are counts of iterations, so that answers do not
depend on the machine; this one is a guard against what never ends.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TypeVar

import numpy as np

from dms import child, ladder, methods
from dms.child import Lost
from dms.interior import IpoptOptions
from dms.problem import DmsProblem
from dms.request import DmsRequest
from dms.rungs import of_method
from dms.solution import DmsSolution
from dms.tick import Tick
from feeders.table import Array

log = logging.getLogger(__name__)

T = TypeVar("T")

BUDGET_S = 60.0
"""Default: two hundred times what a tick of case 2 takes, and a fifth of a five-minute tick."""


def solve_guarded(
    problem: DmsProblem,
    request: DmsRequest,
    *,
    warm: DmsSolution | None = None,
    options: IpoptOptions | None = None,
    position: Array | None = None,
    method: str = "auto",
    budget_s: float = BUDGET_S,
) -> DmsSolution:
    """`dms.solve`, and the safe fallback where its optimiser crashes or does not end in time.

    The same answer as `dms.solve` where the guard is not hit, `point` included, so that it serves as the
    next tick's `warm`. An exception of the optimiser is raised as it is. Where processes cannot be forked
    (Windows, macOS) the tick is solved in this process: no method is started when the budget is spent and
    Ipopt is stopped by it, but a crash is a crash.

    budget_s  seconds until the child is killed; from nine tenths on it starts nothing new. The fallback,
              some hundred power flows at most, comes on top
    Raises    as `dms.solve`, and ValueError for a budget that is not positive
    """
    child.require_budget(budget_s)
    rungs = of_method(method, problem)
    tick, answer = ladder.begin(problem, request, warm=warm, position=position)
    if answer is not None and ladder.is_settled(tick, answer):
        return answer

    options = ladder.within(tick, options, budget_s)

    def hold() -> DmsSolution:
        return ladder.hold(tick, answer, rungs=rungs, warm=warm, options=options)

    if not child.FORKS:
        return ladder.in_time(tick, ladder.move(tick, hold(), options), options, budget_s)
    methods.prepare(problem, all_methods=warm is not None)
    found = _guarded(tick, hold, budget_s)
    if isinstance(found, Lost):
        log.warning("the optimiser %s; set-points by power flows alone", found.reason)
        safe = answer or ladder.fallback(tick)
        found = replace(safe, guard=found.reason)
    elif len(problem.controls):
        found = _moved(tick, found, options, budget_s)
    found = found if found.guard else ladder.in_time(tick, found, options, budget_s)
    return replace(found, solve_s=time.perf_counter() - tick.began)


def _moved(tick: Tick, held: DmsSolution, options: IpoptOptions, budget_s: float) -> DmsSolution:
    """Taps and capacitor steps moved in a process of its own: where it is lost, `held` stands."""
    found = _guarded(tick, lambda: ladder.move(tick, held, options), budget_s)
    if not isinstance(found, Lost):
        return found
    log.warning("the search of taps and capacitor steps %s; they stay where they are", found.reason)
    return replace(held, guard=found.reason)


def _guarded(tick: Tick, work: Callable[[], DmsSolution], budget_s: float) -> DmsSolution | Lost:
    """In a child, within what is left of the tick's budget."""
    return child.run(work, budget_s, began=tick.began, shared=_shared(tick))


def guarded(work: Callable[[], T], budget_s: float) -> T | Lost:
    """Any other work of a solver, in a child process where there are some: its result, or why it is lost.

    Raises  whatever `work` raises, and ValueError for a budget that is not positive
    """
    child.require_budget(budget_s)
    return child.run(work, budget_s) if child.FORKS else work()


def _shared(tick: Tick) -> tuple[object, ...]:
    """What solutions of a tick hold of it: limits, and the tables of those that were widened or narrowed."""
    tables = [a for f in tick.nominal.families for a in vars(f).values() if isinstance(a, np.ndarray)]
    return tick.nominal, tick.values, *tables
