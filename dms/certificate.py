"""The `safe` certificate: what the feeder really does at the set-points as they are sent.

Everything here rests on `dms.network`, the power flow on primitive elements. Nothing comes
from the optimiser but the voltages it claims, and those only to be compared.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dms.limits import LimitValues, coil_pairs
from dms.network import Flow, Network
from dms.request import DmsRequest
from feeders import Connections, Generators, Loads
from feeders.elements.loads import sides_of_a_step, voltage_dependent
from feeders.table import Array

BAND_TOLERANCE_PU = 1e-5
CURRENT_TOLERANCE = 1e-4
KCL_TOLERANCE_PU = 1e-6
VOLTAGE_AGREEMENT_PU = 1e-6
SETPOINT_TOLERANCE_KW = 1e-6
NEAR_A_STEP_PU = 0.03
"""Distance of a load from a step of its law at which the feeder is searched for another state."""

Safe = Literal["yes", "relaxed", "no"]


@dataclass(frozen=True)
class State:
    """A power flow held against limits.

    v_pu     (n_v,)  |v| at the limited nodes
    through  (n_i,)  at the rated terminals: |i| ampere, or |u| |i| volt-ampere of a coil
    over_v   (n_v,)  how far outside the band, pu        over_i (n_i,) through / rating - 1
    """

    flow: Flow
    v_pu: Array
    through: Array
    over_v: Array
    over_i: Array

    @property
    def worst_over_v(self) -> float:
        """Largest distance outside the band, pu; negative is the margin; -inf without limits."""
        return float(self.over_v.max(initial=-np.inf))

    @property
    def worst_over_i(self) -> float:
        """Largest share of a rating less one; -inf without ratings."""
        return float(self.over_i.max(initial=-np.inf))

    def within(self, band: float = BAND_TOLERANCE_PU, current: float = CURRENT_TOLERANCE) -> bool:
        """Converged and inside every limit, to the given tolerances."""
        return self.flow.converged and self.worst_over_v <= band and self.worst_over_i <= current


@dataclass(frozen=True)
class Certificate:
    """What was found at the set-points as sent.

    safe            "yes"; "relaxed": safe, with limits that zero export breaks already widened; "no"
    worst_v_pu      largest distance outside the band in force (negative: the margin)
    worst_i         largest share of a rating less one (negative: the margin)
    kcl_residual    of the power flow, pu
    disagreement_pu largest difference to the voltages the optimiser claims, 0 if it claims none
    where_v, where_i  node and terminal of the worst
    reasons         why it is not safe, empty if it is
    """

    safe: Safe
    worst_v_pu: float
    worst_i: float
    kcl_residual: float
    disagreement_pu: float
    where_v: str
    where_i: str
    reasons: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """May be published."""
        return self.safe != "no"


def run(
    network: Network, request: DmsRequest, p_curtail_kw: Array | float = 0.0, start: Flow | None = None
) -> Flow:
    """Power flow with every connection at its export less its curtailment (n_connections,).

    Loads that follow the voltage do so here, whatever the optimiser takes them for.
    """
    feeder = network.feeder
    loads, connections = feeder[Loads], feeder[Connections]
    if voltage_dependent(loads).any() or len(feeder[Generators]):
        return _run_loads(network, request, p_curtail_kw, _loads_now(network, request), start)
    p = request.p_export_kw - p_curtail_kw - request.p_import_kw
    pair = np.vstack([loads.pair, connections.pair])
    drawn = request.p_load_kw + 1j * request.q_load_kvar
    s_kva = np.concatenate([-drawn, p + 1j * request.q_kvar])
    return network.solve(pair, s_kva * 1e3, start=start)


def measure(network: Network, flow: Flow, values: LimitValues) -> State:
    """Hold a power flow against limits, node by node and terminal by terminal."""
    v_pu = np.abs(flow.v[values.node]) / network.feeder.v_base_v[values.node]
    through = terminal_current_a(network, flow, values)
    power = np.flatnonzero(values.unit == "VA")
    if len(power):
        pair = coil_pairs(network.feeder, values.row[power], values.slot[power])
        through[power] *= np.abs(flow.v[pair[:, 0]] - flow.v[pair[:, 1]])
    over_v = np.maximum(values.v_min_pu - v_pu, v_pu - values.v_max_pu)
    return State(flow, v_pu, through, over_v, through / values.rating - 1)


def terminal_current_a(network: Network, flow: Flow, values: LimitValues) -> Array:
    """|current| into the rated terminals, (n_i,) ampere."""
    found = np.zeros(len(values.kind))
    for p, current in network.terminal_currents(flow):
        mine = values.kind == p.kind
        place = np.full(int(max(p.row.max(initial=-1), values.row[mine].max(initial=-1))) + 1, -1)
        place[p.row] = np.arange(len(p.row))
        here = np.flatnonzero(mine)
        at = place[values.row[here]]
        here, at = here[at >= 0], at[at >= 0]
        found[here] = np.abs(current[at, values.slot[here]])
    return found


def first_largest(values: Array) -> int:
    """Index of the largest value, the first of those within 1e-9: parallel cables tie, and names must not."""
    return int(np.argmax(values >= values.max() - 1e-9))


def certify(
    network: Network,
    request: DmsRequest,
    p_adjusted_kw: Array,
    values: LimitValues,
    *,
    relaxed: bool = False,
    claimed_v_pu: Array | None = None,
    other_v_pu: Array | None = None,
    flow: Flow | None = None,
) -> Certificate:
    """Power flow at the AES as sent, held against the limits in force.

    p_adjusted_kw  (n_connections,)  AES         claimed_v_pu  (n_nodes,) complex, of the optimiser
    relaxed        the limits in force were widened for violations that exist at zero export
    other_v_pu     (n_nodes,) complex: the state that a power flow finds from there must be safe as well
    flow           a power flow at just these set-points, if there is one already
    """
    curtail = request.p_export_kw - p_adjusted_kw
    flow = flow or run(network, request, curtail)
    state = measure(network, flow, values)
    disagreement = 0.0
    if claimed_v_pu is not None and flow.converged:
        disagreement = _disagreement(network, flow, claimed_v_pu)
    others = other_flows(network, request, curtail, flow)
    if other_v_pu is not None:
        others.append(_from(network, request, curtail, flow, other_v_pu))
    states = [state, *(measure(network, other, values) for other in others if other.converged)]
    state = max(states, key=lambda s: (not s.within(), s.worst_over_v, s.worst_over_i))
    reasons = _reasons(state, curtail, p_adjusted_kw, disagreement)
    where_v = first_largest(state.over_v) if len(state.over_v) else -1
    where_i = first_largest(state.over_i) if len(state.over_i) else -1
    return Certificate(
        safe="no" if reasons else "relaxed" if relaxed else "yes",
        worst_v_pu=state.worst_over_v,
        worst_i=state.worst_over_i,
        kcl_residual=flow.residual,
        disagreement_pu=disagreement,
        where_v=str(network.feeder.node_names[values.node[where_v]]) if where_v >= 0 else "",
        where_i=str(values.label[where_i]) if where_i >= 0 else "",
        reasons=reasons,
    )


def other_flows(network: Network, request: DmsRequest, curtail_kw: Array | float, flow: Flow) -> list[Flow]:
    """Further states at the same set-points: with the loads near a step started from either side of it.

    Loads whose power steps at the end of their band have two consistent states near it. Which of them a
    feeder is in depends on where it came from, so set-points must be safe in each that is found.
    """
    now = _loads_now(network, request)
    if not flow.converged or not len(now):
        return []
    sides = sides_of_a_step(now, flow.v[now.pair[:, 0]] - flow.v[now.pair[:, 1]], NEAR_A_STEP_PU)
    found = []
    for held in sides or ():
        start = _run_loads(network, request, curtail_kw, held, flow)
        if start.converged:
            found.append(_run_loads(network, request, curtail_kw, now, start))
    base = network.feeder.v_base_v[1:]

    def elsewhere(other: Flow) -> bool:
        return bool(other.converged and np.abs((other.v - flow.v)[1:] / base).max() > VOLTAGE_AGREEMENT_PU)

    return [other for other in found if elsewhere(other)]


def _loads_now(network: Network, request: DmsRequest) -> Loads:
    return network.feeder[Loads].replace(p_kw=request.p_load_kw, q_kvar=request.q_load_kvar)


def _run_loads(
    network: Network, request: DmsRequest, curtail_kw: Array | float, drawn: Loads, start: Flow | None
) -> Flow:
    """Power flow with loads by their laws and every connection at its export less its curtailment."""
    p = request.p_export_kw - curtail_kw - request.p_import_kw
    s_va = (p + 1j * request.q_kvar) * 1e3
    return network.solve_loads(network.feeder[Connections].pair, s_va, drawn=drawn, start=start)


def _disagreement(network: Network, flow: Flow, claimed_v_pu: Array) -> float:
    """Largest difference to voltages (n_nodes,) that are claimed, per unit."""
    return float(np.abs(flow.v[1:] / network.feeder.v_base_v[1:] - claimed_v_pu).max(initial=0.0))


def _from(network: Network, request: DmsRequest, curtail_kw: Array, flow: Flow, v_pu: Array) -> Flow:
    """The power flow that is found from given voltages."""
    v = np.concatenate([[0.0], v_pu * network.feeder.v_base_v[1:]])
    return run(network, request, curtail_kw, start=replace(flow, v=v))


def _reasons(state: State, curtail_kw: Array, adjusted_kw: Array, disagreement: float) -> tuple[str, ...]:
    tests = (
        (state.flow.converged, "the power flow at the set-points does not converge"),
        (state.flow.residual <= KCL_TOLERANCE_PU, "Kirchhoff residual above 1e-6 pu"),
        (state.worst_over_v <= BAND_TOLERANCE_PU, "a voltage is outside its band"),
        (state.worst_over_i <= CURRENT_TOLERANCE, "a current or power is above its rating"),
        (float(adjusted_kw.min(initial=0.0)) >= 0, "a set-point is negative"),
        (float(curtail_kw.min(initial=0.0)) >= -SETPOINT_TOLERANCE_KW, "a set-point is above its request"),
        (disagreement <= VOLTAGE_AGREEMENT_PU, "voltages differ from the optimiser's by more than 1e-6 pu"),
    )
    return tuple(reason for held, reason in tests if not held)
