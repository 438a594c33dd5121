"""One tick on its way to an answer: start points, Ipopt rounds, limits in force, and publishing.

Shared by the rungs of `dms.ladder` and the positions that `dms.discrete` tries.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from dms import interior, stages
from dms.certificate import (
    BAND_TOLERANCE_PU,
    CURRENT_TOLERANCE,
    VOLTAGE_AGREEMENT_PU,
    Certificate,
    State,
    certify,
    measure,
    other_flows,
    run,
)
from dms.injection import inverters_at
from dms.interior import InteriorPoint, InteriorStatus, IpoptOptions
from dms.limits import LimitValues
from dms.limits.values import Found
from dms.network import Flow, Network
from dms.norms import follow
from dms.problem import DmsProblem
from dms.program import Numbers
from dms.regimes import Regimes
from dms.request import DmsRequest
from dms.scaling import KW_PER_PU
from dms.solution import DmsSolution, Preexisting, Status
from dms.stages import Method
from feeders import Connections, Loads
from feeders.table import Array

log = logging.getLogger(__name__)

NEGLIGIBLE_KW = 1e-3
"""Total curtailment below which no limit needs to bind."""
TRIFLING = 1e-5
"""Share of the export that is negligible, too, where free reactive power may leave nothing to curtail."""

REGIME_ROUNDS = 10
"""Times that loads may be moved to the regime their voltage asks for, and the tick solved again."""
FREE_ROUNDS = 3
"""Of these, those in which a load may still come back from the piece it was moved to."""
MOVES_BEFORE_HOLD = 3
"""An inverter that has changed its piece this often is held in one."""
REGIME_TOLERANCE_PU = 1e-9
"""Power by which a load may differ from its whole law, of 1 MVA: a milliwatt."""

ROUND_KW = 1e-6
"""Set-points are sent in whole milliwatts, rounded down."""


@dataclass(frozen=True)
class Outcome:
    """What power flows find at a curtailment of the connections (n_connections,): each is run once."""

    network: Network
    request: DmsRequest
    curtail_kw: Array

    @cached_property
    def flow(self) -> Flow:
        """The power flow from the circuit without load."""
        return run(self.network, self.request, self.curtail_kw)

    @cached_property
    def others(self) -> list[Flow]:
        """Further states, where loads have two."""
        return other_flows(self.network, self.request, self.curtail_kw, self.flow)


@dataclass(frozen=True)
class Tick:
    """What is asked, and the circuit and limits it is held against.

    base       (n_controls,) where taps and capacitor steps come from
    position   (n_controls,) where they are held; network: the independent circuit there
    free       (n_controls,) bool, those that the optimisation may move all the same
    values     limits in force; `relaxed`: they were `widened_from` the tick's own for what zero export breaks
               already, `preexisting`
    began      time.perf_counter() when the tick came in
    outcomes   power flows of this request on this network; a tick with another of either starts anew
    """

    problem: DmsProblem
    request: DmsRequest
    base: Array
    position: Array
    network: Network
    began: float
    values: LimitValues
    relaxed: bool = False
    preexisting: tuple[Preexisting, ...] = ()
    free: Array | bool = False
    widened_from: LimitValues | None = None
    outcomes: dict[bytes, Outcome] = field(default_factory=dict, repr=False)

    @property
    def nominal(self) -> LimitValues:
        """Limits of the tick before any was widened."""
        return self.values if self.widened_from is None else self.widened_from

    @property
    def most_kw(self) -> Array:
        """Largest curtailment of every unit, (n_units,)."""
        return self.request.units.unit_export_kw(self.request.p_export_kw)

    @property
    def none_kw(self) -> Array:
        """No curtailment, (n_units,)."""
        return np.zeros(len(self.problem.units.name))

    def numbers(self, regimes: Regimes) -> Numbers:
        """Numbers of the tick, loads in their regimes."""
        return self.problem.at(
            self.request, self.values, regimes, base=self.base, position=self.position, free=self.free
        )

    def at(self, position: Array) -> Tick:
        """The same tick with the controls held elsewhere; limits no wider than zero export needs there."""
        network = self.problem.network_at(position)
        there = replace(self, position=position, network=network, free=False, outcomes={})
        if not self.relaxed:
            return there
        rest = there.flow(self.request.p_export_kw)
        if not rest.converged:
            return there
        state = measure(there.network, rest, self.nominal)
        needed = self.nominal.relaxed(state.found)
        return replace(there, values=self.values.narrower(needed))

    def freed(self, free: Array, position: Array) -> Tick:
        """The same tick with some controls free and the others held at a position."""
        return replace(self, position=position, free=free)

    def state(self, unit_curtail_kw: Array) -> State:
        """Power flow at a curtailment (n_units,), held against the limits in force."""
        return measure(self.network, self.flow(self.request.units.split_kw(unit_curtail_kw)), self.values)

    def flow(self, curtail_kw: Array) -> Flow:
        """Power flow at a curtailment of the connections (n_connections,)."""
        return self.outcome(curtail_kw).flow

    def outcome(self, curtail_kw: Array) -> Outcome:
        """Power flows at a curtailment of the connections (n_connections,), which are run once in a tick."""
        return self.outcomes.setdefault(curtail_kw.tobytes(), Outcome(self.network, self.request, curtail_kw))

    def as_sent(self, unit_curtail_kw: Array) -> Array:
        """Curtailment of the connections (n_connections,) after set-points are rounded down to `ROUND_KW`.

        What rounding alone would cut is not.
        """
        export = self.request.p_export_kw
        return export - _rounded(np.minimum(self.request.units.split_kw(unit_curtail_kw), export), export)


def with_limits_in_force(tick: Tick) -> tuple[Tick, bool]:
    """Widen what zero export breaks already; False if there is no power flow even at zero export."""
    problem, rest = tick.problem, tick.flow(tick.request.p_export_kw)
    state = measure(tick.network, rest, tick.nominal)
    broken = _preexisting(state) if rest.converged else ()  # no state: nothing to read limits from
    values = tick.nominal
    if problem.limits.preexisting == "relax" and broken:
        values = values.relaxed(state.found)
    relaxed = bool(broken) and values is not tick.nominal
    in_force = replace(tick, values=values, widened_from=tick.nominal, relaxed=relaxed, preexisting=broken)
    return in_force, rest.converged


def _preexisting(state: State) -> tuple[Preexisting, ...]:
    found = []
    for f, values in zip(state.values.families, state.found, strict=True):
        for kind, limit, beyond in f.sides(values):
            for k in np.flatnonzero(beyond > 0):
                found.append(Preexisting(kind, str(f.label[k]), float(limit[k]), float(values[k]), f.unit))
    return tuple(found)


def start_numbers(tick: Tick, curtail_kw: Array) -> Numbers:
    """The tick's numbers, started from the programme's power flow at a curtailment (n_units,)."""
    problem = tick.problem
    flow = tick.state(curtail_kw).flow
    # Loads start in the regime of a state that keeps the limits: the solution will keep them.
    v = tick.values.held(flow.v, problem.feeder.v_base_v) if flow.converged else None
    numbers = tick.numbers(Regimes(v))
    numbers.x0[:] = problem.power_flow.solve(numbers, curtail_kw / KW_PER_PU).x
    follow(problem.program, numbers.x0, problem.weights, tick.most_kw / KW_PER_PU)
    return numbers


def optimise(
    tick: Tick,
    numbers: Numbers,
    options: IpoptOptions | None,
    *,
    warm: InteriorPoint | None = None,
    method: Method | None = None,
) -> InteriorPoint:
    """Every stage of the norm, again until all are in the regime its voltage asks for.

    method  one of `dms.methods`; default: Ipopt
    """
    problem = tick.problem
    regimes, iterations, seen = Regimes(), 0, set[bytes]()
    loads, asked = problem.feeder[Loads], tick.values
    inverters = problem.feeder[Connections]
    moves = np.zeros(len(inverters), dtype=int)
    for done in range(REGIME_ROUNDS):
        point = stages.solve(method or interior.solve, problem, numbers, warm=warm, options=options)
        iterations += point.iterations
        if not len(problem.program.columns("given")) or not np.isfinite(point.x).all():
            break
        if point.status is InteriorStatus.LIMIT:  # more of the same would end there, too
            break
        seen.add(problem.laws(numbers))
        own, flow = problem.voltages_v(point.x), _flow_at(tick, point)
        regimes = replace(regimes.pin(loads, own), v=own if flow is None else flow.v)
        solved, numbers = numbers, tick.numbers(regimes)
        again, pins = problem.laws(numbers) in seen, regimes.pins
        if again or done >= FREE_ROUNDS:  # back and forth: pin those who go
            regimes = regimes.pin(loads, own, _changed_loads(problem, point.x, solved, numbers))
            numbers = tick.numbers(regimes)
        moved = problem.moved_inverters(problem.law_gap(point.x, solved, numbers)) > REGIME_TOLERANCE_PU
        moves += moved
        if (moved & (moves >= MOVES_BEFORE_HOLD)).any():
            regimes = regimes.hold(inverters, moved & (moves >= MOVES_BEFORE_HOLD))
            numbers = tick.numbers(regimes)
        if _same_laws(problem, point.x, solved, numbers):
            over = None if flow is None or not point.converged else _beyond(tick, point, flow, asked)
            if over is None:
                break
            tick = replace(tick, values=tick.values.tightened(over))
            numbers = tick.numbers(regimes)
        elif again and regimes.pins == pins and not moved.any():
            break  # loads at a kink of their law, some on the one side and some on the other, for good
        if options is not None and options.spent:
            point = replace(point, status=InteriorStatus.LIMIT)
            break
        log.info("loads or inverters change their regime; solved again")
        numbers.x0[:], warm = point.x, point if point.converged else None
    return replace(point, iterations=iterations)


def _beyond(tick: Tick, point: InteriorPoint, flow: Flow, asked: LimitValues) -> Found | None:
    """How far loads that have two states take the feeder beyond its limits in one of them; None: nowhere.

    Returns  the worst of all states, one array for each family of limits
    """
    tick = decided(tick, point)
    flows = [flow, *tick.outcome(tick.as_sent(_curtailment_kw(tick, point))).others]
    states = [measure(tick.network, one, asked) for one in flows]
    if all(state.within(BAND_TOLERANCE_PU / 2, CURRENT_TOLERANCE / 2) for state in states):
        return None
    return tuple(np.max(overs, axis=0) for overs in zip(*(s.over for s in states), strict=True))


def _curtailment_kw(tick: Tick, point: InteriorPoint) -> Array:
    curtail: Array = point.x[tick.problem.program.variables["p_curtail"].span] * KW_PER_PU
    return np.maximum(curtail, 0.0)


def _rounded(curtail_kw: Array, export_kw: Array) -> Array:
    """Set-points (n_connections,) of a curtailment, rounded down; not cut where rounding alone would."""
    cut = curtail_kw >= ROUND_KW
    adjusted = np.where(cut, export_kw - curtail_kw, export_kw)
    adjusted[cut] = np.floor(adjusted[cut] / ROUND_KW) * ROUND_KW
    return np.clip(adjusted, 0.0, export_kw)


def decided(tick: Tick, point: InteriorPoint | None) -> Tick:
    """The tick with a point's set-points for the inverters whose reactive power is free."""
    if point is None or "q_free" not in tick.problem.program.variables:
        return tick
    q_set = np.round(tick.problem.q_set_kvar(point.x) / ROUND_KW) * ROUND_KW
    return replace(tick, request=tick.request.holding(q_set), outcomes={})


