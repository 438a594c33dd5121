"""Whichever edge cases come together: plans are certified, the AES is obeyed and energy is conserved.

Homes, prices, limits, rules, devices, states and options are drawn together, without regard for sense.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hems import Battery, HemsConfig, HemsFleet, Home, Inverter, PlanStatus, Tariff, UncertifiedError
from tests.properties.test_hems_devices import appliance, extra_battery, heat_pump, vehicle

T, TICKS, MINUTES = 8, 3, 15
NAMES = ("p_export_kw", "p_import_kw", "p_charge_kw", "p_discharge_kw", "p_spill_kw")


def draw_home(rng: np.random.Generator, *, finite: bool, spill: bool) -> Home:
    some = [1.0, 4.0, 9.0] + ([] if finite else [np.inf])
    battery = Battery(
        energy_kwh=rng.uniform(0.5, 6),
        p_charge_kw=rng.choice([0.0, 2.0, 5.0]),
        p_discharge_kw=rng.choice([0.0, 2.0, 5.0]),
        eta_charge=rng.choice([0.7, 0.95, 1.0]),
        eta_discharge=rng.choice([0.7, 0.95, 1.0]),
        soc_min=rng.choice([0.0, 0.3, 0.5]),
        soc_max=rng.choice([0.5, 0.9, 1.0]),
        self_discharge_per_h=rng.choice([0.0, 0.0, 0.02, 0.5]),
        n_units=int(rng.integers(1, 3)),
    )
    kinds = [vehicle(rng, v2g=True), appliance(rng), heat_pump(rng, house=False), extra_battery(rng)]
    owned = tuple(kinds[i] for i in range(4) if rng.random() < 0.15)
    has_battery = rng.random() < 0.8
    return Home(
        "A",
        battery if has_battery else None,
        import_limit_kw=rng.choice(some),
        export_limit_kw=rng.choice([0.0, *some]) if spill else np.inf,
        has_pv=bool(rng.random() < 0.9 or not (has_battery or owned)),
        inverter=Inverter(s_kva=5.0, q_kvar=rng.uniform(-5, 5)) if rng.random() < 0.2 else None,
        battery_export=bool(rng.random() < 0.8),
        grid_charging=bool(rng.random() < 0.8),
        devices=owned,
    )


def draw_config(rng: np.random.Generator) -> HemsConfig:
    end = {0: {}, 1: {"salvage_value_per_kwh": rng.uniform(0, 0.5)}, 2: {"target_time": "13:00"}}
    chosen = end[int(rng.integers(3))]
    equality = "salvage_value_per_kwh" not in chosen and rng.random() < 0.2
    return HemsConfig(
        horizon=T,
        step_minutes=MINUTES,
        terminal="equality" if equality else "soft",
        pv_spill=bool(rng.random() < 0.85),
        tie_break=rng.choice(["least_battery", "defer_export", "export_early"]),
        wear_price_per_kwh=rng.choice([0.0, 0.05]),
        compute_band=bool(rng.random() < 0.5),
        expect_repeat=int(rng.integers(3)),
        cap_when_uncurtailed=bool(rng.random() < 0.5),
        end="shrink",
        **chosen,
    )


def draw_tariff(rng: np.random.Generator, *, arbitrage: bool) -> Tariff:
    times = pd.date_range("2026-06-21 11:30", periods=T + TICKS, freq=f"{MINUTES}min", tz="Asia/Kolkata")
    pi = rng.choice([0.0, 0.1, 0.1, 0.3], len(times)) + rng.choice([0.0, 0.01], len(times))
    if rng.random() < 0.2:
        pi[rng.random(len(times)) < 0.3] = -0.05
    pe = np.minimum(pi, rng.choice([-0.05, 0.0, 0.05, 0.1], len(times)))
    if arbitrage:
        pe = np.where(rng.random(len(times)) < 0.3, pi + 0.1, pe)
    return Tariff(pi, pe, allow_arbitrage=arbitrage, times=times)


def live_through_it(rng: np.random.Generator) -> set[str]:
    """One drawn home over some ticks; the statuses that its plans had."""
    config = draw_config(rng)
    arbitrage = bool(config.pv_spill and rng.random() < 0.15)
    home = draw_home(rng, finite=arbitrage, spill=config.pv_spill)
    tariff = draw_tariff(rng, arbitrage=arbitrage)
    fleet = HemsFleet([home], config, soc_start=0.0)
    fleet.soc_kwh = [rng.uniform(0, 1.2) * home.battery.capacity_kwh if home.battery else 0.0]
    load = rng.choice([0.0, 0.5, 3.0, 12.0], T + TICKS)
    pv = rng.choice([0.0, 2.0, 9.0], T + TICKS) * home.has_pv
    seen = set()
    for tick in range(TICKS):
        w = slice(tick, tick + min(T, T + TICKS - 2 - tick))
        caps = rng.choice([0.0, 2.0, np.inf], w.stop - w.start) if config.pv_spill else None
        plan = fleet.plan(
            load[None, w],
            pv[None, w],
            tariff.window(tick, w.stop - w.start),
            export_cap_kw=None if caps is None else caps[None],
        )
        seen.add(str(plan.status[0]))
        assert np.isfinite(plan.objective[0])
        if plan.status[0] == PlanStatus.UNCERTIFIED:
            with pytest.raises(UncertifiedError):
                plan.raise_for_status()
        aes = plan.p_export_kw * rng.choice([1.0, 0.5, 0.0])
        dispatch = fleet.respond(aes)
        assert dispatch.p_export_kw.tolist() == aes.tolist()
        for batch in (plan, dispatch):
            assert all(np.isfinite(getattr(batch, n)).all() and (getattr(batch, n) >= 0).all() for n in NAMES)
        true_load, true_pv = load[tick] * rng.uniform(0, 2, 1), pv[tick] * rng.uniform(0, 2, 1)
        live_on(fleet, config, dispatch, true_load, true_pv)
    return seen


def live_on(fleet: HemsFleet, config: HemsConfig, dispatch, load: np.ndarray, pv: np.ndarray) -> None:
    before = fleet.soc_kwh
    real = fleet.realise(load, pv)
    bound = config.cap_when_uncurtailed or dispatch.curtailed[0]
    limit = dispatch.p_export_kw[0] if bound else fleet.homes[0].export_limit_kw
    assert real.p_export_kw[0] <= limit + 1e-9
    supply = real.p_import_kw + pv - real.p_spill_kw + real.p_discharge_kw
    use = real.p_export_kw + load + real.p_charge_kw + real.p_devices_kw
    assert supply[0] == pytest.approx(use[0], abs=1e-9)
    assert min(real.p_charge_kw[0], real.p_discharge_kw[0]) == 0.0
    assert min(real.p_import_kw[0], real.p_export_kw[0]) == 0.0
    battery = fleet.homes[0].battery
    if battery is not None:
        kept = before * (1 - battery.self_discharge_per_h) ** config.dt_h
        lo, hi = battery.soc_min * battery.capacity_kwh, battery.soc_max * battery.capacity_kwh
        assert min(lo, kept[0]) - 1e-9 <= fleet.soc_kwh[0] <= max(hi, kept[0]) + 1e-9


@pytest.mark.parametrize("seed", [1, *[pytest.param(s, marks=pytest.mark.slow) for s in range(2, 12)]])
def test_no_edge_case_is_a_dead_end(seed: int) -> None:
    rng = np.random.default_rng(seed)
    seen: set[str] = set()
    for _ in range(50 if seed == 1 else 300):
        seen |= live_through_it(rng)
    wanted = {PlanStatus.OPTIMAL, PlanStatus.TARGET_MISSED, PlanStatus.RECOVERING, PlanStatus.IMPORT_LIMIT}
    assert wanted <= seen
    assert PlanStatus.UNCERTIFIED not in seen
