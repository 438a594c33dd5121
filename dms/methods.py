"""Optimisers by name, each a `dms.stages.Method`, and `auto`, which takes the quickest that suits."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from dms import barrier, interior, reduced
from dms.adjoint import Sensitivity
from dms.interior import InteriorPoint, IpoptOptions
from dms.newton import system_of
from dms.problem import DmsProblem
from dms.program import Numbers, Program
from dms.stages import Method

log = logging.getLogger(__name__)

NEARER = 1e-5
"""Distance from its bounds, relative, at which the barrier method starts from an optimum."""


def by_reduced(
    program: Program,
    numbers: Numbers,
    *,
    objective_scale: float = 1.0,
    warm: InteriorPoint | None = None,
    options: IpoptOptions | None = None,
) -> InteriorPoint:
    """The reduced method (`dms.reduced`); `LIMIT` at once where too many limits are near."""
    return reduced.solve(program, numbers, objective_scale=objective_scale, warm=warm)


def by_barrier(
    program: Program,
    numbers: Numbers,
    *,
    objective_scale: float = 1.0,
    warm: InteriorPoint | None = None,
    options: IpoptOptions | None = None,
) -> InteriorPoint:
    """Our sparse interior point (`dms.barrier`)."""
    return barrier.solve(program, numbers, objective_scale=objective_scale, warm=warm, options=options)


def by_ipopt(
    program: Program,
    numbers: Numbers,
    *,
    objective_scale: float = 1.0,
    warm: InteriorPoint | None = None,
    options: IpoptOptions | None = None,
) -> InteriorPoint:
    """Ipopt (`dms.interior`)."""
    return interior.solve(program, numbers, objective_scale=objective_scale, warm=warm, options=options)


def _first(by_name: dict[str, Method], program: Program, numbers: Numbers, **given: Any) -> InteriorPoint:
    """The first of some methods that ends at an optimum, or the last one's point."""
    for name, method in by_name.items():
        point = method(program, numbers, **given)
        if point.converged:
            break
        log.info("%s: %s", name, point.status)
    return point


def barrier_then_reduced(program: Program, numbers: Numbers, **given: Any) -> InteriorPoint:
    """The barrier method; at later stages the reduced one first, from the optimum where they start.

    A later stage has little room beside that optimum. From a start further off its bounds the barrier method
    lost its way in four of eight (M1, 1 470 homes, 1 % above the least peak), from nearer in none.
    """
    nearer = partial(barrier.solve, push=NEARER)
    first: dict[str, Method] = {"barrier": by_barrier}
    later: dict[str, Method] = {"reduced": by_reduced, "barrier, near": nearer, "barrier": by_barrier}
    return _first(later if program.stage else first, program, numbers, **given)


def prepare(problem: DmsProblem, *, all_methods: bool) -> None:
    """Make now what the methods derive from the structure alone: a fork inherits it and cannot return it.

    all_methods  also for those that most ticks do without
    """
    made = [problem.network, problem.power_flow, Sensitivity.of(problem.program)]
    if all_methods:
        made.append(system_of(problem.program))
    log.debug("prepared: %s", ", ".join(type(one).__name__ for one in made))


METHODS: dict[str, Method] = {"reduced": by_reduced, "barrier": by_barrier, "ipopt": by_ipopt}
"""In the order in which `auto` tries them."""

auto: Method = partial(_first, METHODS)
"""Reduced where few limits are near, then the others."""
quick: Method = partial(_first, {name: METHODS[name] for name in ("reduced", "barrier")})
"""The same without Ipopt, which takes long to say that nothing keeps the limits."""
