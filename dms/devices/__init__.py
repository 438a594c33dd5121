"""Devices: the law each element obeys, as coefficients of the `Program`.

A device is a module with `build` (its law, posted once per feeder) and `set_numbers` (what a
tick changes). To add one: write the module and name it here, beside its table.
"""

from __future__ import annotations

from typing import Protocol

from dms.builder import Builder
from dms.devices import (
    admittance,
    capacitor,
    generator,
    line,
    load,
    prosumer,
    reactor,
    source,
    switch,
    transformer,
)
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest
from feeders import (
    Connections,
    Feeder,
    Generators,
    Lines,
    Loads,
    Sources,
    Switches,
    Table,
    Transformers,
    WindingPairs,
    Windings,
)
from feeders.elements import Admittances, Capacitors, Reactors, Regulators


class Device(Protocol):
    """What a module in this folder offers."""

    def build(self, feeder: Feeder, b: Builder) -> None:
        """State the law: variables, rows, and currents posted to Kirchhoff's law."""

    def set_numbers(
        self,
        feeder: Feeder,
        program: Program,
        request: DmsRequest,
        numbers: Numbers,
        regimes: Regimes,
    ) -> None:
        """Write the tick's figures into the bounds.

        regimes  which of its laws a load that follows the voltage obeys
        """


DEVICES: dict[type[Table], Device] = {
    Sources: source,
    Lines: line,
    Switches: switch,
    Transformers: transformer,
    Capacitors: capacitor,
    Reactors: reactor,
    Admittances: admittance,
    Loads: load,
    Generators: generator,
    Connections: prosumer,
}


PARTS: tuple[type[Table], ...] = (Windings, WindingPairs, Regulators)
"""Tables that belong to a device of another table; a regulator is a control, its tap stands in `Windings`."""


class UnsupportedError(NotImplementedError):
    """The feeder has something that the optimisation has no law for; it is never left out silently."""


def check_supported(feeder: Feeder) -> None:
    """Every element of the feeder has a law here.

    Raises  UnsupportedError  naming the tables that have none
    """
    tables = [k.__name__ for k, t in feeder.tables.items() if len(t) and k not in DEVICES and k not in PARTS]
    if tables:
        laws = ", ".join(f"table {name}" for name in tables)
        raise UnsupportedError(f"feeder {feeder.name}: the optimisation has no law yet for {laws}")


def in_feeder(feeder: Feeder) -> list[Device]:
    """The devices that the feeder has, in the order of `DEVICES`."""
    return [device for table, device in DEVICES.items() if len(feeder[table])]
