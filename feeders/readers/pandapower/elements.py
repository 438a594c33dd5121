"""Buses, external grids, lines, switches, shunts, loads and generators of a pandapower network."""

from __future__ import annotations

import json
from math import sqrt
from typing import Any

import numpy as np

from feeders.elements import Capacitors, Generators, Lines, Loads, Reactors, Sources, Switches
from feeders.elements.sources import balanced_emf_v
from feeders.readers.element import Element
from feeders.readers.pandapower.frames import Net, around, to_earth
from feeders.table import ABSENT, Array

VOLTAGE_FACTOR = 1.1
"""c of IEC 60909, with which pandapower turns short-circuit power into an impedance."""
SWITCH_ANGLE = complex(2, 1) / sqrt(5)
"""Direction of the impedance of a switch: pandapower's default ratio R/X is 2."""
MOST_STEPS = 10**6
SWITCH_TYPES = ("b", "l", "t", "t3")
PHASES = ("a", "b", "c")


def add_buses(net: Net) -> None:
    """Buses in service that a path of elements in service joins to an external grid."""
    seen: dict[int, Element] = {}
    for element in net.elements("bus"):
        net.vn_kv[int(element.name)] = element.positive("vn_kv")
        seen[int(element.name)] = element
    out = {int(row["index"]) for row in net.tables["bus"]} - set(seen)
    net.vn_kv |= {k: np.nan for k in out}
    live = _supplied(net, set(seen))
    for index, element in seen.items():
        if index not in live:
            net.note("bus: without supply, left out", element)
            continue
        name = net.name(element, "bus")
        x, y = _place(element)
        net.draft.add_bus(name, v_base_kv=net.vn_kv[index] / sqrt(3), x=x, y=y)
        net.bus[index] = name
        net.phases(index)


def _place(element: Element) -> tuple[float, float]:
    """Coordinates from the bus's GeoJSON point, if it has one."""
    try:
        x, y = json.loads(element.fields["geo"])["coordinates"][:2]
        return float(x), float(y)
    except (KeyError, TypeError, ValueError):
        return np.nan, np.nan


def _supplied(net: Net, buses: set[int]) -> set[int]:
    """Buses in service with a path to an external grid."""
    near: dict[int, list[int]] = {bus: [] for bus in buses}
    opened = {
        (s.get("et", str), s.get("element", int)) for s in net.elements("switch") if not s.get("closed", bool)
    }
    joints = [(e, "from_bus", "to_bus", "l") for e in net.elements("line")]
    joints += [(e, "hv_bus", "lv_bus", "t") for e in net.elements("trafo")]
    joints += [
        (e, "bus", "element", "")
        for e in net.elements("switch")
        if e.get("et", str) == "b" and e.get("closed", bool)
    ]
    for element, a, b, kind in joints:
        ends = net.bus_of(element, a), net.bus_of(element, b)
        if (kind, int(element.name)) not in opened and buses.issuperset(ends):
            near[ends[0]].append(ends[1])
            near[ends[1]].append(ends[0])
    front = [bus for e in net.elements("ext_grid") if (bus := net.bus_of(e)) in buses]
    found = set(front)
    while front:
        more = [bus for bus in near[front.pop()] if bus not in found]
        found.update(more)
        front += more
    net.noted.clear()  # the same elements are noted again when they are read
    return found


def add_ext_grids(net: Net) -> None:
    """External grids as sources, ideal or behind the impedance of their short-circuit power."""
    for element in net.elements("ext_grid"):
        if not net.live(element):
            continue
        bus = net.bus_of(element)
        kv = net.vn_kv[bus]
        e_v = balanced_emf_v(kv, element.number("vm_pu", at_least=0.0), element.number("va_degree", 0.0))
        z = np.zeros((3, 3), dtype=complex)
        if net.source == "short_circuit":
            z = _short_circuit_ohm(element, kv)
        elif "s_sc_max_mva" in element.fields:
            net.note("ext_grid.s_sc_max_mva: the voltage is held, no impedance", element)
        net.draft.add(Sources, name=net.name(element, "source"), node=net.phases(bus), z_ohm=z, e_v=e_v)


