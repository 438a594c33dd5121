"""Norms: how curtailment is counted, (2a) with (4), (5) or (6), and with two objectives in turn.

A norm is one function of the builder and the curtailment block; its name is the TOML value.
Curtailments are >= 0, so absolute values drop out. Weights w > 0 stand inside the norm.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from dms.builder import Builder
from dms.phasor import Terms
from dms.program import Block, Program
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


def linf_l1(b: Builder, curtail: Block, weights: Array) -> None:
    """(6), then (4) with r <= (1 + peak_tol) r*: the least total among the nearly least peaks."""
    linf(b, curtail, weights)
    b.next_stage(hold=b.variables("peak"))
    l1(b, curtail, weights)


def linf_l2(b: Builder, curtail: Block, weights: Array) -> None:
    """(6), then (5) with r <= (1 + peak_tol) r*: the least squares among the nearly least peaks."""
    linf(b, curtail, weights)
    b.next_stage(hold=b.variables("peak"))
    l2(b, curtail, weights)


NORMS: dict[str, Norm] = {"l1": l1, "l2": l2, "linf": linf, "linf_l1": linf_l1, "linf_l2": linf_l2}


def follow(program: Program, x: Array, weights: Array) -> None:
    """Set what a norm adds to the variables to what the curtailment in x asks for, in place."""
    blocks = program.variables
    if "peak" in blocks:
        x[blocks["peak"].span] = (weights * x[blocks["p_curtail"].span]).max(initial=0.0)


def degree(program: Program) -> int:
    """Power of the curtailment in the objective of the programme's stage, for scaling: 1 or 2."""
    curtail, q = program.variables["p_curtail"], program.cost_products
    return 2 if ((q.i >= curtail.start) & (q.i < curtail.stop)).any() else 1


def cost_of_cutting(program: Program, weights: Array, most: Array, part: float) -> Array:
    """Objective (n_units,) of the programme's stage when one unit alone is cut by a part of its export.

    most  (n_units,) export, per unit
    """
    blocks, linear, q = program.variables, program.cost_linear, program.cost_products
    curtail, cut = blocks["p_curtail"], part * most
    cost: Array = linear[curtail.span] * cut
    squares = (q.i == q.j) & (q.i >= curtail.start) & (q.i < curtail.stop)
    cost += np.bincount(q.i[squares] - curtail.start, q.coef[squares], len(cut)) * cut**2
    if "peak" in blocks:
        cost += linear[blocks["peak"].start] * weights * cut
    return cost
