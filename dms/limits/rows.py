"""Rows of the limits in the programme, and their bounds in a tick."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dms.builder import Builder
from dms.limits.family import Family
from dms.limits.find import coil_pairs
from dms.limits.values import LimitValues
from dms.phasor import Products, Terms
from dms.program import Block, Numbers, Program
from dms.scaling import S_BASE_VA
from feeders import Sources


def apply_limits(values: LimitValues, b: Builder) -> None:
    """Rows of the limits, scaled so that ratings read 1.

    (2m)  Vmin^2 <= |u|^2 / V_nom^2 <= Vmax^2     to ground, between phases   rows `v_band`, `v_ll_band`
    (2j)  (i_re^2 + i_im^2) / Imax^2 <= 1         at both ends                rows `i_limit`
    (2l)  (p^2 + q^2) / Smax^2 <= 1               of a coil                   rows `s_limit`
    -     |V2|^2 / (u^2 |V1|^2) <= 1              of a bus                    rows `unbalance`
    -     |V2|^2 / V2max^2 <= 1                                               rows `negative_sequence`
    -     sum Re(v conj(i)) <= Pmax               into all sources            rows `reverse_power`
    """
    for family in values.families:
        ADD[family.rows](family, b)


def set_limit_numbers(program: Program, values: LimitValues, numbers: Numbers) -> None:
    """The limits in force this tick.

    Raises  ValueError  a band relative to the base state, which is not known yet
    """
    if values.unresolved:
        raise ValueError("the band lies around a base state; take DmsProblem.limits_at(request)")
    for family in values.families:
        span = program.rows[family.rows].span
        numbers.row_lo[span], numbers.row_hi[span] = family.as_rows(family.lo), family.as_rows(family.hi)


def _bounds(family: Family) -> dict[str, Any]:
    return {"lo": family.as_rows(family.lo), "hi": family.as_rows(family.hi)}


def _add_band(family: Family, b: Builder) -> None:
    """|u|^2 / V_nom^2 of nodes, or of pairs of nodes."""
    place = family.place
    u = b.voltage(place[:, 0]) if place.shape[1] == 1 else b.across(place)
    b.add_magnitude(family.rows, family.label, u, family.base, **_bounds(family))


def _add_current(family: Family, b: Builder) -> None:
    current = b.monitored(family.of, *family.place.T)
    b.add_magnitude(family.rows, family.label, current, family.scale, **_bounds(family))


def _add_power(family: Family, b: Builder) -> None:
    """p + jq = u conj(i)     rows `p_coil_rows`, `q_coil_rows`"""
    current, n = b.monitored(family.of, *family.place.T), np.arange(len(family))
    u = b.across(coil_pairs(b.feeder, *family.place.T)).times(1 / S_BASE_VA)
    p, q = (b.add_variables(f"{part}_coil", family.label, role="drawn") for part in "pq")
    for part, products in ((p, u.dot(current)), (q, u.cross(current))):
        _lift(b, part, products)
    scale = (S_BASE_VA / family.scale) ** 2
    both = np.concatenate([p.index, q.index])
    squares = Products(np.concatenate([n, n]), both, both, np.concatenate([scale, scale]))
    b.add_rows(family.rows, family.label, products=squares, **_bounds(family), role="limit")


def _add_unbalance(family: Family, b: Builder) -> None:
    """(|V2|^2 - u^2 |V1|^2) / u^2 <= 0, divided by |V1|^2 so that the u of a tick is a bound:

    m = |V1|^2                    rows `positive_square_rows`
    |V2|^2 / u^2 - r m = 0        rows `unbalance_square_rows`
    r <= 1                        rows `unbalance`; (u' / u)^2 where the limit is widened to u'
    """
    positive, negative = _sequence_squares(family, b)
    m, r = (
        b.add_variables(f"{name}_square", family.label, start=start, role="drawn")
        for name, start in (("positive", 1.0), ("unbalance", 0.0))
    )
    n, one = np.arange(len(family)), np.ones(len(family))
    _lift(b, m, positive)
    ratio = negative.times(family.scale**-2) + Products(n, r.index, m.index, -one)
    b.add_rows(f"{r.name}_rows", family.label, products=ratio, role="power")
    limit = Terms(n, r.index, one)
    b.add_rows(family.rows, family.label, linear=limit, **_bounds(family), role="limit")


def _add_negative_sequence(family: Family, b: Builder) -> None:
    _, negative = _sequence_squares(family, b)
    square = negative.times(family.scale**-2)
    b.add_rows(family.rows, family.label, products=square, **_bounds(family), role="limit")


def _sequence_squares(family: Family, b: Builder) -> tuple[Products, Products]:
    """|V1|^2 and |V2|^2 (n,) of the buses, per unit, from phase voltages a, b, c:

    9 |V1|^2, 9 |V2|^2 = sum (|v_k|^2 - Re(v_k conj(v_l)) +- sqrt(3) Im(v_k conj(v_l)))   kl = ab, bc, ca
    """
    v = [b.voltage(nodes).times(1 / family.base) for nodes in family.place.T]
    one, halves = np.ones(len(family)) / 9, []
    for sign in (1, -1):
        terms = [
            part
            for k, u in enumerate(v)
            for part in (
                u.dot(u).times(one),
                u.dot(v[k - 2]).times(-one),
                u.cross(v[k - 2]).times(sign * np.sqrt(3) * one),
            )
        ]
        halves.append(sum(terms[1:], start=terms[0]))
    return halves[0], halves[1]


def _add_reverse_power(family: Family, b: Builder) -> None:
    """Re(v conj(i)) of every phase of every source, i into the source, in one row."""
    node = b.feeder[Sources].node
    row, slot = (k.ravel() for k in np.indices(node.shape))
    into = b.monitored(np.full(node.size, "source", dtype=object), row, slot)
    p = b.voltage(node.ravel()).times(1 / S_BASE_VA).dot(into)
    total = Products(np.zeros_like(p.row), p.i, p.j, p.coef)
    b.add_rows(family.rows, family.label, products=total, **_bounds(family), role="limit")


def _lift(b: Builder, variable: Block, products: Products) -> None:
    """Products - variable = 0."""
    n = len(variable.label)
    row = Terms(np.arange(n), variable.index, -np.ones(n))
    name = f"{variable.name}_rows"
    b.add_rows(name, variable.label, linear=row, products=products, role="power")


ADD: dict[str, Callable[[Family, Builder], None]] = {
    "v_band": _add_band,
    "v_ll_band": _add_band,
    "unbalance": _add_unbalance,
    "negative_sequence": _add_negative_sequence,
    "i_limit": _add_current,
    "s_limit": _add_power,
    "reverse_power": _add_reverse_power,
}
"""How the rows of every kind of limit are stated."""
