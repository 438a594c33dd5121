"""What people switch on: appliance runs as a Poisson process driven by who is awake, in exact step means.

    rate(t) = uses (a home's own factor) active(t)^a preference(hour) / normal,  runs with phases of power

A run is a rectangle of power between two instants; a step's value is the mean over the step, so that results
at 1, 5 or 15 minutes are averages of one another.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from hems.occupancy import SLOT_MIN, Bump, bumps

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

_MORE_PEOPLE = 0.45  # exponent: two people awake cook 1.4 times as often as one
_NORMAL_H = 0.55  # mean share of the day in which someone is awake at home, by which `uses` is scaled


@dataclass(frozen=True, kw_only=True)
class Appliance:
    """One kind of appliance.

    owned          share of homes that have it
    uses           runs per day and home, about
    kw, kw_spread  power while running, and its logarithmic spread over homes
    minutes, minutes_spread  length of a run, and its logarithmic spread over runs
    prefer         hours people like for it: bumps (centre h, width h, height) on `floor`
    phases         (begin, end, power) of a run as shares of its length and power
    most           largest number of runs in a day
    """

    owned: float
    uses: float
    kw: float
    minutes: float
    prefer: tuple[Bump, ...] = ()
    floor: float = 0.2
    kw_spread: float = 0.2
    minutes_spread: float = 0.3
    phases: tuple[tuple[float, float, float], ...] = ((0.0, 1.0, 1.0),)
    most: int = 4

    @property
    def n_draws(self) -> int:
        """Uniform draws per home and day: how many runs, then start and length of each."""
        return 1 + 2 * self.most


@dataclass(frozen=True)
class Runs:
    """Rectangles of power: home numbers, begin and end in minutes after midnight, kW; all (k,)."""

    home: Ints
    begin_min: Floats
    end_min: Floats
    kw: Floats

    def add_to(self, sums: Floats, step_min: float) -> None:
        """Add the runs to `sums` (n, T), whose running sum over T is the mean kW of the steps."""
        n, length = sums.shape
        for edge, sign in ((self.begin_min, 1.0), (self.end_min, -1.0)):
            place = np.clip(edge / step_min, 0.0, length)
            step = np.minimum(place.astype(np.intp), length - 1)
            inside = place - step
            flat, kw = self.home * length + step, sign * self.kw
            sums += np.bincount(flat, weights=kw * (1.0 - inside), minlength=n * length).reshape(n, length)
            after = step < length - 1
            more = np.bincount(flat[after] + 1, weights=(kw * inside)[after], minlength=n * length)
            sums += more.reshape(n, length)


def normal(draws: Floats) -> Floats:
    """Return standard normal values from uniform ones, kept within 3.5 deviations."""
    found: Floats = np.clip(ndtri(np.clip(draws, 1e-9, 1.0 - 1e-9)), -3.5, 3.5)
    return found


def runs_of(
    appliance: Appliance, *, factor: Floats, kw: Floats, active: Floats, hours: Floats, draws: Floats
) -> Runs:
    """Return the runs of one appliance in all homes over one local day.

    factor  (n,) of its use, 0 in homes without it    kw  (n,) its power
    active  (n, L) people awake, hours (n, L) the home's clock, per slot;  draws (n, n_draws) uniform
    """
    liked = bumps(hours, appliance.floor, *appliance.prefer)
    weight = active**_MORE_PEOPLE * liked
    reached = np.cumsum(weight, axis=1)
    total = reached[:, -1]
    mean = factor * appliance.uses * total / (liked.sum(axis=1) * _NORMAL_H)
    count = poisson(draws[:, 0], mean, most=appliance.most)
    parts = []
    for j in range(appliance.most):
        home = np.flatnonzero(count > j)
        wanted = draws[home, 1 + 2 * j] * total[home]
        slot = np.minimum((reached[home] <= wanted[:, None]).sum(axis=1), reached.shape[1] - 1)
        left = reached[home, slot] - wanted
        begin = SLOT_MIN * (slot + 1.0 - np.clip(left / weight[home, slot], 0.0, 1.0))
        length = appliance.minutes * np.exp(appliance.minutes_spread * normal(draws[home, 2 + 2 * j]))
        for first, last, share in appliance.phases:
            parts.append((home, begin + first * length, begin + last * length, share * kw[home]))
    home, begin, end, power = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Runs(home, begin, end, power)


def poisson(draws: Floats, mean: Floats, *, most: int) -> Ints:
    """Return Poisson counts up to `most` from uniform draws (n,), by inversion."""
    count = np.zeros(len(mean), dtype=np.intp)
    term = np.exp(-mean)
    below = term.copy()
    for k in range(1, most + 1):
        count += draws >= below
        term = term * mean / k
        below = below + term
    return count
