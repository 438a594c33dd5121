"""Odd homes and odd data through a whole run: what is refused says why, and what runs adds up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anoca.config import Scenario
from anoca.errors import InputError
from anoca.placement import load_feeder, place
from anoca.simulation import simulate
from tests.end_to_end import small_scenario

SMALL = small_scenario.SMALL | {"dms": {"guard": False}, "output": {"nodes": False, "plots": False}}


def small(**overrides: Any) -> Scenario:
    return Scenario.model_validate(SMALL).with_overrides(overrides)


def check(table: pd.DataFrame) -> None:
    """Energy is conserved, the AES is kept, and every kilowatt of a curtailment is accounted for."""
    t = table
    supply = t.p_import_kw + t.p_pv_kw + t.p_discharge_kw
    spilled = t.p_spill_plan_kw + t.p_spill_curtail_kw + t.p_spill_tracking_kw
    use = t.p_export_kw + t.p_load_kw + t.p_charge_kw + t.p_devices_kw + spilled
    np.testing.assert_allclose(supply, use, atol=1e-8)
    assert (t.p_export_kw <= t.p_aes_kw + 1e-8).all()
    assert t.p_unavailable_kw.abs().min() >= 0.0
    assert (t.gap <= 1e-6).all()


def test_a_run_with_vehicles_and_heat_pumps_adds_up() -> None:
    scenario = small(
        **{
            "devices.vehicle_share": 0.5,
            "devices.heat_pump_share": 0.5,
            "devices.v2g": True,
            "devices.back_at": "12:30",
            "clock.start": "2026-06-21T13:00:00",
            "clock.ticks": 6,
        }
    )
    found = simulate(scenario)
    table = found.tables["prosumers"]
    check(table)
    assert table.p_devices_kw.abs().max() > 1.0
    assert table.p_curtail_kw.sum() > 1.0
    assert simulate(scenario).content_hash() == found.content_hash()


@pytest.mark.parametrize(
    "overrides",
    [
        {"hems.battery_export": False, "hems.grid_charging": False},
        {"hems.export_limit_per_peak": 0.0},
        {"hems.target_time": "13:00"},
        {"hems.salvage_value_per_kwh": 0.1},
        {"hems.expect_repeat": 6},
        {"hems.wear_price_per_kwh": 0.02},
        {"hems.soc_start": 0.0},
        {"prosumers.battery_kw": 0.0},
        {"tariff.kind": "ny_like_rtp", "tariff.negative": True},
    ],
    ids=lambda o: next(iter(o)),
)
def test_a_run_of_odd_homes_adds_up(overrides: dict[str, Any]) -> None:
    table = simulate(small(**overrides, **{"hems.horizon": 8, "clock.ticks": 2})).tables["prosumers"]
    check(table)
    if "hems.export_limit_per_peak" in overrides:
        assert not table.p_export_kw.any()
    if "hems.battery_export" in overrides:
        assert np.minimum(table.p_discharge_kw, table.p_export_kw).max() <= 1e-9
        assert np.minimum(table.p_charge_kw, table.p_import_kw).max() <= 1e-9


def load_file(path: Path, scenario: Scenario, hours: float, start: str = "2026-06-21 12:30") -> str:
    names = list(place(scenario, load_feeder(scenario.feeder)).name)
    times = pd.date_range(start, periods=round(hours * 12), freq="5min", tz="America/New_York")
    hour = times.hour.to_numpy() + times.minute.to_numpy() / 60
    frame = pd.DataFrame({name: 1.0 + hour for name in names}, index=times)
    frame.rename_axis("time").to_csv(path, date_format="%Y-%m-%dT%H:%M%z")
    return str(path)


def test_files_that_end_before_the_horizon_are_refused_with_the_length_needed(tmp_path: Path) -> None:
    path = load_file(tmp_path / "load.csv", small(), 0.5)
    with pytest.raises(InputError, match=r"needed is every 5 minutes from 2026-06-21 12:30.* to .*14:40"):
        simulate(small(**{"series.load_file": path}))


def test_hold_repeats_the_last_day_behind_the_end(tmp_path: Path) -> None:
    from anoca.series import build_series

    scenario = small(**{"clock.start": "2026-06-22T12:00:00", "series.end": "hold"})
    path = load_file(tmp_path / "load.csv", scenario, 27.0, "2026-06-21 09:15")
    held = scenario.with_overrides(
        {"series.load_file": path, "forecast.method": "persistence", "clock.start": "2026-06-22T12:00:00"}
    )
    series = build_series(held, place(held, load_feeder(held.feeder)))
    hour = series.times.hour.to_numpy() + series.times.minute.to_numpy() / 60
    np.testing.assert_allclose(series.load_kw[0], 1.0 + hour)  # the clock again: a day later
    check(simulate(held).tables["prosumers"])


def test_hold_needs_a_day_to_repeat_and_the_run_itself(tmp_path: Path) -> None:
    path = load_file(tmp_path / "load.csv", small(), 1.0)
    with pytest.raises(InputError, match=r"of 27 ticks missing, the first 2026-06-21 13:30"):
        simulate(small(**{"series.load_file": path, "series.end": "hold"}))
    for end in ("hold", "shrink"):
        with pytest.raises(InputError, match="ticks missing, the first 2026-06-21 13:30"):
            simulate(small(**{"series.load_file": path, "series.end": end, "clock.ticks": 13}))


def test_shrink_looks_as_far_as_the_files_go(tmp_path: Path) -> None:
    path = load_file(tmp_path / "load.csv", small(), 1.0)
    for ticks in (3, 12):  # the last tick of the file is the last of the run
        found = simulate(small(**{"series.load_file": path, "series.end": "shrink", "clock.ticks": ticks}))
        check(found.tables["prosumers"])
        assert len(found.tables["ticks"]) == ticks
