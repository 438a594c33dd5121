"""Shunts, capacitors, loads, generators and inverters of a document, as rows."""

from __future__ import annotations

from math import sqrt
from typing import Any

import numpy as np

from feeders.elements import Admittances, Capacitors, Connections, Generators, Loads, Reactors
from feeders.readers.bmopf.case import EARTH, Case, two
from feeders.readers.element import Element
from feeders.readers.rows import buses_of
from feeders.table import Array

CONFIGURATIONS = ("WYE", "DELTA", "SINGLE_PHASE")
MODELS = {
    "CONSTANT_POWER": "constant_power",
    "CONSTANT_CURRENT": "constant_current",
    "CONSTANT_IMPEDANCE": "constant_impedance",
    "ZIP": "zip",
    "EXPONENTIAL": "cvr",
}
SUM_ATOL = 1e-6
ZERO_RTOL = 1e-14
NEAR = 1.25
"""A rated voltage within this factor of the voltage base, or of sqrt 3 times it, is understood."""


def pairs_of(element: Element, nodes: list[str]) -> list[list[str]]:
    """The two-terminal parts of a load, generator or capacitor: to the last terminal, or round the phases.

    Raises  FormatError  a terminal map that does not fit the configuration
    """
    configuration = element.choice("configuration", CONFIGURATIONS)
    n = len(nodes)
    if configuration == "SINGLE_PHASE":
        return [two(element, nodes)]
    if configuration == "WYE":
        if not 2 <= n <= 4:
            raise element.wrong(f"`terminal_map` has {n} terminals; WYE takes its phases and the neutral")
        return [[node, nodes[-1]] for node in nodes[:-1]]
    if n not in (2, 3):
        raise element.wrong(f"`terminal_map` has {n} terminals; DELTA takes two or three phases")
    return [nodes] if n == 2 else [[nodes[k], nodes[(k + 1) % 3]] for k in range(3)]


def labels(name: str, count: int) -> list[str]:
    """One name per part."""
    return [name] if count == 1 else [f"{name}.{k + 1}" for k in range(count)]


def read_loads(case: Case) -> None:
    """Loads, part by part."""
    for element in case.elements("load"):
        pairs = pairs_of(element, case.nodes(element))
        n = len(pairs)
        p, q = element.numbers("p_nom", n), element.numbers("q_nom", n)
        model = element.choice("model", tuple(MODELS), "CONSTANT_POWER")
        laws = _laws(element, model, n)
        needed = model != "CONSTANT_POWER"
        if needed and "v_nom" not in element.fields:
            raise element.wrong("`v_nom` is missing; a load that follows the voltage needs it")
        v = element.numbers("v_nom", n, np.nan, at_least=0.0)
        if needed and not (v > 0).all():
            raise element.wrong("`v_nom` must be above zero")
        if element.fields["configuration"] == "WYE":
            v = across_wye(case, element, "v_nom", v, pairs)
        case.finish(element)
        for k, label in enumerate(labels(element.name, n)):
            if pair := case.pair(element, pairs[k]):
                case.rows.add(
                    Loads,
                    name=label,
                    pair=pair,
                    p_kw=p[k] / 1e3,
                    q_kvar=q[k] / 1e3,
                    model=MODELS[model],
                    v_nom_kv=v[k] / 1e3 if v[k] > 0 else np.nan,
                    **{column: values[k] for column, values in laws.items()},
                )


def _laws(element: Element, model: str, n: int) -> dict[str, Any]:
    """Columns of the voltage law; those of the other models must not be there."""
    if model == "ZIP":
        shares = [element.numbers(f"{a}_{part}", n) for a in ("alpha", "beta") for part in "zip"]
        for name, three in (("alpha", shares[:3]), ("beta", shares[3:])):
            total = np.sum(three, axis=0)
            if np.abs(total - 1).max() > SUM_ATOL:
                raise element.wrong(f"`{name}_z`, `{name}_i`, `{name}_p` sum to {total[0]:g}, not to 1")
        return {"zip": np.transpose(shares).tolist()}
    if model == "EXPONENTIAL":
        return {f"cvr_{part}": element.numbers(f"gamma_{part}", n).tolist() for part in "pq"}
    return {}


