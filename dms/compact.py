"""A `Program` without what is drawn and without figures of the tick: smaller, and the same problem.

What an element draws is a function s(z) of the voltages and curtailments around it (`dms.local_laws`).
Put into Kirchhoff's law it leaves

    minimise f(x)   subject to   row_lo <= c(x) + C s(z(x)) <= row_hi,   x_lo <= x <= x_hi

over the other variables x: two fifths of a programme whose loads follow their voltage. The barrier method
(`dms.barrier`) works on this; its points and multipliers are put back into the whole programme's.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import scipy.sparse as sp

from dms.local_families import families
from dms.local_laws import Entries
from dms.phasor import Powers, Products, Terms
from dms.program import Block, Numbers, Objective, Program, Role
from feeders.table import Array

NONE = np.zeros(0, dtype=int)


@dataclass(frozen=True)
class _Places:
    """Kept indices of a programme, ascending, and where they went: -1 for what is left out."""

    kept: Array
    place: Array

    @staticmethod
    def of(kept: Array) -> _Places:
        """kept (n,) bool."""
        return _Places(np.flatnonzero(kept), np.where(kept, np.cumsum(kept) - 1, -1))

    def blocks(self, blocks: dict[str, Block]) -> dict[str, Block]:
        """What is left of named blocks; those with nothing left are gone."""
        found = {}
        for name, block in blocks.items():
            here = self.place[block.span]
            left = here >= 0
            if left.any():
                found[name] = Block(name, int(here[left][0]), block.label[left], block.role)
        return found


class Compact:
    """The structure; `at` binds the numbers of a tick.

    n, m, m_whole          variables and rows that are left, rows of the whole programme
    columns (n,), rows (m,)   which of the programme's they are
    rest                   the programme of these alone, nothing drawn
    told (n_told,)         variables of all families, one after the other
    drawn (m, n_told)      C
    """

    def __init__(self, program: Program) -> None:
        self.families, self.m_whole = families(program), program.m
        keep_cols, keep_rows = np.ones(program.n, dtype=bool), np.ones(program.m, dtype=bool)
        for family in self.families:
            keep_cols[family.told], keep_rows[family.rows] = False, False
        keep_cols[_unused(program, keep_rows)] = False
        cols, rows = _Places.of(keep_cols), _Places.of(keep_rows)
        self.columns, self.rows = cols.kept, rows.kept
        self.rest = _restricted(program, cols, rows)
        self.n, self.m = self.rest.n, self.rest.m
        self.told = np.concatenate([NONE, *(family.told.ravel() for family in self.families)])
        ends = np.cumsum([0, *(family.told.size for family in self.families)])
        self.spans = [slice(*pair) for pair in pairwise(ends.tolist())]
        place = np.full(program.n, -1)
        place[self.told] = np.arange(len(self.told))
        lin = program.linear
        here = (rows.place[lin.row] >= 0) & (place[lin.col] >= 0)
        entries = (lin.coef[here], (rows.place[lin.row[here]], place[lin.col[here]]))
        self.drawn: sp.csr_matrix = sp.csr_matrix(entries, shape=(self.m, len(self.told)))
        # One trial tells which entries the derivatives of a family have.
        trials = [program.numbers.x0[family.columns] for family in self.families]
        slopes = [f.slopes(f.slopes_of_laws(x)) for f, x in zip(self.families, trials, strict=True)]
        bends = [
            f.bends(x, found, np.ones(f.told.shape))
            for f, x, found in zip(self.families, trials, slopes, strict=True)
        ]
        around = [cols.place[family.around] for family in self.families]
        self._compile_slopes(slopes, around)
        self._compile_bends(bends, around)

    def _compile_slopes(self, slopes: list[Entries], around: list[Array]) -> None:
        """The Jacobian's pattern, and what the slopes (one after the other, by `slope_keys`) add to it."""
        drawn, first = self.drawn.tocsc(), 0
        parts: list[tuple[Array, Array, Array, Array]] = [(NONE, NONE, NONE, np.zeros(0))]
        self.slope_keys: list[list[tuple[int, int]]] = []
        for family, span, found, columns in zip(self.families, self.spans, slopes, around, strict=True):
            count = family.told.shape[1]
            of_slot = [drawn[:, span.start + k * count :][:, :count].tocoo() for k in range(len(family.told))]
            self.slope_keys.append(sorted(key for key in found if of_slot[key[0]].nnz))
            for slot, z in self.slope_keys[-1]:
                mine = of_slot[slot]
                parts.append((mine.row, columns[z][mine.col], first + mine.col, mine.data))
                first += count
        row, col, source, coef = (np.concatenate(part) for part in zip(*parts, strict=True))
        merged = _merged(self.rest.jacobian_structure, (row, col), self.n)
        self.jacobian_structure, self.of_rest_jacobian, place = merged
        shape = (len(self.jacobian_structure[0]), first)
        self.by_slopes: sp.csr_matrix = sp.csr_matrix((coef, (place, source)), shape=shape)

    def _compile_bends(self, bends: list[Entries], around: list[Array]) -> None:
        """The Hessian's pattern, and where the bends (one after the other, by `bend_keys`) add to it."""
        self.bend_keys = [sorted(found) for found in bends]
        pairs = [(NONE, NONE)]
        for keys, columns in zip(self.bend_keys, around, strict=True):
            pairs += [(columns[a], columns[b]) for a, b in keys]
        one, other = (np.concatenate(part) for part in zip(*pairs, strict=True))
        lower = np.maximum(one, other), np.minimum(one, other)
        merged = _merged(self.rest.hessian_structure, lower, self.n)
        self.hessian_structure, self.of_rest_hessian, place = merged
        shape = (len(self.hessian_structure[0]), len(one))
        ones = np.ones(len(one))
        self.by_bends: sp.csr_matrix = sp.csr_matrix((ones, (place, np.arange(len(one)))), shape=shape)

    def row_indices(self, *roles: Role) -> Array:
        """Indices of the rows with these roles, ascending."""
        return self.rest.row_indices(*roles)

    def at(self, stage: int, numbers: Numbers) -> CompactTick:
        """The problem of one stage with the numbers of a tick."""
        return CompactTick(self, self.rest.for_stage(stage), numbers)