def _same_laws(problem: DmsProblem, x: Array, one: Numbers, other: Numbers) -> bool:
    gap = problem.law_gap(x, one, other)[problem.law_rows]
    return bool(gap.max(initial=0.0) <= REGIME_TOLERANCE_PU)


def _changed_loads(problem: DmsProblem, x: Array, one: Numbers, other: Numbers) -> Array:
    """(n_loads,) bool: loads whose law differs between two sets of numbers."""
    if "p_load" not in problem.program.rows:
        return np.zeros(0, dtype=bool)
    gap = problem.law_gap(x, one, other)
    both = np.maximum(*(gap[problem.program.rows[name].span] for name in ("p_load", "q_load")))
    return np.asarray(both > REGIME_TOLERANCE_PU)


def _flow_at(tick: Tick, point: InteriorPoint) -> Flow | None:
    """The independent power flow at the point's curtailment: its voltages tell the regimes of loads.

    So the certificate will find the same. None where controls are free (the circuit stands elsewhere)
    and where there is no power flow.
    """
    if np.any(tick.free):
        return None
    tick = decided(tick, point)
    flow = tick.flow(tick.as_sent(_curtailment_kw(tick, point)))
    return flow if flow.converged else None


def from_point(tick: Tick, point: InteriorPoint, rung: str) -> DmsSolution:
    """Status and point together: round the set-points down, then certify them as sent."""
    return publish(tick, _curtailment_kw(tick, point), rung, point=point)


