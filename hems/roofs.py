"""PV of homes under one sky: each roof has its own orientation, inverter and lag of the clouds.

POA = DNI cos(incidence)+ + DHI (1 + cos tilt) / 2 + albedo GHI (1 - cos tilt) / 2       isotropic sky
AC  = min(PERFORMANCE POA / 1000, inverter)                              kW per kW of panels
GHI = clear sky (Haurwitz) x share of the sky over this home; its diffuse part by Erbs
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hems.checks import read_only
from hems.clouds import MAX_LAG_S, Clouds, sky_shares
from hems.config import check_choice
from hems.days import LocalDay, check_grid, local_days
from hems.errors import ConfigError, HomeError
from hems.solar import Site, erbs_diffuse_share, haurwitz_w_per_m2, sun_direction
from hems.streams import Stream, generator

Floats = NDArray[np.float64]
Per = Literal["panel_kw", "clear_peak"]

PERFORMANCE = 0.86
"""Wiring, dirt, heat and conversion together."""

_ALBEDO = 0.2
_FINEST = pd.Timedelta(minutes=5)  # clipping and diffuse parts are worked out at this step or a shorter one
_COMPASS = (0.6, 0.8)  # roofs to the south; those and to the east; the rest looks west


@dataclass(frozen=True)
class Roof:
    """One array of panels.

    tilt_deg     from the horizontal
    azimuth_deg  where it looks, clockwise from north: 180 is south
    inverter     AC rating over DC rating of the panels
    lag_s        seconds by which clouds reach it later than the neighbourhood's first home

    Raises HomeError naming the field.
    """

    tilt_deg: float = 30.0
    azimuth_deg: float = 180.0
    inverter: float = 0.85
    lag_s: float = 0.0

    def __post_init__(self) -> None:
        healthy = {
            "tilt_deg": 0.0 <= self.tilt_deg <= 90.0,
            "azimuth_deg": 0.0 <= self.azimuth_deg <= 360.0,
            "inverter": 0.0 < self.inverter < np.inf,
            "lag_s": abs(self.lag_s) <= MAX_LAG_S,
        }
        for field, fine in healthy.items():
            if not fine:
                raise HomeError(
                    f"Roof {field}={getattr(self, field)!r}: tilt 0 to 90, azimuth 0 to 360 degrees, "
                    f"inverter above 0, lag within {MAX_LAG_S:g} s."
                )


def draw_roofs(names: Sequence[str], *, seed: int, largest_lag_s: float = 60.0) -> list[Roof]:
    """Return a roof for every home; the draws hang on (seed, name).

    Six in ten look south give or take 25 degrees, two east, two west; tilts 15 to 40 degrees; inverters .75
    to 1; lags 0 to `largest_lag_s`, which is the width of the neighbourhood over the speed of the clouds.
    Raises  ConfigError: a largest lag that is not within half an hour
    """
    if not 0.0 <= largest_lag_s <= MAX_LAG_S:
        raise ConfigError(f"largest_lag_s={largest_lag_s!r} must be between 0 and {MAX_LAG_S:g}.")

    def one(name: str) -> Roof:
        rng = generator(seed, Stream.ROOF, name=name, tick=0)
        u, turn = rng.random(4), rng.standard_normal()
        side = np.searchsorted(_COMPASS, u[0], side="right")
        azimuth = (180.0, 90.0, 270.0)[side] + turn * (25.0 if side == 0 else 15.0)
        azimuth = float(np.clip(azimuth, 30.0, 330.0))
        return Roof(15.0 + 25.0 * u[1], azimuth, 0.75 + 0.25 * u[2], largest_lag_s * u[3])

    return [one(name) for name in names]


def roof_pv(
    roofs: Sequence[Roof],
    times: pd.DatetimeIndex,
    *,
    seed: int,
    clouds: Clouds = "mixed",
    site: Site | None = None,
    per: Per = "panel_kw",
) -> Floats:
    """Return the available PV of every roof, mean over each step.

    times    (T,) tz-aware starts of equal steps that divide 30 minutes, on the grid from local midnight
    clouds   see `hems.clouds.sky_shares`
    per      "panel_kw": kW AC per kW of panels; "clear_peak": as a share of what the same roof would give
             at most on that day under a clear sky (1.1 and less)
    Returns  (n, T), >= 0, read-only
    Raises   SeriesError: times naive or off the grid; ConfigError: unknown clouds or per
    """
    check_choice("per", per, get_args(Per))
    check_grid(times)
    place = site or Site()
    found = np.empty((len(roofs), len(times)))
    for day in local_days(times):
        found[:, day.place] = _one_day(roofs, day, seed=seed, clouds=clouds, site=place, per=per)[:, day.at]
    return read_only(found)


def _one_day(
    roofs: Sequence[Roof], day: LocalDay, *, seed: int, clouds: Clouds, site: Site, per: Per
) -> Floats:
    """Return the PV of one whole local day (n, steps)."""
    step = day.grid[1] - day.grid[0]
    fine, times = 1, day.grid
    if step > _FINEST and step % _FINEST == pd.Timedelta(0):
        fine = step // _FINEST
        times = pd.date_range(day.grid[0], periods=len(day.grid) * fine, freq=_FINEST)
    lag = np.array([roof.lag_s for roof in roofs])
    share = sky_shares(times, seed=seed, clouds=clouds, lag_s=lag)
    middles = times + (times[1] - times[0]) / 2
    power = _ac(roofs, middles, share, site)
    if per == "clear_peak":
        clear = _ac(roofs, middles, np.ones_like(share), site)
        power = power / np.maximum(clear.max(axis=1, keepdims=True), 1e-9)
    return power.reshape(len(roofs), -1, fine).mean(axis=2)


def _ac(roofs: Sequence[Roof], middles: pd.DatetimeIndex, share: Floats, site: Site) -> Floats:
    """Return kW AC per kW of panels (n, T) at instants under shares (n, T) of clear-sky light."""
    sun = sun_direction(middles, latitude=site.latitude, longitude=site.longitude)
    cos_z = sun[2]
    ghi = haurwitz_w_per_m2(cos_z) * share
    dhi = ghi * erbs_diffuse_share(ghi, cos_z, np.asarray(middles.day_of_year, dtype=float))
    dni = np.where(cos_z > 0.02, (ghi - dhi) / np.maximum(cos_z, 0.05), 0.0)
    tilt = np.deg2rad([roof.tilt_deg for roof in roofs])
    towards = np.deg2rad([roof.azimuth_deg for roof in roofs])
    normal = np.stack([np.sin(tilt) * np.sin(towards), np.sin(tilt) * np.cos(towards), np.cos(tilt)], axis=1)
    flat = np.cos(tilt)[:, None]
    poa = dni * np.maximum(normal @ sun, 0.0) + dhi * (1 + flat) / 2 + _ALBEDO * ghi * (1 - flat) / 2
    limit = np.array([roof.inverter for roof in roofs])[:, None]
    return np.minimum(PERFORMANCE * poa / 1000.0, limit)
