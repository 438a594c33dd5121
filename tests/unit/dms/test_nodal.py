"""Rounds on the nodes alone bring a start; the answer is that of the whole circuit."""

import numpy as np
import pytest
import scipy.sparse as sp

from dms import Network
from dms.certificate import run
from dms.nodal import Nodes
from dms.request import DmsRequest
from feeders import Connections, Feeder, Loads
from feeders.library import load


def _whole(feeder: Feeder) -> Network:
    network = Network(feeder)
    network._nodes, network._usual = None, network._circuit
    return network


@pytest.mark.parametrize("export_kw", [0.0, 40.0])
def test_the_answer_is_that_of_the_whole_circuit(zoo: Feeder, export_kw: float) -> None:
    request = DmsRequest.of(zoo, np.full(len(zoo[Connections]), export_kw))
    assert Network(zoo)._nodes is not None
    nodal, whole = (run(network, request) for network in (Network(zoo), _whole(zoo)))
    assert nodal.converged
    assert whole.converged
    assert np.abs(nodal.v - whole.v).max() <= 1e-10 * np.abs(whole.v).max()
    assert np.abs(nodal.i - whole.i).max() <= 1e-9 * np.abs(whole.i).max()


def test_a_start_is_near_the_solution_and_obeys_the_branches() -> None:
    feeder = load("synthetic", n_buses=60, seed=3, prosumers=0.4)
    network = Network(feeder)
    assert network._nodes is not None
    drawn = feeder[Loads]
    s_va = -(drawn.p_kw + 1j * drawn.q_kvar) * 1e3
    flow = network.solve(drawn.pair, s_va)
    powered = network._pairs(drawn.pair)[1]
    assert powered is not None
    x, rounds = network._nodes.start(network._no_load, lambda v: powered.injected(lambda _: s_va, v))
    n = feeder.n_nodes
    assert 1 < rounds <= flow.iterations
    assert np.abs(x[:n] - (flow.v[1:] / feeder.v_base_v[1:])).max() < 1e-5
    of_branches = (network._matrix @ x - network._rhs)[n:]
    assert np.abs(of_branches).max() < 1e-9


def test_rounds_that_diverge_leave_the_start_alone() -> None:
    feeder = load("synthetic", n_buses=60, seed=3, prosumers=0.4)
    network = Network(feeder)
    assert network._nodes is not None
    x, _ = network._nodes.start(network._no_load, lambda v: -1e3 * v)
    assert x is network._no_load


def test_a_linear_system_is_solved_as_by_the_whole_circuit(zoo: Feeder) -> None:
    network = Network(zoo)
    nodes = network._nodes
    assert nodes is not None
    b = np.exp(1j * np.arange(zoo.n_nodes + network.n_branches))
    own = Nodes(
        network._matrix,
        network._no_load,
        place=zoo.nodes.bus[1:],
        powered=np.isin(np.arange(zoo.n_nodes), nodes.kept),
    )
    assert np.abs(network._matrix @ own.solve(b) - b).max() < 1e-6


def test_nodes_that_current_passes_through_are_left_out_and_nothing_changes() -> None:
    """A chain of four nodes behind a source, power at its end and a dead branch at its middle."""
    y = sp.diags([-np.ones(4), np.array([2.0, 3.0, 2.0, 1.0, 1.0]), -np.ones(4)], [-1, 0, 1]).tolil()
    y[3, 4] = y[4, 3] = 0.0
    y[1, 4] = y[4, 1] = -1.0
    source = np.array([1.0, 0.0, 0.0, 0.0, 0.0], dtype=complex)
    matrix = sp.bmat([[y.astype(complex), None], [None, sp.eye(1)]]).tocsr()
    rhs = np.append(source, 0.0)
    # The source's current stands for an emf: put it through a branch that nothing else sees.
    coupled = matrix.tolil()
    coupled[0, 5] = 1.0
    rhs[:5], rhs[5] = 0.0, -1.0
    powered = np.array([False, False, False, True, False])
    no_load = np.linalg.solve(coupled.toarray(), rhs)
    nodes = Nodes(coupled.tocsr(), no_load, place=np.arange(5), powered=powered)
    assert nodes.kept.tolist() == [3]
    j = np.array([0.1 - 0.02j])
    x, _ = nodes.start(np.ones(6, dtype=complex), lambda _: j)
    exact = np.linalg.solve(coupled.toarray(), rhs + np.append(powered * j[0], 0.0))
    assert np.abs(x - exact).max() < 1e-12


def test_places_of_many_neighbours_and_those_with_power_are_kept() -> None:
    feeder = load("synthetic", n_buses=60, seed=3, prosumers=0.4)
    network = Network(feeder)
    assert network._nodes is not None
    kept = np.isin(np.arange(1, feeder.n_nodes + 1), network._nodes.kept + 1)
    with_power = np.unique(network._own_pairs())
    assert kept[with_power[with_power > 0] - 1].all()
    assert kept.sum() < feeder.n_nodes
