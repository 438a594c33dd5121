"""(1) with its binaries in HiGHS, for the homes whose relaxation earned no certificate.

Binaries are placed where (1) can need them and nowhere else:

    z_k   charge or discharge   pi < 0 at k or later: only then can burning energy in the battery pay;
                                every tick when PV may not be spilled or the terminal is an equality
    zg_k  import or export      ticks where export pays more than import costs
    of a device                 its own storages as z_k; starts of appliances always
    of a rule                   discharge or export, charge or import, where a home forbids both; every tick

After the last tick with pi < 0 stored energy has a value >= 0 and the relaxation is exact. Should the
certificate fail all the same, the home is solved again with z_k and zg_k at every tick.

The solver yields a lower bound and a *pattern* (the values of the binaries). The pattern, as bounds on the
relaxation, then goes through the LP of `hems.lp`, which computes the plan and breaks ties exactly; cost and
gap are counted afresh from both. HiGHS may stop early and still say `Optimal`, so its status proves nothing.
"""

from __future__ import annotations

from dataclasses import replace

import highspy
import numpy as np
from numpy.typing import NDArray

from hems.certificate import GAP_TOLERANCE, Solutions
from hems.config import HemsConfig
from hems.lp import LpBackend, goals, relaxation
from hems.model import Problems, Structure

Floats = NDArray[np.float64]
Ticks = NDArray[np.intp]
Sides = tuple[dict[int, float], dict[int, float]]

_OPTIONS: dict[str, bool | int | float | str] = {
    "output_flag": False,
    "mip_rel_gap": 0.0,
    "mip_abs_gap": 1e-9,
    "mip_feasibility_tolerance": 1e-9,
    "primal_feasibility_tolerance": 1e-9,
    "dual_feasibility_tolerance": 1e-9,
}
_COST_SLACK = 1e-9  # in units of max(1 $, |cost|): what a tie-break may give away to rounding in the pattern


class MilpBackend:
    """Solve every home as a mixed integer programme: general, and slow.

    Tens of milliseconds a home as a rule; seconds where hours of negative import prices leave many equally
    good patterns to compare. `HemsConfig.milp_max_nodes` bounds it.
    """

    def __init__(self, config: HemsConfig, *, everywhere: bool) -> None:
        """Place binaries at every tick, or at those that need them only."""
        self._config = config
        self._everywhere = everywhere
        # Patterns are compared by cost, not by export: a band over one pattern would not be the home's.
        self._lp = LpBackend(replace(config, compute_band=False))

    def solve(self, problems: Problems) -> Solutions:
        """Return the canonical plan of each home with the MILP's own lower bound."""
        every = np.arange(problems.structure.n_ticks)
        battery, grid = (every, every) if self._everywhere else self._needed(problems)
        solutions = self._with_binaries(problems, battery=battery, grid=grid)
        again = np.flatnonzero(~solutions.certified)
        if again.size and len(battery) + len(grid) < 2 * len(every):
            solutions.put_better(again, self._with_binaries(problems.take(again), battery=every, grid=every))
        return solutions

    def _needed(self, problems: Problems) -> tuple[Ticks, Ticks]:
        """Return the ticks that need z and those that need zg, all of them if none seems to."""
        col = problems.structure.col
        every = np.arange(problems.structure.n_ticks)
        pi, pe = problems.cost[col.p_import_kw], -problems.cost[col.p_export_kw]
        negative, grid = np.flatnonzero(pi < 0.0), np.flatnonzero(pe > pi)
        if not self._config.pv_spill or self._config.terminal == "equality":
            return every, grid
        battery = every[: negative[-1] + 1] if negative.size else every[:0]
        enough = len(battery) + len(grid) or _always_needed(problems.structure)
        return (battery, grid) if enough else (every, every)

    def _with_binaries(self, problems: Problems, *, battery: Ticks, grid: Ticks) -> Solutions:
        col_hi = problems.col_hi.copy()
        lower = np.full(len(problems), -np.inf)
        tick_0, max_nodes = goals(problems.structure), self._config.milp_max_nodes
        for i in range(len(problems)):
            model = _BinaryModel(problems, i, battery=battery, grid=grid, max_nodes=max_nodes)
            bound = model.minimise(problems.cost)
            if bound is None:
                continue
            lower[i] = bound
            if model.closes(bound, problems.cost):  # else there is no optimum yet to break ties in
                model.keep(problems.cost)
                for goal in tick_0.after_cost(self._config.tie_break):
                    model.minimise(goal)
                    if not tick_0.all_tie(goal, model.x):
                        model.keep(goal)
            col_hi[i] = model.pattern_bounds()
        return self._lp.solve(replace(problems, col_hi=col_hi)).judged(lower, path="milp")


