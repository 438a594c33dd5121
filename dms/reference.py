"""(2) as Pyomo text: the oracle of the tests, and a model to read, extend and solve.

The same equations as `dms/devices/` (`dms.reference_laws`) and `dms/limits.py`, said again scalar by
scalar in per unit, from the feeder's tables and without the builder. `to_program` reads any quadratic Pyomo
model back into a `Program`, so that the two are compared coefficient by coefficient, and so
that Ipopt solves it through our derivatives (no ASL library is needed).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from dms.controls import Controls, ControlValues
from dms.devices import check_supported
from dms.limits import Limits, LimitValues
from dms.problem import ALPHA, PEAK_TOL, DmsProblem
from dms.problem import compile as compile_problem
from dms.program import Program
from dms.pyomo_program import coefficients, largest_difference, to_program
from dms.reference_inverters import q_cost
from dms.reference_laws import LAWS, Into, add_rows
from dms.reference_limits import limits_text
from dms.request import CurtailUnit, Units
from dms.weights import resolve
from feeders import Connections, Feeder
from feeders.table import Array

__all__ = [
    "build_model",
    "coefficients",
    "compile",
    "largest_difference",
    "load_values",
    "to_program",
]

if TYPE_CHECKING:
    import pyomo.environ as pyo

Extend = Callable[["pyo.ConcreteModel"], None]
"""A user's own additions: gets the finished model, adds linear or quadratic constraints."""


def build_model(
    feeder: Feeder,
    *,
    norm: str = "l2",
    limits: Limits | None = None,
    weights: Mapping[str, float] | None = None,
    curtail_unit: CurtailUnit = "prosumer",
    controls: Controls | None = None,
    alpha: float = ALPHA,
) -> pyo.ConcreteModel:
    """(2) for one feeder; tick numbers stand at zero and are set by `DmsProblem.at`.

    Variables and constraints carry the names of the `Program`: `v_re[bus.1]`, `ohm_line_re[l.1]`.
    Raises  NotImplementedError  a transformer with more than two windings
    """
    import pyomo.environ as pyo

    m = pyo.ConcreteModel(name=f"ANOCA DMS, {feeder.name}")
    m.injected = defaultdict(list)  # node -> [(re, im)] posted to Kirchhoff's law
    check_supported(feeder)
    units = Units.of(feeder[Connections], curtail_unit)
    nodes = list(feeder.node_names[1:])
    m.v_re, m.v_im = pyo.Var(nodes, initialize=0.0), pyo.Var(nodes, initialize=0.0)
    into = Into(ControlValues.resolve(feeder, controls or Controls()))
    if len(into.controls):
        _controls(m, feeder, into.controls)
    for part in LAWS:
        part(m, feeder, units, into)
    _kcl(m, feeder)
    values = LimitValues.resolve(feeder, limits or Limits())
    limits_text(m, feeder, values, into)
    w = resolve(feeder[Connections], units, weights or {})
    _norm(m, norm, dict(zip(units.name, w.tolist(), strict=True)), alpha)
    return m


def compile(
    feeder: Feeder,
    *,
    norm: str = "l2",
    limits: Limits | None = None,
    weights: Mapping[str, float] | None = None,
    curtail_unit: CurtailUnit = "prosumer",
    controls: Controls | None = None,
    peak_tol: float = PEAK_TOL,
    alpha: float = ALPHA,
    extend: Extend | None = None,
) -> DmsProblem:
    """As `dms.compile`, with the structure read from the Pyomo text and the user's own additions.

    extend  called with the finished model; may add linear or quadratic constraints and variables,
            under names of their own. Every tick is then optimised: the go-ahead, the fallbacks and
            the certificate know the network's limits only
    Raises  as `dms.compile` and `to_program`
    """
    given: dict[str, Any] = {"norm": norm, "limits": limits, "weights": weights, "curtail_unit": curtail_unit}
    given |= {"controls": controls, "alpha": alpha}
    problem = compile_problem(feeder, **given, peak_tol=peak_tol)
    model = build_model(feeder, **given)
    if extend is not None:
        extend(model)
    own = problem.program
    program = to_program(model, like=own)
    added = [n for n in (*program.variables, *program.rows) if n not in {*own.variables, *own.rows}]
    return replace(problem, program=program, added=tuple(added))


def load_values(model: pyo.ConcreteModel, program: Program, x: Array) -> None:
    """Put a point of `to_program(model)` back into the model's variables."""
    for name, block in program.variables.items():
        for data, value in zip(model.find_component(name).values(), x[block.span], strict=True):
            data.set_value(float(value), skip_validation=True)


