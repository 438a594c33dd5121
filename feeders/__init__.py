"""Feeders: distribution networks as tables in SI units, usable on their own.

>>> from feeders import Lines, library
>>> feeder = library.load("ieee342")
>>> feeder[Lines].z_ohm.shape
(310, 4, 4)
"""

from feeders.draft import Draft
from feeders.elements import (
    Admittances,
    Capacitors,
    Connections,
    Generators,
    Lines,
    Loads,
    Reactors,
    Regulators,
    Sources,
    Switches,
    Transformers,
    WindingPairs,
    Windings,
)
from feeders.feeder import Buses, Feeder, Nodes
from feeders.inverters import Inverters
from feeders.table import ABSENT, EARTH, Table

__all__ = [
    "ABSENT",
    "EARTH",
    "Admittances",
    "Buses",
    "Capacitors",
    "Connections",
    "Draft",
    "Feeder",
    "Generators",
    "Inverters",
    "Lines",
    "Loads",
    "Nodes",
    "Reactors",
    "Regulators",
    "Sources",
    "Switches",
    "Table",
    "Transformers",
    "WindingPairs",
    "Windings",
]