class _BinaryModel:
    """The relaxation of one home plus binaries: z_k at the ticks `battery`, zg_k at the ticks `grid`.

    Then those of the rules; columns that are integer themselves need no other.
    """

    def __init__(self, problems: Problems, i: int, *, battery: Ticks, grid: Ticks, max_nodes: int) -> None:
        structure = problems.structure
        self._col_hi = problems.col_hi[i]
        self._first_binary = structure.n_cols
        self._sides = [side for k in battery for side in _charge_or_discharge(problems, i, int(k))]
        self._sides += [_import_or_export(problems, i, int(k)) for k in grid]
        self._sides += _rules(problems, i)
        self._integer = _integer_columns(structure)
        self._columns = np.arange(structure.n_cols + len(self._sides), dtype=np.int32)
        self.x, self._solved = np.zeros(len(self._columns)), False
        lp = relaxation(structure)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = problems.cost, problems.col_lo[i], problems.col_hi[i]
        lp.row_lower_ = lp.row_upper_ = problems.rhs[i]
        self._highs = highspy.Highs()
        for option, value in (_OPTIONS | {"mip_max_nodes": max_nodes}).items():
            self._highs.setOptionValue(option, value)
        self._highs.passModel(lp)
        for column in self._integer:
            self._highs.changeColIntegrality(int(column), highspy.HighsVarType.kInteger)
        for z, (up, down) in enumerate(self._sides, start=self._first_binary):
            self._highs.addCol(0.0, 0.0, 1.0, 0, np.array([], dtype=np.int32), np.array([]))
            self._highs.changeColIntegrality(z, highspy.HighsVarType.kInteger)
            for column, limit in up.items():  # x <= limit z
                self._add_row(-np.inf, 0.0, {column: 1.0, z: -limit})
            for column, limit in down.items():  # x <= limit (1 - z)
                self._add_row(-np.inf, limit, {column: 1.0, z: limit})

    def _add_row(self, lo: float, hi: float, row: dict[int, float]) -> None:
        index, value = np.array(list(row), dtype=np.int32), np.array(list(row.values()))
        self._highs.addRow(lo, hi, len(row), index, value)

    def minimise(self, goal: Floats) -> float | None:
        """Minimise `goal` (n_cols,) among what was kept; return its lower bound.

        None, and `x` stays as it was, when no solution is found.
        """
        goal = self._padded(goal)
        if self._solved and (goal >= 0.0).all() and goal @ self.x <= _COST_SLACK:
            return 0.0  # the least there can be
        self._highs.changeColsCost(len(self._columns), self._columns, goal)
        self._highs.run()
        found = self._highs.getInfo()
        if found.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
            return None
        self.x, self._solved = np.array(self._highs.getSolution().col_value), True
        return float(found.mip_dual_bound)

    def closes(self, bound: float, cost: Floats) -> bool:
        """Tell whether the cost of `x` has come down to its lower bound."""
        value = float(self._padded(cost) @ self.x)
        return value - bound <= GAP_TOLERANCE * max(1.0, abs(value))

    def keep(self, goal: Floats) -> None:
        """Hold `goal` at its present value in all that follows."""
        goal = self._padded(goal)
        value, used = float(goal @ self.x), np.flatnonzero(goal)
        row = dict(zip(used.tolist(), goal[used].tolist(), strict=True))
        self._add_row(-np.inf, value + _COST_SLACK * max(1.0, abs(value)), row)

    def _padded(self, goal: Floats) -> Floats:
        return np.concatenate([goal, np.zeros(len(self._sides))])

    def pattern_bounds(self) -> Floats:
        """Return the upper bounds (n_cols,) of the relaxation that fix the binaries as they are in `x`."""
        col_hi = self._col_hi.copy()
        for (up, down), z in zip(self._sides, self.x[self._first_binary :], strict=True):
            col_hi[list(down if z > 0.5 else up)] = 0.0
        # Integer columns stand in rows that sum to 1 (or 0): closing all but the chosen one fixes that too.
        col_hi[self._integer] = np.minimum(col_hi[self._integer], np.round(self.x[self._integer]))
        return col_hi


