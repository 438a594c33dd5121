"""Weights of a norm: as given by name, by capacity, and from what was lost so far."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dms.request import Units
from feeders import Connections
from feeders.table import Array

MAX_WEIGHT_RATIO = 1e4
"""Largest over smallest weight; beyond about 1e6 an optimum of L2 is measurably missed."""


def resolve(connections: Connections, units: Units, given: Mapping[str, float]) -> Array:
    """Weights (n_units,) from weights by name, default 1.

    A name is that of a unit, or of a prosumer for all of its connections; that of a connection goes first.
    Raises  TypeError   no mapping
            KeyError    a name that is neither
            ValueError  a weight that is not positive and finite, or weights more than 1e4 apart
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"weights: a mapping of unit name to weight, not {type(given).__name__}")
    owner = np.empty(len(units.name), dtype=object)
    owner[units.of_connection] = connections.prosumer
    if unknown := set(given) - {*units.name, *owner}:
        raise KeyError(f"weight for unknown prosumer {', '.join(sorted(unknown)[:5])}")
    found = [given.get(name, given.get(of, 1.0)) for name, of in zip(units.name, owner, strict=True)]
    return checked(units, np.array(found, dtype=float))


def checked(units: Units, weights: Array) -> Array:
    """The weights (n_units,), read-only.

    Raises  ValueError  as `resolve`
    """
    if bad := [str(n) for n, w in zip(units.name, weights, strict=True) if not (np.isfinite(w) and w > 0)]:
        raise ValueError(f"weights must be positive and finite: {', '.join(bad[:5])}")
    if len(weights) and weights.max() > MAX_WEIGHT_RATIO * weights.min():
        low, high = weights.min(), weights.max()
        raise ValueError(f"weights from {low:g} to {high:g}: more than {MAX_WEIGHT_RATIO:g} apart")
    weights = weights.copy()
    weights.flags.writeable = False
    return weights


def by_capacity(units: Units, capacity_kw: Array) -> dict[str, float]:
    """Weights by unit name in inverse proportion to capacity: mean / capacity.

    With linf the largest cut in percent of the capacity is least; with l2 large inverters give more.

    capacity_kw  (n_connections,)
    Raises  ValueError  a unit without a capacity, named
    """
    capacity = units.total_kw(capacity_kw)
    if bad := [str(n) for n, c in zip(units.name, capacity, strict=True) if not (np.isfinite(c) and c > 0)]:
        raise ValueError(f"weights by capacity: no capacity is known of {', '.join(bad[:5])}")
    inverse = capacity.mean() / capacity
    return {str(n): float(w) for n, w in zip(units.name, inverse, strict=True)}


def cumulative(weights: Array, lost_kwh: Array, asked_kwh: Array, strength: float) -> Array:
    """Weights (n,) that spare those who have lost most:  w_k (1 + strength s_k / max_j s_j).

    s_k = energy lost / energy asked for so far, 0 where nothing was asked. The factor lies between 1 (lost
    nothing, or nobody has) and 1 + strength (lost the largest share). Under l1 a home is spared at another's
    expense as long as the other's effect on the limit is no less than 1 / (1 + strength) of its own.
    """
    share = np.divide(lost_kwh, asked_kwh, out=np.zeros(len(weights)), where=asked_kwh > 0)
    worst = float(share.max(initial=0.0))
    return np.asarray(weights * (1.0 + strength * share / worst)) if worst > 0 else weights.copy()


def by_bid(weights: Array, price_per_kw: Array) -> Array:
    """Weights (n,) in proportion to what a kilowatt of curtailment costs a unit:  w_k p_k / mean p.

    Least regret instead of least kW: under l1 the sum of w_k P_C,k is then in dollars (over a common
    factor). A price of zero would make the weight zero, which no norm takes: prices count as no less than
    keeps the weights within MAX_WEIGHT_RATIO of each other. Where all cost nothing, weights stay as they are.

    price_per_kw  (n,) $/kW, negative counts as zero; NaN, no bid, as the mean of those that are known
    """
    known = np.isfinite(price_per_kw)
    price = np.maximum(np.where(known, price_per_kw, 0.0), 0.0)
    most = float(price.max(initial=0.0))
    if most <= 0:
        return weights.copy()
    price[~known] = price[known].mean()
    least = most * float(weights.max() / weights.min()) / (MAX_WEIGHT_RATIO * (1 - 1e-9))
    price = np.maximum(price, least)
    return np.asarray(weights * price / price.mean())
