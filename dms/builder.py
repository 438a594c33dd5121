"""`Builder`: named blocks of variables and rows, and Kirchhoff's current law to post to.

Devices write their law in SI, straight from their table; the builder scales every variable
and every row to per unit (`dms.scaling`), so no device ever converts. Currents are posted to
nodes with `inject`; no device is ever listed by another.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from dms.phasor import Phasor, Powers, Products, Terms
from dms.program import Block, Numbers, Objective, Program, RowRole, VariableRole
from dms.request import Units
from dms.scaling import S_BASE_VA
from feeders import EARTH, Feeder
from feeders.table import Array

if TYPE_CHECKING:
    from dms.controls import ControlValues


@dataclass
class _Stack:
    """Arrays that grow block by block."""

    parts: list[tuple[Array, ...]]
    width: int

    def joined(self, dtypes: tuple[type, ...]) -> list[Array]:
        columns = zip(*self.parts, strict=True) if self.parts else [()] * self.width
        return [
            np.concatenate(c).astype(t) if c else np.zeros(0, t) for c, t in zip(columns, dtypes, strict=True)
        ]


@dataclass
class _Stage:
    """Costs of one stage as they are added."""

    hold: str | None = None
    linear: _Stack = field(default_factory=lambda: _Stack([], 2))
    squares: _Stack = field(default_factory=lambda: _Stack([], 3))
    square_trifles: _Stack = field(default_factory=lambda: _Stack([], 3))

    @property
    def degree(self) -> int:
        return 2 if self.squares.parts else 1

    def finish(self, n: int) -> Objective:
        linear = np.zeros(n)
        variable, coef = self.linear.joined((int, float))
        np.add.at(linear, variable, coef)
        squares = _Stack([*self.squares.parts, *self.square_trifles.parts], 3)
        a, b, w = squares.joined((int, int, float))
        return Objective(linear, Products(np.zeros(len(a), dtype=int), a, b, w), self.hold)


class Builder:
    """Collects a `Program` for one feeder. alpha: of the norm `alpha_fair`."""

    def __init__(self, feeder: Feeder, units: Units, controls: ControlValues, alpha: float = 1.0) -> None:
        self.feeder = feeder
        self.alpha = alpha
        self.units = units
        self.controls = controls
        self.v_base = feeder.v_base_v
        self.i_base = S_BASE_VA / self.v_base
        self._variables: dict[str, Block] = {}
        self._rows: dict[str, Block] = {}
        self._n = self._m = 0
        self._bounds, self._row_bounds = _Stack([], 3), _Stack([], 2)
        self._linear, self._products, self._powers = _Stack([], 3), _Stack([], 4), _Stack([], 4)
        self._stages = [_Stage()]
        self._posted: list[tuple[Array, Phasor]] = []
        self._monitored: dict[str, list[tuple[Array, Array, Phasor]]] = {}
        self._kcl_open = True

    # Variables ----------------------------------------------------------------------------

    def add_variables(
        self,
        name: str,
        label: Array,
        *,
        lo: float | Array = -np.inf,
        hi: float | Array = np.inf,
        start: float | Array = 0.0,
        role: VariableRole = "state",
    ) -> Block:
        """A named block of real variables, per unit, with bounds and the value of a circuit at rest.

        Raises  ValueError  the name is taken
        """
        _check_free(name, self._variables)
        block = Block(name, self._n, np.asarray(label, dtype=object), role)
        self._variables[name] = block
        n = len(block.label)
        self._bounds.parts.append(tuple(np.full(n, v, dtype=float) for v in (lo, hi, start)))
        self._n += n
        return block

    def add_voltages(self) -> None:
        """v_re, v_im at every node but earth."""
        names = self.feeder.node_names[1:]
        self._v_re, self._v_im = self.add_variables("v_re", names), self.add_variables("v_im", names)

    def add_currents(
        self,
        name: str,
        label: Array,
        base_node: Array,
        present: Array | None = None,
        role: VariableRole = "state",
    ) -> Phasor:
        """Complex currents `<name>_re`, `<name>_im`, in ampere, scaled by the base at `base_node`.

        label, base_node, present  (n,); absent rows get no variable and read as zero
        """
        present = np.ones(len(label), dtype=bool) if present is None else present
        re = self.add_variables(f"{name}_re", label[present], role=role)
        im = self.add_variables(f"{name}_im", label[present], role=role)
        return Phasor.of(re.index, im.index, self.i_base[np.maximum(base_node, 0)], present)

    def add_voltages_at(self, name: str, label: Array, base_node: Array, present: Array) -> Phasor:
        """Further complex voltages `<name>_re`, `<name>_im`, in volt, scaled by the base at `base_node`.

        label, base_node, present  (n,); absent rows get no variable and read as zero
        """
        re = self.add_variables(f"{name}_re", label[present])
        im = self.add_variables(f"{name}_im", label[present])
        return Phasor.of(re.index, im.index, self.v_base[np.maximum(base_node, 0)], present)

    def voltage(self, node: Array) -> Phasor:
        """Voltage to earth at nodes (n,), volt; zero at earth and where the node is absent."""
        present = node > EARTH
        k = node[present] - 1
        scale = self.v_base[np.maximum(node, 0)]
        return Phasor.of(self._v_re.start + k, self._v_im.start + k, scale, present)

    def across(self, pair: Array) -> Phasor:
        """Voltage between node pairs (n, 2), volt."""
        return self.voltage(pair[:, 0]) - self.voltage(pair[:, 1])

    # Rows -----------------------------------------------------------------------------------

    def add_rows(
        self,
        name: str,
        label: Array,
        *,
        linear: Terms | None = None,
        products: Products | None = None,
        powers: Powers | None = None,
        lo: float | Array = 0.0,
        hi: float | Array = 0.0,
        role: RowRole = "law",
    ) -> Block:
        """A named block of rows  lo <= linear + products + powers <= hi.

        Raises  ValueError  the name is taken
        """
        _check_free(name, self._rows)
        block = Block(name, self._m, np.asarray(label, dtype=object), role)
        self._rows[name] = block
        n = len(block.label)
        if linear is not None:
            self._linear.parts.append((linear.row + block.start, linear.col, linear.coef))
        if products is not None:
            self._products.parts.append((products.row + block.start, products.i, products.j, products.coef))
        if powers is not None:
            self._powers.parts.append((powers.row + block.start, powers.col, powers.coef, powers.exponent))
        self._row_bounds.parts.append((np.full(n, lo, dtype=float), np.full(n, hi, dtype=float)))
        self._m += n
        return block

    def add_law(
        self,
        name: str,
        label: Array,
        law: Phasor,
        *,
        base: Array,
        value: Array | None = None,
        products: tuple[Products, Products] | None = None,
    ) -> None:
        """Complex equality law = value as rows `<name>_re`, `<name>_im`, divided by `base` (n,).

        products  further terms of the real and of the imaginary row, of the law before it is divided
        """
        scaled = law.times(1 / base)
        value = np.zeros(law.n, dtype=complex) if value is None else value / base
        re, im = (None, None) if products is None else (p.times(1 / base) for p in products)
        self.add_rows(f"{name}_re", label, linear=scaled.re, products=re, lo=value.real, hi=value.real)
        self.add_rows(f"{name}_im", label, linear=scaled.im, products=im, lo=value.imag, hi=value.imag)

    def add_power(
        self,
        name: str,
        label: Array,
        u: Phasor,
        i: Phasor,
        *,
        extra_p: Terms | None = None,
        extra_q: Terms | None = None,
        products: tuple[Products, Products] | None = None,
    ) -> None:
        """Rows `p_<name>`: Re(u conj(i)) + extra = P and `q_<name>`: Im(u conj(i)) + extra = Q, of S_base.

        The values P and Q are numbers of the tick. products: further terms of P's and of Q's rows.
        """
        u = u.times(1 / S_BASE_VA)
        p, q = u.dot(i), u.cross(i)
        if products is not None:
            p, q = p + products[0], q + products[1]
        self.add_rows(f"p_{name}", label, linear=extra_p, products=p, role="power")
        self.add_rows(f"q_{name}", label, linear=extra_q, products=q, role="power")

    def add_magnitude(
        self, name: str, label: Array, phasor: Phasor, base: Array, *, lo: Array | float, hi: Array | float
    ) -> None:
        """Limit rows |phasor|^2 / base^2 between lo and hi."""
        scaled = phasor.times(1 / base)
        self.add_rows(name, label, products=scaled.dot(scaled), lo=lo, hi=hi, role="limit")

    # Objective ------------------------------------------------------------------------------

    def add_cost(self, variables: Array, coef: Array) -> None:
        """Linear cost sum coef x, in the last stage begun."""
        self._stages[-1].linear.parts.append((variables, np.broadcast_to(coef, variables.shape)))

    def add_square_cost(self, variables: Array, coef: Array) -> None:
        """Quadratic cost sum coef x^2, in the last stage begun."""
        self._stages[-1].squares.parts.append((variables, variables, np.broadcast_to(coef, variables.shape)))

    def add_trifle(self, variables: Array, coef: Mapping[int, float]) -> None:
        """Linear cost in every stage, by its degree (1 or 2): breaks ties, decides nothing else."""
        for stage in self._stages:
            stage.linear.parts.append((variables, np.full(variables.shape, coef[stage.degree])))

    def add_square_trifle(self, variables: Array, coef: Mapping[int, float], weight: Array) -> None:
        """The same with squares, sum coef weight x^2."""
        for stage in self._stages:
            stage.square_trifles.parts.append((variables, variables, coef[stage.degree] * weight))

    def next_stage(self, hold: Block) -> None:
        """What costs from here on is minimised next, with `hold` kept at what the stage before finds for it.

        hold    a block of variables that the stage before minimises; `dms.stages` bounds it from above
        """
        self._stages.append(_Stage(hold.name))

    # Kirchhoff --------------------------------------------------------------------------------

    def inject(self, node: Array, current: Phasor) -> None:
        """Post currents (n,), ampere, flowing *into* nodes (n,); earth and absent nodes take none."""
        if not self._kcl_open:
            raise RuntimeError("Kirchhoff's law is closed; inject before close_kcl()")
        self._posted.append((node, current))

    def monitor(self, kind: str, row: Array, slot: Array, current: Phasor) -> None:
        """Make the current into an element's terminals known to the limits (row of table, node slot)."""
        self._monitored.setdefault(kind, []).append((row, slot, current))

    def monitored(self, kind: Array, row: Array, slot: Array) -> Phasor:
        """Monitored currents (n,), ampere, in the order asked for.

        Raises  KeyError  a terminal that no device monitors
        """
        result = Phasor.zero(len(kind))
        for name in dict.fromkeys(kind):
            want = np.flatnonzero(kind == name)
            rows, slots, currents = zip(*self._monitored[name], strict=True)
            place = {
                key: k
                for k, key in enumerate(
                    zip(np.concatenate(rows).tolist(), np.concatenate(slots).tolist(), strict=True)
                )
            }
            pick = np.array([place[key] for key in zip(row[want].tolist(), slot[want].tolist(), strict=True)])
            stacked = Phasor.stack(currents).take(pick)
            result = result + Phasor(len(kind), want[stacked.row], stacked.col, stacked.coef)
        return result

    def close_kcl(self) -> None:
        """(2b)-(2e): the posted currents sum to zero at every node, real and imaginary part."""
        total = Phasor.zero(self.feeder.n_nodes)
        for node, current in self._posted:
            keep = node[current.row] > EARTH
            row = node[current.row[keep]] - 1
            total = total + Phasor(total.n, row, current.col[keep], current.coef[keep])
        self._kcl_open = False
        self.add_law("kcl", self.feeder.node_names[1:], total, base=self.i_base[1:])

    def variables(self, name: str) -> Block:
        """A block of variables by name."""
        return self._variables[name]

    def rows(self, name: str) -> Block:
        """A block of rows by name."""
        return self._rows[name]

    def finish(self) -> Program:
        """Freeze into a `Program`; duplicate terms are summed.

        Raises  RuntimeError  Kirchhoff's law was never closed
        """
        if self._kcl_open:
            raise RuntimeError("call close_kcl() before finish(); without it currents come from nowhere")
        x_lo, x_hi, x0 = self._bounds.joined((float, float, float))
        row_lo, row_hi = self._row_bounds.joined((float, float))
        return Program(
            n=self._n,
            m=self._m,
            objectives=tuple(stage.finish(self._n) for stage in self._stages),
            linear=Terms(*self._linear.joined((int, int, float))),
            products=Products(*self._products.joined((int, int, int, float))),
            powers=Powers(*self._powers.joined((int, int, float, float))),
            variables=self._variables,
            rows=self._rows,
            numbers=Numbers(x_lo, x_hi, row_lo, row_hi, x0),
        )


def _check_free(name: str, blocks: dict[str, Block]) -> None:
    if name in blocks:
        raise ValueError(f"there is a block {name!r} already")
