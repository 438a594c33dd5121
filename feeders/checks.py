"""Checks: everything that is wrong with a feeder, found at once.

`check(feeder)` returns issues of three severities:

    error    the power flow cannot be right: refuse the feeder
    warning  it can, but somebody should look
    audit    a fact worth listing, such as loads that deliver power

First the columns against their declarations, then every element by itself, then the circuit as a
whole (paths to a source, earthing). The circuit is looked at only where indices point at something.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import combinations
from math import sqrt
from typing import Any

import numpy as np

from feeders.checks_inverters import check_inverters
from feeders.checks_shunts import check_shunts, connection_pairs
from feeders.elements import (
    Connections,
    Lines,
    Loads,
    Sources,
    Switches,
    Transformers,
    WindingPairs,
    Windings,
)
from feeders.elements.lines import conductors
from feeders.elements.transformers import coils
from feeders.feeder import Buses, Feeder, Nodes
from feeders.issues import Issue, error, errors
from feeders.table import ABSENT, EARTH, Array, Column, Table
from feeders.topology import energised, node_groups, ungrounded_sections

__all__ = ["FeederError", "Issue", "check", "require_ok"]

SHOWN_ERRORS = 20
SHOWN_NAMES = 6
BASE_RTOL = 1e-6
"""Largest relative difference of the voltage bases that a line or switch may join."""
ASYMMETRY_RTOL = 1e-6
SINGULAR_RTOL = 1e-12
SHARE_ATOL = 1e-6


class FeederError(ValueError):
    """A feeder with errors; `issues` holds all of them, the message the first ones."""

    def __init__(self, name: str, issues: list[Issue]) -> None:
        self.issues = issues
        shown = [f"  {issue}" for issue in issues[:SHOWN_ERRORS]]
        if len(issues) > SHOWN_ERRORS:
            shown.append(f"  ... and {len(issues) - SHOWN_ERRORS} more")
        super().__init__("\n".join([f"feeder {name}: {len(issues)} error(s)", *shown]))


def check(feeder: Feeder) -> list[Issue]:
    """All issues of a feeder, errors first."""
    lost = list(_indices(feeder))
    issues = [*lost, *_columns(feeder), *_names(feeder)]
    issues += [*_lines(feeder), *_switches(feeder), *_sources(feeder)]
    issues += [*_windings(feeder), *_transformers(feeder)]
    issues += [*check_shunts(feeder), *_connections(feeder), *_audit(feeder)]
    if not lost:
        issues += _nodes(feeder)
        if not any(issue.severity == "error" for issue in issues):
            issues += _grounding(feeder)
    rank = {"error": 0, "warning": 1, "audit": 2}
    return sorted(issues, key=lambda issue: rank[issue.severity])


def require_ok(feeder: Feeder) -> list[Issue]:
    """Refuse a feeder with errors.

    Returns  the warnings and audit entries
    Raises   FeederError  at least one error, all listed
    """
    issues = check(feeder)
    wrong = [issue for issue in issues if issue.severity == "error"]
    if wrong:
        raise FeederError(feeder.name, wrong)
    return issues


def _listed(names: Array) -> str:
    shown = ", ".join(str(name) for name in names[:SHOWN_NAMES])
    return shown + (f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else "")


# --- columns ---------------------------------------------------------------------------------------


def _all_tables(feeder: Feeder) -> list[Table]:
    return [feeder.buses, feeder.nodes, *feeder.tables.values()]


def _numbered(table: Table) -> Array:
    return np.array([f"row {k}" for k in range(len(table))], dtype=object)


def _row_names(feeder: Feeder, table: Table) -> Array:
    """A name for every row: its own, its transformer's, its prosumer's, or its number."""
    numbers = _numbered(table)
    if isinstance(table, Windings | WindingPairs):
        unit = table.transformer
        known = (unit >= 0) & (unit < len(feeder[Transformers]))
        numbers[known] = feeder[Transformers].name[unit[known]]
        return numbers
    return np.asarray(getattr(table, "name", getattr(table, "prosumer", numbers)))


def _columns(feeder: Feeder) -> Iterator[Issue]:
    """Every column against the check in its declaration; node and unique have their own place."""
    for table in _all_tables(feeder):
        names = _row_names(feeder, table)
        for col in table.columns():
            if col.check in ("finite", "nonnegative", "positive"):
                bad, message = _number_fault(col, getattr(table, col.name))
                yield from errors(type(table), col.name, names, bad, message)


def _number_fault(col: Column, value: Array) -> tuple[Array, str]:
    """Values that break the declaration, and what to say about them."""
    finite = np.isfinite(value)
    if col.check == "positive":
        return np.asarray(~(finite & (value > 0))), f"must be a number above zero, {col.unit}"
    if col.check == "nonnegative":
        return np.asarray(~(finite & (value >= 0))), f"must be a number, zero or above, {col.unit}"
    return np.asarray(~finite), f"not a finite number; give one in {col.unit}"


def _names(feeder: Feeder) -> Iterator[Issue]:
    """Columns declared unique, and one row of nodes per bus and terminal."""
    for table in _all_tables(feeder):
        for col in table.columns():
            if col.check == "unique":
                for name, count in _repeated(getattr(table, col.name).tolist()):
                    yield error(type(table), col.name, name, f"{count} rows have this name; make it unique")
    places = zip(feeder.nodes.bus.tolist(), feeder.nodes.terminal.tolist(), strict=True)
    for (bus, terminal), count in _repeated(places):
        place = f"bus row {bus} terminal {terminal}"
        yield error(Nodes, "terminal", place, f"{count} rows for one conductor; keep one")


def _repeated(values: Iterable[Any]) -> list[tuple[Any, int]]:
    return [(value, count) for value, count in Counter(values).items() if count > 1]


def _indices(feeder: Feeder) -> Iterator[Issue]:
    """Row numbers that point at nothing."""
    nodes, n = feeder.nodes, feeder.n_nodes
    if len(nodes) == 0 or nodes.bus[0] != ABSENT or nodes.terminal[0] != 0:
        yield error(Nodes, "bus", "row 0", "must be earth: bus -1, terminal 0")
    bad = (nodes.bus < 0) | (nodes.bus >= len(feeder.buses))
    bad[:1] = False
    yield from errors(Nodes, "bus", _numbered(nodes), bad, f"no such bus; there are {len(feeder.buses)}")
    for table in _all_tables(feeder):
        for col in table.columns():
            if col.check == "node":
                value = getattr(table, col.name)
                message = f"no such node; give 1 to {n}, 0 for earth, -1 for absent"
                names = _row_names(feeder, table)
                yield from errors(type(table), col.name, names, (value < ABSENT) | (value > n), message)
    units = len(feeder[Transformers])
    for part in (feeder[Windings], feeder[WindingPairs]):
        bad = (part.transformer < 0) | (part.transformer >= units)
        yield from errors(
            type(part), "transformer", _numbered(part), bad, f"no such transformer; there are {units}"
        )


# --- elements --------------------------------------------------------------------------------------


def _at(values: Array, rows: Array, unknown: float) -> Array:
    """`values[rows]`, with `unknown` where a row does not exist."""
    there = (rows >= 0) & (rows < len(values))
    return np.asarray(np.append(values, unknown)[np.where(there, rows, -1)])


def _v_base_kv(feeder: Feeder, nodes: Array) -> Array:
    """Voltage base of nodes, kV; NaN for earth, absent and unknown ones."""
    return _at(feeder.buses.v_base_kv, _at(feeder.nodes.bus, nodes, ABSENT).astype(int), np.nan)


def _ends(feeder: Feeder, table: Lines | Switches) -> Iterator[Issue]:
    """Both ends of lines and switches: present together, different, on one voltage base."""
    kind, names, a, b = type(table), table.name, table.from_node, table.to_node
    there = (a != ABSENT) & (b != ABSENT)
    single = (a == ABSENT) != (b == ABSENT)
    yield from errors(kind, "to_node", names, single, "a conductor has only one end; give both or neither")
    yield from errors(
        kind, "from_node", names, ~there.any(axis=1), "has no conductor; give the nodes of both ends"
    )
    same = there & (a == b)
    yield from errors(kind, "to_node", names, same, "starts and ends at the same node; correct one end")
    base_a, base_b = _v_base_kv(feeder, a), _v_base_kv(feeder, b)
    apart = np.abs(base_a - base_b) > BASE_RTOL * base_a
    for row in np.flatnonzero(apart.any(axis=1)):
        k = int(apart[row].argmax())
        levels = f"{base_a[row, k]:g} and {base_b[row, k]:g} kV"
        message = f"joins nodes with voltage bases {levels}; correct them, or use a transformer"
        yield error(kind, "to_node", names[row], message)


def _lines(feeder: Feeder) -> Iterator[Issue]:
    lines = feeder[Lines]
    yield from _ends(feeder, lines)
    there = conductors(lines)
    yield from _impedances(Lines, lines.name, lines.z_ohm, there, zero_allowed=False)
    c = np.nan_to_num(np.where(there[:, :, None] & there[:, None, :], lines.c_nf, 0.0))
    uneven = _uneven(c)
    yield from errors(Lines, "c_nf", lines.name, uneven, "not symmetric; i to j must equal j to i")
    negative = np.diagonal(c, axis1=1, axis2=2) < 0
    yield from errors(Lines, "c_nf", lines.name, negative, "negative on the diagonal; give Maxwell's matrix")


def _uneven(matrix: Array) -> Array:
    """(n,) bool: matrices that are not symmetric."""
    size = np.abs(matrix).max(axis=(1, 2), initial=0)
    gap = np.abs(matrix - matrix.swapaxes(1, 2)).max(axis=(1, 2), initial=0)
    return np.asarray(gap > ASYMMETRY_RTOL * size)


def _impedances(
    table: type[Table], names: Array, z_ohm: Array, there: Array, *, zero_allowed: bool
) -> Iterator[Issue]:
    """Series impedance of the conductors that are there: symmetric, regular, not generating power."""
    inside = there[:, :, None] & there[:, None, :]
    known = np.isfinite(np.where(inside, z_ohm, 0)).all(axis=(1, 2)) & there.any(axis=1)
    names, there = names[known], there[known]
    z = np.where(inside, z_ohm, 0)[known]
    size = np.abs(z).max(axis=(1, 2), initial=0)
    yield from errors(table, "z_ohm", names, _uneven(z), "not symmetric; i to j must equal j to i")
    # Absent conductors get an ohm of typical size, so that they do not look singular.
    filled = z + size[:, None, None] * (np.eye(z.shape[1]) * ~there[:, :, None])
    smallest = np.linalg.svd(filled, compute_uv=False)[:, -1]
    singular = (smallest <= SINGULAR_RTOL * size) & (size > 0)
    yield from errors(table, "z_ohm", names, singular, "singular; check the mutual terms of its conductors")
    if not zero_allowed:
        yield from errors(table, "z_ohm", names, size == 0, "zero; give an impedance, or use a switch")
    r = (filled.real + filled.real.swapaxes(1, 2)) / 2
    negative = np.linalg.eigvalsh(r)[:, 0] < -1e-9 * size
    message = "negative series resistance; check the signs"
    if table is Sources:  # fault levels that do not fit each other; the circuit has a solution all the same
        yield from (Issue("warning", "Sources", "z_ohm", str(name), message) for name in names[negative])
    else:
        yield from errors(table, "z_ohm", names, negative, message)


def _switches(feeder: Feeder) -> Iterator[Issue]:
    switches = feeder[Switches]
    yield from _ends(feeder, switches)
    negative = switches.z_ohm.real < 0
    yield from errors(Switches, "z_ohm", switches.name, negative, "negative resistance; check the sign")


def _sources(feeder: Feeder) -> Iterator[Issue]:
    sources = feeder[Sources]
    if not len(sources):
        yield error(Sources, "", feeder.name, "no source at all; add one")
    there = sources.node != ABSENT
    yield from _impedances(Sources, sources.name, sources.z_ohm, there, zero_allowed=True)
    wrong = ~there.any(axis=1) | (sources.node == EARTH).any(axis=1)
    yield from errors(Sources, "node", sources.name, wrong, "drives earth or nothing; give its phases")
    level = np.where(there, np.abs(sources.e_v) / 1e3 / _v_base_kv(feeder, sources.node), 1.0)
    for row in np.flatnonzero(((level < 0.5) | (level > 1.5)).any(axis=1)):
        message = f"{level[row].min():.3g} to {level[row].max():.3g} of the base; volt, kilovolt, sqrt 3?"
        yield Issue("warning", "Sources", "e_v", str(sources.name[row]), message)


def _windings(feeder: Feeder) -> Iterator[Issue]:
    """Every winding by itself: coils, tap, rated voltage."""
    windings = feeder[Windings]
    units = _row_names(feeder, windings)
    names = np.array(
        [f"{unit} winding {w}" for unit, w in zip(units, windings.winding, strict=True)], dtype=object
    )
    absent, whole = windings.pair == ABSENT, coils(windings)
    half = absent.any(axis=2) & ~absent.all(axis=2)
    yield from errors(Windings, "pair", names, half, "a coil has only one end; give both nodes or -1 twice")
    none = np.logical_not(whole.any(axis=1))
    yield from errors(Windings, "pair", names, none, "has no coil; give the nodes of at least one leg")
    looped = whole & (windings.pair[..., 0] == windings.pair[..., 1])
    yield from errors(Windings, "pair", names, looped, "a coil has the same node at both ends; correct one")
    low, tap, high = windings.tap_min, windings.tap, windings.tap_max
    for row in np.flatnonzero(~((low <= tap) & (tap <= high))):
        message = f"{tap[row]:g} is outside its range {low[row]:g} to {high[row]:g}; correct one of them"
        yield error(Windings, "tap", names[row], message)
    expected = _expected_coil_kv(feeder, windings)
    ratio = np.where(whole, windings.v_coil_kv[:, None] / expected, 1.0)
    for row in np.flatnonzero(((ratio < 0.75) | (ratio > 1.33)).any(axis=1)):
        wanted = f"{expected[row][whole[row]].max():.4g} kV"
        message = f"{windings.v_coil_kv[row]:g} kV, its nodes suggest {wanted}; phase or line voltage?"
        yield Issue("warning", "Windings", "v_coil_kv", str(names[row]), message)


def _expected_coil_kv(feeder: Feeder, windings: Windings) -> Array:
    """(n, 3) kV: voltage base of the coil's nodes, times sqrt 3 between two phases; NaN if unknown."""
    base = np.fmax(*np.moveaxis(_v_base_kv(feeder, windings.pair), 2, 0))
    terminal = _at(feeder.nodes.terminal, windings.pair, 0)
    between = ((terminal >= 1) & (terminal <= 3)).all(axis=2)
    return np.asarray(base * np.where(between, sqrt(3), 1.0))


