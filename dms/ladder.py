"""The solve ladder: which method next when one fails, and what is published in the end.

    go_ahead              power flow with nothing curtailed keeps every limit
    reduced ... interior_homotopy    optimisers and start points, in the order of `dms.rungs.RUNGS`
    uniform_cap           the mildest equal cap, by power flows alone: safe, not optimal
    uniform_share         the mildest equal percentage, likewise, where it costs less
    zero_export           every export at zero; always an answer under preexisting = "relax"

A rung's answer counts only if `dms.certificate` finds it safe at the set-points as sent. A safe
point at which a method stopped before the optimum is kept for the case that no rung gets further.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dms import discrete
from dms.certificate import BAND_TOLERANCE_PU, CURRENT_TOLERANCE
from dms.child import over_budget, require_budget
from dms.devices.inverter import require_within_rating
from dms.fallback import mildest_rule
from dms.interior import IpoptOptions
from dms.problem import DmsProblem
from dms.request import DmsRequest
from dms.rungs import (
    BRIEF,
    TOTAL,
    Rung,
    barrier,
    barrier_first,
    interior,
    interior_zero_export,
    of_method,
    reduced,
)
from dms.solution import DmsSolution, Status
from dms.tick import Tick, from_point, keeps_limits, publish, with_limits_in_force
from feeders import Connections
from feeders.table import Array

log = logging.getLogger(__name__)

MUCH = 0.05
"""Share curtailed from which a second optimum of a total is looked for."""
FORGIVEN = (0.0, 0.9)
"""Shares of a certificate's tolerances by which the safe fallback may lie beyond limits, tried in turn."""
IN_TIME = 0.9
"""Share of a wall-clock budget after which nothing new is started; the rest is for what is under way."""


def solve(
    problem: DmsProblem,
    request: DmsRequest,
    *,
    warm: DmsSolution | None = None,
    options: IpoptOptions | None = None,
    position: Array | None = None,
    method: str = "auto",
    budget_s: float = math.inf,
) -> DmsSolution:
    """One tick: the least curtailment (in the problem's norm) that keeps every limit, certified.

    Controls, if the problem has any, are tried after the answer that leaves them where they are; where
    zero export breaks limits there, first with the limits as they are.

    warm      the last tick's solution of the same problem
    position  (n_controls,) where taps and capacitor steps are; default: as the feeder has them
    method    "auto", or the one of `dms.methods` that alone may be used before the safe fallback; "barrier"
              leaves the later stages of a norm to the reduced method where that can end them
    budget_s  seconds after which no further method is started and Ipopt is stopped; see `dms.guard`
    Returns  `DmsSolution`; `status` and `certificate` say what it is worth
    Raises   IpoptMissingError  curtailment is needed and cyipopt is not installed
             KeyError           an unknown method
             ValueError         the request, `warm` or `position` belongs to another problem, or the
                                budget is not positive
    """
    require_budget(budget_s)
    rungs = of_method(method, problem)
    tick, answer = begin(problem, request, warm=warm, position=position)
    if answer is not None and is_settled(tick, answer):
        return answer
    options = within(tick, options, budget_s)
    held = hold(tick, answer, rungs=rungs, warm=warm, options=options)
    return in_time(tick, move(tick, held, options), options, budget_s)


def begin(
    problem: DmsProblem,
    request: DmsRequest,
    *,
    warm: DmsSolution | None = None,
    position: Array | None = None,
) -> tuple[Tick, DmsSolution | None]:
    """The tick with its limits in force, and what power flows alone answer, None where they leave it open.

    Raises  ValueError  the request, `warm` or `position` belongs to another problem
    """
    began = time.perf_counter()
    here = problem.controls.present(problem.feeder) if position is None else np.asarray(position, dtype=float)
    _check_fit(problem, request, warm, here)
    network = problem.network_at(here)
    tick = Tick(problem, request, here, here, network, began, problem.limits_at(request, network))
    if (granted := _go_ahead(tick)) is not None:
        return tick, granted
    tick, operating = with_limits_in_force(tick)
    if not operating:
        return tick, _give_up(tick, Status.NO_OPERATING_POINT)
    free = "q_free" in problem.program.variables  # reactive power may end what zero export breaks
    return tick, _go_ahead(tick) if tick.relaxed and not free else None


def is_settled(tick: Tick, answer: DmsSolution) -> bool:
    """The answer of `begin` stands: there are no controls that could better it."""
    return not len(tick.problem.controls) or (answer.status is Status.GO_AHEAD and not tick.relaxed)


def within(tick: Tick, options: IpoptOptions | None, budget_s: float) -> IpoptOptions:
    """The optimiser's options, nothing new begun after nine tenths of the tick's budget."""
    return replace(options or IpoptOptions(), until=tick.began + IN_TIME * budget_s)


def hold(
    tick: Tick,
    answer: DmsSolution | None,
    *,
    rungs: Sequence[Rung],
    warm: DmsSolution | None,
    options: IpoptOptions,
) -> DmsSolution:
    """What `begin` left open, controls held where they are."""
    return answer or _climb(tick, rungs, warm, options)


def in_time(tick: Tick, solution: DmsSolution, options: IpoptOptions, budget_s: float) -> DmsSolution:
    """The solution, which says so if the budget was spent before all was tried."""
    whole = solution.status is Status.CURTAILED and not len(tick.problem.controls)
    return replace(solution, guard=over_budget(budget_s)) if options.spent and not whole else solution


