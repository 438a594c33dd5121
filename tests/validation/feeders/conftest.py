"""Our reading of a circuit beside the engine's own: primitive admittances and voltages."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.sparse.linalg import splu

from dms.network import Flow, Network
from feeders import Capacitors, Feeder, Generators, Loads
from feeders.elements import Primitive, generators, loads, primitives
from feeders.readers.opendss import ReadResult, read
from feeders.topology import ungrounded_sections

Entries = dict[tuple[str, str], complex]
LINEAR = ("line", "transformer", "capacitor", "reactor", "vsource", "autotrans", "fault")
NOTHING_S = 2e-12
"""What the engine puts on the diagonal of something that is switched off."""


CURRENT_FLOOR_A = 1.0
"""Element currents are compared over the element's largest one or this."""
REFINEMENTS = 8


@dataclass(frozen=True)
class Sharp:
    """The engine's own equations with more digits than it keeps: its Kirchhoff's law, solved on.

    residual_a  by how much the engine's solution misses Kirchhoff's law, its admittances added up in 80 bits
    left_a      what is left of that after refinement
    moved_pu    how far refinement moves the engine's voltages
    v           the refined voltages, volt
    i_a         currents into the nodes of every element, ampere, at these voltages
    """

    residual_a: float
    left_a: float
    moved_pu: float
    v: dict[str, complex]
    i_a: dict[str, dict[str, complex]]


@dataclass(frozen=True)
class Comparison:
    """Largest differences between our tables and the engine, with their places.

    v_gap_pu     voltages to earth; in a section that nothing but its shunts ties to earth, voltages against
                 the section's mean, since there the engine's rounding decides the potential as a whole:
                 1e-16 of admittances of 1e3 S and more weighs 1e-13 S against float shunts of 1e-8 S
    loose_gap_pu  the potential of such sections, 0 without any
    blur_pu      what rounding alone may do to it: a section's admittances times 2^-53 over its shunts
    raw_v_pu     voltages to earth at every node, as the engine has them
    sharp_v_pu   the same against the engine's equations solved on (`Sharp`)
    y_gap        primitive admittances, over the largest entry of the element
    raw_i        currents into the element's nodes, over its largest one or 1 A, as the engine has them
    i_gap        the same beyond the amperes by which the engine's own solution misses Kirchhoff's law
    sharp_i      the same at the voltages of the engine's equations solved on
    """

    result: ReadResult
    converged: bool
    v_gap_pu: float
    node: str
    loose_gap_pu: float
    blur_pu: float
    raw_v_pu: float
    raw_node: str
    sharp_v_pu: float
    sharp_node: str
    y_gap: float
    element: str
    n_elements: int
    raw_i: float
    raw_carrier: str
    i_gap: float
    carrier: str
    sharp_i: float
    sharp_carrier: str
    sharp: Sharp

    @property
    def row(self) -> str:
        """One line for the terminal."""
        voltages = f"{self.v_gap_pu:.1e} at {self.node}, floating {self.loose_gap_pu:.1e}"
        voltages += f", solved on {self.sharp_v_pu:.1e} at {self.sharp_node}"
        admittances = f"{self.y_gap:.1e} at {self.element}, {self.n_elements} elements"
        n_nodes, n_fixed = self.result.feeder.n_nodes, self.result.n_fixed
        currents = f"{self.raw_i:.1e} at {self.raw_carrier}, beyond its residual {self.i_gap:.1e}"
        currents += f", solved on {self.sharp_i:.1e} at {self.sharp_carrier}"
        return f"{n_nodes:6d} nodes | {voltages} | {admittances} | {currents} | {n_fixed} fixed"


@pytest.fixture
def compare(opendss: Any) -> Callable[..., Comparison]:
    """`compare(master)`: read it, solve it, and hold both results against the engine's."""

    def run(master: Path, **options: Any) -> Comparison:
        return compared(opendss, master, read(master, **options))

    return run


def compared(opendss: Any, master: Path, result: ReadResult) -> Comparison:
    """A reading and its power flow beside the engine, which compiles the master itself."""
    settle(opendss, master)
    feeder = result.feeder
    network = Network(feeder)
    flow = network.solve_loads()
    theirs = dict(engine_elements(opendss))
    ours = by_element(feeder)
    gaps = {name: gap(ours.get(name, {}), entries) for name, entries in theirs.items()}
    element, y_gap = _worst(gaps)
    currents, missed_a = engine_currents(opendss)
    sharp = sharpened(opendss, feeder)
    found = {
        **_voltage_gaps(feeder, flow, opendss.voltages(), sharp),
        "blur_pu": _blur_pu(feeder, theirs),
        **_current_gaps(currents_a(feeder, network, flow), currents, missed_a, sharp),
    }
    return Comparison(
        result, flow.converged, y_gap=y_gap, element=element, n_elements=len(gaps), sharp=sharp, **found
    )


