"""`[devices]` and `[hems]`: who has what, timetables on the local clock, and settings that cannot be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from anoca.config import Scenario
from anoca.devices import managed_homes
from anoca.errors import InputError
from anoca.messages import AES, GrantedPower
from anoca.placement import load_feeder, place
from hems import Home
from hems.devices import ElectricVehicle

SMALL: dict[str, Any] = {
    "name": "small",
    "seed": 3,
    "feeder": {"name": "synthetic", "options": {"n_buses": 20, "seed": 1}},
    "prosumers": {"percent": {"A": 150, "C": 100}, "battery_kw": 20.0},
}


def small(**overrides: Any) -> Scenario:
    return Scenario.model_validate(SMALL).with_overrides(overrides)


def ticks(start: str, hours: int, zone: str = "America/New_York") -> pd.DatetimeIndex:
    return pd.date_range(start, periods=hours * 4, freq="15min", tz=zone)


def homes(scenario: Scenario, times: pd.DatetimeIndex) -> list[Home]:
    return managed_homes(scenario, place(scenario, load_feeder(scenario.feeder)), times)


def vehicles(made: list[Home]) -> dict[str, ElectricVehicle]:
    return {h.name: d for h in made for d in h.devices if isinstance(d, ElectricVehicle)}


def test_without_shares_nobody_has_a_device() -> None:
    assert all(home.devices == () for home in homes(small(), ticks("2026-06-21 12:00", 10)))


def test_a_share_is_a_share_of_the_homes_behind_the_prosumers() -> None:
    times = ticks("2026-06-21 12:00", 10)
    power = {}
    for share in (0.3, 1.0):
        made = homes(small(**{"devices.vehicle_share": share}), times)
        power[share] = sum(car.p_charge_kw for car in vehicles(made).values())
        assert all(d.name == "vehicle" for home in made for d in home.devices)
    assert power[0.3] / power[1.0] == pytest.approx(0.3, abs=0.08)
    both = homes(small(**{"devices.vehicle_share": 0.3, "devices.heat_pump_share": 0.5}), times)
    assert vehicles(both) == vehicles(homes(small(**{"devices.vehicle_share": 0.3}), times))


def test_vehicles_are_at_home_at_night_and_as_full_as_they_can_be_at_the_start() -> None:
    times = ticks("2026-06-21 22:00", 30)
    made = vehicles(homes(small(**{"devices.vehicle_share": 1.0}), times))
    assert len(made) > 10
    for car in made.values():
        first, second = car.stays[:2]
        leaves = times[first.depart_tick].hour + times[first.depart_tick].minute / 60
        comes = times[second.arrive_tick].hour + times[second.arrive_tick].minute / 60
        assert first.arrive_tick < 0
        assert 7.0 <= leaves <= 9.25
        assert 16.5 <= comes <= 18.75
        assert first.departure_kwh == pytest.approx(0.8 * car.capacity_kwh)
        assert second.arrival_kwh < first.arrival_kwh <= first.departure_kwh  # charging since then
    assert len({car.stays[0].depart_tick for car in made.values()}) > 2


@pytest.mark.parametrize(
    ("start", "zone"),
    [
        ("2026-03-07 20:00", "America/New_York"),
        ("2026-10-31 20:00", "America/New_York"),
        ("2026-03-28 20:00", "Europe/London"),
        ("2026-06-21 20:00", "Asia/Kathmandu"),
    ],
    ids=["an hour left out", "an hour twice", "at one", "quarter-hour zone"],
)
def test_timetables_follow_the_local_clock_over_a_clock_change(start: str, zone: str) -> None:
    times = ticks(start, 40, zone)
    scenario = small(**{"devices.vehicle_share": 1.0, "devices.away_at": "02:30", "devices.back_at": "22:00"})
    for car in vehicles(homes(scenario, times)).values():
        hours = [times[s.depart_tick].hour + times[s.depart_tick].minute / 60 for s in car.stays[:1]]
        assert all(1.0 <= h <= 4.25 for h in hours)
        assert not car.faults()


def test_daytime_vehicles_leave_the_day_they_came() -> None:
    times = ticks("2026-06-21 06:00", 30)
    scenario = small(**{"devices.vehicle_share": 1.0, "devices.away_at": "17:00", "devices.back_at": "09:00"})
    for car in vehicles(homes(scenario, times)).values():
        stay = car.stays[0]
        assert times[stay.arrive_tick].date() == times[stay.depart_tick].date()


def test_hot_water_of_a_day_is_what_was_asked_for() -> None:
    times = ticks("2026-06-21 00:00", 24)
    scenario = small(**{"devices.heat_pump_share": 1.0, "devices.hot_water_kwh": 6.0})
    for home in homes(scenario, times):
        pump = home.devices[0]
        n = pump.p_max_kw / scenario.devices.heat_pump_kw
        assert 0.25 * np.sum(pump.heat_kw) == pytest.approx(6.0 * n, rel=0.01)


def test_rules_and_limits_of_the_section_reach_the_homes() -> None:
    overrides = {
        "hems.battery_export": False,
        "hems.grid_charging": False,
        "hems.export_limit_per_peak": 0.5,
    }
    scenario = small(**overrides)
    peak = place(scenario, load_feeder(scenario.feeder)).p_peak_kw
    made = homes(scenario, ticks("2026-06-21 12:00", 10))
    assert not any(home.battery_export or home.grid_charging for home in made)
    np.testing.assert_allclose([home.export_limit_kw for home in made], 0.5 * peak)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("devices.vehicle_share", 1.5, "vehicle_share"),
        ("devices.heat_pump_share", -0.1, "heat_pump_share"),
        ("devices.vehicle_kwh", 0.0, "vehicle_kwh"),
        ("devices.vehicle_kw", float("nan"), "vehicle_kw"),
        ("devices.trip_kwh", 50.0, "trip_kwh 50 is more than 80 % of vehicle_kwh"),
        ("devices.away_at", "8:00", "write a clock time HH:MM"),
        ("devices.back_at", "25:00", "write a clock time HH:MM"),
        ("devices.back_at", "09:00", "less than three hours apart"),
        ("devices.heat_pump_kw", 0.0, "heat_pump_kw"),
        ("devices.tank_l", -1.0, "tank_l"),
        ("devices.hot_water_kwh", float("inf"), "hot_water_kwh"),
        ("devices.vehicles", 0.5, "unknown key 'vehicles'"),
        ("hems.target_time", "24:00", "target_time='24:00' must be a clock time"),
        ("hems.expect_repeat", 96, "expect_repeat=96 must be"),
        ("hems.salvage_value_per_kwh", -1.0, "salvage_value_per_kwh"),
        ("hems.wear_price_per_kwh", float("nan"), "wear_price_per_kwh"),
        ("hems.export_limit_per_peak", -0.5, "export_limit_per_peak"),
        ("series.end", "stop", "'error', 'hold' or 'shrink'"),
    ],
)
def test_a_bad_setting_is_named(key: str, value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        small(**{key: value})


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(InputError, match="either a value or a target"):
        small(**{"hems.salvage_value_per_kwh": 0.1, "hems.target_time": "12:00"})
    with pytest.raises(InputError, match="a snapshot has no day"):
        small(mode="snapshot", **{"devices.vehicle_share": 0.5})


# Phases -------------------------------------------------------------------------------------------


def granted(*kw: float) -> AES:
    now = pd.Timestamp("2026-06-21 12:00", tz="America/New_York")
    connections = tuple(GrantedPower(p, 0.0) for p in kw)
    return AES("A", 0, 0, "A/0/0", now, now, connections, "yes")


def test_a_balanced_inverter_is_capped_by_its_tightest_phase() -> None:
    assert granted(3.0, 1.0, 3.0).cap_kw([1 / 3, 1 / 3, 1 / 3]) == pytest.approx(3.0)
    assert granted(3.0, 1.0, 3.0).cap_kw([0.5, 0.1, 0.4]) == pytest.approx(6.0)
    assert granted(3.0, 1.0, 3.0).cap_kw([0.5, 0.1, 0.4], balanced=False) == 7.0
    assert granted(3.0, 0.0).cap_kw([1.0, 0.0]) == 3.0  # nothing flows there


def test_a_go_ahead_stays_the_request_to_the_last_bit() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        w = rng.dirichlet([1.0, 2.0, 3.0])
        aes = granted(*(rng.uniform(0, 50) * w))
        assert aes.cap_kw(w) == aes.p_export_kw