class CompactTick:
    """A tick's problem as `dms.slack_form` asks for it: values and derivatives on fixed structures.

    numbers   of what is left

    Raises  ValueError  numbers that do not leave what is drawn to its laws alone
    """

    def __init__(self, structure: Compact, rest: Program, whole: Numbers) -> None:
        self.structure, self._rest, self._whole = structure, rest, whole
        self.n, self.m = structure.n, structure.m
        cols, rows = structure.columns, structure.rows
        self.numbers = Numbers(
            whole.x_lo[cols], whole.x_hi[cols], whole.row_lo[rows], whole.row_hi[rows], whole.x0[cols]
        )
        for family in structure.families:
            laws = np.array_equal(whole.row_lo[family.rows], whole.row_hi[family.rows])
            least, most = whole.x_lo[family.told], whole.x_hi[family.told]
            if not (laws and np.array_equal(least, family.least) and np.array_equal(most, family.most)):
                raise ValueError("a tick's numbers loosen the law or move the bounds of what is drawn")
        self._x = np.where(whole.x_lo == whole.x_hi, whole.x_lo, whole.x0)
        self._at: Array | None = None
        self._slots: list[Array] = []
        self._target = [whole.row_lo[family.rows] for family in structure.families]
        self._steep: list[tuple[Entries, Entries]] | None = None

    @property
    def jacobian_structure(self) -> tuple[Array, Array]:
        """Rows and columns of the Jacobian's fixed pattern."""
        return self.structure.jacobian_structure

    @property
    def hessian_structure(self) -> tuple[Array, Array]:
        """Rows and columns of the lower triangle's fixed pattern."""
        return self.structure.hessian_structure

    def objective(self, x: Array) -> float:
        """f."""
        return self._rest.objective(x)

    def gradient(self, x: Array) -> Array:
        """(n,) of f."""
        return self._rest.gradient(x)

    def constraints(self, x: Array) -> Array:
        """(m,) c + C s; NaN where an element has no solution."""
        self._go_to(x)
        return self._rest.constraints(x) + self.structure.drawn @ self._x[self.structure.told]

    def jacobian(self, x: Array) -> Array:
        """Values on `jacobian_structure`."""
        s = self.structure
        values: Array = s.by_slopes @ _flat([slopes for _, slopes in self._slopes_at(x)], s.slope_keys)
        values[s.of_rest_jacobian] += self._rest.jacobian(x)
        return values

    def hessian(self, x: Array, multipliers: Array, sigma: float) -> Array:
        """Values on `hessian_structure`, of sigma f + multipliers . (c + C s)."""
        s, slopes = self.structure, self._slopes_at(x)
        parts = zip(s.families, self._slots, slopes, self._multipliers(x, multipliers), strict=True)
        found = [family.bends(slots, steep, y) for family, slots, (_, steep), y in parts]
        values: Array = s.by_bends @ _flat(found, s.bend_keys)
        values[s.of_rest_hessian] += self._rest.hessian(x, multipliers, sigma)
        return values

    def whole(self, x: Array, multipliers: Array) -> tuple[Array, Array]:
        """The point and the rows' multipliers in the whole programme, stationary in what is drawn."""
        s, y = self.structure, np.zeros(self.structure.m_whole)
        self._go_to(x)
        y[s.rows] = multipliers
        for family, found in zip(s.families, self._multipliers(x, multipliers), strict=True):
            y[family.rows] = found
        return self._x.copy(), y

    def _go_to(self, x: Array) -> None:
        """What is drawn at x, from what was drawn at the last point, or at first where that was nothing."""
        if self._at is not None and np.array_equal(x, self._at):
            return
        self._at, self._steep, self._slots = x.copy(), None, []
        self._x[self.structure.columns] = x
        for family, target in zip(self.structure.families, self._target, strict=True):
            slots = self._x[family.columns]
            if not np.isfinite(slots).all():
                slots[: len(family.told)] = self._whole.x0[family.told]
            with np.errstate(invalid="ignore", over="ignore"):
                family.settle(slots, target)
            self._x[family.told] = slots[: len(family.told)]
            self._slots.append(slots)

    def _slopes_at(self, x: Array) -> list[tuple[Entries, Entries]]:
        """Slopes of the laws, and of what is drawn, of every family."""
        self._go_to(x)
        if self._steep is None:
            self._steep = []
            for family, slots in zip(self.structure.families, self._slots, strict=True):
                of_laws = family.slopes_of_laws(slots)
                self._steep.append((of_laws, family.slopes(of_laws)))
        return self._steep

    def _multipliers(self, x: Array, multipliers: Array) -> list[Array]:
        """Multipliers (k, members) of the laws of every family."""
        s = self.structure
        pull = s.drawn.T @ multipliers
        return [
            family.multipliers(of_laws, pull[span].reshape(family.told.shape))
            for family, span, (of_laws, _) in zip(s.families, s.spans, self._slopes_at(x), strict=True)
        ]


