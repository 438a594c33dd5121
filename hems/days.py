"""Series on a clock grid, built one local day at a time: a local day has 23, 24 or 25 hours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hems.checks import check_times
from hems.errors import SeriesError

Floats = NDArray[np.float64]


class LocalDay(NamedTuple):
    """One local day touched by a series.

    grid    every step of the day, counted in elapsed time from midnight to midnight
    at      where the series' own times of that day stand in `grid`
    place   where they stand in the series
    """

    grid: pd.DatetimeIndex
    at: NDArray[np.intp]
    place: slice


def check_grid(times: pd.DatetimeIndex) -> None:
    """Raise `SeriesError` unless `times` are equal steps on the grid that starts at local midnight."""
    check_times(times)
    if len(times) < 2:
        raise SeriesError("times must hold at least two steps, so that their length is known.")
    step = times[1] - times[0]
    if (np.diff(times.asi8) != np.diff(times[:2].asi8)).any():
        raise SeriesError(f"times must be equally spaced by {step}.")
    if pd.Timedelta(minutes=30) % step != pd.Timedelta(0):
        raise SeriesError(f"the step is {step}; it must divide 30 minutes.")
    if (times[0] - times[0].normalize()) % step != pd.Timedelta(0):
        raise SeriesError(f"times start at {times[0]}, which is not a whole number of steps after midnight.")


def local_days(times: pd.DatetimeIndex) -> Iterator[LocalDay]:
    """Yield every local day that `times`, on the grid of `check_grid`, touch; in order."""
    step, begin = times[1] - times[0], 0
    midnights = times.normalize()
    for midnight in midnights.unique():
        tomorrow = (midnight + pd.DateOffset(days=1)).normalize()
        grid = pd.date_range(midnight, tomorrow, freq=step, inclusive="left")
        inside = times[midnights == midnight]
        yield LocalDay(grid, grid.get_indexer(inside), slice(begin, begin + len(inside)))
        begin += len(inside)


def clock_hours(times: pd.DatetimeIndex) -> Floats:
    """Return the local wall-clock time in hours, as people live by it on the days of a clock change too."""
    return np.asarray(times.hour + times.minute / 60.0 + times.second / 3600.0, dtype=float)
