"""Sensitivities of a `Program`: its limits as functions of the decided variables alone.

With states s and controls u tied by F(s, u) = 0, a limit h(s, u) has the gradient

    dh/du = h_u - h_s F_s^-1 F_u = h_u - (F_s^-T h_s')' F_u        one adjoint solve per limit

Exact derivatives of the programme; nothing here knows what a row means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from dms.powerflow import PowerFlow
from dms.program import Program, RowValues
from dms.state_equations import REFINED, StateFactors
from feeders.table import Array

MANY = 6
"""Limits for whose gradients factors of the point itself cost less than refining with those of another."""
ENOUGH = 1e-8
"""Relative residual of the adjoint of a limit's gradient: more digits than a step by it can use."""


@dataclass(frozen=True)
class _Part:
    """A block of the Jacobian with a fixed pattern: places of its entries among `Program.jacobian`."""

    take: Array
    indices: Array
    indptr: Array
    shape: tuple[int, int]

    @staticmethod
    def of(program: Program, rows: Array, cols: Array) -> _Part:
        row_place, col_place = np.full(program.m, -1), np.full(program.n, -1)
        row_place[rows], col_place[cols] = np.arange(len(rows)), np.arange(len(cols))
        jac_row, jac_col = program.jacobian_structure
        here = np.flatnonzero((row_place[jac_row] >= 0) & (col_place[jac_col] >= 0))
        row, col = row_place[jac_row[here]], col_place[jac_col[here]]
        sort = np.lexsort((col, row))
        indptr = np.concatenate([[0], np.cumsum(np.bincount(row, minlength=len(rows)))])
        return _Part(here[sort], col[sort], indptr, (len(rows), len(cols)))

    def at(self, jacobian: Array) -> sp.csr_matrix:
        return sp.csr_matrix((jacobian[self.take], self.indices, self.indptr), shape=self.shape)


class Sensitivity:
    """The programme split into states, controls, laws and limits, once per structure.

    controls  (n_u,) variables that are decided      limits  (n_h,) rows of limits
    linear    (n_h,) bool, limits that are linear in the controls alone, with coefficients `plain_matrix`
    bending  (n_b,) variables that stand in a product or a power; `bending_pairs` its Hessian's pattern
    limit_values  values of the limits
    moves_states  (n_u,) bool, controls that stand in a law or in another limit
    """

    def __init__(self, flow: PowerFlow) -> None:
        self.flow, self.program = flow, flow.program
        p = self.program
        self.controls, self.limits = p.columns("control"), p.row_indices("limit")
        self.limit_values = RowValues.of(p, self.limits)
        self._laws_by_control = _Part.of(p, flow.rows, self.controls)
        self._limits_by_state = _Part.of(p, self.limits, flow.states)
        self._limits_by_control = _Part.of(p, self.limits, self.controls)
        curved = np.zeros(p.m, dtype=bool)
        curved[p.products.row] = True
        curved[p.powers.row] = True
        self.linear = (np.diff(self._limits_by_state.indptr) == 0) & ~curved[self.limits]
        row, col = p.hessian_structure
        self.bending = np.unique(np.concatenate([row, col]))
        self.bending_pairs = np.searchsorted(self.bending, row), np.searchsorted(self.bending, col)
        values = p.jacobian(p.numbers.x0)
        by_control = self._limits_by_control.at(values)
        self.plain_matrix = by_control[np.flatnonzero(self.linear)].tocsr()
        rest = abs(by_control[np.flatnonzero(~self.linear)]).sum(axis=0)
        self.moves_states = np.asarray(abs(self._laws_by_control.at(values)).sum(axis=0) + rest).ravel() > 0

    @staticmethod
    def of(program: Program) -> Sensitivity:
        """A programme's own, made once for all its stages."""
        flow = program.once("power_flow", lambda: PowerFlow(program))
        return program.once("sensitivity", lambda: Sensitivity(flow))

    def at(
        self, x: Array, factors: StateFactors | None = None, adjoints: dict[int, Array] | None = None
    ) -> Linearised:
        """Derivatives at x (n,), whose states obey the laws; what is known of a point near by saves work.

        adjoints  F_s^-T h_s' (n_s,) of some limits there, by their place; those that are solved for join them
        """
        return Linearised(self, x, factors, {} if adjoints is None else adjoints)


class SingularError(RuntimeError):
    """The laws do not tell the states here: the point is where solutions of the power flow end."""


