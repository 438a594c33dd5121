"""Loads of homes built from the bottom: people, what they switch on, and what runs by itself.

    load = base + cold appliances + (lights in the dark + screens) of people awake + appliance runs + cooling

Every home has traits of its own (people, habits, appliances) from one random stream and every local day
another, so that a home's load depends on (seed, name, day) alone: not on other homes, nor on the window asked
for. Days are drawn apart; a run that passes midnight ends there. `benchmarks/load_calibration.py` holds the
result against measured homes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hems.appliances import Runs, normal, runs_of
from hems.checks import read_only
from hems.days import LocalDay, check_grid, clock_hours, local_days
from hems.errors import SeriesError
from hems.load_models import EUROPEAN, LoadModel
from hems.occupancy import OCCUPANTS, SLOT_MIN, Presence, presence, size_of
from hems.solar import Site, cos_zenith
from hems.streams import Stream, generator

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_AT_ONCE = 2048  # homes drawn together: 20 MB
_MOST_SLOTS = 150  # of a day of 25 h
_COOLING_CYCLE_MIN = 20.0
_N_TRAITS = 17 + OCCUPANTS
_WEATHER_NAME = "weather"


def home_loads(
    names: Sequence[str],
    times: pd.DatetimeIndex,
    *,
    seed: int,
    n_homes: Sequence[int] | None = None,
    model: LoadModel = EUROPEAN,
    site: Site | None = None,
) -> Floats:
    """Return the load of each prosumer, kW, mean over every step.

    names    (n,) the draws of a prosumer hang on its name
    times    (T,) tz-aware starts of equal steps that divide 30 minutes, on the grid from local midnight
    n_homes  (n,) homes behind each name, which are drawn one by one and added; None: one each
    Returns  (n, T), > 0, read-only; the mean of a longer step is the mean of the shorter ones inside it
    Raises   SeriesError: times naive or off the grid; bad n_homes
    """
    check_grid(times)
    homes = np.ones(len(names), dtype=int) if n_homes is None else np.asarray(n_homes)
    if len(homes) != len(names) or (homes < 1).any():
        raise SeriesError(f"n_homes must be {len(names)} whole numbers, at least 1 each.")
    each = [n if k == 0 else f"{n}/{k}" for n, many in zip(names, homes, strict=True) for k in range(many)]
    owner = np.repeat(np.arange(len(names)), homes)
    total = np.zeros((len(names), len(times)))
    days = list(local_days(times))
    for first in range(0, len(each), _AT_ONCE):
        some = slice(first, first + _AT_ONCE)
        traits = _Traits.drawn(each[some], seed, model)
        for day in days:
            load = _one_day(traits, day, seed=seed, site=site or Site())
            np.add.at(total[:, day.place], owner[some], load[:, day.at])
    return read_only(total)


@lru_cache(maxsize=8)
def noon_kw(model: LoadModel = EUROPEAN) -> float:
    """Return the mean load of a home, kW, 11:30 to 13:30 on 21 June: 16 fixed seeds, so 16 weathers."""
    times = pd.date_range("2026-06-21 11:30", periods=4, freq="30min", tz="America/New_York")
    names = [f"noon {k}" for k in range(64)]
    return float(np.mean([home_loads(names, times, seed=seed, model=model).mean() for seed in range(16)]))


@dataclass(frozen=True)
class _Traits:
    """What does not change from day to day, (n,) each; `owned` and `kw` by appliance (n, a)."""

    names: Sequence[str]
    model: LoadModel
    size: Ints
    works: NDArray[np.bool_]
    late_h: Floats
    base_kw: Floats
    cold_kw: Floats
    cold_min: Floats
    cold_duty: Floats
    cold_phase: Floats
    lights_kw: Floats
    screens_kw: Floats
    factor: Floats
    kw: Floats
    cooling_kw: Floats
    cooling_set_c: Floats
    cooling_always: NDArray[np.bool_]

    @classmethod
    def drawn(cls, names: Sequence[str], seed: int, model: LoadModel) -> _Traits:
        kinds = list(model.appliances.values())
        n_draws = _N_TRAITS + 2 * len(kinds)
        rows = [generator(seed, Stream.HOME_TRAITS, name=n, tick=0).random(n_draws) for n in names]
        u = np.array(rows)
        z = normal(u)
        use = np.exp(model.use_spread * z[:, 0] - 0.5 * model.use_spread**2)
        mine = u[:, _N_TRAITS::2]
        owned = np.array([kind.owned for kind in kinds])
        spread = np.array([kind.kw_spread for kind in kinds])
        cold = np.arange(2) < np.searchsorted(np.cumsum(model.cold_share)[:-1], u[:, 1])[:, None]
        return cls(
            names=names,
            model=model,
            size=size_of(u[:, 2]),
            works=u[:, 17:_N_TRAITS] < model.working,
            late_h=0.5 * z[:, 3],
            base_kw=model.base_kw * np.exp(model.base_spread * z[:, 4]),
            cold_kw=np.where(cold, model.cold_kw, 0.0) * np.exp(0.25 * z[:, 5:7]),
            cold_min=40.0 + 35.0 * u[:, 7:9],
            cold_duty=0.25 + 0.2 * u[:, 9:11],
            cold_phase=u[:, 11:13],
            lights_kw=model.lights_kw * np.exp(0.5 * z[:, 13]),
            screens_kw=model.screens_kw * np.exp(0.5 * z[:, 14]),
            factor=use[:, None] * (mine < owned),
            kw=np.array([kind.kw for kind in kinds]) * np.exp(spread * z[:, _N_TRAITS + 1 :: 2]),
            cooling_kw=model.cooling_kw * (0.5 + u[:, 15]),
            cooling_set_c=23.5 + z[:, 16],
            cooling_always=u[:, 3] < 0.4,
        )


def _one_day(traits: _Traits, day: LocalDay, *, seed: int, site: Site) -> Floats:
    """Return the loads of one local day, (n, steps of the day) kW."""
    grid, model = day.grid, traits.model
    step_min = (grid[1] - grid[0]) / pd.Timedelta(minutes=1)
    kinds = list(model.appliances.values())
    n_draws = OCCUPANTS * (1 + _MOST_SLOTS) + sum(kind.n_draws for kind in kinds) + 1
    date = grid[0].toordinal()
    rows = [generator(seed, Stream.HOME_DAY, name=n, tick=date).random(n_draws) for n in traits.names]
    u = np.array(rows)
    slots = _slots(grid, step_min)
    hours = (clock_hours(slots) - traits.late_h[:, None]) % 24.0
    there = presence(
        size=traits.size,
        works=traits.works,
        hours=hours,
        workday=grid[0].day_of_week < 5,
        start=u[:, :OCCUPANTS],
        draws=u[:, OCCUPANTS : OCCUPANTS * (1 + _MOST_SLOTS)].reshape(len(u), OCCUPANTS, -1),
    )
    load = np.zeros((len(u), len(grid)))
    at = OCCUPANTS * (1 + _MOST_SLOTS)
    for k, kind in enumerate(kinds):
        own = u[:, at : at + kind.n_draws]
        factor, kw = traits.factor[:, k], traits.kw[:, k]
        runs_of(kind, factor=factor, kw=kw, active=there.active, hours=hours, draws=own).add_to(
            load, step_min
        )
        at += kind.n_draws
    if model.cooling_kw > 0:
        _cooling(traits, slots, there, seed=seed, phase=u[:, -1]).add_to(load, step_min)
    load = np.maximum(
        np.cumsum(load, axis=1), 0.0
    )  # the sum of what went on and off again is 0 but for rounding
    load += _step_means(_lit(traits, slots, there, site), len(grid), step_min)
    return load + traits.base_kw[:, None] + _cold(traits, grid, step_min)


def _slots(grid: pd.DatetimeIndex, step_min: float) -> pd.DatetimeIndex:
    """Return the middles of the day's slots of ten minutes."""
    count = round(len(grid) * step_min / SLOT_MIN)
    middle = pd.Timedelta(minutes=SLOT_MIN / 2)
    return pd.date_range(grid[0] + middle, periods=count, freq=f"{SLOT_MIN:.0f}min")