def _always_needed(structure: Structure) -> bool:
    """Tell whether a home has binaries that no price makes superfluous."""
    extras = structure.extras
    ruled = not (extras.battery_export and extras.grid_charging)
    return ruled or any(placed.block.integer() for placed in structure.placed)


def _integer_columns(structure: Structure) -> Ticks:
    at = [placed.at(part) for placed in structure.placed for part in placed.block.integer()]
    return np.concatenate([np.arange(s.start, s.stop) for s in at]) if at else np.array([], dtype=np.intp)


def _charge_or_discharge(problems: Problems, i: int, k: int) -> list[Sides]:
    """Return (1e), (1f): columns open with z_k = 1, and those open with z_k = 0, with their limits.

    Once for the battery, and once for each storage among the devices.
    """
    structure, hi = problems.structure, problems.col_hi[i]
    pairs = [(structure.col.p_charge_kw, structure.col.p_discharge_kw)]
    for placed in structure.placed:
        parts = placed.block.exclusive()
        if parts is not None:
            pairs.append((placed.at(parts[0]), placed.at(parts[1])))
    columns = [(a.start + k, b.start + k) for a, b in pairs]
    return [({a: hi[a]}, {b: hi[b]}) for a, b in columns if hi[a] > 0.0 and hi[b] > 0.0]


def _rules(problems: Problems, i: int) -> list[Sides]:
    """Return `grid_charging` and `battery_export`: what charges or imports, what discharges or exports."""
    structure, hi = problems.structure, problems.col_hi[i]
    extras, col = structure.extras, structure.col
    found = []
    for allowed, own, which in (
        (extras.grid_charging, col.p_charge_kw, 0),
        (extras.battery_export, col.p_discharge_kw, 1),
    ):
        parts = [(placed, placed.block.battery_powers()[which]) for placed in structure.placed]
        blocks = [own, *(placed.at(part) for placed, part in parts if part is not None)]
        for k in range(0 if allowed else structure.n_ticks):
            battery = {block.start + k: hi[block.start + k] for block in blocks}
            found.append((battery, _import_or_export(problems, i, k)[which]))
    return found


def _import_or_export(problems: Problems, i: int, k: int) -> Sides:
    """Return (1h), as above for zg_k.

    Where a limit is infinite, what the other powers of the tick can add up to is a valid one.
    """
    structure, hi = problems.structure, problems.col_hi[i]
    col, net_load = structure.col, problems.rhs[i, structure.row.balance][k]
    inward, over, outward = (
        block.start + k for block in (col.p_import_kw, col.p_over_import_kw, col.p_export_kw)
    )
    drawn, given = _device_limits_kw(problems, i, k)
    most_in = max(net_load + hi[col.p_spill_kw][k], 0.0) + hi[col.p_charge_kw][k] + drawn
    most_out = max(-net_load, 0.0) + hi[col.p_discharge_kw][k] + given
    return {inward: min(hi[inward], most_in), over: hi[over]}, {outward: min(hi[outward], most_out)}


def _device_limits_kw(problems: Problems, i: int, k: int) -> tuple[float, float]:
    """Return the most that all devices can draw, and give, at tick k, kW."""
    structure = problems.structure
    if not structure.placed:
        return 0.0, 0.0
    first = structure.placed[0].cols.start
    row = -structure.matrix[[structure.row.balance.start + k], first:].toarray()[0]
    most = np.where(row != 0.0, row * np.where(row != 0.0, problems.col_hi[i, first:], 0.0), 0.0)
    return float(most[most > 0.0].sum()), float(-most[most < 0.0].sum())
