"""Rungs of the solve ladder: start points and methods, each of which may find the tick's optimum.

reduced_warm, reduced         the reduced method from the last tick's point, or from the power flow
barrier_warm, barrier         our sparse interior point, where many limits are near: from the last tick's
                              point (curved objectives), from half the export or none
interior_warm, interior       Ipopt from the last tick's point; from the power flow, its barrier adaptive
interior_zero_export          from the power flow of zero export, its barrier falling step by step
interior_displaced            the same from a start off every symmetry
interior_other_norm           from the optimum of l2, the easiest norm
interior_homotopy             along the exports, from none to all that is asked
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dms.interior import InteriorPoint, IpoptOptions
from dms.methods import METHODS, barrier_then_reduced
from dms.norms import follow, needs_request
from dms.problem import DmsProblem, compile
from dms.regimes import Regimes
from dms.request import CurtailUnit, Units
from dms.scaling import KW_PER_PU
from dms.solution import DmsSolution
from dms.tick import Tick, optimise, start_numbers
from feeders import Connections
from feeders.table import Array

Rung = Callable[[Tick, DmsSolution | None, IpoptOptions | None], InteriorPoint | None]
"""A point for the tick, None where the rung does not apply."""

FAR_PU = 0.05
"""Distance outside the band from which the requests are a worse start than zero export."""
ADAPTIVE_ITERATIONS = 150
"""Ipopt's with the adaptive barrier: where it works it needs 10 to 60, else it may wander for minutes."""
EXPORT_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Of the requests, one after the other."""
EASIEST, TOTAL = "l2", "l1"
"""Norms: the one that is always found, and the one with the most local optima."""
MANY = 1000
"""Homes from which two methods are one too many."""
HALF = 0.5


def is_far(tick: Tick) -> bool:
    """The requests are a worse start than zero export."""
    screen = tick.state(tick.none_kw)
    return not screen.flow.converged or screen.worst_over_v > FAR_PU


def _from_power_flow(tick: Tick, options: IpoptOptions | None, method: str) -> InteriorPoint:
    numbers = start_numbers(tick, tick.most_kw if is_far(tick) else tick.none_kw)
    return optimise(tick, numbers, options, method=METHODS[method])


def _from_last_tick(
    tick: Tick, warm: DmsSolution | None, options: IpoptOptions | None, method: str
) -> InteriorPoint | None:
    if warm is None or warm.point is None:
        return None
    numbers = tick.numbers(Regimes(warm.state.flow.v))
    return optimise(tick, numbers, options, warm=warm.point, method=METHODS[method])


def reduced_warm(tick: Tick, warm: DmsSolution | None, options: IpoptOptions | None) -> InteriorPoint | None:
    """The reduced method, from the last tick's curtailments and the limits that bound there."""
    return _from_last_tick(tick, warm, options, "reduced")


def reduced(tick: Tick, warm: DmsSolution | None, options: IpoptOptions | None) -> InteriorPoint | None:
    """The reduced method, from the power flow of the requests or of zero export."""
    return _from_power_flow(tick, options, "reduced")


def interior_warm(tick: Tick, warm: DmsSolution | None, options: IpoptOptions | None) -> InteriorPoint | None:
    """Ipopt from the last tick's point and multipliers."""
    return _from_last_tick(tick, warm, options, "ipopt")


def interior(tick: Tick, warm: DmsSolution | None, options: IpoptOptions | None) -> InteriorPoint | None:
    """Ipopt with an adaptive barrier, from the power flow of the requests or of zero export."""
    options = options or IpoptOptions()
    brief = replace(options, max_iter=min(options.max_iter, ADAPTIVE_ITERATIONS))
    return _from_power_flow(tick, brief, "ipopt")


def interior_zero_export(
    tick: Tick, warm: DmsSolution | None, options: IpoptOptions | None
) -> InteriorPoint | None:
    """Ipopt from the power flow of zero export, its barrier falling step by step."""
    return optimise(tick, start_numbers(tick, tick.most_kw), _monotone(options))


def interior_displaced(
    tick: Tick, warm: DmsSolution | None, options: IpoptOptions | None
) -> InteriorPoint | None:
    """A start off every symmetry: half the export, and every variable moved by up to 1 %."""
    numbers = start_numbers(tick, HALF * tick.most_kw)
    shift = np.random.default_rng(0).uniform(-1e-2, 1e-2, tick.problem.program.n)
    numbers.x0[:] += shift * np.maximum(np.abs(numbers.x0), 1e-2)
    return optimise(tick, numbers, _monotone(options))


