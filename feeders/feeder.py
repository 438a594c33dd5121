"""`Feeder`: a name, buses, nodes and element tables. No solver, SI units.

A *bus* is a place; its *nodes* are conductors there: `bus.1 bus.2 bus.3` are the phases,
`bus.4` a neutral. Node index 0 is earth, `0`; -1 means "not there".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from feeders.table import Array, Table, column

T = TypeVar("T", bound=Table)


class Buses(Table):
    """Places of the feeder."""

    name: Array = column("-", dtype=str, check="unique")
    v_base_kv: Array = column("kV", check="positive", doc="phase-to-earth voltage base")
    x: Array = column("any", check="any", default=np.nan, doc="coordinate for drawing")
    y: Array = column("any", check="any", default=np.nan)


class Nodes(Table):
    """Conductors; row 0 is earth."""

    bus: Array = column("row of Buses", dtype=int, check="any", doc="-1 for earth")
    terminal: Array = column("-", dtype=int, check="nonnegative", doc="1, 2, 3 phases, 4 neutral, 0 earth")


@dataclass(frozen=True)
class Feeder:
    """A distribution network as tables: `feeder[Lines].z_ohm`.

    name          short name, used in results
    buses, nodes  places and conductors
    tables        element tables by type; a type that is absent reads as an empty table
    frequency_hz  50 or 60
    origin        where the figures come from
    """

    name: str
    buses: Buses
    nodes: Nodes
    tables: Mapping[type[Table], Table] = field(default_factory=dict)
    frequency_hz: float = 60.0
    origin: str = ""

    def __getitem__(self, table: type[T]) -> T:
        found = self.tables.get(table)
        return found if found is not None else table.empty()  # type: ignore[return-value]

    @property
    def n_nodes(self) -> int:
        """Number of nodes, earth not counted."""
        return len(self.nodes) - 1

    @cached_property
    def node_names(self) -> Array:
        """(n_nodes + 1,) names: `0` for earth, then `bus.terminal`."""
        names = [
            f"{self.buses.name[b]}.{t}" if b >= 0 else "0"
            for b, t in zip(self.nodes.bus, self.nodes.terminal, strict=True)
        ]
        return np.array(names, dtype=object)

    @cached_property
    def v_base_v(self) -> Array:
        """(n_nodes + 1,) phase-to-earth voltage base of every node, volt; 1 for earth."""
        base = np.where(self.nodes.bus >= 0, self.buses.v_base_kv[self.nodes.bus] * 1e3, 1.0)
        return np.asarray(base)

    @cached_property
    def _node_index(self) -> dict[str, int]:
        return {name: i for i, name in enumerate(self.node_names)}

    def node(self, name: str) -> int:
        """Index of a node by name, `bus.1`.

        Raises  KeyError  no such node, with the bus's nodes if the bus exists
        """
        if name in self._node_index:
            return self._node_index[name]
        bus = name.partition(".")[0]
        have = [n for n in self.node_names if n.partition(".")[0] == bus]
        hint = f"bus {bus} has {', '.join(have)}" if have else f"there is no bus {bus!r}"
        raise KeyError(f"feeder {self.name}: no node {name!r}; {hint}")

    def with_tables(self, *tables: Table, **changes: Any) -> Feeder:
        """A copy with some tables replaced, and perhaps another name or origin."""
        merged = {**self.tables, **{type(t): t for t in tables}}
        return replace(self, tables=merged, **changes)
