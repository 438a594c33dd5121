"""Why a tick has no answer: which elements block, or that it was the optimiser that failed."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from dms import interior
from dms.certificate import State, measure, run
from dms.elastic import numbers_for, support_of, with_limit_slack, with_support
from dms.interior import InteriorPoint, IpoptOptions
from dms.limits import LimitValues
from dms.network import Network
from dms.norms import follow
from dms.problem import DmsProblem
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest
from dms.scaling import KW_PER_PU, S_BASE_VA
from feeders.table import Array

log = logging.getLogger(__name__)

NEGLIGIBLE = 1e-6
"""Slack of a limit, in its row's scale, that counts as none."""
NEGLIGIBLE_MVA = 1e-6
"""Support at a node, of 1 MVA, that counts as none: a watt."""
REGIME_ROUNDS = 4
"""Times that loads may be put in the regime of the state found, and the elastic problem solved again."""


class Blocked(StrEnum):
    """Why there is no answer.

    BY_LIMITS           no curtailment keeps these limits, zero export neither
    AT_ZERO_EXPORT      zero export breaks these limits, which is infeasible under preexisting = "strict";
                        some export mends it
    NO_OPERATING_POINT  the circuit itself has no state at zero export
    NOT_AT_ALL          some curtailment keeps every limit: the optimiser failed, or the set-points it found
                        have another state
    UNKNOWN             the elastic problem was not solved either
    """

    BY_LIMITS = "by_limits"
    AT_ZERO_EXPORT = "at_zero_export"
    NO_OPERATING_POINT = "no_operating_point"
    NOT_AT_ALL = "not_at_all"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Slack:
    """What one element would have to give.

    problem  "limits", "currents_sparse" or "currents_spread"
    kind     of the limit, or "current"
    amount   by which the limit has to move, in `unit`; of a current its size, ampere
    limit    as it stands; NaN of a current       p_kw, q_kvar  of a current, fed in; NaN of a limit
    """

    problem: str
    kind: str
    element: str
    amount: float
    unit: str
    limit: float = np.nan
    p_kw: float = np.nan
    q_kvar: float = np.nan


@dataclass(frozen=True)
class Infeasibility:
    """Why a tick has no answer, and what blocks it.

    kind      see `Blocked`
    elements  that block, the worst first: limits that have to give, or nodes that need support
    slacks    of all three elastic problems, the largest first in each
    unit_curtail_kw  (n_units,) curtailment at which limits give least; it keeps them all where the kind is
              AT_ZERO_EXPORT or NOT_AT_ALL
    failed    elastic problems that were not solved
    """

    kind: Blocked
    elements: tuple[str, ...]
    slacks: tuple[Slack, ...]
    unit_curtail_kw: Array = field(repr=False)
    failed: tuple[str, ...] = ()

    def of(self, problem: str) -> tuple[Slack, ...]:
        """Slacks of one elastic problem."""
        return tuple(slack for slack in self.slacks if slack.problem == problem)


