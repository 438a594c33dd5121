"""When the energy target e* is wanted: at the end of the horizon, or at a clock time that does not recede."""

from __future__ import annotations

import math

import pandas as pd

from hems.config import HemsConfig
from hems.errors import ConfigError
from hems.tariff import Tariff


def target_of(config: HemsConfig, tariff: Tariff) -> tuple[int | None, int]:
    """Return the tick at whose end e* is wanted, None for the last, and the ticks left after the horizon.

    A clock time inside a tick counts at the tick's end. On the day of a clock change a time that does not
    exist is the first that does, and one that comes twice is the first of the two.

    Raises  ConfigError  a clock time without the times of the ticks
    """
    if config.target_time is None:
        return None, 0
    if tariff.times is None:
        raise ConfigError(
            f"target_time={config.target_time!r} is a clock time: give the tariff its `times`, tz-aware."
        )
    start = tariff.times[0]
    ticks = math.ceil((_next(start, config.target_time) - start) / pd.Timedelta(minutes=config.step_minutes))
    last = tariff.n_ticks
    return (ticks - 1 if ticks < last else None), max(ticks - last, 0)


def _next(after: pd.Timestamp, clock: str) -> pd.Timestamp:
    """Return the first instant after `after` with this local clock time."""
    hour, minute = map(int, clock.split(":"))
    midnight = after.tz_localize(None).normalize()
    for days in (0, 1):
        local = midnight + pd.Timedelta(days=days, hours=hour, minutes=minute)
        instant = local.tz_localize(after.tz, ambiguous=True, nonexistent="shift_forward")
        if instant > after:
            break
    return instant
