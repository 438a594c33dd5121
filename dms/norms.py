"""Norms: how curtailment is counted, (2a) with (4), (5) or (6), in two stages, or by a rule of fairness.

A norm is one function of the builder and the curtailment block; its name is the TOML value.
Curtailments are >= 0, so absolute values drop out. Weights w > 0 stand inside the norm.

What a norm adds to the programme is recognised by its blocks: `set_numbers` gives them the tick's figures,
`follow` the values that a curtailment asks for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from dms.builder import Builder
from dms.phasor import Powers, Products, Terms
from dms.program import SMALLEST_BASE, Block, Numbers, Program, phi
from feeders.table import Array

Norm = Callable[[Builder, Block, Array], None]

MAX_ALPHA = 4.0
"""Largest alpha of `alpha_fair`: beyond it the marginal utilities of small exports dwarf all others."""
KEPT_PU = 0.01
"""Unit of a kept export in its utility, of 1 MVA: 10 kW."""
KEPT_SHIFT_PU = 2e-5
"""20 W are added to every kept export, so that a utility is finite where nothing is kept."""


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


def proportional(b: Builder, curtail: Block, weights: Array) -> None:
    """min s  subject to  P_C,k = s P_export,k, 0 <= s <= 1: everyone loses the same share of the request.

    P_export is a figure of the tick, so it stands as a variable with equal bounds, `asked`. The share is
    exactly the least that keeps the limits. Weights would contradict "the same": `compile` refuses them.
    For a least largest share, which spares homes that do not matter, use linf with weights 1 / capacity
    (`dms.weights.by_capacity`).
    """
    share = b.add_variables("share", np.array(["s"], dtype=object), lo=0.0, hi=1.0, role="control")
    asked = b.add_variables("asked", curtail.label, lo=0.0, hi=0.0, role="given")
    k = np.arange(len(curtail.label))
    minus = Products(k, np.full(len(k), share.start), asked.index, -np.ones(len(k)))
    same = Terms(k, curtail.index, np.ones(len(k)))
    b.add_rows("same_share", curtail.label, linear=same, products=minus, role="limit")
    b.add_cost(share.index, np.ones(1))


def alpha_fair(b: Builder, curtail: Block, weights: Array) -> None:
    """max sum_k w_k U(y_k), y_k = P_export,k - P_C,k:   U(y) = y^(1-alpha) / (1-alpha), log y at alpha = 1.

    alpha = 0 is l1, 1 proportional fairness, large alpha nearly max-min of the kept export. After Mo and
    Walrand, IEEE/ACM Trans. Networking 8 (2000) 556, eq. (3). y is in units of 10 kW and lifted by 20 W, so
    that U is finite at zero export. Minimised is the loss of utility:

        loss_k + U(y_k) >= U(y_k at P_C = 0)      rows `utility`;    sum_k w_k loss_k
    """
    if b.alpha == 0:
        l1(b, curtail, weights)
        return
    n, k = len(curtail.label), np.arange(len(curtail.label))
    kept = b.add_variables("kept", curtail.label, lo=SMALLEST_BASE, start=1.0, role="control")
    loss = b.add_variables("loss", curtail.label, role="control")
    rest = Terms(np.tile(k, 2), np.append(kept.index, curtail.index), np.repeat([KEPT_PU, 1.0], n))
    b.add_rows("kept_rest", curtail.label, linear=rest, role="limit")
    log = abs(b.alpha - 1) < 1e-9
    coef, exponent = (1.0, Powers.LOG) if log else (1 / (1 - b.alpha), 1 - b.alpha)
    gain = Powers(k, kept.index, np.full(n, coef), np.full(n, exponent))
    own = Terms(k, loss.index, np.ones(n))
    b.add_rows("utility", curtail.label, linear=own, powers=gain, lo=0.0, hi=np.inf, role="limit")
    b.add_cost(loss.index, weights)


NORMS: dict[str, Norm] = {
    "l1": l1,
    "l2": l2,
    "linf": linf,
    "linf_l1": linf_l1,
    "linf_l2": linf_l2,
    "proportional": proportional,
    "alpha_fair": alpha_fair,
}
UNWEIGHTED = ("proportional",)
"""Norms that take no weights."""


def reweighted(program: Program, old: Array, new: Array) -> Program:
    """The programme with other weights (n_units,), compiled anew; variables and rows are the same."""
    blocks, ratio = program.variables, new / old
    factor = np.ones(program.n)
    factor[blocks["p_curtail"].span] = ratio
    objectives = []
    for objective in program.objectives:
        q, linear = objective.products, objective.linear * factor
        if "loss" in blocks:
            linear[blocks["loss"].span] *= ratio
        squares = replace(q, coef=q.coef * factor[q.i] * factor[q.j])
        objectives.append(replace(objective, linear=linear, products=squares))
    terms = program.linear
    if "peak_above" in program.rows:
        span = program.rows["peak_above"].span
        of_peak = (terms.row >= span.start) & (terms.row < span.stop)
        terms = replace(terms, coef=terms.coef * np.where(of_peak, factor[terms.col], 1.0))
    return replace(program, objectives=tuple(objectives), linear=terms)


def needs_request(program: Program) -> bool:
    """A curtailment alone does not say what it costs in this norm: it counts against what was asked."""
    return bool({"asked", "kept"} & set(program.variables))


def set_numbers(program: Program, most: Array, numbers: Numbers) -> None:
    """The tick's figures in what the norm added.

    most  (n_units,) export asked for, per unit
    """
    blocks, rows = program.variables, program.rows
    if "asked" in blocks:
        span = blocks["asked"].span
        numbers.x_lo[span] = numbers.x_hi[span] = numbers.x0[span] = most
        idle = rows["same_share"].index[most <= 0]  # 0 = 0: nothing to solve for
        numbers.row_lo[idle], numbers.row_hi[idle] = -np.inf, np.inf
    if "kept" in blocks:
        span = rows["kept_rest"].span
        numbers.row_lo[span] = numbers.row_hi[span] = most + KEPT_SHIFT_PU
        numbers.row_lo[rows["utility"].span] = _utility(program, _kept(most))
        numbers.x0[blocks["kept"].span] = _kept(most)


def follow(program: Program, x: Array, weights: Array, most: Array) -> None:
    """Set what a norm adds to the variables to what the curtailment in x asks for, in place.

    most  (n_units,) export asked for, per unit
    """
    blocks = program.variables
    curtail = x[blocks["p_curtail"].span]
    if "peak" in blocks:
        x[blocks["peak"].span] = (weights * curtail).max(initial=0.0)
    if "asked" in blocks:
        x[blocks["asked"].span] = most
        x[blocks["share"].span] = curtail.sum() / max(float(most.sum()), 1e-12)
    if "kept" in blocks:
        kept = _kept(np.maximum(most - curtail, 0.0))
        x[blocks["kept"].span] = kept
        x[blocks["loss"].span] = _utility(program, _kept(most)) - _utility(program, kept)


def _kept(kept: Array) -> Array:
    """Kept export (n_units,), per unit, as its utility takes it."""
    return (kept + KEPT_SHIFT_PU) / KEPT_PU


def _utility(program: Program, y: Array) -> Array:
    """U(y) (n_units,), from the programme's own rows."""
    span, p = program.rows["utility"].span, program.powers
    mine = np.flatnonzero((p.row >= span.start) & (p.row < span.stop))
    order = mine[np.argsort(p.row[mine])]
    return np.asarray(p.coef[order] * phi(y, p.exponent[order]))


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
    if "share" in blocks:
        cost += linear[blocks["share"].start] * part * (most > 0)
    if "loss" in blocks:
        lost = _utility(program, _kept(most)) - _utility(program, _kept(most - cut))
        cost += linear[blocks["loss"].span] * lost
    return cost
