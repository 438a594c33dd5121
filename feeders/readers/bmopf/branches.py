"""Buses, sources, lines and switches of a document, as rows."""

from __future__ import annotations

from functools import partial
from math import pi

import numpy as np

from feeders.elements import Lines, Sources, Switches
from feeders.readers.bmopf.case import EARTH, Case, padded, too_wide
from feeders.readers.bmopf.shunts import add_shunt
from feeders.readers.element import Element
from feeders.table import Array

LIMITS = (
    "v_min",
    "v_max",
    "vn_max",
    "vpn_min",
    "vpn_max",
    "vpp_min",
    "vpp_max",
    "vpos_min",
    "vpos_max",
    "vneg_max",
    "vzero_max",
)
SIDE_RTOL = 1e-9
"""Largest relative difference of the two ends' shunts that our pi section holds."""


def read_buses(case: Case) -> None:
    """Buses and their terminals; a terminal that is perfectly earthed is earth itself."""
    for element in case.elements("bus"):
        names = element.words("terminal_names")
        if len(set(names)) != len(names):
            raise element.wrong("`terminal_names` names a terminal twice")
        earthed = set(element.words("perfectly_grounded_terminals", []))
        if lost := earthed - set(names):
            raise element.wrong(f"`perfectly_grounded_terminals`: no terminal {sorted(lost)[0]!r}")
        case.finish(element, *LIMITS)
        case.terminals[element.name], case.earthed[element.name] = names, earthed


def earth_by_elements(case: Case) -> None:
    """Terminals that a source holds at zero, or a winding earths solidly, are earth as well."""
    found: list[str] = []

    def earth(element: Element, bus: str, terminal: str) -> None:
        if terminal in case.terminals[bus] and terminal not in case.earthed[bus]:
            case.earthed[bus].add(terminal)
            found.append(f"{bus}.{terminal}")

    for element in case.elements("voltage_source"):
        bus, names = case.bus(element), element.words("terminal_map")
        for name, volt in zip(names, element.numbers("v_magnitude", len(names)), strict=True):
            if volt == 0:
                earth(element, bus, name)
    for element in all_transformers(case):
        for side, bus_key, map_key, r_key, x_key in neutral_fields(element):
            if r_key not in side.fields and x_key not in side.fields:
                continue
            if side.number(r_key, 0.0) == 0 and side.number(x_key, 0.0) == 0 and side.words(map_key):
                earth(element, case.bus(side, bus_key), side.words(map_key)[-1])
    case.audit.note("Nodes", "terminal", found, "held at earth by a source or a winding: read as earth")


def all_transformers(case: Case) -> list[Element]:
    """Every transformer, kind `transformer.subtype`."""
    return [
        element
        for group in case.elements("transformer")
        for element in case.elements(f"transformer.{group.name}", group.fields)
    ]


def neutral_fields(element: Element) -> list[tuple[Element, str, str, str, str]]:
    """Where a transformer says how the neutral of each winding is earthed: bus, map, r and x fields."""
    if element.kind != "transformer.n_winding":
        return [
            (element, f"bus_{s}", f"terminal_map_{s}", f"r_neutral_{s}", f"x_neutral_{s}")
            for s in ("from", "to")
        ]
    return [(w, "bus", "terminal_map", "r_neutral", "x_neutral") for w in windings(element)]


def windings(element: Element) -> list[Element]:
    """The windings of an n-winding transformer as elements of their own."""
    found = element.get("windings", list)
    for w in found:
        if not isinstance(w, dict):
            raise element.wrong("`windings` must hold objects")
    return [Element(f"{element.kind} {element.name!r} winding", str(k), w) for k, w in enumerate(found, 1)]


def read_sources(case: Case) -> None:
    """Ideal voltage sources: no impedance behind them."""
    for element in case.elements("voltage_source"):
        nodes = case.nodes(element)
        volt = element.numbers("v_magnitude", len(nodes), at_least=0.0)
        angle = element.numbers("v_angle", len(nodes))
        case.finish(element, "p_min", "p_max", "q_min", "q_max")
        for node, v in zip(nodes, volt, strict=True):
            if node == EARTH and v != 0:
                raise element.wrong(f"drives an earthed terminal with {v:g} V")
        live = [k for k, node in enumerate(nodes) if node != EARTH]
        if not live:
            raise element.wrong("drives no terminal")
        if len(live) > 3:
            raise too_wide(element, len(live), 3)
        e_v = [complex(volt[k] * np.exp(1j * angle[k])) for k in live] + [0j] * (3 - len(live))
        case.rows.add(
            Sources,
            name=element.name,
            node=padded([nodes[k] for k in live], 3),
            z_ohm=np.zeros((3, 3), dtype=complex).tolist(),
            e_v=e_v,
        )


def read_lines(case: Case) -> None:
    """Lines by their linecode and length, or by matrices of their own."""
    codes = {element.name: element for element in case.elements("linecode")}
    for code in codes.values():
        code.used |= {"source", "line_geometry", "derivation", "i_max", "s_max"}
    reduced: list[str] = []
    for element in case.elements("line"):
        _line(case, element, codes, reduced)
    for code in codes.values():
        code.used |= {key for key in code.fields if key.count("_") >= 2 and key[-1].isdigit()}
        case.finish(code)
    case.audit.note(
        "Lines", "z_ohm", reduced, "conductors earthed at both ends are folded into the others (Kron)"
    )


