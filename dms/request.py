"""`DmsRequest`: everything one tick asks of the DMS, and `Units`, who is curtailed together."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from feeders import Connections, Feeder, Loads
from feeders.table import Array

CurtailUnit = Literal["prosumer", "connection"]


@dataclass(frozen=True)
class Units:
    """Curtailment units: one variable each, split over its connections by the shares.

    name             (n_units,) str        prosumer, or prosumer and connection number
    of_connection    (n_connections,) int  unit of each connection
    share            (n_connections,)      part of the unit's curtailment taken there
    connection_label (n_connections,) str
    """

    name: Array
    of_connection: Array
    share: Array
    connection_label: Array

    @staticmethod
    def of(connections: Connections, curtail_unit: CurtailUnit = "prosumer") -> Units:
        """`"prosumer"`: a balanced inverter, one curtailment; `"connection"`: one each (the paper's)."""
        first, unit = _first_seen(connections.prosumer)
        count = np.zeros(len(first), dtype=int)
        label = []
        for name, u in zip(connections.prosumer, unit, strict=True):
            count[u] += 1
            label.append(f"{name}#{count[u]}")
        single = count[unit] == 1 if len(unit) else np.zeros(0, dtype=bool)
        labels = np.where(single, connections.prosumer, np.array(label, dtype=object))
        if curtail_unit not in get_args(CurtailUnit):
            raise ValueError(f"curtail_unit {curtail_unit!r}; known: {', '.join(get_args(CurtailUnit))}")
        if curtail_unit == "connection":
            n = len(connections)
            return Units(labels, np.arange(n), np.ones(n), labels)
        return Units(connections.prosumer[first], unit, connections.share, labels)

    def unit_export_kw(self, p_export_kw: Array) -> Array:
        """Largest curtailment (n_units,) that leaves no connection below zero, kW."""
        limit = np.full(len(self.name), np.inf)
        np.minimum.at(limit, self.of_connection, p_export_kw / self.share)
        return limit

    def total_kw(self, p_curtail_kw: Array) -> Array:
        """Curtailment at the connections (n_connections,) summed over each unit (n_units,), kW."""
        return np.bincount(self.of_connection, p_curtail_kw, len(self.name))

    def same_as(self, other: Units) -> bool:
        """The same units over the same connections in the same order."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return all(np.array_equal(a, b) for a, b in pairs)

    def split_kw(self, p_curtail_kw: Array) -> Array:
        """Curtailment of units (n_units,) at the connections (n_connections,), kW."""
        return p_curtail_kw[self.of_connection] * self.share


def _first_seen(names: Array) -> tuple[Array, Array]:
    """Index of each distinct name's first occurrence, and the number of each entry, in order."""
    number: dict[str, int] = {}
    unit = np.array([number.setdefault(name, len(number)) for name in names], dtype=int)
    return np.unique(unit, return_index=True)[1], unit


@dataclass(frozen=True)
class DmsRequest:
    """One tick.

    p_export_kw, p_import_kw  (n_connections,)  OES and OIS, >= 0
    q_kvar                    (n_connections,)  injected, by the inverter or beside it (`Connections`)
    p_load_kw, q_load_kvar    (n_loads,)        consumed by the plain loads
    units                     who is curtailed together
    q_set_kvar                (n_connections,)  set-point of the inverters whose Q is free; empty: zero

    Raises  ValueError  a wrong length, a value that is not finite, or a negative export or import
    """

    p_export_kw: Array
    p_import_kw: Array
    q_kvar: Array
    p_load_kw: Array
    q_load_kvar: Array
    units: Units
    q_set_kvar: Array = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        n, n_loads = len(self.units.of_connection), np.size(self.p_load_kw)
        if not np.size(self.q_set_kvar):
            object.__setattr__(self, "q_set_kvar", np.zeros(n))
        for name in ("p_export_kw", "p_import_kw", "q_kvar", "q_set_kvar", "p_load_kw", "q_load_kvar"):
            if np.iscomplexobj(getattr(self, name)):
                raise ValueError(f"{name}: complex values; give P and Q apart, as real numbers")
            value = np.array(getattr(self, name), dtype=float)
            bad = ~np.isfinite(value)
            if name in ("p_export_kw", "p_import_kw"):
                bad |= value < 0
            _check_length(name, value, *((n_loads, "loads") if "load" in name else (n, "connections")))
            if bad.any():
                k = int(np.flatnonzero(bad)[0])
                who = self.units.connection_label[k] if "load" not in name else f"load row {k}"
                raise ValueError(f"{name}: {value[k]} at {who}; give a finite number, powers >= 0")
            value.flags.writeable = False
            object.__setattr__(self, name, value)

    @staticmethod
    def of(feeder: Feeder, p_export_kw: Array, **given: Array | Units) -> DmsRequest:
        """A request with the feeder's own loads, no import and no reactive power unless given.

        Raises  ValueError  as the class
        """
        connections, loads = feeder[Connections], feeder[Loads]
        zero = np.zeros(len(connections))
        values: dict[str, Array | Units] = {
            "p_import_kw": zero,
            "q_kvar": zero,
            "p_load_kw": loads.p_kw,
            "q_load_kvar": loads.q_kvar,
        }
        if "units" not in given:
            values["units"] = Units.of(connections)
        request = DmsRequest(p_export_kw=p_export_kw, **{**values, **given})  # type: ignore[arg-type]
        _check_length("p_load_kw", request.p_load_kw, len(loads), "loads")
        return request

    def without_export(self) -> DmsRequest:
        """The same tick with every prosumer at zero export."""
        return self.exporting(np.zeros_like(self.p_export_kw))

    def exporting(self, p_export_kw: Array) -> DmsRequest:
        """The same tick with other exports."""
        return replace(self, p_export_kw=p_export_kw)

    def holding(self, q_set_kvar: Array) -> DmsRequest:
        """The same tick with set-points (n_connections,) for the inverters whose Q is free."""
        return replace(self, q_set_kvar=q_set_kvar)


def _check_length(name: str, value: Array, n: int, what: str) -> None:
    if value.shape != (n,):
        raise ValueError(f"{name}: {value.size} values for {n} {what}; give one each, in a row")