def across_wye(case: Case, element: Element, key: str, volt: Array, pairs: list[list[str]]) -> Array:
    """Voltage across the phases of a star, from a field that the schema calls line to line.

    The specification's equations and other programs use the same field as phase to neutral, so the bus's own
    voltage base decides, which is noted.
    Raises  FormatError  it is neither
    """
    if not (volt > 0).any() or not (bus := buses_of([node for pair in pairs for node in pair])):
        return volt
    base = case.base_v(bus[0])
    ratio = volt / base
    if ((ratio > 1 / NEAR) & (ratio < NEAR)).all():
        case.dropped.setdefault(f"{element.kind}.{key} read as phase to neutral", []).append(element.name)
        return volt
    if ((ratio > sqrt(3) / NEAR) & (ratio < sqrt(3) * NEAR)).all():
        case.dropped.setdefault(f"{element.kind}.{key} read as line to line", []).append(element.name)
        return np.asarray(volt / sqrt(3))
    raise element.wrong(f"`{key}` is {volt[0]:g} V; the phase voltage of bus {bus[0]!r} is {base:g} V")


def read_capacitors(case: Case) -> None:
    """Capacitor banks, phase by phase."""
    for element in case.elements("capacitor"):
        pairs = pairs_of(element, case.nodes(element))
        q = element.number("q_rated", at_least=0.0) / 1e3 / len(pairs)
        volt = np.array([element.positive("v_nom")])
        if element.fields["configuration"] == "WYE":
            volt = across_wye(case, element, "v_nom", volt, pairs)
        case.finish(element)
        for label, ends in zip(labels(element.name, len(pairs)), pairs, strict=True):
            if pair := case.pair(element, ends):
                v_nom = float(volt[0]) / 1e3
                case.rows.add(Capacitors, name=label, pair=pair, kvar=q, v_nom_kv=v_nom, bank=element.name)


def read_shunts(case: Case) -> None:
    """Shunt admittance matrices."""
    for element in case.elements("shunt"):
        nodes = case.nodes(element)
        for key in ("G_1_1", "B_1_1"):
            element.number(key)
        y = element.admittance("G", "B", len(nodes))
        case.finish(element)
        add_shunt(case, element.name, nodes, y)


def add_shunt(case: Case, name: str, nodes: list[str], y: Array) -> None:
    """A matrix as what lies between its nodes: capacitors, reactors, or its entries if not symmetric.

    nodes  names, earth where a terminal is earthed      y  (n, n) siemens, against earth
    """
    live = list(dict.fromkeys(node for node in nodes if node != EARTH))
    onto = np.array([[float(node == other) for node in nodes] for other in live]).reshape(-1, len(nodes))
    y = onto @ y @ onto.T
    size = np.abs(y).max(initial=0.0)
    if size == 0:
        case.dropped.setdefault("shunt without admittance", []).append(name)
        return
    if np.abs(y - y.T).max() > ZERO_RTOL * size:
        for i, j in zip(*np.nonzero(y), strict=True):
            case.rows.add(Admittances, element=name, to_node=live[i], of_node=live[j], y_s=complex(y[i, j]))
        return
    n = len(live)
    found = [([live[i], live[j]], -y[i, j]) for i in range(n) for j in range(i + 1, n)]
    found += [([live[i], EARTH], y[i].sum()) for i in range(n)]
    found = [(pair, complex(value)) for pair, value in found if abs(value) > ZERO_RTOL * size]
    for label, (pair, value) in zip(labels(name, len(found)), found, strict=True):
        v_kv = case.base_v(buses_of(pair)[0]) / 1e3
        if value.real == 0 and value.imag > 0:
            kvar = value.imag * v_kv**2 * 1e3
            case.rows.add(Capacitors, name=label, pair=pair, kvar=kvar, v_nom_kv=v_kv, bank=name)
        else:
            case.rows.add(Reactors, name=label, pair=pair, z_ohm=1 / value)


