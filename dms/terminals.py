"""Currents into terminals of primitive elements, as one sparse product with a power flow's v and i.

current into slot k of an element = sum_m turns[m, k] i[m] + sum_l y_s[k, l] v[l]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from feeders import ABSENT, EARTH
from feeders.elements import Primitive
from feeders.table import Array


def into_terminals(
    primitives: Sequence[Primitive], kind: Array, row: Array, slot: Array, *, n_v: int
) -> sp.csr_matrix:
    """(n, n_v + n_branches): its product with voltages, earth first, and branch currents, volt and ampere.

    primitives       elements in the order of their branch currents
    kind, row, slot  (n,) of the terminals: kind of element, row of its table, slot of its node; one that
                     no primitive has carries no current
    n_v              number of voltages
    """
    rows, cols, data, offset = [], [], [], n_v
    for p in primitives:
        number = np.full(p.branch.shape, -1)
        number[p.branch] = offset + np.arange(int(p.branch.sum()))
        offset += int(p.branch.sum())
        here, there = _found(p, kind, row)
        k = slot[here]
        turns = np.where(p.branch[there], p.turns[there, :, k], 0.0)
        node = np.where(p.node[there] == ABSENT, EARTH, p.node[there])
        for which, value in ((number[there], turns), (node, p.y_s[there, k])):
            value = np.where(which == EARTH, 0.0, value)  # earth has no voltage
            t, m = np.nonzero(value)
            rows.append(here[t])
            cols.append(which[t, m])
            data.append(value[t, m].astype(complex))
    parts = (np.concatenate(part) if part else np.zeros(0, dtype=int) for part in (data, rows, cols))
    entries, at_row, at_col = parts
    return sp.csr_matrix((entries, (at_row, at_col)), shape=(len(row), offset), dtype=complex)


def _found(p: Primitive, kind: Array, row: Array) -> tuple[Array, Array]:
    """Terminals of these primitives, and the primitive of each."""
    mine = np.flatnonzero(kind == p.kind)
    place = np.full(int(max(p.row.max(initial=-1), row[mine].max(initial=-1))) + 1, -1)
    place[p.row] = np.arange(len(p.row))
    there = place[row[mine]]
    return mine[there >= 0], there[there >= 0]
