"""Synthetic feeders: whatever the seed and size, a sound circuit with a sensible power flow."""

from typing import Any

import networkx as nx
import numpy as np
import pytest

from dms.network import Network
from feeders import Connections, Feeder, Lines, Loads, Table, library
from feeders.checks import check
from feeders.topology import bus_graph, n_cycles

SIZES = (4, 7, 15, 40, 120, 350, 900)
CASES = [(SIZES[k % len(SIZES)], k) for k in range(50)]


def options(seed: int) -> dict[str, Any]:
    """Vary everything but size with the seed."""
    return {
        "meshed": (0.0, 0.05, 0.1, 0.3)[seed % 4],
        "phases": ("mixed", "mixed", "three")[seed % 3],
        "delta_share": (0.0, 0.3, 1.0)[seed % 3],
        "prosumers": (0.0, 0.4, 1.0)[seed % 3],
    }


def make(n_buses: int, seed: int) -> Feeder:
    return library.load("synthetic", n_buses=n_buses, seed=seed, **options(seed))


def same(a: Table, b: Table) -> bool:
    return all(
        np.array_equal(getattr(a, c.name), getattr(b, c.name), equal_nan=c.dtype in (float, complex))
        for c in a.columns()
    )


@pytest.mark.parametrize(("n_buses", "seed"), CASES)
def test_sound_and_solvable(n_buses: int, seed: int) -> None:
    feeder = make(n_buses, seed)
    assert check(feeder) == []
    assert len(feeder.buses) == n_buses
    loads = feeder[Loads]
    flow = Network(feeder).solve(loads.pair, -(loads.p_kw + 1j * loads.q_kvar) * 1e3)
    assert flow.converged
    assert flow.residual < 1e-9
    v_pu = np.abs(flow.v / feeder.v_base_v)[1:]
    assert v_pu.min() > 0.95
    assert v_pu.max() < 1.05


@pytest.mark.parametrize(("n_buses", "seed"), CASES[::5])
def test_same_arguments_give_the_same_feeder(n_buses: int, seed: int) -> None:
    a, b = make(n_buses, seed), make(n_buses, seed)
    assert a.origin == b.origin
    assert same(a.buses, b.buses)
    assert same(a.nodes, b.nodes)
    assert a.tables.keys() == b.tables.keys()
    assert all(same(a[kind], b[kind]) for kind in a.tables)
    assert not same(make(200, seed)[Loads], make(200, seed + 1)[Loads])


@pytest.mark.parametrize("meshed", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("n_buses", [100, 1420])
def test_loops_are_as_many_as_asked(n_buses: int, meshed: float) -> None:
    feeder = library.load("synthetic", n_buses=n_buses, seed=3, meshed=meshed)
    for multi in (False, True):
        graph = bus_graph(feeder, multi=multi)
        assert nx.is_connected(graph)
        assert n_cycles(graph) == round(meshed * n_buses)


def test_shares_of_delta_loads_and_prosumers() -> None:
    def share_of_delta(delta_share: float) -> float:
        loads = library.load("synthetic", n_buses=1000, seed=1, phases="three", delta_share=delta_share)[
            Loads
        ]
        return float((loads.pair[:, 1] > 0).mean())

    assert share_of_delta(0.0) == 0
    assert share_of_delta(1.0) == 1
    assert share_of_delta(0.3) == pytest.approx(0.3, abs=0.05)
    assert len(make(100, 0)[Connections]) == 0
    everybody = make(100, 2)
    assert sorted(everybody[Connections].load) == sorted(everybody[Loads].name)


def test_full_size_is_quick_and_rated() -> None:
    """1420 buses with all phases are the 4260 nodes of the largest published case."""
    feeder = library.load("synthetic", n_buses=1420, seed=1, phases="three")
    assert feeder.n_nodes == 4260
    lines = feeder[Lines]
    assert np.isfinite(lines.i_max_a[:, :3]).all()
    assert (lines.length_m > 0).all()


@pytest.mark.slow
def test_fifty_thousand_nodes() -> None:
    feeder = library.load("synthetic", n_buses=17_000, seed=1, phases="three")
    assert feeder.n_nodes == 51_000
    assert check(feeder) == []
    loads = feeder[Loads]
    assert Network(feeder).solve(loads.pair, -(loads.p_kw + 1j * loads.q_kvar) * 1e3).converged
