"""Stages: norms with several objectives, minimised one after the other by any method.

Stage k minimises its objective with what stage k-1 minimised held from above:

    held <= (1 + tolerance) (value that stage k-1 found)

so that each later objective chooses among the points that are as good as the tolerance allows for the ones
before. The point of the last stage is the answer; those before it are its `earlier` points.
"""

from __future__ import annotations

import logging
import time
from dataclasses import replace
from typing import Protocol

import numpy as np

from dms.interior import InteriorPoint, IpoptOptions
from dms.norms import cost_of_cutting, degree
from dms.problem import DmsProblem
from dms.program import Numbers, Program

log = logging.getLogger(__name__)

LEAST_ROOM_PU = 1e-9
"""What is held may always exceed the value found by this, of 1 MVA (a milliwatt): else nothing is inside."""


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
    iterations = 0
    for stage in range(program.stages):
        now = program.for_stage(stage)
        if stage:
            numbers = held(now, numbers, earlier[-1], problem.peak_tol)
            numbers.x0[:] = np.clip(earlier[-1].x, numbers.x_lo, numbers.x_hi)
        scale = objective_scale(problem, numbers, stage)
        start = _start(warm, stage, program.stages)
        point = method(now, numbers, objective_scale=scale, warm=start, options=options)
        iterations += point.iterations
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


def held(program: Program, numbers: Numbers, before: InteriorPoint, tolerance: float) -> Numbers:
    """Numbers of a stage: what it holds is bounded by the value that the stage before found.

    program  at the stage
    before   point of the stage before
    """
    name = program.objectives[program.stage].hold
    if name is None:
        return numbers
    span = program.variables[name].span
    value = np.maximum(before.x[span], 0.0)
    numbers = numbers.copy()
    most = value + np.maximum(tolerance * value, LEAST_ROOM_PU)
    numbers.x_hi[span] = np.minimum(numbers.x_hi[span], most)
    return numbers


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
