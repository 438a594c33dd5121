"""Quick rounds of the independent power flow on the few nodes where power is drawn or fed in.

Branches obey linear laws that never change, so their currents i are told by the voltages v:

    M = [[Y, A], [C, Z]],     i = Z^-1 (e - C v),     S v = j(v) + j_e,   S = Y - A Z^-1 C,   j_e = -A Z^-1 e

S has a half to a third of the unknowns of M. Nodes p that current only passes through obey linear laws as
well. Where they have few neighbours they are eliminated (Kron's reduction); the rounds are on the others, k:

    S' dv_k = j_k(v_k),   S' = S_kk - S_kp S_pp^-1 S_pk,   dv = v - v_0,   v_0 without loads

S takes differences of voltages across impedances near zero, and what it knows of potentials that a trace of
charging holds is rounding: these rounds only bring a start, and `dms.network` ends with the whole circuit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import SuperLU

from dms.ordering import EliminationOrder, block_inverse, minimum_degree
from feeders.table import Array

SMALL = 5e-12
"""Largest change of a voltage, per unit, expected of the next round at which the whole circuit takes over."""
SLOW_AFTER, SLOW = 4, 0.65
"""Rounds after which one that leaves this much of a step is the last."""
MOST = 30
FEW = 3
"""Neighbours up to which a place without power is eliminated: few enough that those left stay sparse."""


class Nodes:
    """The circuit seen from the nodes with power, factorised once.

    matrix   (n + b, n + b) M, scaled
    no_load  (n + b,) voltages and currents without loads; its error stays in every start
    place    (n,) int  what is eliminated together or not at all, the bus of every node
    powered  (n,) bool  nodes where power may be drawn or fed in
    loads    (n, n) what of the usual loads is like an admittance; in the factors only

    Raises  RuntimeError  nothing is powered, or Z, S, S_pp or S' is singular
    """

    def __init__(
        self,
        matrix: sp.csr_matrix,
        no_load: Array,
        *,
        place: Array,
        powered: Array,
        loads: sp.csr_matrix | None = None,
    ) -> None:
        self.n = n = len(place)
        inverse = block_inverse(matrix[n:, n:].tocsc())
        if inverse is None or not powered.any():
            raise RuntimeError("the branches do not fall into small blocks, or there is no power anywhere")
        self._inverse, self._through = inverse, (matrix[:n, n:] @ inverse).tocsr()
        self._back, self._no_load = inverse @ matrix[n:, :n], no_load
        s = (matrix[:n, :n] - self._through @ matrix[n:, :n]).tocsr()
        p, k = _split(s, place, powered)
        self._passed, self.kept, self._order = p, k, np.concatenate([p, k])
        # Loads are on kept nodes alone: what p adds to them is the same with and without.
        self._lu = _factorise((s if loads is None else s - loads).tocsr()[self._order][:, self._order])
        self._s = _reduced(s[k][:, k], self._lu)
        self._lu_kept = _factorise(self._s if loads is None else self._s - loads[k][:, k])
        self._lu_passed = _factorise(s[p][:, p]) if len(p) else None
        self._s_pk, self._v_0 = s[p][:, k], no_load[k]

    def start(self, x: Array, injected: Callable[[Array], Array]) -> tuple[Array, int]:
        """Voltages and currents (n + b,) nearer to the solution than x, or x, and the rounds this took.

        injected  j_k(v_k) (n_kept,), scaled, at voltages (n_kept,) of the nodes `kept`
        """
        dv, last = x[self.kept] - self._v_0, np.inf
        for rounds in range(1, MOST + 1):
            step = self._lu_kept.solve(injected(self._v_0 + dv) - self._s @ dv)
            size = float(np.abs(step).max(initial=0.0))
            if not size <= 10 * last:
                return x, rounds
            dv += step
            rate = size / last if np.isfinite(last) else 1.0
            if size * rate < SMALL or (rounds > SLOW_AFTER and rate > SLOW):
                break
            last = size
        return self._whole(dv), rounds

    def solve(self, b: Array) -> Array:
        """M^-1 b with the usual loads in M, (n + b,), to the accuracy of pivots on the diagonal."""
        n, x = self.n, np.empty(len(b), dtype=complex)
        i = self._inverse @ b[n:]
        into = b[:n] - self._through @ b[n:]
        x[self._order] = self._lu.solve(into[self._order])
        x[n:] = i - self._back @ x[:n]
        return x

    def _whole(self, dv_k: Array) -> Array:
        """Voltages and currents (n + b,) of the whole circuit at changes (n_kept,) of voltages."""
        n, dx = self.n, np.empty(len(self._no_load), dtype=complex)
        dx[self.kept] = dv_k
        if self._lu_passed is not None:
            dx[self._passed] = -self._lu_passed.solve(self._s_pk @ dv_k)
        dx[n:] = -(self._back @ dx[:n])
        return self._no_load + dx


def _factorise(matrix: sp.csr_matrix) -> SuperLU:
    """LU of a matrix that is in its order already.

    Raises  RuntimeError  a pivot is zero, or none could be taken on the diagonal
    """
    lu = EliminationOrder.factorise(matrix.tocsc())
    if not np.array_equal(lu.perm_r, np.arange(matrix.shape[0])):
        raise RuntimeError("pivots are not on the diagonal")
    return lu


def _reduced(s_kk: sp.csr_matrix, lu: SuperLU) -> sp.csr_matrix:
    """S_kk - S_kp S_pp^-1 S_pk = S_kk - L_kp U_pk from the factors of S with p first."""
    m = lu.shape[0] - s_kk.shape[0]
    return (s_kk - lu.L.tocsr()[m:, :m] @ lu.U.tocsr()[:m, m:]).tocsr()


def _split(s: sp.csr_matrix, place: Array, powered: Array) -> tuple[Array, Array]:
    """Nodes that are eliminated and those that are kept, both in the order of elimination.

    A place of few neighbours makes them neighbours of each other, which adds about as many entries as
    it takes away; the order of those kept is that of minimum degree.
    """
    count = int(place.max(initial=-1)) + 1
    entries = s.tocoo()
    ends = place[entries.row], place[entries.col]
    graph = sp.csr_matrix((np.ones(entries.nnz), ends), shape=(count, count))
    near = [set(graph.indices[a:b].tolist()) - {k} for k, (a, b) in enumerate(_spans(graph))]
    held = np.ones(count, dtype=bool)
    held[place] = False
    held[place[powered]] = True
    gone = _eliminated(near, held)
    left = np.setdiff1d(np.arange(count), gone)
    row = np.repeat(left, [len(near[k]) for k in left])
    col = np.array([other for k in left for other in near[k]], dtype=int)
    rest = sp.csr_matrix((np.ones(len(row)), (row, col)), shape=(count, count))[left][:, left]
    rank = np.empty(count, dtype=int)
    rank[np.concatenate([gone, left[minimum_degree(rest)]])] = np.arange(count)
    order = np.argsort(rank[place], kind="stable")
    first = int((rank[place] < len(gone)).sum())
    return order[:first], order[first:]


def _spans(graph: sp.csr_matrix) -> list[tuple[int, int]]:
    return list(zip(graph.indptr[:-1].tolist(), graph.indptr[1:].tolist(), strict=True))


def _eliminated(near: list[set[int]], held: Array) -> Array:
    """Places that are eliminated, in turn; `near`, the neighbours of each, is brought up to date.

    held  (n_places,) bool, not to be eliminated
    """
    queue = deque(k for k, mine in enumerate(near) if not held[k] and len(mine) <= FEW)
    gone: dict[int, None] = {}
    while queue:
        k = queue.popleft()
        if k in gone or len(near[k]) > FEW:
            continue
        gone[k] = None
        for other in near[k]:
            near[other] = (near[other] | near[k]) - {other, k}
            if not held[other] and len(near[other]) <= FEW:
                queue.append(other)
    return np.array(list(gone), dtype=int)
