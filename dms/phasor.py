"""`Phasor`: complex expressions, linear in the real variables of a `Program`.

Each of n rows is sum_k coef_k x[col_k] with complex coefficients, so that a voltage is
V_base (1 v_re + j v_im), an impedance multiplies the coefficients, and every product of the
paper is one call:

    a.dot(b)    Re(a conj(b))     real power of voltage a and current b
    a.cross(b)  Im(a conj(b))     reactive power
    a.dot(a)    |a|^2
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import nan
from typing import ClassVar

import numpy as np

from feeders.table import Array


@dataclass(frozen=True)
class Terms:
    """Real coefficients of linear terms: row, variable, coefficient."""

    row: Array
    col: Array
    coef: Array


@dataclass(frozen=True)
class Products:
    """Real coefficients of products x[i] x[j]: row, i, j, coefficient."""

    row: Array
    i: Array
    j: Array
    coef: Array

    def __add__(self, other: Products) -> Products:
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Products(*(np.concatenate(pair) for pair in pairs))

    def times(self, factor: Array) -> Products:
        """Every row times its factor (n,)."""
        return Products(self.row, self.i, self.j, self.coef * factor[self.row])


@dataclass(frozen=True)
class Powers:
    """Real coefficients of powers x[col]^exponent: row, variable, coefficient, exponent.

    The exponent `LOG` (NaN) stands for log x[col], the limit of (x^e - 1) / e at e = 0.
    """

    row: Array
    col: Array
    coef: Array
    exponent: Array

    LOG: ClassVar[float] = nan


@dataclass(frozen=True)
class Phasor:
    """n complex linear expressions: flat triplets row, col (variable), coef (complex)."""

    n: int
    row: Array
    col: Array
    coef: Array

    @staticmethod
    def zero(n: int) -> Phasor:
        """n expressions that are identically zero."""
        none = np.zeros(0, dtype=int)
        return Phasor(n, none, none, np.zeros(0, dtype=complex))

    @staticmethod
    def of(re: Array, im: Array, scale: Array, present: Array) -> Phasor:
        """scale (x[re] + j x[im]) on the rows that are present; `re`, `im` index variables there."""
        row = np.flatnonzero(present)
        s = np.broadcast_to(scale, present.shape)[row].astype(complex)
        return Phasor(
            len(present), np.concatenate([row, row]), np.concatenate([re, im]), np.concatenate([s, 1j * s])
        )

    @staticmethod
    def stack(parts: Sequence[Phasor]) -> Phasor:
        """One after the other."""
        offset = np.cumsum([0, *(p.n for p in parts)])
        return Phasor(
            int(offset[-1]),
            np.concatenate([p.row + o for p, o in zip(parts, offset, strict=False)]),
            np.concatenate([p.col for p in parts]),
            np.concatenate([p.coef for p in parts]),
        )

    def __add__(self, other: Phasor) -> Phasor:
        pairs = ((self.row, other.row), (self.col, other.col), (self.coef, other.coef))
        return Phasor(self.n, *(np.concatenate(p) for p in pairs))

    def __sub__(self, other: Phasor) -> Phasor:
        return self + (-other)

    def __neg__(self) -> Phasor:
        return Phasor(self.n, self.row, self.col, -self.coef)

    def times(self, factor: Array | float) -> Phasor:
        """Every row times its factor (n,), or all rows times one number."""
        by_row = np.broadcast_to(factor, (self.n,))
        return Phasor(self.n, self.row, self.col, self.coef * by_row[self.row])

    def keep(self, rows: Array) -> Phasor:
        """The rows of a mask (n,); the others are zero."""
        here = rows[self.row]
        return Phasor(self.n, self.row[here], self.col[here], self.coef[here])

    def take(self, rows: Array) -> Phasor:
        """The given rows (index or mask), renumbered from 0."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        order = np.argsort(self.row, kind="stable")
        counts = np.bincount(self.row, minlength=self.n)
        starts = np.cumsum(counts) - counts
        pick = order[_ranges(starts[rows], counts[rows])]
        return Phasor(
            len(rows), np.repeat(np.arange(len(rows)), counts[rows]), self.col[pick], self.coef[pick]
        )

    def blocks(self, matrices: Array) -> Phasor:
        """Matrix times vector, block by block: rows (g, m) become (g, l) by matrices (g, l, m)."""
        g, n_out, n_in = matrices.shape
        block, k = np.divmod(self.row, n_in)
        gain = matrices[block, :, k]
        term, out = np.nonzero(gain)
        return Phasor(g * n_out, block[term] * n_out + out, self.col[term], self.coef[term] * gain[term, out])

    def by(self, factor: Array) -> tuple[Products, Products]:
        """Real and imaginary part of x[factor] times every row, `factor` (n,) a variable for each row."""
        re, im = self.re, self.im
        return (
            Products(re.row, factor[re.row], re.col, re.coef),
            Products(im.row, factor[im.row], im.col, im.coef),
        )

    @property
    def re(self) -> Terms:
        """Real parts as linear terms."""
        keep = self.coef.real != 0
        return Terms(self.row[keep], self.col[keep], self.coef.real[keep])

    @property
    def im(self) -> Terms:
        """Imaginary parts as linear terms."""
        keep = self.coef.imag != 0
        return Terms(self.row[keep], self.col[keep], self.coef.imag[keep])

    def dot(self, other: Phasor) -> Products:
        """Re(self conj(other)), row by row."""
        row, a, b = self._match(other)
        return _nonzero(row, self.col[a], other.col[b], (self.coef[a] * np.conj(other.coef[b])).real)

    def cross(self, other: Phasor) -> Products:
        """Im(self conj(other)), row by row."""
        row, a, b = self._match(other)
        return _nonzero(row, self.col[a], other.col[b], (self.coef[a] * np.conj(other.coef[b])).imag)

    def _match(self, other: Phasor) -> tuple[Array, Array, Array]:
        """All pairs of terms that share a row: row, term of self, term of other."""
        order = np.argsort(other.row, kind="stable")
        counts = np.bincount(other.row, minlength=other.n)
        starts = np.cumsum(counts) - counts
        a = np.repeat(np.arange(len(self.row)), counts[self.row])
        b = order[_ranges(starts[self.row], counts[self.row])]
        return self.row[a], a, b


def _ranges(starts: Array, counts: Array) -> Array:
    """Concatenate arange(start, start + count) for every pair."""
    total = int(counts.sum())
    offsets = np.repeat(starts - (np.cumsum(counts) - counts), counts)
    return np.arange(total) + offsets


def _nonzero(row: Array, i: Array, j: Array, coef: Array) -> Products:
    keep = coef != 0
    return Products(row[keep], i[keep], j[keep], coef[keep])
