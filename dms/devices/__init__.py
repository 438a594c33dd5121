"""Devices: the law each element obeys, as coefficients of the `Program`.

A device is a module with `build` (its law, posted once per feeder) and `set_numbers` (what a
tick changes). To add one: write the module and name it here, beside its table.
"""

from __future__ import annotations

from typing import Protocol

from dms.builder import Builder
from dms.devices import line, load, prosumer, source, switch, transformer
from dms.program import Numbers, Program
from dms.request import DmsRequest
from feeders import Connections, Feeder, Lines, Loads, Sources, Switches, Table, Transformers


class Device(Protocol):
    """What a module in this folder offers."""

    def build(self, feeder: Feeder, b: Builder) -> None:
        """State the law: variables, rows, and currents posted to Kirchhoff's law."""

    def set_numbers(self, feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers) -> None:
        """Write the tick's figures into the bounds."""


DEVICES: dict[type[Table], Device] = {
    Sources: source,
    Lines: line,
    Switches: switch,
    Transformers: transformer,
    Loads: load,
    Connections: prosumer,
}


def in_feeder(feeder: Feeder) -> list[Device]:
    """The devices that the feeder has, in the order of `DEVICES`."""
    return [device for table, device in DEVICES.items() if len(feeder[table])]
