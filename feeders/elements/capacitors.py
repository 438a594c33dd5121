"""Capacitor banks: switched steps between two nodes (phase to earth: wye; phase to phase: delta)."""

from __future__ import annotations

import numpy as np

from feeders.elements.primitive import Primitive
from feeders.elements.shunt import across
from feeders.table import Array, Table, column


class Capacitors(Table):
    """One row per phase of a bank, all of its steps alike; phases of one bank share `bank`."""

    name: Array = column("-", dtype=str, check="unique")
    pair: Array = column("node", dtype=int, shape=(2,), check="node", doc="the two nodes it lies between")
    kvar: Array = column("kvar", doc="of one step, at rated voltage")
    v_nom_kv: Array = column("kV", check="positive", doc="rated voltage across the pair")
    bank: Array = column("-", dtype=str, check="any", default="", doc="the bank the row is part of")
    steps: Array = column("-", dtype=int, check="nonnegative", default=1)
    steps_on: Array = column("-", dtype=int, check="nonnegative", default=1, doc="in service at present")
    z_ohm: Array = column("ohm", dtype=complex, default=0.0, doc="in series with each step (filter)")


def step_s(capacitors: Capacitors) -> Array:
    """Admittance of one step, (n,) siemens: 1 / (z + 1 / (j Q / V^2))."""
    y = 1j * capacitors.kvar * 1e3 / (capacitors.v_nom_kv * 1e3) ** 2
    return np.asarray(y / (1 + capacitors.z_ohm * y))


def primitive(capacitors: Capacitors) -> Primitive:
    """Steps in service times the admittance of one, across the pair."""
    y = capacitors.steps_on * step_s(capacitors)
    return across("capacitor", capacitors.name, capacitors.pair, y)
