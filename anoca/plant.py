"""The plant: what really happens once the set-points are out.

Its feeder and its circuit are its own objects (and may be another form of the network, see
`[plant]`); nothing of the optimiser's model is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dms import DmsRequest, Flow, Limits, LimitValues, Network, Units
from dms.certificate import State, first_largest, measure, run
from feeders import Connections, Feeder
from feeders.table import Array


@dataclass(frozen=True)
class Reading:
    """The plant after one tick.

    worst_line_pct  most loaded rated conductor in percent of its rating, NaN without ratings
    v_min_pu, v_max_pu  over the nodes with a voltage band
    state           against the nominal limits
    """

    worst_line: str
    worst_line_pct: float
    v_min_pu: float
    v_min_node: str
    v_max_pu: float
    v_max_node: str
    state: State

    @property
    def flow(self) -> Flow:
        """The power flow."""
        return self.state.flow


class Plant:
    """A feeder with prosumers, loads and limits to be read against."""

    def __init__(self, feeder: Feeder, limits: Limits) -> None:
        self.network = Network(feeder)
        self.values = LimitValues.resolve(feeder, limits)
        self.units = Units.of(feeder[Connections])
        self._names = feeder.node_names
        self._flow: Flow | None = None

    def step(
        self, *, p_export_kw: Array, p_import_kw: Array, q_kvar: Array, p_load_kw: Array, q_load_kvar: Array
    ) -> Reading:
        """Power flow with what the prosumers (n_prosumers,) and plain loads (n_loads,) really do."""
        split = self.units.split_kw
        request = DmsRequest(
            split(p_export_kw), split(p_import_kw), split(q_kvar), p_load_kw, q_load_kvar, self.units
        )
        flow = run(self.network, request, start=self._flow)
        self._flow = flow if flow.converged else None
        return self._read(measure(self.network, flow, self.values))

    def _read(self, state: State) -> Reading:
        load = np.where(self.values.kind == "line", state.over_i + 1, -np.inf)
        k = first_largest(load) if len(load) else -1
        low, high = first_largest(-state.v_pu), first_largest(state.v_pu)
        return Reading(
            worst_line=str(self.values.label[k]) if k >= 0 else "",
            worst_line_pct=float(load[k] * 100) if k >= 0 else np.nan,
            v_min_pu=float(state.v_pu[low]),
            v_min_node=str(self._names[self.values.node[low]]),
            v_max_pu=float(state.v_pu[high]),
            v_max_node=str(self._names[self.values.node[high]]),
            state=state,
        )
