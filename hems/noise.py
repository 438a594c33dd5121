"""Coloured noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def ar1(rng: np.random.Generator, length: int, *, rho: float, sigma: float) -> Floats:
    """Return stationary AR(1) noise (length,): x' = rho x + e, with standard deviation `sigma`."""
    shocks = rng.normal(0.0, sigma, length)
    shocks[1:] *= np.sqrt(1.0 - rho**2)
    for k in range(1, length):
        shocks[k] += rho * shocks[k - 1]
    return shocks
