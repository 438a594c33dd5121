"""The modes of inverters as Pyomo text, scalar by scalar: a part of `dms.reference_laws`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from dms.request import Units
from dms.scaling import KW_PER_PU
from feeders import Connections, Feeder

if TYPE_CHECKING:
    import pyomo.environ as pyo


def add_rows(m: pyo.ConcreteModel, name: str, rows: dict[str, Any]) -> None:
    """A named block of constraints, one per key."""
    import pyomo.environ as pyo

    m.add_component(name, pyo.Constraint(list(rows), rule=lambda _, key: rows[key]))


def add_inverters(
    m: pyo.ConcreteModel, feeder: Feeder, units: Units, across: dict[str, Any], held_back: dict[str, Any]
) -> dict[str, Any]:
    """Q = S (a + b w) by a curve, free, or (Q / P) P; P^2 + Q^2 <= S^2; P <= S (a + b w).

    across, held_back  voltage (re, im) across and share of the curtailment at every connection
    Returns            what the modes add to the rows `q_prosumer`, by connection
    """
    t = feeder[Connections]
    rows = dict(zip(units.connection_label, range(len(t)), strict=True))
    m.rating_pu = s_pu = {key: float(t.s_inverter_kva[k]) / KW_PER_PU for key, k in rows.items()}
    watt = [key for key, k in rows.items() if not math.isnan(t.volt_watt[k, 0, 0])]
    var = [key for key, k in rows.items() if t.q_mode[k] == "volt_var"]
    free = [key for key, k in rows.items() if t.q_mode[k] == "free"]
    _voltages(m, feeder, {key: k for key, k in rows.items() if key in {*var, *watt}}, across)
    own = {}
    for key, k in rows.items():
        if t.q_mode[k] == "power_factor":
            pf = float(t.power_factor[k])
            own[key] = math.copysign(math.tan(math.acos(abs(pf))), pf) * held_back[key]
    q = _reactive(m, s_pu, var, free)
    own |= {key: -value for key, value in q.items()}
    _circle(m, s_pu, [key for key in rows if key in q], q, held_back)
    if watt:
        slope = _figures(m, "slope_p_prosumer", watt)
        cap = {key: held_back[key] / s_pu[key] + slope[key] * m.w_prosumer[key] for key in watt}
        add_rows(m, "volt_watt", {key: value >= 0 for key, value in cap.items()})
    return own


def _figures(m: pyo.ConcreteModel, name: str, keys: list[str]) -> Any:
    """Figures of the tick."""
    import pyomo.environ as pyo

    figures = pyo.Var(keys, bounds=(0.0, 0.0), initialize=0.0)
    m.add_component(name, figures)
    return figures


def _voltages(m: pyo.ConcreteModel, feeder: Feeder, rows: dict[str, int], across: dict[str, Any]) -> None:
    """w = |u| / v_nom, and where it may lie."""
    import pyomo.environ as pyo

    t = feeder[Connections]
    if not rows:
        return
    m.w_prosumer = pyo.Var(list(rows), bounds=(0.01, None), initialize=1.0)
    m.m_prosumer = pyo.Var(list(rows), initialize=1.0)
    square = {}
    for key, k in rows.items():
        gain = (feeder.v_base_v[max(t.pair[k])] / (t.v_nom_kv[k] * 1e3)) ** 2
        re, im = across[key]
        square[key] = (re**2 + im**2) * gain - m.m_prosumer[key] == 0
    add_rows(m, "square_prosumer", square)
    add_rows(m, "root_prosumer", {key: m.w_prosumer[key] ** 2 - m.m_prosumer[key] == 0 for key in rows})
    add_rows(m, "piece_prosumer", {key: (0.01, m.w_prosumer[key], 10.0) for key in rows})


def _reactive(
    m: pyo.ConcreteModel, s_pu: dict[str, float], var: list[str], free: list[str]
) -> dict[str, Any]:
    """Q of the curves and of the free inverters, by connection."""
    import pyomo.environ as pyo

    q: dict[str, Any] = {}
    if var:
        m.q_inverter = pyo.Var(var, initialize=0.0)
        slope = _figures(m, "slope_q_prosumer", var)
        law = {key: m.q_inverter[key] / s_pu[key] - slope[key] * m.w_prosumer[key] == 0 for key in var}
        add_rows(m, "volt_var", law)
        q |= {key: m.q_inverter[key] for key in var}
    if free:
        m.q_free = pyo.Var(free, bounds=lambda _, key: (-s_pu[key], s_pu[key]), initialize=0.0)
        q |= {key: m.q_free[key] for key in free}
    return q


def _circle(
    m: pyo.ConcreteModel,
    s_pu: dict[str, float],
    keys: list[str],
    q: dict[str, Any],
    held_back: dict[str, Any],
) -> None:
    import pyomo.environ as pyo

    if not keys:
        return
    m.p_inverter = pyo.Var(keys, initialize=0.0)
    add_rows(m, "export_prosumer", {key: m.p_inverter[key] + held_back[key] == 0 for key in keys})
    circle = {key: (m.p_inverter[key] ** 2 + q[key] ** 2) / s_pu[key] ** 2 <= 1 for key in keys}
    add_rows(m, "s_prosumer", circle)


def q_cost(m: pyo.ConcreteModel, trifle: float) -> Any:
    """A trifle times Q^2 / S on every free reactive power; `rating_pu` of the model has S."""
    free = getattr(m, "q_free", {})
    return sum(trifle * q**2 / float(m.rating_pu[key]) for key, q in free.items())
