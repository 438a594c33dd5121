"""The plant: what really happens once the set-points are out.

Its feeder and its circuit are its own objects (and may be another form of the network, see
`[plant]`); nothing of the optimiser's model is used.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dms import DmsRequest, Flow, Limits, LimitValues, Network, Units
from dms.certificate import State, first_largest, measure, run
from dms.controls import ControlValues
from feeders import Connections, Feeder
from feeders.table import Array


@dataclass(frozen=True)
class Reading:
    """The plant after one tick.

    worst_line_pct  most loaded rated conductor in percent of its rating, NaN without ratings
    v_min_pu, v_max_pu  over the nodes with a voltage band
    state           against the nominal limits
    violated        outside a limit in force, or no power flow at all
    """

    worst_line: str
    worst_line_pct: float
    v_min_pu: float
    v_min_node: str
    v_max_pu: float
    v_max_node: str
    state: State
    violated: bool

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
        p_load_kw: Array,
        q_load_kvar: Array,
        widened: Mapping[tuple[str, str], float],
        position: Array,
    ) -> Reading:
        """Power flow with what the prosumers (n_prosumers,) and plain loads (n_loads,) really do.

        widened   limits in force that differ from the nominal ones, by kind and element
        position  (n_controls,) of taps and capacitor steps
        """
        if not np.array_equal(position, self._position):
            self.network = Network(self._controls.apply(self.network.feeder, position))
            self._position = position
        split = self.units.split_kw
        request = DmsRequest(
            split(p_export_kw), split(p_import_kw), split(q_kvar), p_load_kw, q_load_kvar, self.units
        )
        flow = run(self.network, request, start=self._flow)
        self._flow = flow if flow.converged else None
        state = measure(self.network, flow, self.values)
        in_force = measure(self.network, flow, self._in_force(widened)) if widened else state
        return self._read(state, not in_force.within())

    def _in_force(self, widened: Mapping[tuple[str, str], float]) -> LimitValues:
        """The plant's limits with those widened that carry the same name in its own feeder."""
        nominal, names = self.values, self._names[self.values.node]

        def column(kinds: Array, elements: Array, values: Array) -> Array:
            keys = zip(kinds, map(str, elements), values, strict=True)
            return np.array([widened.get((kind, name), value) for kind, name, value in keys])

        return replace(
            nominal,
            v_min_pu=column(np.full(len(names), "v_min", dtype=object), names, nominal.v_min_pu),
            v_max_pu=column(np.full(len(names), "v_max", dtype=object), names, nominal.v_max_pu),
            rating=column(nominal.rating_kind, nominal.label, nominal.rating),
        )

    def _read(self, state: State, violated: bool) -> Reading:
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
