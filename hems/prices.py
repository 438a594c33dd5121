"""New-York-like prices: delivery by the clock, supply flat or in real time, and a rule for export.

    import = delivery + supply          export by rule, at most the import price

Delivery is that of `hems.tariff.ny_like_tou`, or flat. Real-time supply stands in for a five-minute wholesale
price; it is synthetic:

    supply = mean day(hour) season(day) exp(x - s^2 / 2) + spikes,   x AR(1) with deviation s,  floor below
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hems.checks import check_times
from hems.config import check_choice
from hems.days import check_grid, clock_hours, local_days
from hems.errors import TariffError
from hems.noise import ar1
from hems.occupancy import bumps
from hems.streams import Stream, generator
from hems.tariff import Tariff, ny_like_tou

Floats = NDArray[np.float64]
Delivery = Literal["flat", "tou"]
ExportRule = Literal["flat", "share", "supply", "net", "none"]

SUPPLY_PER_KWH = 0.08
"""Mean supply price, $/kWh, as in `ny_like_tou`."""

_DELIVERY_FLAT = 0.13
_PRICE_NAME = "price"  # one market over all homes: its draws hang on this name
_STEP = pd.Timedelta(minutes=5)
_RHO, _SPREAD = 0.92, 0.25  # of the logarithm, from one five minutes to the next
_SPIKES_A_DAY, _SPIKE_STEPS = 1.5, 4.0
_NEGATIVE_FLOOR = -0.03


def flat_prices(times: pd.DatetimeIndex, *, import_per_kwh: float, export_per_kwh: float) -> Tariff:
    """Return one price of import and one of export at all times.

    Raises  TariffError: import below export; SeriesError: naive times
    """
    check_times(times)
    ones = np.ones(len(times))
    return Tariff(import_per_kwh * ones, export_per_kwh * ones, times=times)


def ny_like_rtp(
    times: pd.DatetimeIndex,
    *,
    seed: int,
    delivery: Delivery = "flat",
    export: ExportRule = "supply",
    export_per_kwh: float = 0.05,
    allow_negative: bool = False,
) -> Tariff:
    """Return a synthetic tariff with a five-minute supply price, one market for all homes.

    times           (T,) tz-aware starts of equal steps that divide 30 minutes; steps shorter than five
                    minutes repeat the price, others take the mean
    delivery        "flat": .13 $/kWh; "tou": as `ny_like_tou`
    export          see `export_prices`
    allow_negative  supply may fall to -.03 $/kWh in sunny hours of spring; else it stays above .005
    Raises          ConfigError: unknown delivery or export; SeriesError: times off the grid;
                    TariffError: as `export_prices`
    """
    check_choice("delivery", delivery, get_args(Delivery))
    supply = supply_prices(times, seed=seed, allow_negative=allow_negative)
    delivered = np.full(len(times), _DELIVERY_FLAT)
    if delivery == "tou":
        delivered = ny_like_tou(times).import_price_per_kwh - SUPPLY_PER_KWH
    bought = supply + delivered
    sold = export_prices(export, bought, supply=supply, per_kwh=export_per_kwh)
    return Tariff(bought, sold, times=times)


def export_prices(rule: ExportRule, import_price: Floats, *, supply: Floats, per_kwh: float) -> Floats:
    """Return what export pays, $/kWh (T,), never more than import costs.

    rule   "flat": per_kwh; "share": per_kwh x the import price; "supply": the supply price, as a home that
           is paid what the energy is worth; "net": the import price itself (net metering); "none": 0
    Raises ConfigError: unknown rule; TariffError: a share above 1, a flat price above an import price
    """
    check_choice("export", rule, get_args(ExportRule))
    if rule == "share" and not 0.0 <= per_kwh <= 1.0:
        raise TariffError(f"a share of the import price must lie between 0 and 1, not {per_kwh!r}.")
    if rule == "flat":
        return np.full(len(import_price), per_kwh)
    if rule == "supply":
        return np.minimum(supply, import_price)
    if rule == "share":  # of a negative price, a share would be more than the price
        return np.minimum(per_kwh * import_price, import_price)
    return import_price.copy() if rule == "net" else np.minimum(np.zeros(len(import_price)), import_price)


def supply_prices(times: pd.DatetimeIndex, *, seed: int, allow_negative: bool = False) -> Floats:
    """Return five-minute supply prices, $/kWh (T,); see `ny_like_rtp`."""
    check_grid(times)
    step = times[1] - times[0]
    parts = []
    for day in local_days(times):
        five = pd.date_range(day.grid[0], day.grid[-1] + step, freq=_STEP, inclusive="left")
        price = _one_day(five, seed, allow_negative)
        if step != _STEP:
            spent = np.concatenate([[0.0], np.cumsum(price)])
            edges = np.arange(len(day.grid) + 1) * (step / _STEP)
            price = np.diff(np.interp(edges, np.arange(len(spent)), spent)) / (step / _STEP)
        parts.append(price[day.at])
    return np.concatenate(parts)


def _one_day(five: pd.DatetimeIndex, seed: int, allow_negative: bool) -> Floats:
    """Return the supply prices of one local day in steps of five minutes."""
    rng = generator(seed, Stream.PRICE, name=_PRICE_NAME, tick=five[0].toordinal())
    hours = clock_hours(five)
    shape = bumps(hours, 0.75, (8.0, 1.5, 0.25), (18.0, 2.5, 0.65), (3.0, 2.5, -0.25))
    season = 1.0 + 0.25 * np.cos(4.0 * np.pi * (five[0].day_of_year - 20) / 365.0)  # dear in January and July
    noise = np.exp(ar1(rng, len(five), rho=_RHO, sigma=_SPREAD) - 0.5 * _SPREAD**2)
    price = SUPPLY_PER_KWH * shape * season * noise
    for _ in range(int(rng.poisson(_SPIKES_A_DAY))):
        first, length = int(rng.integers(len(five))), 1 + int(rng.geometric(1.0 / _SPIKE_STEPS))
        price[first : first + length] += rng.exponential(0.15)
    dip = np.clip(ar1(rng, len(five), rho=0.97, sigma=1.0) - 0.8, 0.0, None)
    if not allow_negative:
        return np.maximum(price, 0.005)
    sunny = bumps(hours, 0.0, (12.5, 2.0, 0.12)) * (five[0].month in (3, 4, 5))
    return np.maximum(price - sunny * dip, _NEGATIVE_FLOOR)
