"""Prices of import and export, and a synthetic time-of-use tariff in the manner of New York."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hems.checks import check_times, read_only, real_array
from hems.errors import ArbitrageError, TariffError

_EQUAL_PRICE = 1e-12  # $/kWh: two prices closer than this are one price written down twice


@dataclass(frozen=True, eq=False)
class Tariff:
    """Prices over the ticks of a horizon.

    import_price_per_kwh, export_price_per_kwh   (T,) $/kWh; either may be negative
    allow_arbitrage   permit export to pay more than import costs; such ticks need binaries, and homes
                      with a battery need finite limits there, else buying to sell has no end
    times             tz-aware starts of the ticks, or None when nobody needs dates

    Paper III-A assumes import price > export price at every tick; equal prices are allowed here.
    Raises TariffError: other lengths, not finite, or import < export without `allow_arbitrage`.
           SeriesError: naive times.
    """

    import_price_per_kwh: NDArray[np.float64]
    export_price_per_kwh: NDArray[np.float64]
    allow_arbitrage: bool = False
    times: pd.DatetimeIndex | None = None

    def __post_init__(self) -> None:
        for field in ("import_price_per_kwh", "export_price_per_kwh"):
            try:
                prices = read_only(real_array(getattr(self, field)))
            except (TypeError, ValueError) as exc:
                raise TariffError(f"{field} is no array of numbers: {exc}.") from exc
            object.__setattr__(self, field, prices)
            if prices.ndim != 1 or not np.isfinite(prices).all():
                raise TariffError(f"{field} must be one finite price per tick, got shape {prices.shape}.")
        if self.import_price_per_kwh.shape != self.export_price_per_kwh.shape:
            raise TariffError(
                f"{len(self.import_price_per_kwh)} import prices and {len(self.export_price_per_kwh)} export "
                "prices: their numbers must agree."
            )
        if self.times is not None:
            check_times(self.times)
            if len(self.times) != self.n_ticks:
                raise TariffError(f"{len(self.times)} times for {self.n_ticks} prices.")
        if not self.allow_arbitrage:
            self._check_spread()

    def _check_spread(self) -> None:
        ticks = np.flatnonzero(self.arbitrage)
        if ticks.size:
            shown = ", ".join(map(str, ticks[:10])) + (", ..." if ticks.size > 10 else "")
            first = int(ticks[0]) if self.times is None else self.times[int(ticks[0])]
            since = "" if self.times is None else f" (the first at {first})"
            raise ArbitrageError(
                f"export pays more than import costs at {ticks.size} tick(s): {shown}{since}. "
                "Lower export_price_per_kwh or raise import_price_per_kwh there, "
                "or set allow_arbitrage=True and give the homes finite limits.",
                ticks=int(ticks.size),
                first=first,
            )

    @property
    def n_ticks(self) -> int:
        """Number of ticks T."""
        return len(self.import_price_per_kwh)

    @property
    def arbitrage(self) -> NDArray[np.bool_]:
        """(T,) where export pays more than import costs."""
        return self.export_price_per_kwh > self.import_price_per_kwh + _EQUAL_PRICE

    def window(self, start: int, length: int) -> Tariff:
        """Return the tariff of ticks start ... start + length - 1.

        Raises TariffError when the series ends before that, saying how long it would have to be.
        """
        stop = start + length
        if start < 0 or stop > self.n_ticks:
            raise TariffError(
                f"ticks {start} to {stop - 1} asked for; the tariff needs {stop}, has {self.n_ticks}."
            )
        return Tariff(
            self.import_price_per_kwh[start:stop],
            self.export_price_per_kwh[start:stop],
            allow_arbitrage=self.allow_arbitrage,
            times=None if self.times is None else self.times[start:stop],
        )


def ny_like_tou(times: pd.DatetimeIndex) -> Tariff:
    """Return a synthetic tariff like New York's residential time of use.

    import = delivery + supply.  Delivery, $/kWh (Con Edison residential time of use, coned.com, rounded
    by nobody): peak 8:00-24:00 every day .3523 in June-September, .1305 in other months; off-peak .0249.
    Supply is a flat .08 and export a flat .05, both chosen to be plausible, not published.

    times   (T,) tz-aware starts of the ticks; the hours are those of their own time zone
    Raises  SeriesError when they are naive
    """
    check_times(times)
    summer = np.isin(times.month, (6, 7, 8, 9))
    peak = np.asarray(times.hour) >= 8
    delivery = np.where(peak, np.where(summer, 0.3523, 0.1305), 0.0249)
    return Tariff(delivery + 0.08, np.full(len(times), 0.05), times=times)
