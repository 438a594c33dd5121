"""The laws of (2) as Pyomo text, scalar by scalar: the devices' part of `dms.reference`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from dms.controls import ControlValues
from dms.reference_inverters import add_inverters
from dms.reference_inverters import add_rows as add_rows
from dms.request import Units
from dms.scaling import S_BASE_VA
from feeders import ABSENT, EARTH, Connections, Feeder, Generators, Lines, Loads, Sources, Switches
from feeders.elements import Admittances, Capacitors, Reactors, Transformers, WindingPairs, Windings
from feeders.elements.loads import voltage_dependent

if TYPE_CHECKING:
    import pyomo.environ as pyo


class Into(dict[tuple[str, int, int], tuple[Any, Any, float]]):
    """(kind, row, slot) -> current into the terminal (re, im) and its base in ampere.

    controls  what may be moved      turns  rows of free taps, by winding and part
    across    voltage across the coil that begins at a terminal, per unit
    """

    def __init__(self, controls: ControlValues) -> None:
        super().__init__()
        self.controls = controls
        self.turns: dict[tuple[int, str], dict[str, Any]] = {}
        self.across: dict[tuple[str, int, int], tuple[Any, Any]] = {}


def voltage(m: pyo.ConcreteModel, feeder: Feeder, node: int) -> tuple[Any, Any]:
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


def _z_base(feeder: Feeder, node: int) -> float:
    return float(feeder.v_base_v[node] ** 2 / S_BASE_VA)


def _times(z: complex, re: Any, im: Any) -> tuple[Any, Any]:
    """(a + jb)(re + j im)."""
    return z.real * re - z.imag * im, z.imag * re + z.real * im


def sources(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: Into) -> None:
    """v + z i = e."""
    t = feeder[Sources]
    keys = [(r, k, f"{t.name[r]}.{k + 1}") for r in range(len(t)) for k in range(3) if t.node[r, k] != ABSENT]
    i_re, i_im = _currents(m, "i_source", [key for *_, key in keys])
    emf_re, emf_im = {}, {}
    for r, k, key in keys:
        node = t.node[r, k]
        re, im = voltage(m, feeder, node)
        for _, j, other in (x for x in keys if x[0] == r):
            drop = _times(t.z_ohm[r, k, j] / _z_base(feeder, node), i_re[other], i_im[other])
            re, im = re + drop[0], im + drop[1]
        e = t.e_v[r, k] / feeder.v_base_v[node]
        emf_re[key], emf_im[key] = re == e.real, im == e.imag
        m.injected[node].append((i_re[key], i_im[key]))
        into["source", r, k] = (-i_re[key], -i_im[key], S_BASE_VA / feeder.v_base_v[node])
    add_rows(m, "emf_source_re", emf_re)
    add_rows(m, "emf_source_im", emf_im)


def lines(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: Into) -> None:
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
        (a_re, a_im), (b_re, b_im) = voltage(m, feeder, a), voltage(m, feeder, b)
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
                charging = _times(y_s * base[end] * base[mine] / S_BASE_VA, *voltage(m, feeder, mine))
                ends[end] = [ends[end][0] + charging[0], ends[end][1] + charging[1]]
        ohm_re[key], ohm_im[key] = re == 0, im == 0
        for end, slot in ((a, k), (b, k + 4)):
            m.injected[end].append((-ends[end][0], -ends[end][1]))
            into["line", int(r), int(slot)] = (*ends[end], S_BASE_VA / feeder.v_base_v[end])
    add_rows(m, "ohm_line_re", ohm_re)
    add_rows(m, "ohm_line_im", ohm_im)


def switches(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: Into) -> None:
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
        (a_re, a_im), (b_re, b_im) = voltage(m, feeder, a), voltage(m, feeder, b)
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
    add_rows(m, "ohm_switch_re", ohm_re)
    add_rows(m, "ohm_switch_im", ohm_im)


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
    return _times(complex(y_s * base), *voltage(m, feeder, int(far)))


def shunts(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: Into) -> None:
    """Capacitors n y (v_a - v_b), reactors (1/z + g)(v_a - v_b), fixed admittances y v_of at `to`."""
    c, r, y = feeder[Capacitors], feeder[Reactors], feeder[Admittances]
    y_step = 1 / (1 / (1j * c.kvar * 1e3 / (c.v_nom_kv * 1e3) ** 2) + c.z_ohm) if len(c) else np.zeros(0)
    fixed = np.flatnonzero(into.controls.of_capacitor < 0)
    pairs = [*zip(c.pair[fixed], c.steps_on[fixed] * y_step[fixed], strict=True)]
    _switched_capacitors(m, feeder, into, y_step)
    pairs += [*zip(r.pair, 1 / r.z_ohm + r.g_s, strict=True)]
    entries = [*zip(y.to_node, y.of_node, y.y_s, strict=True)]
    for (a, b), value in pairs:
        entries += [(a, a, value), (a, b, -value), (b, a, -value), (b, b, value)]
    for to, of, value in entries:
        if to > EARTH and of > EARTH:
            re, im = _shunt(m, feeder, int(to), int(of), complex(value))
            m.injected[to].append((-re, -im))


def _switched_capacitors(m: pyo.ConcreteModel, feeder: Feeder, into: Into, y_step: Any) -> None:
    """i = n y (v_a - v_b) with the number of steps n free."""
    c, of = feeder[Capacitors], into.controls.of_capacitor
    free = np.flatnonzero(of >= 0)
    if not len(free):
        return
    i_re, i_im = _currents(m, "i_capacitor", list(c.name[free]))
    law_re, law_im = {}, {}
    for k in free:
        a, b = (int(n) for n in c.pair[k])
        one = _times(complex(y_step[k] * _z_base(feeder, max(a, b))), *_across(m, feeder, (a, b)))
        n, name = m.position[into.controls.name[of[k]]], c.name[k]
        law_re[name], law_im[name] = n * one[0] - i_re[name] == 0, n * one[1] - i_im[name] == 0
        m.injected[a].append((-i_re[name], -i_im[name]))
        m.injected[b].append((i_re[name], i_im[name]))
    add_rows(m, "steps_capacitor_re", law_re)
    add_rows(m, "steps_capacitor_im", law_im)


def transformers(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: Into) -> None:
    """e_0 - e_1 / a = z j; coil 0 draws j, coil 1 -j / a, with their core; small shunts at coil ends.

    e = u where the tap is fixed; else u = tau e and tau i = the current so found.
    """
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
    tap = np.where(into.controls.of_winding >= 0, 1.0, w.tap)
    j_re, j_im = _currents(m, "i_transformer", list(legs))
    seen = [_taps(m, feeder, into, legs, number) for number in (0, 1)]
    law_re, law_im = {}, {}
    for key, (r, w0, w1, leg) in legs.items():
        n_legs = int((w.pair[w0] != ABSENT).all(axis=1).sum())
        v0, v1 = w.v_coil_kv[w0] * tap[w0], w.v_coil_kv[w1] * tap[w1]
        x_pct = float(x.x_pct[x.transformer == r][0])
        z_pct = complex(w.r_pct[w0] + w.r_pct[w1], x_pct) / 100
        z_ohm = z_pct * (v0 * 1e3) ** 2 / (t.s_kva[r] * 1e3 / n_legs)
        node0, node1 = int(w.pair[w0, leg].max()), int(w.pair[w1, leg].max())
        first0 = int(w.pair[w0, leg, 0] if w.pair[w0, leg, 0] > EARTH else w.pair[w0, leg, 1])
        gain = feeder.v_base_v[node1] / feeder.v_base_v[node0] * v0 / v1  # base_1 / (a base_0)
        e0, e1 = seen[0][key], seen[1][key]
        drop = _times(z_ohm / _z_base(feeder, first0), j_re[key], j_im[key])
        law_re[key] = e0[0] - gain * e1[0] - drop[0] == 0
        law_im[key] = e0[1] - gain * e1[1] - drop[1] == 0
        for number, winding, share in ((0, w0, 1.0), (1, w1, -gain)):
            node = max(int(n) for n in w.pair[winding, leg])
            v_tap = w.v_coil_kv[winding] * tap[winding] * 1e3
            core = complex(w.core_pct[winding]) / 100 * t.s_kva[r] * 1e3 / n_legs / v_tap**2
            e = seen[number][key]
            magnetising = _times(core * _z_base(feeder, node), *e) if core else (0.0, 0.0)
            coil = share * j_re[key] + magnetising[0], share * j_im[key] + magnetising[1]
            coil = _behind(m, into, number, f"{t.name[r]} winding {number}.{leg + 1}", winding, coil)
            _post_coil(m, feeder, into, (r, number, winding, leg), coil)
    add_rows(m, "leakage_transformer_re", law_re)
    add_rows(m, "leakage_transformer_im", law_im)
    for number in (0, 1):
        for part in ("re", "im"):
            if rows_of := into.turns.get((number, part)):
                add_rows(m, f"turns_tap_{number}_{part}", rows_of)


def _taps(m: pyo.ConcreteModel, feeder: Feeder, into: Into, legs: dict[str, Any], number: int) -> Any:
    """Voltage behind the tap of winding 0 or 1, by leg; its variables and laws where the tap is free."""
    t, w = feeder[Transformers], feeder[Windings]
    seen, free = {}, {}
    for key, (r, *rows, leg) in legs.items():
        winding = rows[number]
        seen[key] = _across(m, feeder, w.pair[winding, leg])
        if into.controls.of_winding[winding] >= 0:
            free[key] = f"{t.name[r]} winding {number}.{leg + 1}", _position(m, into, winding)
    if free:
        labels = [label for label, _ in free.values()]
        e_re, e_im = _currents(m, f"e_tap_{number}", labels)
        ratio_re, ratio_im = {}, {}
        for key, (label, tau) in free.items():
            ratio_re[label] = seen[key][0] - tau * e_re[label] == 0
            ratio_im[label] = seen[key][1] - tau * e_im[label] == 0
            seen[key] = e_re[label], e_im[label]
        add_rows(m, f"ratio_tap_{number}_re", ratio_re)
        add_rows(m, f"ratio_tap_{number}_im", ratio_im)
        _currents(m, f"i_tap_{number}", labels)
    return seen


def _position(m: pyo.ConcreteModel, into: Into, winding: int) -> Any:
    return m.position[into.controls.name[into.controls.of_winding[winding]]]


def _behind(m: pyo.ConcreteModel, into: Into, number: int, label: str, winding: int, coil: Any) -> Any:
    """tau i = j: the current in front of a free tap, `coil` itself behind a fixed one."""
    if into.controls.of_winding[winding] < 0:
        return coil
    tau = _position(m, into, winding)
    i = [m.find_component(f"i_tap_{number}_{part}")[label] for part in ("re", "im")]
    for part, mine, behind in zip(("re", "im"), i, coil, strict=True):
        into.turns.setdefault((number, part), {})[label] = behind - tau * mine == 0
    return tuple(i)


def _post_coil(
    m: pyo.ConcreteModel, feeder: Feeder, into: Into, place: tuple[int, int, int, int], coil: Any
) -> None:
    """Coil current out of one end and into the other, and the small shunt at both ends."""
    r, number, winding, leg = place
    w = feeder[Windings]
    a, b = (int(n) for n in w.pair[winding, leg])
    base = S_BASE_VA / feeder.v_base_v[max(a, b)]
    for end, sign in ((b, -1), (a, 1)):
        shunt = _shunt(m, feeder, end, end, complex(w.float_s[winding]))
        drawn = (sign * coil[0] + shunt[0], sign * coil[1] + shunt[1])
        m.injected[end].append((-drawn[0], -drawn[1]))
    into["transformer", r, 6 * number + 2 * leg] = (*drawn, base)
    into.across["transformer", r, 6 * number + 2 * leg] = _across(m, feeder, (a, b))


def _across(m: pyo.ConcreteModel, feeder: Feeder, pair: Any) -> tuple[Any, Any]:
    (a_re, a_im), (b_re, b_im) = voltage(m, feeder, int(pair[0])), voltage(m, feeder, int(pair[1]))
    return a_re - b_re, a_im - b_im


def loads(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: Into) -> None:
    """u conj(i) = P + jQ by the load's law, with i through the load."""
    t = feeder[Loads]
    cvr = t.model == "cvr"
    exponents = {"p": np.where(cvr, t.cvr_p, 0.0), "q": np.where(cvr, t.cvr_q, 0.0)}
    if len(t):
        _follow(m, feeder, "load", t, exponents, voltage_dependent(t) & (t.v_nom_kv > 0), -1)


