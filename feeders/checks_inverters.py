"""Checks of inverters: the mode, the rating and the figures that it needs."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import numpy as np

from feeders.elements import Connections
from feeders.elements.connections import Q_MODES, has_volt_watt
from feeders.issues import Issue, error, errors
from feeders.table import Array

SMALLEST_POWER_FACTOR = 0.1


def check_inverters(t: Connections) -> Iterator[Issue]:
    """Every inverter by itself."""
    names, mode = t.prosumer, t.q_mode
    for row in np.flatnonzero(~np.isin(mode, Q_MODES)):
        near = difflib.get_close_matches(str(mode[row]), Q_MODES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        message = f"{hint}unknown mode {mode[row]!r}; known: {', '.join(Q_MODES)}"
        yield error(Connections, "q_mode", names[row], message)
    pf = np.abs(t.power_factor)
    wrong = (mode == "power_factor") & ~((pf >= SMALLEST_POWER_FACTOR) & (pf <= 1))
    message = f"must be {SMALLEST_POWER_FACTOR} to 1; negative absorbs reactive power"
    yield from errors(Connections, "power_factor", names, wrong, message)
    var, watt = mode == "volt_var", has_volt_watt(t)
    rated = np.isfinite(t.s_inverter_kva) & (t.s_inverter_kva > 0)
    needs = var | (mode == "free") | watt
    what = "volt_var, free and volt_watt need the inverter's rating; give a number above zero, kVA"
    yield from errors(Connections, "s_inverter_kva", names, needs & ~rated, what)
    negative = (mode != "request") & ~(np.isnan(t.s_inverter_kva) | (t.s_inverter_kva > 0))
    yield from errors(Connections, "s_inverter_kva", names, negative & ~needs, "must be above zero, or NaN")
    yield from errors(
        Connections, "volt_watt", names, watt & (mode == "request"), "needs another q_mode than 'request'"
    )
    unknown = (var | watt) & ~(np.isfinite(t.v_nom_kv) & (t.v_nom_kv > 0))
    yield from errors(
        Connections, "v_nom_kv", names, unknown, "volt_var and volt_watt need the rated voltage, kV"
    )
    for column, rows, low in (("volt_var", var, -1.0), ("volt_watt", watt, 0.0)):
        for row in np.flatnonzero(rows):
            if message := _curve_fault(getattr(t, column)[row], low):
                yield error(Connections, column, names[row], message)


def _curve_fault(points: Array, low: float) -> str:
    """What is wrong with a curve of points (w, part of the rating), empty if nothing is."""
    w, y = points.T
    shown = ", ".join(f"({a:g}, {b:g})" for a, b in points)
    if not np.isfinite(points).all() or w[0] <= 0:
        return f"points {shown}: give finite numbers, voltages above zero"
    if not (np.diff(w) > 0).all():
        return f"points {shown}: voltages must rise from point to point"
    if (np.diff(y) > 0).any():
        return f"points {shown}: the curve must not rise with the voltage"
    if y.min() < low or y.max() > 1:
        return f"points {shown}: parts of the rating must lie between {low:g} and 1"
    return ""