def keeps_limits(tick: Tick, point: InteriorPoint) -> bool:
    """By one power flow, before a certificate is made of it."""
    tick = decided(tick, point)
    return measure(tick.network, tick.flow(tick.as_sent(_curtailment_kw(tick, point))), tick.values).within()


def publish(
    tick: Tick,
    unit_curtail_kw: Array,
    rung: str,
    *,
    point: InteriorPoint | None = None,
    state: State | None = None,
) -> DmsSolution:
    """Round, certify, and put everything that is reported into one object.

    state  of just these set-points, if there is one already
    """
    tick = decided(tick, point)
    request = tick.request
    # Shares may keep a unit from reaching zero at every connection; zero export does not ask them.
    asked = request.p_export_kw if rung == "zero_export" else request.units.split_kw(unit_curtail_kw)
    curtail = np.minimum(asked, request.p_export_kw)
    adjusted = _rounded(curtail, request.p_export_kw)
    found = tick.outcome(request.p_export_kw - adjusted)
    state = state or measure(tick.network, found.flow, tick.values)
    flow = state.flow
    claimed, other = (None, None) if point is None else _claims(tick, point, flow)
    certificate = certify(
        tick.network,
        request,
        adjusted,
        tick.values,
        relaxed=tick.relaxed,
        claimed_v_pu=claimed,
        other_v_pu=other,
        state=state,
        others=found.others,
    )
    return DmsSolution(
        status=_status(rung, certificate, point if _plausible(tick, certificate, curtail, point) else None),
        method=rung,
        p_curtail_kw=request.p_export_kw - adjusted,
        p_adjusted_kw=adjusted,
        q_kvar=inverters_at(tick.problem.feeder[Connections], request, adjusted, flow).q_kvar,
        q_set_kvar=request.q_set_kvar,
        unit_curtail_kw=request.units.total_kw(request.p_export_kw - adjusted),
        unit_export_kw=request.units.total_kw(request.p_export_kw),
        certificate=certificate,
        state=state,
        nominal=tick.nominal,
        values=tick.values,
        preexisting=tick.preexisting,
        iterations=point.iterations if point else 0,
        solve_s=time.perf_counter() - tick.began,
        point=point,
        position=tick.position,
        norm=tick.problem.norm,
        unit_name=tick.problem.units.name,
    )


