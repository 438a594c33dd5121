"""The independent power flow: closed forms, singular circuits, and no false convergence."""

from math import sqrt

import numpy as np
import pytest

from dms import Network, UngroundedError
from dms.certificate import run
from dms.request import DmsRequest
from feeders import (
    ABSENT,
    EARTH,
    Connections,
    Draft,
    Feeder,
    Generators,
    Lines,
    Loads,
    Sources,
    Switches,
)
from feeders.elements.sources import balanced_emf_v

Z, E_V = 0.05 + 0.02j, 240.0


def test_one_home_at_unity_power_factor(street) -> None:
    """v - e = z conj(s / v): with v = e + d, the quadratic in |v| has a closed form."""
    feeder = street(z_ohm=(Z,), homes=((1,),))
    p_w = 20e3
    flow = run(Network(feeder), DmsRequest.of(feeder, np.array([p_w / 1e3])))
    a, b = 1.0, -(E_V**2 + 2 * Z.real * p_w)
    v = sqrt((-b + sqrt(b**2 - 4 * a * abs(Z) ** 2 * p_w**2)) / 2)
    assert flow.converged
    assert abs(flow.v[2]) == pytest.approx(v, rel=1e-12)
    assert abs(flow.i[1]) == pytest.approx(p_w / v, rel=1e-12)


def _constant(zoo: Feeder) -> Feeder:
    """The zoo without what follows the voltage."""
    return zoo.with_tables(zoo[Loads].take(np.arange(4)), zoo[Generators].take(np.arange(0)))


def test_power_balances(zoo: Feeder) -> None:
    """What the source gives plus what is injected is what impedances and shunts burn."""
    zoo = _constant(zoo)
    network = Network(zoo)
    request = DmsRequest.of(zoo, np.full(7, 30.0), q_kvar=np.full(7, -5.0))
    flow = run(network, request)
    given = 1e3 * (request.p_export_kw.sum() - request.p_load_kw.sum())
    burnt = from_source = 0.0
    offset = 0
    for p in network.primitives:
        n = int(p.branch.sum())
        i = np.zeros(p.branch.shape, dtype=complex)
        i[p.branch] = flow.i[offset : offset + n]
        offset += n
        burnt += np.einsum("nm,nmk,nk->", np.conj(i), p.z_ohm, i).real
        v = np.where(p.node > EARTH, flow.v[np.maximum(p.node, 0)], 0.0)
        burnt += np.einsum("nk,nkl,nl->", np.conj(v), p.y_s, v).real
        from_source -= (p.e_v * np.conj(i)).sum().real
    assert burnt > 1.0
    # The delta-wye unit's turns ratio is ideal, so every watt is accounted for.
    assert given + from_source == pytest.approx(burnt, rel=1e-6)


def test_terminal_currents_of_a_node_sum_to_what_is_injected(zoo: Feeder) -> None:
    zoo = _constant(zoo)
    network = Network(zoo)
    request = DmsRequest.of(zoo, np.full(7, 30.0))
    flow = run(network, request)
    drawn = np.zeros(zoo.n_nodes + 1, dtype=complex)
    for p, current in network.terminal_currents(flow):
        np.add.at(drawn, np.maximum(p.node, 0), np.where(p.node > EARTH, current, 0))
    pair = zoo[Connections].pair
    u = flow.v[pair[:, 0]] - flow.v[pair[:, 1]]
    quiet = np.ones(zoo.n_nodes + 1, dtype=bool)
    quiet[0] = False
    quiet[[zoo.node(name) for name in ("e.1", "e.2")]] = False
    quiet[[zoo.node(f"{bus}.{k}") for bus in ("far", "lv") for k in (1, 2, 3, 4)]] = False
    quiet[[zoo.node(name) for name in ("two.2", "one.3", "one.4")]] = False
    assert np.abs(drawn[quiet]).max() < 1e-8
    at = zoo.node("two.2")
    assert drawn[at] == pytest.approx(np.conj(30e3 / u[4]), rel=1e-9)


def test_a_start_from_an_earlier_flow_gives_the_same_answer(zoo: Feeder) -> None:
    network = Network(zoo)
    cold = run(network, DmsRequest.of(zoo, np.full(7, 30.0)))
    other = run(network, DmsRequest.of(zoo, np.full(7, 10.0)))
    warm = run(network, DmsRequest.of(zoo, np.full(7, 30.0)), start=other)
    np.testing.assert_allclose(warm.v, cold.v, rtol=1e-10, atol=1e-9)


