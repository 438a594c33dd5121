"""The `optimal` certificate: what is known, on demand, about how good a tick's answer is.

Only `dms.certificate` (safe or not) decides what may be published. This one says, apart:

    kkt          our own residuals of the optimality conditions at the optimiser's point  `dms.kkt`
    directional  small steps in the power flow find no better safe point                  `dms.directional`
    uniform      never worse than the mildest equal cap or percentage                     `dms.fallback`
    multistart   spread of local optima, if asked for                                     `dms.multistart`
    bound        a proven lower bound of the objective, where there is one                `dms.bound`

`optimal = "yes"` means that the first three found nothing wrong: a local optimum as far as they can
tell. Only a gap near zero says more.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from dms.bound import LowerBound, lower_bound
from dms.certificate import measure, run
from dms.directional import DirectionalTest, directional_test, held_objective
from dms.fallback import mildest_rule
from dms.kkt import KktResiduals, Multipliers, estimate_multipliers, kkt
from dms.multistart import Multistart, multistart
from dms.norms import follow
from dms.problem import DmsProblem
from dms.program import Numbers
from dms.regimes import Regimes
from dms.request import DmsRequest
from dms.scaling import KW_PER_PU
from dms.solution import DmsSolution, Status
from dms.stages import objective_scale
from dms.tick import ROUND_KW
from feeders.table import Array

Optimal = Literal["yes", "no", "not_tested"]

NO_WORSE = 1e-6
"""Relative: a uniform cap may be better by no more than rounding."""
SAME_OPTIMUM = 5e-3
"""Relative: how much better another local optimum must be to say so (several lie within 0.5 %, L1)."""
UNTESTED = (Status.INFEASIBLE, Status.NO_OPERATING_POINT, Status.UNCERTIFIED)
NOTHING_CURTAILED = KktResiduals(*(0.0,) * 8)


@dataclass(frozen=True)
class OptimalityCertificate:
    """What was found about a tick's answer.

    optimal           "yes": nothing wrong with KKT, directions and the uniform cap; "no": see `reasons`
    objective         of the set-points as sent, `DmsProblem.objective`
    kkt               residuals; None if not tested         estimated: its multipliers are our own estimate
    directional       the test by power flows; None if not tested
    uniform_rule      "uniform_cap", "uniform_share" or "zero_export", and its objective (inf where it exceeds
                      the peak that a norm of two stages holds)
    multistart        further local optima, None if not asked for
    bound             lower bound of the objective over all feasible points; None if not asked for
    reasons           why it is not optimal, or not tested
    seconds           what the certificate cost, apart from the tick's own time
    """

    optimal: Optimal
    objective: float
    reasons: tuple[str, ...]
    kkt: KktResiduals | None = None
    estimated: bool = False
    directional: DirectionalTest | None = None
    uniform_rule: str = ""
    uniform_objective: float = np.nan
    multistart: Multistart | None = field(repr=False, default=None)
    bound: LowerBound | None = None
    seconds: float = 0.0

    @property
    def kkt_residual(self) -> float:
        """The largest of stationarity, reduced gradient and complementarity; nan if not tested."""
        return self.kkt.worst if self.kkt else np.nan

    @property
    def spread(self) -> float:
        """(worst - best) / best of the local optima found; nan if not asked for."""
        return self.multistart.spread if self.multistart else np.nan

    @property
    def gap(self) -> float:
        """(objective - bound) / objective, 0 where the optimum is proven global; nan without a bound."""
        return self.bound.gap if self.bound else np.nan


def certify_optimal(
    problem: DmsProblem,
    request: DmsRequest,
    solution: DmsSolution,
    *,
    starts: int = 0,
    seed: int = 0,
    bound: bool = True,
) -> OptimalityCertificate:
    """Test a tick's answer; taps and capacitor steps are taken as they stand.

    starts  displaced start points of the multistart; 0: none
    bound   look for a lower bound (seconds on a feeder with 600 devices)
    seed    of what is drawn: directions, start points
    Raises  ValueError         the solution belongs to another problem
            IpoptMissingError  starts were asked for and cyipopt is not installed
    """
    if solution.unit_curtail_kw.shape != problem.units.name.shape:
        raise ValueError("the solution was found for other connections than the problem has")
    began = time.perf_counter()
    objective = problem.objective(solution.unit_curtail_kw, request)
    if solution.status in UNTESTED:
        return OptimalityCertificate("not_tested", objective, (f"status {solution.status}",))
    if solution.unit_curtail_kw.max(initial=0.0) <= 0:  # no objective is below zero
        trivial = LowerBound(0.0, 0.0, 0.0, 0)
        return OptimalityCertificate("yes", objective, (), NOTHING_CURTAILED, bound=trivial)
    numbers, x, multipliers, estimated = point_of(problem, request, solution)
    scale = objective_scale(problem, numbers)
    residuals = kkt(problem.program, numbers, x, multipliers, objective_scale=scale)
    lower = lower_bound(problem.program, numbers, x, multipliers, objective) if bound else None
    directional = directional_test(problem, request, solution, seed=seed)
    rule, uniform = _uniform(problem, request, solution)
    found = None
    if starts:
        found = multistart(problem, request, n=starts, seed=seed, position=solution.position)
    reasons = tuple(f"KKT: {reason}" for reason in residuals.reasons)
    reasons += _apart(problem, solution, x)
    if not directional.ok:
        reasons += (f"better by {directional.improvement:.2g}: {directional.direction}",)
    if objective > uniform * (1 + NO_WORSE):
        reasons += (f"worse than {rule} by {objective / uniform - 1:.2g}",)
    best = best_of(problem, request, solution, found) if found else np.inf
    if objective > best * (1 + SAME_OPTIMUM):
        reasons += (f"a local optimum is better by {1 - best / objective:.2g}",)
    return OptimalityCertificate(
        "no" if reasons else "yes",
        objective,
        reasons,
        residuals,
        estimated,
        directional,
        rule,
        uniform,
        found,
        lower,
        time.perf_counter() - began,
    )


def point_of(
    problem: DmsProblem, request: DmsRequest, solution: DmsSolution
) -> tuple[Numbers, Array, Multipliers, bool]:
    """Numbers, point (n,) of `Program` and multipliers of a solution; whether these are estimated.

    Without an optimiser's point (a uniform cap) it is the programme's power flow at the set-points.
    """
    point = solution.point
    if point is not None and point.numbers is not None:
        given = Multipliers.of(point)
        if given.known:
            return point.numbers, point.x, given, False
        return point.numbers, point.x, estimate_multipliers(problem.program, point.numbers, point.x), True
    held = solution.position if len(problem.controls) else None
    regimes = Regimes(solution.state.flow.v)
    numbers = problem.at(request, solution.values, regimes, base=held, position=held)
    x = problem.power_flow.solve(numbers, solution.unit_curtail_kw / KW_PER_PU).x
    follow(problem.program, x, problem.weights, numbers.x_hi[problem.program.variables["p_curtail"].span])
    return numbers, x, estimate_multipliers(problem.program, numbers, x), True


def _apart(problem: DmsProblem, solution: DmsSolution, x: Array) -> tuple[str, ...]:
    """A reason, if the set-points are further than rounding from the point that the residuals are of."""
    own = x[problem.program.variables["p_curtail"].span] * KW_PER_PU
    apart = float(np.abs(own - solution.unit_curtail_kw).max())
    per_unit = int(np.bincount(problem.units.of_connection).max())
    if apart <= 2 * ROUND_KW * per_unit + 1e-6:
        return ()
    return (f"set-points are {apart:.2g} kW away from the optimiser's point",)


def best_of(problem: DmsProblem, request: DmsRequest, solution: DmsSolution, found: Multistart) -> float:
    """The least objective of other local optima that hold what the solution holds; inf if there is none."""
    starts = [s.solution.unit_curtail_kw for s in found.starts if np.isfinite(s.objective)]
    return min((held_objective(problem, solution, curtail, request) for curtail in starts), default=np.inf)


def _uniform(problem: DmsProblem, request: DmsRequest, solution: DmsSolution) -> tuple[str, float]:
    """The mildest uniform rule that keeps the limits in force, and its objective."""
    network = problem.network_at(solution.position)
    units = request.units

    def is_safe(unit_curtail_kw: Array) -> bool:
        split = np.minimum(units.split_kw(unit_curtail_kw), request.p_export_kw)
        flow = run(network, request, split, start=solution.state.flow)
        return measure(network, flow, solution.values).within(0.0, 0.0)

    curtail_kw, rule = mildest_rule(units.unit_export_kw(request.p_export_kw), is_safe)
    return rule, held_objective(problem, solution, curtail_kw, request)
