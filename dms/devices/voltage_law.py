"""Power that follows the voltage, shared by loads and generators.

With w = |u| / v_nom every law is, inside one regime (`Law`), a sum over four terms

    P = P_nom (a_p + b_p w + c_p w^2 + d_p w^k_p)        Q likewise with k_q

and the regime is what a tick writes down: the coefficients are figures, not structure. A load that
leaves its regime at the solution is given the other coefficients and the tick is solved again
(`dms.ladder`), until none does; the certificate's power flow knows the whole law.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dms.builder import Builder
from dms.phasor import Phasor, Powers, Products, Terms
from dms.program import Numbers, Program
from dms.scaling import KW_PER_PU
from feeders import EARTH, Generators, Loads
from feeders.table import Array

W_MIN = 0.01
"""Lowest |u| / v_nom; w = -sqrt(w^2) is no voltage."""


@dataclass(frozen=True)
class Law:
    """Coefficients (n, 4) of P and of Q over 1, w, w^2 and w^k."""

    p: Array
    q: Array

    def at_rated(self) -> Law:
        """The law of rows that have no rated voltage: what they draw at w = 1, whatever the voltage."""
        fixed = [np.zeros_like(c) for c in (self.p, self.q)]
        for to, c in zip(fixed, (self.p, self.q), strict=True):
            to[:, 0] = c.sum(axis=1)
        return Law(*fixed)

    def where(self, rows: Array, other: Law) -> Law:
        """This law on the rows of a mask, the other one elsewhere."""
        return Law(*(np.where(rows[:, None], a, b) for a, b in ((self.p, other.p), (self.q, other.q))))


def build_drawn(
    b: Builder, name: str, t: Loads | Generators, sign: float, *, exponents: Array, follows: Array
) -> None:
    """Currents `i_<name>` and powers of loads (sign = -1) or generators (1), posted to Kirchhoff's law.

    i ampere (n,), through a load from the pair's first node to its second, into the first of a generator
    exponents (n, 2) k_p and k_q     follows (n,) bool, rows whose power moves with the voltage
    """
    base = t.pair.max(axis=1)
    i = b.add_currents(f"i_{name}", t.name, base, base > EARTH, "drawn")
    u = b.across(t.pair)
    add_power(b, name, t.name, u, i, v_nom_v=t.v_nom_kv * 1e3, exponents=exponents, follows=follows)
    b.inject(t.pair[:, 0], i.times(sign))
    b.inject(t.pair[:, 1], i.times(-sign))


def add_power(
    b: Builder,
    name: str,
    label: Array,
    u: Phasor,
    i: Phasor,
    *,
    v_nom_v: Array,
    exponents: Array,
    follows: Array,
) -> None:
    """Rows `p_<name>`, `q_<name>`; for the rows that follow the voltage also, with w and m = w^2 lifted,

        |u|^2 / v_nom^2 - m = 0       rows `square_<name>`
        w^2 - m = 0                   rows `root_<name>`
        y - w^k = 0                   rows `power_p_<name>`, `power_q_<name>`, where k is no 0, 1 or 2

    u volt, i ampere (n,)   v_nom_v (n,) volt   exponents (n, 2) k_p and k_q   follows (n,) bool
    """
    rows = np.flatnonzero(follows)
    if not len(rows):
        b.add_power(name, label, u, i)
        return
    w, m = lift_voltage(b, name, label[rows], u.take(rows).times(1 / v_nom_v[rows]))
    further = []
    for part, k in zip("pq", exponents.T, strict=True):
        terms = [(rows, w), (rows, m)]
        lifted = rows[~np.isin(k[rows], (0.0, 1.0, 2.0))]
        if len(lifted):
            y = b.add_variables(f"y_{part}_{name}", label[lifted], start=1.0, role="drawn").index
            place = np.searchsorted(rows, lifted)
            one, count = np.ones(len(lifted)), np.arange(len(lifted))
            b.add_rows(
                f"power_{part}_{name}",
                label[lifted],
                linear=Terms(count, y, one),
                powers=Powers(count, w[place], -one, k[lifted]),
                role="power",
            )
            terms.append((lifted, y))
        given = [
            b.add_variables(f"{c}_{part}_{name}", label[r], lo=0.0, hi=0.0, role="given").index
            for c, (r, _) in zip("bcd", terms, strict=False)
        ]
        products = [Products(r, c, x, -np.ones(len(r))) for (r, x), c in zip(terms, given, strict=True)]
        further.append(sum(products[1:], start=products[0]))
    b.add_power(name, label, u, i, products=(further[0], further[1]))


def lift_voltage(b: Builder, name: str, label: Array, across: Phasor) -> tuple[Array, Array]:
    """Variables w = |u| / v_nom and m = w^2, (n,) each, with their rows `square_<name>`, `root_<name>`.

    across  (n,) u / v_nom
    """
    at_rest = {"start": 1.0, "role": "drawn"}
    w = b.add_variables(f"w_{name}", label, lo=W_MIN, **at_rest).index  # type: ignore[arg-type]
    m = b.add_variables(f"m_{name}", label, **at_rest).index  # type: ignore[arg-type]
    n = np.arange(len(label))
    minus_m = Terms(n, m, -np.ones(len(n)))
    b.add_rows(f"square_{name}", label, linear=minus_m, products=across.dot(across), role="power")
    square = Products(n, w, w, np.ones(len(n)))
    b.add_rows(f"root_{name}", label, linear=minus_m, products=square, role="power")
    return w, m


def set_power(program: Program, numbers: Numbers, name: str, law: Law, p_kw: Array, q_kvar: Array) -> None:
    """The tick's coefficients, times the nominal powers (n,)."""
    follows = _has(program, name, f"w_{name}")
    for part, factors, nominal in (("p", law.p, p_kw), ("q", law.q, q_kvar)):
        coef = factors * nominal[:, None] / KW_PER_PU
        span = program.rows[f"{part}_{name}"].span
        numbers.row_lo[span] = numbers.row_hi[span] = coef[:, 0]
        lifted = _has(program, name, f"d_{part}_{name}")
        for column, letter, rows in ((1, "b", follows), (2, "c", follows), (3, "d", lifted)):
            if rows.any():
                given = program.variables[f"{letter}_{part}_{name}"].span
                numbers.x_lo[given] = numbers.x_hi[given] = numbers.x0[given] = coef[rows, column]


def _has(program: Program, name: str, block: str) -> Array:
    """Which of the devices (n,) have a variable in a block; told once for all ticks."""

    def among() -> Array:
        found = program.variables.get(block)
        members = set(found.label) if found else set()
        return np.array([label in members for label in program.rows[f"p_{name}"].label], dtype=bool)

    return program.once(f"{name} in {block}", among)


def fold(law: Array, exponent: Array) -> Array:
    """Coefficients (n, 4) with w^k moved to the constant, linear or square term where k is 0, 1 or 2."""
    law = law.copy()
    for k in (0, 1, 2):
        here = exponent == k
        law[here, k] += law[here, 3]
        law[here, 3] = 0.0
    return law
