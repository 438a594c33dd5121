"""Times of a user's file: instants with their offset, a regular step, and which rows make up which tick."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hems.errors import SeriesFileError, TicksMissingError

_OFFSET = r"(?:Z|[+-]\d{2}(?::?\d{2})?)$"
_FIX = (
    "write it with its offset, 2026-06-21T12:30-04:00, or name the file's time zone "
    "(series.file_timezone of a scenario, FileRules.timezone)"
)


End = Literal["error", "hold", "shrink"]


@dataclass(frozen=True)
class Rows:
    """Rows of a file that make up the ticks asked for.

    take   (T, k) row numbers; the value of a tick is the mean of its k rows; T is fewer where it may shrink
    step   between the rows of the file
    known  ticks from the first on that the file has; those behind them repeat its last day
    """

    take: NDArray[np.intp]
    step: pd.Timedelta
    known: int


def instants(path: Path, column: pd.Series, *, timezone: str | None, in_order: bool) -> pd.DatetimeIndex:
    """Return a file's times, UTC.

    column    text, or times as Parquet keeps them
    timezone  zone of times without an offset; None refuses them
    in_order  rows follow one another in time, so that the hour that a clock change repeats can be told apart
    Raises    SeriesFileError: no time, no offset, a time that a clock change skips or repeats
    """
    if not isinstance(column.dtype, np.dtype | pd.DatetimeTZDtype) or column.dtype == object:
        text = column.astype(str).str.strip()
        aware = text.str.contains(_OFFSET, regex=True) & text.str.contains(":")
        parsed = pd.to_datetime(text, utc=True, format="ISO8601", errors="coerce")
        _first(path, text, parsed.isna(), "{!r} is no time", "write it as 2026-06-21T12:30-04:00")
        if aware.all():
            return pd.DatetimeIndex(parsed)
        naive = text[~aware] if timezone is None or aware.any() else None
        if naive is not None:
            _first(path, text, ~aware, "{!r} has no offset from UTC", _FIX)
        return _localised(path, pd.DatetimeIndex(pd.to_datetime(text, format="ISO8601")), timezone, in_order)
    if not pd.api.types.is_datetime64_any_dtype(column):
        raise SeriesFileError(path, f"column `time` holds {column.dtype}, no times", column="time")
    _first(path, column, column.isna(), "{!r} is no time", "fill it in")
    found = pd.DatetimeIndex(column)
    if found.tz is not None:
        return found.tz_convert("UTC")
    return _localised(path, found, timezone, in_order)


def _first(path: Path, given: pd.Series, bad: pd.Series, problem: str, fix: str) -> None:
    """Raise at the first bad value of column `time`."""
    if bad.any():
        value = given[bad].iloc[0]
        raise SeriesFileError(path, f"time {problem.format(value)}; {fix}", column="time", time=value)


def _localised(path: Path, naive: pd.DatetimeIndex, timezone: str | None, in_order: bool) -> pd.DatetimeIndex:
    """Return wall-clock times of a zone as instants."""
    if timezone is None:
        raise SeriesFileError(
            path, f"time {naive[0]} has no offset from UTC; {_FIX}", column="time", time=naive[0]
        )
    try:
        zone = ZoneInfo(timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise SeriesFileError(path, f"unknown time zone {timezone!r}, for instance America/New_York") from exc
    skipped = naive.tz_localize(zone, ambiguous=np.zeros(len(naive), dtype=bool), nonexistent="NaT").isna()
    if skipped.any():
        when = naive[skipped][0]
        raise SeriesFileError(
            path,
            f"time {when} does not exist in {timezone}: the clock skips it; leave it out, or write offsets",
            column="time",
            time=when,
        )
    try:
        return naive.tz_localize(zone, ambiguous="infer" if in_order else "raise").tz_convert("UTC")
    except ValueError as exc:
        twice = naive[naive.tz_localize(zone, ambiguous="NaT").isna()]
        raise SeriesFileError(
            path,
            f"time {twice[0]} is two instants in {timezone}, about a clock change; write offsets",
            column="time",
            time=twice[0],
        ) from exc


def rows_of(
    path: Path,
    found: pd.DatetimeIndex,
    times: pd.DatetimeIndex,
    *,
    resample: bool,
    end: End = "error",
    needed_until: pd.Timestamp | None = None,
) -> Rows:
    """Return which rows of a file make up each tick.

    found     (R,) instants of the file, increasing     times  (T,) ticks asked for, equally spaced
    resample  allow steps other than the ticks': shorter ones are averaged, longer ones held
    end, needed_until  what becomes of ticks from `needed_until` on that lie behind the end of the file: an
              error, "hold": they are the ticks 24 hours before, "shrink": they are left out
    Raises    SeriesFileError: a time twice, steps that are not regular, ticks missing, another step
    """
    if found.has_duplicates:
        when = found[found.duplicated()][0].tz_convert(times.tz)
        raise SeriesFileError(path, f"time {when} stands there twice; remove one", column="time", time=when)
    tick = times[1] - times[0] if len(times) > 1 else pd.Timedelta(0)
    step = _step(path, found, times, tick)
    if step != tick and len(times) > 1 and not resample:
        raise SeriesFileError(
            path,
            f"steps of {_minutes(step)}, the clock's are {_minutes(tick)}; "
            "allow resampling (resample = true), or write the file on the clock",
            column="time",
            time=found[0].tz_convert(times.tz),
        )
    known, asked = len(times), times
    if end != "error":
        begins = found[-1] + step if needed_until is None else max(needed_until, found[-1] + step)
        known = int(times.searchsorted(begins))
        asked = times[:known]
        if end == "hold":
            asked = pd.DatetimeIndex(asked.append(_days_before(times[known:], begins)))
    take = (
        found.get_indexer(asked)[:, None]
        if step == tick or len(times) < 2
        else _resampled(path, found, asked, step, tick)
    )
    absent = np.asarray((take < 0).any(axis=1), dtype=bool)
    if absent.any():
        first = times[: len(take)][absent][0]
        raise TicksMissingError(
            path,
            f"{int(absent.sum())} of {len(times)} ticks missing, the first {first}; needed is "
            f"every {_minutes(tick)} from {times[0]} to {times[-1]}, with the horizon of the last tick",
            column="time",
            time=first,
        )
    return Rows(np.asarray(take, dtype=np.intp), step, known)


def _days_before(times: pd.DatetimeIndex, begins: pd.Timestamp) -> pd.DatetimeIndex:
    """Return times behind the end as many days of 24 hours earlier as brings them before it."""
    day = pd.Timedelta(days=1)
    return times - day * ((times - begins) // day + 1)


def _step(path: Path, found: pd.DatetimeIndex, times: pd.DatetimeIndex, tick: pd.Timedelta) -> pd.Timedelta:
    """Return the usual step of a file; every other one must be a multiple of it, which is a gap."""
    if len(found) < 2:
        return tick
    steps = found[1:] - found[:-1]
    step = steps.value_counts().index[0]
    odd = np.asarray(steps % step) != np.timedelta64(0)
    if odd.any():
        k = int(np.flatnonzero(odd)[0]) + 1
        when = found[k].tz_convert(times.tz)
        raise SeriesFileError(
            path,
            f"time {when} comes {_minutes(steps[k - 1])} after the one before, most come after "
            f"{_minutes(step)}; write the file with one regular step",
            column="time",
            time=when,
        )
    return step


def _resampled(
    path: Path, found: pd.DatetimeIndex, times: pd.DatetimeIndex, step: pd.Timedelta, tick: pd.Timedelta
) -> NDArray[np.intp]:
    """Rows (T, k): the step that holds a tick, or the shorter ones inside it; -1 where there is none."""
    if step > tick and step % tick == pd.Timedelta(0):
        row = np.asarray(found.searchsorted(times, side="right"), dtype=np.intp) - 1
        begun = np.maximum(row, 0)
        outside = (row < 0) | np.asarray(times - found[begun] >= step)
        return np.where(outside, -1, row)[:, None]
    if step < tick and tick % step == pd.Timedelta(0):
        inside = [found.get_indexer(times + j * step) for j in range(tick // step)]
        return np.stack(inside, axis=1)
    raise SeriesFileError(
        path, f"steps of {_minutes(step)} do not fit the clock's {_minutes(tick)}; one must divide the other"
    )


def _minutes(step: pd.Timedelta) -> str:
    return f"{step / pd.Timedelta(minutes=1):g} minutes"
