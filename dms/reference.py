"""(2) as Pyomo text: the oracle of the tests, and a model to read, extend and solve.

The same equations as `dms/devices/` and `dms/limits.py`, said again scalar by scalar in per
unit, from the feeder's tables and without the builder. `to_program` reads any quadratic Pyomo
model back into a `Program`, so that the two are compared coefficient by coefficient, and so
that Ipopt solves it through our derivatives (no ASL library is needed).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from dms.devices import check_supported
from dms.limits import Limits, LimitValues
from dms.problem import DmsProblem
from dms.problem import compile as compile_problem
from dms.program import Program
from dms.pyomo_program import coefficients, largest_difference, to_program
from dms.request import CurtailUnit, Units
from dms.scaling import S_BASE_VA
from feeders import ABSENT, EARTH, Connections, Feeder, Lines, Loads, Sources, Switches
from feeders.elements import Admittances, Capacitors, Reactors, Transformers, WindingPairs, Windings
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
    into = _Into()
    for part in (_sources, _lines, _switches, _transformers, _shunts, _loads, _prosumers):
        part(m, feeder, units, into)
    _kcl(m, feeder)
    values = LimitValues.resolve(feeder, limits or Limits())
    _limits(m, feeder, values, into)
    _norm(m, norm, {u: float((weights or {}).get(u, 1.0)) for u in units.name})
    return m


def compile(
    feeder: Feeder,
    *,
    norm: str = "l2",
    limits: Limits | None = None,
    weights: Mapping[str, float] | None = None,
    curtail_unit: CurtailUnit = "prosumer",
    extend: Extend | None = None,
) -> DmsProblem:
    """As `dms.compile`, with the structure read from the Pyomo text and the user's own additions.

    extend  called with the finished model; may add linear or quadratic constraints and variables,
            under names of their own. Every tick is then optimised: the go-ahead, the fallbacks and
            the certificate know the network's limits only
    Raises  as `dms.compile` and `to_program`
    """
    problem = compile_problem(feeder, norm=norm, limits=limits, weights=weights, curtail_unit=curtail_unit)
    model = build_model(feeder, norm=norm, limits=limits, weights=weights, curtail_unit=curtail_unit)
    if extend is not None:
        extend(model)
    program, own = to_program(model), problem.program
    added = [n for n in (*program.variables, *program.rows) if n not in {*own.variables, *own.rows}]
    return replace(problem, program=program, added=tuple(added))


def load_values(model: pyo.ConcreteModel, program: Program, x: Array) -> None:
    """Put a point of `to_program(model)` back into the model's variables."""
    for name, block in program.variables.items():
        for data, value in zip(model.find_component(name).values(), x[block.span], strict=True):
            data.set_value(float(value), skip_validation=True)


class _Into(dict[tuple[str, int, int], tuple[Any, Any, float]]):
    """(kind, row, slot) -> current into the terminal (re, im) and its base in ampere."""


def _v(m: pyo.ConcreteModel, feeder: Feeder, node: int) -> tuple[Any, Any]:
    """Voltage of a node to earth, per unit of its own base."""
    if node <= EARTH:
        return 0.0, 0.0
    name = feeder.node_names[node]
    return m.v_re[name], m.v_im[name]


def _currents(m: pyo.ConcreteModel, name: str, labels: list[str]) -> tuple[Any, Any]:
    import pyomo.environ as pyo

    re, im = pyo.Var(labels, initialize=0.0), pyo.Var(labels, initialize=0.0)
    m.add_component(f"{name}_re", re)
    m.add_component(f"{name}_im", im)
    return re, im


def _rows(m: pyo.ConcreteModel, name: str, rows: dict[str, Any]) -> None:
    import pyomo.environ as pyo

    m.add_component(name, pyo.Constraint(list(rows), rule=lambda _, key: rows[key]))


def _z_base(feeder: Feeder, node: int) -> float:
    return float(feeder.v_base_v[node] ** 2 / S_BASE_VA)


def _times(z: complex, re: Any, im: Any) -> tuple[Any, Any]:
    """(a + jb)(re + j im)."""
    return z.real * re - z.imag * im, z.imag * re + z.real * im


def _sources(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: _Into) -> None:
    """v + z i = e."""
    t = feeder[Sources]
    keys = [(r, k, f"{t.name[r]}.{k + 1}") for r in range(len(t)) for k in range(3) if t.node[r, k] != ABSENT]
    i_re, i_im = _currents(m, "i_source", [key for *_, key in keys])
    emf_re, emf_im = {}, {}
    for r, k, key in keys:
        node = t.node[r, k]
        re, im = _v(m, feeder, node)
        for _, j, other in (x for x in keys if x[0] == r):
            drop = _times(t.z_ohm[r, k, j] / _z_base(feeder, node), i_re[other], i_im[other])
            re, im = re + drop[0], im + drop[1]
        e = t.e_v[r, k] / feeder.v_base_v[node]
        emf_re[key], emf_im[key] = re == e.real, im == e.imag
        m.injected[node].append((i_re[key], i_im[key]))
    _rows(m, "emf_source_re", emf_re)
    _rows(m, "emf_source_im", emf_im)


