"""Topology of a feeder: graphs, islands, loops, what is energised, what is tied to earth.

Buses are joined by lines, closed switches and transformers; an open switch joins nothing. Nodes
are joined conductor by conductor, and by the coils of a transformer leg. Earth joins nothing:
otherwise every earthed thing would be connected to every other.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import sqrt
from typing import Any, Literal

import networkx as nx
import numpy as np
import scipy.sparse as sp
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import splu

from feeders.elements import (
    Admittances,
    Connections,
    Lines,
    Loads,
    Reactors,
    Sources,
    Switches,
    Transformers,
    Windings,
    primitives,
)
from feeders.elements.lines import conductors
from feeders.elements.switches import poles
from feeders.feeder import Feeder
from feeders.table import EARTH, Array

Joint = Literal["conductors", "coils", "cores"]
"""What joins two nodes, from the narrowest sense to the widest."""


def bus_graph(feeder: Feeder, *, multi: bool = False) -> nx.Graph:
    """Buses by name, joined by lines, closed switches and transformers.

    multi    keep parallel elements apart (`networkx.MultiGraph`) instead of as one edge
    Returns  edges carry `kind`, `name` and `length_m` (0 where there is no length)
    """
    graph: nx.Graph = nx.MultiGraph() if multi else nx.Graph()
    graph.add_nodes_from(feeder.buses.name)
    for kind, name, start, end, length_m in _bus_edges(feeder):
        graph.add_edge(start, end, kind=kind, name=name, length_m=length_m)
    return graph


def n_cycles(graph: nx.Graph) -> int:
    """Independent cycles of a graph, edges - nodes + components; counts parallel edges of a multigraph."""
    return int(graph.number_of_edges() - graph.number_of_nodes() + nx.number_connected_components(graph))


def islands(feeder: Feeder) -> list[list[str]]:
    """Buses joined to each other, largest group first, each in the feeder's order."""
    graph = bus_graph(feeder)
    order = {name: i for i, name in enumerate(feeder.buses.name)}
    groups = [sorted(group, key=order.__getitem__) for group in nx.connected_components(graph)]
    return sorted(groups, key=lambda g: (-len(g), order[g[0]]))


def energised(feeder: Feeder) -> Array:
    """(n_nodes + 1,) bool: nodes with a path to a source, or held by a conductor to earth; earth is True."""
    label = node_groups(feeder, "cores")
    held = np.append(feeder[Sources].node.ravel(), _earthed_ends(feeder))
    live = np.isin(label, label[held[held > EARTH]])
    live[EARTH] = True
    return live


def depth(feeder: Feeder) -> dict[str, int]:
    """Fewest elements between each bus and a source; buses without a path are left out."""
    graph = bus_graph(feeder)
    starts = _source_buses(feeder)
    return dict(nx.multi_source_dijkstra_path_length(graph, starts, weight=lambda *_: 1)) if starts else {}


def distance_m(feeder: Feeder) -> dict[str, float]:
    """Shortest way along lines from a source to each bus, metres; a line without a length counts 0."""
    graph = bus_graph(feeder)
    starts = _source_buses(feeder)
    return dict(nx.multi_source_dijkstra_path_length(graph, starts, weight="length_m")) if starts else {}


def voltage_levels(feeder: Feeder) -> dict[float, int]:
    """Number of buses at every line-to-line voltage base, kV, highest first."""
    level, count = np.unique(np.round(feeder.buses.v_base_kv * sqrt(3), 6), return_counts=True)
    return {float(v): int(n) for v, n in zip(level[::-1], count[::-1], strict=True)}


def node_groups(feeder: Feeder, joined_by: Joint) -> Array:
    """(n_nodes + 1,) group number of every node; earth is a group of its own.

    joined_by  "conductors": line conductors and closed switches; a group has one potential, but for drops
               "coils": a transformer coil joins its two ends as well; a group is a galvanic section
               (a fixed admittance counts as one)
               "cores": a transformer leg joins all its coils; a group is what one source energises
    """
    lines, switches, windings = feeder[Lines], feeder[Switches], feeder[Windings]
    edges = [
        np.column_stack([lines.from_node[conductors(lines)], lines.to_node[conductors(lines)]]),
        np.column_stack([switches.from_node[poles(switches)], switches.to_node[poles(switches)]]),
    ]
    size = len(feeder.nodes)
    if joined_by != "conductors":
        fixed = feeder[Admittances]
        edges += [windings.pair.reshape(-1, 2), np.column_stack([fixed.to_node, fixed.of_node])]
    if joined_by == "cores" and len(windings):
        leg = size + 3 * windings.transformer[:, None] + np.arange(3)
        edges += [np.column_stack([windings.pair[..., end].ravel(), leg.ravel()]) for end in (0, 1)]
        size += 3 * (int(windings.transformer.max()) + 1)
    edge = np.concatenate(edges)
    edge = edge[(edge > EARTH).all(axis=1)]
    graph = sp.coo_matrix((np.ones(len(edge)), (edge[:, 0], edge[:, 1])), shape=(size, size))
    return np.asarray(connected_components(graph, directed=False)[1][: len(feeder.nodes)])


