"""One sky over a neighbourhood: a Markov process of clear, broken and overcast spells, moving over the homes.

    share(t) = clear-sky share in the piece of sky that stands over the neighbourhood's first home at t
    home i sees share(t - lag_i)

Spells of a state last exponential times. Inside a broken spell, which has its own share and depth of cloud,
sun and cloud alternate, again for exponential times; every piece has one value. The mean over a step is the
exact integral over its pieces, so that results at 10 seconds and at 15 minutes are averages of one another.
`benchmarks/pv_ramps.py` holds the broken sky against measured ramps.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hems.config import check_choice
from hems.streams import Stream, generator

Floats = NDArray[np.float64]
Clouds = Literal["clear", "broken", "overcast", "mixed"]

MAX_LAG_S = 1800.0
"""Largest lag; the sky of a day begins this long before midnight."""

_CLOUDS_NAME = "clouds"  # one sky over all homes: its draws hang on this name
_CLEAR, _BROKEN, _OVERCAST = 0, 1, 2
_SPELL_MIN = np.array([80.0, 60.0, 70.0])  # mean length of a spell, by state
_AT_FIRST = np.array([0.40, 0.35, 0.25])
_NEXT = np.array([[0.0, 0.75, 0.25], [0.55, 0.0, 0.45], [0.25, 0.75, 0.0]])
_PIECE_MIN = np.array([5.0, 1.9, 4.0])  # mean length of a piece of one value, by state
_SHORT = 0.35  # share of the pieces of a broken spell that are wisps of a fifth of the length
_DAY_MIN = 25 * 60.0


def sky_shares(
    grid: pd.DatetimeIndex, *, seed: int, clouds: Clouds = "mixed", lag_s: Floats | None = None
) -> Floats:
    """Return the share of clear-sky light that each home gets over one local day.

    grid     (T,) tz-aware starts of equal steps, the whole local day from midnight
    clouds   "mixed": all three states; or one of them all day
    lag_s    (n,) seconds by which the sky reaches each home later; None: one home without lag
    Returns  (n, T) means over the steps, in (0, 1.1]: the edge of a cloud adds light to the sun's
    Raises   ConfigError: unknown clouds, a lag that is not within half an hour
    """
    check_choice("clouds", clouds, get_args(Clouds))
    lag = np.zeros(1) if lag_s is None else np.asarray(lag_s, dtype=float)
    begin, share = _pieces(seed, grid[0].toordinal(), clouds)
    light = np.concatenate([[0.0], np.cumsum(share * np.diff(begin))])
    step_min = (grid[1] - grid[0]) / pd.Timedelta(minutes=1)
    edges = np.arange(len(grid) + 1) * step_min
    reached = np.interp(edges - lag[:, None] / 60.0, begin, light)
    return np.asarray(np.diff(reached, axis=1) / step_min)


def _pieces(seed: int, date: int, clouds: Clouds) -> tuple[Floats, Floats]:
    """Return edges (k + 1,), minutes after midnight, of pieces of sky, and their clear-sky shares (k,)."""
    rng = generator(seed, Stream.CLOUDS, name=_CLOUDS_NAME, tick=date)
    begin, end = -MAX_LAG_S / 60.0, _DAY_MIN + MAX_LAG_S / 60.0
    state = int(rng.choice(3, p=_AT_FIRST))
    lengths, shares = [], []
    at = begin
    while at < end:
        state = state if clouds == "mixed" else ("clear", "broken", "overcast").index(clouds)
        spell = max(rng.exponential(_SPELL_MIN[state]), 1.0)
        length, share = _spell(rng, state, spell)
        lengths.append(length)
        shares.append(share)
        at += spell
        state = int(rng.choice(3, p=_NEXT[state]))
    edges = begin + np.concatenate([[0.0], np.cumsum(np.concatenate(lengths))])
    return edges, np.concatenate(shares)


def _spell(rng: np.random.Generator, state: int, spell_min: float) -> tuple[Floats, Floats]:
    """Return lengths and clear-sky shares of the pieces of one spell, which sum to its length."""
    count = int(4.0 * spell_min / _PIECE_MIN[state]) + 20
    length = rng.exponential(_PIECE_MIN[state], count)
    sun = (np.arange(count) + int(rng.integers(2))) % 2 == 0
    covered = rng.uniform(0.25, 0.75)
    if state == _BROKEN:
        length *= (
            np.where(rng.random(count) < _SHORT, 0.2, 1.35) * np.where(sun, 1.0 - covered, covered) * 2.0
        )
    last = int(np.searchsorted(np.cumsum(length), spell_min))
    length = length[: last + 1]
    length[-1] += spell_min - length.sum()
    some = len(length)
    if state == _CLEAR:
        return length, 1.0 - np.minimum(0.012 * np.abs(rng.standard_normal(some)), 0.05)
    if state == _OVERCAST:
        level = rng.uniform(0.15, 0.40)
        return length, np.clip(level * (1.0 + 0.15 * rng.standard_normal(some)), 0.05, 0.6)
    bright = np.minimum(0.97 + 0.04 * rng.standard_normal(some), 1.1)
    shade = np.clip(rng.uniform(0.20, 0.55) + 0.08 * rng.standard_normal(some), 0.1, 0.8)
    return length, np.where(sun[:some], bright, shade)
