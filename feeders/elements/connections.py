"""Connections: where a prosumer's inverter meets the feeder, and what the inverter does by itself.

`delivered` is the inverter's whole law: what it injects when it is told an export, at a voltage.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from feeders.elements.loads import per_unit
from feeders.table import Array, Table, column

Q_MODES = ("request", "constant", "unity", "power_factor", "volt_var", "free")
"""How the inverter makes its reactive power; anything else is an error in `feeders.checks`."""


class Connections(Table):
    """One row per connection; a prosumer has one to three, whose shares sum to 1.

    With P the power the inverter delivers, S its rating s_inverter_kva and w = |u| / v_nom_kv, its Q is

        request       the request's q_kvar; the rating is carried along and not enforced
        constant      the request's q_kvar, inside the rating
        unity         0
        power_factor  P tan(acos |power_factor|), absorbed where power_factor < 0
        volt_var      S times the curve volt_var at w
        free          the utility's set-point

    In the last four the request's q_kvar is what the home draws or injects beside its inverter. In all
    but the first P^2 + Q^2 <= S^2 with priority for Q: P gives way. Where there is a curve volt_watt,
    P <= S times the curve at w as well. Between two points of a curve the line; outside them its ends.
    """

    prosumer: Array = column("-", dtype=str, check="any", doc="name of the prosumer")
    pair: Array = column("node", dtype=int, shape=(2,), check="node", doc="the two nodes it lies between")
    share: Array = column("-", check="positive", default=1.0, doc="part of the prosumer's power here")
    load: Array = column("-", dtype=str, check="any", default="", doc="the load it stands beside or for")
    s_inverter_kva: Array = column("kVA", check="any", default=np.nan, doc="rating, NaN unknown; see q_mode")
    p_pv_max_kw: Array = column("kW", check="any", default=np.nan, doc="NaN unknown")
    q_mode: Array = column("-", dtype=str, check="any", default="request", doc="how its Q is made")
    power_factor: Array = column("-", check="any", default=1.0, doc="> 0 injects Q, < 0 absorbs it")
    v_nom_kv: Array = column("kV", check="any", default=np.nan, doc="rated voltage across the pair")
    volt_var: Array = column("-", shape=(4, 2), check="any", default=np.nan, doc="points (w, Q / S)")
    volt_watt: Array = column("-", shape=(2, 2), check="any", default=np.nan, doc="points (w, P / S)")


class Delivered(NamedTuple):
    """What inverters inject: kW and kvar (n,), and the largest kW (n,) they could deliver there."""

    p_kw: Array
    q_kvar: Array
    most_kw: Array


def has_volt_watt(t: Connections) -> Array:
    """(n,) bool: inverters that bring their power down at high voltage."""
    return np.asarray(~np.isnan(t.volt_watt).any(axis=(1, 2)))


def follows_voltage(t: Connections) -> Array:
    """(n,) bool: inverters whose power depends on the voltage."""
    return np.asarray((t.q_mode == "volt_var") | has_volt_watt(t))


def rating_kva(t: Connections) -> Array:
    """(n,) the rating that is enforced, infinite where none is."""
    unrated = (t.q_mode == "request") | np.isnan(t.s_inverter_kva)
    return np.asarray(np.where(unrated, np.inf, t.s_inverter_kva))


def q_per_p(t: Connections) -> Array:
    """(n,) Q / P at the power factor, signed; 0 in the other modes."""
    pf = np.where(t.q_mode == "power_factor", t.power_factor, 1.0)
    return np.asarray(np.sign(pf) * np.sqrt(np.maximum(1 / pf**2 - 1, 0.0)))


def curve_at(points: Array, w: Array) -> Array:
    """Piecewise-linear curves (n, k, 2) at w (n,), level outside their ends."""
    x, y = points[..., 0], points[..., 1]
    run = np.diff(x, axis=1)
    along = np.clip(w[:, None] - x[:, :-1], 0.0, run)
    return np.asarray(y[:, 0] + (np.diff(y, axis=1) * along / run).sum(axis=1))


def delivered(t: Connections, p_kw: Array, q_kvar: Array, q_set_kvar: Array, u_volt: Array) -> Delivered:
    """What every inverter does at a voltage across its pair when it is told to export p_kw.

    p_kw, q_kvar  (n,) export, and the request's reactive power     u_volt  (n,) volt, complex or size
    q_set_kvar    (n,) set-point where q_mode is free

    P = min(p_kw, sqrt(S^2 - Q^2), S volt_watt(w)); in mode power_factor min(p_kw, |power_factor| S, ...).
    The Q found includes what the home draws beside its inverter.
    """
    mode, s = t.q_mode, rating_kva(t)
    w = per_unit(t.v_nom_kv, u_volt)
    rows = {"var": np.flatnonzero(mode == "volt_var"), "watt": np.flatnonzero(has_volt_watt(t))}
    q = np.where((mode == "constant") | (mode == "request"), q_kvar, 0.0)
    q[mode == "free"] = q_set_kvar[mode == "free"]
    k = rows["var"]
    q[k] = s[k] * curve_at(t.volt_var[k], w[k])
    slope = q_per_p(t)
    with np.errstate(invalid="ignore"):
        most = np.where(np.isfinite(s), np.sqrt(np.maximum(s**2 - q**2, 0.0)), np.inf) / np.hypot(1.0, slope)
    k = rows["watt"]
    most[k] = np.minimum(most[k], s[k] * curve_at(t.volt_watt[k], w[k]))
    p = np.minimum(p_kw, most)
    beside = np.where((mode == "constant") | (mode == "request"), 0.0, q_kvar)
    return Delivered(p, q + slope * p + beside, most)
