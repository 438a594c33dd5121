"""The independent power flow: primitive elements in SI, exports fixed, no limits.

It shares nothing with the optimiser: its circuit comes from `feeders.elements.primitives`,
never from `dms.devices`. The certificate and the simulated plant use it. Node voltages v and
branch currents i solve

    turns' i + y v = J(v)        Kirchhoff's current law at every node
    turns  v - z i = e           every branch
    J = conj(s(u) / u)           power s injected across the voltage u of a node pair, constant or not

by a fixed point on the factorised circuit, or Newton where that does not contract.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import SuperLU, splu

from dms.nodal import Nodes
from dms.ordering import complex_order
from dms.pairs import Pairs, Power
from dms.scaling import S_BASE_VA
from dms.terminals import into_terminals
from feeders import ABSENT, EARTH, Connections, Feeder, Generators, Loads
from feeders.elements import Primitive, generators, loads, primitives
from feeders.elements.loads import voltage_dependent
from feeders.table import Array

FIXED_POINT_ROUNDS = 60
SLOW_AFTER, SLOW_RATE = 4, 0.65
"""Where a round still leaves this much of a step, having the loads in the matrix is worth a factorisation."""
NEWTON_ROUNDS = 40
SHORTEST_STEP = 1 / 16
SLOPE_STEP = 1e-6
"""Relative change of a voltage over which the slope of a load's power is taken."""
QUICK_ERROR = 1e-3
"""Largest error of a linear solve, relative, that the rounds of a fixed point take out by themselves."""
PIVOT_RTOL = 1e-13
"""Smallest over largest pivot below which rounding, not the circuit, would decide a potential."""
TERMINALS_KEPT = 4
"""Sets of terminals whose products are kept: those of currents and of powers, for two sets of limits."""

Solve = Callable[[Array], Array]


class UngroundedError(ValueError):
    """Part of the circuit has no reference: an island, or an ungrounded section without any shunt."""


@dataclass(frozen=True)
class Flow:
    """One power-flow solution.

    v           (n_nodes + 1,) complex volt, earth first
    i           (n_branches,) complex ampere, in the order of `Network`
    residual    largest Kirchhoff current residual, per unit of S_base / V_base
    over_s      (n_connections,) export told to each inverter less what it can give there, of its rating:
                negative is room, -inf has no rating; empty where no connection was asked
    """

    v: Array
    i: Array
    converged: bool
    iterations: int
    residual: float
    over_s: Array = field(default_factory=lambda: np.zeros(0), repr=False)

    @property
    def worst_over_s(self) -> float:
        """Largest of `over_s`; -inf without rated inverters."""
        return float(self.over_s.max(initial=-np.inf))


