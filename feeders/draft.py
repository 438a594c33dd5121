"""`Draft`: collect buses and rows one by one, then freeze them into a `Feeder`.

Readers and builders use it; everything else sees only the frozen feeder.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from feeders.feeder import Buses, Feeder, Nodes
from feeders.table import ABSENT, EARTH, Table


class Draft:
    """A feeder in the making."""

    def __init__(self, name: str, *, frequency_hz: float = 60.0, origin: str = "") -> None:
        self.name, self.frequency_hz, self.origin = name, frequency_hz, origin
        self._buses: dict[str, dict[str, Any]] = {}
        self._nodes: dict[tuple[str, int], int] = {("", 0): EARTH}
        self._rows: dict[type[Table], list[dict[str, Any]]] = {}

    def add_bus(self, name: str, *, v_base_kv: float, x: float = np.nan, y: float = np.nan) -> None:
        """Add a bus; `v_base_kv` is its phase-to-earth voltage base.

        Raises  ValueError  the bus is there already
        """
        if name in self._buses:
            raise ValueError(f"bus {name!r} is there already")
        self._buses[name] = {"name": name, "v_base_kv": v_base_kv, "x": x, "y": y}

    def node(self, bus: str, terminal: int) -> int:
        """Index of `bus.terminal`, made when first asked for; terminal 0 is earth.

        Raises  KeyError  there is no such bus
        """
        if terminal == 0:
            return EARTH
        if bus not in self._buses:
            raise KeyError(f"no bus {bus!r}: add it before using its nodes")
        return self._nodes.setdefault((bus, terminal), len(self._nodes))

    def phases(self, bus: str, terminals: tuple[int, ...] = (1, 2, 3), *, width: int = 4) -> list[int]:
        """Node indices of some terminals, padded with -1 to `width`."""
        nodes = [self.node(bus, t) for t in terminals]
        return nodes + [ABSENT] * (width - len(nodes))

    def add(self, table: type[Table], **row: Any) -> int:
        """Add one row to a table and return its row number."""
        rows = self._rows.setdefault(table, [])
        rows.append(row)
        return len(rows) - 1

    def finish(self) -> Feeder:
        """Freeze everything into a `Feeder`.

        Raises  ValueError  a row has an unknown, missing or misshapen column
        """
        bus_row = {name: i for i, name in enumerate(self._buses)}
        nodes = Nodes(
            bus=np.array([bus_row[bus] if t else ABSENT for bus, t in self._nodes]),
            terminal=np.array([t for _, t in self._nodes]),
        )
        return Feeder(
            name=self.name,
            buses=Buses.from_rows(list(self._buses.values())),
            nodes=nodes,
            tables={table: table.from_rows(list(rows)) for table, rows in self._rows.items()},
            frequency_hz=self.frequency_hz,
            origin=self.origin,
        )