def _transformers(feeder: Feeder) -> Iterator[Issue]:
    """Every transformer: windings 0, 1, ..., equal legs, one reactance per pair of windings."""
    windings, pairs = feeder[Windings], feeder[WindingPairs]
    has_coil = coils(windings)
    rows_of, pairs_of = _rows_by(windings.transformer), _rows_by(pairs.transformer)
    for unit, name in enumerate(feeder[Transformers].name):
        rows = rows_of.get(unit, [])
        number = sorted(windings.winding[rows].tolist()) if rows else []
        if len(rows) < 2:
            yield error(Windings, "transformer", name, f"has {len(rows)} winding(s); give at least two")
            continue
        if number != list(range(len(rows))):
            yield error(Windings, "winding", name, f"numbered {number}; number them 0 to {len(rows) - 1}")
            continue
        if not (has_coil[rows] == has_coil[rows[0]]).all():
            yield error(Windings, "pair", name, "windings have coils on different legs; give all the same")
        ends = np.column_stack([pairs.winding_a, pairs.winding_b])[pairs_of.get(unit, [])]
        given = Counter((min(a, b), max(a, b)) for a, b in ends.tolist())
        wanted = set(combinations(number, 2))
        for a, b in sorted(wanted):
            if given[a, b] != 1:
                message = f"{given[a, b]} reactances between windings {a} and {b}; give one"
                yield error(WindingPairs, "x_pct", name, message)
        for a, b in sorted(set(given) - wanted):
            yield error(WindingPairs, "winding_b", name, f"windings {a} and {b} are no pair; correct them")