def _claims(tick: Tick, point: InteriorPoint, flow: Flow) -> tuple[Array, Array | None]:
    """The optimiser's voltages (n_nodes,) per unit; and those of another state, where a load has two.

    Where the optimisation pinned a load outside its band and the power flow finds it inside, the point's
    own voltages are the other state, and the claim is the programme's power flow with the load inside.
    """
    problem, base = tick.problem, tick.problem.feeder.v_base_v[1:]
    own = problem.voltages_v(point.x)[1:] / base
    agree = flow.converged and np.abs(flow.v[1:] / base - own).max(initial=0.0) <= VOLTAGE_AGREEMENT_PU
    if agree or not flow.converged or not len(problem.program.columns("given")):
        return own, None
    numbers = tick.numbers(Regimes(flow.v))
    curtail = point.x[problem.program.variables["p_curtail"].span]
    model = problem.power_flow.solve(numbers, curtail)
    return problem.voltages_v(model.x)[1:] / base, own


def _status(rung: str, certificate: Certificate, point: InteriorPoint | None) -> Status:
    if not certificate.ok:
        return Status.UNCERTIFIED
    if rung == "go_ahead":
        return Status.GO_AHEAD
    return Status.CURTAILED if point is not None and point.converged else Status.FALLBACK


def _plausible(tick: Tick, found: Certificate, curtail_kw: Array, point: InteriorPoint | None) -> bool:
    """At an optimum that curtails at all, some limit binds; a stop without one was no optimum."""
    negligible = NEGLIGIBLE_KW
    if "q_free" in tick.problem.program.variables:  # squares are flat where nothing need be curtailed
        negligible = max(negligible, TRIFLING * float(tick.most_kw.sum()))
    if tick.problem.added or float(curtail_kw.sum()) < negligible or found.nearness >= -1:
        return True
    # A load with two states may stand away from the limits in the one that the power flow finds.
    return point is not None and bool(len(tick.problem.program.columns("given"))) and _binds(tick, point)


def _binds(tick: Tick, point: InteriorPoint) -> bool:
    """A limit in force binds in the optimiser's own state."""
    rows, found = tick.problem.program.rows, tick.problem.program.constraints(point.x)
    return any(
        f.over(f.from_rows(found[rows[f.rows].span])).max(initial=-np.inf) >= -f.tolerance
        for f in tick.values.families
    )