class Network:
    """The linear circuit of a feeder, factorised once, solved for any injections.

    Raises  UngroundedError  the circuit matrix is singular
    """

    def __init__(self, feeder: Feeder) -> None:
        self.feeder = feeder
        self.primitives = primitives(feeder)
        self.n = feeder.n_nodes
        self._branch_offsets = np.cumsum([0, *(int(p.branch.sum()) for p in self.primitives)])
        self.n_branches = int(self._branch_offsets[-1])
        self._assemble()
        self._last_pairs = self._new_pairs(self._own_pairs())
        self._terminals: list[tuple[Array, Array, sp.csr_matrix]] = []

    def _assemble(self) -> None:
        turns, z, y, e = self._stack()
        v_base = self.feeder.v_base_v[1:]
        branch_v = (
            np.maximum.reduceat(np.append(np.abs(turns.data) * v_base[turns.indices], 0.0), turns.indptr[:-1])
            if self.n_branches
            else np.zeros(0)
        )
        self._v_scale = np.concatenate([v_base, S_BASE_VA / np.maximum(branch_v, 1.0)])
        self._row_scale = np.concatenate([v_base / S_BASE_VA, 1 / np.maximum(branch_v, 1.0)])
        blocks: list[list[Any]] = [[y, turns.T], [turns, -z]]
        matrix: Any = sp.bmat(blocks, format="csc")
        scaled = (sp.diags(self._row_scale) @ matrix @ sp.diags(self._v_scale)).tocsc()
        self._matrix: sp.csr_matrix = scaled.tocsr()  # products by rows are the quicker ones
        self._rhs = self._row_scale * np.concatenate([np.zeros(self.n, dtype=complex), e])
        self._lu = _factorise(scaled, self.feeder.name)
        # Pivots in the order of the network are several times faster, and refined where they are used.
        self._order = complex_order(self._matrix, np.arange(self.n))
        rough = self._lu.solve(self._rhs)
        self._no_load = rough + self._lu.solve(self._rhs - self._matrix @ rough)
        self._usual, self._nodes = self._with_usual_loads()

    @cached_property
    def _circuit(self) -> Solve:
        """b -> M^-1 b, for circuits that are not seen from their nodes."""
        return self._solver(self._matrix.tocsc()) or self._lu.solve

    def _solver(self, matrix: sp.csc_matrix) -> Solve | None:
        """b -> M^-1 b, the circuit's own matrix or one with loads in it; None where it is singular.

        What an order without row exchanges gives is held against the matrix before it is trusted.
        """
        if self._order is not None:
            try:
                solve = self._order.solver(matrix)
            except RuntimeError:
                solve = None
            if solve is not None and _is_close(solve, matrix):
                return solve
        try:
            return splu(matrix).solve
        except RuntimeError:
            return None

    def _stack(self) -> tuple[sp.csr_matrix, sp.csr_matrix, sp.csr_matrix, Array]:
        """Incidence (b, n), impedance (b, b), shunt admittance (n, n) and emf (b,), earth left out."""
        t_parts, z_parts, y_parts, e_parts = [], [], [], []
        for p, offset in zip(self.primitives, self._branch_offsets, strict=False):
            number = np.full(p.branch.shape, -1)
            number[p.branch] = offset + np.arange(int(p.branch.sum()))
            used = p.branch[:, :, None] & (p.node > EARTH)[:, None, :] & (p.turns != 0)
            n, m, k = np.nonzero(used)
            t_parts.append((number[n, m], p.node[n, k] - 1, p.turns[n, m, k]))
            n, m, j = np.nonzero((p.z_ohm != 0) & p.branch[:, :, None] & p.branch[:, None, :])
            z_parts.append((number[n, m], number[n, j], p.z_ohm[n, m, j]))
            n, k, j = np.nonzero((p.y_s != 0) & (p.node > EARTH)[:, :, None] & (p.node > EARTH)[:, None, :])
            y_parts.append((p.node[n, k] - 1, p.node[n, j] - 1, p.y_s[n, k, j]))
            e_parts.append(p.e_v[p.branch])
        b = self.n_branches
        e = np.concatenate(e_parts) if e_parts else np.zeros(0, dtype=complex)
        return (
            _coo(t_parts, (b, self.n), float).tocsr(),
            _coo(z_parts, (b, b), complex).tocsr(),
            _coo(y_parts, (self.n, self.n), complex).tocsr(),
            e,
        )

    def solve(self, pair: Array, s_va: Array, *, start: Flow | None = None, tolerance: float = 1e-11) -> Flow:
        """Voltages and currents with constant complex power injected across node pairs.

        pair       (m, 2) node indices
        s_va       (m,) complex volt-ampere delivered *into* the feeder (a load is negative)
        start      an earlier solution to start from; default: the circuit without injections
        tolerance  largest change of a voltage, per unit, at which it stops
        Returns    `Flow`; `converged` is False when no solution was found
        """
        return self._solve(pair, lambda _: s_va, start, tolerance)

    def solve_loads(
        self,
        pair: Array | None = None,
        s_va: Array | Power | None = None,
        *,
        drawn: Loads | None = None,
        start: Flow | None = None,
        tolerance: float = 1e-11,
    ) -> Flow:
        """Voltages and currents with the feeder's own loads and generators, each by its law.

        pair, s_va  further powers delivered into the feeder, constant as for `solve` or by a law
        drawn       the loads as they are now; default: as the feeder has them
        start       an earlier solution to start from
        tolerance   largest change of a voltage, per unit, at which it stops
        Returns     `Flow`; `converged` is False when no solution was found
        """
        drawn, made = self.feeder[Loads] if drawn is None else drawn, self.feeder[Generators]
        more = np.zeros((0, 2), dtype=int) if pair is None else pair
        fixed = np.zeros(len(more), dtype=complex) if s_va is None else s_va
        more_power: Power = fixed if callable(fixed) else lambda _: fixed
        a, b = len(drawn), len(drawn) + len(made)
        drawn_power = loads.power_law(drawn)

        def power(u: Array) -> Array:
            parts = [-drawn_power(u[:a]), more_power(u[b:])]
            if len(made):
                parts.insert(1, generators.power_va(made, u[a:b]))
            return np.concatenate(parts)

        return self._solve(np.concatenate([drawn.pair, made.pair, more]), power, start, tolerance)

    def _solve(self, pair: Array, power: Power, start: Flow | None, tolerance: float) -> Flow:
        """The fixed point; then with the admittance-like part of the loads in the matrix; then Newton."""
        pairs, powered = self._pairs(pair)
        first, quick = self._no_load if start is None else self._pack(start), 0
        near = first
        if self._nodes is not None and powered is not None:
            near, quick = self._nodes.start(first, lambda v: powered.injected(power, v))
        x, rounds, done = self._fixed_point(near, pairs, power, tolerance, self._usual)
        rounds += quick
        if not done:
            # A round that diverged leaves no start worth having.
            left = [np.nan_to_num(self._residual(at, pairs, power), nan=np.inf) for at in (first, x)]
            near = first if left[0] <= left[1] else x
            if (solve := self._with_loads(near, pairs, power)) is not None:
                x, more, done = self._fixed_point(near, pairs, power, tolerance, solve)
                rounds += more
        if not done:
            x, more, done = self._newton(first, pairs, power, tolerance)
            rounds += more
        residual = self._residual(x, pairs, power)
        done = bool(done and np.isfinite(residual) and residual < 1e-6)
        v = np.concatenate([[0.0], (self._v_scale * x)[: self.n]])
        return Flow(
            v=v, i=(self._v_scale * x)[self.n :], converged=done, iterations=rounds, residual=residual
        )

    def _own_pairs(self) -> Array:
        """(m, 2) pairs of the feeder's loads, generators and connections, as a tick asks for them."""
        f = self.feeder
        return np.concatenate([f[Loads].pair, f[Generators].pair, f[Connections].pair])

    def _pairs(self, pair: Array) -> tuple[Pairs, Pairs | None]:
        """The pairs (m, 2) on all nodes, and on those of the quick rounds; the last ones are kept."""
        if self._last_pairs[0] != pair.tobytes():  # who asks next asks for the same
            self._last_pairs = self._new_pairs(pair)
        return self._last_pairs[1:]

    def _new_pairs(self, pair: Array) -> tuple[bytes, Pairs, Pairs | None]:
        found = self._pairs_of(pair)
        return pair.tobytes(), found, None if self._nodes is None else found.at(self._nodes.kept)

    def _pairs_of(self, pair: Array) -> Pairs:
        return Pairs.of(pair, self.feeder.v_base_v[1:])

    def _pack(self, flow: Flow) -> Array:
        return np.concatenate([flow.v[1:], flow.i]) / self._v_scale

    def _injected(self, x: Array, pairs: Pairs, power: Power) -> Array:
        """Right-hand side: emf plus injected currents, scaled."""
        result = self._rhs.copy()
        result[: self.n] += pairs.injected(power, x[: self.n])
        return result

    def _with_usual_loads(self) -> tuple[Solve, Nodes | None]:
        """The circuit with what of the feeder's own loads is like an admittance, and from its nodes."""
        drawn, like = self.feeder[Loads], None
        if voltage_dependent(drawn).any():
            law, pairs = loads.power_law(drawn), self._pairs_of(drawn.pair)
            like = self._like_admittance(self._no_load, pairs, lambda u: -law(u))
        usual = self._matrix if like is None else (self._matrix - like).tocsr()
        nodes = self._seen_from_nodes(None if like is None else like[: self.n, : self.n])
        if nodes is not None and _is_close(nodes.solve, usual):
            return nodes.solve, nodes
        return (None if like is None else self._solver(usual.tocsc())) or self._circuit, nodes

    def _seen_from_nodes(self, like: sp.csr_matrix | None) -> Nodes | None:
        """None where branches or nodes do not allow it."""
        if self._order is None:
            return None
        powered = np.zeros(self.n + 1, dtype=bool)
        powered[self._own_pairs()] = True
        place = self.feeder.nodes.bus[1:]
        try:
            return Nodes(self._matrix, self._no_load, place=place, powered=powered[1:], loads=like)
        except RuntimeError:
            return None

    def _like_admittance(self, x: Array, pairs: Pairs, power: Power) -> sp.csr_matrix | None:
        """dJ/du of the loads at x, scaled, on the whole matrix; None if they have none."""
        along, _ = _slopes(power, pairs.across @ x[: self.n])
        if not along.any() or not np.isfinite(along).all():
            return None
        return self._on_whole(pairs, along)

    def _on_whole(self, pairs: Pairs, slope: Array) -> sp.csr_matrix:
        """incidence' diag(slope) incidence / S_base, as large as the circuit's matrix."""
        found = (pairs.into @ sp.diags(slope) @ pairs.across).tocsr()
        found.resize(self._matrix.shape)
        return found

    def _with_loads(self, x: Array, pairs: Pairs, power: Power) -> Solve | None:
        """The circuit with that in the matrix; None if there is none or it is singular."""
        like = self._like_admittance(x, pairs, power)
        return None if like is None else self._solver((self._matrix - like).tocsc())

    def _fixed_point(
        self, x: Array, pairs: Pairs, power: Power, tolerance: float, solve: Solve
    ) -> tuple[Array, int, bool]:
        """Rounds of M' (new - x) = rhs(x) - M x, with M' the circuit or an approximation of its slope."""
        first, last, rate = solve is self._usual, np.inf, 1.0
        for k in range(1, FIXED_POINT_ROUNDS + 1):
            rhs = self._injected(x, pairs, power)
            if not np.isfinite(rhs).all():
                return x, k, False
            new = x + solve(rhs - self._matrix @ x)
            step = float(np.abs(new - x)[: self.n].max(initial=0.0))
            x = new
            before, rate = rate, step / last if np.isfinite(last) else 1.0
            slower = min(max(rate, before), 0.5)  # of two rounds: the first may be of what dies out first
            if step * slower / (1 - slower) < tolerance:  # what is left of a geometric series
                # One refinement step takes out the rounding of the factorisation.
                x = x + solve(self._injected(x, pairs, power) - self._matrix @ x)
                return x, k, True
            if step > 10 * last or step > 10:
                return x, k, False
            if first and SLOW_AFTER < k < FIXED_POINT_ROUNDS / 2 and step > SLOW_RATE * last:
                return x, k, False
            last = min(last, step)
        return x, FIXED_POINT_ROUNDS, False

    def _newton(self, x: Array, pairs: Pairs, power: Power, tolerance: float) -> tuple[Array, int, bool]:
        """Newton in real coordinates, dJ = a du + b conj(du).

        s depends on the size of u alone: with s' = ds / d ln |u|, from a central difference,
        a = conj(s') / (2 |u|^2) and b = (conj(s') / 2 - conj(s)) / conj(u)^2.
        """
        n = len(x)
        for k in range(1, NEWTON_ROUNDS + 1):
            residual = self._injected(x, pairs, power) - self._matrix @ x
            if not np.isfinite(residual).all():
                return x, k, False
            slopes = _slopes(power, pairs.across @ x[: self.n])
            a, b = (self._on_whole(pairs, slope) for slope in slopes)
            m = self._matrix - a
            top, bottom = [m.real - b.real, -m.imag - b.imag], [m.imag - b.imag, m.real + b.real]
            jacobian: Any = [top, bottom]
            try:
                lu = splu(sp.bmat(jacobian, format="csc"))
            except RuntimeError:  # singular: x is where solutions end
                return x, k, False
            step = lu.solve(np.concatenate([residual.real, residual.imag]))
            dx = step[:n] + 1j * step[n:]
            size = float(np.abs(dx)[: self.n].max(initial=0.0))
            x = self._along(x, dx * min(1.0, 0.5 / size if size > 0.5 else 1.0), pairs, power)
            if size < tolerance * 10:
                return x, k, True
        return x, NEWTON_ROUNDS, False

    def _along(self, x: Array, dx: Array, pairs: Pairs, power: Power) -> Array:
        """The longest of a few steps that brings the residual down, else the shortest."""
        here, step = self._residual(x, pairs, power), 1.0
        while step > SHORTEST_STEP and not self._residual(x + step * dx, pairs, power) < here:
            step /= 2
        return x + step * dx

    def _residual(self, x: Array, pairs: Pairs, power: Power) -> float:
        gap = self._injected(x, pairs, power) - self._matrix @ x
        return float(np.abs(gap[: self.n]).max(initial=0.0))

    def currents_into(self, kind: Array, place: Array, flow: Flow) -> Array:
        """Currents (n,) into terminals of elements, ampere.

        kind   (n,) kind of element
        place  (n, 2) row of its table, and slot of its node
        """
        return np.asarray(self.terminals(kind, place) @ np.concatenate([flow.v, flow.i]))

    def terminals(self, kind: Array, place: Array) -> sp.csr_matrix:
        """Terminals as in `currents_into`: what to multiply v and i with; kept, limits ask tick by tick."""
        known = (into for of, at, into in self._terminals if of is kind and at is place)
        if (into := next(known, None)) is None:
            into = into_terminals(self.primitives, kind, *place.T, n_v=self.n + 1)
            self._terminals = [*self._terminals[1 - TERMINALS_KEPT :], (kind, place, into)]
        return into

    def terminal_currents(self, flow: Flow) -> list[tuple[Primitive, Array]]:
        """For every primitive, the current from each node slot into the element, (n, k) ampere."""
        result = []
        for p, offset in zip(self.primitives, self._branch_offsets, strict=False):
            i = np.zeros(p.branch.shape, dtype=complex)
            i[p.branch] = flow.i[offset : offset + int(p.branch.sum())]
            v = np.where(p.node == ABSENT, 0.0, flow.v[np.maximum(p.node, 0)])
            result.append((p, np.einsum("nmk,nm->nk", p.turns, i) + np.einsum("nkl,nl->nk", p.y_s, v)))
        return result


