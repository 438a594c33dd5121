"""Power flow on a `Program`: decided variables fixed, limits off, Newton on the equality rows.

It gives every variable (voltages and all currents) its value at a known curtailment: the start point of
the optimisation, and the states at every trial point of the reduced method. The certificate never uses
it; see `dms.network`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from dms.program import Numbers, Program, RowValues
from dms.state_equations import StateEquations, StateFactors
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
        self._laws = RowValues.of(program, self.rows)
        self._no_load = self._find_no_load()
        self.equations = StateEquations.of(program, self.rows, self.states, self._no_load)
        self.unloaded = self._factors_without_load()

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
        return self.settle(x, numbers, self.unloaded, tolerance)[0]

    def settle(
        self, x: Array, numbers: Numbers, factors: StateFactors | None = None, tolerance: float = 1e-11
    ) -> tuple[PowerFlowPoint, StateFactors | None]:
        """States at the controls of x (n,), from the states of x.

        factors  of a point near by, to save a factorisation
        Returns  the point, and the factors last used
        """
        x = x.copy()
        last, lu = np.inf, factors
        for k in range(ROUNDS):
            gap = self.gap(x, numbers)
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

    def gap(self, x: Array, numbers: Numbers) -> Array:
        """What the laws lack at x (n,), per unit: b - F(x), (n_s,)."""
        return np.asarray(numbers.row_lo[self.rows] - self._laws.at(x))

    def factorise(self, x: Array) -> StateFactors:
        """Factors of the state Jacobian at x (n,).

        Raises  RuntimeError  it is singular
        """
        return StateFactors(self.equations, self.equations.whole.at(self.program.jacobian(x)))

    def state_jacobian(self, x: Array) -> sp.csc_matrix:
        """dF/dstates at x, square."""
        return self.program.jacobian_matrix(x)[self.rows][:, self.states].tocsc()

    def _find_no_load(self) -> Array:
        """Voltages and currents while nothing is drawn or fed in: one linear solve."""
        p = self.program
        rows, cols = p.row_indices("law"), p.columns("state")
        x = p.numbers.x0.copy()
        equations = StateEquations.of(p, rows, cols, x)
        found = StateFactors(equations, equations.whole.at(p.jacobian(x))).solve(p.numbers.row_lo[rows])
        if found is None:
            found = splu(p.jacobian_matrix(x)[rows][:, cols].tocsc()).solve(p.numbers.row_lo[rows])
        x[cols] = found
        return x

    def _factors_without_load(self) -> StateFactors | None:
        """Where every power flow starts; None where the loads' own laws are singular there."""
        try:
            return self.factorise(self._no_load)
        except RuntimeError:
            return None
