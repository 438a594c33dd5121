"""What a home believes: the true series with seeded Gaussian noise (paper IV-A).

    believed_k = max(0, true_k (1 + sigma_k eps_k)),   eps_k ~ N(0, 1) independent
    sigma_0 = nowcast,   sigma_k = sigma (1 + growth k dt) for k >= 1

The noise is a share of the true value, so that there is none on PV at night.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hems.checks import check_series, read_only
from hems.errors import ConfigError
from hems.streams import Stream, generator

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ForecastNoise:
    """Size of the forecast errors, as shares of the true value; all zero is a perfect forecast.

    sigma_load, sigma_pv                  at lead times of one tick and more
    growth_per_h                          relative growth of sigma per hour of lead time
    sigma_load_nowcast, sigma_pv_nowcast  at the current tick
    Raises ConfigError for a negative or infinite value.
    """

    sigma_load: float = 0.0
    sigma_pv: float = 0.0
    growth_per_h: float = 0.0
    sigma_load_nowcast: float = 0.0
    sigma_pv_nowcast: float = 0.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value < np.inf:
                raise ConfigError(f"{name}={value!r} must be finite and not negative.")


@dataclass(frozen=True)
class Forecaster:
    """Seeded forecasts of all homes; the draws hang on (seed, series, home name, tick) only.

    dt_h   length of a tick, hours
    """

    seed: int
    noise: ForecastNoise
    dt_h: float = 5.0 / 60.0

    def load_kw(self, true_kw: Floats, *, names: Sequence[str], tick: int) -> Floats:
        """Return believed loads (n, T), kW, of the horizon that starts at `tick`.

        true_kw  (n, T) kW, the same horizon
        Raises   SeriesError for a NaN or negative value
        """
        true = check_series("true load_kw", true_kw, names=names, shape=(len(names), np.shape(true_kw)[-1]))
        sigma = self._sigma(true.shape[1], self.noise.sigma_load, nowcast=self.noise.sigma_load_nowcast)
        return read_only(true * self._factors(sigma, Stream.FORECAST_LOAD, names=names, tick=tick))

    def pv_kw(self, true_kw: Floats, *, names: Sequence[str], tick: int) -> Floats:
        """Return believed *available* PV (n, T), kW; as `load_kw`, and zero wherever the truth is."""
        true = check_series("true pv_kw", true_kw, names=names, shape=(len(names), np.shape(true_kw)[-1]))
        sigma = self._sigma(true.shape[1], self.noise.sigma_pv, nowcast=self.noise.sigma_pv_nowcast)
        return read_only(true * self._factors(sigma, Stream.FORECAST_PV, names=names, tick=tick))

    def _sigma(self, n_ticks: int, sigma: float, *, nowcast: float) -> Floats:
        grown = sigma * (1.0 + self.noise.growth_per_h * self.dt_h * np.arange(n_ticks, dtype=np.float64))
        grown[:1] = nowcast
        return grown

    def _factors(self, sigma: Floats, stream: Stream, *, names: Sequence[str], tick: int) -> Floats:
        """Return (n, T) factors max(0, 1 + sigma eps): clipped here, since the truth is >= 0."""
        if not sigma.any():
            return np.ones((len(names), len(sigma)))
        draws = [generator(self.seed, stream, name=n, tick=tick).standard_normal(len(sigma)) for n in names]
        return np.maximum(1.0 + sigma * np.array(draws), 0.0)
