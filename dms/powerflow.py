"""Power flow on a `Program`: decided variables fixed, limits off, Newton on the equality rows.

It gives every variable (voltages and all currents) its value at a known curtailment: the start point of
the optimisation, and the states at every trial point of the reduced method. The certificate never uses
it; see `dms.network`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import SuperLU, splu

from dms.ordering import EliminationOrder, nodal_order
from dms.program import Numbers, Program
from feeders.table import Array

ROUNDS = 60
REFINEMENTS = 12
"""Most refinements of one linear solve; an LU that needs more is too old or too inexact."""
REFINED = 1e-10
"""Relative residual at which a linear solve is done."""


@dataclass(frozen=True)
class PowerFlowPoint:
    """x (n,) per unit, all variables; `converged` and the largest equality residual say if it holds."""

    x: Array
    converged: bool
    iterations: int
    residual: float


class StateFactors:
    """LU of the state Jacobian at some point, good for solves with the Jacobian at points near by."""

    def __init__(self, matrix: sp.csc_matrix, order: EliminationOrder | None) -> None:
        self._order = order
        self.matrix = matrix
        self._lu = _factorise(matrix, order)

    def approximate(self, b: Array) -> Array:
        """J^-1 b to the accuracy of the factorisation; b (n,) or (n, k), as in the programme."""
        if self._order is None:
            return np.asarray(self._lu.solve(b))
        x = np.empty_like(b)
        x[self._order.cols] = self._lu.solve(b[self._order.rows])
        return x

    def solve(self, b: Array, matrix: sp.csc_matrix | None = None) -> Array | None:
        """J^-1 b, refined; None where the factors are too far from `matrix` (default: their own)."""
        return self._refined(b, self.matrix if matrix is None else matrix, transposed=False)

    def solve_transposed(self, g: Array, matrix: sp.csc_matrix | None = None) -> Array | None:
        """J^-T g, refined; None where the factors are too far from `matrix`."""
        return self._refined(g, self.matrix if matrix is None else matrix, transposed=True)

    def _refined(self, b: Array, matrix: sp.csc_matrix, *, transposed: bool) -> Array | None:
        rows, cols = _orders(self._order, matrix.shape[0])
        into, out = (cols, rows) if transposed else (rows, cols)
        a: Any = matrix.T if transposed else matrix
        lu: Any = self._lu  # its types know no transposed solve
        trans = "T" if transposed else "N"
        b = b[into]
        size = np.abs(b).max(initial=0.0)
        x = lu.solve(b, trans)
        last = np.inf
        for _ in range(REFINEMENTS):
            gap = b - a @ x
            worst = float(np.abs(gap).max(initial=0.0))
            if not worst < 0.5 * last:
                break
            last = worst
            if worst <= REFINED * size:
                break
            x += lu.solve(gap, trans)
        if not last <= 1e-9 * size:
            return None
        result = np.empty_like(x)
        result[out] = x
        return result


class PowerFlow:
    """Splits a programme into states and controls and solves F(states, controls) = 0."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.states = program.columns("state", "drawn")
        self.rows = program.row_indices("law", "power")
        if len(self.states) != len(self.rows):
            raise ValueError(f"{len(self.rows)} state equations for {len(self.states)} states")
        self._no_load = self._find_no_load()
        jacobian = program.jacobian_matrix(self._no_load)[self.rows][:, self.states].tocsr()
        self._order = self._find_order(jacobian)
        self._pattern = self._find_pattern()
        self._unloaded = self._factors_without_load()

    def solve(
        self, numbers: Numbers, curtail: Array | float = 0.0, tolerance: float = 1e-11
    ) -> PowerFlowPoint:
        """States at a curtailment (n_units,) per unit, from the circuit without injections.

        Other controls stand where `numbers` has them: at x0, inside their bounds.
        tolerance  largest residual of an equality row, per unit
        """
        x = self._no_load.copy()
        fixed = self.program.columns("control", "given")
        x[fixed] = np.clip(numbers.x0[fixed], numbers.x_lo[fixed], numbers.x_hi[fixed])
        if "p_curtail" in self.program.variables:
            x[self.program.variables["p_curtail"].span] = curtail
        return self.settle(x, numbers, self._unloaded, tolerance)[0]

    def settle(
        self, x: Array, numbers: Numbers, factors: StateFactors | None = None, tolerance: float = 1e-11
    ) -> tuple[PowerFlowPoint, StateFactors | None]:
        """States at the controls of x (n,), from the states of x.

        factors  of a point near by, to save a factorisation
        Returns  the point, and the factors last used
        """
        x, goal = x.copy(), numbers.row_lo[self.rows]
        last, lu = np.inf, factors
        for k in range(ROUNDS):
            gap = goal - self.program.constraints(x)[self.rows]
            size = float(np.abs(gap).max(initial=0.0))
            if size < tolerance or not np.isfinite(size):
                return PowerFlowPoint(x, size < tolerance, k, size), lu
            if lu is None or size > 0.2 * last:
                try:
                    lu = self.factorise(x)
                except RuntimeError:  # singular: x is where solutions end
                    return PowerFlowPoint(x, False, k, size), lu
            if k > 20 and size > 0.5 * last:
                break
            last = size
            x[self.states] += lu.approximate(gap)
        return PowerFlowPoint(x, size < 100 * tolerance, k, size), lu

    def factorise(self, x: Array) -> StateFactors:
        """Factors of the state Jacobian at x (n,).

        Raises  RuntimeError  it is singular
        """
        return StateFactors(self.ordered_jacobian(self.program.jacobian(x)), self._order)

    def ordered_jacobian(self, jacobian: Array) -> sp.csc_matrix:
        """dF/dstates, rows and columns in the order of elimination, from values of `Program.jacobian`."""
        take, indices, indptr = self._pattern
        n = len(self.states)
        return sp.csc_matrix((jacobian[take], indices, indptr), shape=(n, n))

    def state_jacobian(self, x: Array) -> sp.csc_matrix:
        """dF/dstates at x, square."""
        return self.program.jacobian_matrix(x)[self.rows][:, self.states].tocsc()

    def _find_no_load(self) -> Array:
        """Voltages and currents while nothing is drawn or fed in: one linear solve."""
        p = self.program
        rows, cols = p.row_indices("law"), p.columns("state")
        x = p.numbers.x0.copy()
        jacobian = p.jacobian_matrix(x)[rows][:, cols].tocsr()
        order = self._nodal(jacobian, rows, cols)
        matrix = jacobian.tocsc() if order is None else jacobian[order.rows][:, order.cols].tocsc()
        factors = StateFactors(matrix, order)
        found = factors.solve(p.numbers.row_lo[rows])
        x[cols] = splu(jacobian.tocsc()).solve(p.numbers.row_lo[rows]) if found is None else found
        return x

    def _factors_without_load(self) -> StateFactors | None:
        """Where every power flow starts; None where the loads' own laws are singular there."""
        try:
            return self.factorise(self._no_load)
        except RuntimeError:
            return None

    def _find_order(self, jacobian: sp.csr_matrix) -> EliminationOrder | None:
        order = self._nodal(jacobian, self.rows, self.states)
        if order is None:
            return None
        factors = StateFactors(jacobian[order.rows][:, order.cols].tocsc(), order)
        # Pivots on the diagonal are taken on trust only where refinement brings the rest.
        trial = np.cos(np.arange(len(self.states)))
        return None if factors.solve(trial) is None else order

    def _nodal(self, jacobian: sp.csr_matrix, rows: Array, cols: Array) -> EliminationOrder | None:
        blocks = self.program.rows, self.program.variables
        if not {"kcl_re", "kcl_im"} <= set(blocks[0]) or not {"v_re", "v_im"} <= set(blocks[1]):
            return None
        node_rows = np.concatenate([blocks[0][name].index for name in ("kcl_re", "kcl_im")])
        node_cols = np.concatenate([blocks[1][name].index for name in ("v_re", "v_im")])
        return nodal_order(jacobian, np.searchsorted(rows, node_rows), np.searchsorted(cols, node_cols))

    def _find_pattern(self) -> tuple[Array, Array, Array]:
        """Places in `Program.jacobian` of the ordered state Jacobian's entries, and its pattern."""
        p, n = self.program, len(self.states)
        rows, cols = _orders(self._order, n)
        row_place, col_place = np.full(p.m, -1), np.full(p.n, -1)
        row_place[self.rows[rows]] = np.arange(n)
        col_place[self.states[cols]] = np.arange(n)
        jac_row, jac_col = p.jacobian_structure
        here = np.flatnonzero((row_place[jac_row] >= 0) & (col_place[jac_col] >= 0))
        row, col = row_place[jac_row[here]], col_place[jac_col[here]]
        sort = np.lexsort((row, col))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(col, minlength=n))])
        return here[sort], row[sort].astype(np.int32), indptr.astype(np.int32)


def _orders(order: EliminationOrder | None, n: int) -> tuple[Array, Array]:
    return (np.arange(n), np.arange(n)) if order is None else (order.rows, order.cols)


def _factorise(matrix: sp.csc_matrix, order: EliminationOrder | None) -> SuperLU:
    return splu(matrix) if order is None else order.factorise(matrix)
