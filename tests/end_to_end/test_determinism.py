"""Same seed, same tables: whatever the number of workers, and whoever else is there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anoca.agents import Homes
from anoca.config import Scenario
from anoca.devices import managed_homes
from anoca.placement import load_feeder, place
from anoca.results import read
from anoca.series import build_series
from anoca.studies.sweep import sweep
from tests.end_to_end.small_scenario import SMALL

DAY = SMALL | {
    "name": "same",
    "hems": {"horizon": 24, "growth_per_h": 0.5},
    "series": {"load": "homes", "pv": "roofs", "sky": "mixed"},
    "clock": {"ticks": 2},
    "output": {"plots": False},
    "sweep": {"seed": [3, 4]},
}


def test_tables_are_the_same_with_one_worker_and_with_two(tmp_path: Path) -> None:
    scenario = Scenario.model_validate(DAY)
    hashes = []
    for jobs in (1, 2):
        table, _ = sweep(scenario, tmp_path / str(jobs), jobs)
        found = {Path(folder).name: read(Path(folder)).content_hash() for folder in table["folder"]}
        assert len(set(found.values())) == 2
        hashes.append(found)
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("load", ["curve", "homes"])
def test_another_home_changes_nothing_that_is_drawn_for_the_others(load: str) -> None:
    """Loads, PV, forecasts and devices; even its name comes first in every order."""
    changes = {"series.load": load, "devices.vehicle_share": 0.5, "devices.heat_pump_share": 0.5}
    before = Scenario.model_validate(DAY).with_overrides(changes)
    feeder = load_feeder(before.feeder)
    extra = {"name": "a new one", "node": str(feeder.node_names[-1]), "base_kw": 7.0, "percent": 50.0}
    after = before.with_overrides({"prosumers.extra": [extra]})
    (one, homes), (other, more) = (_drawn(scenario) for scenario in (before, after))
    assert set(more) - set(homes) == {"a new one"}
    for what in one:
        assert other[what][list(one[what].columns)].equals(one[what]), what
    for name, home in homes.items():
        assert more[name] == home


def _drawn(scenario: Scenario) -> tuple[dict[str, pd.DataFrame], dict[str, Any]]:
    placement = place(scenario, load_feeder(scenario.feeder))
    series = build_series(scenario, placement)
    homes = Homes(scenario, placement, series)
    names = [str(name) for name in placement.name]
    drawn = {"load": series.load_kw, "pv": series.pv_kw}
    drawn |= {f"{kind} believed": homes._believed(kind, 1) for kind in ("load", "pv")}  # type: ignore[arg-type]
    tables = {what: pd.DataFrame(np.asarray(kw).T, columns=names) for what, kw in drawn.items()}
    managed = managed_homes(scenario, placement, series.times)
    assert any(home.devices for home in managed)
    return tables, {home.name: home for home in managed}
