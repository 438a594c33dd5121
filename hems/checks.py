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


def check_times(times: pd.DatetimeIndex) -> None:
    """Raise `SeriesError` unless `times` is a tz-aware, increasing DatetimeIndex."""
    if not isinstance(times, pd.DatetimeIndex):
        raise SeriesError(f"times must be a pandas DatetimeIndex, not {type(times).__name__}.")
    if times.tz is None:
        start = f" (first: {times[0]})" if len(times) else ""
        raise SeriesError(
            f"times are naive{start}: give them a time zone, for example tz='America/New_York'."
        )
    if not times.is_monotonic_increasing or times.has_duplicates:
        raise SeriesError("times must increase strictly.")


def check_series(
    column: str, values: ArrayLike, *, names: Sequence[str], shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Return `values` as a read-only copy of `shape`, all finite and not negative.

    column  name of the series, for the message
    names   names of the homes, one per row
    shape   (n,) or (n, T)
    Raises  SeriesError naming the column, the home and the tick
    """
    array = np.array(values, dtype=float)
    if array.shape != shape:
        wanted = f"{shape[0]} homes" + (f" x {shape[1]} ticks" if len(shape) == 2 else "")
        raise SeriesError(f"{column} has shape {array.shape}; needed is {shape}: {wanted}.")
    wrong = ~np.isfinite(array) | (array < 0)
    if wrong.any():
        first = tuple(np.argwhere(wrong)[0])
        where = f"home {names[first[0]]!r}" + (f", tick {first[1]}" if len(shape) == 2 else "")
        raise SeriesError(
            f"{column} of {where} is {array[first]}; it must be finite and not negative "
            f"({int(wrong.sum())} such value(s) in all)."
        )
    return read_only(array)
