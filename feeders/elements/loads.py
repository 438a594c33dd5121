"""Loads: constant power between two nodes (phase to earth: wye; phase to phase: delta)."""

from __future__ import annotations

from feeders.table import Array, Table, column

LOAD_MODELS = ("constant_power",)
"""Load models the equations know; anything else is an error in `feeders.checks`."""


class Loads(Table):
    """One row per single-phase load; a three-phase load is three rows."""

    name: Array = column("-", dtype=str, check="unique")
    pair: Array = column("node", dtype=int, shape=(2,), check="node", doc="the two nodes it lies between")
    p_kw: Array = column("kW", doc="consumed; negative values are listed in the audit")
    q_kvar: Array = column("kvar", doc="consumed, > 0 inductive")
    model: Array = column("-", dtype=str, check="any", default="constant_power")