def _lines(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: _Into) -> None:
    """v_from - v_to = z i; into either end: +-i + j omega C / 2 v.

    Every quantity is per unit of the base of its own node; an end at earth has a base of 1 V.
    """
    t, base = feeder[Lines], feeder.v_base_v
    here = (t.from_node != ABSENT) & (t.to_node != ABSENT)
    keys = {(r, k): f"{t.name[r]}.{k + 1}" for r, k in np.argwhere(here)}
    i_re, i_im = _currents(m, "i_line", list(keys.values()))
    ohm_re, ohm_im = {}, {}
    for (r, k), key in keys.items():
        a, b = t.from_node[r, k], t.to_node[r, k]
        (a_re, a_im), (b_re, b_im) = _v(m, feeder, a), _v(m, feeder, b)
        gain = base[b] / base[a]
        re, im = a_re - gain * b_re, a_im - gain * b_im
        ends = {a: [i_re[key], i_im[key]], b: [-gain * i_re[key], -gain * i_im[key]]}
        for j in np.flatnonzero(here[r]):
            other = keys[(r, j)]
            z_pu = t.z_ohm[r, k, j] * S_BASE_VA / (base[a] * base[t.from_node[r, j]])
            drop = _times(z_pu, i_re[other], i_im[other])
            re, im = re - drop[0], im - drop[1]
            y_s = 1j * math.pi * feeder.frequency_hz * t.c_nf[r, k, j] * 1e-9
            for end, mine in ((a, t.from_node[r, j]), (b, t.to_node[r, j])):
                charging = _times(y_s * base[end] * base[mine] / S_BASE_VA, *_v(m, feeder, mine))
                ends[end] = [ends[end][0] + charging[0], ends[end][1] + charging[1]]
        ohm_re[key], ohm_im[key] = re == 0, im == 0
        for end, slot in ((a, k), (b, k + 4)):
            m.injected[end].append((-ends[end][0], -ends[end][1]))
            into["line", int(r), int(slot)] = (*ends[end], S_BASE_VA / feeder.v_base_v[end])
    _rows(m, "ohm_line_re", ohm_re)
    _rows(m, "ohm_line_im", ohm_im)


def _switches(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: _Into) -> None:
    """v_from - v_to = z i on closed poles."""
    t = feeder[Switches]
    if not len(t):
        return
    here = (t.from_node != ABSENT) & (t.to_node != ABSENT) & t.closed[:, None]
    keys = {(r, k): f"{t.name[r]}.{k + 1}" for r, k in np.argwhere(here)}
    i_re, i_im = _currents(m, "i_switch", list(keys.values()))
    ohm_re, ohm_im = {}, {}
    for (r, k), key in keys.items():
        a, b = t.from_node[r, k], t.to_node[r, k]
        (a_re, a_im), (b_re, b_im) = _v(m, feeder, a), _v(m, feeder, b)
        drop = _times(t.z_ohm[r] / _z_base(feeder, a), i_re[key], i_im[key])
        gain = feeder.v_base_v[b] / feeder.v_base_v[a]
        ohm_re[key], ohm_im[key] = a_re - gain * b_re - drop[0] == 0, a_im - gain * b_im - drop[1] == 0
        m.injected[a].append((-i_re[key], -i_im[key]))
        m.injected[b].append((gain * i_re[key], gain * i_im[key]))
        for node, end, slot, sign in ((a, t.from_node[r], k, 1), (b, t.to_node[r], k + 4, -gain)):
            charging = _charging(m, feeder, node, end, t.c_nf[r, k])
            drawn = (sign * i_re[key] + charging[0], sign * i_im[key] + charging[1])
            into["switch", int(r), int(slot)] = (*drawn, S_BASE_VA / feeder.v_base_v[node])
    for r, k in np.argwhere(t.c_nf.any(axis=2)):  # an open pole is still charged
        for end in (t.from_node[r], t.to_node[r]):
            if end[k] > EARTH:
                re, im = _charging(m, feeder, end[k], end, t.c_nf[r, k])
                m.injected[end[k]].append((-re, -im))
    _rows(m, "ohm_switch_re", ohm_re)
    _rows(m, "ohm_switch_im", ohm_im)


