"""Rounds on the nodes alone bring a start; the answer is that of the whole circuit."""

import numpy as np
import pytest

from dms import Network
from dms.certificate import run
from dms.request import DmsRequest
from feeders import Connections, Feeder, Loads
from feeders.library import load


def _whole(feeder: Feeder) -> Network:
    network = Network(feeder)
    network._nodes = None
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
    incidence = network._incidence(drawn.pair)
    x, rounds = network._nodes.start(
        network._no_load, lambda v: network._into_nodes(incidence, lambda _: s_va, v)
    )
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
