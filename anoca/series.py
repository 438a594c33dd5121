"""True series of a run: load, available PV and prices over all ticks and the horizon behind them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from anoca.config import Scenario
from anoca.errors import InputError
from anoca.placement import Placement, homes_behind
from feeders import Loads
from feeders.table import Array
from hems import Tariff, load_shape, ny_like_tou, pv_shape
from hems.errors import HemsError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Series:
    """What is true, tick by tick; T = ticks + horizon.

    times            (T,) tz-aware starts
    load_kw, pv_kw   (n, T) of the prosumers, PV as available
    load_scale       (n, T) load over base load; the load's Q follows it
    plain_scale      (n_loads, T) the same for the plain loads
    """

    times: pd.DatetimeIndex
    tariff: Tariff
    load_kw: Array
    pv_kw: Array
    load_scale: Array
    plain_scale: Array


def build_series(scenario: Scenario, placement: Placement) -> Series:
    """Synthetic series, or the user's, on the scenario's clock.

    Raises  InputError  a file is missing, too short, off the clock, NaN or negative; prices with
                        import below export (all issues of a file at once)
    """
    clock, section = scenario.clock, scenario.series
    length = clock.ticks + scenario.hems.horizon
    times = pd.date_range(clock.first_tick(), periods=length, freq=f"{clock.step_minutes}min")
    names = list(placement.name)
    try:
        shape = _shape(names, placement.base_kw, times, scenario.seed)
        plain = _shape(list(placement.feeder[Loads].name), placement.feeder[Loads].p_kw, times, scenario.seed)
        sun = pv_shape(times, seed=scenario.seed, sky=section.sky)
        tariff = _tariff(scenario, times)
    except HemsError as exc:
        raise InputError(str(exc)) from exc
    load = placement.base_kw[:, None] * shape
    pv = placement.p_peak_kw[:, None] * sun[None, :]
    if section.load_file is not None:
        load = _from_file(section.load_file, times, names, "load")
        shape = np.divide(load, placement.base_kw[:, None])
    if section.pv_file is not None:
        pv = _from_file(section.pv_file, times, names, "PV")
    return Series(times, tariff, load, pv, shape, plain)


def _shape(names: list[str], base_kw: Array, times: pd.DatetimeIndex, seed: int) -> Array:
    return load_shape(names, times, seed=seed, n_homes=list(homes_behind(base_kw)))


def _tariff(scenario: Scenario, times: pd.DatetimeIndex) -> Tariff:
    section = scenario.tariff
    if section.kind == "ny_like_tou":
        return ny_like_tou(times)
    if section.kind == "flat":
        ones = np.ones(len(times))
        return Tariff(section.import_price_per_kwh * ones, section.export_price_per_kwh * ones, times=times)
    if section.file is None:
        raise InputError("tariff.kind is 'csv': give tariff.file")
    columns = ["import_price_per_kwh", "export_price_per_kwh"]
    prices = _read(section.file, times, columns, "tariff")
    return Tariff(prices[columns[0]].to_numpy(), prices[columns[1]].to_numpy(), times=times)


def _from_file(path: Path, times: pd.DatetimeIndex, names: list[str], what: str) -> Array:
    frame = _read(path, times, names, what)
    issues = [
        f"{path}: {what} of {name} is {frame[name].min():g} kW at {frame[name].idxmin()}; powers are >= 0"
        for name in names
        if frame[name].min() < 0
    ]
    if issues:
        raise InputError(issues[:20])
    return frame.to_numpy(dtype=float).T


def _read(path: Path, times: pd.DatetimeIndex, columns: list[str], what: str) -> pd.DataFrame:
    """The columns of a CSV at exactly the ticks asked for."""
    if not path.is_file():
        raise InputError(f"no {what} file {path}")
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as exc:
        raise InputError(f"{path} is not readable as CSV: {exc}") from exc
    if "time" not in frame.columns:
        raise InputError(f"{path}: no column `time`; it has {', '.join(map(str, frame.columns[:5]))}")
    if missing := [c for c in columns if c not in frame.columns]:
        some = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
        raise InputError(f"{path}: {len(missing)} column(s) missing: {some}")
    if unused := [str(c) for c in frame.columns if c not in columns and c != "time"]:
        log.warning("%s: %d column(s) not used: %s", path, len(unused), ", ".join(unused[:5]))
    frame.index = _times(path, frame["time"], times)
    if frame.index.has_duplicates:
        raise InputError(f"{path}: time {frame.index[frame.index.duplicated()][0]} stands there twice")
    absent = times.difference(frame.index)
    if len(absent):
        raise InputError(
            f"{path}: {len(absent)} of {len(times)} ticks missing, the first {absent[0]}; the run needs "
            f"every {(times[1] - times[0]).seconds // 60} minutes from {times[0]} to {times[-1]}, "
            "the ticks and the horizon that the last of them looks ahead"
        )
    numbers = frame.loc[times, columns].apply(pd.to_numeric, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(dtype=float))
    if bad.any():
        row, col = (int(k) for k in np.argwhere(bad)[0])
        given = frame.loc[times, columns].iloc[row, col]
        raise InputError(
            f"{path}: {what} of {columns[col]} is not a number at {times[row]} (given: {given!r})"
        )
    return numbers


def _times(path: Path, text: pd.Series, times: pd.DatetimeIndex) -> pd.DatetimeIndex:
    """Column `time` as instants; a time without an offset could mean anything and is refused."""
    fix = "write it with its offset, 2026-06-21T12:30-04:00"
    try:
        parsed = [pd.Timestamp(str(value)) for value in text]
    except (ValueError, TypeError) as exc:
        raise InputError(f"{path}: column `time` holds something that is no time; {fix}") from exc
    for value, stamp in zip(text, parsed, strict=True):
        if stamp.tzinfo is None:
            raise InputError(f"{path}: time {value!r} has no offset from UTC; {fix}")
    return pd.DatetimeIndex([stamp.tz_convert("UTC") for stamp in parsed]).tz_convert(times.tz)
