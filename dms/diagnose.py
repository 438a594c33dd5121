"""Why a tick's answer is what it is: the limits that bind, what each is worth, and whom each curtails.

At an optimum what a home's curtailment costs by the norm is what the limits ask of it:

    grad f_j + sum_own lambda J_j  =  sum_k cause_kj + z_j,      cause_kj = -lambda_k dh_k/dP_C,j

with the states following by the laws in dh_k/dP_C,j, `own` the rows of the norm itself, z of the bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dms.interior import InteriorPoint
from dms.limit_rows import LimitRows
from dms.problem import DmsProblem
from dms.program import Numbers
from dms.regimes import Regimes
from dms.request import DmsRequest
from dms.scaling import KW_PER_PU
from dms.sensitivity import Active, Reduced, active_set, network_rows, own_rows, worth
from dms.solution import COUNT_KW, DmsSolution
from feeders.table import Array

ALIKE = 1e-6
"""1 - cosine of what two limits ask of the homes, below which they are one cause (parallel cables)."""
MOST_GROUPED = 400
"""Limits without a multiplier whose effect on homes is looked at, to group them."""
LEAST_CAUSE = 0.01
"""Share of a home's curtailment from which a limit is listed as a cause."""
MOST_CAUSES = 5
"""Causes listed of one home."""


@dataclass(frozen=True)
class Binding:
    """Limits that bind, are broken or were widened, and what each is worth.

    rows              which limits
    binding, violated, preexisting  (n,) bool
    multiplier        (n,)  objective (MW, MW^2 for l2) per unit of the programme's row, >= 0
    kw_per_unit       (n,)  total curtailment saved per `per` of relaxed limit; NaN where undetermined
    peak_kw_per_unit  (n,)  the same of the largest curtailment
    group             (n,) int  one number for limits that ask the same of all homes (parallel cables)
    per_kw            (n, n_units)  change of the value per kW more export of a home, in `unit`
    """

    rows: LimitRows
    binding: Array
    violated: Array
    preexisting: Array
    multiplier: Array
    kw_per_unit: Array
    peak_kw_per_unit: Array
    group: Array
    per_kw: Array

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True)
class Causes:
    """Why homes were curtailed, one row per home and limit, most curtailed home and largest share first.

    unit, limit  (n,) int  number of the unit, row of `Binding`
    share        (n,)      part of what limits ask of the home; below zero where export relieves the limit
    asked        (n,)      cause_kj, objective per MW: those of a home between its bounds sum to its cost
    per_kw       (n,)      change of the limit's value per kW more export
    """

    unit: Array
    limit: Array
    share: Array
    asked: Array
    per_kw: Array

    def __len__(self) -> int:
        return len(self.unit)


def binding_limits(problem: DmsProblem, request: DmsRequest, solution: DmsSolution) -> Binding:
    """Limits that bind at a solution, by their residual or by their multiplier, and those broken before.

    Multipliers and what follows from them are known where the optimiser ended at an optimum; they are NaN
    for set-points that a power flow alone decided, and zero where nothing is curtailed. Without a power flow
    at the set-points no limit is known to bind or to be broken.
    """
    point = _Point(problem, request, solution)
    every = LimitRows.of(problem.program, solution.state, solution.nominal, point)
    optimum = solution.point if solution.point is not None and solution.point.converged else None
    active: Active | None = None
    binding = np.abs(every.over) <= every.tolerance
    multiplier = np.full(len(every), np.nan if solution.total_curtailed_kw > 0 else 0.0)
    decides = np.zeros(len(every), dtype=bool)
    if optimum is not None:
        active = active_set(problem.program, point.numbers, optimum)
        multiplier = np.maximum(every.sign * optimum.row_multipliers[every.row], 0.0)
        binding |= active.rows[every.row] & (multiplier > 0)
        decides = every.sign * _on_what_is_held(problem, optimum)[every.row] > 0
    violated = every.over > every.tolerance
    before = np.zeros(len(every), dtype=bool)
    if broken := {(p.kind, p.element) for p in solution.preexisting}:
        names = zip(every.kind, every.element, strict=True)
        before = np.fromiter(((k, str(e)) in broken for k, e in names), bool, len(every))
    listed = np.flatnonzero((binding | violated | before | decides) & solution.state.flow.converged)
    blank = np.full(len(listed), np.nan if optimum is None and solution.total_curtailed_kw > 0 else 0.0)
    found = Binding(
        every.take(listed),
        binding[listed],
        violated[listed],
        before[listed],
        multiplier[listed],
        kw_per_unit=blank,
        peak_kw_per_unit=blank,
        group=np.arange(len(listed)),
        per_kw=np.full((len(listed), len(problem.units.name)), np.nan),
    )
    if not len(listed) or not np.isfinite(point.x).all():
        return found
    reduced = Reduced(problem.program, point.x)
    found = _with_effects(problem, found, reduced)
    if optimum is None or active is None:
        return found
    return _with_worth(problem, found, reduced, optimum, active)


