"""The optimisers of the DMS by name, as far as this version has them, and the plain Pyomo route."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import numpy as np

import dms
from anoca.studies.benching.plain_pyomo import PlainAnswer, solve_plain
from dms import Certificate, DmsProblem, DmsRequest, DmsSolution, certify
from dms.scaling import KW_PER_PU
from feeders.table import Array

REFERENCE = "ipopt"
PLAIN = "plain_pyomo"
PLAIN_NORMS = ("l1", "l2", "linf")
"""Norms with one objective; the others would be several models in turn."""
WITH_MODULE = {"auto": "dms.reduced", "reduced": "dms.reduced", "barrier": "dms.barrier"}


@dataclass(frozen=True)
class Answer:
    """What a method says about one tick.

    unit_curtail_kw  (n_units,) the optimiser's own, before rounding
    stages           seconds of the stages of the plain route
    """

    unit_curtail_kw: Array
    status: str
    rung: str
    iterations: int
    certificate: Certificate
    solution: DmsSolution | None = None
    stages: PlainAnswer | None = None


Method = Callable[[DmsProblem, DmsRequest, DmsSolution | None], Answer]
"""Problem, request and the last tick's solution, if any, to an answer."""


def methods() -> dict[str, Method]:
    """Those that can be asked for here, the reference first; `plain_pyomo` where casadi is installed."""
    found: dict[str, Method] = {REFERENCE: partial(_by_ladder, name=REFERENCE)}
    if _has_choice():
        for name, module in WITH_MODULE.items():
            if find_spec(module) is not None:
                found[name] = partial(_by_ladder, name=name)
    if find_spec("casadi") is not None:
        found[PLAIN] = _by_plain_pyomo
    return found


def _has_choice() -> bool:
    return "method" in inspect.signature(dms.solve).parameters


def _by_ladder(problem: DmsProblem, request: DmsRequest, warm: DmsSolution | None, *, name: str) -> Answer:
    choice = {"method": name} if _has_choice() else {}
    solution = dms.solve(problem, request, warm=warm, **choice)  # type: ignore[arg-type]
    return Answer(
        unit_curtail_kw=_unrounded(problem, request, solution),
        status=str(solution.status),
        rung=solution.method,
        iterations=solution.iterations,
        certificate=solution.certificate,
        solution=solution,
    )


def _unrounded(problem: DmsProblem, request: DmsRequest, solution: DmsSolution) -> Array:
    """The optimiser's curtailment where it had the last word, else the one sent."""
    if solution.point is None:
        return solution.unit_curtail_kw
    x = solution.point.x[problem.program.variables["p_curtail"].span] * KW_PER_PU
    return np.clip(x, 0.0, request.units.unit_export_kw(request.p_export_kw))


def _by_plain_pyomo(problem: DmsProblem, request: DmsRequest, warm: DmsSolution | None) -> Answer:
    """The plain route; it takes no warm start, and the certificate is made of its set-points afterwards."""
    found = solve_plain(problem, request)
    most = request.units.unit_export_kw(request.p_export_kw)
    curtail = np.clip(np.nan_to_num(found.unit_curtail_kw), 0.0, most)
    adjusted = request.p_export_kw - np.minimum(request.units.split_kw(curtail), request.p_export_kw)
    return Answer(
        unit_curtail_kw=curtail,
        status=found.status,
        rung=PLAIN,
        iterations=found.iterations,
        certificate=certify(problem.network, request, adjusted, problem.values),
        stages=found,
    )
