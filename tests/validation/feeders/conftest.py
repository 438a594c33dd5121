"""Our reading of a circuit beside the engine's own: primitive admittances and voltages."""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dms.network import Flow, Network
from feeders import Capacitors, Feeder
from feeders.elements import Primitive, primitives
from feeders.readers.opendss import ReadResult, read
from feeders.topology import ungrounded_sections

Entries = dict[tuple[str, str], complex]
LINEAR = ("line", "transformer", "capacitor", "reactor", "vsource", "autotrans", "fault")
NOTHING_S = 2e-12
"""What the engine puts on the diagonal of something that is switched off."""


@dataclass(frozen=True)
class Comparison:
    """Largest differences between our tables and the engine, with their places.

    v_gap_pu     voltages to earth; in a section that nothing but its shunts ties to earth, voltages against
                 the section's mean, since there the engine's rounding decides the potential as a whole:
                 1e-16 of admittances of 1e3 S and more weighs 1e-13 S against float shunts of 1e-8 S
    loose_gap_pu  the potential of such sections, 0 without any
    y_gap        primitive admittances, over the largest entry of the element
    i_gap        currents into the element's nodes, over its largest one or 1 A, beyond the
                 amperes by which the engine's own solution misses Kirchhoff's law
    """

    result: ReadResult
    converged: bool
    v_gap_pu: float
    node: str
    loose_gap_pu: float
    y_gap: float
    element: str
    n_elements: int
    i_gap: float
    carrier: str

    @property
    def row(self) -> str:
        """One line of the published table."""
        voltages = f"{self.v_gap_pu:.1e} at {self.node}, floating {self.loose_gap_pu:.1e}"
        admittances = f"{self.y_gap:.1e} at {self.element}, {self.n_elements} elements"
        n_nodes, n_fixed = self.result.feeder.n_nodes, self.result.n_fixed
        currents = f"{self.i_gap:.1e} at {self.carrier}"
        return f"{n_nodes:6d} nodes | {voltages} | {admittances} | {currents} | {n_fixed} fixed"


@pytest.fixture
def compare(opendss: Any) -> Callable[..., Comparison]:
    """`compare(master)`: read it, solve it, and hold both results against the engine's."""

    def run(master: Path, **options: Any) -> Comparison:
        result = read(master, **options)
        settle(opendss, master)
        ours = by_element(result.feeder)
        theirs = {name: entries for name, entries in engine_elements(opendss)}
        gaps = {name: gap(ours.get(name, {}), entries) for name, entries in theirs.items()}
        worst = max(gaps, key=gaps.__getitem__)
        network = Network(result.feeder)
        flow = network.solve_loads()
        v = opendss.voltages()
        names = [str(n) for n in result.feeder.node_names]
        theirs_v = np.array([v.get(name, np.nan) for name in names])
        theirs_v[0] = 0
        off = (flow.v - theirs_v) / result.feeder.v_base_v
        off[np.isnan(off)] = 0  # the open ends of lines, nodes of ours only
        loose = 0.0
        for section in ungrounded_sections(result.feeder):
            loose = max(loose, float(np.abs(off[section.node]).max()))
            off[section.node] -= off[section.node].mean()
        k = int(np.abs(off).argmax())
        voltages = (flow.converged, float(np.abs(off[k])), names[k], loose)
        carried = currents_a(result.feeder, network, flow)
        wanted, missed_a = engine_currents(opendss)
        drift = {name: gap_a(carried.get(name, {}), i_a, missed_a) for name, i_a in wanted.items()}
        carrier = max(drift, key=drift.__getitem__)
        return Comparison(result, *voltages, gaps[worst], worst, len(gaps), float(drift[carrier]), carrier)

    return run


def settle(opendss: Any, master: Path) -> None:
    """Compile and solve, let the controls come to rest, freeze them, solve tightly."""
    opendss.compile(master)
    opendss.run("set mode=snapshot", "set maxiterations=100", "set maxcontroliter=100", "solve")
    opendss.run("set controlmode=off")
    opendss.solve(1e-10)


def gap(ours: Entries, theirs: Entries) -> float:
    """Largest difference of two admittance matrices over the largest entry."""
    keys = set(ours) | set(theirs)
    size = max((abs(y) for y in theirs.values()), default=0.0)
    off = max((abs(ours.get(k, 0j) - theirs.get(k, 0j)) for k in keys), default=0.0)
    return 0.0 if max(off, size) <= NOTHING_S else off / max(size, NOTHING_S)


