"""One-line diagram of a feeder: buses at their coordinates or laid out, coloured by what matters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import networkx as nx
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from anoca.errors import InputError
from anoca.report.layout import stress_layout
from dms import DmsRequest, Limits, LimitValues, Network
from dms.certificate import measure, run
from dms.limits import Family
from feeders import Connections, Feeder, Lines, Sources, Switches, Transformers, Windings
from feeders.table import Array

Colour = Literal["voltage", "loading"]
MARKED = ("#d1495b", "#8d6a9f")
"""Colours of limits that bind and of those broken before."""
CUT = "#1b6ca8"


@dataclass(frozen=True)
class _Edge:
    """What is drawn between two buses; `loading` in percent of rating, NaN where there is none."""

    a: str
    b: str
    kind: str
    length: float
    loading: float


def one_line_diagram(
    feeder: Feeder, path: Path, colour: Colour = "voltage", *, coordinates: bool = True
) -> Path:
    """Draw the feeder at base load and write PNG or SVG, by the path's ending.

    colour       "voltage": buses by their mean |v| in pu; "loading": lines by current over rating
    coordinates  use the buses' own where all have them; else lay out by stress on line lengths
    Returns      the path
    Raises       InputError  the feeder has no power flow at base load
    """
    network = Network(feeder)
    flow = run(network, DmsRequest.of(feeder, np.zeros(len(feeder[Connections]))))
    if not flow.converged:
        raise InputError(f"feeder {feeder.name}: no power flow at base load to draw; are its loads kW?")
    values = LimitValues.resolve(feeder, Limits())
    state = measure(network, flow, values)
    edges = _edges(feeder, values, state.over_i)
    where = _positions(feeder, edges, coordinates)
    voltage = _bus_voltage(feeder, np.abs(flow.v) / feeder.v_base_v)

    mpl.use("Agg")
    figure = Figure(figsize=(10, 8), layout="constrained")
    axes = figure.subplots()
    _draw_edges(figure, axes, edges, where, colour)
    x, y = np.array(list(where.values()), dtype=float).T
    size = float(np.clip(6000 / len(x), 2, 40))
    if colour == "voltage":
        v = np.array([voltage[name] for name in where])
        low, high = np.percentile(v, [2, 98])  # a few outliers must not flatten the rest
        shade = axes.scatter(x, y, c=v, s=size, cmap="viridis", vmin=low, vmax=high, zorder=3)
        figure.colorbar(shade, ax=axes, label="|v|, pu, mean of the phases", shrink=0.8, extend="both")
    else:
        axes.scatter(x, y, color="0.3", s=size / 3, zorder=3)
    for name in {_bus(feeder, n) for n in feeder[Sources].node[:, 0]}:
        axes.plot(*where[name], "s", ms=9, color="#d1495b", zorder=4, label=f"source {name}")
    axes.set_title(f"{feeder.name}: {len(feeder.buses)} buses, power flow at base load")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_axis_off()
    axes.legend(loc="lower right", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path


def explained_diagram(
    feeder: Feeder,
    limits: Limits,
    named: Mapping[str, set[str]],
    cut_kw: Mapping[str, float],
    path: Path,
    title: str,
) -> Path:
    """The feeder with limits coloured by what they do, and a circle at every curtailed home.

    named   what is coloured ("limits that bind"), and its elements as tables of limits name them
    cut_kw  curtailment by prosumer; the area of a circle is proportional to it
    """
    values = LimitValues.resolve(feeder, limits)
    edges = _edges(feeder, values, np.full(len(values.rating), np.nan))
    where = _positions(feeder, edges, coordinates=True)
    mpl.use("Agg")
    figure = Figure(figsize=(10, 8), layout="constrained")
    axes = figure.subplots()
    _draw_edges(figure, axes, edges, where, "voltage")
    x, y = np.array(list(where.values()), dtype=float).T
    axes.scatter(x, y, color="0.4", s=float(np.clip(2000 / len(x), 1, 12)), zorder=2)
    for (what, elements), shade in zip(named.items(), MARKED, strict=False):
        between = [pair for f in values.families for pair in _marked(feeder, f, elements)]
        segments = [(where[a], where[b]) for a, b in between if a != b]
        if segments:
            lines = LineCollection(segments, colors=shade, lw=4, alpha=0.8, zorder=3)
            axes.add_collection(lines)
        points = np.array([where[a] for a, b in between if a == b]).reshape(-1, 2)
        axes.plot(points[:, 0], points[:, 1], "D", ms=7, color=shade, zorder=4)
        if between:
            axes.plot([], [], "-D", color=shade, lw=4, label=what)
    _draw_cuts(axes, feeder, where, cut_kw)
    axes.set_title(title)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_axis_off()
    axes.legend(loc="best", frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    return path


def _marked(feeder: Feeder, family: Family, elements: set[str]) -> list[tuple[str, str]]:
    """Buses at both ends of the named elements of a family; one bus twice where it is a node's."""
    found = []
    tables: dict[str, Lines | Switches] = {"line": feeder[Lines], "switch": feeder[Switches]}
    for k in [k for k, name in enumerate(family.label) if str(name) in elements]:
        if family.of[k] in tables:
            table, row = tables[family.of[k]], int(family.place[k, 0])
            found.append((_bus(feeder, table.from_node[row].max()), _bus(feeder, table.to_node[row].max())))
        elif family.of[k] == "transformer":
            windings = feeder[Windings]
            rows = np.flatnonzero(windings.transformer == family.place[k, 0])
            buses = [_bus(feeder, int(windings.pair[r].max())) for r in rows]
            found += [(buses[0], other) for other in buses[1:]]
        elif family.place.size:
            bus = _bus(feeder, int(family.place[k].max()))
            found.append((bus, bus))
    return found


