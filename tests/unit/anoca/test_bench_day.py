"""`anoca bench day` on an hour of its scenario: where the seconds go, and that nothing is missing."""

from __future__ import annotations

import numpy as np
import pytest

from anoca.errors import InputError
from anoca.studies.bench import COLUMNS, Plan, day, rounds


def test_its_hour_binds_and_is_accounted_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(day, "require_one_thread", lambda: None)
    monkeypatch.setitem(day.CASES, "noon", {**day.CASES["noon"], "clock.ticks": 2})
    kept, told = [], []
    frame = day.run(Plan(quick=True, norms=("l2",), runs=1), lambda *said: told.append(said[:2]), kept.append)
    row = frame.iloc[0]
    assert set(COLUMNS) <= set(frame)
    assert kept[-1].equals(frame)
    assert told == [(1, 2), (2, 2)]
    assert (row["ticks"], row["ticks_curtailed"], row["certified"]) == (2, 2, "2 of 2")
    assert (row["from"], row["to"]) == ("11:30", "11:35")
    assert sum(row[part] for part in day.PARTS) == pytest.approx(row["seconds"])
    assert row["ratio"] == pytest.approx(row["seconds"] / day.TARGET_S)
    assert (frame[list(day.PARTS)].to_numpy() >= 0).all()
    assert np.isfinite(row["cpu_s"])


def test_a_day_is_measured_once_unless_asked_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (rounds("day"), rounds("dms")) == (1, 3)
    monkeypatch.setattr(day, "require_one_thread", lambda: None)
    with pytest.raises(InputError, match="unknown norm"):
        day.run(Plan(norms=("l3",)), lambda *said: None, lambda frame: None)