def _lit(traits: _Traits, slots: pd.DatetimeIndex, there: Presence, site: Site) -> Floats:
    """Return lights and screens per slot; lights come on from about 7 degrees above the horizon downwards."""
    cos_z = cos_zenith(slots, latitude=site.latitude, longitude=site.longitude)
    dark = np.clip((0.12 - cos_z) / 0.17, 0.05, 1.0)
    awake = np.sqrt(there.active)
    return awake * (traits.lights_kw[:, None] * dark + traits.screens_kw[:, None])


def _step_means(power: Floats, n_steps: int, step_min: float) -> Floats:
    """Return the means over steps of powers that are constant over slots."""
    energy = np.concatenate([np.zeros((len(power), 1)), np.cumsum(power, axis=1)], axis=1)
    edge = np.arange(n_steps + 1) * (step_min / SLOT_MIN)
    slot = np.minimum(edge.astype(np.intp), power.shape[1] - 1)
    reached = energy[:, slot] + (edge - slot) * power[:, slot]
    return np.diff(reached, axis=1) * (SLOT_MIN / step_min)


def _cold(traits: _Traits, grid: pd.DatetimeIndex, step_min: float) -> Floats:
    """Return the mean power of cold appliances, which go on and off in cycles whatever people do."""
    start = (grid[0] - pd.Timestamp("2000-01-01", tz="UTC")) / pd.Timedelta(minutes=1)
    edge = start + step_min * np.arange(len(grid) + 1)
    total = np.zeros((len(traits.base_kw), len(grid)))
    for k in range(traits.cold_kw.shape[1]):
        cycles = edge / traits.cold_min[:, k, None] + traits.cold_phase[:, k, None]
        whole = np.floor(cycles)
        duty = traits.cold_duty[:, k, None]
        on_min = (whole * duty + np.minimum(cycles - whole, duty)) * traits.cold_min[:, k, None]
        total += traits.cold_kw[:, k, None] * np.diff(on_min, axis=1) / step_min
    return total


