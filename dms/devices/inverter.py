"""Inverter: how a connection's reactive power is made, and what its rating leaves for the export.

Every mode is a law of the export P = P_export - share P_C and of w = |u| / v_nom (`feeders.Connections`
has the modes). Of a curve the tick knows one piece, y = a + b w, whose figures it writes down; which piece
is read from the voltages (`dms.regimes`), and the tick is solved again until the pieces fit. Neighbouring
pieces meet, so at a corner either is right. Where an optimum lies at a corner, each piece sends the
solution into the other: such an inverter is held in one, with w kept between the piece's ends.
"""

from __future__ import annotations

import numpy as np

from dms.builder import Builder
from dms.devices.voltage_law import W_MIN, lift_voltage
from dms.phasor import Phasor, Products, Terms
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest, Units
from dms.scaling import KW_PER_PU
from feeders import Connections
from feeders.elements.connections import follows_voltage, has_volt_watt, q_per_p, rating_kva
from feeders.elements.loads import per_unit
from feeders.table import Array

Q_COST = {1: 1e-6, 2: 1e-10}
"""Cost of a free Q, times Q^2 / S, against curtailment in MW (to the power of the norm).

It makes Q unique and no larger than it need be, and is worth a millionth of the rating at most.
"""
OPEN_CIRCUIT = (0.87, 1.14)
"""Open-circuit voltage over the rated one: 2 / sqrt 3, a split phase taken for two of three, is outside."""
W_FREE = 10.0
"""Upper end of w where no piece holds it."""


def add_reactive(b: Builder, t: Connections, u: Phasor, curtail: Array) -> Terms:
    """Rows and variables of the modes that are there; the terms they add to `q_prosumer`.

    Im(u conj(i)) + (Q/P) share P_C   = q + (Q/P) P_export        power_factor
    Im(u conj(i)) - Q                 = q                         volt_var, free
        Q / S - b w                   = a                         rows `volt_var`
        |Q| <= S                                                  variables `q_free`, role control
    P + share P_C                     = P_export                  rows `export_prosumer`
    (P^2 + Q^2) / S^2                <= 1                         rows `s_prosumer`, limits
    share P_C / S + b w              >= P_export / S - a          rows `volt_watt`, limits; before its
                                                                  fall the curve is a bound of P_C
    w                             in the piece, if held there     rows `piece_prosumer`, limits

    u  volt (n,) across the pair     curtail (n,) variable of every connection's curtailment
    """
    label, share = b.units.connection_label, b.units.share
    fixed = np.flatnonzero(t.q_mode == "power_factor")
    terms = [Terms(fixed, curtail[fixed], (q_per_p(t) * share)[fixed])]
    follows = np.flatnonzero(follows_voltage(t))
    w = np.zeros(len(t), dtype=int)
    if len(follows):
        v_nom = t.v_nom_kv[follows] * 1e3
        w[follows], _ = lift_voltage(b, "prosumer", label[follows], u.take(follows).times(1 / v_nom))
        one = Terms(np.arange(len(follows)), w[follows], np.ones(len(follows)))
        b.add_rows("piece_prosumer", label[follows], linear=one, lo=W_MIN, hi=W_FREE, role="limit")
    s_pu = rating_kva(t) / KW_PER_PU
    var, free = np.flatnonzero(t.q_mode == "volt_var"), np.flatnonzero(t.q_mode == "free")
    q = np.zeros(len(t), dtype=int)
    if len(var):
        q[var] = _add_volt_var(b, label[var], w[var], s_pu[var])
    if len(free):
        bounds = {"lo": -s_pu[free], "hi": s_pu[free]}
        q[free] = b.add_variables("q_free", label[free], **bounds, role="control").index
    deciding = np.sort(np.concatenate([var, free]))
    if len(deciding):
        terms.append(Terms(deciding, q[deciding], -np.ones(len(deciding))))
        held = curtail[deciding], share[deciding]
        _add_circle(b, label[deciding], q[deciding], s_pu[deciding], *held)
    watt = np.flatnonzero(has_volt_watt(t))
    if len(watt):
        _add_volt_watt(b, label[watt], w[watt], curtail[watt], share[watt] / s_pu[watt])
    return Terms(*(np.concatenate(c) for c in zip(*(vars(x).values() for x in terms), strict=True)))


