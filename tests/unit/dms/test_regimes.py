"""Loads between the pieces of their law: two states at the end of a band, and pins that keep both safe."""

from dataclasses import replace

import numpy as np
import pytest

from dms import NORMS, Limits, Status, compile, solve
from dms.certificate import certify, measure, run
from dms.regimes import EDGE, Regimes
from feeders import Feeder, Loads

V = 240.0
Z = 0.05 + 0.02j


@pytest.fixture
def stepping(street) -> Feeder:
    """A PV of one home beside a CVR load whose band ends where the voltage limit is."""
    feeder = street(z_ohm=(Z,), i_max_a=(900.0,), homes=((1,),), loads=((1, 20.0, 0.0),))
    model = np.array(["cvr"], dtype=object)
    law = {"cvr_p": np.array([2.0]), "v_min_pu": np.array([0.95]), "v_max_pu": np.array([1.05])}
    return feeder.with_tables(feeder[Loads].replace(model=model, v_nom_kv=np.array([V / 1e3]), **law))


def _net_export_kw(v: float) -> float:
    """Power at unity that lifts the end of the street to v: |v - z conj(p / v)| = E."""
    a, b, c = abs(Z) ** 2 / v**2, -2 * Z.real, v**2 - V**2
    return float((-b - np.sqrt(b**2 - 4 * a * c)) / (2 * a)) / 1e3


@pytest.mark.parametrize("norm", NORMS)
def test_at_the_end_of_a_band_both_states_keep_the_limit(stepping: Feeder, norm: str) -> None:
    """Inside, the load draws 1.1025 of nominal at 1.05 pu; outside 1.0. The milder state does not count."""
    problem = compile(stepping, norm=norm, limits=Limits(v_min_pu=0.9, v_max_pu=1.05))
    request = problem.request(np.array([150.0]))
    solution = solve(problem, request).raise_for_status()
    assert solution.status is Status.CURTAILED
    expected = _net_export_kw(1.05 * V) + 20.0
    assert solution.p_adjusted_kw[0] == pytest.approx(expected, abs=0.02)
    high = run(problem.network, request)  # comes from outside the band
    for start in (None, high):
        flow = run(problem.network, request, solution.p_curtail_kw, start=start)
        assert measure(problem.network, flow, problem.values).within(1e-5, 1e-4)
    # Half a kilowatt more is safe in one state only, and the certificate is shown the other.
    more = problem.request(solution.p_adjusted_kw + 0.5)
    low = run(problem.network, problem.request(solution.p_adjusted_kw - 1.0))
    inside, outside = (run(problem.network, more, start=start) for start in (low, None))
    assert abs(inside.v[2]) < 1.05 * V < abs(outside.v[2])
    given = (problem.network, more, more.p_export_kw, problem.values)
    state = measure(problem.network, inside, problem.values)
    assert state.within(1e-5, 1e-4)
    assert certify(*given, state=state).reasons == ("a voltage is outside its band",)


def test_only_laws_that_step_are_pinned(stepping: Feeder) -> None:
    loads = stepping[Loads]
    at = np.array([0.0, V, (1.05 - EDGE / 2) * V], dtype=complex)
    for model, pinned in (("cvr", 1), ("constant_power", 0), ("constant_current", 0), ("zip", 0)):
        table = loads.replace(
            model=np.array([model], dtype=object), zip=np.array([[0.2, 0.3, 0.5, 0.2, 0.3, 0.5]])
        )
        assert Regimes().pin(table, at).pins == pinned
    away = np.array([0.0, V, (1.05 - 3 * EDGE) * V], dtype=complex)
    assert Regimes().pin(loads, away).pins == 0
    assert Regimes().pin(loads, away, moving=np.array([True])).pins == 1


def test_pins_stay(stepping: Feeder) -> None:
    loads = stepping[Loads]
    at = np.array([0.0, V, 1.05 * V], dtype=complex)
    pinned = Regimes().pin(loads, at).pin(loads, np.array([0.0, V, V], dtype=complex))
    assert pinned.pins == 1
    assert pinned.load_w(loads)[0] > 1.05


def test_a_go_ahead_asks_for_the_other_state_too(stepping: Feeder) -> None:
    """Nothing is above its limit as the power flow finds it; with the load outside its band something is."""
    steep = stepping[Loads].replace(cvr_p=np.array([3.0]), p_kw=np.array([60.0]))
    problem = compile(stepping.with_tables(steep), limits=Limits(v_min_pu=0.5, v_max_pu=1.05))
    request = problem.request(np.array([_net_export_kw(1.0515 * V) + 60.0]))
    flow = run(problem.network, request)
    outside = run(problem.network, request, start=run(problem.network, problem.request(np.array([150.0]))))
    for start in (0.97, 1.0, 1.03):
        found = run(problem.network, request, start=replace(flow, v=flow.v * start))
        outside = max(outside, found, key=lambda f: abs(f.v[2]))
    assert abs(outside.v[2]) > 1.05 * V
    solution = solve(problem, request).raise_for_status()
    assert solution.p_curtail_kw[0] > 0.1
