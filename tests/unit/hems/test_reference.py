"""The Pyomo text itself, against a case small enough to enumerate by hand."""

import dataclasses

import numpy as np
import pytest

from hems.reference import HomeNumbers, break_ties, build_model, solve_model

ONE_TICK = HomeNumbers(
    dt_h=0.5,
    net_load_kw=np.array([2.0]),
    import_price_per_kwh=np.array([0.4]),
    export_price_per_kwh=np.array([0.1]),
    over_import_price_per_kwh=np.array([50.0]),
    wear_price_per_kwh=0.01,
    shortfall_price_per_kwh=0.3,
    surplus_price_per_kwh=0.0,
    import_max_kw=np.array([np.inf]),
    over_import_max_kw=np.array([0.0]),
    export_lo_kw=np.array([0.0]),
    export_max_kw=np.array([np.inf]),
    charge_max_kw=np.array([5.0]),
    discharge_max_kw=np.array([5.0]),
    spill_max_kw=np.array([0.0]),
    eta_charge=0.9,
    eta_discharge=0.8,
    soc_kwh=2.0,
    soc_lo_kwh=np.array([0.0]),
    soc_hi_kwh=np.array([4.0]),
    target_kwh=2.0,
)


def solved(**changes: object) -> tuple[float, float, float]:
    """Cost, net battery power and export of one half hour."""
    import pyomo.environ as pyo

    m = build_model(dataclasses.replace(ONE_TICK, **changes))
    bound = solve_model(m)
    assert bound is not None
    cost = pyo.value(m.cost)
    assert bound <= cost + 1e-9
    break_ties(m, "least_battery")
    return cost, pyo.value(m.c[0]) - pyo.value(m.d[0]), pyo.value(m.ge[0])


def test_discharging_into_the_load() -> None:
    # 1 kWh saved is worth 0.40, less 0.01 wear; it takes out 1.25 kWh, 0.375 of shortfall. Export pays less.
    cost, battery, export = solved()
    assert battery == pytest.approx(-2.0, abs=1e-6)
    assert cost == pytest.approx(1.25 * 0.3 + 1.0 * 0.01, abs=1e-8)
    assert export == pytest.approx(0.0, abs=1e-6)


def test_a_dear_shortfall_keeps_the_battery_still() -> None:
    cost, battery, _ = solved(shortfall_price_per_kwh=0.32)
    assert battery == pytest.approx(0.0, abs=1e-6)
    assert cost == pytest.approx(0.4, abs=1e-8)


def test_a_fixed_export_is_kept() -> None:
    _, battery, export = solved(export_lo_kw=np.array([1.0]), export_max_kw=np.array([1.0]))
    assert export == pytest.approx(1.0, abs=1e-6)
    assert battery == pytest.approx(-3.0, abs=1e-6)


def test_what_cannot_be_is_none() -> None:
    m = build_model(dataclasses.replace(ONE_TICK, export_lo_kw=np.array([9.0])))
    assert solve_model(m) is None
