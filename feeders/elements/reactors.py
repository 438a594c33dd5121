"""Shunt reactors and grounding impedances between two nodes; one in series is a line."""

from __future__ import annotations

import numpy as np

from feeders.elements.primitive import Primitive
from feeders.elements.shunt import across
from feeders.table import Array, Table, column


class Reactors(Table):
    """One row per phase: a series impedance, with a conductance across it."""

    name: Array = column("-", dtype=str, check="unique")
    pair: Array = column("node", dtype=int, shape=(2,), check="node", doc="the two nodes it lies between")
    z_ohm: Array = column("ohm", dtype=complex, doc="must not be zero")
    g_s: Array = column("S", default=0.0, doc="conductance across the whole")


def primitive(reactors: Reactors) -> Primitive:
    """1 / z + g across the pair."""
    return across("reactor", reactors.name, reactors.pair, np.asarray(1 / reactors.z_ohm + reactors.g_s))