def move(tick: Tick, solution: DmsSolution, options: IpoptOptions) -> DmsSolution:
    """The better of an answer that leaves the controls alone and what moving them gives."""
    if not len(tick.problem.controls):
        return solution
    if tick.relaxed:  # a tap may end what zero export breaks: limits are widened only where none does
        nominal = replace(tick, values=tick.nominal, relaxed=False)
        found = discrete.improve(nominal, solution, options)
        if found.certificate.safe == "yes" and found.status in discrete.ANSWERS:
            return found
    return solution if solution.status is Status.GO_AHEAD else discrete.improve(tick, solution, options)


def _go_ahead(tick: Tick) -> DmsSolution | None:
    """Nothing curtailed, where that keeps every limit in force."""
    screen = tick.state(tick.none_kw)
    if not screen.within(0.0, 0.0) or tick.problem.added:
        return None
    granted = publish(tick, tick.none_kw, "go_ahead", state=screen)
    return granted if granted.certificate.ok else None  # loads may have another state that keeps no limit


def _climb(tick: Tick, rungs: Sequence[Rung], warm: DmsSolution | None, options: IpoptOptions) -> DmsSolution:
    """The rungs in turn, controls held."""
    problem = tick.problem
    if tick.preexisting and "q_free" in problem.program.variables:
        kept = _by_reactive_power(tick, options) or (_go_ahead(tick) if tick.relaxed else None)
        if kept is not None:
            return kept
    # Under "strict" a limit that zero export breaks may still be kept by some export: an undervoltage, say.
    blocked = problem.limits.preexisting == "strict" and bool(tick.preexisting)
    if blocked:
        rungs = [*(rung for rung in rungs if rung in BRIEF), *(rung for rung in rungs if rung not in BRIEF)]
    short: list[tuple[float, DmsSolution]] = []  # safe, but the method stopped before the optimum
    for rung in rungs:
        if blocked and not short and rung not in BRIEF:
            break
        if options.spent:
            log.warning("the wall-clock budget is spent before %s", rung.__name__)
            break
        point = rung(tick, warm, options)
        if point is None:
            continue
        if not point.converged and not keeps_limits(tick, point):
            log.info("%s: %s after %d iterations", rung.__name__, point.status, point.iterations)
            continue
        solution = from_point(tick, point, rung.__name__)
        log.info(
            "%s: %s after %d iterations, certificate %s",
            *(solution.method, point.status, point.iterations, solution.certificate.safe),
        )
        if solution.status is Status.CURTAILED:
            second = rung is reduced and barrier in rungs
            return _or_second(tick, solution, options) if second else solution
        if solution.certificate.ok:
            short.append((point.objective, solution))
    answer = min(short, key=lambda found: found[0])[1] if short else fallback(tick)
    if blocked and not answer.certificate.ok and not options.spent:
        return _give_up(tick, Status.INFEASIBLE)
    return answer


def _or_second(tick: Tick, first: DmsSolution, options: IpoptOptions) -> DmsSolution:
    """The better of two local optima of a total, where much is curtailed (weak sources, meshes).

    From the requests the reduced method ends at the first one that it meets; the barrier method comes from
    the middle (docs/design.md).
    """
    much = first.unit_curtail_kw.sum() >= MUCH * tick.most_kw.sum()
    if tick.problem.norm != TOTAL or not much or barrier_first(tick.problem):
        return first
    point = barrier(tick, None, options)
    if point is None:
        return first
    second = from_point(tick, point, barrier.__name__)
    mine, other = (tick.problem.objective(one.unit_curtail_kw, tick.request) for one in (first, second))
    return second if second.status is Status.CURTAILED and other < mine else first


def _by_reactive_power(tick: Tick, options: IpoptOptions | None) -> DmsSolution | None:
    """The optimum with every limit as it is: free reactive power may end what zero export breaks."""
    nominal = replace(tick, values=tick.nominal, relaxed=False)
    for rung in (interior, interior_zero_export):
        point = rung(nominal, None, options)
        if point is not None and point.converged:
            solution = from_point(nominal, point, rung.__name__)
            if solution.status is Status.CURTAILED and solution.certificate.safe == "yes":
                return solution
    return None


def _check_fit(problem: DmsProblem, request: DmsRequest, warm: DmsSolution | None, position: Array) -> None:
    if not request.units.same_as(problem.units):
        raise ValueError("the request was made for other connections; use problem.request(...)")
    if warm is not None and not _fits(problem, warm):
        raise ValueError("the warm start was solved for another feeder, norm or set of limits")
    if position.shape != (len(problem.controls),) or not np.isfinite(position).all():
        raise ValueError(
            f"{position.size} positions for {len(problem.controls)} controls; give a number each"
        )
    problem.controls.check(position)
    require_within_rating(problem.feeder[Connections], request)


def _fits(problem: DmsProblem, warm: DmsSolution) -> bool:
    """An earlier solution is of this problem: its norm, its homes in their order, its variables."""
    same = warm.norm == problem.norm and np.array_equal(warm.unit_name, problem.units.name)
    return same and (warm.point is None or len(warm.point.x) == problem.program.n)


def fallback(tick: Tick) -> DmsSolution:
    """The mildest equal cap or percentage that a power flow finds safe; at the last, zero export.

    Where none keeps every limit to the last digit, one that a certificate forgives.
    """
    for share in FORGIVEN:
        band, current = share * BAND_TOLERANCE_PU, share * CURRENT_TOLERANCE

        def is_safe(unit_curtail_kw: Array, band: float = band, current: float = current) -> bool:
            return tick.state(unit_curtail_kw).within(band, current)

        found = publish(tick, *mildest_rule(tick.most_kw, is_safe))
        if found.certificate.ok:
            break
    return found


def _give_up(tick: Tick, status: Status) -> DmsSolution:
    """Zero export with the reason why there is nothing better."""
    return replace(publish(tick, tick.most_kw, "zero_export"), status=status)
