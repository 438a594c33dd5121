"""Seeded synthetic day shapes: load per home, PV shared by a neighbourhood.

Both are shapes: multiply them by a home's base load or by its clear-sky noon PV. Every local day is drawn
as a whole and then cut, so that a shape does not depend on the window it is asked for; consecutive days
are drawn apart and need not join smoothly at midnight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hems.checks import read_only
from hems.config import check_choice
from hems.days import check_grid, clock_hours, local_days
from hems.errors import SeriesError
from hems.noise import ar1
from hems.solar import LATITUDE_NY, LONGITUDE_NY, cos_zenith, haurwitz_w_per_m2
from hems.streams import Stream, generator

Floats = NDArray[np.float64]
Sky = Literal["clear", "broken"]

_NOON_H = (11.5, 13.5)  # the load shape averages 1 in this local time
_SKY_NAME = "sky"  # one sky over all homes: its draws hang on this name


def load_shape(
    names: Sequence[str], times: pd.DatetimeIndex, *, seed: int, n_homes: Sequence[int] | None = None
) -> Floats:
    """Return the load of each prosumer as a multiple of its load around noon.

    shape = curve x exp(AR(1) noise / sqrt(k)) + spikes of k homes / k, divided by its mean over
    11:30-13:30 of the same local day, which is therefore exactly 1 for each prosumer and day.
    A prosumer that stands for k homes is smoother than one home: their noise averages out.

    names    (n,) the draws of a prosumer hang on its name
    n_homes  (n,) k, homes behind each name; None: one each
    times    (T,) tz-aware starts of equal steps, on the clock grid that starts at local midnight
    Returns  (n, T), >= 0, read-only
    Raises   SeriesError: times naive, off the grid, or with steps that do not fit two hours; bad n_homes
    """

    def one_prosumer(name: str, homes: int) -> Floats:
        curve = _habits(generator(seed, Stream.LOAD_HABITS, name=name, tick=0))

        def one_day(day: pd.DatetimeIndex) -> Floats:
            rng = generator(seed, Stream.LOAD_DAY, name=name, tick=day[0].toordinal())
            hour = clock_hours(day)
            noise = ar1(rng, len(day), rho=0.9, sigma=0.15 / np.sqrt(homes))
            raw = curve(hour) * np.exp(noise) + _spikes(rng, day, homes=homes)
            at_noon = (hour >= _NOON_H[0]) & (hour < _NOON_H[1])
            return raw / raw[at_noon].mean()

        return _by_day(times, one_day)

    check_grid(times)
    homes = np.ones(len(names), dtype=int) if n_homes is None else np.asarray(n_homes)
    if len(homes) != len(names) or (homes < 1).any():
        raise SeriesError(f"n_homes must be {len(names)} whole numbers, at least 1 each.")
    shapes = [one_prosumer(name, int(k)) for name, k in zip(names, homes, strict=True)]
    return read_only(np.array(shapes).reshape(len(names), len(times)))


def pv_shape(
    times: pd.DatetimeIndex,
    *,
    seed: int,
    sky: Sky = "clear",
    latitude: float = LATITUDE_NY,
    longitude: float = LONGITUDE_NY,
) -> Floats:
    """Return available PV as a share of the day's clear-sky peak, the same for a whole neighbourhood.

    shape = Haurwitz clear sky at the middle of the step / its largest value of the local day x sky factor

    times    (T,) tz-aware starts of equal steps, on the clock grid that starts at local midnight
    sky      "clear": a factor of about .99, never above 1. "broken": a Markov chain of clear, broken and
             overcast spells with AR(1) noise inside a spell, between .05 and 1
    Returns  (T,) in [0, 1], read-only
    Raises   SeriesError: times naive or off the grid; ConfigError: unknown sky
    """
    check_choice("sky", sky, get_args(Sky))
    check_grid(times)

    def one_day(day: pd.DatetimeIndex) -> Floats:
        cos_z = cos_zenith(day + (day[1] - day[0]) / 2, latitude=latitude, longitude=longitude)
        clear = haurwitz_w_per_m2(cos_z)
        rng = generator(seed, Stream.SKY, name=_SKY_NAME, tick=day[0].toordinal())
        factor = _clear_factor(rng, len(day)) if sky == "clear" else _broken_factor(rng, day)
        return clear / max(clear.max(), 1e-9) * factor

    return read_only(_by_day(times, one_day))


def _by_day(times: pd.DatetimeIndex, one_day: Callable[[pd.DatetimeIndex], Floats]) -> Floats:
    """Draw every local day touched by `times` as a whole; return the values at `times`."""
    return np.concatenate([one_day(day.grid)[day.at] for day in local_days(times)])


def _habits(rng: np.random.Generator) -> Callable[[Floats], Floats]:
    """Return a home's own day curve: a base with bumps in the morning, around noon and in the evening."""
    centre = np.array([7.5, 12.5, 19.5]) + rng.normal(0.0, 0.5, 3)
    width = np.array([1.2, 2.5, 2.2]) * rng.uniform(0.8, 1.2, 3)
    height = np.array([0.5, 0.4, 1.2]) * rng.uniform(0.6, 1.4, 3)

    def curve(hour: Floats) -> Floats:
        away = np.abs(hour[:, None] - centre)
        away = np.minimum(away, 24.0 - away)  # the evening reaches past midnight
        return np.asarray(0.45 + (height * np.exp(-0.5 * (away / width) ** 2)).sum(axis=1))

    return curve


def _spikes(rng: np.random.Generator, day: pd.DatetimeIndex, *, homes: int) -> Floats:
    """Return some six appliance runs a home of 5 to 30 minutes, between 6:00 and 23:00; mean of the homes."""
    step_min = (day[1] - day[0]) / pd.Timedelta(minutes=1)
    runs = rng.poisson(6.0 * homes)
    first = (rng.uniform(6.0, 23.0, runs) * 60.0 / step_min).astype(int)
    last = first + np.maximum(1, np.round(rng.uniform(5.0, 30.0, runs) / step_min)).astype(int)
    height = rng.uniform(0.2, 1.0, runs)
    steps = np.zeros(len(day) + 1)
    np.add.at(steps, np.minimum(first, len(day)), height)
    np.add.at(steps, np.minimum(last, len(day)), -height)
    return np.maximum(np.cumsum(steps[:-1]), 0.0) / homes


def _clear_factor(rng: np.random.Generator, length: int) -> Floats:
    return 1.0 - np.minimum(0.01 * np.abs(ar1(rng, length, rho=0.95, sigma=1.0)), 0.05)


def _broken_factor(rng: np.random.Generator, day: pd.DatetimeIndex) -> Floats:
    """Return the clear-sky index of a day with passing clouds: spells of about half an hour."""
    stay = np.exp(-(day[1] - day[0]) / pd.Timedelta(minutes=30))
    mean, spread = np.array([0.95, 0.60, 0.25]), np.array([0.03, 0.20, 0.08])  # clear, broken, overcast
    state = rng.integers(3)
    states = np.empty(len(day), dtype=int)
    for k, (moves, to) in enumerate(
        zip(rng.random(len(day)) > stay, rng.integers(3, size=len(day)), strict=True)
    ):
        state = to if moves else state
        states[k] = state
    noise = ar1(rng, len(day), rho=0.6, sigma=1.0)
    return np.clip(mean[states] + spread[states] * noise, 0.05, 1.0)
