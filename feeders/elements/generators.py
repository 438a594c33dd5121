"""Generators: power delivered between two nodes at present: PV systems, storage, machines.

A generator here is an operating point, not a decision; `Connections` holds what may be decided.
"""

from __future__ import annotations

import numpy as np

from feeders.elements.loads import per_unit
from feeders.table import Array, Table, column

GENERATOR_MODELS = ("constant_power", "constant_impedance", "constant_current")


class Generators(Table):
    """One row per single-phase injection; a three-phase unit is three rows of one `unit`."""

    name: Array = column("-", dtype=str, check="unique")
    unit: Array = column("-", dtype=str, check="any", doc="the machine or inverter the row is part of")
    pair: Array = column("node", dtype=int, shape=(2,), check="node", doc="the two nodes it lies between")
    p_kw: Array = column("kW", doc="delivered; a charging store is negative")
    q_kvar: Array = column("kvar", doc="delivered, > 0 capacitive")
    model: Array = column("-", dtype=str, check="any", default="constant_power")
    v_nom_kv: Array = column("kV", check="any", default=np.nan, doc="rated voltage across the pair")
    v_min_pu: Array = column("-", check="nonnegative", default=0.0, doc="lower end of the band")
    v_max_pu: Array = column("-", check="any", default=np.inf, doc="upper end of the band")


def power_va(generators: Generators, u_volt: Array) -> Array:
    """Complex power delivered at a voltage across every pair, (n,) volt-ampere.

    s, s w or s w^2 by the model, with w = |u| / v_nom; below the band s (w / v_min)^2 and above it
    s (w / v_max)^2, without a step at its ends when power is constant (OpenDSS, PVSystem.pas and
    generator.pas, `Yeq95`, `Yeq105`). A row without `v_nom_kv` delivers its nominal power.
    """
    w = per_unit(generators.v_nom_kv, u_volt)
    v_min, v_max = generators.v_min_pu, generators.v_max_pu
    below, above = (w <= v_min) & (v_min > 0), w > v_max
    factor = np.where(generators.model == "constant_current", w, 1.0)
    factor = np.where(below, (w / np.where(v_min > 0, v_min, 1.0)) ** 2, factor)
    factor = np.where(above, (w / np.where(np.isfinite(v_max), v_max, 1.0)) ** 2, factor)
    factor = np.where(generators.model == "constant_impedance", w**2, factor)
    return np.asarray((generators.p_kw + 1j * generators.q_kvar) * 1e3 * factor)
