"""Transformers of a document, by subtype, as rows; and the voltage base of every bus.

Series impedances are ohms as they stand on the side their field names; nominal voltages times taps give
the ratio. The tap of a two-winding subtype multiplies its from side.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from math import sqrt

import numpy as np

from feeders.elements import Lines, Reactors, Sources, Switches, Transformers, WindingPairs, Windings
from feeders.feeder import Buses
from feeders.readers.bmopf.branches import all_transformers, neutral_fields, windings
from feeders.readers.bmopf.case import EARTH, Case, two
from feeders.readers.element import Element
from feeders.readers.errors import UnsupportedError
from feeders.readers.rows import buses_of

SAME_BASE_RTOL = 1e-9
"""Ratings this close give one voltage base."""
RATINGS = ("i_max_from", "i_max_to")


@dataclass(frozen=True)
class Coil:
    """One winding while it is read: node pairs by leg, coil voltage and ohms on its own side."""

    pairs: list[list[str]]
    volt: float
    r_ohm: float = 0.0
    tap: float = 1.0
    i_max_a: float = np.nan
    core_s: complex = 0j


def read_transformers(case: Case) -> None:
    """Every subtype but regulators, which need the voltage bases first."""
    subtypes: dict[str, Callable[[Case, Element], None]] = {
        "single_phase": _single_phase,
        "center_tap": _center_tap,
        "wye_delta": _wye_delta,
        "delta_wye": _wye_delta,
        "n_winding": _n_winding,
        "single_phase_autotransformer": _regulator,
    }
    names: Counter[str] = Counter(element.name for element in all_transformers(case))
    for element in all_transformers(case):
        subtype = element.kind.partition(".")[2]
        if subtype not in subtypes:
            known = ", ".join(subtypes)
            raise UnsupportedError(f"{element.kind} {element.name!r}: subtype not read; known: {known}")
        if names[element.name] > 1:
            raise element.wrong("two transformers have this name")
        subtypes[subtype](case, element)


def _end(case: Case, element: Element, side: str, count: int) -> list[str]:
    nodes = case.nodes(element, f"bus_{side}", f"terminal_map_{side}")
    if len(nodes) != count:
        raise element.wrong(f"`terminal_map_{side}` has {len(nodes)} terminals, expected {count}")
    return nodes


def _rating(case: Case, element: Element, side: str, count: int) -> float:
    """Coil rating from a list per terminal: the smallest of the phases."""
    key = f"i_max_{side}"
    if key not in element.fields:
        return np.nan
    listed = element.get(key, list)
    values = element.numbers(key, len(listed), at_least=0.0)
    if len(values) < count:
        raise element.wrong(f"`{key}` has {len(values)} entries, expected {count} or more")
    if len(set(values[:count].tolist())) > 1:
        case.dropped.setdefault(f"{element.kind}.{key}: smallest phase taken", []).append(element.name)
    return float(values[:count].min())


def _tap(case: Case, element: Element) -> float:
    """The tap in force; a range asks for a decision that a power flow does not take."""
    tap = element.number("tap_ratio", 1.0)
    low, high = element.number("tap_ratio_min", tap), element.number("tap_ratio_max", tap)
    if tap <= 0:
        raise element.wrong(f"`tap_ratio` is {tap:g}, must be above zero")
    if low < high:
        case.dropped.setdefault(f"{element.kind}.tap_ratio_min, _max: tap fixed", []).append(element.name)
    return tap


def _core(element: Element, coils: list[Coil], first: float) -> list[Coil]:
    """Coils with the no-load shunt on the winding that the element names, the first by default."""
    if "no_load_shunt" in element.fields:
        part = Element(
            f"{element.kind} {element.name!r}", "no_load_shunt", element.get("no_load_shunt", dict)
        )
        number = part.get("winding", int)
        if not 1 <= number <= len(coils):
            raise part.wrong(f"`winding` is {number}; there are {len(coils)}")
        y = complex(part.number("g", at_least=0.0), part.number("b"))
        part.finish({})
        if "g_no_load" in element.fields or "b_no_load" in element.fields:
            raise element.wrong("has both `no_load_shunt` and `g_no_load`, `b_no_load`; give one")
    else:
        number, y = 1, complex(element.number("g_no_load", 0.0), element.number("b_no_load", 0.0))
    return [replace(c, core_s=y) if k == number else c for k, c in enumerate(coils, 1)]


def _add(case: Case, element: Element, coils: list[Coil], x_ohm: dict[tuple[int, int], float]) -> None:
    """Rows of one transformer; x_ohm between windings (from 0), referred to winding 0 at its tap."""
    kva = element.positive("s_rating") / 1e3
    case.finish(element, *RATINGS)
    live = [
        leg for leg in range(len(coils[0].pairs)) if all(c.pairs[leg][0] != c.pairs[leg][1] for c in coils)
    ]
    if len(live) < len(coils[0].pairs):
        raise element.wrong("a coil lies between a node and itself")
    s_coil = kva * 1e3 / len(live)
    case.rows.add(Transformers, name=element.name, s_kva=kva)
    for k, coil in enumerate(coils):
        z_base = (coil.volt * coil.tap) ** 2 / s_coil
        pairs = [coil.pairs[leg] for leg in live]
        case.rows.add(
            Windings,
            transformer=element.name,
            winding=k,
            pair=pairs + [["", ""]] * (3 - len(pairs)),
            v_coil_kv=coil.volt / 1e3,
            r_pct=100 * coil.r_ohm / z_base,
            tap=coil.tap,
            tap_min=min(0.9, coil.tap),
            tap_max=max(1.1, coil.tap),
            i_max_a=coil.i_max_a,
            core_pct=100 * coil.core_s * z_base,
        )
    z_base = (coils[0].volt * coils[0].tap) ** 2 / s_coil
    for a, b in combinations(range(len(coils)), 2):
        x_pct = 100 * x_ohm[a, b] / z_base
        case.rows.add(WindingPairs, transformer=element.name, winding_a=a, winding_b=b, x_pct=x_pct)
    for side, bus_key, map_key, r_key, x_key in neutral_fields(element):
        z = complex(side.number(r_key, 0.0, at_least=0.0), side.number(x_key, 0.0))
        neutral = case.nodes(side, bus_key, map_key)[-1]
        if z and neutral != EARTH:
            label = f"transformer.{element.name}.{r_key}{side.name if side is not element else ''}"
            case.rows.add(Reactors, name=label, pair=[neutral, EARTH], z_ohm=z)


def _single_phase(case: Case, element: Element) -> None:
    pairs = [two(element, _end(case, element, side, 2)) for side in ("from", "to")]
    volts = [element.positive(f"v_nom_{side}") for side in ("from", "to")]
    r = [element.number(f"r_series_{side}", 0.0, at_least=0.0) for side in ("from", "to")]
    x = [element.number(f"x_series_{side}", 0.0) for side in ("from", "to")]
    tap = _tap(case, element)
    limit = [_rating(case, element, side, 1) for side in ("from", "to")]
    coils = [Coil([pairs[k]], volts[k], r[k], 1.0 if k else tap, limit[k]) for k in range(2)]
    ratio = tap * volts[0] / volts[1]
    for key in ("r_neutral_from", "x_neutral_from", "r_neutral_to", "x_neutral_to"):
        element.used.add(key)
    _add(case, element, _core(element, coils, tap), {(0, 1): x[0] + ratio**2 * x[1]})


def _center_tap(case: Case, element: Element) -> None:
    """The second secondary runs from the centre to the last terminal."""
    high, low = _end(case, element, "from", 2), _end(case, element, "to", 3)
    volts = [element.positive(f"v_nom_{side}") for side in ("from", "to")]
    r = [element.number(f"r_series_{side}", 0.0, at_least=0.0) for side in ("from", "to")]
    x = [element.number(f"x_series_{side}", 0.0) for side in ("from", "to")]
    tap = _tap(case, element)
    limit = [_rating(case, element, "from", 1), _rating(case, element, "to", 1)]
    coils = [Coil([high], volts[0], r[0], tap, limit[0])]
    coils += [Coil([pair], volts[1], r[1], 1.0, limit[1]) for pair in (low[:2], low[1:])]
    across = (tap * volts[0] / volts[1]) ** 2 * x[1]
    reactances = {(0, 1): x[0] + across, (0, 2): x[0] + across, (1, 2): 2 * across}
    _add(case, element, _core(element, coils, tap), reactances)


def star(nodes: list[str]) -> list[list[str]]:
    """Coils of a wye: every phase to the last node."""
    return [[node, nodes[-1]] for node in nodes[:-1]]


def ring(nodes: list[str], roll: int) -> list[list[str]]:
    """Coils of a delta: every phase to the next (roll 1) or to the one before (roll -1)."""
    return [[nodes[k], nodes[(k + roll) % len(nodes)]] for k in range(len(nodes))]


def _wye_delta(case: Case, element: Element) -> None:
    """Leakage on the wye side alone; the delta runs to the next phase from a wye, to the one before to it."""
    wye_first = element.kind.endswith("wye_delta")
    nodes = [_end(case, element, side, 4 - (k == wye_first)) for k, side in enumerate(("from", "to"))]
    volts = [element.positive(f"v_nom_{side}") for side in ("from", "to")]
    r, x = element.number("r_series", 0.0, at_least=0.0), element.number("x_series", 0.0)
    tap = _tap(case, element)
    coils = []
    for k, side in enumerate(("from", "to")):
        wye = wye_first == (k == 0)
        pairs = star(nodes[k]) if wye else ring(nodes[k], 1 if wye_first else -1)
        volt = volts[k] / sqrt(3) if wye else volts[k]
        limit = _rating(case, element, side, 3)
        coils.append(Coil(pairs, volt, r if wye else 0.0, 1.0 if k else tap, limit))
    ratio = 1.0 if wye_first else tap * coils[0].volt / coils[1].volt
    _add(case, element, _core(element, coils, tap), {(0, 1): ratio**2 * x})


def _n_winding(case: Case, element: Element) -> None:
    parts = windings(element)
    if len(parts) < 2:
        raise element.wrong(f"has {len(parts)} winding(s); at least two")
    coils = [_winding(case, part) for part in parts]
    if len({len(coil.pairs) for coil in coils}) > 1:
        raise element.wrong("its windings differ in their number of coils")
    table = Element(f"{element.kind} {element.name!r}", "x_sc", element.get("x_sc", dict))
    x = {
        (a, b): table.number(f"{a + 1}_{b + 1}", at_least=0.0) for a, b in combinations(range(len(coils)), 2)
    }
    table.finish({})
    _add(case, element, _core(element, coils, coils[0].tap), x)


def _winding(case: Case, part: Element) -> Coil:
    nodes = case.nodes(part)
    configuration = part.choice("configuration", ("WYE", "DELTA", "SINGLE_PHASE"))
    if configuration == "DELTA":
        if len(nodes) not in (2, 3):
            raise part.wrong(f"`terminal_map` has {len(nodes)} terminals; a delta has two or three phases")
        roll = part.get("delta_roll", int)
        if roll not in (1, -1):
            raise part.wrong(f"`delta_roll` is {roll}, must be 1 or -1")
        pairs = ring(nodes, roll) if len(nodes) == 3 else [nodes]
    elif 2 <= len(nodes) <= (4 if configuration == "WYE" else 2):
        pairs = star(nodes)
        part.used.add("delta_roll")
    else:
        raise part.wrong(f"`terminal_map` has {len(nodes)} terminals, which is no {configuration} winding")
    coil = Coil(
        pairs,
        part.positive("v_nom"),
        part.number("r_winding", 0.0, at_least=0.0),
        _tap(case, part),
        part.number("i_max", np.nan, at_least=0.0),
    )
    part.used |= {"r_neutral", "x_neutral"}
    case.finish(part, "s_rating")
    return coil


def _regulator(case: Case, element: Element) -> None:
    """A step regulator, type B: v_to = tap_ratio v_from, its neutral shared."""
    pairs = [two(element, _end(case, element, side, 2)) for side in ("from", "to")]
    r = [element.number(f"r_series_{side}", 0.0, at_least=0.0) for side in ("from", "to")]
    x = [element.number(f"x_series_{side}", 0.0) for side in ("from", "to")]
    ratio = _tap(case, element)
    if pairs[0][1] != pairs[1][1]:
        raise element.wrong("the two sides have neutrals of their own; only a shared or earthed one is read")
    kind = element.choice("regulator_type", ("A", "B"), "B")
    if kind == "A" and ratio != 1:
        raise element.wrong("`regulator_type` A with a tap: published definitions of its ratio disagree")
    limit = [_rating(case, element, side, 1) for side in ("from", "to")]

    def add() -> None:
        volt = case.base_v(buses_of(pairs[0])[0])
        coils = [Coil([pairs[0]], volt, r[0], 1.0, limit[0]), Coil([pairs[1]], volt, r[1], ratio, limit[1])]
        _add(case, element, _core(element, coils, 1.0), {(0, 1): x[0] + x[1] / ratio**2})

    case.later.append(add)


# Voltage bases ----------------------------------------------------------------------------------


def set_voltage_bases(case: Case) -> None:
    """Give every bus a voltage base; the schema has none.

    Buses joined by lines, switches and regulators share one: what the ratings of the windings there agree on
    most, else the magnitude of a source.
    """
    rows, zone = case.rows, {bus: bus for bus in case.terminals}

    def root(bus: str) -> str:
        while zone[bus] != bus:
            zone[bus] = zone[zone[bus]]
            bus = zone[bus]
        return bus

    for a, b in _joined(case):
        zone[root(b)] = root(a)
    found: dict[str, Counter[float]] = {bus: Counter() for bus in zone}
    for row in rows[Windings].values():
        for pair in row["pair"]:
            for bus in buses_of(pair)[:1]:
                phases = all(node.rpartition(".")[2] in ("1", "2", "3") for node in pair if node != EARTH)
                volt = row["v_coil_kv"] / (sqrt(3) if phases and EARTH not in pair else 1.0)
                alike = (v for v in found[root(bus)] if abs(v - volt) <= SAME_BASE_RTOL * volt)
                found[root(bus)][next(alike, volt)] += 1
    sources = {root(buses_of(row["node"])[0]): row for row in rows[Sources].values()}
    lost = []
    for bus in case.terminals:
        here = root(bus)
        if not found[here] and here in sources:
            found[here][max(abs(e) for e in sources[here]["e_v"]) / 1e3] += 1
        if not found[here]:
            found[here][max(abs(e) for e in next(iter(sources.values()))["e_v"]) / 1e3] += 1
            lost.append(bus)
        rows[Buses][bus] = {"name": bus, "v_base_kv": found[here].most_common(1)[0][0]}
    message = "no winding or source gives a voltage base: that of a source taken"
    case.audit.note("Buses", "v_base_kv", lost, message, warn=True)
    case.audit.note(
        "Buses", "v_base_kv", list(rows[Buses]), "voltage bases taken from ratings of windings and sources"
    )


def _joined(case: Case) -> list[tuple[str, str]]:
    """Pairs of buses of one voltage."""
    found = [
        (a, b)
        for kind in (Lines, Switches)
        for row in case.rows[kind].values()
        for a, b in zip(row["from_node"], row["to_node"], strict=True)
    ]
    for element in all_transformers(case):
        if element.kind.endswith("autotransformer"):
            ends = [case.nodes(element, f"bus_{s}", f"terminal_map_{s}") for s in ("from", "to")]
            found += list(zip(*ends, strict=False))
    return [(buses_of([a])[0], buses_of([b])[0]) for a, b in found if buses_of([a]) and buses_of([b])]
