"""The plan of a home without battery: each tick stands alone, and only PV spill is to be decided.

Cost is piecewise linear in the spill, so that its least value is at a corner: no spill, all of it, or where
the exchange with the grid reaches the export limit, zero, or the import limit. All corners are tried.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hems.certificate import RawPlans, Solutions, complete
from hems.config import HemsConfig
from hems.model import Problems

Floats = NDArray[np.float64]

_EQUAL_COST = 1e-12  # $: two corners closer than this cost the same


class ClosedFormBackend:
    """Solve homes without battery, all at once and exactly, for any prices."""

    def __init__(self, config: HemsConfig) -> None:
        self._config = config

    def solve(self, problems: Problems) -> Solutions:
        """Return the canonical plans; their cost is its own lower bound."""
        col, cost = problems.structure.col, problems.cost
        corner_kw, p_import = _corners(problems)
        within = np.minimum(p_import, problems.col_hi[:, col.p_import_kw])
        corner_cost = np.where(
            p_import >= 0.0,
            cost[col.p_import_kw] * within + cost[col.p_over_import_kw] * (p_import - within),
            -cost[col.p_export_kw] * p_import,
        )
        least = corner_cost.min(axis=0)
        best = corner_cost <= least + _EQUAL_COST
        export = np.maximum(-p_import, 0.0)
        raw = RawPlans.empty(problems, path="closed_form")
        raw.x[:] = 0.0
        raw.lower_bound[:] = least.sum(axis=1)
        if self._config.compute_band:
            raw.oes_lo_kw[:] = np.where(best, export, np.inf)[:, :, 0].min(axis=0)
            raw.oes_hi_kw[:] = np.where(best, export, -np.inf)[:, :, 0].max(axis=0)
        for goal in self._goals(export, corner_kw):
            best &= goal <= np.where(best, goal, np.inf).min(axis=0)
        raw.x[:, col.p_spill_kw] = np.take_along_axis(corner_kw, best.argmax(axis=0)[None], axis=0)[0]
        return complete(problems, raw)

    def _goals(self, export: Floats, spill: Floats) -> list[Floats]:
        """Return what decides between corners of equal cost, as in `hems.lp`, here at every tick."""
        first = {"least_battery": [], "defer_export": [export], "export_early": [-export]}
        return [*first[self._config.tie_break], spill]


def _corners(problems: Problems) -> tuple[Floats, Floats]:
    """Return the spill at each corner and the net import it leads to, (5, n, T) kW."""
    lo, hi, col = problems.col_lo, problems.col_hi, problems.structure.col
    net_load = problems.rhs[:, problems.structure.row.balance]
    all_pv, export_limit, import_limit = hi[:, col.p_spill_kw], hi[:, col.p_export_kw], hi[:, col.p_import_kw]
    most_import = import_limit + hi[:, col.p_over_import_kw] - lo[:, col.p_export_kw]
    most = np.minimum(all_pv, most_import - net_load)
    least = np.minimum(np.maximum(0.0, -export_limit - net_load), most)
    corners = np.stack([least, most, -export_limit - net_load, -net_load, import_limit - net_load])
    spill = np.clip(corners, least, most)
    return spill, net_load + spill