def causes(solution: DmsSolution, binding: Binding) -> Causes:
    """Of every home that is curtailed, the limits that ask for it: at most five, each 1 % of it or more.

    The share of limit k is cause_kj over the sum of those above zero; itself below zero where the home's
    export relieves the limit. Limits of a group are added up under the one with the largest multiplier.
    """
    multiplier = np.nan_to_num(binding.multiplier)
    limits = np.flatnonzero(multiplier > 0)
    limits = limits[~np.isnan(binding.per_kw[limits]).any(axis=1)]
    limits = limits[np.argsort(-multiplier[limits], kind="stable")]
    _, first, of = np.unique(binding.group[limits], return_index=True, return_inverse=True)
    asked = np.zeros((len(first), binding.per_kw.shape[1]))
    np.add.at(asked, of, marginal_causes(binding)[limits])
    total = np.maximum(asked, 0.0).sum(axis=0)
    found: list[tuple[int, int, float, float, float]] = []
    cut = solution.unit_curtail_kw
    for j in np.argsort(-cut, kind="stable"):
        if cut[j] <= COUNT_KW or not total[j] > 0:
            continue
        share = asked[:, j] / total[j]
        for g in np.argsort(-np.abs(share), kind="stable")[:MOST_CAUSES]:
            if abs(share[g]) >= LEAST_CAUSE:
                k = int(limits[first[g]])
                row = (int(j), k, float(share[g]), float(asked[g, j]), float(binding.per_kw[k, j]))
                found.append(row)
    columns = [list(c) for c in zip(*found, strict=True)] if found else [[]] * 5
    unit, limit = (np.array(c, dtype=int) for c in columns[:2])
    return Causes(unit, limit, *(np.array(c, dtype=float) for c in columns[2:]))


def marginal_causes(binding: Binding) -> Array:
    """cause_kj (n, n_units): what limit k asks of home j, objective per MW of its curtailment."""
    rows = binding.rows
    of_row = binding.per_kw * KW_PER_PU * (rows.slope * rows.sign)[:, None]
    return np.asarray(np.nan_to_num(binding.multiplier)[:, None] * of_row)


def marginal_cost(problem: DmsProblem, point: InteriorPoint) -> Array:
    """What more curtailment of a unit costs by the norm alone (n_units,), objective per MW."""
    program = problem.program
    own = own_rows(program)
    slope = program.jacobian_matrix(point.x)[own].T @ point.row_multipliers[own]
    cost: Array = (program.gradient(point.x) + slope)[program.variables["p_curtail"].span]
    return cost