def _add_volt_var(b: Builder, label: Array, w: Array, s_pu: Array) -> Array:
    """Q of the curve, (n,) variables."""
    n = np.arange(len(label))
    q = b.add_variables("q_inverter", label, role="drawn").index
    slope = b.add_variables("slope_q_prosumer", label, lo=0.0, hi=0.0, role="given").index
    b.add_rows(
        "volt_var",
        label,
        linear=Terms(n, q, 1 / s_pu),
        products=Products(n, slope, w, -np.ones(len(n))),
        role="power",
    )
    return q


def _add_circle(b: Builder, label: Array, q: Array, s_pu: Array, curtail: Array, share: Array) -> None:
    n = np.arange(len(label))
    p = b.add_variables("p_inverter", label, role="drawn").index
    row = Terms(np.tile(n, 2), np.concatenate([p, curtail]), np.concatenate([np.ones(len(n)), share]))
    b.add_rows("export_prosumer", label, linear=row, role="power")
    both = np.concatenate([p, q])
    squares = Products(np.tile(n, 2), both, both, np.tile(s_pu**-2.0, 2))
    b.add_rows("s_prosumer", label, products=squares, lo=-np.inf, hi=1.0, role="limit")


def _add_volt_watt(b: Builder, label: Array, w: Array, curtail: Array, share_of_s: Array) -> None:
    n = np.arange(len(label))
    slope = b.add_variables("slope_p_prosumer", label, lo=0.0, hi=0.0, role="given").index
    b.add_rows(
        "volt_watt",
        label,
        linear=Terms(n, curtail, share_of_s),
        products=Products(n, slope, w, np.ones(len(n))),
        hi=np.inf,
        role="limit",
    )


def add_q_cost(b: Builder, t: Connections) -> None:
    """A trifle on the free reactive powers in every stage, see `Q_COST`: call it after the norm."""
    free = t.q_mode == "free"
    if free.any():
        b.add_square_trifle(b.variables("q_free").index, Q_COST, KW_PER_PU / rating_kva(t)[free])


def set_reactive_numbers(
    t: Connections, program: Program, request: DmsRequest, numbers: Numbers, regimes: Regimes
) -> None:
    """The tick's export in the rows of the modes, and the piece of every curve."""
    rows, variables = program.rows, program.variables
    export = request.p_export_kw / KW_PER_PU
    q = rows["q_prosumer"].span
    numbers.row_lo[q] = numbers.row_hi[q] = request.q_kvar / KW_PER_PU + q_per_p(t) * export
    if "export_prosumer" in rows:
        deciding = (t.q_mode == "volt_var") | (t.q_mode == "free")
        span = rows["export_prosumer"].span
        numbers.row_lo[span] = numbers.row_hi[span] = export[deciding]
    if "q_free" in variables:
        numbers.x0[variables["q_free"].span] = request.q_set_kvar[t.q_mode == "free"] / KW_PER_PU
    if "piece_prosumer" not in rows:
        return
    w, s_pu = regimes.connection_w(t), rating_kva(t) / KW_PER_PU
    lo, hi = np.full(len(t), W_MIN), np.full(len(t), W_FREE)
    for part, row, points in (("q", "volt_var", t.volt_var), ("p", "volt_watt", t.volt_watt)):
        if row not in rows:
            continue
        mine = np.flatnonzero(~np.isnan(points[:, 0, 0]) & ((part == "p") | (t.q_mode == "volt_var")))
        # Before its fall a volt_watt curve is level, a bound of the curtailment; the line holds there, too.
        at = w[mine] if part == "q" else np.maximum(w[mine], points[mine, 0, 0])
        a, slope, left, right = piece_of(points[mine], at)
        left = left if part == "q" else np.where(left == points[mine, 0, 0], W_MIN, left)
        given, span = variables[f"slope_{part}_prosumer"].span, rows[row].span
        numbers.x_lo[given] = numbers.x_hi[given] = numbers.x0[given] = slope
        numbers.row_lo[span] = a if part == "q" else export[mine] / s_pu[mine] - a
        if part == "q":
            numbers.row_hi[span] = a
        lo[mine], hi[mine] = np.maximum(lo[mine], left), np.minimum(hi[mine], right)
    held, follows = regimes.held(len(t)), follows_voltage(t)
    span = rows["piece_prosumer"].span
    numbers.row_lo[span] = np.where(held, lo, W_MIN)[follows]
    numbers.row_hi[span] = np.where(held, hi, W_FREE)[follows]


