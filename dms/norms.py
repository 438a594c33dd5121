"""Norms: how curtailment is counted, (2a) with (4), (5) or (6).

A norm is one function of the builder and the curtailment block; its name is the TOML value.
Curtailments are >= 0, so absolute values drop out. Weights w > 0 stand inside the norm.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dms.builder import Builder
from dms.phasor import Terms
from dms.program import Block
from feeders.table import Array

Norm = Callable[[Builder, Block, Array], None]


def l1(b: Builder, curtail: Block, weights: Array) -> None:
    """(4)  min sum_k w_k P_C,k: least total, few homes."""
    b.add_cost(curtail.index, weights)


def l2(b: Builder, curtail: Block, weights: Array) -> None:
    """(5)  min sum_k (w_k P_C,k)^2: spread over those who help."""
    b.add_square_cost(curtail.index, weights**2)


def linf(b: Builder, curtail: Block, weights: Array) -> None:
    """(6)  min r  subject to  r >= w_k P_C,k: least peak, wasteful in total by nature."""
    peak = b.add_variables("peak", np.array(["r"], dtype=object), lo=0.0, role="control")
    n = len(curtail.label)
    rows = np.arange(n)
    slack = Terms(
        np.concatenate([rows, rows]),
        np.concatenate([np.full(n, peak.start), curtail.index]),
        np.concatenate([np.ones(n), -weights]),
    )
    b.add_rows("peak_above", curtail.label, linear=slack, lo=0.0, hi=np.inf, role="limit")
    b.add_cost(peak.index, np.ones(1))


NORMS: dict[str, Norm] = {"l1": l1, "l2": l2, "linf": linf}


def degree(norm: str) -> int:
    """Power of the curtailment in the objective, for scaling it."""
    return 2 if norm == "l2" else 1
