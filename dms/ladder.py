"""The solve ladder: which method next when one fails, and what is published in the end.

    go_ahead              power flow with nothing curtailed keeps every limit
    interior_warm         Ipopt from the last tick's point
    interior              Ipopt from the power flow of the requests
    interior_zero_export  Ipopt from the power flow of zero export
    interior_displaced    Ipopt from a displaced start
    uniform_cap           the mildest equal cap, by power flows alone: safe, not optimal
    uniform_share         the mildest equal percentage, likewise, where it costs less
    zero_export           every export at zero; always an answer under preexisting = "relax"

A rung's answer counts only if `dms.certificate` finds it safe at the set-points as sent. A safe
point at which Ipopt stopped before the optimum is kept for the case that no rung gets further.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace

import numpy as np

from dms import interior
from dms.certificate import (
    BAND_TOLERANCE_PU,
    CURRENT_TOLERANCE,
    Certificate,
    State,
    certify,
    measure,
    run,
)
from dms.fallback import mildest_rule
from dms.interior import InteriorPoint, IpoptOptions
from dms.limits import LimitValues
from dms.norms import degree
from dms.problem import DmsProblem
from dms.program import Numbers
from dms.request import DmsRequest
from dms.scaling import KW_PER_PU
from dms.solution import DmsSolution, Preexisting, Status
from feeders.table import Array

log = logging.getLogger(__name__)

NEGLIGIBLE_KW = 1e-3
"""Total curtailment below which no limit needs to bind."""

REGIME_ROUNDS = 10
"""Times that loads may be moved to the regime their voltage asks for, and the tick solved again."""
REGIME_TOLERANCE_PU = 1e-9
"""Power by which a load may differ from its whole law, of 1 MVA: a milliwatt."""

ROUND_KW = 1e-6
"""Set-points are sent in whole milliwatts, rounded down."""


@dataclass(frozen=True)
class _Tick:
    """One tick on its way up the ladder."""

    problem: DmsProblem
    request: DmsRequest
    values: LimitValues
    relaxed: bool
    preexisting: tuple[Preexisting, ...]
    began: float

    @property
    def most_kw(self) -> Array:
        """Largest curtailment of every unit, (n_units,)."""
        return self.request.units.unit_export_kw(self.request.p_export_kw)


def solve(
    problem: DmsProblem,
    request: DmsRequest,
    *,
    warm: DmsSolution | None = None,
    options: IpoptOptions | None = None,
) -> DmsSolution:
    """One tick: the least curtailment (in the problem's norm) that keeps every limit, certified.

    warm     the last tick's solution of the same problem
    Returns  `DmsSolution`; `status` and `certificate` say what it is worth
    Raises   IpoptMissingError  curtailment is needed and cyipopt is not installed
             ValueError         the request or `warm` belongs to another problem
    """
    _check_fit(problem, request, warm)
    began = time.perf_counter()
    screen = measure(problem.network, run(problem.network, request), problem.values)
    if screen.within(0.0, 0.0) and not problem.added:
        tick = _Tick(problem, request, problem.values, False, (), began)
        return _publish(tick, _no_curtailment(problem), "go_ahead", flow_state=screen)
    tick, operating = _with_limits_in_force(problem, request, began)
    if not operating:
        return _give_up(tick, Status.NO_OPERATING_POINT)
    if problem.limits.preexisting == "strict" and tick.preexisting:
        return _give_up(tick, Status.INFEASIBLE)
    eased = tick.relaxed and not problem.added
    if eased and measure(problem.network, screen.flow, tick.values).within(0.0, 0.0):
        return _publish(tick, _no_curtailment(problem), "go_ahead")
    short: list[tuple[float, DmsSolution]] = []  # safe, but Ipopt stopped before the optimum
    for rung in (_interior_warm, _interior, _interior_zero_export, _interior_displaced):
        point = rung(tick, warm, options)
        if point is None:
            continue
        solution = _from_point(tick, point, rung.__name__.strip("_"))
        log.info(
            "%s: Ipopt %s after %d iterations, certificate %s",
            *(solution.method, point.status, point.iterations, solution.certificate.safe),
        )
        if solution.status is Status.CURTAILED:
            return solution
        if solution.certificate.ok:
            short.append((point.objective, solution))
    return min(short, key=lambda found: found[0])[1] if short else _fallback(tick)


def _check_fit(problem: DmsProblem, request: DmsRequest, warm: DmsSolution | None) -> None:
    if not request.units.same_as(problem.units):
        raise ValueError("the request was made for other connections; use problem.request(...)")
    if warm is not None and warm.point is not None and len(warm.point.x) != problem.program.n:
        raise ValueError("the warm start was solved for another feeder, norm or set of limits")


def _with_limits_in_force(problem: DmsProblem, request: DmsRequest, began: float) -> tuple[_Tick, bool]:
    """Widen what zero export breaks already; False if there is no power flow even at zero export."""
    rest = run(problem.network, request, request.p_export_kw)
    state = measure(problem.network, rest, problem.values)
    broken = _preexisting(problem, state)
    values = problem.values
    if problem.limits.preexisting == "relax" and broken:
        values = values.relaxed(state.v_pu, state.i_a)
    relaxed = bool(broken) and values is not problem.values
    return _Tick(problem, request, values, relaxed, broken, began), rest.converged


def _preexisting(problem: DmsProblem, state: State) -> tuple[Preexisting, ...]:
    values, found = problem.values, []
    for k in np.flatnonzero(state.over_v > 0):
        low = state.v_pu[k] < values.v_min_pu[k]
        limit = values.v_min_pu[k] if low else values.v_max_pu[k]
        name = str(problem.feeder.node_names[values.node[k]])
        found.append(Preexisting("v_min" if low else "v_max", name, float(limit), float(state.v_pu[k]), "pu"))
    for k in np.flatnonzero(state.over_i > 0):
        label = str(values.label[k])
        found.append(Preexisting("i_max", label, float(values.i_max_a[k]), float(state.i_a[k]), "A"))
    return tuple(found)


# Rungs ------------------------------------------------------------------------------------------


def _numbers(tick: _Tick, curtail_kw: Array) -> Numbers:
    """The tick's numbers, started from the programme's power flow at a curtailment (n_units,)."""
    problem = tick.problem
    flow = run(problem.network, tick.request, tick.request.units.split_kw(curtail_kw))
    numbers = problem.at(tick.request, tick.values, flow.v if flow.converged else None)
    numbers.x0[:] = problem.power_flow.solve(numbers, curtail_kw / KW_PER_PU).x
    if "peak" in problem.program.variables:
        peak = float((problem.weights * curtail_kw).max()) / KW_PER_PU
        numbers.x0[problem.program.variables["peak"].start] = peak
    return numbers


def _optimise(
    tick: _Tick, numbers: Numbers, options: IpoptOptions | None, warm: InteriorPoint | None = None
) -> InteriorPoint:
    """Ipopt, again and again until every load is in the regime that its voltage asks for."""
    problem = tick.problem
    most = numbers.x_hi[problem.program.variables["p_curtail"].span]
    # A curtailment of 1 % of the largest export counts as one: Ipopt's default tolerance leaves
    # the total of an L2 optimum 5-15 % too high on unscaled squares (docs/design.md). One absurd
    # request among ordinary ones does not set the scale.
    weighted = problem.weights * most
    typical = float(np.median(weighted[weighted > 0])) if (weighted > 0).any() else 1e-9
    scale = (100.0 / max(min(float(weighted.max()), 100 * typical), 1e-9)) ** degree(problem.norm)
    for _ in range(REGIME_ROUNDS):
        point = interior.solve(problem.program, numbers, objective_scale=scale, warm=warm, options=options)
        solved, numbers = numbers, problem.at(tick.request, tick.values, problem.voltages_v(point.x))
        if problem.law_gap(point.x, solved, numbers) <= REGIME_TOLERANCE_PU:
            break
        log.info("loads change their regime; solved again")
        numbers.x0[:], warm = point.x, point if point.converged else None
    return point


def _interior_warm(
    tick: _Tick, warm: DmsSolution | None, options: IpoptOptions | None
) -> InteriorPoint | None:
    if warm is None or warm.point is None:
        return None
    numbers = tick.problem.at(tick.request, tick.values, warm.state.flow.v)
    return _optimise(tick, numbers, options, warm.point)


def _interior(tick: _Tick, warm: DmsSolution | None, options: IpoptOptions | None) -> InteriorPoint | None:
    return _optimise(tick, _numbers(tick, _no_curtailment(tick.problem)), options)


def _interior_zero_export(
    tick: _Tick, warm: DmsSolution | None, options: IpoptOptions | None
) -> InteriorPoint | None:
    return _optimise(tick, _numbers(tick, tick.most_kw), options)


def _interior_displaced(
    tick: _Tick, warm: DmsSolution | None, options: IpoptOptions | None
) -> InteriorPoint | None:
    """A start off every symmetry: half the export, and every variable moved by up to 1 %."""
    numbers = _numbers(tick, 0.5 * tick.most_kw)
    shift = np.random.default_rng(0).uniform(-1e-2, 1e-2, tick.problem.program.n)
    numbers.x0[:] += shift * np.maximum(np.abs(numbers.x0), 1e-2)
    return _optimise(tick, numbers, options)


def _from_point(tick: _Tick, point: InteriorPoint, rung: str) -> DmsSolution:
    """Status and point together: round the set-points down, then certify them as sent."""
    curtail = point.x[tick.problem.program.variables["p_curtail"].span] * KW_PER_PU
    return _publish(tick, np.maximum(curtail, 0.0), rung, point=point)


def _fallback(tick: _Tick) -> DmsSolution:
    """The mildest equal cap or percentage that a power flow finds safe; at the last, zero export."""

    def is_safe(unit_curtail_kw: Array) -> bool:
        flow = run(tick.problem.network, tick.request, tick.request.units.split_kw(unit_curtail_kw))
        return measure(tick.problem.network, flow, tick.values).within(0.0, 0.0)

    return _publish(tick, *mildest_rule(tick.most_kw, is_safe))


# Publishing -------------------------------------------------------------------------------------


def _no_curtailment(problem: DmsProblem) -> Array:
    return np.zeros(len(problem.units.name))


def _publish(
    tick: _Tick,
    unit_curtail_kw: Array,
    rung: str,
    *,
    point: InteriorPoint | None = None,
    flow_state: State | None = None,
) -> DmsSolution:
    """Round, certify, and put everything that is reported into one object."""
    problem, request = tick.problem, tick.request
    # Shares may keep a unit from reaching zero at every connection; zero export does not ask them.
    asked = request.p_export_kw if rung == "zero_export" else request.units.split_kw(unit_curtail_kw)
    curtail = np.minimum(asked, request.p_export_kw)
    adjusted = request.p_export_kw - curtail
    cut = curtail >= ROUND_KW
    adjusted = np.where(cut, adjusted, request.p_export_kw)  # what rounding alone would cut
    adjusted[cut] = np.floor(adjusted[cut] / ROUND_KW) * ROUND_KW
    adjusted = np.clip(adjusted, 0.0, request.p_export_kw)
    claimed = None
    if point is not None:
        claimed = problem.voltages_v(point.x)[1:] / problem.feeder.v_base_v[1:]
    flow = flow_state.flow if flow_state else run(problem.network, request, request.p_export_kw - adjusted)
    certificate = certify(
        problem.network, request, adjusted, tick.values, relaxed=tick.relaxed, claimed_v_pu=claimed, flow=flow
    )
    state = measure(problem.network, flow, tick.values)
    return DmsSolution(
        status=_status(rung, certificate, point if _plausible(problem, state, curtail) else None),
        method=rung,
        p_curtail_kw=request.p_export_kw - adjusted,
        p_adjusted_kw=adjusted,
        unit_curtail_kw=request.units.total_kw(request.p_export_kw - adjusted),
        certificate=certificate,
        state=state,
        values=tick.values,
        preexisting=tick.preexisting,
        iterations=point.iterations if point else 0,
        solve_s=time.perf_counter() - tick.began,
        point=point,
    )


def _status(rung: str, certificate: Certificate, point: InteriorPoint | None) -> Status:
    if not certificate.ok:
        return Status.UNCERTIFIED
    if rung == "go_ahead":
        return Status.GO_AHEAD
    return Status.CURTAILED if point is not None and point.converged else Status.FALLBACK


def _plausible(problem: DmsProblem, state: State, curtail_kw: Array) -> bool:
    """At an optimum that curtails at all, some limit binds; a stop without one was no optimum."""
    near = max(state.worst_over_v / BAND_TOLERANCE_PU, state.worst_over_i / CURRENT_TOLERANCE)
    return bool(problem.added) or float(curtail_kw.sum()) < NEGLIGIBLE_KW or near >= -1


def _give_up(tick: _Tick, status: Status) -> DmsSolution:
    """Zero export with the reason why there is nothing better."""
    return replace(_publish(tick, tick.most_kw, "zero_export"), status=status)