@dataclass(frozen=True)
class Section:
    """A galvanic section that no source and no earthed coil ties to earth.

    node     (k,) its nodes
    v_ll_kv  its line-to-line voltage base
    shunt    whether shunt admittance (capacitance) still gives it a potential
    """

    node: Array
    v_ll_kv: float
    shunt: bool


def ungrounded_sections(feeder: Feeder) -> list[Section]:
    """Energised sections whose potential against earth no series branch determines.

    Such a section can be lifted as a whole without driving any current: a vector in the null space
    of the branch-to-node incidence (turns ratios included). Conductors and closed poles hold their
    ends equal, so they are merged first; what is left are the rows of sources and transformers.
    """
    live = energised(feeder)
    merged = node_groups(feeder, "conductors")
    turns, n = _merged_turns(feeder, merged)
    # Lift K = T'T by a little and push with random currents: only null vectors give way.
    small = 1e-9
    lift = splu(sp.csc_matrix(turns.T @ turns + small * sp.identity(n, format="csc")))
    push = np.random.default_rng(0).standard_normal((n, 3))
    give = small * lift.solve(push)
    loose = np.abs(give).max(axis=1)[merged] > 1e-4
    loose &= live
    loose[EARTH] = False
    section = node_groups(feeder, "coils")
    energy = _shunt_energy(feeder, give[merged])
    found = []
    for number in np.unique(section[loose]):
        node = np.flatnonzero((section == number) & loose)
        v_ll_kv = float(feeder.v_base_v[node[0]] * sqrt(3) / 1e3)
        found.append(Section(node, round(v_ll_kv, 6), bool(energy[node].sum() > 0)))
    return found


def summary(feeder: Feeder) -> dict[str, Any]:
    """What is in a feeder, as one flat record of plain values."""
    lines, switches, loads = feeder[Lines], feeder[Switches], feeder[Loads]
    graph, multi = bus_graph(feeder), bus_graph(feeder, multi=True)
    unrated = np.isnan(lines.i_max_a) & conductors(lines)
    ungrounded = ungrounded_sections(feeder)
    return {
        "name": feeder.name,
        "origin": feeder.origin,
        "frequency_hz": feeder.frequency_hz,
        "buses": len(feeder.buses),
        "nodes": feeder.n_nodes,
        "sources": len(feeder[Sources]),
        "lines": len(lines),
        "lines_unrated": int(unrated.any(axis=1).sum()),
        "length_km": float(np.nansum(lines.length_m) / 1e3),
        "switches": len(switches),
        "switches_open": int((~switches.closed).sum()),
        "transformers": len(feeder[Transformers]),
        "loads": len(loads),
        "p_load_kw": float(loads.p_kw.sum()),
        "q_load_kvar": float(loads.q_kvar.sum()),
        "prosumers": len(set(feeder[Connections].prosumer)),
        "voltage_levels_kv": {f"{v:g}": n for v, n in voltage_levels(feeder).items()},
        "islands": nx.number_connected_components(graph),
        "cycles": n_cycles(graph),
        "cycles_with_parallels": n_cycles(multi),
        "depth": max(depth(feeder).values(), default=0),
        "nodes_without_source": int((~energised(feeder)).sum()),
        "ungrounded_sections": len(ungrounded),
        "ungrounded_nodes": sum(len(section.node) for section in ungrounded),
    }