def _flat(found: list[Entries], keys: list[list[tuple[int, int]]]) -> Array:
    parts = [entries[key] for entries, mine in zip(found, keys, strict=True) for key in mine]
    return np.concatenate([np.zeros(0), *parts])


def _unused(program: Program, rows: Array) -> Array:
    """Figures of the tick that stand in none of these rows (m,) bool."""
    used = np.zeros(program.n, dtype=bool)
    for part, names in (
        (program.linear, ("col",)),
        (program.products, ("i", "j")),
        (program.powers, ("col",)),
    ):
        for name in names:
            used[getattr(part, name)[rows[part.row]]] = True
    given = program.columns("given")
    return given[~used[given]]


def _restricted(program: Program, cols: _Places, rows: _Places) -> Program:
    """The rows and variables that are left, what is drawn left out of them."""
    lin, q, power, numbers = program.linear, program.products, program.powers, program.numbers
    a = (rows.place[lin.row] >= 0) & (cols.place[lin.col] >= 0)
    b, c = rows.place[q.row] >= 0, rows.place[power.row] >= 0

    def of_objective(objective: Objective) -> Objective:
        p = objective.products
        products = Products(p.row, cols.place[p.i], cols.place[p.j], p.coef)
        return Objective(objective.linear[cols.kept], products, objective.hold)

    return Program(
        n=len(cols.kept),
        m=len(rows.kept),
        objectives=tuple(of_objective(objective) for objective in program.objectives),
        linear=Terms(rows.place[lin.row[a]], cols.place[lin.col[a]], lin.coef[a]),
        products=Products(rows.place[q.row[b]], cols.place[q.i[b]], cols.place[q.j[b]], q.coef[b]),
        powers=Powers(rows.place[power.row[c]], cols.place[power.col[c]], power.coef[c], power.exponent[c]),
        variables=cols.blocks(program.variables),
        rows=rows.blocks(program.rows),
        numbers=Numbers(
            numbers.x_lo[cols.kept],
            numbers.x_hi[cols.kept],
            numbers.row_lo[rows.kept],
            numbers.row_hi[rows.kept],
            numbers.x0[cols.kept],
        ),
    )


def _merged(
    first: tuple[Array, Array], second: tuple[Array, Array], width: int
) -> tuple[tuple[Array, Array], Array, Array]:
    """One sorted pattern of two, and the places of the entries of each in it."""
    keys = [row.astype(np.int64) * width + col for row, col in (first, second)]
    both, place = np.unique(np.concatenate(keys), return_inverse=True)
    return np.divmod(both, width), place[: len(keys[0])], place[len(keys[0]) :]