def _short_circuit_ohm(element: Element, kv: float) -> Array:
    size = VOLTAGE_FACTOR * kv**2 / element.positive("s_sc_max_mva")
    rx = element.number("rx_max", at_least=0.0)
    x1 = size / sqrt(rx**2 + 1)
    x0 = element.number("x0x_max", 1.0, at_least=0.0) * x1
    z1, z0 = complex(rx * x1, x1), complex(element.number("r0x0_max", rx, at_least=0.0) * x0, x0)
    return phase_matrix(z1, z0)


def phase_matrix(one: complex, zero: complex) -> Array:
    """(3, 3) matrix of a balanced three-phase element from its sequences."""
    return np.full((3, 3), (zero - one) / 3) + np.eye(3) * one


def _wide(matrix: Array) -> Array:
    found = np.zeros((4, 4), dtype=matrix.dtype)
    found[:3, :3] = matrix
    return found


def add_lines(net: Net) -> None:
    """Lines; a line with a switch open at one end hangs on a bus of its own there."""
    opened: dict[int, list[int]] = {}
    for switch in net.elements("switch"):
        if switch.get("et", str) == "l" and not switch.get("closed", bool):
            opened.setdefault(switch.get("element", int), []).append(net.bus_of(switch))
    for element in net.elements("line"):
        ends = [net.bus_of(element, key) for key in ("from_bus", "to_bus")]
        cut = [bus in opened.get(int(element.name), []) for bus in ends]
        live = [bus in net.bus and not c for bus, c in zip(ends, cut, strict=True)]
        if not any(live):
            net.note("line: not connected at either end, left out", element)
            continue
        if not all(live) and not any(cut):
            net.note("line: one end at a bus without supply, hangs open there", element)
        _add_line(net, element, ends, live)


def _add_line(net: Net, element: Element, ends: list[int], live: list[bool]) -> None:
    length, parallel = element.number("length_km", at_least=0.0), element.number("parallel", 1, at_least=1)
    z1, z0 = (
        complex(
            net.zero(element, f"r{s}_ohm_per_km", "r_ohm_per_km"),
            net.zero(element, f"x{s}_ohm_per_km", "x_ohm_per_km"),
        )
        for s in ("", "0")
    )
    c1, c0 = (net.zero(element, f"c{s}_nf_per_km", "c_nf_per_km") for s in ("", "0"))
    if element.number("g_us_per_km", 0.0) or element.number("g0_us_per_km", 0.0):
        raise element.wrong("`g_us_per_km`: conductance of lines is not read")
    if c1 and c0 < 0:
        raise element.wrong("`c0_nf_per_km` is negative")
    i_max = element.number("max_i_ka", np.nan) * element.number("df", 1.0) * parallel * 1e3
    name = net.name(element, "line")
    nodes = []
    for bus, connected in zip(ends, live, strict=True):
        if connected:
            nodes.append(net.phases(bus))
            continue
        inner = f"{name} open"
        net.draft.add_bus(
            inner, v_base_kv=net.vn_kv[next(b for b, c in zip(ends, live, strict=True) if c)] / sqrt(3)
        )
        nodes.append([net.draft.node(inner, k) for k in (1, 2, 3)])
    net.draft.add(
        Lines,
        name=name,
        from_node=[*nodes[0], ABSENT],
        to_node=[*nodes[1], ABSENT],
        z_ohm=_wide(phase_matrix(z1, z0)) * length / parallel,
        c_nf=_wide(phase_matrix(c1, c0)).real * length * parallel,
        i_max_a=[i_max] * 3 + [np.nan],
        length_m=length * 1e3,
    )


def add_switches(net: Net) -> None:
    """Switches between buses; those at lines and transformers are in the topology already."""
    for element in net.elements("switch"):
        kind = element.choice("et", SWITCH_TYPES)
        closed = element.get("closed", bool)
        if kind != "b":
            what = "closed, nothing to add" if closed else "open, its branch hangs or is left out"
            net.note(f"switch at a branch: {what}", element)
            continue
        if not net.live(element, "bus", "element"):
            continue
        a, b = (net.phases(net.bus_of(element, key)) for key in ("bus", "element"))
        z = element.number("z_ohm", 0.0, at_least=0.0) * SWITCH_ANGLE
        if z:
            net.note("switch.z_ohm: its size, at R/X = 2 as pandapower takes it", element)
        i_max = element.number("in_ka", np.nan) * 1e3
        net.draft.add(
            Switches,
            name=net.name(element, "switch"),
            from_node=[*a, ABSENT],
            to_node=[*b, ABSENT],
            z_ohm=z,
            closed=closed,
            i_max_a=[i_max] * 3 + [np.nan],
        )