def _rows_by(key: Array) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for row, k in enumerate(key.tolist()):
        found.setdefault(k, []).append(row)
    return found


def _connections(feeder: Feeder) -> Iterator[Issue]:
    connections = feeder[Connections]
    yield from connection_pairs(connections)
    yield from check_inverters(connections)
    known = {"", *feeder[Loads].name}
    for prosumer, load in zip(connections.prosumer, connections.load, strict=True):
        if load not in known:
            yield error(Connections, "load", prosumer, f"no load {load!r}; name one, or leave it empty")
    total: dict[str, float] = {}
    for prosumer, share in zip(connections.prosumer, connections.share.tolist(), strict=True):
        total[prosumer] = total.get(prosumer, 0.0) + share
    for prosumer, share in total.items():
        if not abs(share - 1) <= SHARE_ATOL:
            yield error(Connections, "share", prosumer, f"its shares sum to {share:g}; make them sum to 1")


def _audit(feeder: Feeder) -> Iterator[Issue]:
    loads, lines = feeder[Loads], feeder[Lines]
    negative = loads.p_kw < 0
    if negative.any():
        message = f"{negative.sum()} negative, {loads.p_kw[negative].sum():g} kW in all"
        yield Issue("audit", "Loads", "p_kw", _listed(loads.name[negative]), message)
    unrated = (np.isnan(lines.i_max_a) & conductors(lines)).any(axis=1)
    if unrated.any():
        message = f"{unrated.sum()} of {len(lines)} lines have no rating: no current limit applies there"
        yield Issue("audit", "Lines", "i_max_a", _listed(lines.name[unrated]), message)


