"""Why a tick's answer is what it is, as tables: limits, causes and slacks (columns in `anoca.results`)."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from anoca.config_dms import DmsSection
from anoca.results import columns_of
from dms import (
    Binding,
    Causes,
    DmsProblem,
    DmsRequest,
    DmsSolution,
    Infeasibility,
    IpoptMissingError,
    Slack,
    Status,
    binding_limits,
    causes,
    explain_infeasible,
)
from dms.child import Lost
from dms.guard import guarded

log = logging.getLogger(__name__)

MOST_SLACKS = 50
"""Slacks that are kept of one elastic problem, the largest."""
UNANSWERED = (Status.INFEASIBLE, Status.NO_OPERATING_POINT, Status.UNCERTIFIED)


class Explainer:
    """Explains ticks one after the other; elastic problems once for the same limits that are broken."""

    def __init__(self, how: DmsSection | None = None) -> None:
        self._how = how or DmsSection()
        self._seen: set[tuple[str, ...]] = set()

    def tick(
        self, tick: int, problem: DmsProblem, request: DmsRequest, solution: DmsSolution
    ) -> dict[str, pd.DataFrame]:
        """Tables `limits`, `causes` and `slacks` of a tick."""
        found = binding_limits(problem, request, solution)
        why = causes(solution, found)
        frames = {"limits": limits_table(tick, found), "causes": causes_table(tick, problem, found, why)}
        blocked = self._blocked(problem, request, solution)
        if blocked is not None:
            frames["slacks"] = slacks_table(tick, blocked)
        return frames

    def _blocked(
        self, problem: DmsProblem, request: DmsRequest, solution: DmsSolution
    ) -> Infeasibility | None:
        if solution.status not in UNANSWERED:
            return None
        key = (solution.status.value, *sorted(f"{p.kind} {p.element}" for p in solution.preexisting))
        if key in self._seen:
            return None
        self._seen.add(key)
        position = solution.position if len(problem.controls) else None

        def work() -> Infeasibility:
            return explain_infeasible(problem, request, values=solution.values, position=position)

        try:
            found = guarded(work, self._how.budget_s) if self._how.guard else work()
        except IpoptMissingError as exc:
            log.warning("no elastic problem: %s", exc)
            return None
        if isinstance(found, Lost):
            log.warning("the elastic problems %s", found.reason)
            return None
        return found


def limits_table(tick: int, found: Binding) -> pd.DataFrame:
    """Limits that bind, are broken, or were widened."""
    rows = found.rows
    return columns_of(
        "limits",
        tick=tick,
        kind=rows.kind,
        element=rows.element,
        phase=rows.phase,
        limit=rows.limit,
        value=rows.value,
        unit=rows.unit,
        binding=found.binding,
        violated=found.violated,
        preexisting=found.preexisting,
        original_limit=rows.original,
        multiplier=found.multiplier,
        kw_per_unit=found.kw_per_unit,
        peak_kw_per_unit=found.peak_kw_per_unit,
        per=rows.per,
        group=found.group,
    )


def causes_table(tick: int, problem: DmsProblem, found: Binding, why: Causes) -> pd.DataFrame:
    """Curtailed homes and the limits that ask for it."""
    rows = found.rows.take(why.limit)
    return columns_of(
        "causes",
        tick=tick,
        prosumer=problem.units.name[why.unit],
        kind=rows.kind,
        element=rows.element,
        phase=rows.phase,
        share=why.share,
        asked=why.asked,
        per_kw=why.per_kw,
        unit=rows.unit,
    )


def slacks_table(tick: int, blocked: Infeasibility) -> pd.DataFrame:
    """What would have to give; one row without a problem where no elastic problem says so."""
    problems = dict.fromkeys(slack.problem for slack in blocked.slacks)
    kept = [slack for name in problems for slack in blocked.of(name)[:MOST_SLACKS]]
    text, number = ("problem", "kind", "element", "unit"), ("amount", "limit", "p_kw", "q_kvar")
    if not kept:
        elements = blocked.elements[:MOST_SLACKS] or ("",)
        kept = [Slack("", "", element, np.nan, "") for element in elements]
    slacks = {c: [getattr(slack, c) for slack in kept] for c in (*text, *number)}
    return columns_of("slacks", tick=tick, blocked=blocked.kind.value, **slacks)
