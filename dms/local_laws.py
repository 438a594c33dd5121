"""Laws of single elements: what is drawn at a point, as a function of the voltages around it.

A load's current, its |u| and their powers stand in laws of its own, F(s, z) = 0, as many as there are of
them, and elsewhere only linearly, in Kirchhoff's law. Given the voltages (and curtailments) z around the
element, s is therefore known, and so are its derivatives by the implicit function theorem:

    s(z)  from F(s, z) = 0            ds/dz = -F_s^-1 F_z
    sum_i lambda_i d2 s_i = Z' (sum_r y_r d2 F_r) Z      Z = [ds/dz; 1],  F_s' y = -lambda

(Nocedal and Wright, Numerical Optimization, 2006, section 15.3). A circuit has few *families* of elements
with the same terms and thousands of members of each: everything is done for a whole family at a time, one
array (members,) per entry, in blocks of F_s that follow one from the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dms.program import phi
from feeders.table import Array

MOST_STEPS = 50
"""Newton's, of a block that is not linear in its own variables."""
ROUNDING = 1e-15
"""Last step of such a block, relative."""

Entries = dict[tuple[int, int], Array]
"""Values (members,) of the entries of a small matrix that are not zero by structure."""


@dataclass(frozen=True)
class Family:
    """Elements with the same laws; a *slot* is a place among an element's variables.

    rows, told (k, members)   the laws and as many variables, slots 0 to k - 1
    around (q, members)       variables that these depend on, slots k to k + q - 1
    given (g, members)        figures of the tick, the slots after those
    linear                    (law, slot, coefficient (members,))
    products                  (law, slot, slot, coefficient)
    powers                    (law, slot, coefficient, exponent), coefficient and exponent (members,)
    least, most (k, members)  bounds of the told variables; a value beyond is NaN
    blocks                    laws and slots that follow one from the other, each pair as many
    """

    rows: Array
    told: Array
    around: Array
    given: Array
    linear: tuple[tuple[int, int, Array], ...]
    products: tuple[tuple[int, int, int, Array], ...]
    powers: tuple[tuple[int, int, Array, Array], ...]
    least: Array
    most: Array
    blocks: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]

    @property
    def columns(self) -> Array:
        """(slots, members) variables of the programme."""
        return np.concatenate([self.told, self.around, self.given])

    def gap(self, law: int, x: Array, target: Array) -> Array:
        """F of a law (members,) at the slots' values x (slots, members)."""
        found = -target[law]
        for r, c, coef in self.linear:
            if r == law:
                found = found + coef * x[c]
        for r, i, j, coef in self.products:
            if r == law:
                found = found + coef * x[i] * x[j]
        for r, c, coef, exponent in self.powers:
            if r == law:
                found = found + coef * phi(x[c], exponent)
        return np.asarray(found)

    def slopes_of_laws(self, x: Array, laws: tuple[int, ...] | None = None) -> Entries:
        """dF by (law, slot), given slots left out."""
        found: Entries = {}
        moving = len(self.told) + len(self.around)

        def add(law: int, slot: int, value: Array) -> None:
            if slot < moving:
                found[law, slot] = found[law, slot] + value if (law, slot) in found else value

        for r, c, coef in self.linear:
            if laws is None or r in laws:
                add(r, c, coef)
        for r, i, j, coef in self.products:
            if laws is None or r in laws:
                add(r, i, coef * x[j])
                add(r, j, coef * x[i])
        for r, c, coef, exponent in self.powers:
            if laws is None or r in laws:
                add(r, c, coef * phi(x[c], exponent, 1))
        return found

    def settle(self, x: Array, target: Array) -> None:
        """Put the told variables right in x (slots, members), from what they are; NaN where that fails."""
        for laws, slots in self.blocks:
            steps = 1 if self._is_linear(slots) else MOST_STEPS
            last = np.inf
            for _ in range(steps):
                slopes = self.slopes_of_laws(x, laws)
                gaps = [self.gap(law, x, target) for law in laws]
                moves = _solved(slopes, laws, slots, gaps)
                size = 0.0
                for slot, move in zip(slots, moves, strict=True):
                    x[slot] -= move
                    size = max(size, float(np.max(np.abs(move) / (1 + np.abs(x[slot])))))
                if not size > ROUNDING or (size < 1e-12 and size >= last):
                    break
                last = size
        k = len(self.told)
        x[:k][(x[:k] < self.least) | (x[:k] > self.most)] = np.nan

    def _is_linear(self, slots: tuple[int, ...]) -> bool:
        bent = any(i in slots and j in slots for _, i, j, _ in self.products)
        return not bent and all(c not in slots for _, c, _, _ in self.powers)

    def slopes(self, of_laws: Entries) -> Entries:
        """ds/dz by (told slot, place in `around`)."""
        k, found = len(self.told), Entries()
        for laws, slots in self.blocks:
            for z in range(len(self.around)):
                right: list[Array | None] = []
                for law in laws:
                    parts = [of_laws[law, k + z]] if (law, k + z) in of_laws else []
                    earlier = (e for e in range(k) if (law, e) in of_laws and (e, z) in found)
                    parts += [of_laws[law, e] * found[e, z] for e in earlier if e not in slots]
                    right.append(sum(parts[1:], start=parts[0]) if parts else None)
                if any(part is not None for part in right):
                    nothing = np.zeros(self.told.shape[1])
                    full = [nothing if part is None else part for part in right]
                    for slot, value in zip(slots, _solved(of_laws, laws, slots, full), strict=True):
                        found[slot, z] = -value
        return found

    def multipliers(self, of_laws: Entries, pull: Array) -> Array:
        """y (k, members) of the laws with F_s' y = -pull, pull (k, members) by told slot."""
        y = np.zeros_like(pull)
        for laws, slots in reversed(self.blocks):
            right = []
            for slot in slots:
                later = (r for r in range(len(self.rows)) if (r, slot) in of_laws and r not in laws)
                right.append(sum((of_laws[r, slot] * y[r] for r in later), start=pull[slot]))
            turned = {
                (slot, law): of_laws[law, slot] for law in laws for slot in slots if (law, slot) in of_laws
            }
            for law, value in zip(laws, _solved(turned, slots, laws, right), strict=True):
                y[law] = -value
        return y

    def bends(self, x: Array, slopes: Entries, y: Array) -> Entries:
        """Z' (sum_r y_r d2 F_r) Z by (place, place) in `around`, lower triangle."""
        k, q = len(self.told), len(self.around)
        curved: Entries = {}

        def add(i: int, j: int, value: Array) -> None:
            for key in {(i, j), (j, i)}:
                curved[key] = curved[key] + value if key in curved else value

        for r, i, j, coef in self.products:
            if max(i, j) < k + q:
                add(i, j, coef * y[r] * (2.0 if i == j else 1.0))
        for r, c, coef, exponent in self.powers:
            if c < k + q:
                add(c, c, coef * y[r] * phi(x[c], exponent, 2))
        half: Entries = {}
        for (i, j), value in curved.items():
            for b, slope in self._row(slopes, j):
                more = value if slope is None else value * slope
                half[i, b] = half[i, b] + more if (i, b) in half else more
        found: Entries = {}
        for (i, b), value in half.items():
            for a, slope in self._row(slopes, i):
                if a >= b:
                    more = value if slope is None else value * slope
                    found[a, b] = found[a, b] + more if (a, b) in found else more
        return found

    def _row(self, slopes: Entries, slot: int) -> Iterator[tuple[int, Array | None]]:
        """Entries of a row of Z = [ds/dz; 1]; None is one."""
        k = len(self.told)
        if slot >= k:
            yield slot - k, None
            return
        for z in range(len(self.around)):
            if (slot, z) in slopes:
                yield z, slopes[slot, z]


def _solved(
    entries: Entries, rows: tuple[int, ...], cols: tuple[int, ...], right: list[Array]
) -> list[Array]:
    """The solution (members,) by column of small systems, all members at once; inf or NaN where singular."""
    nothing = np.zeros_like(right[0])
    m = [[entries.get((r, c), nothing) for c in cols] for r in rows]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if len(rows) == 1:
            return [right[0] / m[0][0]]
        if len(rows) == 2:
            (a, b), (c, d) = m
            det = a * d - b * c
            return [(d * right[0] - b * right[1]) / det, (a * right[1] - c * right[0]) / det]
    matrix: Array = np.moveaxis(np.array(m), 2, 0)
    columns: Array = np.moveaxis(np.array(right), 1, 0)
    try:
        return list(np.linalg.solve(matrix, columns[..., None])[..., 0].T)
    except np.linalg.LinAlgError:
        return [np.full_like(nothing, np.nan) for _ in cols]
