"""Random streams: one independent generator per (seed, purpose, prosumer, tick).

A draw depends on nothing but these four, so that adding a home, a worker or a tick changes no
other draw, and a run resumed in the middle goes on with the same numbers.
"""

from __future__ import annotations

from enum import IntEnum
from zlib import crc32

import numpy as np


class Stream(IntEnum):
    """What a random stream is for; a number once given is never used for something else.

    Numbers below 100 belong to this package.
    """

    LOAD_HABITS = 1
    LOAD_DAY = 2
    SKY = 3
    FORECAST_LOAD = 4
    FORECAST_PV = 5
    HOME_TRAITS = 6
    HOME_DAY = 7
    WEATHER = 8
    ROOF = 9
    CLOUDS = 10
    PRICE = 11


def generator(seed: int, stream: int, *, name: str, tick: int) -> np.random.Generator:
    """Return the generator of one purpose, one prosumer and one tick.

    SeedSequence(seed, spawn_key = (stream, crc32(name), tick))

    seed, tick  non-negative integers; `tick` may also count days where a draw is made once a day
    Raises      ValueError (by numpy) when one of them is negative
    """
    key = (int(stream), crc32(name.encode()), int(tick))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