def _line(case: Case, element: Element, codes: dict[str, Element], reduced: list[str]) -> None:
    ends = [case.nodes(element, f"bus_{s}", f"terminal_map_{s}") for s in ("from", "to")]
    n = len(ends[0])
    if len(ends[1]) != n:
        raise element.wrong("`terminal_map_from` and `terminal_map_to` differ in length")
    own = "linecode" not in element.fields
    source, scale = element, 1.0
    length = element.number("length", np.nan, at_least=0.0) if own else element.number("length", at_least=0.0)
    if not own:
        name = element.get("linecode", str)
        if name not in codes:
            raise element.wrong(f"there is no linecode {name!r}")
        if "R_series_1_1" in element.fields:
            raise element.wrong("has both a linecode and matrices of its own; give one")
        source, scale = codes[name], length
    z = scale * (source.matrix("R_series", n, whole=True) + 1j * source.matrix("X_series", n, whole=True))
    y = [scale * source.admittance(f"G_{s}", f"B_{s}", n) for s in ("from", "to")]
    i_max = element.numbers("i_max", n, np.nan, at_least=0.0)
    if not own and "i_max" not in element.fields:
        i_max = source.numbers("i_max", n, np.nan, at_least=0.0)
    if not own and "s_max" in source.fields:
        case.dropped.setdefault("linecode.s_max", []).append(source.name)
    case.finish(element, "s_max")
    dead = np.array([a == b == EARTH for a, b in zip(*ends, strict=True)])
    if dead.all():
        case.dropped.setdefault("line with both ends at earth", []).append(element.name)
        return
    if dead.any():
        reduced.append(element.name)
        z, keep = kron(z, dead), np.flatnonzero(~dead)
        y, i_max = [part[np.ix_(keep, keep)] for part in y], i_max[keep]
        ends = [[end[k] for k in keep] for end in ends]
    if len(ends[0]) > 4:
        raise too_wide(element, len(ends[0]), 4)
    _add_line(case, element.name, ends, (z, y), i_max, length)


def kron(z: Array, dead: Array) -> Array:
    """Series impedance of the live conductors while the others have no voltage across them."""
    live = ~dead
    if not z[np.ix_(dead, dead)].any():
        return np.asarray(z[np.ix_(live, live)])
    folded = z[np.ix_(live, dead)] @ np.linalg.solve(z[np.ix_(dead, dead)], z[np.ix_(dead, live)])
    return np.asarray(z[np.ix_(live, live)] - folded)


def _add_line(
    case: Case,
    name: str,
    ends: list[list[str]],
    laws: tuple[Array, list[Array]],
    i_max: Array,
    length: float,
) -> None:
    """One line; shunts that are no equal capacitances at both ends become elements of their own."""
    z, (y_from, y_to) = laws
    n, size = len(z), max(np.abs(y_from).max(), np.abs(y_to).max())
    alike = np.abs(y_from - y_to).max() <= SIDE_RTOL * size and np.abs(y_from.real).max() <= SIDE_RTOL * size
    c = np.zeros((4, 4))
    if alike:
        c[:n, :n] = y_from.imag * 2 / (2 * pi * case.rows.frequency_hz) * 1e9
    whole = np.zeros((4, 4), dtype=complex)
    whole[:n, :n] = z
    case.rows.add(
        Lines,
        name=name,
        from_node=padded(ends[0], 4),
        to_node=padded(ends[1], 4),
        z_ohm=whole.tolist(),
        c_nf=c.tolist(),
        i_max_a=[*i_max.tolist(), *[np.nan] * (4 - n)],
        length_m=length,
    )
    if not alike:
        for side, nodes, y in (("from", ends[0], y_from), ("to", ends[1], y_to)):
            case.later.append(partial(add_shunt, case, f"line.{name}.{side}", nodes, y))


def read_switches(case: Case) -> None:
    """Ideal switches: a closed one has no impedance."""
    for element in case.elements("switch"):
        ends = [case.nodes(element, f"bus_{s}", f"terminal_map_{s}") for s in ("from", "to")]
        n = len(ends[0])
        if len(ends[1]) != n:
            raise element.wrong("`terminal_map_from` and `terminal_map_to` differ in length")
        closed = not element.get("open_switch", bool)
        i_max = element.numbers("i_max", n, np.nan, at_least=0.0)
        case.finish(element)
        keep = [k for k in range(n) if ends[0][k] != ends[1][k]]
        if len(keep) < n:
            case.dropped.setdefault("switch poles between a node and itself", []).append(element.name)
        if not keep:
            continue
        if len(keep) > 4:
            raise too_wide(element, len(keep), 4)
        case.rows.add(
            Switches,
            name=element.name,
            from_node=padded([ends[0][k] for k in keep], 4),
            to_node=padded([ends[1][k] for k in keep], 4),
            z_ohm=0j,
            closed=closed,
            i_max_a=[*i_max[keep].tolist(), *[np.nan] * (4 - len(keep))],
        )