def explain_infeasible(
    problem: DmsProblem,
    request: DmsRequest,
    *,
    values: LimitValues | None = None,
    position: Array | None = None,
    currents: bool = True,
    options: IpoptOptions | None = None,
) -> Infeasibility:
    """Solve the elastic problems of a tick (`dms.elastic`); answers are local optima, as all of Ipopt's.

    That some curtailment keeps every limit, where it is said, is certain: by a power flow of its own.

    values    limits to be kept; default: those of the tick before any is widened
    position  (n_controls,) where taps and capacitor steps stand; default: as the feeder has them
    currents  also ask at which nodes support would help; always asked where there is no operating point
    Raises  IpoptMissingError  cyipopt is not installed
    """
    here = problem.controls.present(problem.feeder) if position is None else np.asarray(position, dtype=float)
    network = problem.network_at(here)
    values = values or problem.limits_at(request, network)
    case = _Case(problem, request, values, here, network, options)
    failed: tuple[str, ...]
    rest = case.state(case.most_kw)
    if not rest.flow.converged:
        slacks, failed = case.currents(limits=False)
        nodes = tuple(s.element for s in slacks if s.problem == "currents_sparse")
        kind = Blocked.NO_OPERATING_POINT if slacks else Blocked.UNKNOWN
        return Infeasibility(kind, nodes, slacks, case.most_kw, failed)
    slacks, curtail, state, solved = case.limits(rest)
    if state.within(0.0, 0.0):
        broken = _broken(rest)
        kind = Blocked.AT_ZERO_EXPORT if broken else Blocked.NOT_AT_ALL
        return Infeasibility(kind, broken, (), curtail)
    kind = Blocked.BY_LIMITS if solved and slacks else Blocked.UNKNOWN
    elements = tuple(s.element for s in slacks)
    failed = () if solved else ("limits",)
    if currents:
        more, not_solved = case.currents(limits=True)
        slacks, failed = slacks + more, failed + not_solved
    return Infeasibility(kind, elements, slacks, curtail, failed)


def _broken(state: State) -> tuple[str, ...]:
    """Elements beyond a limit, the worst first."""
    found = [
        (over / family.tolerance, str(label))
        for family, overs in zip(state.values.families, state.over, strict=True)
        for label, over in zip(family.label, overs, strict=True)
        if over > 0
    ]
    return tuple(element for _, element in sorted(found, key=lambda pair: -pair[0]))


