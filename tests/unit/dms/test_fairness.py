"""Gini, Jain and the share lost against values by hand, and at the corners."""

import numpy as np
import pytest

from dms import Limits, compile, fairness, solve


@pytest.mark.parametrize(
    ("share", "gini", "jain"),
    [
        ([0.2, 0.2, 0.2], 0.0, 1.0),
        ([0.0, 0.0, 0.0, 1.0], 0.75, 0.75),  # one loses all: 1 - 1/n; three of four keep all
        ([0.0, 1.0], 0.5, 0.5),
        ([0.1, 0.3], 0.25, (0.9 + 0.7) ** 2 / (2 * (0.81 + 0.49))),  # |0.1 - 0.3| twice / (2 4 0.2)
        ([0.0, 0.0], 0.0, 1.0),  # nobody is cut
        ([1.0, 1.0], 0.0, 1.0),  # nobody keeps anything
        ([], 0.0, 1.0),  # nobody asked
        ([0.7], 0.0, 1.0),
    ],
)
def test_indices_by_hand(share: list[float], gini: float, jain: float) -> None:
    assert fairness.gini(np.array(share)) == pytest.approx(gini, abs=1e-15)
    assert fairness.jain(np.array(share)) == pytest.approx(jain)


def test_gini_is_the_mean_difference_over_twice_the_mean() -> None:
    share = np.random.default_rng(0).uniform(0, 1, 50)
    differences = np.abs(share[:, None] - share[None, :]).mean()
    assert fairness.gini(share) == pytest.approx(differences / (2 * share.mean()))


def test_who_asks_for_nothing_is_not_counted() -> None:
    curtail, export = np.array([1.0, 0.0, 2.0]), np.array([4.0, 0.0, 4.0])
    assert fairness.lost_shares(curtail, export).tolist() == [0.25, 0.5]
    assert fairness.lost_share(curtail, export) == 3 / 8
    assert fairness.lost_share(curtail * 0, export * 0) == 0.0


def test_a_solution_reports_them_of_its_units(street) -> None:
    """Two connections of one prosumer are one unit; l1 with weights cuts one home to its end."""
    feeder = street(homes=((1, "a", 0.5), (1, "a", 0.5), (1, "b", 1.0)))
    problem = compile(feeder, norm="l1", limits=Limits(v_max_pu=1.5), weights={"a": 2.0})
    solution = solve(problem, problem.request(np.array([12.0, 12.0, 16.0]))).raise_for_status()
    assert solution.unit_export_kw.tolist() == [24.0, 16.0]
    cut = solution.unit_curtail_kw
    assert cut[0] == pytest.approx(0.0, abs=1e-3)
    lost = cut[1] / 16.0
    assert solution.gini == pytest.approx(0.5, abs=1e-4)
    assert solution.jain == pytest.approx((2 - lost) ** 2 / (2 * (1 + (1 - lost) ** 2)), rel=1e-4)
    assert solution.lost_share == pytest.approx(cut.sum() / 40.0)
    nothing = solve(problem, problem.request(np.zeros(3)))
    assert (nothing.gini, nothing.jain, nothing.lost_share) == (0.0, 1.0, 0.0)
