"""Homes with devices, held against the Pyomo text tick by tick, and what must be true when they live on.

The oracle's data are written out here from the home and its forecasts, without `hems.model`; the text of a
device reads the numbers its user gave and its state.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from hems import Battery, HemsConfig, HemsFleet, Home, Tariff
from hems.devices import Appliance, Device, ElectricVehicle, ExtraBattery, HeatPump, Run, Seen, Stay
from hems.reference import HomeNumbers, break_ties, build_model, solve_model

T, DT, TICKS = 8, 0.25, 5
KINDS = ("vehicle", "v2g", "appliance", "heat_pump", "house", "battery", "all")
RULES = ("battery_export", "grid_charging", "both", "both_v2g", "self_discharge", "export_cap", "salvage")


def vehicle(rng: np.random.Generator, *, v2g: bool) -> ElectricVehicle:
    first, second = int(rng.integers(1, 9)), int(rng.integers(2, 5))
    stays = (
        Stay(
            arrive_tick=int(rng.integers(-3, 1)),
            depart_tick=first,
            arrival_kwh=rng.uniform(0, 4),
            departure_kwh=rng.uniform(2, 8),
        ),
        Stay(
            arrive_tick=first + second,
            depart_tick=first + second + int(rng.integers(1, 12)),
            arrival_kwh=rng.uniform(0, 4),
            departure_kwh=rng.uniform(2, 8),
        ),
    )
    return ElectricVehicle(
        name="car",
        capacity_kwh=8.0,
        p_charge_kw=rng.uniform(2, 7),
        stays=stays,
        v2g=v2g,
        p_discharge_kw=rng.uniform(2, 5) if v2g else 0.0,
        eta_charge=rng.uniform(0.85, 1),
        eta_discharge=rng.uniform(0.85, 1),
        soc_min=rng.choice([0.0, 0.2]),
    )


def appliance(rng: np.random.Generator) -> Appliance:
    n, early = int(rng.integers(1, 4)), int(rng.integers(0, 3))
    end = early + n + int(rng.integers(0, 10))
    again = end + int(rng.integers(0, 3))
    runs = (Run(earliest_tick=early, end_tick=end), Run(earliest_tick=again, end_tick=again + n + 2))
    return Appliance(name="washer", p_kw=rng.uniform(0.5, 3), run_ticks=n, runs=runs)


def heat_pump(rng: np.random.Generator, *, house: bool) -> HeatPump:
    heat = 0.0 if house else tuple(rng.uniform(0, 4, T + TICKS) * (rng.random(T + TICKS) < 0.5))
    lo, hi = (20.0, 22.0) if house else (45.0, 60.0)
    return HeatPump(
        name="heat",
        p_max_kw=rng.uniform(1, 3),
        cop=rng.uniform(2, 4),
        capacity_kwh_per_k=rng.uniform(0.2, 0.5),
        loss_kw_per_k=rng.choice([0.0, 0.02, 0.2]),
        start_c=rng.uniform(lo - 2, hi + 2),
        comfort_lo_c=lo,
        comfort_hi_c=hi,
        comfort_price_per_kh=rng.choice([0.05, 1.0]),
        ambient_c=tuple(rng.uniform(-5, 15, T + TICKS)) if house else 18.0,
        heat_kw=heat,
    )


def extra_battery(rng: np.random.Generator) -> ExtraBattery:
    unit = Battery(
        energy_kwh=3.0,
        p_charge_kw=rng.uniform(1, 3),
        p_discharge_kw=rng.uniform(1, 3),
        eta_charge=rng.uniform(0.8, 1),
        eta_discharge=rng.uniform(0.8, 1),
        soc_min=0.1,
        self_discharge_per_h=rng.choice([0.0, 0.05]),
    )
    return ExtraBattery(name="second", battery=unit, soc_start=rng.uniform(0, 1), soc_target=0.4)


def devices(rng: np.random.Generator, kind: str) -> tuple[Device, ...]:
    made = {
        "vehicle": lambda: (vehicle(rng, v2g=False),),
        "v2g": lambda: (vehicle(rng, v2g=True),),
        "both_v2g": lambda: (vehicle(rng, v2g=True), extra_battery(rng)),
        "appliance": lambda: (appliance(rng),),
        "heat_pump": lambda: (heat_pump(rng, house=False),),
        "house": lambda: (heat_pump(rng, house=True),),
        "battery": lambda: (extra_battery(rng),),
        "all": lambda: (
            vehicle(rng, v2g=True),
            appliance(rng),
            heat_pump(rng, house=False),
            extra_battery(rng),
        ),
    }
    return made.get(kind, lambda: ())()


@dataclass
class Day:
    """A home, and what it believes at each tick."""

    home: Home
    config: HemsConfig
    soc_start: float
    load_kw: np.ndarray
    pv_kw: np.ndarray
    pi: np.ndarray
    pe: np.ndarray
    cap_kw: np.ndarray

    def window(self, tick: int) -> tuple[np.ndarray, np.ndarray, Tariff, np.ndarray]:
        w = slice(tick, tick + T)
        return self.load_kw[w], self.pv_kw[w], Tariff(self.pi[w], self.pe[w]), self.cap_kw[w]

    def fleet(self) -> HemsFleet:
        return HemsFleet([self.home], self.config, soc_start=self.soc_start if self.home.battery else 0.0)


def draw(rng: np.random.Generator, kind: str, *, negative: bool = False) -> Day:
    N = T + TICKS
    pi = rng.uniform(0.05, 0.4, N) if rng.random() < 0.7 else rng.choice([0.1, 0.2, 0.35], N)
    if negative:
        pi[rng.random(N) < 0.3] = -0.05
    battery = Battery(
        energy_kwh=rng.uniform(1, 4),
        p_charge_kw=rng.uniform(1, 5),
        p_discharge_kw=rng.uniform(1, 5),
        eta_charge=rng.uniform(0.8, 1),
        eta_discharge=rng.uniform(0.8, 1),
        soc_min=0.1,
        self_discharge_per_h=rng.uniform(0, 0.3) if kind == "self_discharge" else 0.0,
    )
    owned = devices(rng, kind)
    home = Home(
        "A",
        battery if not owned or rng.random() < 0.7 else None,
        import_limit_kw=rng.choice([4.0, 9.0, np.inf]),
        export_limit_kw=rng.choice([0.0, 2.0, np.inf]),
        battery_export=kind not in ("battery_export", "both", "both_v2g"),
        grid_charging=kind not in ("grid_charging", "both", "both_v2g"),
        devices=owned,
    )
    salvage = rng.uniform(0, 0.4) if kind == "salvage" else None
    config = HemsConfig(horizon=T, step_minutes=60 * DT, salvage_value_per_kwh=salvage)
    cap = rng.uniform(0, 4, N) if kind == "export_cap" else np.full(N, np.inf)
    load = rng.uniform(0, 3, N) * (rng.random(N) < 0.8)
    pv = rng.uniform(0, 8, N) * (rng.random(N) < 0.6)
    return Day(home, config, rng.uniform(0, 1), load, pv, pi, np.minimum(pi * rng.uniform(0, 1, N), pi), cap)


def oracle(day: Day, fleet: HemsFleet, *, aes_kw: float | None = None) -> HomeNumbers:
    """The data of (1) at the present tick of `fleet`, with the AES where one is given."""
    home, tick, (load, pv, tariff, cap) = day.home, fleet.tick, day.window(fleet.tick)
    b = home.battery or Battery(energy_kwh=1, p_charge_kw=0, p_discharge_kw=0, eta_charge=1, eta_discharge=1)
    keep, soc = (1 - b.self_discharge_per_h) ** DT, float(fleet.soc_kwh[0])
    states = fleet.device_states(0)
    seen = tuple(Seen(device, tick, states[device.name]) for device in home.devices)
    started = [s for s in seen if isinstance(s.device, Appliance)]
    running = sum((s.device.p_kw * (np.arange(T) < s.state.left) for s in started), np.zeros(T))
    size = b.energy_kwh if home.battery else 0.0
    lo, hi = b.soc_min * size, size
    soc_lo, soc_hi = np.full(T, lo), np.full(T, hi)
    low = high = soc
    for k in range(T):
        net = (load + running)[k] - pv[k]
        service = home.import_limit_kw if home.grid_charging else 0.0
        high = keep * high - DT / b.eta_discharge * min(b.p_discharge_kw, max(0.0, net))
        soc_hi[k] = max(hi, high)
        low = keep * low + DT * b.eta_charge * min(b.p_charge_kw, max(0.0, service - net))
        low = min(low, soc_hi[k])
        soc_lo[k] = min(lo, low)
    v, dearest = day.config.salvage_value_per_kwh, max(0.0, tariff.import_price_per_kwh.max())
    rho = max(1.0, 10 * dearest / b.eta_charge) / keep**T
    export = np.minimum(home.export_limit_kw, cap)
    export_lo = np.zeros(T)
    if aes_kw is not None:
        export[0] = export_lo[0] = aes_kw
    return HomeNumbers(
        dt_h=DT,
        net_load_kw=load - pv,
        import_price_per_kwh=tariff.import_price_per_kwh,
        export_price_per_kwh=tariff.export_price_per_kwh,
        over_import_price_per_kwh=tariff.import_price_per_kwh + 10 * rho,
        wear_price_per_kwh=0.0,
        shortfall_price_per_kwh=rho,
        surplus_price_per_kwh=-(v or 0.0),
        import_max_kw=np.full(T, home.import_limit_kw),
        over_import_max_kw=np.maximum(load + running - home.import_limit_kw, 0.0),
        export_lo_kw=export_lo,
        export_max_kw=export,
        charge_max_kw=np.full(T, b.p_charge_kw),
        discharge_max_kw=np.full(T, b.p_discharge_kw),
        spill_max_kw=pv,
        eta_charge=b.eta_charge,
        eta_discharge=b.eta_discharge,
        soc_kwh=soc,
        soc_lo_kwh=soc_lo,
        soc_hi_kwh=soc_hi,
        target_kwh=0.5 * size if v is None else 0.0,
        keep=keep,
        battery_export=home.battery_export,
        grid_charging=home.grid_charging,
        devices=seen,
    )


def assert_optimal(objective: float, numbers: HomeNumbers) -> object:
    import pyomo.environ as pyo

    model = build_model(numbers)
    bound = solve_model(model)
    assert bound is not None
    incumbent = pyo.value(model.cost)
    tolerance = 1e-6 * max(1.0, abs(incumbent))
    assert bound - tolerance <= objective <= incumbent + tolerance
    return model


def check_plan(day: Day, fleet: HemsFleet) -> None:
    """The plan in force obeys the balance, its limits and its rules."""
    t = fleet.explain(0)
    drawn = np.zeros(T)
    for device in day.home.devices:
        for name, sign in (("p_kw", 1), ("p_charge_kw", 1), ("p_discharge_kw", -1)):
            drawn += sign * t.get(f"{device.name}_{name}", np.zeros(T))
    supply = t.p_import_kw + t.p_pv_kw - t.p_spill_kw + t.p_discharge_kw
    assert (supply - t.p_export_kw - t.p_load_kw - t.p_charge_kw - drawn).abs().max() <= 1e-9
    assert (t[["p_import_kw", "p_export_kw"]].min(axis=1) <= 1e-9).all()
    assert (t.p_export_kw <= np.minimum(day.home.export_limit_kw, day.window(fleet.tick)[3]) + 1e-9).all()
    discharge, charge = t.p_discharge_kw.copy(), t.p_charge_kw.copy()
    for name in ("car", "second"):
        discharge += t.get(f"{name}_p_discharge_kw", np.zeros(T))
        if f"{name}_p_charge_kw" in t:
            powers = t[[f"{name}_p_charge_kw", f"{name}_p_discharge_kw"]]
            assert (powers.min(axis=1) == 0.0).all()
    charge += t.get("second_p_charge_kw", np.zeros(T))
    if not day.home.battery_export:
        assert np.minimum(discharge, t.p_export_kw).max() <= 1e-7
    if not day.home.grid_charging:
        assert np.minimum(charge, t.p_import_kw).max() <= 1e-7


def live_a_day(rng: np.random.Generator, day: Day, *, against_oracle: bool) -> list[str]:
    """Plan, answer and live tick by tick, with forecast errors and random curtailment; the paths taken."""
    fleet, paths = day.fleet(), []
    for tick in range(TICKS):
        load, pv, tariff, cap = day.window(tick)
        plan = fleet.plan(load[None], pv[None], tariff, export_cap_kw=cap[None])
        plan.raise_for_status()
        paths.append(str(plan.path[0]))
        check_plan(day, fleet)
        if against_oracle:
            model = assert_optimal(plan.objective[0], oracle(day, fleet))
            if tick == 0:
                import pyomo.environ as pyo

                # Its ties are broken within 1e-9 $: a price difference of 1e-4 $/kWh then is 4e-5 kW.
                break_ties(model, "least_battery")
                assert plan.p_export_kw[0] == pytest.approx(pyo.value(model.ge[0]), abs=1e-4)
        aes = plan.p_export_kw * rng.choice([1.0, 0.5, 0.0])
        dispatch = fleet.respond(aes)
        assert dispatch.p_export_kw.tolist() == aes.tolist()
        assert dispatch.certified.all()
        check_plan(day, fleet)
        if against_oracle and dispatch.curtailed[0] and aes[0] > 0.0:
            assert_optimal(dispatch.objective[0], oracle(day, fleet, aes_kw=float(aes[0])))
        live_on(rng, day, fleet, float(aes[0]))
    return paths


def live_on(rng: np.random.Generator, day: Day, fleet: HemsFleet, aes_kw: float) -> None:
    """One tick with other loads and PV than forecast: energy is conserved, and the AES is kept."""
    true_load = day.load_kw[fleet.tick] * rng.uniform(0.2, 2, 1)
    true_pv = day.pv_kw[fleet.tick] * rng.uniform(0.2, 2, 1)
    before = fleet.device_states(0)
    planned = fleet.explain(0)
    real = fleet.realise(true_load, true_pv)
    assert real.p_export_kw[0] <= aes_kw + 1e-9
    supply = real.p_import_kw + true_pv - real.p_spill_kw + real.p_discharge_kw
    use = real.p_export_kw + true_load + real.p_charge_kw + real.p_devices_kw
    assert supply[0] == pytest.approx(use[0], abs=1e-9)
    if not day.home.battery_export:
        assert min(real.p_discharge_kw[0], real.p_export_kw[0]) <= 1e-9
    if not day.home.grid_charging:
        assert min(real.p_charge_kw[0], real.p_import_kw[0]) <= 1e-9
    after = fleet.device_states(0)
    if "heat" in after:
        assert after["heat"] == pytest.approx(planned.heat_temperature_c.iloc[0], abs=1e-9)
    for device in day.home.devices:
        # A storage that was cut short of its discharge ends between where it was and where it was to be.
        name, tick = device.name, fleet.tick
        stays = getattr(device, "stays", ())
        there = isinstance(device, ExtraBattery) or any(s.arrive_tick < tick < s.depart_tick for s in stays)
        if there and planned[f"{name}_p_discharge_kw"].iloc[0] > 0.0:
            ends = energy_kwh(before[name]), planned[f"{name}_energy_kwh"].iloc[0]
            assert min(ends) - 1e-9 <= energy_kwh(after[name]) <= max(ends) + 1e-9


def energy_kwh(state: object) -> float:
    return state if isinstance(state, float) else state.energy_kwh


@pytest.mark.parametrize("kind", KINDS + RULES)
def test_homes_with_devices_and_rules_plan_what_the_text_says(kind: str) -> None:
    rng = np.random.default_rng(21)
    live_a_day(rng, draw(rng, kind), against_oracle=True)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS + RULES)
def test_many_homes_with_devices_and_rules_plan_what_the_text_says(kind: str) -> None:
    rng = np.random.default_rng(22)
    for i in range(40):
        live_a_day(rng, draw(rng, kind, negative=i % 4 == 0), against_oracle=True)
