"""Which laws of a `Program` are those of single elements, and families of such elements (`dms.local_laws`).

Nothing here knows a device: an element is what hangs together by laws of role `power` and drawn variables,
and a family is elements whose terms say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components, maximum_bipartite_matching

from dms.local_laws import Family
from dms.program import Program
from feeders.table import Array

FEWEST = 8
"""Members of a family that is worth the arrays: smaller ones stay in the programme as they are."""
MOST_SLOTS = 100
"""Variables around an element; one with more is no single element."""
LINEAR, PRODUCT, POWER = range(3)
"""Kinds of terms."""


def families(program: Program) -> list[Family]:
    """The families of elements in a programme's laws of role `power` and drawn variables.

    An element is taken where it has as many laws as variables that no cost and no other row bends, and where
    every law tells one of them.
    """
    terms = _Terms.of(program)
    shapes = terms.shapes().values()
    found = (terms.family(np.array(members)) for members in shapes if len(members) >= FEWEST)
    return [family for family in found if family is not None]


@dataclass(frozen=True)
class _Terms:
    """Terms of the laws of candidate elements, sorted by element and by what they say.

    sizes (elements, 4)    laws, told, around and given variables of every element
    rows, cols             laws and variables by element, in the order of their slots, and where each begins
    start (elements + 1,)  where the terms of every element begin
    code, figures          what every term says, see `_code`, and its coefficient and exponent, (2, terms)
    """

    program: Program
    sizes: Array
    rows: tuple[Array, Array]
    cols: tuple[Array, Array]
    start: Array
    code: Array
    figures: Array

    @staticmethod
    def of(program: Program) -> _Terms:
        rows, told = _candidates(program)
        element_of_row, count = _joined(program, rows, told)
        place = np.full(program.m, -1)
        place[rows] = element_of_row
        row, one, other, kind, coef, exponent = _flat(program, place >= 0)
        element = place[row]
        # Variables by element, told ones first, then those around, then given ones, each by their index.
        sort = np.ones(program.n, dtype=int)
        sort[told], sort[program.columns("given")] = 0, 2
        pairs = np.concatenate([np.stack([element, one]), np.stack([element, other])], axis=1)
        seen = np.unique(pairs[:, pairs[1] >= 0], axis=1)
        of, variable = seen[:, np.lexsort([seen[1], sort[seen[1]], seen[0]])]
        key = of.astype(np.int64) * program.n + variable
        by_key, slot = np.argsort(key), _rank(of)

        def slot_of(index: Array) -> Array:
            at = np.searchsorted(key[by_key], element.astype(np.int64) * program.n + index)
            return np.where(index >= 0, slot[by_key[np.minimum(at, len(key) - 1)]], -1)

        by_row = np.lexsort([rows, element_of_row])
        law = np.full(program.m, -1)
        law[rows[by_row]] = _rank(element_of_row[by_row])
        code = _code(kind, law[row], slot_of(one), slot_of(other))
        sizes = np.zeros((count, 4), dtype=int)
        sizes[:, 0] = np.bincount(element_of_row, minlength=count)
        for s in range(3):
            sizes[:, 1 + s] = np.bincount(of[sort[variable] == s], minlength=count)
        order = np.lexsort([exponent, coef, code, element])
        return _Terms(
            program,
            sizes,
            (rows[by_row], np.concatenate([[0], np.cumsum(sizes[:, 0])])),
            (variable, np.concatenate([[0], np.cumsum(sizes[:, 1:].sum(axis=1))])),
            np.searchsorted(element[order], np.arange(count + 1)),
            code[order],
            np.stack([coef, exponent])[:, order],
        )

    def shapes(self) -> dict[bytes, list[int]]:
        """Elements with as many laws as told variables, by what their terms say."""
        found: dict[bytes, list[int]] = {}
        good = (self.sizes[:, 0] == self.sizes[:, 1]) & (self.sizes.sum(axis=1) <= MOST_SLOTS)
        for e in np.flatnonzero(good & (self.sizes[:, 0] > 0)):
            key = self.sizes[e].tobytes() + self.code[self.start[e] : self.start[e + 1]].tobytes()
            found.setdefault(key, []).append(int(e))
        return found

    def family(self, members: Array) -> Family | None:
        """The family of elements of one shape; None where a law of theirs tells no variable."""
        k, _, q, _ = (int(n) for n in self.sizes[members[0]])
        rows, row_start = self.rows
        cols, col_start = self.cols
        width = self.sizes[members[0], 1:].sum()
        columns = cols[col_start[members][:, None] + np.arange(width)].T
        at = slice(self.start[members[0]], self.start[members[0] + 1])
        n_terms = at.stop - at.start
        coef, exponent = (
            figure[self.start[members][:, None] + np.arange(n_terms)].T.copy() for figure in self.figures
        )
        linear, products, powers = [], [], []
        for t, (kind, law, one, other) in enumerate(_decoded(self.code[at])):
            if kind == LINEAR:
                linear.append((law, one, coef[t]))
            elif kind == PRODUCT:
                products.append((law, one, other, coef[t]))
            else:
                powers.append((law, one, coef[t], exponent[t]))
        uses = {(r, c) for r, c, *_ in (*linear, *powers) if c < k}
        uses |= {(r, c) for r, i, j, _ in products for c in (i, j) if c < k}
        blocks = _in_sequence(k, uses)
        numbers = self.program.numbers
        if blocks is None:
            return None
        return Family(
            rows=rows[row_start[members][:, None] + np.arange(k)].T,
            told=columns[:k],
            around=columns[k : k + q],
            given=columns[k + q :],
            linear=tuple(linear),
            products=tuple(products),
            powers=tuple(powers),
            least=numbers.x_lo[columns[:k]],
            most=numbers.x_hi[columns[:k]],
            blocks=blocks,
        )


def _flat(program: Program, mine: Array) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Row, variable, second variable or -1, kind, coefficient and exponent of the terms of some rows."""
    lin, q, power = program.linear, program.products, program.powers
    a, b, c = (np.flatnonzero(mine[part.row]) for part in (lin, q, power))
    none = np.zeros(len(a) + len(b))
    return (
        np.concatenate([lin.row[a], q.row[b], power.row[c]]),
        np.concatenate([lin.col[a], q.i[b], power.col[c]]),
        np.concatenate([np.full(len(a), -1), q.j[b], np.full(len(c), -1)]),
        np.repeat([LINEAR, PRODUCT, POWER], [len(a), len(b), len(c)]),
        np.concatenate([lin.coef[a], q.coef[b], power.coef[c]]),
        np.concatenate([none, power.exponent[c]]),
    )