@dataclass(frozen=True)
class _Case:
    problem: DmsProblem
    request: DmsRequest
    values: LimitValues
    position: Array
    network: Network
    options: IpoptOptions | None

    @property
    def most_kw(self) -> Array:
        return self.request.units.unit_export_kw(self.request.p_export_kw)

    @property
    def rows(self) -> Array:
        """Rows of the limits that may be asked to give: the network's, not those of inverters."""
        rows = self.problem.program.rows
        return np.concatenate([rows[f.rows].index for f in self.values.families])

    def state(self, unit_curtail_kw: Array, q_set_kvar: Array | None = None) -> State:
        request = self.request if q_set_kvar is None else self.request.holding(q_set_kvar)
        split = request.units.split_kw(unit_curtail_kw)
        return measure(self.network, run(self.network, request, split), self.values)

    def numbers(self, regimes: Regimes, curtail_kw: Array) -> Numbers:
        """The tick's numbers, started from the programme's power flow at a curtailment (n_units,)."""
        problem, held = self.problem, self.position if len(self.problem.controls) else None
        numbers = problem.at(self.request, self.values, regimes, base=held, position=held)
        numbers.x0[:] = problem.power_flow.solve(numbers, curtail_kw / KW_PER_PU).x
        follow(problem.program, numbers.x0, problem.weights, self.most_kw / KW_PER_PU)
        return numbers

    def limits(self, rest: State) -> tuple[tuple[Slack, ...], Array, State, bool]:
        """Limits that have to give, where they give least (curtailment and state), and if that is solved."""
        elastic = with_limit_slack(self.problem.program, self.rows)
        best: InteriorPoint | None = None
        for curtail in (self.most_kw, np.zeros(len(self.most_kw))):
            flow = self.state(curtail).flow
            point = self._solve(elastic, flow.v if flow.converged else rest.flow.v, curtail, scale=1.0)
            if point.converged and (best is None or point.objective < best.objective):
                best = point
            if best is not None and best.objective < NEGLIGIBLE:
                break
        if best is None:
            return (), self.most_kw, rest, False
        curtail = self._curtailment_kw(best.x)
        free = "q_free" in self.problem.program.variables
        state = self.state(curtail, self.problem.q_set_kvar(best.x) if free else None)
        return self._limit_slacks(elastic, best.x), curtail, state, True

    def currents(self, limits: bool) -> tuple[tuple[Slack, ...], tuple[str, ...]]:
        """Support at the nodes, sparse and spread; also the names of problems that were not solved."""
        found: list[Slack] = []
        failed: list[str] = []
        flow = self.state(self.most_kw).flow
        v, start = flow.v if flow.converged else None, None
        for name, sparse, scale in (("currents_sparse", True, 1e2), ("currents_spread", False, 1e4)):
            elastic = with_support(self.problem.program, sparse)
            point = self._solve(elastic, v, self.most_kw, scale=scale, limits=limits, start=start)
            if not point.converged:
                failed.append(name)
                continue
            found += self._current_slacks(elastic, point.x, name)
            v, start = self.problem.voltages_v(point.x), (point.x, support_of(elastic, point.x))
        return tuple(found), tuple(failed)

    def _solve(
        self,
        elastic: Program,
        v: Array | None,
        curtail_kw: Array,
        *,
        scale: float,
        limits: bool = True,
        start: tuple[Array, Array] | None = None,
    ) -> InteriorPoint:
        """Ipopt, again until every load is in the regime of the state found.

        start  a point of the programme with more variables behind, and the support (n_nodes,) there
        """
        program, laws = self.problem.program, set[bytes]()
        numbers = self.numbers(Regimes(v), curtail_kw)
        options = self.options or IpoptOptions(max_iter=300)
        for _ in range(REGIME_ROUNDS):
            if not limits:
                numbers.row_lo[self.rows], numbers.row_hi[self.rows] = -np.inf, np.inf
            laws.add(self.problem.laws(numbers))
            if start is not None:
                numbers.x0[:] = start[0][: program.n]
            given = numbers_for(elastic, numbers, self.rows, None if start is None else start[1])
            point = interior.solve(elastic, given, objective_scale=scale, options=options)
            log.info("elastic problem: %s after %d iterations", point.status, point.iterations)
            if not point.converged or not len(program.columns("given")):
                break
            numbers = self.numbers(Regimes(self.problem.voltages_v(point.x)), curtail_kw)
            start = point.x, support_of(elastic, point.x)
            if self.problem.laws(numbers) in laws:
                break
        return point

    def _curtailment_kw(self, x: Array) -> Array:
        found = x[self.problem.program.variables["p_curtail"].span] * KW_PER_PU
        return np.clip(found, 0.0, self.most_kw)

    def _limit_slacks(self, elastic: Program, x: Array) -> tuple[Slack, ...]:
        program = self.problem.program
        given = np.zeros(program.m)
        up, down = (x[elastic.variables[name].span] for name in ("slack_up", "slack_down"))
        given[self.rows] = down - up
        value = program.constraints(x[: program.n])
        found: list[tuple[float, Slack]] = []
        for f in self.values.families:
            span = program.rows[f.rows].span
            reached = f.from_rows(value[span])
            for k in np.flatnonzero(np.abs(given[span]) > NEGLIGIBLE):
                above = given[span][k] > 0
                kind, limit = (f.kinds[1], f.hi[k]) if above else (f.kinds[0], f.lo[k])
                amount = float(reached[k] - limit if above else limit - reached[k])
                slack = Slack("limits", kind, str(f.label[k]), amount, f.unit, float(limit))
                found.append((abs(float(given[span][k])), slack))
        return tuple(slack for _, slack in sorted(found, key=lambda pair: -pair[0]))

    def _current_slacks(self, elastic: Program, x: Array, name: str) -> list[Slack]:
        feeder = self.problem.feeder
        current = support_of(elastic, x) * S_BASE_VA / feeder.v_base_v[1:]
        power = self.problem.voltages_v(x)[1:] * np.conj(current) / 1e3
        size = np.abs(current) * feeder.v_base_v[1:] / S_BASE_VA
        order = np.argsort(-size, kind="stable")
        return [
            Slack(
                name,
                "current",
                str(feeder.node_names[k + 1]),
                float(np.abs(current[k])),
                "A",
                p_kw=float(power[k].real),
                q_kvar=float(power[k].imag),
            )
            for k in order[size[order] > NEGLIGIBLE_MVA]
        ]