def _voltage_gaps(feeder: Feeder, flow: Flow, theirs: dict[str, complex], sharp: Sharp) -> dict[str, Any]:
    """Voltages per unit, as `Comparison` names them."""

    def off(reference: dict[str, complex]) -> Any:
        v = np.array([0j, *(reference.get(str(n), np.nan) for n in feeder.node_names[1:])])
        return np.nan_to_num((flow.v - v) / feeder.v_base_v)  # the open ends of lines are nodes of ours only

    raw, refined = off(theirs), off(sharp.v)
    held, loose = raw.copy(), 0.0
    for section in ungrounded_sections(feeder):
        loose = max(loose, float(np.abs(held[section.node]).max()))
        held[section.node] -= held[section.node].mean()
    found: dict[str, Any] = {"loose_gap_pu": loose}
    for (size, place), values in {
        ("v_gap_pu", "node"): held,
        ("raw_v_pu", "raw_node"): raw,
        ("sharp_v_pu", "sharp_node"): refined,
    }.items():
        k = int(np.abs(values).argmax())
        found |= {size: float(np.abs(values[k])), place: str(feeder.node_names[k])}
    return found


def _blur_pu(feeder: Feeder, theirs: dict[str, Entries]) -> float:
    """How far rounding of the engine's primitive admittances may shift the loosest section's potential."""
    blur = 0.0
    for section in ungrounded_sections(feeder):
        names = {str(name) for name in feeder.node_names[section.node]}
        inside = [
            y for entries in theirs.values() for (a, b), y in entries.items() if a in names and b in names
        ]
        blur = max(blur, 2**-53 * sum(map(abs, inside)) / max(abs(sum(map(np.clongdouble, inside))), 1e-300))
    return float(blur)


def _current_gaps(
    ours: dict[str, dict[str, complex]],
    theirs: dict[str, dict[str, complex]],
    missed_a: float,
    sharp: Sharp,
) -> dict[str, Any]:
    """Element currents, as `Comparison` names them."""
    found: dict[str, Any] = {}
    for (size, place), reference, allowed in (
        (("raw_i", "raw_carrier"), theirs, 0.0),
        (("i_gap", "carrier"), theirs, missed_a),
        (("sharp_i", "sharp_carrier"), sharp.i_a, 0.0),
    ):
        gaps = {name: gap_a(ours.get(name, {}), reference[name], allowed) for name in theirs}
        found[place], found[size] = _worst(gaps)
    return found


def _worst(gaps: dict[str, float]) -> tuple[str, float]:
    name = max(gaps, key=gaps.__getitem__)
    return name, float(gaps[name])


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
    return max(off - missed_a, 0.0) / max(size, CURRENT_FLOOR_A)


def engine_currents(opendss: Any) -> tuple[dict[str, dict[str, complex]], float]:
    """Currents into the nodes of lines and banks, and how far the engine misses Kirchhoff's law, ampere."""
    found: dict[str, dict[str, complex]] = {}
    balance: dict[str, complex] = defaultdict(complex)
    for name, element, order in _in_service(opendss):
        into: dict[str, complex] = defaultdict(complex)
        for ref, i in zip(element.NodeRef, _complex(element.Currents), strict=True):
            if ref:
                into[order[ref - 1]] += i
                balance[order[ref - 1]] += i
        if name.split(".")[0].lower() in LINEAR[:-3]:
            found[name.lower()] = into
    return found, max(abs(i) for i in balance.values())


def _in_service(opendss: Any) -> Iterator[tuple[str, Any, list[str]]]:
    """Name, the engine's element, and its names of nodes, for everything that carries current."""
    circuit = opendss.engine.ActiveCircuit
    order = [str(node).lower() for node in circuit.YNodeOrder]
    for name in circuit.AllElementNames:
        circuit.SetActiveElement(name)
        element = circuit.ActiveCktElement
        if element.Enabled and not name.split(".")[0].lower().endswith(("control", "meter", "monitor")):
            yield name, element, order


def _complex(values: Any) -> Any:
    array = np.asarray(values)
    return array if np.iscomplexobj(array) else array.view(complex)


