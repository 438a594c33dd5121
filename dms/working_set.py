"""Which limits join the working set of the reduced method (`dms.reduced`)."""

from __future__ import annotations

import numpy as np

from feeders.table import Array

PER_ROUND, WORST = 24, 8
"""Most limits that join the working set at a time, and how many of them are those furthest beyond."""
ALIKE = 6
"""Decimals to which two limits that are read alike agree."""
SAME = 1e-10
"""By how much a limit has to be beyond one that reads alike and is held, to join it."""
PATIENCE = 6
"""Rounds in which most searches end; widened limits all stand at their bounds, and read alike."""


def joining(over: Array, among: Array, held: Array, rounds: int) -> Array:
    """Places of limits that join those held, of those among (n_h,) bool: the worst, and some of the others.

    over    (n_h,) how far beyond its bound each is. The worst are neighbours, whose gradients are all but one
    rounds  made so far; after `PATIENCE` those that only read like one that is held may be others after all
    """
    new = _distinct(over, among)
    if rounds <= PATIENCE:
        new = new[over[new] > _furthest_alike(over, held, new) + SAME]
    if len(new) > PER_ROUND:
        spread = np.linspace(WORST, len(new) - 1, PER_ROUND - WORST).astype(int)
        new = new[np.concatenate([np.arange(WORST), spread])]
    return new


def _furthest_alike(over: Array, held: Array, new: Array) -> Array:
    """How far over the furthest of those held is that reads like each new one (k,), -inf where none does."""
    readings, which = np.unique(np.round(over[held], ALIKE), return_inverse=True)
    furthest = np.full(len(readings) + 1, -np.inf)
    np.maximum.at(furthest, which, over[held])
    reading = np.round(over[new], ALIKE)
    place = np.searchsorted(readings, reading)
    known = np.append(readings, np.inf)[place] == reading
    return np.where(known, furthest[place], -np.inf)


def _distinct(over: Array, among: Array) -> Array:
    """Of those that read alike (cables of a bundle, both ends) the one furthest over; by size, falling."""
    index = np.flatnonzero(among)
    index = index[np.argsort(-over[index], kind="stable")]
    _, first = np.unique(np.round(over[index], ALIKE), return_index=True)
    return index[np.sort(first)]
