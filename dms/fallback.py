"""Safe set-points without an optimiser: the mildest equal cap, or the mildest equal percentage.

Only power flows decide. More export is not always worse, so each rule is scanned from the
mildest setting on, and the interval before the first safe one is bisected.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from feeders.table import Array

STEPS = 16
HALVINGS = 20

Rule = Callable[[float], Array]


def mildest_rule(most_kw: Array, is_safe: Callable[[Array], bool]) -> tuple[Array, str]:
    """Curtailment (n_units,) kW with the least total among the safe ones found, and its rule's name.

    most_kw  (n_units,) largest curtailment of each unit
    is_safe  tells by a power flow whether a curtailment keeps every limit
    Returns  also "zero_export" and `most_kw` itself where no rule is safe with any export left
    """
    # Caps at the requests' own quantiles too: one absurd request must not spoil the scan.
    caps = np.unique(
        np.concatenate([np.linspace(0, most_kw.max(initial=0.0), STEPS + 1), _quantiles(most_kw)])
    )
    rules: dict[str, tuple[Rule, Array]] = {
        "uniform_cap": (lambda cap: np.maximum(most_kw - cap, 0.0), caps[::-1]),
        "uniform_share": (lambda kept: most_kw * (1 - kept), np.linspace(1.0, 0.0, STEPS + 1)),
    }
    found = [(most_kw, "zero_export")]
    for name, (rule, settings) in rules.items():
        setting = _mildest(rule, settings, is_safe)
        if setting is not None and setting > 0:
            found.append((rule(setting), name))
    return min(found, key=lambda pair: float(pair[0].sum()))


def _quantiles(most_kw: Array) -> Array:
    return np.quantile(most_kw, np.linspace(0, 1, STEPS + 1)) if len(most_kw) else np.zeros(0)


def _mildest(rule: Rule, settings: Array, is_safe: Callable[[Array], bool]) -> float | None:
    """The largest setting found safe; `settings` fall from nothing curtailed to zero export."""
    best = next((k for k, setting in enumerate(settings) if is_safe(rule(float(setting)))), None)
    if best is None:
        return None
    low, high = float(settings[best]), float(settings[max(best - 1, 0)])
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if is_safe(rule(middle)) else (low, middle)
    return low
