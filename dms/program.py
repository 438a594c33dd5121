"""`Program`: a sparse quadratically constrained programme with exact derivatives.

    minimise    g.x + sum_k w_k x[a_k] x[b_k]
    subject to  row_lo <= A x + sum_k q_k x[i_k] x[j_k] + sum_k c_k phi_k(x[l_k]) <= row_hi
                x_lo <= x <= x_hi               phi(x) = x^e or log x

With currents kept as variables every law of the three-phase IV model is of this form
(Ohm and Kirchhoff linear; power, |v|^2 and |i|^2 products of two variables), so these are the
only derivatives of the optimisation. They are linear maps, fixed once per structure:

    Jacobian values = j0 + J1 x          Hessian values = sigma h0 + H1 lambda

What is not quadratic (a load that goes with a power of its voltage, the utility of an alpha-fair answer) is
the last sum; its derivatives c e x^(e-1) and c e (e-1) x^(e-2), for log c / x and -c / x^2, are added on top.

A programme may have several objectives, its *stages*, minimised one after the other: see `Objective`.

*Structure* (this object) is read-only. What a tick changes is in `Numbers`: bounds and start.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np
import scipy.sparse as sp

from dms.phasor import Powers, Products, Terms
from feeders.table import Array

T = TypeVar("T")

SMALLEST_BASE = 1e-3
"""A power x^e or log x is not asked for below this x, per unit."""

VariableRole = Literal["state", "drawn", "control", "given"]
"""Found by the laws (`drawn`: zero or idle while no power is drawn or fed in), decided, or a figure of the
tick (both bounds are the figure)."""
RowRole = Literal["law", "power", "limit"]
"""A law of the circuit, the law of one of the `drawn` variables, or a limit."""
Role = VariableRole | RowRole


@dataclass(frozen=True)
class Block:
    """A named run of variables or rows, `label` one name per entry."""

    name: str
    start: int
    label: Array
    role: Role

    @property
    def stop(self) -> int:
        """One past the last index."""
        return self.start + len(self.label)

    @property
    def index(self) -> Array:
        """Indices of the block's entries."""
        return np.arange(self.start, self.stop)

    @property
    def span(self) -> slice:
        """The block as a slice."""
        return slice(self.start, self.stop)


@dataclass
class Numbers:
    """All that a tick may change: bounds of variables and rows, and a start point."""

    x_lo: Array
    x_hi: Array
    row_lo: Array
    row_hi: Array
    x0: Array

    def copy(self) -> Numbers:
        """An independent copy."""
        return Numbers(*(a.copy() for a in (self.x_lo, self.x_hi, self.row_lo, self.row_hi, self.x0)))


@dataclass(frozen=True)
class Objective:
    """g.x + sum_k w_k x[a_k] x[b_k]: what one stage minimises.

    linear    (n,)           products  w, a, b; row index unused
    hold      block of variables that this stage keeps at what the stage before found for them, give or take
              a tolerance (`dms.stages`); None: the first stage
    """

    linear: Array
    products: Products
    hold: str | None = None


@dataclass(frozen=True)
class RowValues:
    """Some rows of a programme, A x + sum q x_i x_j + sum c phi(x_l), to be evaluated without the others."""

    a: sp.csr_matrix
    sums: sp.csr_matrix
    i: Array
    j: Array
    power_row: Array
    power_col: Array
    coef: Array
    exponent: Array

    @staticmethod
    def of(program: Program, rows: Array) -> RowValues:
        """Rows (k,) of a programme."""
        lin, q, power, k = program.linear, program.products, program.powers, len(rows)
        place = np.full(program.m, -1)
        place[rows] = np.arange(k)
        a, b, c = (np.flatnonzero(place[part.row] >= 0) for part in (lin, q, power))
        return RowValues(
            sp.csr_matrix((lin.coef[a], (place[lin.row[a]], lin.col[a])), shape=(k, program.n)),
            sp.csr_matrix((q.coef[b], (place[q.row[b]], np.arange(len(b)))), shape=(k, len(b))),
            q.i[b],
            q.j[b],
            place[power.row[c]],
            power.col[c],
            power.coef[c],
            power.exponent[c],
        )

    def at(self, x: Array) -> Array:
        """Values (k,) at x (n,)."""
        values: Array = self.a @ x + self.sums @ (x[self.i] * x[self.j])
        if len(self.power_row):
            np.add.at(values, self.power_row, self.coef * phi(x[self.power_col], self.exponent))
        return values


