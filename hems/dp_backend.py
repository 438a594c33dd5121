"""The dynamic programme as a backend: who may use it, and its plans with their certificate.

It declines (leaves for other methods) homes whose stage costs are not convex or trade import for export (see
`hems.stages`), and models with more in them than one battery. What it plans is judged like every other plan:
rebuilt and costed by `hems.certificate`, and held against a lower bound from LP duality.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hems import dp
from hems.certificate import Decisions, Path, RawPlans, Solutions, complete, rebuilt
from hems.config import HemsConfig, TieBreak
from hems.cost_to_go import CostToGo
from hems.duality import Duals, dual_bound
from hems.model import Problems, Structure
from hems.stages import (
    EXPORT_FIRST,
    SPILL_FIRST,
    Grid,
    Stages,
    first_used,
    grid,
    stages,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class DpPlans:
    """What the dynamic programme decides for n homes.

    battery_kw, spill_kw   (n, T)       balance, dynamics   (n, T) multipliers of (1b), $/kW, and (1c), $/kWh
    band_kw                (n, 2) least and largest export of tick 0 among the equally cheap
    found                  (n,) false: declined
    cost_to_go             V_1 of those that are found
    """

    battery_kw: Floats
    spill_kw: Floats
    balance: Floats
    dynamics: Floats
    band_kw: Floats
    found: NDArray[np.bool_]
    cost_to_go: CostToGo


class DpBackend:
    """Solve every home by the dynamic programme; homes it declines get no plan."""

    def __init__(self, config: HemsConfig, *, compiled: bool | None = None) -> None:
        """Use numba or plain Python; None: numba where it is installed."""
        self._config = config
        self._compiled = compiled

    def solve(self, problems: Problems) -> Solutions:
        """Return the canonical plan of each home, with a lower bound from LP duality."""
        return self.solve_and_keep(problems)[0]

    def solve_and_keep(self, problems: Problems) -> tuple[Solutions, CostToGo]:
        """Return also V_1 of those homes whose plan is certified."""
        compiled = compiled_is_there() if self._compiled is None else self._compiled
        path: Path = "dp_compiled" if compiled else "dp"
        if not problems.structure.one_battery:
            nothing = RawPlans.empty(problems, path=path)
            return complete(problems, nothing), CostToGo.unknown(len(problems))
        plans = (_compiled if compiled else _plain)(problems, self._config.tie_break)
        bound = dual_bound(problems, Duals(plans.balance, plans.dynamics, -plans.dynamics[:, -1]))
        band = np.where(plans.found[:, None], plans.band_kw, np.nan)
        decided = Decisions(
            plans.battery_kw, plans.spill_kw, plans.found, bound, band[:, 0], band[:, 1], path
        )
        solutions = rebuilt(problems, decided)
        unproved = plans.cost_to_go.known & ~solutions.certified
        return solutions, plans.cost_to_go.without(unproved) if unproved.any() else plans.cost_to_go


@cache
def compiled_is_there() -> bool:
    """Tell whether numba can be used (extra `fast`)."""
    try:
        import numba  # noqa: F401
    except ImportError:  # missing, or made for another numpy
        return False
    return True


def _compiled(problems: Problems, tie_break: TieBreak) -> DpPlans:
    """Return the plans of all homes by one call of compiled code."""
    from hems import dp_compiled  # numba is slow to import, and may be missing

    found = dp_compiled.plan_all(problems, tie_break)
    used = found.v_first[-1]
    to_go = CostToGo(found.v_first, found.v_start, found.v_slope[:used].copy(), found.v_right[:used].copy())
    return DpPlans(*found[:6], to_go)


def _plain(problems: Problems, tie_break: TieBreak) -> DpPlans:
    """Return the plans of all homes, one after the other in plain Python."""
    g = grid(problems)
    psi, prefer = stages(problems, g), preferences(problems, g, tie_break)
    stored, price = np.zeros_like(g.net_load), np.zeros_like(g.net_load)
    interval, found = np.zeros((len(problems), 2)), psi.convex.copy()
    later: list[dp.ConvexFunction | None] = [None] * len(problems)
    for i in np.flatnonzero(found).tolist():
        plan = _plan_home(problems, psi, i, prefer=prefer(i))
        if plan is None:
            found[i] = False
        else:
            stored[i], price[i], interval[i], later[i] = plan
    structure = problems.structure
    battery = power_of(structure, stored)
    least, most = (g.net_load + power_of(structure, d)[:, None] for d in interval.T)
    band = g.export_at(most, EXPORT_FIRST)[:, 0], g.export_at(least, SPILL_FIRST)[:, 0]
    return DpPlans(
        battery_kw=battery,
        spill_kw=g.spill_at(g.net_load + battery, first_used(tie_break)),
        balance=_power_price(problems, g, battery, price),
        dynamics=-price,
        band_kw=np.stack(band, axis=1),
        found=found,
        cost_to_go=_reachable(problems, later),
    )


def _power_price(problems: Problems, g: Grid, battery_kw: Floats, energy_price: Floats) -> Floats:
    """Return the price of power, (n, T) $/kW: the battery's, as far as the slopes of G allow."""
    structure, cost = problems.structure, problems.cost
    worth = energy_price * structure.dt_h
    out = worth / structure.eta_discharge + cost[structure.col.p_discharge_kw]
    into = worth * structure.eta_charge - cost[structure.col.p_charge_kw]
    least, most = g.slopes_at(g.net_load + battery_kw)
    return np.clip(np.where(battery_kw < 0.0, out, into), structure.dt_h * least, structure.dt_h * most)


