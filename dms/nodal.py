"""Quick rounds of the independent power flow on its nodes alone.

Branches obey linear laws that never change, so their currents i are told by the voltages v:

    M = [[Y, A], [C, Z]],     i = Z^-1 (e - C v),     S v = j(v) + j_e,   S = Y - A Z^-1 C,   j_e = -A Z^-1 e

S has a half to a third of the unknowns of M. It takes differences of voltages across impedances near zero,
and what it knows of potentials that a trace of charging holds is rounding: these rounds only bring a start,
and `dms.network` ends with the whole circuit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from dms.ordering import EliminationOrder, block_inverse
from feeders.table import Array

SMALL = 1e-9
"""Largest change of a voltage, per unit, after which the whole circuit takes over."""
SLOW_AFTER, SLOW = 4, 0.65
"""Rounds after which one that leaves this much of a step is the last."""
MOST = 30


class Nodes:
    """The circuit seen from its nodes, factorised once.

    matrix, rhs  M (n + b, n + b) and (0, e), scaled      order  of elimination of M
    loads        (n, n) what of the usual loads is like an admittance; in the factors only

    Raises  RuntimeError  Z or S is singular
    """

    def __init__(
        self, matrix: sp.csr_matrix, rhs: Array, n: int, order: EliminationOrder, loads: sp.csr_matrix | None
    ) -> None:
        inverse = block_inverse(matrix[n:, n:].tocsc())
        if inverse is None:
            raise RuntimeError("the branches do not fall into small blocks")
        through = matrix[:n, n:] @ inverse
        self.n = n
        self._back, self._i_e = inverse @ matrix[n:, :n], inverse @ rhs[n:]
        self._s = (matrix[:n, :n] - through @ matrix[n:, :n]).tocsr()
        self._j_e = -(through @ rhs[n:])
        nodes = order.rows[len(order.rows) - n :]
        self._solve = EliminationOrder(nodes, nodes).solver(self._s if loads is None else self._s - loads)

    def start(self, x: Array, injected: Callable[[Array], Array]) -> tuple[Array, int]:
        """Voltages and currents (n + b,) nearer to the solution than x, or x, and the rounds this took.

        injected  j(v) (n,), scaled, at voltages (n,)
        """
        v, last = x[: self.n], np.inf
        for k in range(1, MOST + 1):
            step = self._solve(injected(v) + self._j_e - self._s @ v)
            size = float(np.abs(step).max(initial=0.0))
            if not size <= 10 * last:
                return x, k
            v = v + step
            if size < SMALL or (k > SLOW_AFTER and size > SLOW * last):
                break
            last = size
        return np.concatenate([v, self._i_e - self._back @ v]), k