def sharpened(opendss: Any, feeder: Feeder) -> Sharp:
    """The engine's solution refined in its own equations.

    Its primitive admittances are added up in 80 bits instead of 64, and what its voltages leave in
    Kirchhoff's law is solved for, several times. The currents of its loads and units are its own; as the
    voltages move, they move by our laws.
    """
    circuit = opendss.engine.ActiveCircuit
    order = [str(node).lower() for node in circuit.YNodeOrder]
    start = np.append(_complex(circuit.YNodeVarray), 0).astype(np.clongdouble)  # earth last
    injected = np.zeros(len(start), dtype=np.clongdouble)
    linear: dict[str, tuple[Any, Any]] = {}
    others: dict[str, tuple[Any, Any]] = {}
    for name, element, _ in _in_service(opendss):
        at = np.array(element.NodeRef) - 1  # -1, the last, for earth
        i_a, y = _complex(element.Currents).astype(np.clongdouble), opendss.yprim(name).astype(np.clongdouble)
        kind = name.split(".")[0].lower()
        (linear if kind in LINEAR else others)[name.lower()] = (at, y)
        if kind not in LINEAR or kind == "vsource":
            np.add.at(injected, at, (y @ start[at] if kind == "vsource" else 0) - i_a)
    answer = _answer(feeder, order)
    still = answer(start.astype(complex))
    v, residuals = _refined(
        start[:-1], _added(linear), _added(linear | others), lambda v: injected[:-1] + answer(v) - still
    )
    whole = np.append(v, 0)
    i_a = {name: _by_node(order, at, y @ whole[at]) for name, (at, y) in linear.items()}
    moved = float((np.abs(v - start[:-1]) / np.maximum(np.abs(start[:-1]), 1.0)).max())
    volts = dict(zip(order, v.astype(complex).tolist(), strict=True))
    return Sharp(residuals[0], residuals[-1], moved, volts, i_a)


def _added(elements: dict[str, tuple[Any, Any]]) -> tuple[Any, Any, Any]:
    """Rows, columns and values of a sum of primitive admittances, nodes only, in 80 bits."""
    rows = np.concatenate([np.repeat(at, len(at)) for at, _ in elements.values()])
    cols = np.concatenate([np.tile(at, len(at)) for at, _ in elements.values()])
    values = np.concatenate([y.ravel() for _, y in elements.values()])
    live = (rows >= 0) & (cols >= 0) & (values != 0)
    n = int(max(rows.max(), cols.max())) + 1
    key, place = np.unique(rows[live] * n + cols[live], return_inverse=True)
    total = np.zeros(len(key), dtype=np.clongdouble)
    np.add.at(total, place, values[live])
    return key // n, key % n, total


def _refined(v: Any, y: Any, slope: Any, injected: Callable[[Any], Any]) -> tuple[Any, list[float]]:
    """Voltages with y v = injected(v) to 80 bits, and the residual before and after, ampere."""
    rows, cols, values = y
    lu = splu(sp.coo_matrix((slope[2].astype(complex), slope[:2]), shape=(len(v), len(v))).tocsc())
    residuals = []
    for _ in range(REFINEMENTS):
        missed = injected(np.append(v, 0).astype(complex))
        np.add.at(missed, rows, -values * v[cols])
        residuals.append(float(np.abs(missed).max()))
        v = v + lu.solve(missed.astype(complex))
    return v, residuals


def _answer(feeder: Feeder, order: list[str]) -> Callable[[Any], Any]:
    """Currents that loads and units inject at the nodes of the engine's order, by our laws."""
    drawn, made = feeder[Loads], feeder[Generators]
    place = {name: k for k, name in enumerate(order)}
    index = np.array([place.get(str(name), len(order)) for name in feeder.node_names])
    a, b = index[np.concatenate([drawn.pair, made.pair])].reshape(-1, 2).T
    n = len(drawn)

    def current(v: Any) -> Any:
        u = v[a] - v[b]
        s = np.concatenate([-loads.power_va(drawn, u[:n]), generators.power_va(made, u[n:])])
        j = np.zeros(len(order) + 1, dtype=np.clongdouble)
        i_a = np.conj(s / np.where(u == 0, 1, u))
        np.add.at(j, a, i_a)
        np.add.at(j, b, -i_a)
        return j[:-1]

    return current


def _by_node(order: list[str], at: Any, i_a: Any) -> dict[str, complex]:
    into: dict[str, complex] = defaultdict(complex)
    for k, i in zip(at, i_a, strict=True):
        if k >= 0:
            into[order[k]] += complex(i)
    return into


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
