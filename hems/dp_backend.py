"""The dynamic programme as a backend: who may use it, and its plans with their certificate.

It declines (leaves for other methods) homes whose stage costs are not convex or trade import for export (see
`hems.stages`), and models with more in them than one battery. What it plans is judged like every other plan:
rebuilt and costed by `hems.certificate`, and held against a lower bound from LP duality.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from hems import dp
from hems.certificate import Duals, RawPlans, Solutions, complete, dual_bound
from hems.config import HemsConfig, TieBreak
from hems.model import Problems, Structure
from hems.stages import (
    EQUAL_SLOPE_PER_KW,
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
    """What the dynamic programme decides.

    stored_kwh    (n, T) D of every tick              found   (n,) false: declined
    energy_price  (n, T) mu_1 .. mu_T, $/kWh          first   (n, 2) least and largest optimal D of tick 0
    """

    stored_kwh: Floats
    energy_price: Floats
    first: Floats
    found: NDArray[np.bool_]


class DpBackend:
    """Solve every home by the dynamic programme; homes it declines get no plan."""

    def __init__(self, config: HemsConfig, *, compiled: bool | None = None) -> None:
        """Use numba or plain Python; None: numba where it is installed."""
        self._config = config
        self._compiled = compiled

    def solve(self, problems: Problems) -> Solutions:
        """Return the canonical plan of each home, with a lower bound from LP duality."""
        compiled = compiled_is_there() if self._compiled is None else self._compiled
        raw = RawPlans.empty(problems, path="dp_compiled" if compiled else "dp")
        if problems.structure.one_battery:
            tie_break = self._config.tie_break
            g = grid(problems)
            if compiled:
                from hems import dp_compiled  # numba is slow to import, and may be missing

                plans = DpPlans(*dp_compiled.plan_all(problems, tie_break))
            else:
                plans = plan_all(problems, g, tie_break)
            _fill(raw, problems, g, plans, tie_break)
        return complete(problems, raw)


@cache
def compiled_is_there() -> bool:
    """Tell whether numba can be used (extra `fast`)."""
    try:
        import numba  # noqa: F401
    except ImportError:  # missing, or made for another numpy
        return False
    return True


def plan_all(problems: Problems, g: Grid, tie_break: TieBreak) -> DpPlans:
    """Return the plans of all homes, one after the other."""
    psi = stages(problems, g)
    prefer = preferences(problems, g, tie_break)
    stored, price = np.zeros_like(g.net_load), np.zeros_like(g.net_load)
    interval, found = np.zeros((len(problems), 2)), psi.convex.copy()
    for i in np.flatnonzero(found).tolist():
        plan = _plan_home(problems, psi, i, prefer=prefer(i))
        if plan is None:
            found[i] = False
        else:
            stored[i], price[i], interval[i] = plan
    return DpPlans(stored, price, interval, found)


def _fill(raw: RawPlans, problems: Problems, g: Grid, plans: DpPlans, tie_break: TieBreak) -> None:
    """Enter battery power, spill, the band of equally cheap exports, and the lower bound."""
    structure, rows = problems.structure, plans.found
    col, dt_h = structure.col, structure.dt_h
    battery = power_of(structure, plans.stored_kwh)
    z = g.net_load + battery
    x = np.zeros_like(raw.x)
    x[:, col.p_charge_kw], x[:, col.p_discharge_kw] = np.maximum(battery, 0.0), np.maximum(-battery, 0.0)
    x[:, col.p_spill_kw] = g.spill_at(z, first_used(tie_break))
    raw.x[rows] = x[rows]
    least, most = (g.net_load + power_of(structure, d)[:, None] for d in plans.first.T)
    raw.oes_lo_kw[rows] = g.export_at(most, EXPORT_FIRST)[rows, 0]
    raw.oes_hi_kw[rows] = g.export_at(least, SPILL_FIRST)[rows, 0]
    wear = problems.cost[col.p_charge_kw], problems.cost[col.p_discharge_kw]
    worth = plans.energy_price * dt_h
    indifferent = np.where(
        battery < 0.0, worth / structure.eta_discharge + wear[1], worth * structure.eta_charge - wear[0]
    )
    least_price, most_price = g.slopes_at(z)
    power_price = np.clip(indifferent, dt_h * least_price, dt_h * most_price)
    duals = Duals(power_price, -plans.energy_price, plans.energy_price[:, -1])
    raw.lower_bound[rows] = dual_bound(problems, duals)[rows]


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
    slope, widths, starts = psi.slope.tolist(), psi.width[i].tolist(), psi.d_min[i].tolist()
    home = [dp.stage(s, w, d) for s, w, d in zip(slope, widths, starts, strict=True)]
    lo, hi = (bound[i, col.soc_kwh].tolist() for bound in (problems.col_lo, problems.col_hi))
    bands = list(zip(lo, hi, strict=True))
    last = dp.terminal(
        float(cost[col.shortfall_kwh.start]),
        float(cost[col.surplus_kwh.start]),
        target=float(problems.rhs[i, structure.row.terminal.start]),
        band=bands[-1],
    )
    to_go = dp.costs_to_go(last, home, bands)
    if to_go is None:
        return None
    equal = EQUAL_SLOPE_PER_KW / structure.dt_h
    return dp.forward(float(problems.soc_kwh[i]), home, to_go, prefer=prefer, equal=equal)
