import networkx as nx
import numpy as np
import pytest

from feeders import Feeder, Lines, Sources, Switches, Windings, library
from feeders.topology import (
    bus_graph,
    depth,
    distance_m,
    energised,
    islands,
    n_cycles,
    node_groups,
    summary,
    ungrounded_sections,
    voltage_levels,
)


def opened(feeder: Feeder) -> Feeder:
    return feeder.with_tables(feeder[Switches].replace(closed=np.zeros(len(feeder[Switches]), dtype=bool)))


def test_graph_edges_carry_kind_and_name(small: Feeder) -> None:
    graph = bus_graph(small)
    assert list(graph.nodes) == ["s", "m", "n", "lv", "end"]
    assert {d["name"]: d["kind"] for _, _, d in graph.edges(data=True)} == {
        "high": "line",
        "breaker": "switch",
        "unit": "transformer",
        "low": "line",
    }
    assert graph["s"]["m"]["length_m"] == 100


def test_open_switch_makes_islands(small: Feeder) -> None:
    assert islands(small) == [["s", "m", "n", "lv", "end"]]
    assert islands(opened(small)) == [["n", "lv", "end"], ["s", "m"]]
    live = energised(opened(small))
    assert live.sum() == 1 + 6
    assert live[small.node("m.2")]
    assert not live[small.node("n.2")]


def test_a_phase_without_conductor_is_not_energised(small: Feeder) -> None:
    lines = small[Lines]
    cut = np.array([[False] * 4, [False, True, False, False]])
    one_out = small.with_tables(
        lines.replace(from_node=np.where(cut, -1, lines.from_node), to_node=np.where(cut, -1, lines.to_node))
    )
    assert small.node_names[~energised(one_out)].tolist() == ["end.2"]


def test_nothing_is_energised_without_source(small: Feeder) -> None:
    dark = small.with_tables(Sources.empty())
    assert energised(dark).sum() == 1
    assert depth(dark) == {}
    assert distance_m(dark) == {}


def test_depth_and_distance(small: Feeder) -> None:
    assert depth(small) == {"s": 0, "m": 1, "n": 2, "lv": 3, "end": 4}
    assert distance_m(small)["end"] == 200
    assert "end" not in depth(opened(small))


def test_groups_grow_from_conductors_to_cores(small: Feeder) -> None:
    counts = [len(set(node_groups(small, joint).tolist())) for joint in ("conductors", "coils", "cores")]
    # earth + three phases on each side; the delta winding joins its phases; then everything
    assert counts == [1 + 6, 1 + 4, 2]


def test_voltage_levels_are_line_to_line(small: Feeder) -> None:
    assert voltage_levels(small) == {12.47: 3, 0.48: 2}


def test_earthed_wye_and_source_leave_nothing_ungrounded(small: Feeder) -> None:
    assert ungrounded_sections(small) == []


def test_floating_neutral_of_wye_wye_is_found(small: Feeder) -> None:
    """Earthed wye below an unearthed wye: no path for zero sequence, the low side floats with the neutral."""
    n = len(small.nodes)
    wye = [[small.node(f"n.{k}"), n] for k in (1, 2, 3)]
    windings = small[Windings]
    nodes = small.nodes.replace(
        bus=np.append(small.nodes.bus, 2), terminal=np.append(small.nodes.terminal, 4)
    )
    changed = small.with_tables(windings.replace(pair=np.array([wye, windings.pair[1]])), nodes=nodes)
    loose = {changed.node_names[k] for section in ungrounded_sections(changed) for k in section.node}
    assert loose == {"n.4", "lv.1", "lv.2", "lv.3", "end.1", "end.2", "end.3"}


# Buses, lines, cycles of the simple graph, cycles with parallel cables counted apart.
COUNTS = {
    "ieee342-merged": (390, 310, 71, 71),
    "ieee342-parallel": (390, 1165, 71, 926),
    "ieee342-expanded": (1420, 2195, 926, 926),
}


@pytest.mark.parametrize("name", COUNTS)
def test_ieee342_counts(name: str) -> None:
    feeder = library.load(name)
    buses, lines, simple, multi = COUNTS[name]
    found = summary(feeder)
    assert (found["buses"], found["nodes"], found["lines"]) == (buses, 3 * buses, lines)
    assert (found["switches"], found["transformers"], found["loads"]) == (80, 70, 624)
    assert (n_cycles(bus_graph(feeder)), n_cycles(bus_graph(feeder, multi=True))) == (simple, multi)
    assert (found["cycles"], found["cycles_with_parallels"]) == (simple, multi)
    assert nx.is_connected(bus_graph(feeder))
    assert found["nodes_without_source"] == 0


def test_ieee342_ungrounded_level_is_the_13_8_kv_one() -> None:
    sections = ungrounded_sections(library.load("ieee342"))
    assert [(len(s.node), s.v_ll_kv, s.shunt) for s in sections] == [(216, 13.8, True)] * 2


def test_summary_is_plain(small: Feeder) -> None:
    found = summary(small)
    assert found["p_load_kw"] == 50
    assert found["prosumers"] == 1
    assert found["length_km"] == pytest.approx(0.2)
    assert found["voltage_levels_kv"] == {"12.47": 3, "0.48": 2}
    assert all(isinstance(v, str | int | float | dict) for v in found.values())
