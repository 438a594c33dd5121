"""Reading a quadratic Pyomo model into a `Program`, and comparing two programmes by their names.

Pyomo's own route to Ipopt needs the ASL library, which pip does not bring; read into a `Program`,
a model gets our exact sparse derivatives instead.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from dms.phasor import Powers, Products, Terms
from dms.program import SMALLEST_BASE, Block, Numbers, Objective, Program

if TYPE_CHECKING:
    import pyomo.environ as pyo


def to_program(model: pyo.ConcreteModel, like: Program | None = None) -> Program:
    """Read a Pyomo model with linear and quadratic expressions, x^e and log x, into a `Program`.

    like    a programme whose roles the blocks of the same names take; any other block is a control or
            a limit, so that a power flow leaves it alone
    Raises  ValueError  another nonlinear part, or an integer one, named
    """
    import pyomo.environ as pyo
    from pyomo.repn import generate_standard_repn

    known = {b.name: b.role for b in (*like.variables.values(), *like.rows.values())} if like else {}
    variables: dict[str, Block] = {}
    number: dict[int, int] = {}
    bounds: list[tuple[float, float, float]] = []
    for var in model.component_objects(pyo.Var, active=True):
        variables[var.name] = Block(var.name, len(bounds), _labels(var), known.get(var.name, "control"))
        for data in var.values():
            if not data.is_continuous():
                raise ValueError(f"{data.name} is not continuous")
            number[id(data)] = len(bounds)
            bounds.append((_bound(data.lb, -np.inf), _bound(data.ub, np.inf), float(data.value or 0.0)))
    rows: dict[str, Block] = {}
    linear: list[tuple[int, int, float]] = []
    products: list[tuple[int, int, int, float]] = []
    powers: list[tuple[int, int, float, float]] = []
    row_bounds: list[tuple[float, float]] = []
    for con in model.component_objects(pyo.Constraint, active=True):
        rows[con.name] = Block(con.name, len(row_bounds), _labels(con), known.get(con.name, "limit"))
        for data in con.values():
            repn = generate_standard_repn(data.body, quadratic=True)
            powers += _powers(repn.nonlinear_expr, data.name, number, len(row_bounds))
            constant = _collect(repn, number, len(row_bounds), linear, products)
            low, high = _bound(pyo.value(data.lower), -np.inf), _bound(pyo.value(data.upper), np.inf)
            row_bounds.append((low - constant, high - constant))
    objectives = _objectives(model, number)
    x_lo, x_hi, x0 = (np.array(c, dtype=float) for c in zip(*bounds, strict=True))
    row_lo, row_hi = (np.array(c, dtype=float) for c in zip(*row_bounds, strict=True))
    return Program(
        n=len(bounds),
        m=len(row_bounds),
        objectives=objectives,
        linear=Terms(*_columns(linear, 3)),
        products=Products(*_columns(products, 4)),
        powers=Powers(*_columns(powers, 4, reals=2)),
        variables=variables,
        rows=rows,
        numbers=Numbers(x_lo, x_hi, row_lo, row_hi, x0),
    )


def _objectives(model: pyo.ConcreteModel, number: dict[int, int]) -> tuple[Objective, ...]:
    """The active objective, then those named in `model.held`, each with the block that it holds.

    Raises  ValueError  one that is not linear or quadratic
    """
    import pyomo.environ as pyo
    from pyomo.repn import generate_standard_repn

    stages: dict[str, str] = getattr(model, "held", {})
    found = []
    active = list(model.component_data_objects(pyo.Objective, active=True))
    for objective in [*active[-1:], *(model.find_component(name) for name in stages)]:
        repn = generate_standard_repn(objective.expr, quadratic=True)
        if repn.nonlinear_expr is not None:
            raise ValueError(f"{objective.name} is not linear or quadratic")
        terms: list[tuple[int, int, float]] = []
        pairs: list[tuple[int, int, int, float]] = []
        _collect(repn, number, 0, terms, pairs)
        linear = np.zeros(len(number))
        for _, col, coef in terms:
            linear[col] += coef
        found.append(Objective(linear, Products(*_columns(pairs, 4)), stages.get(objective.name)))
    return tuple(found) or (Objective(np.zeros(len(number)), Products(*_columns([], 4))),)


def _powers(expr: Any, name: str, number: dict[int, int], row: int) -> list[tuple[int, int, float, float]]:
    """Sum of c x^e and c log x, x bounded away from zero, as (row, variable, c, e); e = NaN is log.

    Raises  ValueError  the expression is something else
    """
    import pyomo.environ as pyo
    from pyomo.core.expr import MonomialTermExpression, NegationExpression, PowExpression, ProductExpression
    from pyomo.core.expr.numeric_expr import DivisionExpression, SumExpression, UnaryFunctionExpression

    def walk(e: Any, factor: float) -> list[tuple[int, int, float, float]]:
        if isinstance(e, SumExpression):
            return [term for arg in e.args for term in walk(arg, factor)]
        if isinstance(e, NegationExpression):
            return walk(e.args[0], -factor)
        power = isinstance(e, PowExpression) and id(e.args[0]) in number and not _free(e.args[1])
        if power and _bound(e.args[0].lb, -np.inf) >= SMALLEST_BASE:
            return [(row, number[id(e.args[0])], factor, float(pyo.value(e.args[1])))]
        log = isinstance(e, UnaryFunctionExpression) and e.getname() == "log" and id(e.args[0]) in number
        if log and _bound(e.args[0].lb, -np.inf) >= SMALLEST_BASE:
            return [(row, number[id(e.args[0])], factor, Powers.LOG)]
        product = isinstance(e, ProductExpression | MonomialTermExpression)
        if product and not _free(e.args[0]):
            return walk(e.args[1], factor * float(pyo.value(e.args[0])))
        if isinstance(e, DivisionExpression) and not _free(e.args[1]):
            return walk(e.args[0], factor / float(pyo.value(e.args[1])))
        raise ValueError(
            f"{name} is not a sum of linear terms, products of two variables, powers and logarithms"
        )

    return [] if expr is None else walk(expr, 1.0)


def _free(expr: Any) -> bool:
    """True where an expression holds a variable."""
    return not (isinstance(expr, int | float) or expr.is_constant() or expr.is_fixed())


def _collect(
    repn: Any,
    number: dict[int, int],
    row: int,
    linear: list[tuple[int, int, float]],
    products: list[tuple[int, int, int, float]],
) -> float:
    linear += [
        (row, number[id(v)], float(c)) for v, c in zip(repn.linear_vars, repn.linear_coefs, strict=True)
    ]
    products += [
        (row, number[id(a)], number[id(b)], float(c))
        for (a, b), c in zip(repn.quadratic_vars, repn.quadratic_coefs, strict=True)
    ]
    return float(repn.constant)


def _labels(component: Any) -> Any:
    return np.array([str(key) if key is not None else "" for key in component], dtype=object)


def _bound(value: float | None, default: float) -> float:
    return default if value is None else float(value)


def _columns(rows: list[Any], width: int, reals: int = 1) -> list[Any]:
    columns = list(zip(*rows, strict=True)) if rows else [()] * width
    kinds = [int] * (width - reals) + [float] * reals
    return [np.array(c, dtype=t) for c, t in zip(columns, kinds, strict=True)]


def coefficients(program: Program) -> dict[tuple[str, ...], float]:
    """Every coefficient and bound of a programme under its names, for comparing two of them.

    Keys: (row, variable), (row, variable, variable) sorted, (row, variable, exponent), ("cost", ...),
    ("cost_2", ...) of the second stage, ("row_lo", row), ...
    """
    x, r = program.variable_names(), program.row_names()
    found: dict[tuple[str, ...], float] = defaultdict(float)
    for row, col, coef in zip(program.linear.row, program.linear.col, program.linear.coef, strict=True):
        found[r[row], x[col]] += float(coef)
    costs = ["cost", *(f"cost_{k}" for k in range(2, program.stages + 1))]
    for cost, objective in zip(costs, program.objectives, strict=True):
        for col in np.flatnonzero(objective.linear):
            found[cost, x[col]] += float(objective.linear[col])
        if objective.hold is not None:
            found[cost, "holds", objective.hold] = 1.0
    sums = [(r, program.products)]
    sums += [([c] * program.m, o.products) for c, o in zip(costs, program.objectives, strict=True)]
    for rows, q in sums:
        for row, i, j, coef in zip(q.row, q.i, q.j, q.coef, strict=True):
            found[(rows[row], *sorted((x[i], x[j])))] += float(coef)
    power = program.powers
    for row, col, coef, e in zip(power.row, power.col, power.coef, power.exponent, strict=True):
        found[r[row], x[col], f"^{e!r}"] += float(coef)
    n = program.numbers
    for kind, names, values in (
        ("row_lo", r, n.row_lo),
        ("row_hi", r, n.row_hi),
        ("x_lo", x, n.x_lo),
        ("x_hi", x, n.x_hi),
    ):
        found |= {(kind, name): float(v) for name, v in zip(names, values, strict=True)}
    return dict(found)


def largest_difference(a: Program, b: Program) -> tuple[float, tuple[str, ...]]:
    """Largest relative difference of any coefficient or bound (of 1e-6 where it is smaller), and where."""
    left, right = coefficients(a), coefficients(b)
    worst: tuple[float, tuple[str, ...]] = (0.0, ())
    for key in left.keys() | right.keys():
        x, y = left.get(key, 0.0), right.get(key, 0.0)
        gap = 0.0 if x == y else abs(x - y) / max(abs(x), abs(y), 1e-6)
        worst = max(worst, (gap, key))
    return worst