def add_shunts(net: Net) -> None:
    """Shunts as three equal admittances to earth: S = (p + j q) step at rated voltage."""
    for element in net.elements("shunt"):
        if not net.live(element):
            continue
        bus, step = net.bus_of(element), element.number("step", 1, at_least=0)
        if step != round(step) or step > MOST_STEPS:
            raise element.wrong(f"`step` is {step:g}, no number of steps")
        kv = element.number("vn_kv", net.vn_kv[bus])
        if kv <= 0:
            raise element.wrong(f"`vn_kv` is {kv:g}, must be above zero")
        p, q = element.number("p_mw", 0.0), element.number("q_mvar")
        if element.get("step_dependency_table", bool, False):
            raise element.wrong("`step_dependency_table` is not read")
        name = net.name(element, "shunt")
        if p == 0 and q <= 0:
            for k, pair in enumerate(to_earth(net.phases(bus)), 1):
                steps = {"steps": max(int(step), 1), "steps_on": int(step)}
                rated = {"kvar": -q * 1e3 / 3, "v_nom_kv": kv / sqrt(3), "bank": name}
                net.draft.add(Capacitors, name=f"{name}.{k}", pair=pair, **rated, **steps)
            continue
        y = complex(p, -q) * step / kv**2
        for k, pair in enumerate(to_earth(net.phases(bus)), 1):
            if y:
                net.draft.add(Reactors, name=f"{name}.{k}", pair=pair, z_ohm=1 / y)


def add_powers(net: Net) -> None:
    """Loads, and static generators as generators at their present power."""
    for table in ("load", "asymmetric_load", "sgen", "asymmetric_sgen"):
        for element in net.elements(table):
            if net.live(element):
                _add_power(net, element, table)


def _add_power(net: Net, element: Element, table: str) -> None:
    bus, scaling = net.bus_of(element), element.number("scaling", 1.0)
    kind = element.get("type", str, "")
    if kind not in ("wye", "delta"):
        net.note(f"{table}.type: no connection ({kind or 'missing'}), taken as wye", element)
    delta = kind == "delta"
    if table.startswith("asymmetric"):
        power = [
            complex(element.number(f"p_{p}_mw", 0.0), element.number(f"q_{p}_mvar", 0.0)) for p in PHASES
        ]
    else:
        power = [complex(element.number("p_mw"), element.number("q_mvar", 0.0)) / 3] * 3
    name, nodes = net.name(element, "load" if table.endswith("load") else "generator"), net.phases(bus)
    kv = net.vn_kv[bus] / (1.0 if delta else sqrt(3))
    model = _model(element) if table == "load" else {}
    for k, (pair, s) in enumerate(zip(around(nodes) if delta else to_earth(nodes), power, strict=True), 1):
        p, q = s.real * scaling * 1e3, s.imag * scaling * 1e3
        if table.startswith("asymmetric") and not s:
            continue
        row: dict[str, Any] = {"name": f"{name}.{k}", "pair": pair, "p_kw": p, "q_kvar": q, "v_nom_kv": kv}
        if table.endswith("load"):
            net.draft.add(Loads, **row, **model)
        else:
            net.draft.add(Generators, **row, unit=name)


def _model(element: Element) -> dict[str, Any]:
    """Shares of constant impedance and current; older files have one for both powers."""
    shares = []
    for q in "pq":
        z, i = (
            element.number(f"const_{part}_{q}_percent", element.number(f"const_{part}_percent", 0.0)) / 100
            for part in "zi"
        )
        shares += [z, i, 1 - z - i]
    return {} if shares == [0, 0, 1, 0, 0, 1] else {"model": "zip", "zip": shares}