def piece_of(points: Array, w: Array) -> tuple[Array, Array, Array, Array]:
    """The piece y = a + b w of every curve (n, k, 2) that w (n,) lies in: a, b and its ends in w."""
    n, k, _ = points.shape
    row = np.arange(n)
    number = (w[:, None] >= points[..., 0]).sum(axis=1)
    left = np.concatenate([np.full((n, 1), W_MIN), points[..., 0]], axis=1)[row, number]
    right = np.concatenate([points[..., 0], np.full((n, 1), W_FREE)], axis=1)[row, number]
    x0, y0 = points[row, np.maximum(number - 1, 0)].T
    x1, y1 = points[row, np.minimum(number, k - 1)].T
    level = x1 == x0
    slope = np.where(level, 0.0, (y1 - y0) / np.where(level, 1.0, x1 - x0))
    return y0 - slope * x0, slope, left, right


def least_curtailment_pu(t: Connections, units: Units, request: DmsRequest) -> Array:
    """(n_units,) curtailment that inverters ask for at any voltage and whatever is decided.

    P <= sqrt(S^2 - Q^2) with Q constant, |power_factor| S, and S times the start of volt_watt
    """
    q = np.where(t.q_mode == "constant", request.q_kvar, 0.0)
    s = rating_kva(t)
    rated = np.flatnonzero(np.isfinite(s))
    most = np.sqrt(np.maximum(s[rated] ** 2 - q[rated] ** 2, 0.0)) / np.hypot(1.0, q_per_p(t)[rated])
    watt = has_volt_watt(t)[rated]
    most[watt] = np.minimum(most[watt], (s[rated] * t.volt_watt[rated, 0, 1])[watt])
    beyond = np.maximum(request.p_export_kw[rated] - most, 0.0) / units.share[rated]
    least = np.zeros(len(units.name))
    np.maximum.at(least, units.of_connection[rated], beyond / KW_PER_PU)
    return least


def require_rated_voltage(t: Connections, open_v: Array) -> None:
    """What follows the voltage is rated for about the one it stands at without any load.

    open_v  (n_nodes + 1,) complex volt, earth first
    Raises  ValueError  naming the prosumer
    """
    w = per_unit(t.v_nom_kv, open_v[t.pair[:, 0]] - open_v[t.pair[:, 1]])
    low, high = OPEN_CIRCUIT
    for k in np.flatnonzero(follows_voltage(t) & ((w < low) | (w > high))):
        raise ValueError(
            f"inverter of {t.prosumer[k]}: without load its voltage is {w[k]:.3f} of the rated "
            f"{t.v_nom_kv[k]:g} kV; give Connections.v_nom_kv for the pair"
        )


def require_within_rating(t: Connections, request: DmsRequest) -> None:
    """No constant Q beyond the inverter's rating: nothing would be left to curtail.

    Raises  ValueError  naming the prosumer
    """
    beyond = (t.q_mode == "constant") & (np.abs(request.q_kvar) > rating_kva(t))
    for k in np.flatnonzero(beyond):
        raise ValueError(
            f"q_kvar: {request.q_kvar[k]:g} at {request.units.connection_label[k]} is beyond its inverter's "
            f"rating of {t.s_inverter_kva[k]:g} kVA; ask for less"
        )
