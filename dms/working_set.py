"""Which limits join the working set of the reduced method (`dms.reduced`)."""

from __future__ import annotations

import numpy as np

from feeders.table import Array

PER_ROUND, WORST = 24, 8
"""Most limits that join the working set at a time, and how many of them are those furthest beyond."""
ALIKE = 6
"""Decimals to which two limits that are read alike agree."""


def joining(over: Array, among: Array) -> Array:
    """Places of limits that join, of those among (n_h,) bool: the worst, and some of all the others.

    over  (n_h,) how far beyond its bound each is. The worst are neighbours, whose gradients are all but one
    """
    new = _distinct(over, among)
    if len(new) > PER_ROUND:
        spread = np.linspace(WORST, len(new) - 1, PER_ROUND - WORST).astype(int)
        new = new[np.concatenate([np.arange(WORST), spread])]
    return new


def _distinct(over: Array, among: Array) -> Array:
    """Of those that read alike (cables of a bundle, both ends) the one furthest over; by size, falling."""
    index = np.flatnonzero(among)
    index = index[np.argsort(-over[index], kind="stable")]
    _, first = np.unique(np.round(over[index], ALIKE), return_index=True)
    return index[np.sort(first)]