def read_generators(case: Case) -> None:
    """Generators: with one point of operation a generator here, with room to move a connection."""
    free: list[str] = []
    for element in case.elements("generator"):
        pairs = pairs_of(element, case.nodes(element))
        n = len(pairs)
        low, high = (_by_pair(element, f"p_{end}", n) / 1e3 for end in ("min", "max"))
        q_low, q_high = (_by_pair(element, f"q_{end}", n) / 1e3 for end in ("min", "max"))
        s = _by_pair(element, "s_max", n) / 1e3
        case.finish(element, "i_max")
        if (low > high).any() or (q_low > q_high).any():
            raise element.wrong("a lower limit is above the upper one")
        if element.fields["configuration"] == "DELTA" and n > 1 and (np.ptp(high) or np.ptp(q_high)):
            raise element.wrong("a delta of unequal phases: the schema does not say which pair is which")
        fixed = (low == high).all() and (q_low == q_high).all()
        if not fixed:
            free.append(element.name)
            _connections(case, element, pairs, s, high)
            continue
        for k, label in enumerate(labels(element.name, n)):
            if pair := case.pair(element, pairs[k]):
                power = {"p_kw": high[k], "q_kvar": q_high[k]}
                case.rows.add(Generators, name=label, unit=element.name, pair=pair, **power)
    case.audit.note(
        "Connections", "", free, "generators with limits, no set-point: connections, idle in a power flow"
    )


def _by_pair(element: Element, key: str, n: int) -> Array:
    """Figures per pair; between two phases the schema counts both conductors, whose sum it is."""
    if n == 1 and isinstance(listed := element.fields.get(key), list) and len(listed) == 2:
        return np.asarray(element.numbers(key, 2).sum(keepdims=True))
    return element.numbers(key, n, np.nan)


def read_inverters(case: Case) -> None:
    """Inverter-based resources as connections."""
    found = []
    ends = {"SINGLE_PHASE": (2,), "THREE_LEG": (3,), "FOUR_LEG": (4,)}
    for element in case.elements("ibr"):
        nodes = case.nodes(element)
        topology = element.choice("topology", tuple(ends))
        if len(nodes) not in ends[topology]:
            raise element.wrong(
                f"`terminal_map` has {len(nodes)} terminals; {topology} takes {ends[topology][0]}"
            )
        if topology == "THREE_LEG":
            pairs = [[nodes[k], nodes[(k + 1) % 3]] for k in range(3)]
        else:
            pairs = [[node, nodes[-1]] for node in nodes[:-1]]
        n = len(pairs)
        element.get("s_max", list)
        s, high = _by_pair(element, "s_max", n) / 1e3, _by_pair(element, "p_max", n) / 1e3
        if "p_avail" in element.fields:
            available = element.number("p_avail") / 1e3 / n
            high = np.fmin(high, available)
        if "dc_bus" in element.fields:
            raise element.wrong("`dc_bus`: direct current is not read")
        if element.get("grid_forming", bool, False):
            raise element.wrong("`grid_forming`: an inverter that sets the voltage is not read")
        limits = ("i_max", "p_min", "q_min", "q_max", "p_dc_min", "p_dc_max", "dc_link_coupled")
        control = ("prime_mover", "control_profile", "voltage_aggregation", "v_ref_internal")
        filters = ("r_filter", "x_filter", "b_filter_shunt")
        case.finish(element, *limits, *control, *filters)
        found.append(element.name)
        _connections(case, element, pairs, s, high)
    case.audit.note("Connections", "", found, "inverters are connections, idle in a power flow")


def _connections(case: Case, element: Element, pairs: list[list[str]], s_kva: Array, p_kw: Array) -> None:
    kept = [k for k, pair in enumerate(pairs) if case.pair(element, pair)]
    for k in kept:
        case.rows.add(
            Connections,
            prosumer=element.name,
            pair=pairs[k],
            share=1 / len(kept),
            s_inverter_kva=s_kva[k],
            p_pv_max_kw=p_kw[k],
        )
