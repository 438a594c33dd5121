"""Stages: norms with several objectives, minimised one after the other by any method.

Stage k minimises its objective with what stage k-1 minimised held from above:

    held <= (1 + tolerance) (value that stage k-1 found)

so that each later objective chooses among the points that are as good as the tolerance allows for the ones
before. The point of the last stage is the answer; those before it are its `earlier` points.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import numpy as np

from dms.interior import InteriorPoint, IpoptOptions
from dms.norms import cost_of_cutting, degree
from dms.problem import DmsProblem
from dms.program import Numbers, Program
from feeders.table import Array

log = logging.getLogger(__name__)

LEAST_ROOM_PU = 1e-9
"""What is held may always exceed the value found by this, of 1 MVA (a milliwatt): else nothing is inside."""


MORE_ROOM = 10.0
"""Times the tolerance by way of which a stage is tried once more."""


class Method(Protocol):
    """An optimiser of one stage, as `dms.interior.solve`."""

    def __call__(
        self,
        program: Program,
        numbers: Numbers,
        *,
        objective_scale: float = 1.0,
        warm: InteriorPoint | None = None,
        options: IpoptOptions | None = None,
    ) -> InteriorPoint:
        """The programme at its stage, solved from `numbers.x0` or from `warm`."""
        ...


def solve(
    method: Method,
    problem: DmsProblem,
    numbers: Numbers,
    *,
    warm: InteriorPoint | None = None,
    options: IpoptOptions | None = None,
) -> InteriorPoint:
    """Minimise every stage of a problem's programme in turn.

    warm       the answer of an earlier call; each stage starts from its own point there
    Returns    the last stage's point, iterations and seconds of all. Where a later stage fails, the point of
               the one before, with the status of the failure: feasible, but not the optimum of the last
    """
    began = time.perf_counter()
    program = problem.program
    earlier: list[InteriorPoint] = []
    iterations, bounded = 0, numbers
    for stage in range(program.stages):
        now, scale = program.for_stage(stage), objective_scale(problem, numbers, stage)
        once = partial(_solve_held, method, now, w=problem.weights, objective_scale=scale, options=options)
        start = _start(warm, stage, program.stages)
        if not stage:
            tries = [once(numbers, warm=start)]
        else:
            roomy = held(problem, bounded, stage, earlier[-1], room=MORE_ROOM)
            bounded = held(problem, bounded, stage, earlier[-1])
            tries = _tries(once, bounded, roomy, start)
        point = tries[-1]
        iterations += sum(tried.iterations for tried in tries)
        if not point.converged:
            log.info("stage %d of %d: %s", stage + 1, program.stages, point.status)
            point = replace(earlier[-1], status=point.status) if earlier else point
            break
        earlier.append(point)
    return replace(
        point,
        objective=program.for_stage(program.stages - 1).objective(point.x),
        iterations=iterations,
        seconds=time.perf_counter() - began,
        earlier=tuple(earlier[: program.stages - 1]) if point.converged else (),
    )


def _tries(
    once: Callable[..., InteriorPoint], bounded: Numbers, roomy: Numbers, start: InteriorPoint | None
) -> list[InteriorPoint]:
    """A later stage: from where the one before ended; failing that, by way of the optimum with more room."""
    tries = [once(bounded, warm=start)]
    if not tries[-1].converged:
        tries.append(once(roomy, warm=None))
        if tries[-1].converged:
            near = bounded.copy()
            near.x0[:] = np.clip(tries[-1].x, near.x_lo, near.x_hi)
            tries.append(once(near, warm=None))
        else:
            tries.append(replace(tries[0], iterations=0))
    return tries


def held(
    problem: DmsProblem, numbers: Numbers, stage: int, before: InteriorPoint, *, room: float = 1.0
) -> Numbers:
    """Numbers of a stage: what it holds is bounded by the value that the stage before found; start there.

    before   point of the stage before           room   times the tolerance
    """
    program, name = problem.program, problem.program.objectives[stage].hold
    if name is None:
        return numbers
    numbers, span = numbers.copy(), program.variables[name].span
    value = np.maximum(before.x[span], 0.0)
    most = value + room * np.maximum(problem.peak_tol * value, LEAST_ROOM_PU)
    numbers.x_hi[span] = np.minimum(numbers.x_hi[span], most)
    numbers.x0[:] = np.clip(before.x, numbers.x_lo, numbers.x_hi)
    return numbers


def _solve_held(
    method: Method, program: Program, numbers: Numbers, *, w: Array, warm: InteriorPoint | None, **given: Any
) -> InteriorPoint:
    """One stage. A held peak bounds every curtailment by itself, P_C <= r / w, instead of by rows.

    With the rows, Ipopt needs twice the iterations, and often does not arrive where peak_tol is 1e-3 or less.
    The multipliers z of these bounds are handed out as those of the rows r - w P_C >= 0, -z / w, and of r <=
    (1 + peak_tol) r*, sum z / w: the same point of the same programme.
    """
    if given.get("options") is not None:
        given["options"] = given["options"].in_time  # every try has what is left of the tick's budget
    if program.objectives[program.stage].hold != "peak":
        return method(program, numbers, warm=warm, **given)
    peak, curtail = program.variables["peak"].start, program.variables["p_curtail"].span
    rows, most = program.rows["peak_above"].span, numbers.x_hi[curtail]
    short = numbers.copy()
    short.x_lo[peak] = short.x_hi[peak]
    short.x_hi[curtail] = np.minimum(most, numbers.x_hi[peak] / w)
    short.row_lo[rows] = -np.inf
    if warm is not None:
        upper, of_rows = warm.upper_multipliers.copy(), warm.row_multipliers.copy()
        upper[curtail] -= w * of_rows[rows]
        of_rows[rows] = 0.0
        warm = replace(warm, upper_multipliers=upper, row_multipliers=of_rows)
    point = method(program, short, warm=warm, **given)
    of_rows, upper = point.row_multipliers.copy(), point.upper_multipliers.copy()
    lower = point.lower_multipliers.copy()
    z = np.where(short.x_hi[curtail] < most, upper[curtail], 0.0)
    upper[curtail] -= z
    of_rows[rows] = -z / w
    upper[peak], lower[peak] = float(np.sum(z / w)), 0.0
    return replace(
        point, numbers=numbers, row_multipliers=of_rows, upper_multipliers=upper, lower_multipliers=lower
    )


def objective_scale(problem: DmsProblem, numbers: Numbers, stage: int = -1) -> float:
    """What a stage's objective is multiplied by so that an optimiser's tolerances mean something.

    A curtailment of 1 % of the largest export counts as one: Ipopt's default tolerance leaves the total
    of an L2 optimum 5-15 % too high on unscaled squares (docs/design.md). One absurd request among
    ordinary ones does not set the scale.
    """
    program = problem.program.for_stage(range(problem.program.stages)[stage])
    most = numbers.x_hi[program.variables["p_curtail"].span]
    power = degree(program)
    cost = cost_of_cutting(program, problem.weights, most, 0.01)
    if not (cost > 0).any():
        return 1.0
    typical = float(np.median(cost[cost > 0]))
    return 1.0 / max(min(float(cost.max()), 100.0**power * typical), 1e-11**power)


def _start(warm: InteriorPoint | None, stage: int, stages: int) -> InteriorPoint | None:
    """The earlier call's point of the same stage, None where there is none."""
    if warm is None or len(warm.earlier) != stages - 1:
        return None
    return (*warm.earlier, warm)[stage]
