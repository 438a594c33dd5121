"""Least regret by the homes' bids: which weights a norm takes in a tick.

A bid is a convex curve and a weight is one number, so that no weights say all of it. A tick is answered by
the weights as they stand; where that curtails, again by the mean price of each bid over the whole request,
and again by its mean price over the cut of the better answer (no less than UNCUT_SHARE of the request, for
those whom it spares). Of these, the certified answer that costs least by the bids is the one that is sent: in
no tick do homes lose more by their own word than under the weights as they stand.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from anoca.messages import OES
from dms import DmsProblem, DmsSolution
from dms.weights import by_bid
from feeders.table import Array

UNCUT_SHARE = 0.4
"""Part of its request over which the price of a home counts that an answer has spared."""

Solve = Callable[[DmsProblem, DmsSolution | None], DmsSolution]
"""A problem and a warm start in, an answer out."""


class Bids:
    """The bids of a tick.

    rows   connections of each prosumer        problem   with the weights as they stand
    """

    def __init__(self, inbox: Sequence[OES], problem: DmsProblem, rows: Mapping[str, Sequence[int]]) -> None:
        self._problem = problem
        self.asking = sum(oes.p_export_kw > 0 for oes in inbox)
        self._bids = [(oes.bid, oes.p_export_kw, np.array(rows[oes.prosumer])) for oes in inbox if oes.bid]

    def __len__(self) -> int:
        """How many prosumers bid."""
        return len(self._bids)

    def loss_usd(self, solution: DmsSolution) -> float:
        """$ over the homes' horizons that an answer costs those who bid."""
        cut = solution.p_curtail_kw
        return sum(bid.loss_at(float(cut[rows].sum())) for bid, _, rows in self._bids)

    def price_per_kw(self, cut_kw: Array | None = None) -> Array:
        """$/kW of each unit (n_units,), the mean of its prosumer's bid over a cut; NaN without a bid.

        cut_kw  (n_connections,) of an answer, each home's no less than UNCUT_SHARE of its request; None: all
        """
        units = self._problem.units
        price = np.full(len(units.name), np.nan)
        for bid, asked, rows in self._bids:
            cut = asked if cut_kw is None else max(float(cut_kw[rows].sum()), UNCUT_SHARE * asked)
            price[units.of_connection[rows]] = bid.price_per_kw(cut)
        return price


def least_regret(
    bids: Bids, stated: DmsProblem, solve: Solve, warm: DmsSolution | None
) -> tuple[DmsProblem, DmsSolution]:
    """The answer to a tick that costs least by the bids, and the problem that it answers.

    stated   with the weights as they stand
    """
    problem, best = stated, solve(stated, warm)
    if not (best.certificate.ok and best.total_curtailed_kw > 0):
        return problem, best
    least, spent = bids.loss_usd(best), best.solve_s
    for whole in (True, False):
        price = bids.price_per_kw(None if whole else best.p_curtail_kw)
        weights = by_bid(stated.weights, price)
        if np.array_equal(weights, stated.weights):
            continue
        other = stated.weighted(weights)
        answer = solve(other, best)
        loss, spent = bids.loss_usd(answer), spent + answer.solve_s
        if answer.certificate.ok and loss < least:
            problem, best, least = other, answer, loss
    return problem, replace(best, solve_s=spent)
