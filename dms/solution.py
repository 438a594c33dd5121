"""`DmsSolution`: the outcome of one tick. A bad outcome is data until `raise_for_status()`."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np

from dms import fairness
from dms.certificate import BAND_TOLERANCE_PU, CURRENT_TOLERANCE, Certificate, State
from dms.interior import InteriorPoint
from dms.limits import LimitValues
from feeders.table import Array

COUNT_KW = 0.1
"""A home counts as curtailed from this many kilowatts on."""


class Status(StrEnum):
    """What the answer is.

    GO_AHEAD            nothing to curtail
    CURTAILED           a certified optimum of the norm (local, as every interior-point answer)
    FALLBACK            certified, but a uniform cap, zero export or a point short of the optimum
    INFEASIBLE          a limit is broken at zero export and no export mends it (preexisting = "strict")
    NO_OPERATING_POINT  no power flow even at zero export
    UNCERTIFIED         no certified set-points were found
    """

    GO_AHEAD = "go_ahead"
    CURTAILED = "curtailed"
    FALLBACK = "fallback"
    INFEASIBLE = "infeasible"
    NO_OPERATING_POINT = "no_operating_point"
    UNCERTIFIED = "uncertified"


class UncertifiedError(RuntimeError):
    """Set-points without a certificate; the message says what is wrong with them."""


@dataclass(frozen=True)
class Preexisting:
    """A limit that is broken with every prosumer at zero export."""

    kind: str
    element: str
    limit: float
    value: float
    unit: str


@dataclass(frozen=True)
class Moves:
    """What was found about the taps and capacitor steps of a tick, objectives as `DmsProblem.objective`.

    base      controls left where they were (inf where that has no certified answer)
    relaxed   positions between whole steps allowed: a local optimum, so no strict bound (nan: no answer)
    chosen    the published answer
    steps     (n_controls,) steps moved
    tried     positions that were solved or screened
    """

    base: float
    relaxed: float
    chosen: float
    steps: Array = field(repr=False)
    tried: int

    @property
    def gap(self) -> float:
        """Loss by whole steps, relative to the objective chosen; negative where `relaxed` is worse."""
        return (self.chosen - self.relaxed) / self.chosen if self.chosen > 0 else 0.0


@dataclass(frozen=True)
class DmsSolution:
    """Set-points of one tick and what is known about them.

    p_curtail_kw, p_adjusted_kw  (n_connections,)  AES = OES - curtailment, as sent (3)
    unit_curtail_kw              (n_units,)        the same, summed over the connections of a unit
    unit_export_kw               (n_units,)        export asked for
    q_kvar                       (n_connections,)  reactive power injected at the AES, by the power flow
    q_set_kvar                   (n_connections,)  set-point of inverters whose Q is free, 0 of the others
    state, values                power flow at the AES, and the limits in force
    nominal                      the limits before any was widened
    preexisting                  limits broken at zero export, with their original values
    point                        the optimiser's own point, None if a power flow alone decided
    position                     (n_controls,) taps and capacitor steps that go with the set-points
    moves                        what moving them was worth, None without controls or where none was tried
    norm, unit_name              what was solved, and for whom, (n_units,)
    solve_s                      everything: screen, optimisation, certificate
    guard                        what ended the optimisation early, "crashed (signal 11)" or "over budget of
                                 60 s"; empty where nothing did (`dms.guard`)
    """

    status: Status
    method: str
    p_curtail_kw: Array = field(repr=False)
    p_adjusted_kw: Array = field(repr=False)
    unit_curtail_kw: Array = field(repr=False)
    unit_export_kw: Array = field(repr=False)
    q_kvar: Array = field(repr=False)
    q_set_kvar: Array = field(repr=False)
    certificate: Certificate
    state: State = field(repr=False)
    nominal: LimitValues = field(repr=False)
    values: LimitValues = field(repr=False)
    preexisting: tuple[Preexisting, ...] = field(repr=False)
    iterations: int
    solve_s: float
    point: InteriorPoint | None = field(repr=False, default=None)
    position: Array = field(repr=False, default_factory=lambda: np.zeros(0))
    moves: Moves | None = None
    guard: str = ""
    norm: str = ""
    unit_name: Array = field(repr=False, default_factory=lambda: np.zeros(0, dtype=object))

    @property
    def widened(self) -> dict[tuple[str, str], float]:
        """Limits in force that differ from the nominal ones, by kind and element."""
        nominal = self.nominal.by_name()
        return {name: limit for name, limit in self.values.by_name().items() if limit != nominal[name]}

    @property
    def total_curtailed_kw(self) -> float:
        """Sum of all curtailment."""
        return float(self.p_curtail_kw.sum())

    @property
    def largest_kw(self) -> float:
        """Largest curtailment of one unit."""
        return float(self.unit_curtail_kw.max(initial=0.0))

    @property
    def gini(self) -> float:
        """Gini index of the shares that those who asked lose, sum_ij |s_i - s_j| / (2 n^2 mean s); 0 is even.

        0, too, where nobody is cut, and where nobody asked.
        """
        return fairness.gini(fairness.lost_shares(self.unit_curtail_kw, self.unit_export_kw))

    @property
    def jain(self) -> float:
        """Jain's index of the shares that those who asked keep, (sum z)^2 / (n sum z^2); 1 is even.

        1, too, where everyone is cut to zero, and where nobody asked.
        """
        return fairness.jain(fairness.lost_shares(self.unit_curtail_kw, self.unit_export_kw))

    @property
    def lost_share(self) -> float:
        """Part of all power asked for that is curtailed, sum C / sum E; 0 where nobody asked."""
        return fairness.lost_share(self.unit_curtail_kw, self.unit_export_kw)

    def homes(self, threshold_kw: float = COUNT_KW) -> int:
        """Units curtailed by more than a threshold."""
        return int(np.count_nonzero(self.unit_curtail_kw > threshold_kw))

    def binding(self, band_pu: float = BAND_TOLERANCE_PU, current: float = CURRENT_TOLERANCE) -> int:
        """Number of limits that the state lies on, to a tolerance; a line counts at each end."""
        pairs = zip(self.values.families, self.state.over, strict=True)
        return sum(
            int(np.count_nonzero(np.abs(over) <= (band_pu if f.least is None else current)))
            for f, over in pairs
        )

    def raise_for_status(self) -> DmsSolution:
        """Itself if it may be published.

        Raises  UncertifiedError  otherwise
        """
        if not self.certificate.ok:
            broken = [f"{p.kind} of {p.element} at zero export" for p in self.preexisting]
            raise UncertifiedError(f"{self.status}: {'; '.join((*self.certificate.reasons, *broken[:4]))}")
        return self