def _code(kind: Array, law: Array, one: Array, other: Array) -> Array:
    """A number for what a term says: its kind, the law's place and the variables' slots, in either order."""
    base = MOST_SLOTS + 2
    first, second = np.maximum(one, other), np.minimum(one, other)
    return ((kind * base + law) * base + first) * base + second + 1


def _decoded(codes: Array) -> Iterator[tuple[int, int, int, int]]:
    base = MOST_SLOTS + 2
    for code in codes.tolist():
        left, second = divmod(code, base)
        left, first = divmod(left, base)
        yield *divmod(left, base), first, second - 1


def _candidates(program: Program) -> tuple[Array, Array]:
    """Laws that are equations, and drawn variables that stand elsewhere only linearly and cost nothing."""
    q, power, numbers = program.products, program.powers, program.numbers
    rows = program.row_indices("power")
    rows = rows[numbers.row_lo[rows] == numbers.row_hi[rows]]
    own = np.zeros(program.m, dtype=bool)
    own[rows] = True
    told = np.zeros(program.n, dtype=bool)
    told[program.columns("drawn")] = True
    for part in (q.i[~own[q.row]], q.j[~own[q.row]], power.col[~own[power.row]]):
        told[part] = False
    for objective in program.objectives:
        told[np.flatnonzero(objective.linear)] = False
        told[objective.products.i], told[objective.products.j] = False, False
    return rows, np.flatnonzero(told)


def _joined(program: Program, rows: Array, told: Array) -> tuple[Array, int]:
    """The element of every law, which those that share a told variable have in common; how many there are."""
    lin, q, power = program.linear, program.products, program.powers
    row = np.concatenate([lin.row, q.row, q.row, power.row])
    col = np.concatenate([lin.col, q.i, q.j, power.col])
    row_place, col_place = np.full(program.m, -1), np.full(program.n, -1)
    row_place[rows], col_place[told] = np.arange(len(rows)), len(rows) + np.arange(len(told))
    here = (row_place[row] >= 0) & (col_place[col] >= 0)
    size = len(rows) + len(told)
    graph = sp.coo_matrix(
        (np.ones(int(here.sum())), (row_place[row[here]], col_place[col[here]])), shape=(size, size)
    )
    count, label = connected_components(graph, directed=False)
    return label[: len(rows)], int(count)


def _rank(group: Array) -> Array:
    """Place of every entry within its group; groups stand together."""
    start = np.flatnonzero(np.concatenate([[True], group[1:] != group[:-1]])) if len(group) else group
    return np.arange(len(group)) - np.repeat(start, np.diff(np.append(start, len(group))))


def _in_sequence(
    k: int, uses: set[tuple[int, int]]
) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] | None:
    """Blocks of laws and variables, each told by those before it; None where a law tells no variable.

    The strong components of the laws, each matched with a variable (block triangular form: Duff, Erisman,
    Reid, Direct Methods for Sparse Matrices, 2017, chapter 6).
    """
    pattern = np.zeros((k, k))
    for law, slot in uses:
        pattern[law, slot] = 1.0
    match: Any = maximum_bipartite_matching(sp.csr_matrix(pattern), perm_type="column")
    if (match < 0).any():
        return None
    needs = pattern[:, match]  # law r needs the variable that law c tells
    count, label = connected_components(sp.csr_matrix(needs), directed=True, connection="strong")
    blocks = [np.flatnonzero(label == c) for c in range(count)]
    waits = {
        c: {int(label[o]) for r in blocks[c] for o in np.flatnonzero(needs[r])} - {c} for c in range(count)
    }
    order: list[int] = []
    while len(order) < count:
        order += [c for c in range(count) if c not in order and waits[c] <= {c, *order}][:1]
    return tuple((tuple(blocks[c].tolist()), tuple(match[blocks[c]].tolist())) for c in order)
