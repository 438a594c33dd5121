"""Transformers: coils on a common core, any connection, two or more windings.

A *winding* is up to three *coils*, one per leg of the core; each coil lies between a pair of
nodes, and those pairs are the connection (phase to earth: wye; phase to phase: delta; their
order gives lead or lag). Taps multiply the coil's rated voltage.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from feeders.elements.primitive import Primitive
from feeders.table import ABSENT, Array, Table, column


class Transformers(Table):
    """One row per transformer; its windings are in `Windings`."""

    name: Array = column("-", dtype=str, check="unique")
    s_kva: Array = column("kVA", check="positive", doc="rating of all legs together; base of r and x")


class Windings(Table):
    """One row per winding; rows of one transformer are counted from winding 0."""

    transformer: Array = column("row of Transformers", dtype=int, check="any")
    winding: Array = column("-", dtype=int, check="nonnegative", doc="0, 1, ... within the transformer")
    pair: Array = column("node", dtype=int, shape=(3, 2), check="node", doc="coil ends, per leg")
    v_coil_kv: Array = column("kV", check="positive", doc="rated voltage across one coil")
    r_pct: Array = column("%", check="nonnegative", doc="winding resistance on the transformer's kVA")
    tap: Array = column("-", check="positive", default=1.0)
    tap_min: Array = column("-", check="positive", default=0.9)
    tap_max: Array = column("-", check="positive", default=1.1)
    i_max_a: Array = column("A", check="any", default=np.nan, doc="coil rating, NaN unrated")
    s_max_kva: Array = column("kVA", check="any", default=np.nan, doc="rating of all its coils, NaN unrated")
    float_s: Array = column("S", dtype=complex, default=0.0, doc="small shunt to earth at each coil end")
    core_pct: Array = column("%", dtype=complex, default=0.0, doc="no-load loss - j magnetising, of its kVA")
    tap_steps: Array = column("-", dtype=int, check="nonnegative", default=32, doc="steps from min to max")


class WindingPairs(Table):
    """Short-circuit reactance between two windings of one transformer."""

    transformer: Array = column("row of Transformers", dtype=int, check="any")
    winding_a: Array = column("-", dtype=int, check="nonnegative")
    winding_b: Array = column("-", dtype=int, check="nonnegative")
    x_pct: Array = column("%", check="positive", doc="on the transformer's kVA")


def group_by_windings(windings: Windings) -> list[tuple[Array, Array]]:
    """Transformers grouped by their number of windings W.

    Returns  list of (transformer rows (g,), winding rows (g, W)), W ascending
    """
    groups: dict[int, list[tuple[int, Array]]] = {}
    for t in np.unique(windings.transformer):
        rows = np.flatnonzero(windings.transformer == t)
        rows = rows[np.argsort(windings.winding[rows])]
        groups.setdefault(len(rows), []).append((int(t), rows))
    return [
        (np.array([t for t, _ in groups[w]]), np.array([rows for _, rows in groups[w]]))
        for w in sorted(groups)
    ]


def short_circuit_ohm(
    transformers: Transformers, windings: Windings, pairs: WindingPairs, rows: Array
) -> Array:
    """Short-circuit impedance matrix seen from winding 0's coils, (g, W-1, W-1) ohm.

    Z_kk = Z_0k and Z_kl = (Z_0k + Z_0l - Z_kl) / 2 with Z_kl = (r_k + r_l) + j x_kl: the
    standard multi-winding leakage model. `rows` (g, W) are rows of `windings`.
    """
    g, n_w = rows.shape
    r = windings.r_pct[rows] / 100
    x = np.zeros((g, n_w, n_w))
    place = {int(t): k for k, t in enumerate(windings.transformer[rows[:, 0]])}
    for t, a, b, x_pct in zip(pairs.transformer, pairs.winding_a, pairs.winding_b, pairs.x_pct, strict=True):
        if int(t) in place and max(a, b) < n_w:
            x[place[int(t)], a, b] = x[place[int(t)], b, a] = x_pct / 100
    off_diagonal = 1 - np.eye(n_w)
    z = (r[:, :, None] + r[:, None, :]) * off_diagonal + 1j * x
    z_sc = (z[:, 1:, :1] + z[:, :1, 1:] - z[:, 1:, 1:]) / 2
    idx = np.arange(n_w - 1)
    z_sc[:, idx, idx] = z[:, 0, 1:]
    legs = coils(windings)[rows[:, 0]].sum(axis=1)
    s_coil_va = transformers.s_kva[windings.transformer[rows[:, 0]]] * 1e3 / legs
    z_base = (windings.v_coil_kv[rows[:, 0]] * 1e3) ** 2 / s_coil_va
    return z_sc * z_base[:, None, None]


def coils(windings: Windings) -> Array:
    """(n, 3) bool: legs on which the winding has a coil."""
    return (windings.pair != ABSENT).all(axis=2)


def turns_ratio(windings: Windings, rows: Array) -> Array:
    """Turns of each winding over the turns of winding 0, taps included, (g, W)."""
    turns = windings.v_coil_kv[rows] * windings.tap[rows]
    return turns / turns[:, :1]


def primitive(transformers: Transformers, windings: Windings, pairs: WindingPairs, rows: Array) -> Primitive:
    """Leakage law of one group, leg by leg, with ampere-turn balance by construction.

    u_0 - u_k / a_k = sum_l Z_kl j_l    k = 1 .. W-1, u = voltage across a coil, a = turns ratio
    current in coil 0 = sum_k j_k, in coil k = -j_k / a_k

    Node slots: winding, leg, end (W x 3 x 2); branches: (W-1) x 3.
    The resistance and reactance are referred to winding 0 at its present tap.
    """
    g, n_w = rows.shape
    ratio = turns_ratio(windings, rows)
    z_sc = short_circuit_ohm(transformers, windings, pairs, rows)
    z_sc = z_sc * windings.tap[rows[:, 0]][:, None, None] ** 2
    turns = np.zeros((g, n_w - 1, 3, n_w, 3, 2))
    z = np.zeros((g, n_w - 1, 3, n_w - 1, 3), dtype=complex)
    for leg in range(3):
        for k in range(n_w - 1):
            turns[:, k, leg, 0, leg] = [1.0, -1.0]
            turns[:, k, leg, k + 1, leg] = np.array([-1.0, 1.0]) / ratio[:, k + 1, None]
        z[:, :, leg, :, leg] = z_sc
    slots = n_w * 6
    y = np.zeros((g, slots, slots), dtype=complex)
    y[:, np.arange(slots), np.arange(slots)] = np.repeat(windings.float_s[rows], 6, axis=1)
    _add_core(y.reshape(g, n_w, 3, 2, n_w, 3, 2), core_s(transformers, windings, rows))
    branch = np.tile(coils(windings)[rows].all(axis=1), (1, n_w - 1))
    return Primitive(
        kind="transformer",
        row=windings.transformer[rows[:, 0]],
        element=transformers.name[windings.transformer[rows[:, 0]]],
        node=windings.pair[rows].reshape(g, slots),
        turns=turns.reshape(g, (n_w - 1) * 3, slots),
        z_ohm=z.reshape(g, (n_w - 1) * 3, (n_w - 1) * 3),
        e_v=np.zeros((g, (n_w - 1) * 3), dtype=complex),
        y_s=y,
        branch=branch,
    )


def core_s(transformers: Transformers, windings: Windings, rows: Array) -> Array:
    """Core admittance across each coil of every winding, (g, W) siemens: core_pct S_coil / V_coil^2.

    No-load loss and magnetising current are per cent of the rated coil power at rated voltage times
    the present tap; by custom they sit at the winding next to the core.
    """
    legs = coils(windings)[rows[:, 0]].sum(axis=1)
    s_coil_va = transformers.s_kva[windings.transformer[rows[:, 0]]] * 1e3 / np.maximum(legs, 1)
    v = windings.v_coil_kv[rows] * 1e3 * windings.tap[rows]
    return np.asarray(windings.core_pct[rows] / 100 * s_coil_va[:, None] / v**2)


def _add_core(y: Array, core: Array) -> None:
    """Add admittances across the coils, leg by leg, to y (g, W, leg, end, W, leg, end)."""
    for w in range(core.shape[1]):
        for leg in range(3):
            for end in range(2):
                y[:, w, leg, end, w, leg, end] += core[:, w]
                y[:, w, leg, end, w, leg, 1 - end] -= core[:, w]


def delta_pairs(nodes: Array | Sequence[int], lag: bool) -> Array:
    """Coil ends of a delta winding, (3, 2): A-B, B-C, C-A, or A-C, B-A, C-B.

    lag = True gives the set with which a wye secondary lags by 30 degrees.
    """
    a, b, c = nodes
    return np.array([[a, c], [b, a], [c, b]] if lag else [[a, b], [b, c], [c, a]])


def wye_pairs(nodes: Array | Sequence[int], neutral: int = 0) -> Array:
    """Coil ends of a wye winding, (3, 2): each phase to the neutral (earth by default)."""
    return np.array([[node, neutral] for node in nodes])