def _bus_edges(feeder: Feeder) -> list[tuple[str, str, str, str, float]]:
    """(kind, name, bus, bus, metres) of everything that joins two buses."""
    lines, switches, units = feeder[Lines], feeder[Switches], feeder[Transformers]
    found = []
    for kind, table, there, length_m in (
        ("line", lines, conductors(lines), np.nan_to_num(lines.length_m)),
        ("switch", switches, poles(switches), np.zeros(len(switches))),
    ):
        there = there & (table.from_node > EARTH) & (table.to_node > EARTH)
        some = there.any(axis=1)
        slot = there.argmax(axis=1)[some]
        ends = [_bus_of(feeder, side[some, slot]) for side in (table.from_node, table.to_node)]
        found += [
            (kind, str(name), a, b, float(m))
            for name, a, b, m in zip(table.name[some], *ends, length_m[some], strict=True)
        ]
    fixed = feeder[Admittances]
    inside = (fixed.to_node > EARTH) & (fixed.of_node > EARTH)
    ends = [_bus_of(feeder, side[inside]) for side in (fixed.to_node, fixed.of_node)]
    joined = zip(fixed.element[inside], *ends, strict=True)
    found += [("admittance", name, a, b, 0.0) for name, a, b in dict.fromkeys(joined) if a < b]
    for t, buses in _winding_buses(feeder).items():
        found += [("transformer", str(units.name[t]), a, b, 0.0) for a, b in combinations(buses, 2)]
    return found


def _winding_buses(feeder: Feeder) -> dict[int, list[str]]:
    """Distinct buses of every transformer's windings, in winding order."""
    windings = feeder[Windings]
    found: dict[int, list[str]] = {}
    for k in np.lexsort([windings.winding, windings.transformer]):
        nodes = windings.pair[k][windings.pair[k] > EARTH]
        buses = found.setdefault(int(windings.transformer[k]), [])
        buses += [b for b in dict.fromkeys(_bus_of(feeder, nodes)) if b not in buses]
    return found


def _earthed_ends(feeder: Feeder) -> Array:
    """Nodes at the other end of a line conductor, closed switch or reactor that goes to earth."""
    lines, switches, pair = feeder[Lines], feeder[Switches], feeder[Reactors].pair
    ends = [
        np.column_stack([table.from_node[there], table.to_node[there]])
        for table, there in ((lines, conductors(lines)), (switches, poles(switches)))
    ]
    both = np.concatenate([*ends, pair])
    return np.asarray(both[(both == EARTH).any(axis=1)].max(axis=1, initial=EARTH))


def _bus_of(feeder: Feeder, node: Array) -> list[str]:
    return [str(name) for name in feeder.buses.name[feeder.nodes.bus[node]]]


def _source_buses(feeder: Feeder) -> set[str]:
    node = feeder[Sources].node
    return set(_bus_of(feeder, node[node > EARTH]))


def _merged_turns(feeder: Feeder, merged: Array) -> tuple[sp.csr_matrix, int]:
    """Incidence of source and transformer branches in per unit of voltage, over merged nodes.

    Returns  rows scaled to a largest entry of 1, and the number of columns
    """
    n = int(merged.max()) + 1
    rows, cols, data, count = [], [], [], 0
    for p in primitives(feeder):
        if p.kind not in ("source", "transformer"):
            continue
        used = p.branch[:, :, None] & (p.node > EARTH)[:, None, :] & (p.turns != 0)
        e, m, k = np.nonzero(used)
        value = p.turns[e, m, k] * feeder.v_base_v[p.node[e, k]]
        rows.append(count + e * p.branch.shape[1] + m)
        cols.append(merged[p.node[e, k]])
        data.append(value)
        count += p.branch.size
    if not rows:
        return sp.csr_matrix((0, n)), n
    matrix = sp.coo_matrix(
        (np.concatenate(data), (np.concatenate(rows), np.concatenate(cols))), shape=(count, n)
    ).tocsr()
    largest = np.asarray(abs(matrix).max(axis=1).todense()).ravel()
    return sp.csr_matrix(sp.diags(1 / np.where(largest > 0, largest, 1.0)) @ matrix), n


def _shunt_energy(feeder: Feeder, v_pu: Array) -> Array:
    """(n_nodes + 1,) |v* (Y v)| of the shunt admittances at every node, volt-ampere; v (n_nodes + 1, k)."""
    v = v_pu * feeder.v_base_v[:, None]
    v[EARTH] = 0
    current = np.zeros(v.shape, dtype=complex)
    for p in primitives(feeder):
        e, k, j = np.nonzero((p.y_s != 0) & (p.node > EARTH)[:, :, None] & (p.node > EARTH)[:, None, :])
        np.add.at(current, p.node[e, k], p.y_s[e, k, j][:, None] * v[p.node[e, j]])
    return np.asarray(np.abs(np.conj(v) * current).sum(axis=1))
