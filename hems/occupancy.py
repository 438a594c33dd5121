"""Who is at home and awake: a Markov chain per occupant on ten-minute slots, rates by the clock.

    states  asleep -> active (wake), active -> asleep (bed), active -> away (leave), away -> active (return)
    P(move in a slot) = 1 - exp(-rate(kind, day, hour) slot)

The three states and the ten-minute slot follow Richardson et al., Energy and Buildings 42 (2010) 1878; the
rates are bumps over the hours of the day, chosen here.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Bump = tuple[float, float, float]

SLOT_MIN = 10.0
"""Length of a slot, minutes."""

OCCUPANTS = 5
"""Most people in one home."""

SHARE_OF_SIZE = (0.30, 0.35, 0.16, 0.13, 0.06)
"""Homes with one, two ... occupants."""

SHARE_WORKING = 0.4
"""Occupants who leave home for a day's work or school."""

_ASLEEP, _ACTIVE, _AWAY = 0, 1, 2
_SLOTS = 144
_FIRST = np.array([_ACTIVE, _ASLEEP, _ACTIVE])  # where the first transition of a state leads
_AT_MIDNIGHT = (0.80, 0.92)  # P(asleep), P(asleep or active)


class Presence(NamedTuple):
    """People in each home and slot: `active` (n, L) awake at home, `home` (n, L) at home at all."""

    active: Floats
    home: Floats


def bumps(hours: Floats, floor: float, *parts: Bump) -> Floats:
    """Return floor + sum of height exp(-((hour - centre) / width)^2 / 2), around the clock.

    parts  (centre h, width h, height)
    """
    total = np.full(np.shape(hours), floor)
    for centre, width, height in parts:
        away = np.abs((hours - centre + 12.0) % 24.0 - 12.0)
        total = total + height * np.exp(-0.5 * (away / width) ** 2)
    return total


def _rates(workday: bool) -> Floats:
    """Return rates per hour: (kind 0 works / 1 stays, state, first or second transition, clock slot)."""
    hours: Floats = (np.arange(_SLOTS, dtype=np.float64) + 0.5) * SLOT_MIN / 60.0
    rates = np.zeros((2, 3, 2, _SLOTS))
    late = 0.0 if workday else 0.8
    for kind in (0, 1):
        works = kind == 0 and workday
        rise = 7.7 if works else 8.4 + late
        rates[kind, _ASLEEP, 0] = bumps(hours, 0.02, (rise, 0.7, 1.6), (rise + 2.0, 1.2, 1.2))
        rates[kind, _ACTIVE, 0] = bumps(hours, 0.01, (24.2 + late / 2, 0.9, 1.8), (2.0, 1.5, 1.8))
        leave = (
            ((8.7, 0.6, 1.8), (13.2, 0.8, 0.4))
            if works
            else ((11.5, 1.8, 0.4), (14.0, 1.5, 0.3), (19.5, 1.5, 0.2))
        )
        rates[kind, _ACTIVE, 1] = bumps(hours, 0.03, *leave)
        back = ((17.2, 1.3, 0.9), (22.5, 1.5, 0.6)) if works else ((13.0, 2.0, 0.5), (18.0, 3.0, 0.8))
        rates[kind, _AWAY, 0] = bumps(hours, 0.03, *back)
    return rates


def _moves() -> Floats:
    """Return P(first), P(first or second), flat over (workday, kind, state, slot), shape (2, 2*2*3*144)."""
    both = np.stack([_rates(False), _rates(True)])
    first, second = both[:, :, :, 0], both[:, :, :, 1]
    stay = np.exp(-(first + second) * SLOT_MIN / 60.0)
    share = np.divide(first, first + second, out=np.zeros_like(first), where=first + second > 0)
    return np.stack([(1.0 - stay) * share, 1.0 - stay]).reshape(2, -1)


_MOVES = _moves()


def size_of(draws: Floats) -> Ints:
    """Return the number of occupants of homes from uniform draws (n,)."""
    found: Ints = np.searchsorted(np.cumsum(SHARE_OF_SIZE)[:-1], draws) + 1
    return found


def presence(
    *, size: Ints, works: NDArray[np.bool_], hours: Floats, workday: bool, start: Floats, draws: Floats
) -> Presence:
    """Return who is there in every slot of one local day.

    size   (n,) occupants                 works  (n, OCCUPANTS) leaves for work on workdays
    hours  (n, L) the clock as each home lives by it: its own habits are early or late
    start  (n, OCCUPANTS) and draws (n, OCCUPANTS, L): uniform in [0, 1)
    """
    n, length = hours.shape
    home, person = np.nonzero(np.arange(OCCUPANTS) < size[:, None])
    slot = (hours * (60.0 / SLOT_MIN)).astype(np.intp) % _SLOTS
    offset = (int(workday) * 2 + np.where(works[home, person], 0, 1)) * 3
    state = np.searchsorted(_AT_MIDNIGHT, start[home, person], side="right")
    uniform = draws[home, person]
    active, there = np.zeros((2, n, length))
    for k in range(length):
        row = (offset + state) * _SLOTS + slot[home, k]
        first, either = _MOVES[0][row], _MOVES[1][row]
        u = uniform[:, k]
        state = np.where(u < first, _FIRST[state], np.where(u < either, _AWAY, state))
        active[:, k] = np.bincount(home, weights=state == _ACTIVE, minlength=n)
        there[:, k] = np.bincount(home, weights=state != _AWAY, minlength=n)
    return Presence(active, there)
