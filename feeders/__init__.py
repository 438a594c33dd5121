"""Feeders: distribution networks as tables in SI units, usable on their own.

>>> from feeders import Lines, library
>>> feeder = library.load("ieee342")
>>> feeder[Lines].z_ohm.shape
(310, 4, 4)
"""

from feeders.draft import Draft
from feeders.elements import (
    Connections,
    Lines,
    Loads,
    Sources,
    Switches,
    Transformers,
    WindingPairs,
    Windings,
)
from feeders.feeder import Buses, Feeder, Nodes
from feeders.table import ABSENT, EARTH, Table

__all__ = [
    "ABSENT",
    "EARTH",
    "Buses",
    "Connections",
    "Draft",
    "Feeder",
    "Lines",
    "Loads",
    "Nodes",
    "Sources",
    "Switches",
    "Table",
    "Transformers",
    "WindingPairs",
    "Windings",
]
