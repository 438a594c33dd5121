"""Checks of input arrays, and read-only arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from hems.errors import SeriesError

Array = TypeVar("Array", bound=NDArray[Any])


def read_only(array: Array) -> Array:
    """Return `array` with writing switched off (the same memory)."""
    array.setflags(write=False)
    return array


def is_flag(value: object) -> bool:
    """Tell whether `value` is True or False, and not merely taken for it."""
    return isinstance(value, bool | np.bool_)


def is_number(value: object) -> bool:
    """Tell whether `value` is a real number; True and False are none."""
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def not_numbers(thing: object, *fields: str) -> list[str]:
    """Return a sentence for each of the fields of `thing` that holds no real number."""
    given = {field: getattr(thing, field) for field in fields}
    return [f"{field}={value!r} must be a number" for field, value in given.items() if not is_number(value)]


def not_a_sequence(thing: object, field: str, kind: type) -> list[str]:
    """Return a sentence if a field of `thing` is no tuple (or list) of one kind."""
    value = getattr(thing, field)
    if isinstance(value, tuple | list) and all(isinstance(one, kind) for one in value):
        return []
    return [f"{field}={value!r} must be a tuple of {kind.__name__}"]


def real_array(values: ArrayLike | pd.DataFrame) -> NDArray[np.float64]:
    """Return a copy as floats; raise TypeError or ValueError for what is no array of real numbers."""
    if np.iscomplexobj(values):
        raise TypeError("the values are complex")
    if np.ma.is_masked(values):
        raise ValueError("some of the values are masked")
    return np.array(values, dtype=float)


def check_times(times: pd.DatetimeIndex) -> None:
    """Raise `SeriesError` unless `times` is a tz-aware, increasing DatetimeIndex."""
    if not isinstance(times, pd.DatetimeIndex):
        raise SeriesError(f"times must be a pandas DatetimeIndex, not {type(times).__name__}.")
    if times.tz is None:
        start = f" (first: {times[0]})" if len(times) else ""
        raise SeriesError(
            f"times are naive{start}: give them a time zone, for example tz='America/New_York'."
        )
    if times.hasnans:
        raise SeriesError(f"times hold something that is no time, at position {int(times.isna().argmax())}.")
    if not times.is_monotonic_increasing or times.has_duplicates:
        k = int(np.argmax(np.diff(times.asi8) <= 0))
        raise SeriesError(f"times must increase strictly; after {times[k]} comes {times[k + 1]}.")


def check_step(times: pd.DatetimeIndex, step: pd.Timedelta) -> None:
    """Raise `SeriesError`, with the first bad one, unless checked `times` are `step` apart.

    Elapsed time counts: the hour that a clock change repeats is an hour, the one that it leaves out is none.
    """
    gaps = times[1:] - times[:-1]
    wrong = gaps != step
    if wrong.any():
        k = int(np.argmax(wrong))
        what = "a gap, or another step" if gaps[k] > step else "another step"
        raise SeriesError(
            f"times must be {step} apart: {times[k]} is followed by {times[k + 1]}, {gaps[k]} later ({what})."
        )


def check_series(
    column: str,
    values: ArrayLike | pd.DataFrame,
    *,
    names: Sequence[str],
    shape: tuple[int, ...],
    times: pd.DatetimeIndex | None = None,
) -> NDArray[np.float64]:
    """Return `values` as a read-only copy of `shape`, all finite and not negative.

    column  name of the series, for the message
    values  an array of that shape; or, for (n, T), a DataFrame with a column for each home and a row per tick
    names   names of the homes, one per row
    shape   (n,) or (n, T)
    times   (T,) starts of the ticks where they are known: the index of a DataFrame must be these
    Raises  SeriesError naming the column, the home, the tick and its time
    """
    if isinstance(values, pd.DataFrame) and len(shape) == 2:
        values = _from_frame(column, values, names=names, times=times)
    try:
        array = real_array(values)
    except (TypeError, ValueError) as exc:
        raise SeriesError(f"{column} is no array of numbers of shape {shape}: {exc}.") from exc
    if array.shape != shape:
        wanted = f"{shape[0]} homes" + (f" x {shape[1]} ticks" if len(shape) == 2 else "")
        raise SeriesError(f"{column} has shape {array.shape}; needed is {shape}: {wanted}.")
    wrong = ~np.isfinite(array) | (array < 0)
    if wrong.any():
        first = tuple(np.argwhere(wrong)[0])
        where = f"home {names[first[0]]!r}" + (f", tick {first[1]}" if len(shape) == 2 else "")
        if len(shape) == 2 and times is not None and len(times) == shape[1]:
            where += f" ({times[int(first[1])]})"
        raise SeriesError(
            f"{column} of {where} is {array[first]}; it must be finite and not negative "
            f"({int(wrong.sum())} such value(s) in all)."
        )
    return read_only(array)


def _from_frame(
    column: str, frame: pd.DataFrame, *, names: Sequence[str], times: pd.DatetimeIndex | None
) -> NDArray[np.float64]:
    """Return a DataFrame with one column per home as an array with one row per home."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise SeriesError(f"{column} has no column for {len(missing)} home(s): {', '.join(missing[:5])}.")
    if frame.columns.has_duplicates:
        twice = frame.columns[frame.columns.duplicated()][0]
        raise SeriesError(f"{column} has column {twice!r} twice.")
    index = frame.index
    if not isinstance(index, pd.DatetimeIndex):
        raise SeriesError(f"{column}: its index must be a DatetimeIndex, not {type(index).__name__}.")
    try:
        check_times(index)
    except SeriesError as exc:
        raise SeriesError(f"{column}: {exc}") from exc
    if times is not None and not index.equals(times.tz_convert(index.tz)):
        other = index.difference(times).union(times.difference(index))
        first = f", the first difference is at {other[0].tz_convert(times.tz)}" if len(other) else ""
        raise SeriesError(f"{column} is not at the {len(times)} ticks of the tariff{first}.")
    return np.asarray(frame[list(names)].to_numpy().T)
