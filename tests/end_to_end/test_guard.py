"""A run survives what its optimiser does, and says what happened; the guard itself changes no figure."""

from __future__ import annotations

import faulthandler
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import dms.interior
from anoca.config import load_scenario
from anoca.results import read
from anoca.simulation import simulate
from dms import child, ladder
from dms.interior import InteriorPoint

forked = pytest.mark.skipif(not child.FORKS, reason="needs processes that can be forked")


def _crash(*_: Any, **__: Any) -> InteriorPoint:
    faulthandler.disable()  # the test runner's, which would print a traceback
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError("alive")


@forked
def test_a_run_whose_every_method_crashes_ends_with_certified_answers(
    small: Path, tmp_path: Path, anoca_command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder, "_climb", _crash)
    outcome = anoca_command("run", small, "--out", tmp_path / "results")
    assert "optimiser crashed (signal 11) in" in outcome.out
    results = read(next((tmp_path / "results" / "small").iterdir()))
    ticks = results.tables["ticks"]
    assert len(ticks) == 2
    hit = ticks[ticks["guard_hit"] != ""]
    assert len(hit) >= 1
    assert set(hit["guard_hit"]) == {"crashed (signal 11)"}
    assert set(hit["status"]) == {"fallback"}
    assert (ticks["certified"] == "yes").all()
    assert results.summary["guard_hits"] == len(hit)
    assert outcome.code == (1 if results.summary["ticks_plant_violated"] else 0)


def test_the_guard_changes_no_figure(small: Path) -> None:
    scenario = load_scenario(small)
    guarded, plain = (simulate(scenario.with_overrides({"dms.guard": on})) for on in (True, False))
    assert guarded.summary["ticks_curtailed"] >= 1
    assert guarded.content_hash() == plain.content_hash()
    assert set(guarded.tables["ticks"]["guard_hit"]) == {""}


@forked
def test_what_is_asked_beside_the_tick_is_guarded_too(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The `optimal` certificate and the elastic problems; a tick keeps its answer without them."""
    strict = {"limits.preexisting": "strict", "limits.v_min_pu": 1.04, "dms.certify_optimal": True}
    scenario = load_scenario(small).with_overrides({"mode": "snapshot", **strict})
    monkeypatch.setattr(ladder, "_climb", _crash)
    monkeypatch.setattr(dms.interior, "solve", _crash)
    monkeypatch.setattr("anoca.simulation.certify_optimal", _crash)
    results = simulate(scenario)
    assert results.tables["ticks"]["optimal"].tolist() == ["not_tested"]
    assert results.tables["ticks"]["status"].tolist() == ["uncertified"]  # nobody knows if it is infeasible
    assert results.tables["ticks"]["guard_hit"].tolist() == ["crashed (signal 11)"]
    assert "slacks" not in results.tables
