"""Currents into terminals by one product are those that the elements' own laws give."""

import numpy as np

from dms import Network
from dms.certificate import run
from dms.network import TERMINALS_KEPT
from dms.request import DmsRequest
from feeders import Connections, Feeder


def test_currents_are_those_of_every_element(zoo: Feeder) -> None:
    network = Network(zoo)
    flow = run(network, DmsRequest.of(zoo, np.full(len(zoo[Connections]), 4.0)))
    kinds, rows, slots, expected = [], [], [], []
    for p, current in network.terminal_currents(flow):
        at, slot = np.indices(current.shape)
        kinds.append(np.full(current.size, p.kind, dtype=object))
        rows.append(p.row[at.ravel()])
        slots.append(slot.ravel())
        expected.append(current.ravel())
    kind, place = np.concatenate(kinds), np.stack([np.concatenate(rows), np.concatenate(slots)], axis=1)
    found = network.currents_into(kind, place, flow)
    assert np.abs(np.concatenate(expected)).max() > 1.0
    assert np.abs(found - np.concatenate(expected)).max() < 1e-9
    assert network.terminals(kind, place) is network.terminals(kind, place)


def test_a_terminal_that_no_element_has_carries_nothing(zoo: Feeder) -> None:
    network = Network(zoo)
    flow = run(network, DmsRequest.of(zoo, np.zeros(len(zoo[Connections]))))
    kind = np.array(["line", "nothing"], dtype=object)
    assert network.currents_into(kind, np.array([[10_000, 0], [0, 0]]), flow).tolist() == [0, 0]


def test_other_terminals_are_not_taken_for_those_asked_before(zoo: Feeder) -> None:
    network = Network(zoo)
    flow = run(network, DmsRequest.of(zoo, np.zeros(len(zoo[Connections]))))
    kind = np.array(["line"], dtype=object)
    one, other = (network.currents_into(kind, np.array([[0, slot]]), flow) for slot in (0, 1))
    assert one != other


def test_only_the_last_sets_of_terminals_are_kept(zoo: Feeder) -> None:
    network = Network(zoo)
    kind = np.array(["line"], dtype=object)
    for slot in range(3 * TERMINALS_KEPT):
        network.terminals(kind, np.array([[0, slot % 8]]))
    assert len(network._terminals) == TERMINALS_KEPT
