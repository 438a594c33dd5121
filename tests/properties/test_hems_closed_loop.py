"""Laws of the closed loop: a day part with forecast errors and curtailment, and any single tick."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hems import (
    Battery,
    Forecaster,
    ForecastNoise,
    HemsConfig,
    HemsFleet,
    Home,
    generator,
    load_shape,
    ny_like_tou,
    pv_shape,
)
from hems.household import HomeArrays
from hems.realise import SetPoints, live_through

N, T, TICKS = 8, 24, 18


def homes(extra: bool = False) -> list[Home]:
    kinds = [Battery.powerwall2(), Battery.powerwall2(2), None, Battery.powerwall2()]
    limits = [np.inf, np.inf, np.inf, 4.0]
    made = [Home(f"P{i}", kinds[i % 4], export_limit_kw=limits[i % 4]) for i in range(N)]
    return [Home("newcomer", Battery.powerwall2()), *made] if extra else made


def run(
    members: list[Home], *, seed: int = 4, start: str = "2023-06-21 11:00", **config: object
) -> list[dict]:
    """A loop with noisy forecasts and random curtailment; one record of arrays per tick."""
    names = [home.name for home in members]
    times = pd.date_range(start, periods=T + TICKS, freq="5min", tz="America/New_York")
    true_load = 2.0 * load_shape(names, times, seed=seed)
    true_pv = np.outer([6.0] * len(names), pv_shape(times, seed=seed, sky="broken"))
    tariff = ny_like_tou(times)
    noise = ForecastNoise(sigma_load=0.2, sigma_pv=0.3, sigma_load_nowcast=0.2, sigma_pv_nowcast=0.3)
    sees = Forecaster(seed=seed, noise=noise)
    fleet = HemsFleet(members, HemsConfig(horizon=T, **config))
    records = []
    for tick in range(TICKS):
        window = slice(tick, tick + T)
        load = sees.load_kw(true_load[:, window], names=names, tick=tick)
        pv = sees.pv_kw(true_pv[:, window], names=names, tick=tick)
        plan = fleet.plan(load, pv, tariff.window(tick, T))
        plan.raise_for_status()
        share = np.array([generator(seed, 100, name=n, tick=tick).choice([1.0, 0.5, 0.0]) for n in names])
        dispatch = fleet.respond(share * plan.p_export_kw)
        real = fleet.realise(true_load[:, tick], true_pv[:, tick])
        now = {"load": true_load[:, tick], "pv": true_pv[:, tick]}
        records.append({"plan": plan, "dispatch": dispatch, "real": real, "soc": fleet.soc_kwh, **now})
    return records


@pytest.fixture(scope="module")
def records() -> list[dict]:
    return run(homes())


def test_export_never_passes_the_set_point(records: list[dict]) -> None:
    for r in records:
        assert (r["real"].p_export_kw <= r["dispatch"].p_export_kw + 1e-9).all()


def test_energy_is_conserved_in_every_home_and_tick(records: list[dict]) -> None:
    eta = np.sqrt(0.9)
    before = None
    for r in records:
        real = r["real"]
        supply = real.p_import_kw + r["pv"] - real.p_spill_kw + real.p_discharge_kw
        np.testing.assert_allclose(supply, real.p_export_kw + r["load"] + real.p_charge_kw, atol=1e-9)
        stored = (eta * real.p_charge_kw - real.p_discharge_kw / eta) / 12
        np.testing.assert_allclose(real.soc_end_kwh, real.soc_start_kwh + stored, atol=1e-9)
        np.testing.assert_array_equal(real.soc_end_kwh, r["soc"])
        if before is not None:
            np.testing.assert_array_equal(real.soc_start_kwh, before)
        before = real.soc_end_kwh


def test_soc_stays_in_its_band_and_directions_exclude_each_other(records: list[dict]) -> None:
    capacity = HomeArrays.of(homes()).capacity_kwh
    for r in records:
        real = r["real"]
        assert (real.soc_end_kwh >= -1e-9).all()
        assert (real.soc_end_kwh <= capacity + 1e-9).all()
        assert not np.minimum(real.p_charge_kw, real.p_discharge_kw).any()
        assert not np.minimum(real.p_import_kw, real.p_export_kw).any()
        spills = real.p_spill_plan_kw, real.p_spill_curtail_kw, real.p_spill_tracking_kw
        assert min(s.min() for s in spills) >= 0.0
        assert (real.p_spill_kw <= r["pv"] + 1e-9).all()


def test_the_loop_sees_every_kind_of_event(records: list[dict]) -> None:
    # Without these the laws above would hold for want of cases.
    assert sum(int(r["dispatch"].curtailed.sum()) for r in records) > 20
    assert sum(float(r["dispatch"].p_stored_kw.sum()) for r in records) > 1.0
    assert sum(float(r["real"].p_spill_curtail_kw.sum()) for r in records) > 1.0
    assert sum(float(r["real"].p_spill_tracking_kw.sum()) for r in records) > 0.1


def test_the_same_seed_gives_the_same_day(records: list[dict]) -> None:
    for r, again in zip(records, run(homes()), strict=True):
        for batch in ("plan", "dispatch", "real"):
            for name, value in vars(r[batch]).items():
                np.testing.assert_array_equal(value, getattr(again[batch], name), err_msg=f"{batch}.{name}")


def test_a_newcomer_changes_nobody_elses_day(records: list[dict]) -> None:
    for r, more in zip(records, run(homes(extra=True)), strict=True):
        for name in ("p_export_kw", "p_import_kw", "p_charge_kw", "p_discharge_kw", "soc_end_kwh"):
            np.testing.assert_array_equal(getattr(r["real"], name), getattr(more["real"], name)[1:])


def test_without_the_cap_only_curtailed_homes_are_held() -> None:
    above = 0
    for r in run(homes(), cap_when_uncurtailed=False):
        held = r["dispatch"].curtailed
        excess = r["real"].p_export_kw - r["dispatch"].p_export_kw
        assert (excess[held] <= 1e-9).all()
        above += int((excess[~held] > 0.01).sum())
    assert above > 0


power = st.floats(0.0, 10.0)


@settings(max_examples=300, deadline=None)
@given(
    load=power,
    pv=power,
    soc=st.floats(0.0, 4.0),
    battery=st.floats(-3.0, 3.0),
    spill=power,
    curtail=power,
    export=power,
    slack=st.sampled_from([0.0, 1.0, np.inf]),
)
def test_any_set_point_and_any_weather(
    load: float,
    pv: float,
    soc: float,
    battery: float,
    spill: float,
    curtail: float,
    export: float,
    slack: float,
) -> None:
    unit = Battery(energy_kwh=4.0, p_charge_kw=3.0, p_discharge_kw=3.0, eta_charge=0.9, eta_discharge=0.8)
    one = [np.array([v]) for v in (battery, spill, min(spill, curtail), export, export + slack)]
    arrays = HomeArrays.of([Home("A", unit)])
    load_kw, pv_kw, soc_kwh = np.array([load]), np.array([pv]), np.array([soc])
    f = live_through(arrays, SetPoints(*one), load_kw=load_kw, pv_kw=pv_kw, soc_kwh=soc_kwh, dt_h=0.25)
    used_pv = pv - f.p_spill_plan_kw - f.p_spill_curtail_kw - f.p_spill_tracking_kw
    assert used_pv[0] >= -1e-9
    assert f.p_export_kw[0] <= export + slack
    assert f.p_import_kw[0] + used_pv[0] == pytest.approx(f.p_export_kw[0] + load + f.battery_kw[0], abs=1e-9)
    assert -1e-9 <= f.soc_end_kwh[0] <= 4.0 + 1e-9
    assert -3.0 <= f.battery_kw[0] <= 3.0
    rate = f.battery_kw[0] * (0.9 if f.battery_kw[0] > 0 else 1 / 0.8)
    assert f.soc_end_kwh[0] == pytest.approx(soc + 0.25 * rate, abs=1e-9)


def test_regrets_add_up_to_what_curtailment_cost_in_the_end() -> None:
    """Perfect forecasts, horizons that end with the run, nothing wanted of its end: Bellman's equation."""
    members = homes()
    names = [home.name for home in members]
    times = pd.date_range("2023-06-21 11:00", periods=T, freq="5min", tz="America/New_York")
    load = 2.0 * load_shape(names, times, seed=4)
    pv = np.outer([6.0] * len(names), pv_shape(times, seed=4, sky="broken"))
    tariff = ny_like_tou(times)

    def bills(grant: bool) -> tuple[np.ndarray, np.ndarray]:
        fleet = HemsFleet(members, HemsConfig(horizon=T, end="shrink", salvage_value_per_kwh=0.05))
        bill, regret = np.zeros((2, len(names)))
        for tick in range(T):
            plan = fleet.plan(load[:, tick:], pv[:, tick:], tariff.window(tick, T - tick))
            cut = [generator(4, 100, name=n, tick=tick).choice([1.0, 0.5, 0.0]) for n in names]
            dispatch = fleet.respond(plan.p_export_kw * (1.0 if grant else np.array(cut)))
            regret += dispatch.regret_usd
            bill += fleet.realise(load[:, tick], pv[:, tick]).cost_usd
        return bill - 0.05 * fleet.soc_kwh, regret

    (cut, regret), (granted, nothing) = bills(False), bills(True)
    assert (nothing == 0.0).all()
    assert regret.max() > 0.1
    np.testing.assert_allclose(cut - granted, regret, atol=1e-9)