def generators(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: Into) -> None:
    """u conj(i) = P + jQ by the generator's law, with i fed in."""
    t = feeder[Generators]
    moves = (t.model != "constant_power") | (t.v_min_pu > 0) | (t.v_max_pu < np.inf)
    if len(t):
        none = np.zeros(len(t))
        _follow(m, feeder, "generator", t, {"p": none, "q": none}, moves & (t.v_nom_kv > 0), 1)


def _follow(
    m: pyo.ConcreteModel,
    feeder: Feeder,
    what: str,
    t: Loads | Generators,
    exponents: dict[str, Any],
    follows: Any,
    sign: int,
) -> None:
    """P = a + b w + c w^2 + d y with w = |u| / v_nom and y = w^k; a to d are figures of the tick."""
    import pyomo.environ as pyo

    i_re, i_im = _currents(m, f"i_{what}", list(t.name))
    with_w = list(t.name[follows])
    if with_w:
        m.add_component(f"w_{what}", pyo.Var(with_w, bounds=(0.01, None), initialize=1.0))
        m.add_component(f"m_{what}", pyo.Var(with_w, initialize=1.0))
    square, root, power = {}, {}, {}
    for k, (name, (a, b)) in enumerate(zip(t.name, t.pair, strict=True)):
        u_re, u_im = _across(m, feeder, (a, b))
        m.injected[a].append((sign * i_re[name], sign * i_im[name]))
        m.injected[b].append((-sign * i_re[name], -sign * i_im[name]))
        power["p", name] = u_re * i_re[name] + u_im * i_im[name]
        power["q", name] = u_im * i_re[name] - u_re * i_im[name]
        if follows[k]:
            gain = (feeder.v_base_v[max(a, b)] / (t.v_nom_kv[k] * 1e3)) ** 2
            w, squared = (m.find_component(f"{x}_{what}")[name] for x in "wm")
            square[name] = (u_re**2 + u_im**2) * gain - squared == 0
            root[name] = w**2 - squared == 0
    if with_w:
        add_rows(m, f"square_{what}", square)
        add_rows(m, f"root_{what}", root)
    for part in "pq":
        names = {"b": with_w, "c": with_w}
        k = exponents[part]
        names["d"] = list(t.name[follows & (k != 0) & (k != 1) & (k != 2)])
        if names["d"]:
            m.add_component(f"y_{part}_{what}", pyo.Var(names["d"], initialize=1.0))
            y, e = m.find_component(f"y_{part}_{what}"), dict(zip(t.name, k, strict=True))
            w = m.find_component(f"w_{what}")
            add_rows(m, f"power_{part}_{what}", {n: y[n] - w[n] ** float(e[n]) == 0 for n in names["d"]})
        for letter, variable in (("b", "w"), ("c", "m"), ("d", f"y_{part}")):
            if names[letter]:
                given = pyo.Var(names[letter], bounds=(0.0, 0.0), initialize=0.0)
                m.add_component(f"{letter}_{part}_{what}", given)
                x = m.find_component(f"{variable}_{what}")
                for n in names[letter]:
                    power[part, n] = power[part, n] - given[n] * x[n]
    for part in "pq":
        add_rows(m, f"{part}_{what}", {n: power[part, n] == 0 for n in t.name})


