"""Laws that hold for every feeder: cutting a line, renaming nodes and turning ends round change nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dms.network import Network
from feeders import EARTH, Buses, Feeder, Lines, Loads, Nodes, Sources, Windings, library
from feeders.table import Array

seeds = st.integers(0, 10_000)
few = settings(max_examples=15, deadline=None)


def voltages(feeder: Feeder) -> Array:
    """(n_nodes,) per unit at base load."""
    loads = feeder[Loads]
    flow = Network(feeder).solve(loads.pair, -(loads.p_kw + 1j * loads.q_kvar) * 1e3)
    assert flow.converged
    return np.asarray((flow.v / feeder.v_base_v)[1:])


def synthetic(seed: int) -> Feeder:
    return library.load("synthetic", n_buses=30, seed=seed)


def split(feeder: Feeder, row: int, at: float) -> Feeder:
    """The feeder with one line cut in two at a part `at` of its length, by a bus of its own."""
    lines, buses, nodes = feeder[Lines], feeder.buses, feeder.nodes
    there = lines.from_node[row] > EARTH
    count = int(there.sum())
    middle = np.full(4, -1)
    middle[there] = len(nodes) + np.arange(count)
    part = np.append(np.ones(len(lines)), 1 - at)
    part[row] = at
    rows = np.append(np.arange(len(lines)), row)
    to_node, from_node = lines.to_node[rows].copy(), lines.from_node[rows].copy()
    to_node[row], from_node[-1] = middle, middle
    near = nodes.bus[lines.from_node[row][there][0]]
    terminal = nodes.terminal[lines.from_node[row][there]]
    more = {"name": "middle", "v_base_kv": buses.v_base_kv[near], "x": 0.0, "y": 0.0}
    return feeder.with_tables(
        lines.replace(
            name=np.append(lines.name, "second half"),
            from_node=from_node,
            to_node=to_node,
            z_ohm=lines.z_ohm[rows] * part[:, None, None],
            c_nf=lines.c_nf[rows] * part[:, None, None],
            i_max_a=lines.i_max_a[rows],
            length_m=lines.length_m[rows] * part,
        ),
        buses=Buses(**{k: np.append(getattr(buses, k), v) for k, v in more.items()}),
        nodes=Nodes(
            bus=np.append(nodes.bus, [len(buses)] * count), terminal=np.append(nodes.terminal, terminal)
        ),
    )


@few
@given(seeds, st.floats(0.1, 0.9))
def test_a_line_cut_in_two_changes_nothing(seed: int, at: float) -> None:
    """But for its capacitance, which sits elsewhere; the lines of these feeders have microsiemens."""
    feeder = synthetic(seed)
    cut = split(feeder, seed % len(feeder[Lines]), at)
    assert np.abs(voltages(cut)[: feeder.n_nodes] - voltages(feeder)).max() < 1e-7


@few
@given(seeds)
def test_order_of_nodes_changes_nothing(seed: int) -> None:
    feeder = synthetic(seed)
    order = np.append(0, 1 + np.random.default_rng(seed).permutation(feeder.n_nodes))
    new = np.append(np.argsort(order), -1)  # old index -> new; the last entry keeps -1 absent
    tables = []
    for table in feeder.tables.values():
        moved = {c.name: new[getattr(table, c.name)] for c in table.columns() if c.check == "node"}
        tables.append(table.replace(**moved))
    turned = feeder.with_tables(*tables, nodes=feeder.nodes.take(order))
    v = dict(zip(turned.node_names[1:], voltages(turned), strict=True))
    w = dict(zip(feeder.node_names[1:], voltages(feeder), strict=True))
    assert max(abs(v[name] - w[name]) for name in w) < 1e-10


@few
@given(seeds)
def test_direction_of_lines_changes_nothing(seed: int) -> None:
    feeder = synthetic(seed)
    lines = feeder[Lines]
    turn = np.random.default_rng(seed).random(len(lines)) < 0.5
    turned = feeder.with_tables(
        lines.replace(
            from_node=np.where(turn[:, None], lines.to_node, lines.from_node),
            to_node=np.where(turn[:, None], lines.from_node, lines.to_node),
        )
    )
    assert np.abs(voltages(turned) - voltages(feeder)).max() < 1e-10


@few
@given(seeds, st.floats(-180, 180))
def test_angle_of_the_source_turns_everything(seed: int, degrees: float) -> None:
    feeder = synthetic(seed)
    turn = np.exp(1j * np.deg2rad(degrees))
    sources = feeder[Sources]
    turned = feeder.with_tables(sources.replace(e_v=sources.e_v * turn))
    assert np.abs(voltages(turned) - voltages(feeder) * turn).max() < 1e-10


@few
@given(seeds, st.floats(0.2, 5.0))
def test_voltage_bases_change_nothing_in_volt(seed: int, factor: float) -> None:
    feeder = synthetic(seed)
    scaled = feeder.with_tables(buses=feeder.buses.replace(v_base_kv=feeder.buses.v_base_kv * factor))
    assert np.abs(voltages(scaled) * factor - voltages(feeder)).max() < 1e-9


@few
@given(seeds)
def test_power_is_conserved(seed: int) -> None:
    """What the source delivers is what loads take, plus what all elements take; nothing appears."""
    feeder = synthetic(seed)
    loads = feeder[Loads]
    s_load = (loads.p_kw + 1j * loads.q_kvar) * 1e3
    network = Network(feeder)
    flow = network.solve(loads.pair, -s_load)
    taken = {"source": 0j, "line": 0j, "transformer": 0j}
    for p, current in network.terminal_currents(flow):
        v = np.where(p.node > EARTH, flow.v[p.node.clip(0)], 0)
        taken[p.kind] += complex((v * np.conj(current)).sum())
    assert abs(sum(taken.values()) + s_load.sum()) < 1e-6 * abs(s_load.sum())
    assert taken["line"].real > 0
    assert taken["transformer"].real > 0


@pytest.mark.parametrize("tap", [0.95, 1.05])
def test_tap_of_the_low_side_lifts_its_voltage(tap: float) -> None:
    feeder = synthetic(1)
    windings = feeder[Windings]
    changed = feeder.with_tables(windings.replace(tap=np.array([1.0, tap])))
    light = [
        f.with_tables(f[Loads].replace(p_kw=np.zeros(len(f[Loads])), q_kvar=np.zeros(len(f[Loads]))))
        for f in (changed, feeder)
    ]
    ratio = np.abs(voltages(light[0])[3:]) / np.abs(voltages(light[1])[3:])
    assert ratio == pytest.approx(tap, rel=1e-3)
