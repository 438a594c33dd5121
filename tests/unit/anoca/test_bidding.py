"""Bids on the wire, the prices that weights are made of, and which answer is sent."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anoca.bidding import UNCUT_SHARE, Bids, least_regret
from anoca.messages import OES, Bid, RequestedPower

START = pd.Timestamp("2026-06-21 12:30", tz="America/New_York")
STORES = Bid((0.0, 4.0, 10.0), (0.04, 0.0, 0.0))  # the first 6 kW cost nothing
SPILLS = Bid((0.0, 10.0), (0.05, 0.0))


def oes(name: str, bid: Bid | None) -> OES:
    return OES(name, 0, 0, START, START, (RequestedPower(10.0, 0.0, 0.0),), bid=bid)


@dataclass
class Stated:
    """Three homes of one connection each, with the weights they are solved by."""

    weights: Any = field(default_factory=lambda: np.ones(3))
    units: Any = field(
        default_factory=lambda: SimpleNamespace(name=np.array(list("abc")), of_connection=np.arange(3))
    )

    def weighted(self, weights: np.ndarray) -> Stated:
        return Stated(weights)


@dataclass(frozen=True)
class Answer:
    p_curtail_kw: np.ndarray
    ok: bool = True
    solve_s: float = 1.0

    @property
    def certificate(self) -> SimpleNamespace:
        return SimpleNamespace(ok=self.ok)

    @property
    def total_curtailed_kw(self) -> float:
        return float(self.p_curtail_kw.sum())


def bids_of(stated: Any) -> Bids:
    inbox = [oes("a", STORES), oes("b", SPILLS), oes("c", None)]
    return Bids(inbox, stated, {"a": [0], "b": [1], "c": [2]})


def test_it_is_known_who_asks_and_does_not_bid() -> None:
    bids = bids_of(Stated())
    assert (len(bids), bids.asking) == (2, 3)


def test_the_price_of_a_cut_is_the_mean_over_it() -> None:
    assert STORES.price_per_kw(6.0) == 0.0
    assert STORES.price_per_kw(8.0) == pytest.approx(0.02 / 8)
    assert STORES.price_per_kw(99.0) == pytest.approx(0.04 / 10)
    assert SPILLS.loss_at(4.0) == pytest.approx(0.02)
    assert np.isnan(Bid((0.0,), (0.0,)).price_per_kw(1.0))


def test_prices_over_whole_requests_and_over_the_cut_of_an_answer() -> None:
    bids = bids_of(Stated())
    np.testing.assert_allclose(bids.price_per_kw(), [0.004, 0.005, np.nan])
    over = bids.price_per_kw(np.array([8.0, 0.0, 3.0]))
    np.testing.assert_allclose(over, [0.0025, SPILLS.loss_at(10 * UNCUT_SHARE) / 4, np.nan])


def test_the_answer_that_costs_least_by_the_bids_is_sent() -> None:
    answers = [Answer(np.array([0.0, 6.0, 0.0])), Answer(np.array([6.0, 0.0, 0.0])), Answer(np.full(3, 5.0))]
    seen: list[Any] = []

    def solve(problem: Any, warm: Any) -> Any:
        seen.append((problem.weights, warm))
        return answers[len(seen) - 1]

    stated: Any = Stated()
    problem, best = least_regret(bids_of(stated), stated, solve, None)
    assert list(best.p_curtail_kw) == [6.0, 0.0, 0.0]
    assert best.solve_s == 3.0
    np.testing.assert_allclose(problem.weights, np.array([4.0, 5.0, 4.5]) / 4.5)
    assert seen[1][1] is answers[0]
    assert seen[2][1] is answers[1]
    assert seen[2][0][0] == seen[2][0].min()  # what it lost in the better answer cost it nothing


@pytest.mark.parametrize(
    ("first", "rest", "solves"),
    [
        (Answer(np.zeros(3)), None, 1),  # nothing is cut
        (Answer(np.full(3, 5.0), ok=False), None, 1),  # the fallback
        (Answer(np.full(3, 5.0)), Answer(np.zeros(3), ok=False), 3),  # cheaper, but without certificate
    ],
)
def test_the_first_answer_stays(first: Answer, rest: Answer | None, solves: int) -> None:
    seen: list[Any] = []

    def solve(problem: Any, warm: Any) -> Any:
        seen.append(problem)
        return first if len(seen) == 1 else rest

    stated: Any = Stated()
    problem, best = least_regret(bids_of(stated), stated, solve, None)
    assert problem is stated
    assert np.array_equal(best.p_curtail_kw, first.p_curtail_kw)
    assert len(seen) == solves