def _reachable(problems: Problems, later: Sequence[dp.ConvexFunction | None]) -> CostToGo:
    """Return what tick 0 can reach of each V_1."""
    structure, hi = problems.structure, problems.col_hi
    e = structure.keep * problems.soc_kwh
    least = e + energy_of(structure, -hi[:, structure.col.p_discharge_kw.start])
    most = e + energy_of(structure, hi[:, structure.col.p_charge_kw.start])
    start, slope, right, size = np.zeros(len(problems)), [], [], np.zeros(len(problems), dtype=np.int64)
    for i, function in enumerate(later):
        if function is not None:
            part = function.around(float(least[i]), float(most[i]))
            start[i], size[i] = part.start, len(part.slope)
            slope += part.slope
            right += part.kinks()
    first = np.concatenate([[0], np.cumsum(size)])
    return CostToGo(first, start, np.array(slope, dtype=np.float64), np.array(right, dtype=np.float64))


def preferences(problems: Problems, g: Grid, tie_break: TieBreak) -> Callable[[int], dp.Preference]:
    """Return what the tie-break needs to know of a home by its number."""
    if tie_break == "least_battery":
        return lambda _: dp.Preference(tie_break, [], [])
    begin_kw, end_kw = g.export_range(first_used(tie_break))
    begin, end = (energy_of(problems.structure, z - g.net_load) for z in (begin_kw, end_kw))
    return lambda i: dp.Preference(tie_break, begin[i].tolist(), end[i].tolist())


def energy_of(structure: Structure, battery_kw: Floats) -> Floats:
    """Return the energy D that net battery power stores in a tick, kWh."""
    rate = np.where(battery_kw > 0.0, structure.eta_charge, 1.0 / structure.eta_discharge)
    return structure.dt_h * rate * battery_kw


def power_of(structure: Structure, stored_kwh: Floats) -> Floats:
    """Return the net battery power that stores D in a tick, kW."""
    rate = np.where(stored_kwh > 0.0, 1.0 / structure.eta_charge, structure.eta_discharge)
    return rate * stored_kwh / structure.dt_h


def _plan_home(problems: Problems, psi: Stages, i: int, *, prefer: dp.Preference) -> dp.HomePlan | None:
    structure, cost = problems.structure, problems.cost
    col = structure.col
    home = _segments(psi, i)
    lo, hi = (bound[i, col.soc_kwh].tolist() for bound in (problems.col_lo, problems.col_hi))
    bands = list(zip(lo, hi, strict=True))
    last = dp.terminal(
        float(cost[col.shortfall_kwh.start]),
        float(cost[col.surplus_kwh.start]),
        target=float(problems.rhs[i, structure.row.terminal.start]),
        band=bands[-1],
    )
    to_go = dp.costs_to_go(last, home, bands, keep=structure.keep)
    if to_go is None:
        return None
    equal = dp.equal_slopes(structure.dt_h)
    start = float(problems.soc_kwh[i])
    return dp.forward(start, home, to_go, prefer=prefer, equal=equal, keep=structure.keep)


def _segments(psi: Stages, i: int) -> list[dp.Stage]:
    """Return psi of home i, tick by tick, without its empty segments."""
    used = psi.width[i] > 0.0
    ticks, which = np.nonzero(used)
    segments = list(zip(psi.slope[ticks, which].tolist(), psi.width[i][used].tolist(), strict=True))
    ends = np.cumsum(used.sum(axis=1)).tolist()
    starts = [0, *ends[:-1]]
    least = psi.d_min[i].tolist()
    return [dp.Stage(segments[a:b], d) for a, b, d in zip(starts, ends, least, strict=True)]