def _cooling(traits: _Traits, slots: pd.DatetimeIndex, there: Presence, *, seed: int, phase: Floats) -> Runs:
    """Return compressor runs: in every cycle of 20 minutes a share that grows with the heat outside.

    share = clip((T_out - T_set + 1) / 8, 0, 1), in homes with someone in or that never turn it off
    """
    heat = _outdoor_c(slots, seed)
    every = round(_COOLING_CYCLE_MIN / SLOT_MIN)
    at = np.arange(0, len(slots), every)
    wanted = np.clip((heat[at] - traits.cooling_set_c[:, None] + 1.0) / 8.0, 0.0, 1.0)
    wanted *= (there.home[:, at] > 0) | traits.cooling_always[:, None]
    home, cycle = np.nonzero(wanted)
    begin = _COOLING_CYCLE_MIN * (cycle + phase[home])
    end = begin + _COOLING_CYCLE_MIN * wanted[home, cycle]
    return Runs(home, begin, end, traits.cooling_kw[home])


def _outdoor_c(slots: pd.DatetimeIndex, seed: int) -> Floats:
    """Return outdoor temperatures of a day in New York: season, hour (warmest at 15:00), the day's own."""
    season = 12.5 + 12.5 * np.cos(2 * np.pi * (slots[0].day_of_year - 205) / 365.0)
    rng = generator(seed, Stream.WEATHER, name=_WEATHER_NAME, tick=slots[0].toordinal())
    swing = 5.0 * np.cos(2 * np.pi * (clock_hours(slots) - 15.0) / 24.0)
    return season + 3.0 * rng.standard_normal() + swing