@dataclass(frozen=True)
class Program:
    """The structure; see the module's text.

    n, m              variables, rows
    objectives        of the stages in order
    stage             the one that `objective` and its derivatives are of; -1: the last
    linear, products, powers  terms of the rows
    variables, rows   named blocks in order
    """

    n: int
    m: int
    objectives: tuple[Objective, ...]
    linear: Terms
    products: Products
    powers: Powers
    variables: dict[str, Block]
    rows: dict[str, Block]
    numbers: Numbers
    stage: int = -1
    _all_rows: RowValues = field(repr=False, init=False)
    _maps: dict[str, Any] = field(default_factory=dict, repr=False, init=False)
    _derived: dict[str, Any] = field(default_factory=dict, repr=False, init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "stage", range(self.stages)[self.stage])
        self._compile_rows()
        self._compile_jacobian()
        self._compile_hessian()
        costs = [o.products for o in self.objectives]
        parts = (self.linear, self.products, self.powers, self.numbers, *costs)
        held = [*(o.linear for o in self.objectives), *(a for part in parts for a in vars(part).values())]
        for value in (*self._maps.values(), *vars(self._all_rows).values()):
            sparse = isinstance(value, sp.csr_matrix)
            held += [value.data, value.indices, value.indptr] if sparse else [value]
        for array in held:
            array.flags.writeable = False

    # Stages -------------------------------------------------------------------------------

    @property
    def stages(self) -> int:
        """Number of objectives."""
        return len(self.objectives)

    def for_stage(self, stage: int) -> Program:
        """The same programme with the objective of another stage; everything compiled is shared.

        Raises  IndexError  there is no such stage
        """
        if not 0 <= stage < self.stages:
            raise IndexError(f"stage {stage} of a programme with {self.stages}")
        if stage == self.stage:
            return self
        other = copy.copy(self)
        object.__setattr__(other, "stage", stage)
        return other

    @property
    def cost_linear(self) -> Array:
        """(n,) g of the stage."""
        return self.objectives[self.stage].linear

    @property
    def cost_products(self) -> Products:
        """w, a, b of the stage; row index unused."""
        return self.objectives[self.stage].products

    # What others derive -------------------------------------------------------------------

    def once(self, name: str, build: Callable[[], T]) -> T:
        """What is derived from the structure alone: built at the first call, shared by all stages."""
        if name not in self._derived:
            self._derived[name] = build()
        found: T = self._derived[name]
        return found

    @property
    def objective_curvature(self) -> Array:
        """Diagonal of the Hessian of the stage's objective, (n,)."""
        curvature: Array = self._maps[f"cost_hessian_{self.stage}"].diagonal()
        return curvature

    # Values -------------------------------------------------------------------------------

    def objective(self, x: Array) -> float:
        """g.x + sum w x_a x_b of the stage."""
        q = self.cost_products
        return float(self.cost_linear @ x + np.sum(q.coef * x[q.i] * x[q.j]))

    def gradient(self, x: Array) -> Array:
        """Gradient of the stage's objective, (n,)."""
        return self.cost_linear + self._maps[f"cost_hessian_{self.stage}"] @ x

    def constraints(self, x: Array) -> Array:
        """A x + sum q x_i x_j + sum c phi(x_l), (m,)."""
        return self._all_rows.at(x)

    # Jacobian -----------------------------------------------------------------------------

    @property
    def jacobian_structure(self) -> tuple[Array, Array]:
        """Rows and columns of the Jacobian's fixed pattern."""
        return self._maps["jac_row"], self._maps["jac_col"]

    def jacobian(self, x: Array) -> Array:
        """Values on `jacobian_structure`: j0 + J1 x + c phi'(x)."""
        values: Array = self._maps["j0"] + self._maps["j1"] @ x
        if len(self.powers.row):
            p = self.powers
            np.add.at(values, self._maps["jac_power"], p.coef * phi(x[p.col], p.exponent, 1))
        return values

    def jacobian_matrix(self, x: Array) -> sp.csr_matrix:
        """The Jacobian at x as a sparse matrix, (m, n)."""
        return sp.coo_matrix((self.jacobian(x), self.jacobian_structure), shape=(self.m, self.n)).tocsr()

    # Hessian of the Lagrangian --------------------------------------------------------------

    @property
    def hessian_structure(self) -> tuple[Array, Array]:
        """Rows and columns of the lower triangle's fixed pattern."""
        return self._maps["hess_row"], self._maps["hess_col"]

    def hessian(self, x: Array, multipliers: Array, sigma: float) -> Array:
        """Values on `hessian_structure`: sigma h0 + H1 lambda + lambda c phi''(x)."""
        values: Array = sigma * self._maps[f"h0_{self.stage}"] + self._maps["h1"] @ multipliers
        if len(self.powers.row):
            p = self.powers
            bend = p.coef * phi(x[p.col], p.exponent, 2)
            np.add.at(values, self._maps["hess_power"], multipliers[p.row] * bend)
        return values

    # Compilation ----------------------------------------------------------------------------

    def _compile_rows(self) -> None:
        object.__setattr__(self, "_all_rows", RowValues.of(self, np.arange(self.m)))

    def _compile_jacobian(self) -> None:
        """d(q x_i x_j) = q x_j dx_i + q x_i dx_j."""
        lin, q, power = self.linear, self.products, self.powers
        row = np.concatenate([lin.row, power.row, q.row, q.row])
        col = np.concatenate([lin.col, power.col, q.i, q.j])
        keys, place = np.unique(row.astype(np.int64) * self.n + col, return_inverse=True)
        n_lin, n_all = len(lin.row), len(lin.row) + len(power.row)
        j0 = np.bincount(place[:n_lin], weights=lin.coef, minlength=len(keys))
        self._maps["jac_power"] = place[n_lin:n_all]
        entry, source = place[n_all:], np.concatenate([q.j, q.i])
        weight = np.concatenate([q.coef, q.coef])
        self._maps["j0"] = j0
        self._maps["j1"] = sp.csr_matrix((weight, (entry, source)), shape=(len(keys), self.n))
        self._maps["jac_row"], self._maps["jac_col"] = np.divmod(keys, self.n)

    def _compile_hessian(self) -> None:
        """Lower triangle of sum_k coef_k (e_i e_j' + e_j e_i'); a square contributes 2 coef.

        One pattern serves all stages; each has its own h0 on it.
        """
        costs, q, power = [o.products for o in self.objectives], self.products, self.powers
        i, j = (np.concatenate([*(getattr(c, end) for c in costs), getattr(q, end)]) for end in "ij")
        weight = np.concatenate([*(c.coef for c in costs), q.coef]) * np.where(i == j, 2.0, 1.0)
        key = np.maximum(i, j).astype(np.int64) * self.n + np.minimum(i, j)
        diagonal = power.col.astype(np.int64) * (self.n + 1)
        keys, place = np.unique(np.concatenate([key, diagonal]), return_inverse=True)
        self._maps["hess_power"], place = place[len(key) :], place[: len(key)]
        end = 0
        for stage, c in enumerate(costs):
            mine, end = slice(end, end + len(c.i)), end + len(c.i)
            self._maps[f"h0_{stage}"] = np.bincount(place[mine], weights=weight[mine], minlength=len(keys))
            pairs = (np.concatenate([c.i, c.j]), np.concatenate([c.j, c.i]))
            full = sp.coo_matrix((np.concatenate([c.coef, c.coef]), pairs), shape=(self.n, self.n))
            self._maps[f"cost_hessian_{stage}"] = full.tocsr()
        shape = (len(keys), self.m)
        self._maps["h1"] = sp.csr_matrix((weight[end:], (place[end:], q.row)), shape=shape)
        self._maps["hess_row"], self._maps["hess_col"] = np.divmod(keys, self.n)

    # Names ------------------------------------------------------------------------------------

    def variable_names(self) -> list[str]:
        """Name of every variable, `block[label]`."""
        return [f"{b.name}[{label}]" for b in self.variables.values() for label in b.label]

    def row_names(self) -> list[str]:
        """Name of every row, `block[label]`."""
        return [f"{b.name}[{label}]" for b in self.rows.values() for label in b.label]

    def columns(self, *roles: Role) -> Array:
        """Indices of the variables with these roles, ascending."""
        return _indices(self.variables, roles)

    def row_indices(self, *roles: Role) -> Array:
        """Indices of the rows with these roles, ascending."""
        return _indices(self.rows, roles)


def _indices(blocks: dict[str, Block], roles: tuple[Role, ...]) -> Array:
    found = [block.index for block in blocks.values() if block.role in roles]
    return np.concatenate(found) if found else np.zeros(0, dtype=int)


def phi(x: Array, exponent: Array, order: int = 0) -> Array:
    """x^e, or log x where the exponent is NaN (`Powers.LOG`), or its derivative of order 1 or 2.

    x is kept off zero where a trial step leaves its bound.
    """
    x = np.maximum(x, SMALLEST_BASE)
    log = np.isnan(exponent)
    e = np.where(log, 0.0, exponent)  # d/dx log x = x^-1: from there on log is a power like any other
    if order == 0:
        found: Array = x**e
        found[log] = np.log(x[log])
        return found
    factor = np.where(log, 1.0, e) * (1.0 if order == 1 else e - 1)
    return np.asarray(factor * x ** (e - order))