def by_element(feeder: Feeder) -> dict[str, Entries]:
    """Primitive admittances by the engine's element names, added up per pair of nodes."""
    found: dict[str, Entries] = defaultdict(lambda: defaultdict(complex))
    names = feeder.node_names
    for p in primitives(feeder):
        y = p.yprim_s()
        for e in range(len(p.element)):
            entries = found[_label(feeder, p, e)]
            for i, j in zip(*np.nonzero(y[e]), strict=True):
                a, b = p.node[e, i], p.node[e, j]
                if a > 0 and b > 0:
                    entries[names[a], names[b]] += y[e, i, j]
    return found


def currents_a(feeder: Feeder, network: Network, flow: Flow) -> dict[str, dict[str, complex]]:
    """Currents into the nodes of every element, ampere, by the engine's element names."""
    found: dict[str, dict[str, complex]] = defaultdict(lambda: defaultdict(complex))
    for p, current in network.terminal_currents(flow):
        for e in range(len(p.element)):
            into = found[_label(feeder, p, e)]
            for node, i in zip(p.node[e], current[e], strict=True):
                if node > 0:
                    into[str(feeder.node_names[node])] += i
    return found


def gap_a(ours: dict[str, complex], theirs: dict[str, complex], missed_a: float) -> float:
    """Largest difference of currents beyond what the engine misses, over the largest current or 1 A."""
    size = max((abs(i) for i in theirs.values()), default=0.0)
    off = max((abs(ours.get(node, 0j) - i) for node, i in theirs.items()), default=0.0)
    return max(off - missed_a, 0.0) / max(size, 1.0)


def engine_currents(opendss: Any) -> tuple[dict[str, dict[str, complex]], float]:
    """Currents into the nodes of lines and banks, and how far the engine misses Kirchhoff's law, ampere."""
    circuit = opendss.engine.ActiveCircuit
    found: dict[str, dict[str, complex]] = {}
    order = [str(node).lower() for node in circuit.YNodeOrder]
    balance: dict[str, complex] = defaultdict(complex)
    for name in circuit.AllElementNames:
        circuit.SetActiveElement(name)
        element, kind = circuit.ActiveCktElement, name.split(".")[0].lower()
        if not element.Enabled or kind.endswith(("control", "meter", "monitor")):
            continue
        into: dict[str, complex] = defaultdict(complex)
        values = np.asarray(element.Currents)
        values = values if np.iscomplexobj(values) else values.view(complex)
        for ref, i in zip(element.NodeRef, values, strict=True):
            if ref:
                into[order[ref - 1]] += i
                balance[order[ref - 1]] += i
        if kind in LINEAR[:-3]:
            found[name.lower()] = into
    return found, max(abs(i) for i in balance.values())


def _label(feeder: Feeder, p: Primitive, e: int) -> str:
    """The engine's name of an element: a bank is one element, a neutral is part of its transformer."""
    name = str(p.element[e])
    if p.kind == "capacitor":
        return f"capacitor.{feeder[Capacitors].bank[p.row[e]]}"
    if p.kind == "admittance" or name.startswith(("reactor.", "capacitor.")):
        return name
    if name.startswith("transformer."):
        return name.rsplit(".neutral", 1)[0]
    if p.kind == "reactor":
        return f"reactor.{name.rsplit('.', 1)[0]}"
    return {"switch": "line", "source": "vsource"}.get(p.kind, p.kind) + "." + name.removesuffix(".open")


def engine_elements(opendss: Any) -> list[tuple[str, Entries]]:
    """The engine's primitive admittances of everything linear, per pair of nodes."""
    circuit, found = opendss.engine.ActiveCircuit, []
    order = [str(node).lower() for node in circuit.YNodeOrder]
    for name in circuit.AllElementNames:
        if name.split(".")[0].lower() not in LINEAR:
            continue
        circuit.SetActiveElement(name)
        element = circuit.ActiveCktElement
        if not element.Enabled:
            continue
        y = opendss.yprim(name)
        nodes = [order[k - 1] if k else "" for k in element.NodeRef]
        entries: Entries = defaultdict(complex)
        for i, a in enumerate(nodes):
            for j, b in enumerate(nodes):
                if a and b:
                    entries[a, b] += y[i, j]
        found.append((name.lower(), entries))
    return found
