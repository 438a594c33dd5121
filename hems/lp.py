"""The linear relaxation of (1) in HiGHS, and the canonical plan among its optimal ones.

One HiGHS instance serves all homes of a structure: each home changes bounds and right-hand sides only, and
starts from the basis of the home before. A batch starts from no basis at all, so that its result depends on
its own numbers and not on what was solved earlier.

Under time-of-use prices most homes have many optimal plans, so *the* plan is defined lexicographically:
(1) cost, (2) least |battery AC power| at tick 0, then that of each device in turn, (3) least spill at tick 0.
By convexity (2) leaves one power of each and (3) one export. The order is exact, without weights or cost
tolerances: each stage is confined to the optimal face of the stages before it. By complementary slackness
with any one dual solution that face is

    { x feasible : x_j = its bound wherever the reduced cost of j is not zero }

(all rows of (1) are equations), and at a vertex found by the simplex method a reduced cost is either zero to
rounding (1e-16) or the size of a price difference. Measured on 2496 homes: 1e-14 kW between runs that differ
in their pivots; with a row "cost <= optimum + 1e-9 $" instead up to 2e-4 kW.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import highspy
import numpy as np
from numpy.typing import NDArray

from hems.certificate import RawPlans, Solutions, complete
from hems.config import HemsConfig, TieBreak
from hems.model import Problems, Structure

Floats = NDArray[np.float64]

_TOLERANCE = 1e-9  # of the simplex method, primal and dual; HiGHS's own 1e-7 would show in the OES
_OPTIONS: dict[str, bool | float | str] = {
    "output_flag": False,
    "presolve": "off",  # a basis in hand is worth more
    "primal_feasibility_tolerance": _TOLERANCE,
    "dual_feasibility_tolerance": _TOLERANCE,
}
_MOST_SOLVERS = 128  # some 0.5 MB each
_FACE_TOLERANCE = 1e-11  # $/kW, a price difference of about 1e-10 $/kWh; rounding is 1e-16


class Vertex(NamedTuple):
    """An optimal vertex: point, reduced costs, and the value of the dual solution."""

    x: Floats
    reduced_cost: Floats
    dual_value: float


class LpSolver:
    """HiGHS holding one structure; `minimise` changes its numbers and solves."""

    def __init__(self, structure: Structure) -> None:
        self._transposed = structure.matrix.T.tocsr()
        self._cost = np.zeros(structure.n_cols)
        self._rhs = np.zeros(structure.n_rows)
        self._columns = np.arange(structure.n_cols, dtype=np.int32)
        self._rows = np.arange(structure.n_rows, dtype=np.int32)
        self._highs = highspy.Highs()
        for option, value in _OPTIONS.items():
            self._highs.setOptionValue(option, value)
        self._highs.passModel(relaxation(structure))

    def restart(self) -> None:
        """Forget the basis, so that the next result depends on nothing earlier."""
        self._highs.clearSolver()

    def set_rhs(self, rhs: Floats) -> None:
        """Set the right-hand sides (n_rows,) of the following solves."""
        self._highs.changeRowsBounds(  # type: ignore[attr-defined]  # missing from the stubs of highspy
            len(self._rows), self._rows, rhs, rhs
        )
        self._rhs = rhs

    def set_cost(self, cost: Floats) -> None:
        """Set the objective (n_cols,) of the following solves."""
        self._highs.changeColsCost(len(self._columns), self._columns, cost)
        self._cost = cost

    def minimise(self, lo: Floats, hi: Floats) -> Vertex | None:
        """Minimise within the bounds (n_cols,); None when HiGHS finds no optimum, even from scratch."""
        self._highs.changeColsBounds(len(self._columns), self._columns, lo, hi)
        if not (self._run() or self._run_from_scratch()):
            return None
        solution = self._highs.getSolution()
        y = np.array(solution.row_dual)
        reduced_cost = self._cost - self._transposed @ y
        # Weak duality, counted from the multipliers themselves; -inf if they do not bound the cost.
        at = np.where(reduced_cost > 0.0, lo, hi)
        counts = np.abs(reduced_cost) > np.where(np.isinf(at), _TOLERANCE, 0.0)
        dual_value = float(y @ self._rhs + reduced_cost[counts] @ at[counts])
        return Vertex(np.array(solution.col_value), reduced_cost, dual_value)

    def _run(self) -> bool:
        self._highs.run()
        return self._highs.getModelStatus() == highspy.HighsModelStatus.kOptimal

    def _run_from_scratch(self) -> bool:
        self._highs.clearSolver()
        return self._run()


def relaxation(structure: Structure) -> highspy.HighsLp:
    """Return (1) without binaries as a HiGHS model; bounds, costs and right-hand sides are still zero."""
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = structure.n_cols, structure.n_rows
    lp.col_cost_ = lp.col_lower_ = lp.col_upper_ = np.zeros(structure.n_cols)
    lp.row_lower_ = lp.row_upper_ = np.zeros(structure.n_rows)
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = structure.matrix.indptr
    lp.a_matrix_.index_ = structure.matrix.indices
    lp.a_matrix_.value_ = structure.matrix.data
    return lp


class Goals(NamedTuple):
    """Objectives (n_cols,) on the powers of tick 0; `devices` has one for each device of the home."""

    export: Floats
    net_import: Floats
    battery: Floats
    spill: Floats
    devices: tuple[Floats, ...] = ()

    def after_cost(self, tie_break: TieBreak) -> list[Floats]:
        """Return the goals that follow cost, most important first."""
        first = {"least_battery": [], "defer_export": [self.export], "export_early": [self.net_import]}
        return [*first[tie_break], self.battery, *self.devices, self.spill]

    def all_tie(self, goal: Floats, x: Floats) -> bool:
        """Tell whether `goal`, least at `x`, decides nothing: the most export there can be is none."""
        return goal is self.net_import and bool(goal @ x[: len(goal)] >= 0.0)


@lru_cache(maxsize=1024)
def goals(structure: Structure) -> Goals:
    """Return the objectives the tie-break is made of."""
    col = structure.col

    def at_tick_0(**weights: float) -> Floats:
        goal = np.zeros(structure.n_cols)
        for block, weight in weights.items():
            goal[getattr(col, block).start] = weight
        return goal

    return Goals(
        export=at_tick_0(p_export_kw=1.0),
        net_import=at_tick_0(p_import_kw=1.0, p_over_import_kw=1.0, p_export_kw=-1.0),
        battery=at_tick_0(p_charge_kw=1.0, p_discharge_kw=1.0),
        spill=at_tick_0(p_spill_kw=1.0),
        devices=tuple(_device_goal(structure, placed.cols) for placed in structure.placed),
    )


def _device_goal(structure: Structure, cols: slice) -> Floats:
    """Return the power of a device at tick 0, whichever way it flows."""
    goal = np.zeros(structure.n_cols)
    goal[cols] = np.abs(structure.matrix[[structure.row.balance.start], :].toarray()[0, cols])
    return goal


def face(vertex: Vertex, lo: Floats, hi: Floats) -> tuple[Floats, Floats]:
    """Return the bounds of the optimal face that `vertex` lies on."""
    at_lo = vertex.reduced_cost > _FACE_TOLERANCE
    at_hi = vertex.reduced_cost < -_FACE_TOLERANCE
    return np.where(at_hi, hi, lo), np.where(at_lo, lo, hi)


class LpBackend:
    """Solve every home by its linear relaxation; the certificate tells whether that has solved (1)."""

    def __init__(self, config: HemsConfig) -> None:
        self._config = config
        self._solvers: dict[Structure, LpSolver] = {}

    def solve(self, problems: Problems) -> Solutions:
        """Return the canonical plan of each home, with the value of the relaxation as lower bound."""
        structure = problems.structure
        if structure not in self._solvers:
            if len(self._solvers) >= _MOST_SOLVERS:  # kinds that come and go with the hour of the day
                self._solvers.clear()
            self._solvers[structure] = LpSolver(structure)
        solver = self._solvers[structure]
        solver.restart()
        raw = RawPlans.empty(problems, path="lp")
        for i in range(len(problems)):
            lo, hi = problems.col_lo[i], problems.col_hi[i]
            solver.set_rhs(problems.rhs[i])
            solver.set_cost(problems.cost)
            vertex = solver.minimise(lo, hi)
            if vertex is None:
                continue
            raw.lower_bound[i] = vertex.dual_value
            on_face = _Face(solver, goals(structure), vertex.x, *face(vertex, lo, hi))
            if self._config.compute_band:
                raw.oes_lo_kw[i], raw.oes_hi_kw[i] = on_face.export_band()
            point = on_face.canonical(self._config.tie_break)
            if point is not None:
                raw.x[i] = point
        return complete(problems, raw)


class _Face:
    """The optimal face of one home, which the tie-break narrows stage by stage."""

    def __init__(self, solver: LpSolver, goals: Goals, x: Floats, lo: Floats, hi: Floats) -> None:
        self._solver, self._goals = solver, goals
        self._x, self._lo, self._hi = x, lo, hi

    def canonical(self, tie_break: TieBreak) -> Floats | None:
        """Return the point that the tie-break chooses; None if a stage went unsolved."""
        for goal in self._goals.after_cost(tie_break):
            vertex = self._optimum(goal)
            if vertex is None:
                return None
            if self._goals.all_tie(goal, vertex.x):
                continue
            self._x = vertex.x
            self._lo, self._hi = face(vertex, self._lo, self._hi)
        return self._x

    def export_band(self) -> tuple[float, float]:
        """Return the least and the largest export of tick 0 on the face, NaN where unsolved."""
        least, most_net = self._optimum(self._goals.export), self._optimum(self._goals.net_import)
        if least is None or most_net is None:
            return np.nan, np.nan
        return float(self._goals.export @ least.x), max(0.0, float(-self._goals.net_import @ most_net.x))

    def _optimum(self, goal: Floats) -> Vertex | None:
        if not (goal * self._x).any() and (goal >= 0.0).all():
            return Vertex(self._x, goal, 0.0)  # the least there can be, and `goal` is its own reduced cost
        self._solver.set_cost(goal)
        return self._solver.minimise(self._lo, self._hi)
