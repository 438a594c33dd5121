"""What a terminal says of ticks that went wrong, and what -q leaves out."""

from pathlib import Path

import pandas as pd
import pytest

from anoca.report.explain import Explanation
from anoca.report.terminal import Terminal


def _ticks(**columns: list) -> pd.DataFrame:
    n = len(next(iter(columns.values())))
    times = pd.date_range("2026-06-21T12:30", periods=n, freq="5min", tz="America/New_York")
    plain = {
        "plant_worst_line": "",
        "preexisting": 0,
        "guard_hit": "",
        "certified": "yes",
        "status": "optimal",
    }
    plain |= {"stored_kw": float("nan")}
    numbers = ["total_oes_kw", "curtailed_kw", "largest_kw", "homes", "gini", "lost_share", "binding"]
    return pd.DataFrame({"time": times, **dict.fromkeys(numbers, 0.0), **plain, **columns})


def test_a_plant_outside_its_limits_is_told_of_certified_ticks_alone(capsys: pytest.CaptureFixture) -> None:
    status = ["optimal", "no_operating_point", "optimal"]
    Terminal(False).ticks(
        _ticks(plant_violated=[True, True, False], certified=["yes", "no", "yes"], status=status), "ticks"
    )
    said = capsys.readouterr().out
    assert "plant outside its limits in 1 of 3 ticks (12:30)" in said
    assert "no_operating_point in 1 of 3 ticks (12:35)" in said


def test_quiet_explanations_have_no_headings(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Terminal, "quiet", True)
    none, when = pd.DataFrame(), pd.Timestamp("2026-06-21T12:30")
    told = Explanation("l1", 0, when, "optimal", none, none, none, none, picture=Path("explain.png"))
    Terminal(False).explanations([told])
    assert capsys.readouterr().out.splitlines() == ["Picture, norm l1: tick 0, 12:30, optimal: explain.png"]
