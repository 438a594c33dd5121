"""What shunt elements between two nodes have in common: one admittance across a pair."""

from __future__ import annotations

import numpy as np

from feeders.elements.primitive import Primitive
from feeders.table import Array


def across(kind: str, name: Array, pair: Array, y_s: Array) -> Primitive:
    """Current y (v_a - v_b) from a to b for every pair (n, 2), y (n,) siemens; no branches."""
    n = len(name)
    return Primitive(
        kind=kind,
        row=np.arange(n),
        element=name,
        node=pair,
        turns=np.zeros((n, 0, 2)),
        z_ohm=np.zeros((n, 0, 0), dtype=complex),
        e_v=np.zeros((n, 0), dtype=complex),
        y_s=y_s[:, None, None] * np.array([[1, -1], [-1, 1]]),
        branch=np.zeros((n, 0), dtype=bool),
    )
