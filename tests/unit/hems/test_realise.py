"""Living through a tick: each rule of the closed loop by hand, on one quarter hour."""

import numpy as np
import pytest

from hems import Battery, HemsConfig, HemsFleet, Home, Tariff
from hems.household import HomeArrays
from hems.realise import Flows, SetPoints, live_through

BATTERY = Battery(energy_kwh=4.0, p_charge_kw=3.0, p_discharge_kw=3.0, eta_charge=0.9, eta_discharge=0.8)


def live(*, load: float, pv: float, soc: float = 2.0, **hold: float) -> Flows:
    points = {"battery_kw": 0.0, "spill_kw": 0.0, "spill_curtail_kw": 0.0, "p_export_kw": 0.0, **hold}
    points.setdefault("p_export_cap_kw", points["p_export_kw"])
    arrays = HomeArrays.of([Home("A", BATTERY)])
    hold_at = SetPoints(**{name: np.array([value]) for name, value in points.items()})
    one = np.array
    return live_through(arrays, hold_at, load_kw=one([load]), pv_kw=one([pv]), soc_kwh=one([soc]), dt_h=0.25)


def summary(f: Flows) -> tuple[float, ...]:
    """Battery, import, export, spill planned, curtailed, tracking."""
    columns = f.battery_kw, f.p_import_kw, f.p_export_kw
    spills = f.p_spill_plan_kw, f.p_spill_curtail_kw, f.p_spill_tracking_kw
    return tuple(round(float(v[0]), 12) for v in columns + spills)


def test_a_perfect_forecast_changes_nothing() -> None:
    assert summary(live(load=1, pv=5, battery_kw=1, p_export_kw=3)) == (1, 0, 3, 0, 0, 0)


def test_more_sun_is_stored_first_and_then_spilled() -> None:
    assert summary(live(load=1, pv=6, battery_kw=1, p_export_kw=3)) == (2, 0, 3, 0, 0, 0)
    assert summary(live(load=1, pv=9, battery_kw=1, p_export_kw=3)) == (3, 0, 3, 0, 0, 2)
    # Battery almost full: 0.09 kWh of room take 0.4 kW.
    assert summary(live(load=1, pv=6, soc=3.91, p_export_kw=3)) == (0.4, 0, 3, 0, 0, 1.6)


def test_more_sun_first_means_less_discharge() -> None:
    assert summary(live(load=4, pv=1, battery_kw=-3)) == (-3, 0, 0, 0, 0, 0)
    assert summary(live(load=1, pv=1, battery_kw=-3)) == (0, 0, 0, 0, 0, 0)
    assert summary(live(load=0, pv=1, battery_kw=-3)) == (1, 0, 0, 0, 0, 0)


def test_a_deficit_is_imported_and_the_battery_left_alone() -> None:
    assert summary(live(load=3, pv=1, battery_kw=1, p_export_kw=2)) == (1, 3, 0, 0, 0, 0)
    assert summary(live(load=1, pv=4, battery_kw=1, p_export_kw=3)) == (1, 0, 2, 0, 0, 0)


def test_planned_spill_gives_way_when_the_sun_is_weaker() -> None:
    curtailed = {"p_export_kw": 2.0, "spill_kw": 3.0, "spill_curtail_kw": 2.0}
    assert summary(live(load=1, pv=6, **curtailed)) == (0, 0, 2, 1, 2, 0)
    assert summary(live(load=1, pv=5, **curtailed)) == (0, 0, 2, 0, 2, 0)
    assert summary(live(load=1, pv=4, **curtailed)) == (0, 0, 2, 0, 1, 0)
    assert summary(live(load=1, pv=2, **curtailed)) == (0, 0, 1, 0, 0, 0)
    # A stronger sun than planned: the battery takes the rest, not the spill.
    assert summary(live(load=1, pv=7, **curtailed)) == (1, 0, 2, 1, 2, 0)


def test_without_cap_the_export_may_rise() -> None:
    free = {"p_export_kw": 3.0, "p_export_cap_kw": np.inf}
    assert summary(live(load=1, pv=6, battery_kw=1, **free)) == (1, 0, 4, 0, 0, 0)
    chosen = {"p_export_kw": 0.0, "spill_kw": 2.0, "p_export_cap_kw": np.inf}
    assert summary(live(load=1, pv=2, **chosen)) == (0, 0, 0, 1, 0, 0)


def test_a_set_point_the_battery_cannot_hold_is_cut() -> None:
    assert summary(live(load=3, pv=0, battery_kw=-3, soc=0.25)) == (-0.8, 2.2, 0, 0, 0, 0)
    assert summary(live(load=0, pv=0, battery_kw=3, soc=4.0)) == (0, 0, 0, 0, 0, 0)


def test_soc_follows_what_was_done() -> None:
    assert live(load=1, pv=6, battery_kw=1, p_export_kw=3).soc_end_kwh[0] == 2.0 + 0.25 * 0.9 * 2.0
    assert live(load=4, pv=1, battery_kw=-3).soc_end_kwh[0] == 2.0 - 0.25 * 3.0 / 0.8


@pytest.mark.parametrize(("capped", "export", "charge"), [(True, 3.0, 1.0), (False, 4.0, 0.0)])
def test_cap_when_uncurtailed(capped: bool, export: float, charge: float) -> None:
    config = HemsConfig(step_minutes=15, horizon=2, cap_when_uncurtailed=capped)
    fleet = HemsFleet([Home("A", BATTERY)], config)
    plan = fleet.plan([[1.0, 1.0]], [[4.0, 4.0]], Tariff(np.full(2, 0.1), np.full(2, 0.1)))
    assert plan.p_export_kw[0] == 3.0
    fleet.respond(plan.p_export_kw)
    real = fleet.realise([1.0], [5.0])
    assert (real.p_export_kw[0], real.p_charge_kw[0]) == (export, charge)
    assert real.cost_usd[0] == pytest.approx(-0.25 * 0.1 * export)
    assert fleet.soc_kwh[0] == real.soc_end_kwh[0] == pytest.approx(2.0 + 0.25 * 0.9 * charge)


def test_the_curtailment_cap_holds_even_when_uncurtailed_homes_are_free() -> None:
    config = HemsConfig(step_minutes=15, horizon=2, cap_when_uncurtailed=False)
    fleet = HemsFleet([Home("A", BATTERY)], config)
    fleet.plan([[1.0, 1.0]], [[4.0, 4.0]], Tariff(np.full(2, 0.3), np.full(2, 0.1)))
    fleet.respond([1.0])
    assert fleet.realise([0.0], [8.0]).p_export_kw[0] == 1.0


def test_a_home_without_battery_spills_what_it_may_not_export() -> None:
    fleet = HemsFleet([Home("A")], HemsConfig(horizon=1))
    fleet.plan([[1.0]], [[4.0]], Tariff(np.array([0.3]), np.array([0.1])))
    fleet.respond([2.0])
    real = fleet.realise([1.5], [6.0])
    assert (real.p_export_kw[0], real.p_spill_curtail_kw[0], real.p_spill_tracking_kw[0]) == (2.0, 1.0, 1.5)
    assert real.p_spill_kw[0] == 2.5
    assert real.soc_end_kwh[0] == 0.0
