"""The box that the reduced method keeps its controls in: bounds, sizes, and rows that are bounds in truth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dms.adjoint import Sensitivity
from dms.program import Numbers
from feeders.table import Array


@dataclass(frozen=True)
class Box:
    """Bounds lo, hi and size `scale` (n_u,) of the controls.

    from_row  (n_u,) the linear row (its place among `plain_matrix`'s) that made a bound, -1 none
    plain     places in `Sensitivity.limits` of the linear rows that are left
    """

    split: Sensitivity
    numbers: Numbers
    lo: Array
    hi: Array
    scale: Array
    from_row: Array
    plain: Array

    @staticmethod
    def of(split: Sensitivity, numbers: Numbers) -> Box:
        """Of a tick's numbers.

        A control without cost that only widens linear rows stands at its upper bound (the peak, held from
        above by an earlier stage); a row with one control left that moves is a bound of it.
        """
        program, rows = split.program, np.flatnonzero(split.linear)
        lo, hi = numbers.x_lo[split.controls].copy(), numbers.x_hi[split.controls].copy()
        scale = _scales(split, numbers)
        row_lo, row_hi = numbers.row_lo[split.limits][rows], numbers.row_hi[split.limits][rows]
        without_cost = np.asarray(program.gradient(np.ones(program.n)) == 0)[split.controls]
        for j in np.flatnonzero(without_cost & ~split.moves_states & np.isfinite(hi)):
            column = split.plain_matrix[:, [j]].tocoo()
            if len(column.data) and (column.data > 0).all() and np.isinf(row_hi[column.row]).all():
                lo[j] = hi[j]
        entries, moves = split.plain_matrix.tocoo(), hi > lo
        single = np.bincount(entries.row[moves[entries.col]], minlength=len(rows)) == 1
        rest = split.plain_matrix @ np.where(moves, 0.0, hi)
        here = moves[entries.col] & single[entries.row]
        from_row = np.full(len(lo), -1)
        for k, j, coef in zip(entries.row[here], entries.col[here], entries.data[here], strict=True):
            ends = sorted(((row_lo[k] - rest[k]) / coef, (row_hi[k] - rest[k]) / coef))
            if ends[1] < hi[j]:
                hi[j], from_row[j] = max(ends[1], lo[j]), k
            if ends[0] > lo[j]:
                lo[j], from_row[j] = min(ends[0], hi[j]), k
        return Box(split, numbers, lo, hi, scale, from_row, rows[~single])

    def over(self, h: Array) -> Array:
        """How far limits (n_h,) lie beyond their nearer bound; negative inside."""
        lo, hi = self.numbers.row_lo[self.split.limits], self.numbers.row_hi[self.split.limits]
        return np.asarray(np.maximum(lo - h, h - hi))

    def to_rows(self, u: Array, pull: Array, multipliers: Array) -> Array:
        """What bounds made from rows balance goes back to those rows; what is left for the bounds (n_u,).

        u            controls at the point      pull  what the bounds balance there
        multipliers  (m,) of all rows, of which those of such rows are set
        """
        split = self.split
        at_end = (np.abs(u - self.hi) < np.abs(u - self.lo)) == (pull < 0)
        own = np.where(pull < 0, self.numbers.x_hi[split.controls], self.numbers.x_lo[split.controls])
        tightened = at_end & (np.where(pull < 0, self.hi, self.lo) != own)
        rows, left = np.flatnonzero(split.linear), pull.copy()
        for j in np.flatnonzero((self.from_row >= 0) & (pull != 0) & tightened):
            k = int(self.from_row[j])
            entry = split.plain_matrix[[k]].tocoo()
            multiplier = -pull[j] / entry.data[entry.col == j][0]
            multipliers[split.limits[rows[k]]] = multiplier
            left[entry.col] += entry.data * multiplier
        return left


def _scales(split: Sensitivity, numbers: Numbers) -> Array:
    """Size of every control: the largest finite box in its block, else the largest of all."""
    program, size = split.program, np.ones(len(split.controls))
    place = np.full(program.n, -1)
    place[split.controls] = np.arange(len(size))
    decided = [b for b in program.variables.values() if b.role == "control"]
    boxes = {b.name: numbers.x_hi[b.span] - numbers.x_lo[b.span] for b in decided}
    widest = max((float(w[np.isfinite(w)].max(initial=0.0)) for w in boxes.values()), default=1.0)
    for block in decided:
        box = boxes[block.name]
        span = float(box[np.isfinite(box)].max(initial=0.0)) if np.isfinite(box).any() else widest
        size[place[block.index]] = span if span > 0 else 1.0
    return size
