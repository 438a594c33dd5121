"""`[dms]`: how the utility decides."""

from __future__ import annotations

import difflib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from dms import NORMS
from dms.guard import BUDGET_S
from dms.norms import MAX_ALPHA, UNWEIGHTED
from dms.problem import ALPHA, PEAK_TOL

MAX_CUMULATIVE = 100.0
"""Largest strength of cumulative fairness; weights may not be more than 1e4 apart."""


class DmsSection(BaseModel):
    """How the utility decides.

    norm        "l1" least total, "l2" least squares, "linf" least peak; "linf_l1", "linf_l2": least peak,
                then least total or squares within peak_tol of it; "proportional": the same share of every
                request; "alpha_fair": most utility of what is kept
    peak_tol    of linf_l1 and linf_l2, relative to the least peak
    alpha       of alpha_fair: 0 least total, 1 proportional fairness (logarithms), more: nearer to max-min
    weight_by   "capacity": prosumers.weights are divided by the PV peak, so that a norm counts percent
                "bid": in a loop, homes send with each request what less export costs them; weights are made
                of that, and of up to three answers the one that costs homes least is sent. Homes planned by
                LP or MILP (with devices, say) send none and keep their weights
    cumulative_fairness  in a loop: weights grow with the share of its energy that a home has lost since
                midnight, up to 1 + this for the home that lost most. 0: every tick for itself. It saturates
                (shares count against the largest) and costs curtailment: homes with less effect give instead
    backend     who states the equations: "ipopt" our own devices, "pyomo" the Pyomo text (small feeders)
    max_iter    of Ipopt      certify_optimal  also test answers for optimality (seconds each on case 2)
    budget_s    wall clock of a tick's optimisation; when it is spent, set-points are a certified fallback
    guard       optimise in a child process (Linux), so that a crash or a hang there costs no more than that
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    norm: str = "l2"
    peak_tol: Annotated[float, Field(ge=0, le=1)] = PEAK_TOL
    alpha: Annotated[float, Field(ge=0, le=MAX_ALPHA)] = ALPHA
    weight_by: Literal["none", "capacity", "bid"] = "none"
    cumulative_fairness: Annotated[float, Field(ge=0, le=MAX_CUMULATIVE)] = 0.0
    backend: Literal["ipopt", "pyomo"] = "ipopt"
    max_iter: Annotated[int, Field(ge=1)] = 500
    certify_optimal: bool = False
    budget_s: Annotated[float, Field(gt=0, allow_inf_nan=False)] = BUDGET_S
    guard: bool = True

    @field_validator("norm")
    @classmethod
    def _known_norm(cls, value: str) -> str:
        if value not in NORMS:
            raise ValueError(_unknown(value))
        return value

    @model_validator(mode="after")
    def _weights_count(self) -> DmsSection:
        if self.norm in UNWEIGHTED and (self.weight_by != "none" or self.cumulative_fairness > 0):
            raise ValueError(
                f"norm {self.norm} cuts the same share for all and takes no weights: leave weight_by and "
                'cumulative_fairness out, or take norm = "linf"'
            )
        if self.weight_by == "bid" and self.cumulative_fairness > 0:
            raise ValueError(
                'weight_by = "bid" and cumulative_fairness both make the weights of a tick: take one of them'
            )
        return self


def _unknown(given: str) -> str:
    near = difflib.get_close_matches(given, list(NORMS), n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return f"{hint}unknown norm {given!r}; known: {', '.join(NORMS)}"
