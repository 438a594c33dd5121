"""Power flow on a `Program`: curtailment fixed, limits off, Newton on the equality rows.

It gives every variable (voltages and all currents) its value at a known curtailment: the
start point of the optimisation. The certificate never uses it; see `dms.network`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import SuperLU, splu

from dms.program import Numbers, Program
from feeders.table import Array

ROUNDS = 60


@dataclass(frozen=True)
class PowerFlowPoint:
    """x (n,) per unit, all variables; `converged` and the largest equality residual say if it holds."""

    x: Array
    converged: bool
    iterations: int
    residual: float


class PowerFlow:
    """Splits a programme into states and controls and solves F(states, controls) = 0."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.states = program.columns("state", "drawn")
        self.rows = program.row_indices("law", "power")
        if len(self.states) != len(self.rows):
            raise ValueError(f"{len(self.rows)} state equations for {len(self.states)} states")
        self._no_load = self._find_no_load()

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
        goal = numbers.row_lo[self.rows]
        lu: SuperLU | None = None
        last = np.inf
        for k in range(ROUNDS):
            gap = goal - self.program.constraints(x)[self.rows]
            size = float(np.abs(gap).max(initial=0.0))
            if size < tolerance or not np.isfinite(size):
                return PowerFlowPoint(x, size < tolerance, k, size)
            if lu is None or size > 0.05 * last:
                try:
                    lu = splu(self.state_jacobian(x))
                except RuntimeError:  # singular: x is where solutions end
                    return PowerFlowPoint(x, False, k, size)
            if k > 20 and size > 0.5 * last:
                break
            last = size
            x[self.states] += lu.solve(gap)
        return PowerFlowPoint(x, size < 100 * tolerance, k, size)

    def state_jacobian(self, x: Array) -> sp.csc_matrix:
        """dF/dstates at x, square."""
        return self.program.jacobian_matrix(x)[self.rows][:, self.states].tocsc()

    def _find_no_load(self) -> Array:
        """Voltages and currents while nothing is drawn or fed in: one linear solve."""
        p = self.program
        rows, cols = p.row_indices("law"), p.columns("state")
        x = p.numbers.x0.copy()
        jacobian = p.jacobian_matrix(x)[rows][:, cols].tocsc()
        x[cols] = splu(jacobian).solve(p.numbers.row_lo[rows])
        return x
