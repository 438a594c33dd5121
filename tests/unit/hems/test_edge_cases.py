"""The table of edge cases, row by row: what a home does when something is missing, odd, or wrong."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from hems import (
    Battery,
    ConfigError,
    Forecaster,
    ForecastNoise,
    HemsConfig,
    HemsFleet,
    Home,
    HomeError,
    Inverter,
    PlanStatus,
    SeriesError,
    Tariff,
    TariffError,
    load_shape,
    ny_like_tou,
    pv_shape,
)
from hems.model import PLAIN

Fleet = Callable[..., HemsFleet]
Flat = Callable[..., Tariff]
LOAD = [[0.5, 0.5, 0.5, 0.5]]
PV = [[4.0, 4.0, 0.0, 0.0]]
DARK = [[0.0] * 4]
SLOW = Battery(energy_kwh=10.0, p_charge_kw=2.0, p_discharge_kw=2.0, eta_charge=0.9, eta_discharge=0.8)
SMALL = Battery(energy_kwh=2.0, p_charge_kw=3.0, p_discharge_kw=4.0, eta_charge=0.9, eta_discharge=0.8)


# The target, and the band of the SOC --------------------------------------------------------------


def test_a_target_out_of_reach_is_reported_and_never_infeasible(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home(battery=Battery(**{**vars(SLOW), "p_charge_kw": 0.5}), soc_start=0.0)
    plan = fleet.plan(LOAD, DARK, flat())
    assert plan.status.tolist() == [PlanStatus.TARGET_MISSED]
    assert plan.shortfall_kwh[0] == pytest.approx(5.0 - 4 * 0.25 * 0.9 * 0.5)
    assert plan.p_charge_kw[0] == pytest.approx(0.5)


def test_a_soc_outside_its_band_returns_and_is_logged(one_home: Fleet, flat: Flat, caplog) -> None:
    with caplog.at_level(logging.WARNING):
        fleet = one_home(battery=Battery(**{**vars(SLOW), "soc_min": 0.3}), soc_start=0.2)
    assert "H1: SOC 2.000 kWh is outside its band" in caplog.text
    assert fleet.plan(LOAD, PV, flat()).status.tolist() == [PlanStatus.RECOVERING]
    assert np.all(np.diff(fleet.explain(0).soc_kwh) >= -1e-9)


def test_self_discharge_is_in_the_plan_and_in_what_happens(one_home: Fleet, flat: Flat) -> None:
    leaky = Battery(**{**vars(SLOW), "self_discharge_per_h": 0.19})
    keep = 0.81**0.25
    fleet = one_home(battery=leaky, soc_start=0.5)
    plan = fleet.plan(LOAD, DARK, flat())
    table = fleet.explain(0)
    stored = 0.25 * (0.9 * table.p_charge_kw - table.p_discharge_kw / 0.8)
    before = np.concatenate([[5.0], table.soc_kwh[:-1]])
    np.testing.assert_allclose(table.soc_kwh, keep * before + stored, atol=1e-9)
    assert table.soc_kwh.iloc[-1] == pytest.approx(5.0)
    assert table.p_charge_kw.sum() > 0.0  # what leaks is bought again
    fleet.respond(plan.p_export_kw)
    real = fleet.realise([0.5], [0.0])
    assert real.soc_end_kwh[0] == pytest.approx(keep * 5.0 + 0.25 * 0.9 * real.p_charge_kw[0])


def test_self_discharge_below_the_band_without_power_to_stop_it_is_no_dead_end(
    one_home: Fleet, flat: Flat
) -> None:
    leaky = Battery(**{**vars(SLOW), "self_discharge_per_h": 0.5, "soc_min": 0.5})
    fleet = one_home(battery=leaky, soc_start=0.5, import_limit_kw=0.5)
    plan = fleet.plan([[2.0] * 4], DARK, flat())
    assert plan.status.tolist() == [PlanStatus.IMPORT_LIMIT]  # all of the service goes to the load
    assert fleet.explain(0).soc_kwh.iloc[-1] == pytest.approx(5.0 * 0.5, abs=1e-6)


# The end of the data, clock targets, salvage, repeated caps ---------------------------------------


def test_end_error_says_how_many_ticks_are_needed(one_home: Fleet, flat: Flat) -> None:
    with pytest.raises(TariffError, match="the tariff has 3 ticks; the horizon is 4"):
        one_home().plan([[0.5] * 3], [[0.0] * 3], flat(ticks=3))
    with pytest.raises(TariffError, match="the tariff needs 8, has 6"):
        flat(ticks=6).window(4, 4)


def test_end_shrink_plans_over_what_there_is(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home(config={"end": "shrink"})
    for ticks in (4, 3, 2, 1):
        plan = fleet.plan([[0.5] * ticks], [[2.0] * ticks], flat(ticks=ticks))
        plan.raise_for_status()
        same = one_home(config={"horizon": ticks}).plan([[0.5] * ticks], [[2.0] * ticks], flat(ticks=ticks))
        assert plan.objective[0] == same.objective[0]
        assert len(fleet.explain(0)) == ticks
    with pytest.raises(TariffError, match="has 5 ticks; the horizon is 4"):
        fleet.plan([[0.5] * 5], [[0.0] * 5], flat(ticks=5))
    with pytest.raises(TariffError, match="has 0 ticks"):
        fleet.plan(np.zeros((1, 0)), np.zeros((1, 0)), flat(ticks=0))


def clocked(start: str, ticks: int = 4) -> Tariff:
    times = pd.date_range(start, periods=ticks, freq="15min", tz="America/New_York")
    return Tariff(np.full(ticks, 0.3), np.full(ticks, 0.05), times=times)


def test_target_time_inside_the_horizon_holds_there_and_not_later(one_home: Fleet) -> None:
    fleet = one_home(battery=SLOW, soc_start=0.5, config={"target_time": "18:30"})
    fleet.plan([[1.0] * 4], DARK, clocked("2023-06-21 18:00"))
    soc = fleet.explain(0).soc_kwh
    assert soc.iloc[1] == pytest.approx(5.0)  # at the end of the tick that ends at 18:30
    assert soc.iloc[3] < 5.0 - 0.25


def test_target_time_behind_the_horizon_asks_for_what_still_makes_it(one_home: Fleet) -> None:
    fleet = one_home(battery=SLOW, soc_start=0.5, config={"target_time": "20:00"})
    plan = fleet.plan([[8.0] * 4], DARK, clocked("2023-06-21 18:00"))
    # Four ticks are left after 19:00: 4 x .25 h x 2 kW x .9 = 1.8 kWh.
    assert fleet.explain(0).soc_kwh.iloc[-1] == pytest.approx(5.0 - 1.8)
    assert plan.status.tolist() == [PlanStatus.OPTIMAL]
    with pytest.raises(ConfigError, match="give the tariff its `times`"):
        fleet.plan(LOAD, DARK, Tariff(np.full(4, 0.3), np.zeros(4)))
    with pytest.raises(ConfigError, match="target_time='25:00' must be a clock time"):
        HemsConfig(target_time="25:00")


def test_target_time_does_not_recede(one_home: Fleet) -> None:
    # Against the end of the horizon a home that is paid to discharge puts its target off for ever.
    socs = {}
    for target in (None, "19:00"):
        fleet = one_home(battery=SLOW, soc_start=0.1, config={"target_time": target, "soc_target": 0.3})
        for tick in range(4):
            now = str(pd.Timestamp("2023-06-21 18:00") + tick * pd.Timedelta("15min"))
            prices = clocked(now)
            cheap_later = Tariff(np.array([0.4, 0.3, 0.2, 0.1]), np.full(4, 0.0), times=prices.times)
            plan = fleet.plan(DARK, DARK, cheap_later)
            fleet.respond(plan.p_export_kw)
            fleet.realise([0.0], [0.0])
        socs[target] = fleet.soc_kwh[0]
    assert socs[None] < 2.0
    assert socs["19:00"] == pytest.approx(3.0 - 0.1, abs=0.2)


def test_salvage_value_takes_the_place_of_the_target(one_home: Fleet, flat: Flat) -> None:
    # Bought for 0.30, kept for 0.9 v: pays above 0.333. Drawn from for 0.8 x 0.30: pays below v = 0.24.
    dear = one_home(battery=SLOW, config={"salvage_value_per_kwh": 0.34})
    assert dear.plan(LOAD, DARK, flat()).p_charge_kw[0] == pytest.approx(2.0)
    cheap = one_home(battery=SLOW, config={"salvage_value_per_kwh": 0.23})
    plan = cheap.plan(LOAD, DARK, flat())
    assert plan.p_discharge_kw[0] == pytest.approx(0.5)
    assert (plan.status[0], plan.shortfall_kwh[0]) == (PlanStatus.OPTIMAL, 0.0)
    with pytest.raises(ConfigError, match="either a value or a target"):
        HemsConfig(salvage_value_per_kwh=0.1, target_time="12:00")


def test_expect_repeat_keeps_the_cap_for_the_ticks_after(one_home: Fleet, flat: Flat) -> None:
    tables = {}
    for repeat in (0, 2):
        fleet = one_home(battery=SLOW, soc_start=0.5, config={"expect_repeat": repeat})
        plan = fleet.plan(DARK, [[6.0] * 4], flat())
        dispatch = fleet.respond(plan.p_export_kw - plan.p_export_kw + 1.0)
        assert dispatch.p_export_kw.tolist() == [1.0]
        assert dispatch.certified.all()
        tables[repeat] = fleet.explain(0).p_export_kw
    assert tables[0].iloc[1] > 1.0
    assert (tables[2].iloc[:3] <= 1.0 + 1e-9).all()
    assert tables[2].iloc[3] > 1.0


def test_wear_is_counted_for_every_kwh_through_the_battery(one_home: Fleet) -> None:
    tariff = Tariff(np.array([0.3, 0.3, 0.2, 0.2]), np.full(4, 0.05))
    fleet = one_home(battery=SLOW, config={"wear_price_per_kwh": 0.001})
    plan = fleet.plan(LOAD, DARK, tariff)
    table = fleet.explain(0)
    through = 0.25 * (table.p_charge_kw + table.p_discharge_kw).sum()
    bill = 0.25 * (table.p_import_kw * tariff.import_price_per_kwh).sum()
    assert through > 0.0
    assert plan.objective[0] == pytest.approx(bill + 0.001 * through, abs=1e-9)


# Prices -------------------------------------------------------------------------------------------


def test_negative_import_price_is_planned_by_the_milp(one_home: Fleet, flat: Flat) -> None:
    plan = one_home(import_limit_kw=9.0).plan(LOAD, PV, flat(pi=-0.05, pe=-0.06))
    plan.raise_for_status()
    assert plan.p_spill_kw[0] == pytest.approx(4.0)
    full = one_home(soc_start=1.0, config={"soc_target": 1.0}).plan(LOAD, PV, flat(pi=-0.05, pe=-0.06))
    full.raise_for_status()
    assert full.path.tolist() == ["milp"]  # the relaxation would burn energy for money


def test_negative_export_price_spills_pv_and_exports_nothing(one_home: Fleet, flat: Flat) -> None:
    for backend in ("auto", "lp"):  # needs no binaries
        plan = one_home(soc_start=1.0, config={"backend": backend}).plan(LOAD, PV, flat(pe=-0.05))
        plan.raise_for_status()
        assert (plan.p_export_kw[0], plan.p_spill_kw[0]) == (0.0, 3.5)


def test_arbitrage_is_rejected_with_its_ticks_unless_allowed(one_home: Fleet) -> None:
    pi, pe = np.array([0.3, 0.1, 0.3, 0.1]), np.array([0.05, 0.2, 0.05, 0.2])
    with pytest.raises(TariffError, match=r"at 2 tick\(s\): 1, 3\."):
        Tariff(pi, pe)
    allowed = Tariff(pi, pe, allow_arbitrage=True)
    with pytest.raises(TariffError, match=r"at tick 1: home 'H1' .* needs a finite import_limit_kw"):
        one_home().plan(LOAD, PV, allowed)
    plan = one_home(import_limit_kw=5.0, export_limit_kw=5.0).plan(LOAD, PV, allowed)
    plan.raise_for_status()
    table = one_home(import_limit_kw=5.0, export_limit_kw=5.0)
    table.plan(LOAD, PV, allowed)
    assert (table.explain(0)[["p_import_kw", "p_export_kw"]].min(axis=1) == 0.0).all()


def test_equal_prices_leave_one_direction_only(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home()
    fleet.plan(LOAD, PV, flat(pi=0.2, pe=0.2)).raise_for_status()
    assert (fleet.explain(0)[["p_import_kw", "p_export_kw"]].min(axis=1) == 0.0).all()


# Limits -------------------------------------------------------------------------------------------


def test_export_cap_of_a_tick_is_the_least_of_the_static_and_its_own(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home(battery=None, export_limit_kw=3.0)
    cap = [[np.inf, 1.0, 5.0, 0.0]]
    plan = fleet.plan(DARK, [[4.0] * 4], flat(), export_cap_kw=cap)
    assert plan.p_export_kw.tolist() == [3.0]
    assert fleet.explain(0).p_export_kw.tolist() == [3.0, 1.0, 3.0, 0.0]
    stored = one_home(battery=SLOW, export_limit_kw=3.0)
    stored.plan(DARK, [[4.0] * 4], flat(), export_cap_kw=cap).raise_for_status()
    assert (stored.explain(0).p_export_kw <= np.array([3.0, 1.0, 3.0, 0.0]) + 1e-9).all()


def test_export_cap_of_a_tick_holds_in_what_happens(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home(battery=None, config={"cap_when_uncurtailed": False})
    plan = fleet.plan(DARK, PV, flat(), export_cap_kw=[[5.0, 9.0, 9.0, 9.0]])
    fleet.respond(plan.p_export_kw)
    assert fleet.realise([0.0], [8.0]).p_export_kw[0] == 5.0


def test_a_bad_export_cap_is_refused(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home()
    with pytest.raises(SeriesError, match="export_cap_kw of home 'H1', tick 2 is -1"):
        fleet.plan(LOAD, PV, flat(), export_cap_kw=[[1.0, 1.0, -1.0, 1.0]])
    with pytest.raises(SeriesError, match=r"export_cap_kw has shape \(1, 2\)"):
        fleet.plan(LOAD, PV, flat(), export_cap_kw=[[1.0, 1.0]])
    with pytest.raises(ConfigError, match="pv_spill=False, but an export_cap_kw"):
        one_home(config={"pv_spill": False}).plan(LOAD, PV, flat(), export_cap_kw=[[1.0] * 4])


def test_a_zero_export_home_stores_and_spills(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home(export_limit_kw=0.0)
    plan = fleet.plan(LOAD, [[6.0] * 4], flat())
    fleet.respond([0.0])
    real = fleet.realise([0.5], [6.0])
    assert (plan.p_export_kw[0], real.p_export_kw[0]) == (0.0, 0.0)
    assert real.p_spill_kw[0] > 0.0


def test_a_load_above_the_import_limit_is_served_and_reported(one_home: Fleet, flat: Flat) -> None:
    plan = one_home(soc_start=0.0, import_limit_kw=2.0).plan([[5.0, 1.0, 1.0, 1.0]], DARK, flat())
    assert (plan.status[0], plan.p_import_kw[0]) == (PlanStatus.IMPORT_LIMIT, 5.0)
    assert plan.over_import_kw[0] == pytest.approx(3.0)


# What a home has ----------------------------------------------------------------------------------


def test_no_battery_is_closed_form(one_home: Fleet, flat: Flat) -> None:
    plan = one_home(battery=None, export_limit_kw=2.0).plan(LOAD, PV, flat())
    assert (plan.path[0], plan.p_export_kw[0], plan.p_spill_kw[0]) == ("closed_form", 2.0, 1.5)


def test_no_pv_is_the_same_model(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home(has_pv=False, soc_start=1.0, config={"soc_target": 0.0})
    fleet.plan(LOAD, DARK, flat()).raise_for_status()
    assert fleet.explain(0).p_export_kw.sum() > 0.0  # the battery may export
    with pytest.raises(SeriesError, match="pv_kw of home 'H1' is not zero, but the home has has_pv=False"):
        fleet.plan(LOAD, PV, flat())


def test_neither_pv_nor_battery_is_an_error() -> None:
    with pytest.raises(HomeError, match="Home 'A': neither PV nor battery"):
        Home("A", has_pv=False)


def test_an_aggregate_plans_as_many_times_one_home(one_home: Fleet, flat: Flat) -> None:
    one = one_home().plan(LOAD, PV, flat())
    many = one_home(battery=dataclasses.replace(SMALL, n_units=12)).plan(
        12 * np.array(LOAD), 12 * np.array(PV), flat()
    )
    assert many.p_export_kw[0] == pytest.approx(12 * one.p_export_kw[0])
    assert many.objective[0] == pytest.approx(12 * one.objective[0])


# Rules for the battery ----------------------------------------------------------------------------


def test_battery_export_false_feeds_the_load_and_nothing_else(one_home: Fleet, flat: Flat) -> None:
    full = {"soc_start": 1.0, "config": {"soc_target": 0.0}}
    free, ruled = one_home(**full), one_home(**full, battery_export=False)
    free.plan(LOAD, DARK, flat()).raise_for_status()
    assert free.explain(0).p_export_kw.sum() > 0.0
    ruled.plan(LOAD, PV, flat()).raise_for_status()
    t = ruled.explain(0)
    used = t.p_pv_kw - t.p_spill_kw
    assert (t.p_discharge_kw <= np.maximum(t.p_load_kw - used, 0.0) + 1e-7).all()
    assert t.p_discharge_kw.sum() > 0.0
    assert t.p_export_kw.iloc[0] == pytest.approx(3.5)  # PV may


def test_grid_charging_false_stores_pv_and_nothing_else(one_home: Fleet) -> None:
    cheap_first = Tariff(np.array([0.1, 0.1, 0.4, 0.4]), np.full(4, 0.05))
    free, ruled = one_home(soc_start=0.0), one_home(soc_start=0.0, grid_charging=False)
    assert free.plan(LOAD, [[1.0, 0.0, 0.0, 0.0]], cheap_first).p_import_kw[0] > 0.0
    plan = ruled.plan(LOAD, [[1.0, 0.0, 0.0, 0.0]], cheap_first)
    assert plan.status.tolist() == [PlanStatus.TARGET_MISSED]
    t = ruled.explain(0)
    assert (t.p_charge_kw <= np.maximum(t.p_pv_kw - t.p_spill_kw - t.p_load_kw, 0.0) + 1e-7).all()
    assert t.p_charge_kw.iloc[0] == pytest.approx(0.5)


def test_the_rules_hold_when_the_forecast_was_wrong(one_home: Fleet, flat: Flat) -> None:
    ruled = one_home(soc_start=1.0, config={"soc_target": 0.0}, battery_export=False)
    plan = ruled.plan([[3.0] * 4], DARK, Tariff(np.array([0.4, 0.3, 0.3, 0.3]), np.zeros(4)))
    ruled.respond(plan.p_export_kw)
    real = ruled.realise([1.0], [0.0])
    assert (real.p_discharge_kw[0], real.p_export_kw[0]) == (1.0, 0.0)
    sunny = one_home(soc_start=0.0, grid_charging=False)
    plan = sunny.plan(LOAD, PV, flat())
    assert plan.p_charge_kw[0] > 2.0
    sunny.respond(plan.p_export_kw)
    real = sunny.realise([0.5], [1.0])
    assert (real.p_charge_kw[0], real.p_import_kw[0]) == (0.5, 0.0)


def test_a_low_soc_waits_for_the_sun_where_the_grid_must_not_charge(one_home: Fleet, flat: Flat) -> None:
    battery = dataclasses.replace(SLOW, soc_min=0.3)
    plan = one_home(battery=battery, soc_start=0.1, grid_charging=False).plan(LOAD, PV, flat())
    assert plan.status.tolist() == [PlanStatus.RECOVERING]
    assert plan.p_charge_kw[0] == pytest.approx(2.0)


def test_only_plain_homes_are_for_a_programme_over_one_soc(one_home: Fleet, flat: Flat) -> None:
    for options, plain in (({}, True), ({"battery_export": False}, False), ({"grid_charging": False}, False)):
        fleet = one_home(**options)
        problems = fleet.problems(LOAD, PV, flat())
        assert [p.structure.one_battery for p in problems] == [plain]
    assert PLAIN.devices == ()


# Reactive power, phases, noise --------------------------------------------------------------------


def test_reactive_power_leaves_less_room_for_pv(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home(battery=None, inverter=Inverter(s_kva=5.0, q_kvar=-4.0))
    plan = fleet.plan(DARK, [[4.0] * 4], flat())
    assert plan.p_export_kw.tolist() == [3.0]  # sqrt(25 - 16)
    fleet.respond(plan.p_export_kw)
    real = fleet.realise([0.0], [4.5])
    assert (real.p_export_kw[0], real.p_spill_kw[0]) == (3.0, 1.5)  # what there was no room for is booked
    at_pf = one_home(battery=None, inverter=Inverter(s_kva=5.0, power_factor=0.8))
    assert at_pf.plan(DARK, [[6.0] * 4], flat()).p_export_kw.tolist() == [4.0]


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"s_kva": 0.0}, "s_kva=0.0 must be positive"),
        ({"s_kva": np.nan}, "s_kva=nan"),
        ({"s_kva": 2.0, "q_kvar": 3.0}, "q_kvar=3.0 must not be larger"),
        ({"s_kva": 2.0, "power_factor": 1.2}, "power_factor=1.2 must be in"),
        ({"s_kva": 2.0, "power_factor": 0.9, "q_kvar": 1.0}, "stand without q_kvar"),
    ],
)
def test_an_impossible_inverter_is_refused(numbers: dict, message: str) -> None:
    with pytest.raises(HomeError, match=message):
        Home("A", inverter=Inverter(**numbers))


def test_forecast_errors_grow_with_the_lead_time() -> None:
    noise = ForecastNoise(sigma_load=0.1, growth_per_h=1.0, sigma_load_nowcast=0.01, sigma_pv=0.1)
    sees = Forecaster(seed=1, noise=noise, dt_h=0.25)
    names = [f"H{i}" for i in range(2000)]
    load = sees.load_kw(np.ones((2000, 9)), names=names, tick=0)
    np.testing.assert_allclose(load.std(axis=0)[[0, 4, 8]], [0.01, 0.2, 0.3], rtol=0.06)
    assert not sees.pv_kw(np.zeros((3, 9)), names=names[:3], tick=0).any()  # none at night


# Clocks -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "start", ["2023-03-12 01:00", "2023-11-05 00:45"], ids=["an hour left out", "an hour twice"]
)
def test_a_clock_change_is_an_ordinary_hour_of_elapsed_time(start: str) -> None:
    times = pd.date_range(start, periods=12, freq="15min", tz="America/New_York")
    fleet = HemsFleet([Home("A", SMALL)], HemsConfig(step_minutes=15, horizon=12))
    load, pv = 2.0 * load_shape(["A"], times, seed=1), 3.0 * pv_shape(times, seed=1)[None]
    fleet.plan(load, pv, ny_like_tou(times)).raise_for_status()
    assert fleet.explain("A").index.equals(times)


@pytest.mark.parametrize("zone", ["Asia/Kolkata", "Australia/Adelaide", "Asia/Kathmandu", "Pacific/Chatham"])
def test_half_hour_zones_are_like_others(zone: str) -> None:
    times = pd.date_range("2023-06-21 12:00", periods=8, freq="15min", tz=zone)
    fleet = HemsFleet([Home("A", SMALL)], HemsConfig(step_minutes=15, horizon=8, target_time="13:30"))
    load, pv = 2.0 * load_shape(["A"], times, seed=1), 3.0 * pv_shape(times, seed=1)[None]
    fleet.plan(load, pv, ny_like_tou(times)).raise_for_status()
    assert str(fleet.explain("A").index[0]) == str(times[0])


def test_times_with_a_gap_overlap_or_other_step_name_the_first_bad_one(one_home: Fleet) -> None:
    times = pd.date_range("2023-03-12 01:30", periods=4, freq="15min", tz="America/New_York")
    naive = pd.date_range("2023-03-12 01:30", periods=4, freq="15min")
    prices = np.full(4, 0.3), np.full(4, 0.05)
    with pytest.raises(SeriesError, match="times are naive \\(first: 2023-03-12 01:30:00\\)"):
        Tariff(*prices, times=naive)
    with pytest.raises(SeriesError, match="after 2023-03-12 01:30:00-05:00 comes 2023-03-12 01:30"):
        Tariff(*prices, times=times[[0, 0, 1, 2]])
    later = times[:2].append(times[2:] + pd.Timedelta("1h"))
    with pytest.raises(SeriesError, match="01:45:00-05:00 is followed by 2023-03-12 04:00:00-04:00"):
        one_home().plan(LOAD, PV, Tariff(*prices, times=later))
    finer = pd.date_range("2023-03-12", periods=4, freq="5min", tz="UTC")
    with pytest.raises(SeriesError, match="must be 0 days 00:15:00 apart"):
        one_home().plan(LOAD, PV, Tariff(*prices, times=finer))
    with pytest.raises(SeriesError, match="no time, at position 1"):
        Tariff(*prices, times=pd.DatetimeIndex([times[0], pd.NaT, times[1], times[2]]))


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [np.nan, np.inf, -1.0])
def test_a_bad_value_names_home_column_tick_and_time(one_home: Fleet, bad: float) -> None:
    wrong = [[0.5, 0.5, bad, 0.5]]
    where = r"of home 'H1', tick 2 \(2023-06-21 18:30:00-04:00\) is"
    with pytest.raises(SeriesError, match="load_kw " + where):
        one_home().plan(wrong, PV, clocked("2023-06-21 18:00"))
    with pytest.raises(SeriesError, match="pv_kw " + where):
        one_home().plan(LOAD, wrong, clocked("2023-06-21 18:00"))


@pytest.mark.parametrize("bad", [[["a"] * 4], [[0.5, 0.5], [0.5]], None, [[None] * 4]])
def test_what_is_no_array_of_numbers_is_a_series_error(one_home: Fleet, flat: Flat, bad: object) -> None:
    with pytest.raises(SeriesError, match="load_kw"):
        one_home().plan(bad, PV, flat())


def frame(values: list[float], **columns: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"H1": values, **columns}, index=clocked("2023-06-21 18:00").times)


def test_frames_are_taken_by_home_and_time(one_home: Fleet) -> None:
    tariff = clocked("2023-06-21 18:00")
    load, pv = frame([0.5, 0.6, 0.7, 0.8], other=[9.0] * 4), frame(PV[0]).tz_convert("UTC")
    a, b = one_home(), one_home()
    a.plan(load, pv, tariff)
    b.plan([[0.5, 0.6, 0.7, 0.8]], PV, tariff)
    assert a.explain(0).equals(b.explain(0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: f.rename(columns={"H1": "H2"}), r"no column for 1 home\(s\): H1"),
        (lambda f: f.tz_localize(None), "load_kw: times are naive"),
        (lambda f: f.reset_index(drop=True), "index must be a DatetimeIndex, not RangeIndex"),
        (lambda f: f.iloc[:3], r"not at the 4 ticks of the tariff, .* 2023-06-21 18:45:00-04:00"),
        (lambda f: f.shift(freq="5min"), r"the first difference is at 2023-06-21 18:00:00-04:00"),
        (lambda f: f.iloc[[0, 1, 1, 3]], "times must increase strictly"),
        (lambda f: pd.concat([f, f], axis=1), "has column 'H1' twice"),
        (lambda f: f.mask(np.arange(4)[:, None] == 2), r"home 'H1', tick 2 \(2023-06-21 18:30"),
    ],
)
def test_a_bad_frame_names_what_is_wrong(one_home: Fleet, change: Callable, message: str) -> None:
    with pytest.raises(SeriesError, match=message):
        one_home().plan(change(frame([0.5] * 4)), PV, clocked("2023-06-21 18:00"))


@pytest.mark.parametrize(
    "options",
    [
        {"horizon": 2.5},
        {"expect_repeat": -1},
        {"expect_repeat": 96},
        {"salvage_value_per_kwh": np.nan},
        {"end": "hold"},
        {"target_time": "8:00"},
        {"step_minutes": np.nan},
    ],
)
def test_a_bad_option_is_a_config_error_that_names_it(options: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(options))):
        HemsConfig(**options)
