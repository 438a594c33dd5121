"""Limits as people name them: every limit row of a programme read back in volts, amperes and elements.

A family of limits is a block of rows with the role "limit" in which states of the circuit appear. The
families of `dms.limits` are read in practical units; one that is not known here is read as its rows stand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np

from dms.certificate import BAND_TOLERANCE_PU, CURRENT_TOLERANCE
from dms.problem import DmsProblem
from dms.sensitivity import network_rows
from dms.solution import DmsSolution
from feeders.table import Array


class Measure(NamedTuple):
    """How one side of a family is told.

    sign  +1 an upper limit, -1 a lower one       per, step  "0.01 pu" and 0.01, as `unit` has it
    tolerance  from where a limit counts as broken, in the measure of `over`
    """

    kind: str
    sign: float
    unit: str
    per: str
    step: float
    tolerance: float


V_MIN = Measure("v_min", -1.0, "pu", "0.01 pu", 0.01, BAND_TOLERANCE_PU)
V_MAX = V_MIN._replace(kind="v_max", sign=1.0)
I_MAX = Measure("i_max", 1.0, "A", "1 A", 1.0, CURRENT_TOLERANCE)
S_MAX = Measure("s_max", 1.0, "VA", "1 kVA", 1e3, CURRENT_TOLERANCE)


@dataclass(frozen=True)
class LimitRows:
    """Limits one by one, in practical units.

    kind, element, unit, per   (n,) str   "v_max", "b7.2", "pu", "0.01 pu"
    phase, row                 (n,) int   conductor or leg (0: none), row of the programme
    sign                       (n,)       +1 an upper limit, -1 a lower one
    limit, original, value     (n,)       in force, before widening, at the set-points
    over                       (n,)       how far beyond the limit in force: pu, or share of the rating
    tolerance                  (n,)       from where `over` counts
    slope                      (n,)       d(row) / d(limit)        step (n,)  what `per` is, in `unit`
    """

    kind: Array
    element: Array
    unit: Array
    per: Array
    phase: Array
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
    def of(measure: Measure, element: Array, phase: Array, row: Array, **figures: Array) -> LimitRows:
        """Rows of one measure; `figures` are limit, original, value, over and slope."""
        n = len(row)
        text = {name: np.full(n, getattr(measure, name), dtype=object) for name in ("kind", "unit", "per")}
        number = {name: np.full(n, getattr(measure, name)) for name in ("sign", "step", "tolerance")}
        return LimitRows(
            **text,
            **number,
            **figures,
            element=np.asarray(element, dtype=object),
            phase=np.asarray(phase, dtype=int),
            row=row,
        )

    @staticmethod
    def joined(parts: list[LimitRows]) -> LimitRows:
        """One after the other."""
        return LimitRows(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(LimitRows)))

    def take(self, which: Array) -> LimitRows:
        """Some of them, by index or mask."""
        return LimitRows(*(getattr(self, f.name)[which] for f in fields(LimitRows)))

    def __len__(self) -> int:
        return len(self.kind)


def limit_rows(problem: DmsProblem, solution: DmsSolution, x: Array) -> LimitRows:
    """Every limit of the network.

    x  (n,) point of the programme at the solution, for families without a reading of their own
    """
    parts = [*_bands(problem, solution), *_ratings(problem, solution), *_others(problem, x)]
    return LimitRows.joined(parts)


def _bands(problem: DmsProblem, solution: DmsSolution) -> Iterator[LimitRows]:
    """Vmin^2 <= |v|^2 <= Vmax^2, per unit: d(row)/d(limit) = 2 V."""
    now, nominal, v = solution.values, problem.values, solution.state.v_pu
    node = problem.feeder.node_names[now.node]
    phase = problem.feeder.nodes.terminal[now.node]
    row = problem.program.rows["v_band"].index
    for measure, limit, original in (
        (V_MIN, now.v_min_pu, nominal.v_min_pu),
        (V_MAX, now.v_max_pu, nominal.v_max_pu),
    ):
        figures = {"limit": limit, "original": original, "value": v, "slope": 2 * limit}
        yield LimitRows.of(measure, node, phase, row, over=measure.sign * (v - limit), **figures)


def _ratings(problem: DmsProblem, solution: DmsSolution) -> Iterator[LimitRows]:
    """|i|^2 / Imax^2 <= (I / Imax)^2, Imax nominal and I in force: d(row)/dI = 2 I / Imax^2."""
    now, nominal, state = solution.values, problem.values, solution.state
    conductor = np.where(now.kind == "transformer", now.slot % 6 // 2, now.slot % 4) + 1
    for name, measure in (("i_limit", I_MAX), ("s_limit", S_MAX)):
        here = np.flatnonzero(now.unit == measure.unit)
        if not len(here):
            continue
        limit, original = now.rating[here], nominal.rating[here]
        figures = {"limit": limit, "original": original, "slope": 2 * limit / original**2}
        figures |= {"value": state.through[here], "over": state.over_i[here]}
        row = problem.program.rows[name].index
        yield LimitRows.of(measure, now.label[here], conductor[here], row, **figures)


def _others(problem: DmsProblem, x: Array) -> Iterator[LimitRows]:
    """Families not known here, in figures of the programme."""
    program = problem.program
    electrical, value = network_rows(program), program.constraints(x)
    for name, block in program.rows.items():
        if name in ("v_band", "i_limit", "s_limit") or not np.isin(block.index, electrical).all():
            continue
        for sign, bounds in ((-1.0, program.numbers.row_lo), (1.0, program.numbers.row_hi)):
            here = block.index[np.isfinite(bounds[block.span])]
            measure = Measure(name, sign, "row", "1", 1.0, BAND_TOLERANCE_PU)
            figures = {"limit": bounds[here], "original": bounds[here], "value": value[here]}
            figures |= {"over": sign * (value - bounds)[here], "slope": np.ones(len(here))}
            label = block.label[here - block.start]
            yield LimitRows.of(measure, label, np.zeros(len(here)), here, **figures)