def _controls(m: pyo.ConcreteModel, feeder: Feeder, values: ControlValues) -> None:
    """(2k): positions between their bounds, and the steps they move."""
    import pyomo.environ as pyo

    names = list(values.name)
    bounds = {n: (float(lo), float(hi)) for n, lo, hi in zip(names, values.lo, values.hi, strict=True)}
    present = dict(zip(names, values.present(feeder).tolist(), strict=True))
    m.position = pyo.Var(names, bounds=lambda _, n: bounds[n], initialize=present)
    m.moved = pyo.Var(names, bounds=(0, None), initialize=0.0)
    step = dict(zip(names, values.step, strict=True))
    add_rows(m, "moved_up", {n: m.moved[n] - m.position[n] / step[n] >= 0 for n in names})
    add_rows(m, "moved_down", {n: m.moved[n] + m.position[n] / step[n] >= 0 for n in names})


def _kcl(m: pyo.ConcreteModel, feeder: Feeder) -> None:
    """(2b)-(2e): posted currents sum to zero at every node."""
    names = feeder.node_names
    posted = {node: m.injected[node] for node in range(1, len(names))}
    add_rows(m, "kcl_re", {names[n]: sum(re for re, _ in terms) == 0 for n, terms in posted.items()})
    add_rows(m, "kcl_im", {names[n]: sum(im for _, im in terms) == 0 for n, terms in posted.items()})
    del m.injected


def _norm(m: pyo.ConcreteModel, norm: str, w: dict[str, float], alpha: float) -> None:
    """(2a) by (4), (5) or (6), in two stages, or by a rule of fairness.

    A further stage is the objective `cost_2`, not active; `held` names the block of variables that it keeps
    near what the first stage found.
    """
    import pyomo.environ as pyo

    costs: dict[str, Any] = {
        "l1": sum(w[u] * m.p_curtail[u] for u in w),
        "l2": sum((w[u] * m.p_curtail[u]) ** 2 for u in w),
    }
    first, _, second = norm.partition("_") if norm.startswith("linf") else (norm, "", "")
    if first == "linf":
        m.peak = pyo.Var(["r"], bounds=(0, None), initialize=0.0)
        add_rows(m, "peak_above", {u: m.peak["r"] - w[u] * m.p_curtail[u] >= 0 for u in w})
        costs["linf"] = m.peak["r"]
    elif first == "proportional":
        m.share = pyo.Var(["s"], bounds=(0, 1), initialize=0.0)
        m.asked = pyo.Var(list(w), bounds=(0.0, 0.0), initialize=0.0)
        add_rows(m, "same_share", {u: m.p_curtail[u] - m.share["s"] * m.asked[u] == 0 for u in w})
        costs["proportional"] = m.share["s"]
    elif first == "alpha_fair":
        costs["alpha_fair"] = costs["l1"] if alpha == 0 else _lost_utility(m, w, alpha)
    if first not in costs or second not in ("", "l1", "l2"):
        raise KeyError(f"norm {norm!r} is not in the Pyomo text")
    m.cost = pyo.Objective(expr=costs[first] + _trifles(m, first))
    m.held = {}
    if second:
        m.cost_2 = pyo.Objective(expr=costs[second] + _trifles(m, second))
        m.cost_2.deactivate()
        m.held = {"cost_2": "peak"}


def _lost_utility(m: pyo.ConcreteModel, w: dict[str, float], alpha: float) -> Any:
    """Weighted sum of the losses of utility of kept exports, in units of 10 kW."""
    import pyomo.environ as pyo

    m.kept = pyo.Var(list(w), bounds=(1e-3, None), initialize=1.0)
    m.loss = pyo.Var(list(w), initialize=0.0)

    def utility(y: Any) -> Any:
        return pyo.log(y) if alpha == 1 else y ** (1 - alpha) / (1 - alpha)

    add_rows(m, "kept_rest", {u: 0.01 * m.kept[u] + m.p_curtail[u] == 0 for u in w})
    add_rows(m, "utility", {u: m.loss[u] + utility(m.kept[u]) >= 0 for u in w})
    return sum(w[u] * m.loss[u] for u in w)


def _trifles(m: pyo.ConcreteModel, norm: str) -> Any:
    """A trifle for every step moved, and for free reactive power Q^2 / S."""
    cost: Any = q_cost(m, 1e-10 if norm == "l2" else 1e-6)
    return cost + (1e-10 if norm == "l2" else 1e-7) * sum(m.moved.values()) if hasattr(m, "moved") else cost