# --- the whole circuit -----------------------------------------------------------------------------


def _nodes(feeder: Feeder) -> Iterator[Issue]:
    """Buses without nodes, nodes without elements, nodes without a path to a source."""
    on_bus = np.bincount(feeder.nodes.bus[1:], minlength=len(feeder.buses))
    for bus in feeder.buses.name[on_bus == 0]:
        yield Issue("warning", "Buses", "name", str(bus), "isolated: it has no nodes; use it or take it out")
    used = np.zeros(len(feeder.nodes) + 1, dtype=bool)  # the last one catches absent nodes, -1
    for table in feeder.tables.values():
        for col in table.columns():
            if col.check == "node":
                used[getattr(table, col.name)] = True
    used = used[:-1]
    used[EARTH] = True
    message = "unused: nothing is connected to it; connect it or take it out"
    yield from errors(Nodes, "terminal", feeder.node_names, ~used, message)
    if not len(feeder[Sources]):
        return
    dark = ~energised(feeder) & used
    group = node_groups(feeder, "cores")
    for number in np.unique(group[dark]):
        names = feeder.node_names[dark & (group == number)]
        message = f"no path to a source for {_listed(names)}; close a switch, add a line or a transformer"
        yield error(Nodes, "bus", names[0], message)


def _grounding(feeder: Feeder) -> Iterator[Issue]:
    """Sections without an earthed source or coil, counted together per voltage level."""
    sections = ungrounded_sections(feeder)
    for v_ll_kv, shunt in sorted({(s.v_ll_kv, s.shunt) for s in sections}):
        same = [s for s in sections if (s.v_ll_kv, s.shunt) == (v_ll_kv, shunt)]
        n_nodes = sum(len(s.node) for s in same)
        place = f"ungrounded at {v_ll_kv:g} kV, {n_nodes} nodes in {len(same)} section(s)"
        first = str(feeder.node_names[same[0].node[0]])
        if shunt:
            message = f"{place}, held only by shunt capacitance; phase-to-earth voltages there are fragile"
            yield Issue("warning", "Buses", "v_base_kv", first, message)
        else:
            message = f"{place}, without any shunt; earth a winding, or give lines their capacitance"
            yield error(Buses, "v_base_kv", first, message)
