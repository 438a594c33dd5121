"""Weights by the homes' bids in a loop: their losses are what the homes then regret, and never more."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anoca.agents import Homes
from anoca.bidding import Bids
from anoca.config import Scenario
from anoca.errors import InputError
from anoca.messages import OES
from anoca.simulation import simulate
from tests.end_to_end.small_scenario import SMALL

LOOP = SMALL | {
    "name": "bids",
    "prosumers": {"percent": {"A": 150, "C": 100}, "battery_kw": 10.0},
    "dms": {"norm": "l2", "weight_by": "bid"},
    "hems": {"horizon": 24, "soc_start": 0.9},
    "clock": {"ticks": 1},
}


def loop(**overrides: Any) -> Scenario:
    return Scenario.model_validate(LOOP).with_overrides(overrides)


def test_bids_say_what_the_homes_then_lose_and_lower_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[float] = []
    loss = Bids.loss_usd
    monkeypatch.setattr(Bids, "loss_usd", lambda self, answer: said.append(loss(self, answer)) or said[-1])
    by_bids = simulate(loop()).summary
    plain = simulate(loop(**{"dms.weight_by": "none"})).summary
    assert len(said) == 3
    assert said[0] == pytest.approx(plain["regret_usd"], abs=1e-7)
    assert min(said) == pytest.approx(by_bids["regret_usd"], abs=1e-7)
    assert by_bids["regret_usd"] < 0.99 * plain["regret_usd"]
    assert by_bids["certified"] == 1


def test_a_home_that_the_milp_plans_sends_no_bid(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[OES] = []
    request = Homes.request
    monkeypatch.setattr(Homes, "request", lambda self, *at: asked.append(request(self, *at)) or asked[-1])
    assert simulate(loop(**{"hems.backend": "lp"})).is_certified
    assert asked
    assert all(oes.bid is None for oes in asked)


def test_bids_are_private_unless_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[OES] = []
    request = Homes.request
    monkeypatch.setattr(Homes, "request", lambda self, *at: asked.append(request(self, *at)) or asked[-1])
    simulate(loop(**{"dms.weight_by": "none"}))
    assert all(oes.bid is None for oes in asked)


def test_norms_are_compared_with_and_without_bids(anoca_command, small, tmp_path) -> None:
    out = tmp_path / "results"
    done = anoca_command("compare", small, "--bids", "--norms", "l2", "--out", out, "--json")
    assert done.code == 0
    assert [(r["norm"], r["weights"]) for r in done.rows] == [("l2", "plain"), ("l2", "bids")]
    assert all(np.isfinite(r["bill_more_usd"]) for r in done.rows)
    assert (out / "small" / "bids-l2.png").is_file()
    refused = anoca_command("compare", small, "--bids", "--norms", "proportional", "--out", out)
    assert refused.code == 2
    assert "takes weights" in refused.err


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mode": "snapshot"}, "in a snapshot no home plans"),
        ({"dms.cumulative_fairness": 1.0}, "take one of them"),
        ({"dms.norm": "proportional"}, "takes no weights"),
    ],
)
def test_where_bids_make_no_sense(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        loop(**change)
