"""The `safe` certificate: what the feeder really does at the set-points as they are sent.

Everything here rests on `dms.network`, the power flow on primitive elements. Nothing comes
from the optimiser but the voltages it claims, and those only to be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from dms.injection import injected_power, with_inverters
from dms.limits import BAND_TOLERANCE_PU as BAND_TOLERANCE_PU
from dms.limits import CURRENT_TOLERANCE as CURRENT_TOLERANCE
from dms.limits import Family, LimitValues, coil_pairs
from dms.limits.find import sequences
from dms.limits.values import Found
from dms.network import Flow, Network
from dms.request import DmsRequest
from feeders import Connections, Generators, Loads
from feeders.elements import Primitive
from feeders.elements.connections import follows_voltage
from feeders.elements.loads import sides_of_a_step, voltage_dependent
from feeders.table import Array

KCL_TOLERANCE_PU = 1e-6
VOLTAGE_AGREEMENT_PU = 1e-6
SETPOINT_TOLERANCE_KW = 1e-6
INVERTER_TOLERANCE = 1e-6
"""Of its rating: how far a set-point may lie above what the inverter can give."""
NEAR_A_STEP_PU = 0.03
"""Distance of a load from a step of its law at which the feeder is searched for another state."""

Safe = Literal["yes", "relaxed", "no"]


@dataclass(frozen=True)
class State:
    """A power flow held against limits.

    found  what was measured, one array for each family of limits, in its unit
    over   how far beyond its limits: in the unit of voltages and ratios, relative for ratings and power
    """

    flow: Flow
    values: LimitValues
    found: Found

    @cached_property
    def over(self) -> Found:
        """Distances beyond limits, one array for each family; negative is the margin."""
        return self.values.over(self.found)

    @property
    def v_pu(self) -> Array:
        """(n_v,) |v| at the nodes with a band to ground."""
        return self._of(self.found, "v_band")

    @property
    def over_v(self) -> Array:
        """(n_v,) how far they lie outside of it, pu."""
        return self._of(self.over, "v_band")

    @property
    def through(self) -> Array:
        """(n_i,) at the rated terminals: |i| ampere, or |u| |i| volt-ampere of a coil."""
        return self._of(self.found, "i_limit", "s_limit")

    @property
    def over_i(self) -> Array:
        """(n_i,) the same over the rating, less one."""
        return self._of(self.over, "i_limit", "s_limit")

    @property
    def worst_over_v(self) -> float:
        """Largest distance outside a band, pu; negative is the margin; -inf without limits."""
        return _largest(self._of(self.over, "v_band", "v_ll_band"))

    @property
    def worst_over_i(self) -> float:
        """Largest share of a rating less one; -inf without ratings."""
        return _largest(self.over_i)

    @property
    def beyond(self) -> tuple[float, float]:
        """Largest distance beyond a limit of voltages and ratios, in their unit; and of ratings, relative."""
        pairs = list(zip(self.values.families, self.over, strict=True))
        own, relative = (
            max((_largest(over) for f, over in pairs if (f.least is None) is way), default=-np.inf)
            for way in (True, False)
        )
        return own, relative

    @property
    def nearness(self) -> float:
        """Largest distance beyond any limit, in units of its tolerance: up to 1 is forgiven."""
        pairs = zip(self.values.families, self.over, strict=True)
        return max((_largest(over) / f.tolerance for f, over in pairs), default=-np.inf)

    def within(self, band: float = BAND_TOLERANCE_PU, current: float = CURRENT_TOLERANCE) -> bool:
        """Converged and inside every limit, to tolerances of voltages and ratios, and of ratings.

        No inverter is told more than it can give.
        """
        pairs = zip(self.values.families, self.over, strict=True)
        if not (self.flow.converged and self.flow.worst_over_s <= INVERTER_TOLERANCE):
            return False
        return all(bool((over <= (band if f.least is None else current)).all()) for f, over in pairs)

    def _of(self, arrays: Found, *names: str) -> Array:
        pairs = zip(self.values.families, arrays, strict=True)
        found = [array for f, array in pairs if f.rows in names]
        return np.concatenate(found) if found else np.zeros(0)


@dataclass(frozen=True)
class Worst:
    """The element of a family of limits that is nearest to its limit, or furthest beyond.

    over  how far beyond, in `unit` or relative; negative is the margin
    """

    rows: str
    element: str
    over: float
    tolerance: float


@dataclass(frozen=True)
class Certificate:
    """What was found at the set-points as sent.

    safe            "yes"; "relaxed": safe, with limits that zero export breaks already widened; "no"
    worst_v_pu      largest distance outside the band in force (negative: the margin)
    worst_i         largest share of a rating less one (negative: the margin)
    kcl_residual    of the power flow, pu
    disagreement_pu largest difference to the voltages the optimiser claims, 0 if it claims none
    where_v, where_i  node (or phases) and terminal of the worst
    worst           of every family of limits that the feeder has
    reasons         why it is not safe, empty if it is
    worst_s         largest export above what its inverter can give, of its rating (negative: the margin)
    """

    safe: Safe
    worst_v_pu: float
    worst_i: float
    kcl_residual: float
    disagreement_pu: float
    where_v: str
    where_i: str
    reasons: tuple[str, ...]
    worst: tuple[Worst, ...] = ()
    worst_s: float = -np.inf

    @property
    def nearness(self) -> float:
        """Largest distance beyond any limit, in units of its tolerance; an inverter is one."""
        own = self.worst_s / INVERTER_TOLERANCE
        return max([own, *(w.over / w.tolerance for w in self.worst)])

    @property
    def ok(self) -> bool:
        """May be published."""
        return self.safe != "no"


def run(
    network: Network, request: DmsRequest, p_curtail_kw: Array | float = 0.0, start: Flow | None = None
) -> Flow:
    """Power flow with every connection at its export less its curtailment (n_connections,).

    Loads and inverters that follow the voltage do so here, whatever the optimiser takes them for; an inverter
    that cannot give what it is told gives what it can, and `Flow.over_s` tells.
    """
    feeder = network.feeder
    loads, connections = feeder[Loads], feeder[Connections]
    if voltage_dependent(loads).any() or len(feeder[Generators]) or follows_voltage(connections).any():
        return _run_loads(network, request, p_curtail_kw, _loads_now(network, request), start)
    pair = np.vstack([loads.pair, connections.pair])
    drawn = request.p_load_kw + 1j * request.q_load_kvar
    u_any = np.ones(len(connections))
    injected = injected_power(connections, request, p_curtail_kw)(u_any)
    flow = network.solve(pair, np.concatenate([-drawn * 1e3, injected]), start=start)
    return with_inverters(connections, request, p_curtail_kw, flow)


def measure(network: Network, flow: Flow, values: LimitValues) -> State:
    """Hold a power flow against limits, node by node and terminal by terminal."""
    circuit = Circuit(network, flow)
    return State(flow, values, tuple(MEASURES[f.rows](circuit, f) for f in values.families))


@dataclass(frozen=True)
class Circuit:
    """A power flow and, once for all that ask, the currents into its terminals."""

    network: Network
    flow: Flow

    @cached_property
    def currents(self) -> list[tuple[Primitive, Array]]:
        """For every primitive, the current from each node slot into the element, ampere."""
        return self.network.terminal_currents(self.flow)


def _voltage(at: Circuit, family: Family) -> Array:
    """|v|, or |v_a - v_b| between two nodes, per unit."""
    v = at.flow.v[family.place]
    u = v[:, 0] if v.shape[1] == 1 else v[:, 0] - v[:, 1]
    return np.asarray(np.abs(u) / family.base)


def _current(at: Circuit, family: Family) -> Array:
    """|current| into the terminals, ampere."""
    return np.abs(at.network.currents_into(family.of, family.place, at.flow))


def _power(at: Circuit, family: Family) -> Array:
    """|u| |i| of the coils, volt-ampere."""
    pair = coil_pairs(at.network.feeder, *family.place.T)
    return np.asarray(_current(at, family) * np.abs(at.flow.v[pair[:, 0]] - at.flow.v[pair[:, 1]]))


def _unbalance(at: Circuit, family: Family) -> Array:
    """|V2| / |V1|; infinite at a dead bus."""
    positive, negative = np.abs(sequences(at.flow.v[family.place])).T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(positive > 0, negative / positive, np.inf)


def _negative_sequence(at: Circuit, family: Family) -> Array:
    """|V2|, per unit."""
    return np.asarray(np.abs(sequences(at.flow.v[family.place])[:, 1]) / family.base)


def _reverse_power(at: Circuit, family: Family) -> Array:
    """Real power that flows into all sources, kW."""
    sources = [(p, i) for p, i in at.currents if p.kind == "source"]
    into = [np.sum((at.flow.v[p.node] * np.conj(i))[p.branch].real) for p, i in sources]
    return np.array([sum(into) / 1e3])


MEASURES: dict[str, Callable[[Circuit, Family], Array]] = {
    "v_band": _voltage,
    "v_ll_band": _voltage,
    "unbalance": _unbalance,
    "negative_sequence": _negative_sequence,
    "i_limit": _current,
    "s_limit": _power,
    "reverse_power": _reverse_power,
}
"""How every kind of limit is measured in a power flow."""

BROKEN = {
    "v_band": "a voltage is outside its band",
    "v_ll_band": "a voltage is outside its band",
    "unbalance": "a bus is out of balance beyond its limit",
    "negative_sequence": "a negative-sequence voltage is above its limit",
    "i_limit": "a current or power is above its rating",
    "s_limit": "a current or power is above its rating",
    "reverse_power": "more power flows back into the sources than is allowed",
}
"""What a certificate says of every kind."""


def first_largest(values: Array) -> int:
    """Index of the largest value, the first of those within 1e-9: parallel cables tie, and names must not."""
    return int(np.argmax(values >= values.max() - 1e-9))


def _largest(values: Array) -> float:
    return float(values.max(initial=-np.inf))


def _worst(state: State) -> tuple[Worst, ...]:
    """The worst element of every family that has any."""
    found = []
    for f, over in zip(state.values.families, state.over, strict=True):
        if len(f):
            k = first_largest(over)
            found.append(Worst(f.rows, str(f.label[k]), _largest(over), f.tolerance))
    return tuple(found)


def _where(worst: tuple[Worst, ...], *names: str) -> str:
    mine = [w for w in worst if w.rows in names]
    return max(mine, key=lambda w: w.over).element if mine else ""


def certify(
    network: Network,
    request: DmsRequest,
    p_adjusted_kw: Array,
    values: LimitValues,
    *,
    relaxed: bool = False,
    claimed_v_pu: Array | None = None,
    other_v_pu: Array | None = None,
    state: State | None = None,
    others: Sequence[Flow] | None = None,
) -> Certificate:
    """Power flow at the AES as sent, held against the limits in force.

    p_adjusted_kw  (n_connections,)  AES         claimed_v_pu  (n_nodes,) complex, of the optimiser
    relaxed        the limits in force were widened for violations that exist at zero export
    other_v_pu     (n_nodes,) complex: the state that a power flow finds from there must be safe as well
    state          a power flow at just these set-points, held against these limits, if there is one already
    others         what `other_flows` finds beside it, if it was asked already
    """
    curtail = request.p_export_kw - p_adjusted_kw
    state = state or measure(network, run(network, request, curtail), values)
    flow = state.flow
    disagreement = 0.0
    if claimed_v_pu is not None and flow.converged:
        disagreement = _disagreement(network, flow, claimed_v_pu)
    others = list(other_flows(network, request, curtail, flow) if others is None else others)
    if other_v_pu is not None:
        others.append(_from(network, request, curtail, flow, other_v_pu))
    states = [state, *(measure(network, other, values) for other in others if other.converged)]
    state = max(states, key=lambda s: (not s.within(), s.nearness))
    reasons = _reasons(state, curtail, p_adjusted_kw, disagreement)
    worst = _worst(state)
    return Certificate(
        safe="no" if reasons else "relaxed" if relaxed else "yes",
        worst_v_pu=state.worst_over_v,
        worst_i=state.worst_over_i,
        kcl_residual=flow.residual,
        disagreement_pu=disagreement,
        where_v=_where(worst, "v_band", "v_ll_band"),
        where_i=_where(worst, "i_limit", "s_limit"),
        reasons=reasons,
        worst=worst,
        worst_s=flow.worst_over_s,
    )


def other_flows(network: Network, request: DmsRequest, curtail_kw: Array | float, flow: Flow) -> list[Flow]:
    """Further states at the same set-points: with the loads near a step started from either side of it.

    Loads whose power steps at the end of their band have two consistent states near it. Which of them a
    feeder is in depends on where it came from, so set-points must be safe in each that is found.
    """
    if not flow.converged or not voltage_dependent(network.feeder[Loads]).any():
        return []
    now = _loads_now(network, request)
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
    connections = network.feeder[Connections]
    power = injected_power(connections, request, curtail_kw)
    flow = network.solve_loads(connections.pair, power, drawn=drawn, start=start)
    return with_inverters(connections, request, curtail_kw, flow)


def _disagreement(network: Network, flow: Flow, claimed_v_pu: Array) -> float:
    """Largest difference to voltages (n_nodes,) that are claimed, per unit."""
    return float(np.abs(flow.v[1:] / network.feeder.v_base_v[1:] - claimed_v_pu).max(initial=0.0))


def _from(network: Network, request: DmsRequest, curtail_kw: Array, flow: Flow, v_pu: Array) -> Flow:
    """The power flow that is found from given voltages."""
    v = np.concatenate([[0.0], v_pu * network.feeder.v_base_v[1:]])
    return run(network, request, curtail_kw, start=replace(flow, v=v))


def _reasons(state: State, curtail_kw: Array, adjusted_kw: Array, disagreement: float) -> tuple[str, ...]:
    kept: dict[str, bool] = {}
    for f, over in zip(state.values.families, state.over, strict=True):
        kept[BROKEN[f.rows]] = kept.get(BROKEN[f.rows], True) and bool((over <= f.tolerance).all())
    tests = (
        (state.flow.converged, "the power flow at the set-points does not converge"),
        (state.flow.residual <= KCL_TOLERANCE_PU, "Kirchhoff residual above 1e-6 pu"),
        *((holds, reason) for reason, holds in kept.items()),
        (state.flow.worst_over_s <= INVERTER_TOLERANCE, "a set-point is above what its inverter can give"),
        (float(adjusted_kw.min(initial=0.0)) >= 0, "a set-point is negative"),
        (float(curtail_kw.min(initial=0.0)) >= -SETPOINT_TOLERANCE_KW, "a set-point is above its request"),
        (disagreement <= VOLTAGE_AGREEMENT_PU, "voltages differ from the optimiser's by more than 1e-6 pu"),
    )
    return tuple(reason for held, reason in tests if not held)
