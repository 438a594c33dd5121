"""Seeded random homes by class, and the data of (1) that the Pyomo text takes, for tests of these laws.

The oracle's data are written out here from the home, the forecasts and the prices, without `hems.model`, so
that an error in the arrays that the fast solvers use would show.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np

from hems import Battery, HemsConfig, HemsFleet, Home, Tariff
from hems.household import HomeArrays
from hems.model import Problems, Window, build_problems, build_structure
from hems.reference import HomeNumbers

CLASSES = (
    "plain",
    "equal_prices",
    "negative_export",
    "negative_import",
    "equality",
    "paper",
    "arbitrage",
    "soc_outside",
    "wear",
    "free",
)


@dataclass(frozen=True)
class Case:
    """One home and what it sees."""

    home: Home
    battery: Battery
    config: HemsConfig
    soc_start: float
    load_kw: np.ndarray
    pv_kw: np.ndarray
    tariff: Tariff

    def fleet(self, **changes: object) -> HemsFleet:
        return HemsFleet([self.home], dataclasses.replace(self.config, **changes), soc_start=self.soc_start)

    def plan(self, fleet: HemsFleet):
        return fleet.plan(self.load_kw[None], self.pv_kw[None], self.tariff)


def draw(rng: np.random.Generator, kind: str, ticks: int) -> Case:
    T = ticks
    pi = rng.uniform(0.05, 0.4, T) if rng.random() < 0.5 else rng.choice([0.1, 0.2, 0.35], T)
    pe = pi * rng.uniform(0, 1, T) if rng.random() < 0.5 else np.minimum(0.05, pi)
    limits = {
        "import_limit_kw": rng.choice([2.0, 8.0, np.inf]),
        "export_limit_kw": rng.choice([0, 2.0, np.inf]),
    }
    if kind == "equal_prices":
        pe = pi.copy()
    if kind == "negative_export":
        pe[rng.random(T) < 0.4] = -0.04
    if kind == "free":  # prices of zero: spilling, exporting and importing may cost the same
        pe[rng.random(T) < 0.6] = 0.0
        pi[rng.random(T) < 0.3] = 0.0
        pe = np.minimum(pe, pi)
    if kind == "negative_import":
        pi[rng.random(T) < 0.3] = -0.05
        pe = np.minimum(pe, pi)
    if kind == "arbitrage":
        high = rng.random(T) < 0.3
        pe[high] = pi[high] + 0.1
        limits = {"import_limit_kw": 8.0, "export_limit_kw": rng.choice([0, 3.0])}
    if kind == "paper":
        limits = {}
    battery = Battery(
        energy_kwh=rng.uniform(1, 4),
        p_charge_kw=rng.uniform(1, 5),
        p_discharge_kw=rng.uniform(1, 5),
        eta_charge=rng.uniform(0.8, 1),
        eta_discharge=rng.uniform(0.8, 1),
        soc_min=0.1,
        soc_max=0.95,
    )
    config = HemsConfig(
        horizon=T,
        step_minutes=15,
        terminal="equality" if kind in ("equality", "paper") else "soft",
        pv_spill=kind != "paper",
        wear_price_per_kwh=0.02 if kind == "wear" else 0.0,
    )
    soc = rng.choice([0.0, 0.05, 0.97, 1.0]) if kind == "soc_outside" else rng.uniform(0.1, 0.95)
    load = rng.uniform(0, 3, T) * (rng.random(T) < 0.8)
    pv = rng.uniform(0, 8, T) * (rng.random(T) < 0.7)
    tariff = Tariff(pi, pe, allow_arbitrage=kind == "arbitrage")
    return Case(Home("A", battery, **limits), battery, config, float(soc), load, pv, tariff)


def oracle_numbers(case: Case, *, export_cap_kw: float | None = None) -> HomeNumbers:
    """The data of (1), with the AES as a cap on the first tick where one is given."""
    home, b, config, tariff = case.home, case.battery, case.config, case.tariff
    T, dt = len(case.load_kw), case.config.dt_h
    rho = max(1.0, 10 * (tariff.import_price_per_kwh.max() + config.wear_price_per_kwh) / b.eta_charge)
    lo, hi, start = b.soc_min * b.energy_kwh, b.soc_max * b.energy_kwh, case.soc_start * b.energy_kwh
    soc_lo, soc_hi = np.full(T, lo), np.full(T, hi)
    low = high = start
    for k in range(T):
        net = case.load_kw[k] - case.pv_kw[k]
        low += dt * b.eta_charge * min(b.p_charge_kw, max(0.0, home.import_limit_kw - net))
        high -= dt / b.eta_discharge * min(b.p_discharge_kw, max(0.0, net))
        soc_lo[k], soc_hi[k] = min(lo, low), max(hi, high)
    export_max = np.full(T, home.export_limit_kw)
    spill_max = case.pv_kw.copy() if config.pv_spill else np.zeros(T)
    if export_cap_kw is not None:
        export_max[0], spill_max[0] = export_cap_kw, case.pv_kw[0]
    return HomeNumbers(
        dt_h=dt,
        net_load_kw=case.load_kw - case.pv_kw,
        import_price_per_kwh=tariff.import_price_per_kwh,
        export_price_per_kwh=tariff.export_price_per_kwh,
        over_import_price_per_kwh=tariff.import_price_per_kwh + 10 * rho,
        wear_price_per_kwh=config.wear_price_per_kwh,
        shortfall_price_per_kwh=rho,
        surplus_price_per_kwh=rho if config.terminal == "equality" else 0.0,
        import_max_kw=np.full(T, home.import_limit_kw),
        over_import_max_kw=np.maximum(case.load_kw - home.import_limit_kw, 0.0),
        export_lo_kw=np.zeros(T),
        export_max_kw=export_max,
        charge_max_kw=np.full(T, b.p_charge_kw),
        discharge_max_kw=np.full(T, b.p_discharge_kw),
        spill_max_kw=spill_max,
        eta_charge=b.eta_charge,
        eta_discharge=b.eta_discharge,
        soc_kwh=start,
        soc_lo_kwh=soc_lo,
        soc_hi_kwh=soc_hi,
        target_kwh=config.soc_target * b.energy_kwh,
    )


def assert_between(objective: float, bound: float, incumbent: float) -> None:
    tolerance = 1e-6 * max(1.0, abs(incumbent))
    assert bound - tolerance <= objective <= incumbent + tolerance


def check_residuals(case: Case, fleet: HemsFleet) -> None:
    """The plan obeys (1b), (1c), the limits, and both complementarities, to 1e-9."""
    t, b, dt = fleet.explain(0), case.battery, case.config.dt_h
    balance = t.p_import_kw + t.p_pv_kw - t.p_spill_kw + t.p_discharge_kw
    assert (balance - t.p_export_kw - t.p_load_kw - t.p_charge_kw).abs().max() <= 1e-9
    start = case.soc_start * b.energy_kwh
    stored = dt * (b.eta_charge * t.p_charge_kw - t.p_discharge_kw / b.eta_discharge)
    assert (t.soc_kwh - start - stored.cumsum()).abs().max() <= 1e-9
    assert t.soc_kwh.min() >= min(b.soc_min * b.energy_kwh, start) - 1e-8
    assert t.soc_kwh.max() <= max(b.soc_max * b.energy_kwh, start) + 1e-8
    assert (t[["p_charge_kw", "p_discharge_kw"]].min(axis=1) == 0.0).all()
    assert (t[["p_import_kw", "p_export_kw"]].min(axis=1) == 0.0).all()
    assert t.p_charge_kw.max() <= b.p_charge_kw + 1e-9
    assert t.p_discharge_kw.max() <= b.p_discharge_kw + 1e-9
    assert t.p_export_kw.max() <= case.home.export_limit_kw + 1e-9
    assert ((t.p_spill_kw >= 0.0) & (t.p_spill_kw <= t.p_pv_kw + 1e-9)).all()


def numbers(case: Case, config: HemsConfig | None = None) -> Problems:
    structure = build_structure(
        case.config.horizon,
        case.config.dt_h,
        eta_charge=case.battery.eta_charge,
        eta_discharge=case.battery.eta_discharge,
    )
    return build_problems(
        structure,
        HomeArrays.of([case.home]),
        window=Window(case.load_kw[None], case.pv_kw[None], case.tariff),
        soc_kwh=np.array([case.soc_start * case.battery.energy_kwh]),
        config=config or case.config,
    )