def interior_other_norm(
    tick: Tick, warm: DmsSolution | None, options: IpoptOptions | None
) -> InteriorPoint | None:
    """Ipopt from the optimum of the easiest norm; None where that is the tick's own, or is not found."""
    if tick.problem.norm == EASIEST or tick.problem.added:
        return None
    other = in_norm(tick, EASIEST)
    easy = optimise(other, start_numbers(other, tick.most_kw), _monotone(options))
    if not easy.converged:
        return None
    curtail = easy.x[other.problem.program.variables["p_curtail"].span] * KW_PER_PU
    numbers = start_numbers(tick, np.clip(curtail, 0.0, tick.most_kw))
    return optimise(tick, numbers, options)


def interior_homotopy(
    tick: Tick, warm: DmsSolution | None, options: IpoptOptions | None
) -> InteriorPoint | None:
    """Ipopt along the exports: a share of the requests, then more, each from the point before."""
    point: InteriorPoint | None = None
    for share in EXPORT_SHARES:
        part = replace(tick, request=tick.request.exporting(share * tick.request.p_export_kw), outcomes={})
        part = tick if share == 1.0 else part
        numbers = start_numbers(part, part.most_kw)
        if point is not None:
            numbers.x0[:] = np.clip(point.x, numbers.x_lo, numbers.x_hi)
            follow(tick.problem.program, numbers.x0, tick.problem.weights, part.most_kw / KW_PER_PU)
        found = optimise(part, numbers, options)
        point = found if found.converged or share == 1.0 else point
    return point


def in_norm(tick: Tick, norm: str) -> Tick:
    """The same tick in another norm, controls held where they are."""
    problem, units = tick.problem, tick.problem.units
    single: CurtailUnit = "connection"
    each = Units.of(problem.feeder[Connections], single)
    other = compile(
        problem.controls.apply(problem.feeder, tick.position),
        norm=norm,
        limits=problem.limits,
        weights=dict(zip(units.name, problem.weights, strict=True)),
        curtail_unit=single if units.same_as(each) else "prosumer",
    )
    none: Array = np.zeros(0)
    return replace(tick, problem=other, base=none, position=none, free=False)


def _monotone(options: IpoptOptions | None) -> IpoptOptions:
    """The barrier falls step by step: slower where the adaptive rule works, and surer where it does not."""
    return replace(options or IpoptOptions(), mu_strategy="monotone")


def barrier_warm(tick: Tick, warm: DmsSolution | None, options: IpoptOptions | None) -> InteriorPoint | None:
    """Our barrier method from the last tick's point and multipliers; None short of the optimum.

    Only for a curved objective: a vertex is left and found again in no fewer iterations than from the middle.
    """
    if not tick.problem.program.for_stage(0).objective_curvature.any():
        return None
    point = _from_last_tick(tick, warm, options, "barrier")
    return point if point is not None and point.converged else None


def barrier(tick: Tick, warm: DmsSolution | None, options: IpoptOptions | None) -> InteriorPoint | None:
    """Our barrier method from the power flow of half the export, or of none; None short of the optimum."""
    numbers = start_numbers(tick, tick.most_kw if is_far(tick) else HALF * tick.most_kw)  # off every bound
    point = optimise(tick, numbers, options, method=barrier_then_reduced)
    return point if point.converged else None


RUNGS: dict[str, tuple[Rung, ...]] = {
    "reduced": (reduced_warm, reduced),
    "barrier": (barrier_warm, barrier),
    "ipopt": (
        interior_warm,
        interior,
        interior_zero_export,
        interior_displaced,
        interior_other_norm,
        interior_homotopy,
    ),
}
"""By method, in the order in which they are climbed."""
BRIEF: tuple[Rung, ...] = (reduced_warm, reduced, barrier, interior)
"""Those that are tried where most likely nothing keeps the limits."""


def barrier_first(problem: DmsProblem) -> bool:
    """A total over many homes: the reduced method ends at the first optimum that it meets from the requests.

    Among few homes both are asked and the better is taken (`dms.ladder`); among many that takes too long, and
    the barrier method's is the better one (J1, 1 393 homes: 1e-4 to 2e-3 less, docs/design.md).
    """
    return problem.norm == TOTAL and len(problem.units.name) > MANY


def of_method(method: str, problem: DmsProblem) -> list[Rung]:
    """The rungs of one method, or with "auto" of all that suit.

    The reduced method does not suit norms whose rows tie every curtailment to a control of its own: it gives
    up on them (case 2, proportional).
    Raises  KeyError  there is no such method
    """
    if method == "auto":
        tied = needs_request(problem.program)
        found = [rung for name, rungs in RUNGS.items() if not (tied and name == "reduced") for rung in rungs]
        if barrier_first(problem):
            found.remove(reduced)
            found.insert(found.index(barrier) + 1, reduced)
        return found
    if method not in RUNGS:
        raise KeyError(f"unknown method {method!r}; known: auto, {', '.join(RUNGS)}")
    return list(RUNGS[method])
