"""Clear-sky sunlight on a horizontal surface from time and place, without dependencies.

Solar position after Spencer (1971) as printed in Iqbal, An Introduction to Solar Radiation (1983), good to
about 0.04 degrees; clear sky after Haurwitz (1945).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LATITUDE_NY, LONGITUDE_NY = 40.71, -74.0


@dataclass(frozen=True)
class Site:
    """Where the homes stand, degrees north and east."""

    latitude: float = LATITUDE_NY
    longitude: float = LONGITUDE_NY


def cos_zenith(times: pd.DatetimeIndex, *, latitude: float, longitude: float) -> Floats:
    """Return the cosine of the sun's zenith angle at the instants `times`; negative at night.

    cos Z = sin(lat) sin(decl) + cos(lat) cos(decl) cos(hour angle)

    times                (T,) tz-aware instants
    latitude, longitude  degrees, north and east positive
    """
    decl, hour_angle = _angles(times, longitude)
    lat = np.deg2rad(latitude)
    return np.asarray(np.sin(lat) * np.sin(decl) + np.cos(lat) * np.cos(decl) * np.cos(hour_angle))


def sun_direction(times: pd.DatetimeIndex, *, latitude: float, longitude: float) -> Floats:
    """Return the unit vectors (3, T) east, north, up towards the sun; the last is `cos_zenith`."""
    decl, hour_angle = _angles(times, longitude)
    lat = np.deg2rad(latitude)
    east = -np.cos(decl) * np.sin(hour_angle)
    north = np.cos(lat) * np.sin(decl) - np.sin(lat) * np.cos(decl) * np.cos(hour_angle)
    up = np.sin(lat) * np.sin(decl) + np.cos(lat) * np.cos(decl) * np.cos(hour_angle)
    return np.stack([east, north, up])


def _angles(times: pd.DatetimeIndex, longitude: float) -> tuple[Floats, Floats]:
    """Return declination and hour angle, radians, of instants (T,)."""
    utc = times.tz_convert("UTC")
    hour_utc = np.asarray((utc - utc.normalize()) / pd.Timedelta(hours=1), dtype=float)
    g = 2.0 * np.pi * (np.asarray(utc.day_of_year, dtype=float) - 1.0 + hour_utc / 24.0) / 365.0
    decl = (
        0.006918
        - 0.399912 * np.cos(g)
        + 0.070257 * np.sin(g)
        - 0.006758 * np.cos(2 * g)
        + 0.000907 * np.sin(2 * g)
        - 0.002697 * np.cos(3 * g)
        + 0.00148 * np.sin(3 * g)
    )
    equation_of_time_min = 229.18 * (
        0.000075
        + 0.001868 * np.cos(g)
        - 0.032077 * np.sin(g)
        - 0.014615 * np.cos(2 * g)
        - 0.04089 * np.sin(2 * g)
    )
    solar_hour = hour_utc + longitude / 15.0 + equation_of_time_min / 60.0
    hour_angle = np.deg2rad(15.0 * (solar_hour - 12.0))
    return np.asarray(decl), np.asarray(hour_angle)


def haurwitz_w_per_m2(cos_z: Floats) -> Floats:
    """Return the clear-sky global horizontal irradiance, W/m2: 1098 cos Z exp(-0.059 / cos Z)."""
    up = np.maximum(cos_z, 1e-6)
    return np.where(cos_z > 1e-6, 1098.0 * up * np.exp(-0.059 / up), 0.0)


def erbs_diffuse_share(ghi_w_per_m2: Floats, cos_z: Floats, day_of_year: Floats) -> Floats:
    """Return the diffuse part of global horizontal irradiance by its clearness k = GHI / (I0 cos Z).

    1 - .09 k                                                 k <= .22
    .9511 - .1604 k + 4.388 k^2 - 16.638 k^3 + 12.336 k^4     k <= .80
    .165                                                      above
    with I0 = 1361 (1 + .033 cos(2 pi day / 365)); Erbs, Klein and Duffie, Solar Energy 28 (1982) 293

    ghi_w_per_m2  (n, T);  cos_z, day_of_year  (T,)
    """
    outside = 1361.0 * (1.0 + 0.033 * np.cos(2.0 * np.pi * day_of_year / 365.0)) * np.maximum(cos_z, 0.065)
    k = np.minimum(ghi_w_per_m2 / outside, 1.0)
    middle = 0.9511 + k * (-0.1604 + k * (4.388 + k * (-16.638 + k * 12.336)))
    return np.where(k <= 0.22, 1.0 - 0.09 * k, np.where(k <= 0.80, middle, 0.165))