def prosumers(m: pyo.ConcreteModel, feeder: Feeder, units: Units, into: Into) -> None:
    """(2f)-(2i): u conj(i) = P_export - P_C - P_import + jQ."""
    import pyomo.environ as pyo

    t = feeder[Connections]
    if not len(t):
        return
    i_re, i_im = _currents(m, "i_prosumer", list(units.connection_label))
    m.p_curtail = pyo.Var(list(units.name), bounds=(0, None), initialize=0.0)
    across = {key: _across(m, feeder, pair) for key, pair in zip(units.connection_label, t.pair, strict=True)}
    held_back = {
        key: units.share[k] * m.p_curtail[units.name[units.of_connection[k]]]
        for k, key in enumerate(units.connection_label)
    }
    own = add_inverters(m, feeder, units, across, held_back)
    p, q = {}, {}
    for k, key in enumerate(units.connection_label):
        a, b = t.pair[k]
        u_re, u_im = across[key]
        p[key] = u_re * i_re[key] + u_im * i_im[key] + held_back[key] == 0
        q[key] = u_im * i_re[key] - u_re * i_im[key] + own.get(key, 0.0) == 0
        m.injected[a].append((i_re[key], i_im[key]))
        m.injected[b].append((-i_re[key], -i_im[key]))
    add_rows(m, "p_prosumer", p)
    add_rows(m, "q_prosumer", q)


LAWS = (sources, lines, switches, transformers, shunts, loads, generators, prosumers)
"""All of them, each a function of (model, feeder, units, into) that posts its currents to `injected`."""
