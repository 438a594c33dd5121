"""When two optima may be compared, and by what: limits kept in our power flow, then the norm's own figure.

1e-4 of a rating moves the optimum of the paper's case 2 by more than 1 %, so a point that is a little outside
would look better than one that is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dms import DmsProblem, DmsRequest, LimitValues
from dms.certificate import State, measure, run
from feeders.table import Array

BAND_PU, CURRENT = 1e-8, 1e-7
"""A point may be compared if it keeps band and ratings this well."""
SAME = {"l1": 5e-3, "l2": 1e-5, "linf": 1e-5, "linf_l2": 1e-4}
"""Relative difference of the norm's figure up to which two optima agree; other norms: as their last stage.

The squares of linf_l2 follow the peak that is held, so they are known a little less well.
"""


@dataclass(frozen=True)
class Point:
    """A curtailment (n_units,) kW before rounding, held against the limits by the independent power flow.

    over_v, over_i  largest distance beyond a band, pu, and beyond a rating, relative
    kept     every limit holds to `BAND_PU` and `CURRENT`
    binding  limits on which it lies; a conductor counts once, at whichever end
    """

    unit_curtail_kw: Array
    weights: Array
    objective: float
    over_v: float
    over_i: float
    binding: int
    kept: bool

    @staticmethod
    def of(
        problem: DmsProblem, request: DmsRequest, unit_curtail_kw: Array, values: LimitValues | None = None
    ) -> Point:
        """Power flow at the point, from nothing, and the objective there; limits as compiled unless given."""
        state = held(problem, request, unit_curtail_kw, values)
        return Point(
            unit_curtail_kw=unit_curtail_kw,
            weights=problem.weights,
            objective=problem.objective(unit_curtail_kw, request),
            over_v=state.worst_over_v,
            over_i=state.worst_over_i,
            binding=binding(state),
            kept=state.within(BAND_PU, CURRENT),
        )

    @property
    def comparable(self) -> bool:
        """Keeps the limits well enough for its objective to mean something."""
        return self.kept

    def figure(self, norm: str) -> float:
        """What the norm makes small in the end: total of l1, sum of squares of l2, peak of linf."""
        cut, last = self.weights * self.unit_curtail_kw, norm.rpartition("_")[2]
        if last == "l1":
            return float(cut.sum())
        return float((cut**2).sum()) if last == "l2" else float(cut.max(initial=0.0))


def held(
    problem: DmsProblem, request: DmsRequest, unit_curtail_kw: Array, values: LimitValues | None = None
) -> State:
    """The independent power flow at a curtailment, measured against limits, by default those compiled."""
    split = request.units.split_kw(unit_curtail_kw)
    return measure(problem.network, run(problem.network, request, split), values or problem.values)


ENDS = {"line": 4, "switch": 4}
"""Slots of one end: a conductor has the same number at the other."""


def binding(state: State) -> int:
    """Limits that the state lies on, to the tolerances of a certificate; a conductor counts once."""
    count = 0
    for family, over in zip(state.values.families, state.over, strict=True):
        at = np.flatnonzero(np.abs(over) <= family.tolerance)
        if family.rows == "i_limit":
            row, slot = family.place[at].T
            count += len(
                {(of, r, s % ENDS.get(of, 99)) for of, r, s in zip(family.of[at], row, slot, strict=True)}
            )
        else:
            count += len(at)
    return count


def gap(point: Point, reference: Point, norm: str) -> float:
    """Relative excess of a point's figure over the reference's.

    NaN where either may not be compared, and where the reference curtails nothing and the other does.
    """
    least, mine = reference.figure(norm), point.figure(norm)
    if not (point.comparable and reference.comparable):
        return float("nan")
    if least <= 0:
        return 0.0 if mine <= 0 else float("nan")
    return mine / least - 1


def agrees(found: float, norm: str) -> bool:
    """A gap within the norm's tolerance; a NaN does not agree."""
    return bool(abs(found) <= SAME.get(norm, SAME[norm.rpartition("_")[2]]))