def _maximum_kw() -> float:
    """Largest load the street carries: the discriminant of the quadratic is zero."""
    z = abs(Z)
    return E_V**2 / (2 * (z + Z.real)) / 1e3


@pytest.mark.parametrize(("share", "converged"), [(0.999, True), (1.001, False)])
def test_there_is_a_solution_up_to_the_nose_and_none_beyond(street, share: float, converged: bool) -> None:
    feeder = street(z_ohm=(Z,), homes=((1,),), loads=((1, share * _maximum_kw(), 0.0),))
    flow = run(Network(feeder), DmsRequest.of(feeder, np.zeros(1)))
    assert flow.converged is converged
    if converged:
        assert flow.residual < 1e-9


def test_an_island_is_refused_by_name(street) -> None:
    draft = Draft("torn")
    for bus in ("s", "m", "n"):
        draft.add_bus(bus, v_base_kv=0.24)
    node = {bus: draft.phases(bus) for bus in ("s", "m", "n")}
    source = {"z_ohm": np.zeros((3, 3)), "e_v": balanced_emf_v(0.415)}
    draft.add(Sources, name="source", node=node["s"][:3], **source)
    z_ohm = np.diag([0.1, 0.1, 0.1, 0.0])
    draft.add(Lines, name="line", from_node=node["m"], to_node=node["n"], z_ohm=z_ohm)
    draft.add(Switches, name="gap", from_node=node["s"], to_node=node["m"], z_ohm=1e-3, closed=False)
    draft.add(Connections, prosumer="home", pair=[node["n"][0], EARTH])
    assert ABSENT in node["n"]
    with pytest.raises(UngroundedError, match=r"feeder torn: the circuit is singular.*anoca feeder check"):
        Network(draft.finish())


def test_usual_loads_in_the_circuit_change_the_rounds_and_not_the_answer(zoo: Feeder) -> None:
    """Their admittance-like part is only a better approximation of the slope."""
    plain = Network(zoo)
    plain._usual = plain._circuit
    usual = Network(zoo)
    assert usual._usual is not usual._circuit
    one, other = usual.solve_loads(), plain.solve_loads()
    assert one.converged
    assert other.converged
    assert np.abs(one.v - other.v).max() <= 1e-9 * np.abs(other.v).max()
    assert one.iterations <= other.iterations


def test_a_fast_mode_does_not_end_the_rounds_of_a_slow_one() -> None:
    """Phase a settles in one round; phase b, with PV all but in balance with its load, in hundreds.

    A stop rule that sees the step of the first and then that of the second ended 7e-8 pu early.
    """
    v, s_kw, slow = 230.0, 3.0, 0.9
    z_ohm = np.zeros((4, 4), dtype=complex)
    z_ohm[[0, 1, 2], [0, 1, 2]] = np.array([0.05, slow, 0.01]) * v**2 / (s_kw * 1e3)
    draft = Draft("two modes")
    nodes = []
    for bus in ("x", "y", "z"):
        draft.add_bus(bus, v_base_kv=v / 1e3)
        nodes.append([draft.node(bus, phase) for phase in (1, 2, 3)])
    e_v = v * np.exp(1j * np.deg2rad([0, -120, 120])) * np.array([1, 1 + 1e-6, 1])
    draft.add(Sources, name="source", node=nodes[0], z_ohm=np.zeros((3, 3)), e_v=e_v)
    ends = [[*row, ABSENT] for row in nodes]
    draft.add(Switches, name="switch", from_node=ends[0], to_node=ends[1], z_ohm=0.0)
    draft.add(Lines, name="line", from_node=ends[1], to_node=ends[2], z_ohm=z_ohm)
    for k in (0, 1):
        pair, model = [nodes[2][k], EARTH], "constant_impedance"
        draft.add(Loads, name=f"load {k}", pair=pair, p_kw=s_kw, q_kvar=0.0, model=model, v_nom_kv=v / 1e3)
    network = Network(draft.finish())
    given = np.array([[nodes[2][1], EARTH]]), np.array([s_kw * 1e3 + 0j])
    flow = network.solve_loads(*given)
    exact = network.solve_loads(*given, start=flow, tolerance=1e-15)
    assert network._nodes is None
    assert flow.converged
    assert np.abs(flow.v - exact.v).max() / v < 1e-10
