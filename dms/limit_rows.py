"""Limits one by one, as people name them: both sides of every family in one table, in practical units.

Rows of limits that are no family of `dms.limits`, those that inverters bring with them, follow as they stand
in the programme.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Protocol

import numpy as np

from dms.certificate import State
from dms.limits import BAND_TOLERANCE_PU, Family, LimitValues
from dms.program import Numbers, Program
from dms.sensitivity import network_rows
from feeders.table import Array

STEPS = {"pu": ("0.01 pu", 0.01), "A": ("1 A", 1.0), "VA": ("1 kVA", 1e3), "kW": ("1 kW", 1.0)}
"""What a limit of a unit is relaxed by when its worth is told; of a ratio, by 0.001."""
OF_A_RATIO = ("0.001", 0.001)
OWN_NAMES = {"s_prosumer": "inverter_rating", "piece_prosumer": "inverter_piece"}
"""Kinds of limits that inverters bring with them, by their rows; `volt_watt` is its own."""


class PointOfProgramme(Protocol):
    """Bounds and a point x (n,) of the programme."""

    @property
    def numbers(self) -> Numbers:
        """The bounds."""

    @property
    def x(self) -> Array:
        """(n,)."""


@dataclass(frozen=True)
class LimitRows:
    """Limits one by one.

    kind, element, phase, unit, per  (n,) str   "v_max", "b7.2", "2", "pu", "0.01 pu"
    row                        (n,) int   of the programme
    sign                       (n,)       +1 an upper limit, -1 a lower one
    limit, original, value     (n,)       in force, before widening, at the set-points
    over, tolerance            (n,)       how far beyond the limit in force, and from where that counts
    slope                      (n,)       d(row) / d(limit)        step (n,)  what `per` is, in `unit`
    """

    kind: Array
    element: Array
    phase: Array
    unit: Array
    per: Array
    row: Array
    sign: Array
    limit: Array
    original: Array
    value: Array
    over: Array
    tolerance: Array
    slope: Array
    step: Array

    @staticmethod
    def of(program: Program, state: State, nominal: LimitValues, point: PointOfProgramme) -> LimitRows:
        """Every limit that a state is held against.

        nominal   the same limits before any was widened
        point     asked for limits that the state does not know, if there are any
        """
        each = zip(state.values.families, nominal.families, state.found, strict=True)
        parts = [side for now, before, value in each for side in _sides(program, now, before, value)]
        known = [program.rows[f.rows].index for f in state.values.families]
        rest = np.setdiff1d(network_rows(program), np.concatenate(known))
        for name, block in program.rows.items():
            if len(rest) and np.isin(block.index, rest).all() and len(block.index):
                parts += _as_they_stand(program, name, point.numbers, point.x)
        names = [f.name for f in fields(LimitRows)]
        return LimitRows(*(np.concatenate([getattr(p, name) for p in parts]) for name in names))

    def take(self, which: Array) -> LimitRows:
        """Some of them, by index or mask."""
        return LimitRows(*(getattr(self, f.name)[which] for f in fields(LimitRows)))

    def __len__(self) -> int:
        return len(self.kind)


def _sides(program: Program, now: Family, before: Family, value: Array) -> Iterator[LimitRows]:
    n, original = len(now), {kind: limit for kind, limit, _ in before.sides(value)}
    per, step = STEPS.get(now.unit, OF_A_RATIO)
    row = program.rows[now.rows].index
    for kind, limit, over in now.sides(value):
        finite = np.where(np.isfinite(limit), limit, 0.0)
        yield LimitRows(
            kind=_text(kind, n),
            element=now.label,
            phase=now.phase,
            unit=_text(now.unit, n),
            per=_text(per, n),
            row=row,
            sign=np.full(n, -1.0 if kind == now.kinds[0] else 1.0),
            limit=limit,
            original=original[kind],
            value=value,
            over=over,
            tolerance=np.full(n, now.tolerance),
            slope=now.power * finite ** (now.power - 1) / now.scale**now.power,
            step=np.full(n, step),
        )


def _as_they_stand(program: Program, name: str, numbers: Numbers, x: Array) -> Iterator[LimitRows]:
    """Rows of a block in figures of the programme; unknown (NaN) where there is no point."""
    block, value = program.rows[name], program.constraints(x)
    for sign, bounds in ((-1.0, numbers.row_lo), (1.0, numbers.row_hi)):
        here = block.index[np.isfinite(bounds[block.span])]
        n = len(here)
        yield LimitRows(
            kind=_text(OWN_NAMES.get(name, name), n),
            element=block.label[here - block.start],
            phase=_text("", n),
            unit=_text("", n),
            per=_text(OF_A_RATIO[0], n),
            row=here,
            sign=np.full(n, sign),
            limit=bounds[here],
            original=bounds[here],
            value=value[here],
            over=sign * (value[here] - bounds[here]),
            tolerance=np.full(n, BAND_TOLERANCE_PU),
            slope=np.ones(n),
            step=np.full(n, OF_A_RATIO[1]),
        )


def _text(word: str, n: int) -> Array:
    return np.full(n, word, dtype=object)