class Linearised:
    """First and second derivatives at one point."""

    def __init__(
        self, split: Sensitivity, x: Array, factors: StateFactors | None, adjoints: dict[int, Array]
    ) -> None:
        self.split, self.x, self._adjoints = split, x, adjoints
        jacobian = split.program.jacobian(x)
        self._state_matrix = split.flow.equations.whole.at(jacobian)
        self._laws_by_control = split._laws_by_control.at(jacobian)
        self._limits_by_state = split._limits_by_state.at(jacobian)
        self._limits_by_control = split._limits_by_control.at(jacobian)
        if factors is None:
            self._renew()
        else:
            self.factors = factors
        self._adjoint = np.zeros((len(split.flow.states), 0))

    def gradients(self, limits: Array) -> Array:
        """dh/du of some limits, given by their place in `Sensitivity.limits`: (k, n_u)."""
        if len(limits) >= MANY and self.factors.matrix is not self._state_matrix:
            self._renew()
        by_state = self._limits_by_state[limits].toarray().T
        start = np.zeros_like(by_state)
        for k, limit in enumerate(limits.tolist()):
            if limit in self._adjoints:
                start[:, k] = self._adjoints[limit]
        self._adjoint = self._solve(by_state, start, ENOUGH)
        self._adjoints |= dict(zip(limits.tolist(), self._adjoint.T, strict=True))
        by_laws = self._laws_by_control.T @ self._adjoint
        return np.asarray(self._limits_by_control[limits].toarray() - by_laws.T)

    def law_multipliers_of(self, multipliers: Array) -> Array:
        """mu of the laws (n_s,) for multipliers (k,) of the limits whose gradients were asked for last.

        Without a further solve; for an objective of the controls alone.
        """
        return -self._adjoint @ multipliers

    def plain_rows(self, limits: Array) -> sp.csr_matrix:
        """Rows of limits that are linear in the controls, (k, n_u) sparse."""
        return self._limits_by_control[limits]

    def law_multipliers(self, gradient: Array, limit_multipliers: Array) -> Array:
        """mu of the laws (n_s,) with f_s + F_s' mu + h_s' lambda = 0, lambda (n_h,)."""
        by_state = gradient[self.split.flow.states] + self._limits_by_state.T @ limit_multipliers
        start = np.zeros_like(by_state)
        for limit in np.flatnonzero(limit_multipliers).tolist():
            if limit in self._adjoints:
                start += limit_multipliers[limit] * self._adjoints[limit]
        return -self._solve(by_state, start)

    def stationarity(self, gradient: Array, law_multipliers: Array, limit_multipliers: Array) -> Array:
        """f_u + F_u' mu + h_u' lambda, (n_u,): what the bounds of the controls have to balance."""
        by_laws = self._laws_by_control.T @ law_multipliers
        by_limits = self._limits_by_control.T @ limit_multipliers
        return np.asarray(gradient[self.split.controls] + by_laws + by_limits)

    def moves(self, controls: Array) -> Array:
        """How the variables that bend anything follow some controls (k,): (n_b, k).

        Rows of Z = [I; -F_s^-1 F_u] by the factors as they are, for what need not be exact to the last digit.
        controls  places among `Sensitivity.controls`
        """
        split = self.split
        z = np.zeros((split.program.n, len(controls)))
        z[split.controls[controls], np.arange(len(controls))] = 1.0
        z[split.flow.states] = -self.factors.approximate(self._laws_by_control[:, controls].toarray())
        return np.asarray(z[split.bending])

    def bending(self, move: Array) -> Array:
        """Of a move of all variables (n,) that of those that bend anything, (n_b,)."""
        return np.asarray(move[self.split.bending])

    def curvature(self, moves: Array, multipliers: Array) -> Array:
        """Z' (sum_k lambda_k hess c_k) Z along moves (n_b, k): how the Lagrangian bends, (k, k).

        multipliers  lambda (m,), of laws and limits
        """
        split, values = self.split, self.split.program.hessian(self.x, multipliers, 0.0)
        felt = np.flatnonzero(values)
        row, col = (pair[felt] for pair in split.bending_pairs)
        bending, place = np.unique(np.concatenate([row, col]), return_inverse=True)
        row, col, values, moves = place[: len(row)], place[len(row) :], values[felt], moves[bending]
        values[row == col] /= 2
        half = moves.T @ (sp.csr_matrix((values, (row, col)), shape=(len(bending),) * 2) @ moves)
        return np.asarray(half + half.T)

    def _solve(self, b: Array, start: Array, enough: float = REFINED) -> Array:
        """F_s^-T b from a solution near by; factors that are too old are renewed.

        Raises  SingularError  the state Jacobian is singular, or all but
        """
        for _ in range(2):
            found = self.factors.solve_transposed(b, self._state_matrix, start, enough)
            if found is not None:
                return found
            self._renew()
        raise SingularError("the state Jacobian cannot be solved to working accuracy")

    def _renew(self) -> None:
        try:
            self.factors = StateFactors(self.split.flow.equations, self._state_matrix)
        except RuntimeError as exc:
            raise SingularError("the state Jacobian is singular") from exc