class _Point:
    """Bounds and point of the programme at a solution; a tick in which no limit binds needs neither."""

    def __init__(self, problem: DmsProblem, request: DmsRequest, solution: DmsSolution) -> None:
        self._of = problem, request, solution

    @cached_property
    def numbers(self) -> Numbers:
        """Bounds that the solution was found under."""
        problem, request, solution = self._of
        if solution.point is not None and solution.point.numbers is not None:
            return solution.point.numbers
        position = solution.position if len(problem.controls) else None
        regimes = Regimes(solution.state.flow.v)
        return problem.at(request, solution.values, regimes, base=position, position=position)

    @cached_property
    def x(self) -> Array:
        """(n,) the optimiser's own, or the programme's power flow; NaN where there is none."""
        problem, _, solution = self._of
        if solution.point is not None:
            return solution.point.x
        flow = problem.power_flow.solve(self.numbers, solution.unit_curtail_kw / KW_PER_PU)
        return flow.x if flow.converged else np.full(problem.program.n, np.nan)


def _of_units(problem: DmsProblem) -> Array:
    """Place of the curtailments (n_units,) among the controls."""
    program = problem.program
    return np.searchsorted(program.columns("control"), program.variables["p_curtail"].index)


def _with_effects(problem: DmsProblem, found: Binding, reduced: Reduced) -> Binding:
    """What a kilowatt of each home does to the limits, and which of them are alike."""
    rows = found.rows
    idle = ~(np.nan_to_num(found.multiplier) > 0)
    looked = np.flatnonzero(~idle | (np.cumsum(idle) <= MOST_GROUPED))
    asked = reduced.gradient(rows.row[looked])[:, _of_units(problem)]
    per_kw, group = found.per_kw.copy(), found.group.copy()
    per_kw[looked] = -asked / (KW_PER_PU * rows.slope[looked])[:, None]
    length = np.linalg.norm(asked, axis=1, keepdims=True)
    direction = asked / np.where(length > 0, length, 1.0)
    for k, here in enumerate(looked):
        before = looked[:k]
        same = (rows.kind[before] == rows.kind[here]) & (rows.phase[before] == rows.phase[here])
        same &= direction[:k] @ direction[k] > 1 - ALIKE
        if same.any():
            group[here] = group[before[np.argmax(same)]]
    return replace(found, per_kw=per_kw, group=group)


def _with_worth(
    problem: DmsProblem, found: Binding, reduced: Reduced, point: InteriorPoint, active: Active
) -> Binding:
    """Curtailment saved per unit of relaxed limit: -d(sum P_C) / d(limit) of an upper limit, + of a lower.

    Where a stage holds the peak r of the one before, a limit also acts by the r that it allowed there.
    """
    rows, program = found.rows, problem.program
    curtail, units = program.variables["p_curtail"].span, _of_units(problem)
    total, peak = np.zeros((2, len(reduced.controls)))
    total[units] = 1.0
    peak[units[np.argmax(problem.weights * point.x[curtail])]] = 1.0
    hold = program.objectives[program.stage].hold
    pinned = np.zeros(0, dtype=int)
    if hold is not None:
        column = program.variables[hold].index
        pinned = np.searchsorted(reduced.controls, column[~active.free[column]])
    on_held = _on_what_is_held(problem, point)
    in_kw = -KW_PER_PU * rows.sign * rows.slope * rows.step
    saved = []
    for figure in (total, peak):
        of_rows, of_held = worth(reduced, point, active, figure, pinned)
        saved.append(in_kw * (of_rows - of_held.sum() * (1 + problem.peak_tol) * on_held)[rows.row])
    unmoved = ~(active.rows[rows.row] & (found.multiplier > 0)) & (on_held[rows.row] == 0)
    total_kw, peak_kw = (np.where(unmoved, 0.0, values) for values in saved)
    return replace(found, kw_per_unit=total_kw, peak_kw_per_unit=peak_kw)


def _on_what_is_held(problem: DmsProblem, point: InteriorPoint) -> Array:
    """Multipliers (m,) of the stage before, whose least value this stage holds; zero without one."""
    found = np.zeros(problem.program.m)
    before = point.earlier[-1] if point.earlier else None
    if before is not None and before.numbers is not None:
        program = problem.program.for_stage(problem.program.stages - 2)
        active = active_set(program, before.numbers, before)
        network = network_rows(program)
        network = network[active.rows[network]]
        found[network] = before.row_multipliers[network]
    return found