def _is_close(solve: Solve, matrix: Any) -> bool:
    """The rounds of a fixed point can take out what the solution of a linear system leaves."""
    trial = np.exp(1j * np.arange(matrix.shape[0]))
    return bool(np.abs(matrix @ solve(trial) - trial).max(initial=0.0) < QUICK_ERROR)


def _slopes(power: Power, u: Array) -> tuple[Array, Array]:
    """dJ/du and dJ/dconj(u) of J = conj(s(|u|) / u)."""
    s = power(u)
    growth = (power(u * (1 + SLOPE_STEP)) - power(u * (1 - SLOPE_STEP))) / (2 * SLOPE_STEP)
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.conj(growth) / (2 * np.abs(u) ** 2)
        across = (np.conj(growth) / 2 - np.conj(s)) / np.conj(u) ** 2
    return np.where(s == 0, 0.0, along), np.where(s == 0, 0.0, across)


def _coo(parts: list[tuple[Array, Array, Array]], shape: tuple[int, int], dtype: type) -> sp.coo_matrix:
    rows, cols, data = (
        (np.concatenate(c) if c else np.zeros(0) for c in zip(*parts, strict=True))
        if parts
        else (np.zeros(0, int), np.zeros(0, int), np.zeros(0))
    )
    return sp.coo_matrix((data.astype(dtype), (rows.astype(int), cols.astype(int))), shape=shape)


def _factorise(matrix: Any, name: str) -> SuperLU:
    message = (
        f"feeder {name}: the circuit is singular; some nodes have no path to a source or no shunt to "
        "earth (run `anoca feeder check`)"
    )
    try:
        lu = splu(matrix)
    except RuntimeError as exc:
        raise UngroundedError(message) from exc
    pivot = np.abs(lu.U.diagonal())
    if pivot.min() <= PIVOT_RTOL * pivot.max():
        raise UngroundedError(message)
    return lu
