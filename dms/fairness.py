"""Fairness: how evenly curtailment falls on those who asked.

The share that unit k loses is s_k = C_k / E_k, C_k curtailed of E_k > 0 requested; who asks for nothing is
not counted.
"""

from __future__ import annotations

import numpy as np

from feeders.table import Array


def lost_shares(curtail_kw: Array, export_kw: Array) -> Array:
    """s = C / E of those who asked, (n_asked,), from what every unit lost and asked for, (n,)."""
    asked = export_kw > 0
    return np.asarray(np.clip(curtail_kw[asked] / export_kw[asked], 0.0, 1.0))


def gini(share: Array) -> float:
    """Gini index of shares lost (n,):  sum_ij |s_i - s_j| / (2 n^2 mean(s)).

    0: all lose the same share, or nobody loses any, or nobody asked. 1 - 1/n: one loses, the others nothing.
    """
    n, total = len(share), float(share.sum())
    if n == 0 or total <= 0:
        return 0.0
    rank = np.arange(1, n + 1)
    return max(float((2 * rank - n - 1) @ np.sort(share)) / (n * total), 0.0)


def jain(share: Array) -> float:
    """Jain's index of the shares kept, z = 1 - s (n,):  (sum z)^2 / (n sum z^2).

    1: all keep the same share, or nothing at all, or nobody asked. 1/n: one keeps, the others nothing.
    After Jain, Chiu and Hawe, DEC-TR-301 (1984).
    """
    kept = 1.0 - share
    squares = float(kept @ kept)
    return float(kept.sum()) ** 2 / (len(kept) * squares) if squares > 0 else 1.0


def lost_share(curtail_kw: Array, export_kw: Array) -> float:
    """Part of everything asked for that was lost, sum C / sum E; 0 where nobody asked."""
    asked = float(export_kw.sum())
    return float(curtail_kw.sum()) / asked if asked > 0 else 0.0