def _charging(m: pyo.ConcreteModel, feeder: Feeder, node: int, end: Any, c_nf: Any) -> tuple[Any, Any]:
    """sum_l j omega C_l / 2 v_l over the conductors of one end, per unit at a node."""
    re, im = 0.0, 0.0
    for far, c in zip(end, c_nf, strict=True):
        step = _shunt(m, feeder, node, far, 1j * math.pi * feeder.frequency_hz * float(c) * 1e-9)
        re, im = re + step[0], im + step[1]
    return re, im


def _shunt(m: pyo.ConcreteModel, feeder: Feeder, node: int, far: int, y_s: complex) -> tuple[Any, Any]:
    """Current y v_far, per unit of the base at `node`."""
    if y_s == 0:
        return 0.0, 0.0
    base = feeder.v_base_v[max(node, 0)] * feeder.v_base_v[max(far, 0)] / S_BASE_VA
    return _times(complex(y_s * base), *_v(m, feeder, int(far)))


def _shunts(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: _Into) -> None:
    """Capacitors n y (v_a - v_b), reactors (1/z + g)(v_a - v_b), fixed admittances y v_of at `to`."""
    c, r, y = feeder[Capacitors], feeder[Reactors], feeder[Admittances]
    omega_c = 1j * c.kvar * 1e3 / (c.v_nom_kv * 1e3) ** 2
    pairs = [*zip(c.pair, c.steps_on / (1 / omega_c + c.z_ohm), strict=True)] if len(c) else []
    pairs += [*zip(r.pair, 1 / r.z_ohm + r.g_s, strict=True)]
    entries = [*zip(y.to_node, y.of_node, y.y_s, strict=True)]
    for (a, b), value in pairs:
        entries += [(a, a, value), (a, b, -value), (b, a, -value), (b, b, value)]
    for to, of, value in entries:
        if to > EARTH and of > EARTH:
            re, im = _shunt(m, feeder, int(to), int(of), complex(value))
            m.injected[to].append((-re, -im))


def _transformers(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: _Into) -> None:
    """u_0 - u_1 / a = z j; coil 0 takes j, coil 1 takes -j / a; small shunts at coil ends."""
    t, w, x = feeder[Transformers], feeder[Windings], feeder[WindingPairs]
    if not len(t):
        return
    legs: dict[str, tuple[int, int, int, int]] = {}
    for r in range(len(t)):
        rows = sorted(np.flatnonzero(w.transformer == r), key=lambda k: w.winding[k])
        if len(rows) != 2:
            raise NotImplementedError(f"transformer {t.name[r]}: the Pyomo text covers two windings")
        for leg in range(3):
            if (w.pair[rows, leg] != ABSENT).all():
                legs[f"{t.name[r]}.{leg + 1}"] = (r, int(rows[0]), int(rows[1]), leg)
    j_re, j_im = _currents(m, "i_transformer", list(legs))
    law_re, law_im = {}, {}
    for key, (r, w0, w1, leg) in legs.items():
        n_legs = int((w.pair[w0] != ABSENT).all(axis=1).sum())
        v0, v1 = w.v_coil_kv[w0] * w.tap[w0], w.v_coil_kv[w1] * w.tap[w1]
        x_pct = float(x.x_pct[x.transformer == r][0])
        z_pct = complex(w.r_pct[w0] + w.r_pct[w1], x_pct) / 100
        z_ohm = z_pct * (v0 * 1e3) ** 2 / (t.s_kva[r] * 1e3 / n_legs)
        node0, node1 = int(w.pair[w0, leg].max()), int(w.pair[w1, leg].max())
        first0 = int(w.pair[w0, leg, 0] if w.pair[w0, leg, 0] > EARTH else w.pair[w0, leg, 1])
        gain = feeder.v_base_v[node1] / feeder.v_base_v[node0] * v0 / v1  # base_1 / (a base_0)
        u0, u1 = _across(m, feeder, w.pair[w0, leg]), _across(m, feeder, w.pair[w1, leg])
        drop = _times(z_ohm / _z_base(feeder, first0), j_re[key], j_im[key])
        law_re[key] = u0[0] - gain * u1[0] - drop[0] == 0
        law_im[key] = u0[1] - gain * u1[1] - drop[1] == 0
        for winding, slot, share in ((w0, 0, 1.0), (w1, 6, -gain)):
            a, b = (int(n) for n in w.pair[winding, leg])
            base = S_BASE_VA / feeder.v_base_v[max(a, b)]
            v_tap = w.v_coil_kv[winding] * w.tap[winding] * 1e3
            core = complex(w.core_pct[winding]) / 100 * t.s_kva[r] * 1e3 / n_legs / v_tap**2
            u = _across(m, feeder, (a, b))
            magnetising = _times(core * _z_base(feeder, max(a, b)), *u) if core else (0.0, 0.0)
            for end, sign, side in ((b, -share, -1), (a, share, 1)):
                shunt = _shunt(m, feeder, end, end, complex(w.float_s[winding]))
                drawn = (
                    sign * j_re[key] + side * magnetising[0] + shunt[0],
                    sign * j_im[key] + side * magnetising[1] + shunt[1],
                )
                m.injected[end].append((-drawn[0], -drawn[1]))
            into["transformer", r, slot + 2 * leg] = (*drawn, base)
    _rows(m, "leakage_transformer_re", law_re)
    _rows(m, "leakage_transformer_im", law_im)


