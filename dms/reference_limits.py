"""The limits of (2) as Pyomo text, scalar by scalar: that part of `dms.reference`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dms.limits import Family, LimitValues
from dms.reference_laws import Into, add_rows, voltage
from dms.scaling import KW_PER_PU, S_BASE_VA
from feeders import Feeder, Sources
from feeders.table import Array

if TYPE_CHECKING:
    import pyomo.environ as pyo


def limits_text(m: pyo.ConcreteModel, feeder: Feeder, values: LimitValues, into: Into) -> None:
    """(2m), (2j), (2l), unbalance and reverse power; ratings and ratios scaled to 1."""
    for family in values.families:
        TEXT[family.rows](m, feeder, family, into)


def _band(m: pyo.ConcreteModel, feeder: Feeder, family: Family, into: Into) -> None:
    """v_min^2 <= |v|^2 <= v_max^2, or |v_a - v_b|^2 per unit of the nominal line-to-line voltage."""
    import pyomo.environ as pyo

    band = {}
    for label, nodes, base, low, high in zip(
        family.label, family.place, family.base, family.lo, family.hi, strict=True
    ):
        re, im = 0.0, 0.0
        for node, sign in zip(nodes, (1, -1), strict=False):
            own = voltage(m, feeder, int(node))
            gain = sign * feeder.v_base_v[node] / base
            re, im = re + gain * own[0], im + gain * own[1]
        band[label] = pyo.inequality(float(low) ** 2, re**2 + im**2, float(high) ** 2)
    add_rows(m, family.rows, band)


def _terminals(family: Family) -> Any:
    """Label, terminal and rating, one by one."""
    terminals = ((of, int(row), int(slot)) for of, (row, slot) in zip(family.of, family.place, strict=True))
    return zip(family.label, terminals, map(float, family.hi), strict=True)


def _current(m: pyo.ConcreteModel, feeder: Feeder, family: Family, into: Into) -> None:
    """|i|^2 / i_max^2 <= 1."""
    rating = {}
    for label, key, most in _terminals(family):
        re, im, base = into[key]
        rating[label] = (re**2 + im**2) * (base / most) ** 2 <= 1
    add_rows(m, family.rows, rating)


def _power(m: pyo.ConcreteModel, feeder: Feeder, family: Family, into: Into) -> None:
    """p + jq = u conj(i) of a coil, (p^2 + q^2) / s_max^2 <= 1."""
    import pyomo.environ as pyo

    labels = list(family.label)
    m.p_coil, m.q_coil = (pyo.Var(labels, initialize=0.0) for _ in "pq")
    p, q, limit = {}, {}, {}
    for n, key, most in _terminals(family):
        (re, im, _), u = into[key], into.across[key]
        p[n] = u[0] * re + u[1] * im - m.p_coil[n] == 0
        q[n] = u[1] * re - u[0] * im - m.q_coil[n] == 0
        limit[n] = (m.p_coil[n] ** 2 + m.q_coil[n] ** 2) * (S_BASE_VA / most) ** 2 <= 1
    add_rows(m, "p_coil_rows", p)
    add_rows(m, "q_coil_rows", q)
    add_rows(m, family.rows, limit)


def _sequence_square(m: pyo.ConcreteModel, feeder: Feeder, nodes: Array, sign: int) -> Any:
    """|V1|^2 (sign 1) or |V2|^2 (sign -1), per unit, with a = exp(2 pi j / 3) written out."""
    v = [voltage(m, feeder, int(node)) for node in nodes]
    total = 0.0
    for (a_re, a_im), (b_re, b_im) in zip(v, (v[1], v[2], v[0]), strict=True):
        along, across = a_re * b_re + a_im * b_im, a_im * b_re - a_re * b_im
        total = total + (a_re**2 + a_im**2 - along + sign * math.sqrt(3) * across) / 9
    return total


def _unbalance(m: pyo.ConcreteModel, feeder: Feeder, family: Family, into: Into) -> None:
    """m = |V1|^2, r m = |V2|^2 / u^2, r <= 1."""
    import pyomo.environ as pyo

    labels = list(family.label)
    m.positive_square = pyo.Var(labels, initialize=1.0)
    m.unbalance_square = pyo.Var(labels, initialize=0.0)
    square, ratio = {}, {}
    for n, nodes, u in zip(labels, family.place, map(float, family.hi), strict=True):
        one, two = (_sequence_square(m, feeder, nodes, sign) for sign in (1, -1))
        square[n] = one - m.positive_square[n] == 0
        ratio[n] = two / u**2 - m.unbalance_square[n] * m.positive_square[n] == 0
    add_rows(m, "positive_square_rows", square)
    add_rows(m, "unbalance_square_rows", ratio)
    add_rows(m, family.rows, {n: m.unbalance_square[n] <= 1 for n in labels})


def _negative_sequence(m: pyo.ConcreteModel, feeder: Feeder, family: Family, into: Into) -> None:
    """|V2|^2 / v2_max^2 <= 1."""
    limit = {}
    for label, nodes, most in zip(family.label, family.place, map(float, family.hi), strict=True):
        limit[label] = _sequence_square(m, feeder, nodes, -1) / most**2 <= 1
    add_rows(m, family.rows, limit)


def _reverse_power(m: pyo.ConcreteModel, feeder: Feeder, family: Family, into: Into) -> None:
    """Real power into all sources, per unit."""
    total = 0.0
    for (kind, row, slot), (re, im, _) in into.items():
        if kind == "source":
            v_re, v_im = voltage(m, feeder, int(feeder[Sources].node[row, slot]))
            total = total + v_re * re + v_im * im
    add_rows(m, family.rows, {family.label[0]: total <= float(family.hi[0]) / KW_PER_PU})


TEXT = {
    "v_band": _band,
    "v_ll_band": _band,
    "unbalance": _unbalance,
    "negative_sequence": _negative_sequence,
    "i_limit": _current,
    "s_limit": _power,
    "reverse_power": _reverse_power,
}
"""The text of every kind of limit."""
