"""Weights by prosumer, by connection, by capacity, and from what was lost."""

import numpy as np
import pytest

from dms import Limits, Units, compile, solve, weights
from feeders import Connections, Feeder

LIMITS = Limits(v_max_pu=1.5)


def test_a_prosumers_weight_is_that_of_all_its_connections_and_a_connections_goes_first(zoo: Feeder) -> None:
    given = {"three": 2.0, "three#2": 5.0, "one": 3.0}
    problem = compile(zoo, curtail_unit="connection", weights=given)
    found = dict(zip(problem.units.name, problem.weights, strict=True))
    assert [found[f"three#{k}"] for k in (1, 2, 3)] == [2.0, 5.0, 2.0]
    assert (found["one"], found["wye"]) == (3.0, 1.0)
    with pytest.raises(KeyError, match="three#2"):
        compile(zoo, weights=given)  # curtailed as one: a connection has no weight of its own


def test_weights_are_a_mapping(zoo: Feeder) -> None:
    with pytest.raises(TypeError, match="weights: a mapping of unit name to weight, not list"):
        compile(zoo, weights=[1.0])  # type: ignore[arg-type]


def test_weights_by_connection_decide_which_phase_gives(street) -> None:
    """Two connections of one prosumer at one bus, the lighter one is cut first."""
    feeder = street(homes=((1, "a", 0.5), (1, "a", 0.5)))
    problem = compile(
        feeder, norm="l1", curtail_unit="connection", limits=LIMITS, weights={"a#1": 1.0, "a#2": 4.0}
    )
    solution = solve(problem, problem.request(np.array([20.0, 20.0]))).raise_for_status()
    assert solution.p_curtail_kw[1] == pytest.approx(0.0, abs=1e-3)
    assert solution.p_curtail_kw[0] > 10.0


def test_weights_by_capacity_make_linf_a_least_largest_percentage(street) -> None:
    feeder = street(homes=((1, "big", 1.0), (1, "small", 1.0)))
    units = Units.of(feeder[Connections])
    given = weights.by_capacity(units, np.array([30.0, 10.0]))
    assert given == {"big": pytest.approx(20 / 30), "small": pytest.approx(2.0)}
    problem = compile(feeder, norm="linf", limits=LIMITS, weights=given)
    cut = solve(problem, problem.request(np.array([30.0, 10.0]))).raise_for_status().p_curtail_kw
    assert cut[0] / 30 == pytest.approx(cut[1] / 10, abs=1e-5)
    with pytest.raises(ValueError, match="no capacity is known of small"):
        weights.by_capacity(units, np.array([30.0, np.nan]))


def test_cumulative_weights_are_bounded_and_grow_with_the_share_lost() -> None:
    base = np.array([1.0, 2.0, 1.0, 1.0])
    lost, asked = np.array([0.0, 1.0, 4.0, 0.0]), np.array([5.0, 10.0, 8.0, 0.0])
    found = weights.cumulative(base, lost, asked, 3.0)
    assert found.tolist() == [1.0, 2.0 * (1 + 3 * 0.2), 4.0, 1.0]
    assert weights.cumulative(base, 0 * lost, asked, 3.0).tolist() == base.tolist()
    assert weights.cumulative(base, lost, asked, 0.0).tolist() == base.tolist()


@pytest.mark.parametrize("norm", ["l1", "l2", "linf", "linf_l2", "alpha_fair"])
def test_a_problem_with_other_weights_is_the_problem_compiled_with_them(zoo: Feeder, norm: str) -> None:
    one, two = (
        dict(zip(compile(zoo).units.name, w, strict=True)) for w in ((1, 2, 3, 4, 5), (3, 1, 1, 2, 9))
    )
    start, wanted = (compile(zoo, norm=norm, weights=w) for w in (one, two))
    found = start.weighted(wanted.weights)
    assert found.weights.tolist() == wanted.weights.tolist()
    for a, b in zip(found.program.objectives, wanted.program.objectives, strict=True):
        np.testing.assert_allclose(a.linear, b.linear)
        np.testing.assert_allclose(a.products.coef, b.products.coef)
    x = np.random.default_rng(0).uniform(0.5, 1, found.program.n)
    np.testing.assert_allclose(found.program.constraints(x), wanted.program.constraints(x), atol=1e-12)
    np.testing.assert_allclose(found.program.jacobian(x), wanted.program.jacobian(x), atol=1e-12)
    assert start.weights.tolist() == [1, 2, 3, 4, 5]


def test_other_weights_that_cannot_be_are_refused(zoo: Feeder) -> None:
    with pytest.raises(ValueError, match="positive and finite: wye"):
        compile(zoo).weighted(np.array([0.0, 1, 1, 1, 1]))
    with pytest.raises(ValueError, match="proportional takes no weights"):
        compile(zoo, norm="proportional").weighted(np.ones(5))


def test_cumulative_fairness_evens_out_a_tick_that_comes_again(street) -> None:
    """Two like homes on one cable: l1 cuts the far one alone, every time, unless the past counts."""
    feeder = street(z_ohm=(0.05 + 0.02j,) * 2, i_max_a=(100.0, 300.0), homes=((1,), (2,)))
    stated = compile(feeder, norm="l1", limits=LIMITS)
    request = stated.request(np.array([20.0, 20.0]))
    gini = {}
    for strength in (0.0, 3.0):
        lost, asked, warm = np.zeros(2), np.zeros(2), None
        for _ in range(6):
            problem = stated.weighted(weights.cumulative(stated.weights, lost, asked, strength))
            warm = solve(problem, request, warm=warm).raise_for_status()
            lost, asked = lost + warm.unit_curtail_kw, asked + warm.unit_export_kw
        gini[strength] = abs(lost[0] - lost[1]) / lost.sum()
    assert gini[0.0] == pytest.approx(1.0, abs=1e-3)
    assert gini[3.0] < 0.2


def test_weights_by_bid_are_prices_and_stay_within_bounds() -> None:
    given = np.array([1.0, 1.0, 2.0])
    found = weights.by_bid(given, np.array([0.004, 0.002, 0.003]))
    np.testing.assert_allclose(found, given * np.array([4.0, 2.0, 3.0]) / 3.0)
    free = weights.by_bid(given, np.array([0.004, 0.0, -1.0]))  # who is paid to be cut is cut first, no more
    assert free.max() / free.min() <= weights.MAX_WEIGHT_RATIO
    assert free[1] == free.min() == pytest.approx(2 * free[0] / weights.MAX_WEIGHT_RATIO)
    assert free[2] == pytest.approx(2 * free[1])


def test_who_does_not_bid_counts_as_the_mean_and_bids_of_nothing_change_nothing() -> None:
    given = np.array([1.0, 1.0, 1.0])
    found = weights.by_bid(given, np.array([0.004, np.nan, 0.002]))
    np.testing.assert_allclose(found, [4 / 3, 1.0, 2 / 3])
    assert np.array_equal(weights.by_bid(given, np.array([0.0, np.nan, -0.1])), given)
    assert np.array_equal(weights.by_bid(given, np.full(3, np.nan)), given)