def _across(m: pyo.ConcreteModel, feeder: Feeder, pair: Any) -> tuple[Any, Any]:
    (a_re, a_im), (b_re, b_im) = _v(m, feeder, int(pair[0])), _v(m, feeder, int(pair[1]))
    return a_re - b_re, a_im - b_im


def _loads(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: _Into) -> None:
    """u conj(i) = P + jQ, with i through the load."""
    t = feeder[Loads]
    if not len(t):
        return
    i_re, i_im = _currents(m, "i_load", list(t.name))
    p, q = {}, {}
    for name, (a, b) in zip(t.name, t.pair, strict=True):
        u_re, u_im = _across(m, feeder, (a, b))
        p[name] = u_re * i_re[name] + u_im * i_im[name] == 0
        q[name] = u_im * i_re[name] - u_re * i_im[name] == 0
        m.injected[a].append((-i_re[name], -i_im[name]))
        m.injected[b].append((i_re[name], i_im[name]))
    _rows(m, "p_load", p)
    _rows(m, "q_load", q)


def _prosumers(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: _Into) -> None:
    """(2f)-(2i): u conj(i) = P_export - P_C - P_import + jQ."""
    import pyomo.environ as pyo

    t = feeder[Connections]
    if not len(t):
        return
    i_re, i_im = _currents(m, "i_prosumer", list(units.connection_label))
    m.p_curtail = pyo.Var(list(units.name), bounds=(0, None), initialize=0.0)
    p, q = {}, {}
    for k, key in enumerate(units.connection_label):
        a, b = t.pair[k]
        u_re, u_im = _across(m, feeder, (a, b))
        held_back = units.share[k] * m.p_curtail[units.name[units.of_connection[k]]]
        p[key] = u_re * i_re[key] + u_im * i_im[key] + held_back == 0
        q[key] = u_im * i_re[key] - u_re * i_im[key] == 0
        m.injected[a].append((i_re[key], i_im[key]))
        m.injected[b].append((-i_re[key], -i_im[key]))
    _rows(m, "p_prosumer", p)
    _rows(m, "q_prosumer", q)


def _kcl(m: pyo.ConcreteModel, feeder: Feeder) -> None:
    """(2b)-(2e): posted currents sum to zero at every node."""
    names = feeder.node_names
    posted = {node: m.injected[node] for node in range(1, len(names))}
    _rows(m, "kcl_re", {names[n]: sum(re for re, _ in terms) == 0 for n, terms in posted.items()})
    _rows(m, "kcl_im", {names[n]: sum(im for _, im in terms) == 0 for n, terms in posted.items()})
    del m.injected


def _limits(m: pyo.ConcreteModel, feeder: Feeder, values: LimitValues, into: _Into) -> None:
    """(2m) and (2j), ratings scaled to 1."""
    import pyomo.environ as pyo

    band = {}
    for node, low, high in zip(values.node, values.v_min_pu, values.v_max_pu, strict=True):
        re, im = _v(m, feeder, int(node))
        band[feeder.node_names[node]] = pyo.inequality(float(low) ** 2, re**2 + im**2, float(high) ** 2)
    rating = {}
    terminals = zip(values.kind, values.row, values.slot, strict=True)
    for key, i_max, label in zip(terminals, values.i_max_a, values.label, strict=True):
        re, im, base = into[key]
        rating[label] = (re**2 + im**2) * (base / i_max) ** 2 <= 1
    _rows(m, "v_band", band)
    _rows(m, "i_limit", rating)


def _norm(m: pyo.ConcreteModel, norm: str, w: dict[str, float]) -> None:
    """(2a) by (4), (5) or (6)."""
    import pyomo.environ as pyo

    if norm == "l1":
        cost = sum(w[u] * m.p_curtail[u] for u in w)
    elif norm == "l2":
        cost = sum((w[u] * m.p_curtail[u]) ** 2 for u in w)
    elif norm == "linf":
        m.peak = pyo.Var(["r"], bounds=(0, None), initialize=0.0)
        _rows(m, "peak_above", {u: m.peak["r"] - w[u] * m.p_curtail[u] >= 0 for u in w})
        cost = m.peak["r"]
    else:
        raise KeyError(f"norm {norm!r} is not in the Pyomo text")
    m.cost = pyo.Objective(expr=cost)
