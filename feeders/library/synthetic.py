"""Seeded synthetic feeders of any size: radial or meshed, three-phase or mixed.

A 115 kV source, one delta-wye substation transformer and several 12.47 kV feeders. Each feeder is
a three-phase trunk with laterals of one, two or three phases; conductors are chosen by current and
section lengths are scaled so that the estimated voltage drop to the farthest bus is `DROP_PU`,
which keeps voltages near 0.95-1.05 at any size. Everything is drawn from the seed; no figure is measured.

Wire figures: Kersting, Distribution System Modeling and Analysis, appendix A (ACSR).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Literal

import numpy as np

from feeders.elements import Connections, Lines, Loads, Sources, Transformers, WindingPairs, Windings
from feeders.elements.sources import balanced_emf_v
from feeders.elements.transformers import delta_pairs, wye_pairs
from feeders.feeder import Buses, Feeder, Nodes
from feeders.library.parts import Wire, overhead, source_ohm
from feeders.table import ABSENT, EARTH, Array, Table

HIGH_KV, FEEDER_KV = 115.0, 12.47
SOURCE_PU, S_FAULT_MVA = 1.04, 5000.0
R_PCT, X_PCT = 1.0, 8.0

FEEDER_BUSES = 400  # typical size of one feeder
TRUNK_SHARE = 0.25
LATERAL_BUSES = 4  # mean length of a lateral
FEEDER_KW, BUS_KW = 4000.0, 60.0  # load of a large feeder; load per bus of a small one
LOADED_SHARE = 0.7
MEAN_PF = 0.95
DROP_PU, MAX_SECTION_M = 0.03, 400.0
SPARE = 1.5  # rating over estimated current, and transformer kVA over load

WIRES = (  # smallest first: 2, 1/0, 4/0, 336.4 and 556.5 kcmil ACSR
    Wire(gmr_ft=0.00418, r_ohm_per_mile=1.69, diameter_in=0.316, i_max_a=180.0),
    Wire(gmr_ft=0.00446, r_ohm_per_mile=1.12, diameter_in=0.398, i_max_a=230.0),
    Wire(gmr_ft=0.00814, r_ohm_per_mile=0.592, diameter_in=0.563, i_max_a=340.0),
    Wire(gmr_ft=0.0244, r_ohm_per_mile=0.306, diameter_in=0.721, i_max_a=530.0),
    Wire(gmr_ft=0.0313, r_ohm_per_mile=0.1859, diameter_in=0.927, i_max_a=730.0),
)
NEUTRAL = WIRES[2]
POLE_X_FT, POLE_H_FT = [-4.0, -1.5, 3.0, 0.0], [28.0, 28.0, 28.0, 24.0]

PHASE_SETS = np.array([[c in s for c in "ABC"] for s in ("ABC", "AB", "BC", "AC", "A", "B", "C")])
PHASE_ODDS = np.array([0.34, 0.08, 0.08, 0.08, 0.14, 0.14, 0.14])  # of a lateral

SOURCE, SUBSTATION = 0, 1  # bus rows


@dataclass(frozen=True)
class Tree:
    """Shape of the feeder: row 0 is the source bus, row 1 the substation, parents come before children.

    parent      (n,) int, bus upstream; -1 for the first two
    feeder      (n,) int, which feeder the bus is on; -1 for the first two
    phase_set   (n,) int, row of `PHASE_SETS`
    x, y        (n,) schematic coordinates
    """

    parent: Array
    feeder: Array
    phase_set: Array
    x: Array
    y: Array

    @property
    def phases(self) -> Array:
        """(n, 3) bool: phases present at each bus."""
        return PHASE_SETS[self.phase_set]


@dataclass(frozen=True)
class Demand:
    """Loads: bus row, the two phases (0 to 2; -1 earth) and power of each."""

    bus: Array
    ends: Array
    p_kw: Array
    q_kvar: Array


def synthetic(
    n_buses: int,
    seed: int,
    *,
    meshed: float = 0.1,
    phases: Literal["mixed", "three"] = "mixed",
    delta_share: float = 0.3,
    prosumers: float = 0.0,
) -> Feeder:
    """A feeder of `n_buses` buses; the same arguments give the same feeder.

    n_buses      buses in all, source and substation included; at least 4
    seed         of every random draw
    meshed       loops per bus: `round(meshed * n_buses)` lines close loops between three-phase
                 buses of one feeder (fewer if the feeder has no such pair left)
    phases       "mixed": laterals of one, two or three phases; "three": three everywhere
    delta_share  part of the loaded buses with two or more phases whose loads lie between phases
    prosumers    part of the loads that have a `Connections` row, named like the load
    Raises       ValueError  an argument outside its range
    """
    _check_arguments(n_buses, meshed, phases, delta_share, prosumers)
    rng = np.random.default_rng(seed)
    tree = _tree(n_buses, phases, rng)
    demand = _demand(tree, delta_share, rng)
    radial = _sections(tree, demand, rng)
    loops = _loops(tree, radial, round(meshed * n_buses), rng)
    nodes = _node_rows(tree)
    loads = _loads(nodes, demand)
    lines = _lines(tree, nodes, radial, loops)
    tables: list[Table] = [*_substation(nodes, float(demand.p_kw.sum())), lines, loads]
    if prosumers > 0:
        tables.append(_connections(loads, prosumers, rng))
    buses, rows = _places(tree)
    return Feeder(
        name=f"synthetic-{n_buses}-{seed}",
        buses=buses,
        nodes=rows,
        tables={type(t): t for t in tables},
        origin=f"synthetic(n_buses={n_buses}, seed={seed}, meshed={meshed}, phases={phases!r}, "
        f"delta_share={delta_share}, prosumers={prosumers})",
    )


def _check_arguments(n_buses: int, meshed: float, phases: str, delta_share: float, prosumers: float) -> None:
    if n_buses < 4:
        raise ValueError(f"synthetic: n_buses = {n_buses}, at least 4")
    if phases not in ("mixed", "three"):
        raise ValueError(f"synthetic: phases = {phases!r}, not 'mixed' or 'three'")
    if meshed < 0:
        raise ValueError(f"synthetic: meshed = {meshed}, not negative")
    for name, share in (("delta_share", delta_share), ("prosumers", prosumers)):
        if not 0 <= share <= 1:
            raise ValueError(f"synthetic: {name} = {share}, not between 0 and 1")


def _tree(n: int, phases: str, rng: np.random.Generator) -> Tree:
    """Feeders side by side; in each, a trunk and then laterals, each a chain from a trunk bus."""
    n_feeders = max(1, round((n - 2) / FEEDER_BUSES))
    edges = np.linspace(2, n, n_feeders + 1).astype(int)
    parent, feeder = np.full(n, ABSENT), np.full(n, ABSENT)
    phase_set = np.zeros(n, dtype=int)
    x, y = np.zeros(n), np.zeros(n)
    x[SOURCE] = -1.0
    for k, (start, stop) in enumerate(pairwise(edges)):
        local = np.arange(stop - start)
        trunk = max(1, round(TRUNK_SHARE * len(local)))
        begins = (local >= trunk) & (rng.random(len(local)) < 1 / LATERAL_BUSES)
        begins[trunk : trunk + 1] = True
        root = np.sort(rng.integers(0, trunk, len(local)))  # so that close rows are close on the ground
        lateral = np.cumsum(begins)  # 0 on the trunk
        first = np.concatenate([[0], np.flatnonzero(begins)])
        parent[start:stop] = start + np.where(begins, root, local - 1)
        parent[start] = SUBSTATION
        feeder[start:stop] = k
        if phases == "mixed":
            drawn = rng.choice(len(PHASE_SETS), size=len(first), p=PHASE_ODDS)
            phase_set[start:stop] = np.where(lateral > 0, drawn[lateral], 0)
        side = np.where(lateral % 2, 1, -1) * (lateral > 0)
        x[start:stop] = 1.0 + np.where(lateral > 0, root[first[lateral]], local) + 0.3 * (lateral > 0)
        y[start:stop] = 20.0 * k + side * (local - first[lateral] + 1)
    y[:2] = y.mean()
    return Tree(parent, feeder, phase_set, x, y)


def _demand(tree: Tree, delta_share: float, rng: np.random.Generator) -> Demand:
    """Loads on some buses, one a phase (wye) or one a phase pair (delta), scaled feeder by feeder."""
    n = len(tree.parent)
    loaded = (rng.random(n) < LOADED_SHARE) & (tree.feeder >= 0)
    loaded[-1] = True
    count = tree.phases.sum(axis=1)
    delta = (rng.random(n) < delta_share) & (count > 1)
    weight = rng.lognormal(0.0, 0.5, n) * count * loaded
    size = np.bincount(tree.feeder[2:])
    total = np.minimum(FEEDER_KW, BUS_KW * size)
    bus_kw = np.zeros(n)
    bus_kw[2:] = weight[2:] * (total / np.bincount(tree.feeder[2:], weight[2:]).clip(1e-9))[tree.feeder[2:]]
    pair_of = np.roll(np.arange(3), -1)  # phase pair k lies between phases k and k + 1
    present = np.where(delta[:, None], tree.phases & tree.phases[:, pair_of], tree.phases)
    bus, k = np.nonzero(present & loaded[:, None])
    ends = np.column_stack([k, np.where(delta[bus], pair_of[k], ABSENT)])
    spread = rng.uniform(0.8, 1.2, len(bus))
    p_kw = np.round(bus_kw[bus] * spread / np.bincount(bus, spread, n)[bus], 3)
    pf = rng.uniform(MEAN_PF - 0.04, MEAN_PF + 0.04, len(bus))
    return Demand(bus, ends, p_kw, np.round(p_kw * np.sqrt(1 / pf**2 - 1), 3))


@dataclass(frozen=True)
class Sections:
    """Line sections: bus rows of both ends, row of `WIRES`, length in metres."""

    start: Array
    end: Array
    wire: Array
    length_m: Array


def _sections(tree: Tree, demand: Demand, rng: np.random.Generator) -> Sections:
    """The section above every feeder bus: wire by current, length by voltage drop."""
    n = len(tree.parent)
    per_phase = np.zeros((n, 3))
    for end in (0, 1):
        here = demand.ends[:, end] != ABSENT
        half = np.where((demand.ends != ABSENT).all(axis=1), 0.5, 1.0) * demand.p_kw
        np.add.at(per_phase, (demand.bus[here], demand.ends[here, end]), half[here])
    for i in range(n - 1, 1, -1):
        if tree.parent[i] > SUBSTATION:
            per_phase[tree.parent[i]] += per_phase[i]
    v_kv = FEEDER_KV / sqrt(3)
    current_a = per_phase.max(axis=1) / MEAN_PF / v_kv
    ratings = np.array([w.i_max_a for w in WIRES])
    wire = np.minimum(np.searchsorted(ratings, SPARE * current_a), len(WIRES) - 1)
    z = np.array([_series_ohm_per_m(k, w) for w in range(len(WIRES)) for k in (3, 1)]).reshape(-1, 2)
    z_drop = z[wire, np.where(tree.phases.all(axis=1), 0, 1)]
    length = rng.uniform(30.0, 90.0, n)
    drop = current_a * (z_drop.real * MEAN_PF + z_drop.imag * sqrt(1 - MEAN_PF**2)) * length / (v_kv * 1e3)
    for i in range(2, n):
        if tree.parent[i] > SUBSTATION:
            drop[i] += drop[tree.parent[i]]
    worst = np.zeros(tree.feeder.max() + 1)
    np.maximum.at(worst, tree.feeder[2:], drop[2:])
    scale = np.minimum(DROP_PU / worst.clip(1e-12), MAX_SECTION_M / 90.0)
    length *= scale[tree.feeder]
    return Sections(tree.parent[2:], np.arange(2, n), wire[2:], length[2:].round(2))


def _series_ohm_per_m(n_phases: int, wire: int) -> complex:
    """Impedance that a balanced (3) or a single-phase (1) current meets, ohm/m."""
    z, _ = _pole(wire)
    own = np.trace(z) / 3
    mutual = (z.sum() - np.trace(z)) / 6
    return complex(own - mutual if n_phases == 3 else own)


def _pole(wire: int) -> tuple[Array, Array]:
    return overhead([WIRES[wire]] * 3 + [NEUTRAL], POLE_X_FT, POLE_H_FT, frequency_hz=60.0)


def _loops(tree: Tree, sections: Sections, wanted: int, rng: np.random.Generator) -> Sections:
    """Up to `wanted` lines that close loops between three-phase buses of one feeder."""
    full = np.flatnonzero(tree.phases.all(axis=1) & (tree.feeder >= 0))
    taken = {(int(a), int(b)) for a, b in zip(sections.start, sections.end, strict=True)}
    found: list[tuple[int, int]] = []
    for _ in range(20):
        if len(found) == wanted or len(full) < 3:
            break
        at = rng.integers(0, len(full), 2 * wanted)
        near = np.minimum(at + rng.integers(2, 30, len(at)), len(full) - 1)
        for a, b in zip(full[at].tolist(), full[near].tolist(), strict=True):
            same_feeder = tree.feeder[a] == tree.feeder[b]
            if a < b and same_feeder and (a, b) not in taken and len(found) < wanted:
                taken.add((a, b))
                found.append((a, b))
    ends = np.array(found, dtype=int).reshape(-1, 2)
    wire_at = np.zeros(len(tree.parent), dtype=int)
    wire_at[sections.end] = sections.wire
    length = rng.uniform(1.0, 3.0, len(ends)) * sections.length_m.mean()
    return Sections(ends[:, 0], ends[:, 1], wire_at[ends].max(axis=1, initial=0), length.round(2))


def _places(tree: Tree) -> tuple[Buses, Nodes]:
    """Buses and nodes in the order of the tree; earth is node 0."""
    n = len(tree.parent)
    v_ll_kv = np.where(np.arange(n) == SOURCE, HIGH_KV, FEEDER_KV)
    names = np.array(["source", "substation", *(f"b{i}" for i in range(2, n))], dtype=object)
    bus, phase = np.nonzero(tree.phases)
    return (
        Buses(name=names, v_base_kv=v_ll_kv / sqrt(3), x=tree.x, y=tree.y),
        Nodes(bus=np.append(ABSENT, bus), terminal=np.append(0, phase + 1)),
    )


def _node_rows(tree: Tree) -> Array:
    """(n, 3) node index of every bus and phase, -1 where absent; earth is 0."""
    number = np.cumsum(tree.phases.ravel()).reshape(-1, 3)
    return np.where(tree.phases, number, ABSENT)


def _lines(tree: Tree, nodes: Array, radial: Sections, loops: Sections) -> Lines:
    """Both kinds of section as lines, named after the bus they feed or `loop1`, `loop2`, ..."""
    names = [*(f"l{end}" for end in radial.end), *(f"loop{k + 1}" for k in range(len(loops.end)))]
    start, end, wire, length_m = (
        np.concatenate([getattr(radial, part), getattr(loops, part)])
        for part in ("start", "end", "wire", "length_m")
    )
    z, c = _per_metre()
    kind = tree.phase_set[end]
    there = np.hstack([PHASE_SETS[kind], np.zeros((len(kind), 1), dtype=bool)])
    ratings = np.array([w.i_max_a for w in WIRES])[wire]
    return Lines(
        name=np.array(names, dtype=object),
        from_node=np.where(there, _padded(nodes[start]), ABSENT),
        to_node=np.where(there, _padded(nodes[end]), ABSENT),
        z_ohm=z[wire, kind] * length_m[:, None, None],
        c_nf=c[wire, kind] * length_m[:, None, None],
        i_max_a=np.where(there, ratings[:, None], np.nan),
        length_m=length_m,
    )


def _padded(nodes: Array) -> Array:
    return np.pad(nodes, ((0, 0), (0, 1)), constant_values=ABSENT)


def _per_metre() -> tuple[Array, Array]:
    """Impedance, ohm/m, and capacitance, nF/m, of every wire on every phase set, (w, k, 4, 4)."""
    z = np.zeros((len(WIRES), len(PHASE_SETS), 4, 4), dtype=complex)
    c = np.zeros(z.shape)
    for w in range(len(WIRES)):
        z_full, p_full = _pole(w)
        for k, present in enumerate(PHASE_SETS):
            at = np.ix_(present, present)
            z[w, k, :3, :3][at] = z_full[at]
            c[w, k, :3, :3][at] = np.linalg.inv(p_full[at]) * 1e9
    return z, c


def _loads(nodes: Array, demand: Demand) -> Loads:
    first = nodes[demand.bus, demand.ends[:, 0]]
    second = np.where(demand.ends[:, 1] == ABSENT, EARTH, nodes[demand.bus, demand.ends[:, 1]])
    return Loads(
        name=np.array([str(k + 1) for k in range(len(first))], dtype=object),
        pair=np.column_stack([first, second]),
        p_kw=demand.p_kw,
        q_kvar=demand.q_kvar,
    )


def _connections(loads: Loads, share: float, rng: np.random.Generator) -> Connections:
    """Prosumers at a share of the loads; photovoltaics of 0.5 to 2 times the load."""
    chosen = np.sort(rng.permutation(len(loads))[: round(share * len(loads))])
    pv_kw = (loads.p_kw[chosen] * rng.uniform(0.5, 2.0, len(chosen))).round(2)
    return Connections(
        prosumer=loads.name[chosen],
        pair=loads.pair[chosen],
        load=loads.name[chosen],
        s_inverter_kva=(1.1 * pv_kw).round(2),
        p_pv_max_kw=pv_kw,
    )


def _substation(nodes: Array, load_kw: float) -> list[Table]:
    """Source and delta-wye transformer, whose kVA follow the load."""
    s_kva = 500.0 * np.ceil(SPARE * load_kw / 500.0)
    high, low = nodes[SOURCE], nodes[SUBSTATION]
    z_ohm = source_ohm(HIGH_KV, s_3ph_mva=S_FAULT_MVA, s_1ph_mva=S_FAULT_MVA)
    source = {"name": "source", "node": high, "z_ohm": z_ohm, "e_v": balanced_emf_v(HIGH_KV, SOURCE_PU)}
    coil = {"transformer": 0, "r_pct": R_PCT / 2}
    delta = {**coil, "winding": 0, "pair": delta_pairs(high, lag=True), "v_coil_kv": HIGH_KV}
    wye = {**coil, "winding": 1, "pair": wye_pairs(low), "v_coil_kv": FEEDER_KV / sqrt(3)}
    return [
        Sources.from_rows([source]),
        Transformers.from_rows([{"name": "substation", "s_kva": s_kva}]),
        Windings.from_rows([delta, wye]),
        WindingPairs.from_rows([{"transformer": 0, "winding_a": 0, "winding_b": 1, "x_pct": X_PCT}]),
    ]
