"""When two optima may be compared, and by what: limits kept in our power flow, then the norm's own figure.

1e-4 of a rating moves the optimum of the paper's case 2 by more than 1 %, so a point that is a little outside
would look better than one that is not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dms import DmsProblem, DmsRequest
from dms.certificate import BAND_TOLERANCE_PU, CURRENT_TOLERANCE, State, measure, run
from feeders.table import Array

BAND_PU, CURRENT = 1e-8, 1e-7
"""A point may be compared if it keeps band and ratings this well."""
SAME = {"l1": 5e-3, "l2": 1e-5, "linf": 1e-5}
"""Relative difference of the norm's figure up to which two optima agree; other norms: as `linf`."""


@dataclass(frozen=True)
class Point:
    """A curtailment (n_units,) kW before rounding, held against the limits by the independent power flow.

    binding  limits on which it lies: nodes on their band, conductors on their rating at either end
    """

    unit_curtail_kw: Array
    weights: Array
    objective: float
    over_v: float
    over_i: float
    binding: int
    converged: bool

    @staticmethod
    def of(problem: DmsProblem, request: DmsRequest, unit_curtail_kw: Array) -> Point:
        """Power flow at the point, from nothing, and the objective there."""
        state = held(problem, request, unit_curtail_kw)
        return Point(
            unit_curtail_kw=unit_curtail_kw,
            weights=problem.weights,
            objective=problem.objective(unit_curtail_kw),
            over_v=state.worst_over_v,
            over_i=state.worst_over_i,
            binding=binding(problem, state),
            converged=state.flow.converged,
        )

    @property
    def comparable(self) -> bool:
        """Keeps the limits well enough for its objective to mean something."""
        return bool(self.converged and self.over_v <= BAND_PU and self.over_i <= CURRENT)

    def figure(self, norm: str) -> float:
        """What the norm makes small: total of l1, sum of squares of l2, peak of the linf family."""
        cut = self.weights * self.unit_curtail_kw
        if norm == "l1":
            return float(cut.sum())
        return float((cut**2).sum()) if norm == "l2" else float(cut.max(initial=0.0))


def held(problem: DmsProblem, request: DmsRequest, unit_curtail_kw: Array) -> State:
    """The independent power flow at a curtailment, measured against the limits as compiled."""
    split = request.units.split_kw(unit_curtail_kw)
    return measure(problem.network, run(problem.network, request, split), problem.values)


def binding(problem: DmsProblem, state: State) -> int:
    """Nodes on their band and conductors on their rating; a conductor counts once, at whichever end."""
    nodes = int(np.count_nonzero(np.abs(state.over_v) <= BAND_TOLERANCE_PU))
    values = problem.values
    at = np.flatnonzero(np.abs(state.over_i) <= CURRENT_TOLERANCE)
    ends = {"line": 4, "switch": 4}
    return nodes + len(
        {(values.kind[k], values.row[k], values.slot[k] % ends.get(values.kind[k], 99)) for k in at}
    )


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
    return bool(abs(found) <= SAME.get(norm, SAME["linf"]))
