"""The plant: what really happens once the set-points are out.

Its feeder and its circuit are its own objects (and may be another form of the network, see
`[plant]`); nothing of the optimiser's model is used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dms import DmsRequest, Flow, Limits, LimitValues, Network, Units
from dms.certificate import State, first_largest, measure, run
from dms.controls import ControlValues
from feeders import Connections, Feeder
from feeders.elements.connections import rating_kva
from feeders.table import Array


@dataclass(frozen=True)
class Reading:
    """The plant after one tick.

    worst_line_pct  most loaded rated conductor in percent of its rating, NaN without ratings
    v_min_pu, v_max_pu  over the nodes with a voltage band; these are NaN or "" without a power flow
    state           against the nominal limits
    violated        outside a limit in force, or no power flow at all
    withheld_kw     export that inverters could not give at their voltage and rating
    """

    worst_line: str
    worst_line_pct: float
    v_min_pu: float
    v_min_node: str
    v_max_pu: float
    v_max_node: str
    state: State
    violated: bool
    withheld_kw: float = 0.0

    @property
    def flow(self) -> Flow:
        """The power flow."""
        return self.state.flow


class Plant:
    """A feeder with prosumers, loads and limits to be read against."""

    def __init__(self, feeder: Feeder, limits: Limits, controls: ControlValues) -> None:
        self.network = Network(feeder)
        self._controls, self._position = controls, controls.present(feeder)
        self.values = LimitValues.resolve(feeder, limits)
        self.units = Units.of(feeder[Connections])
        self._names = feeder.node_names
        self._flow: Flow | None = None

    def step(
        self,
        *,
        p_export_kw: Array,
        p_import_kw: Array,
        q_kvar: Array,
        q_set_kvar: Array,
        p_load_kw: Array,
        q_load_kvar: Array,
        nominal: LimitValues,
        in_force: LimitValues,
        position: Array,
    ) -> Reading:
        """Power flow with what the prosumers (n_prosumers,) and plain loads (n_loads,) really do.

        q_set_kvar  (n_connections,) of the inverters whose reactive power the utility decides; all others
                    follow their own law, and what none can give is withheld
        nominal   the utility's limits of this tick; `in_force`: as they were widened
        position  (n_controls,) of taps and capacitor steps
        """
        if not np.array_equal(position, self._position):
            self.network = Network(self._controls.apply(self.network.feeder, position))
            self._position = position
        split = self.units.split_kw
        powers = split(p_export_kw), split(p_import_kw), split(q_kvar), p_load_kw, q_load_kvar
        request = DmsRequest(*powers, self.units, q_set_kvar)
        flow = run(self.network, request, start=self._flow)
        self._flow = flow if flow.converged else None
        withheld = self._withheld_kw(flow)
        flow = replace(flow, over_s=np.zeros(0))  # what an inverter withholds breaks no limit
        here = self.values.named(nominal.by_name()) if self.values.unresolved else self.values
        state = held = measure(self.network, flow, here)
        if in_force is not nominal:
            held = measure(self.network, flow, self.values.named(in_force.by_name()))
        return replace(self._read(state, not held.within()), withheld_kw=withheld)

    def _withheld_kw(self, flow: Flow) -> float:
        """What inverters were told to export and could not give, in all."""
        if not len(flow.over_s) or not flow.converged:
            return 0.0
        rating, beyond = rating_kva(self.network.feeder[Connections]), flow.over_s > 0
        return float((flow.over_s[beyond] * rating[beyond]).sum())

    def _read(self, state: State, violated: bool) -> Reading:
        if not state.flow.converged:
            return Reading("", np.nan, np.nan, "", np.nan, "", state, violated)
        load = np.where(self.values.kind == "line", state.over_i + 1, -np.inf)
        k = first_largest(load) if len(load) and np.isfinite(load).any() else -1
        if not len(state.v_pu):
            nothing = (np.nan, "", np.nan, "")
            return Reading(self._line(k), self._pct(load, k), *nothing, state, violated)
        low, high = first_largest(-state.v_pu), first_largest(state.v_pu)
        return Reading(
            worst_line=self._line(k),
            worst_line_pct=self._pct(load, k),
            v_min_pu=float(state.v_pu[low]),
            v_min_node=str(self._names[self.values.node[low]]),
            v_max_pu=float(state.v_pu[high]),
            v_max_node=str(self._names[self.values.node[high]]),
            state=state,
            violated=violated,
        )

    def _line(self, k: int) -> str:
        return str(self.values.label[k]) if k >= 0 else ""

    def _pct(self, load: Array, k: int) -> float:
        return float(load[k] * 100) if k >= 0 else np.nan