def _draw_cuts(axes: Any, feeder: Feeder, where: dict[str, Any], cut_kw: Mapping[str, float]) -> None:
    connections = feeder[Connections]
    at = {
        str(n): _bus(feeder, int(p.max()))
        for n, p in zip(connections.prosumer, connections.pair, strict=True)
    }
    by_bus: dict[str, float] = {}
    for name, kw in cut_kw.items():
        bus = at.get(str(name).partition("#")[0])
        if bus is not None and kw > 0:
            by_bus[bus] = by_bus.get(bus, 0.0) + kw
    if not by_bus:
        return
    x, y = np.array([where[bus] for bus in by_bus]).T
    size = np.array(list(by_bus.values()))
    axes.scatter(x, y, s=900 * size / size.max(), facecolors="none", edgecolors=CUT, lw=1.3, zorder=5)
    label = f"curtailed, per bus; the largest circle is {size.max():.3g} kW"
    axes.plot([], [], "o", mfc="none", color=CUT, ms=10, label=label)


def _draw_edges(figure: Figure, axes: Any, edges: list[_Edge], where: dict[str, Any], colour: Colour) -> None:
    styles = {"line": ("0.6", 1.2), "switch": ("#66a182", 1.2), "transformer": ("#edae49", 0.8)}
    for kind, (shade, width) in styles.items():
        mine = [e for e in edges if e.kind == kind]
        if not mine:
            continue
        segments = [(where[e.a], where[e.b]) for e in mine]
        if kind == "line" and colour == "loading":
            loading = np.array([e.loading for e in mine])
            rated = np.flatnonzero(~np.isnan(loading))
            unrated = [segments[k] for k in np.flatnonzero(np.isnan(loading))]
            axes.add_collection(LineCollection(unrated, colors="0.8", lw=1.0, label="unrated", zorder=1))
            lines = LineCollection([segments[k] for k in rated], array=loading[rated], cmap="inferno_r", lw=2)
            lines.set_clim(0, 100)
            axes.add_collection(lines)
            figure.colorbar(lines, ax=axes, label="current, % of rating", shrink=0.8)
        else:
            axes.add_collection(LineCollection(segments, colors=shade, lw=width, label=kind, zorder=1))


def _edges(feeder: Feeder, values: LimitValues, over_i: Array) -> list[_Edge]:
    loading = np.full(len(feeder[Lines]), np.nan)
    lines = values.kind == "line"
    np.fmax.at(loading, values.row[lines], 100 * (over_i[lines] + 1))
    found = []
    for kind, table in (("line", feeder[Lines]), ("switch", feeder[Switches])):
        for r in range(len(table)):
            ends = [int(table.from_node[r].max()), int(table.to_node[r].max())]
            if kind == "switch" and not feeder[Switches].closed[r]:
                continue
            length = float(feeder[Lines].length_m[r]) if kind == "line" else np.nan
            part = float(loading[r]) if kind == "line" else np.nan
            found.append(_Edge(_bus(feeder, ends[0]), _bus(feeder, ends[1]), kind, length, part))
    windings = feeder[Windings]
    for t in range(len(feeder[Transformers])):
        buses = [_bus(feeder, int(windings.pair[r].max())) for r in np.flatnonzero(windings.transformer == t)]
        found += [_Edge(buses[0], other, "transformer", np.nan, np.nan) for other in buses[1:]]
    return [e for e in found if e.a != e.b]


def _positions(feeder: Feeder, edges: list[_Edge], coordinates: bool) -> dict[str, Any]:
    """Given coordinates where every bus has them; otherwise all buses are laid out."""
    buses = feeder.buses
    if coordinates and np.isfinite(buses.x).all() and np.isfinite(buses.y).all():
        return {str(n): (x, y) for n, x, y in zip(buses.name, buses.x, buses.y, strict=True)}
    graph: nx.Graph = nx.Graph()
    graph.add_nodes_from(map(str, buses.name))
    graph.add_edges_from((e.a, e.b, {"length": e.length}) for e in edges)
    return dict(stress_layout(graph))


def _bus_voltage(feeder: Feeder, v_pu: Array) -> dict[str, float]:
    phases = (feeder.nodes.bus >= 0) & (feeder.nodes.terminal <= 3)
    total = np.bincount(feeder.nodes.bus[phases], v_pu[phases], len(feeder.buses))
    count = np.bincount(feeder.nodes.bus[phases], minlength=len(feeder.buses))
    mean = total / np.maximum(count, 1)
    return {str(n): float(v) for n, v in zip(feeder.buses.name, mean, strict=True)}


def _bus(feeder: Feeder, node: int) -> str:
    return str(feeder.buses.name[feeder.nodes.bus[node]])
