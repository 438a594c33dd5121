"""What homes do in the current tick, and their answers to an AES from what is kept of V_1; see `cost_to_go`.

The cost of an answer is that of the plan, less what the plan does in tick 0, plus what the answer does there.
Its lower bound is the plan's, moved by a bound on the tick that is counted here anew and does not depend on
how the answer was found: for any price mu of stored energy

    min_b { kappa |b| dt - mu D(b) }  +  min_e { V_1(e) + mu e }  <=  cost of the tick

That V_1 itself is right was shown at one point by the certificate of the plan.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hems import dp
from hems.certificate import GAP_TOLERANCE, Solutions
from hems.cost_to_go import CostToGo, FirstTick

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

POWERS = ("p_export_kw", "p_import_kw", "p_charge_kw", "p_discharge_kw", "p_spill_kw")
ALL_POWERS = (*POWERS, "p_devices_kw")
_FEASIBILITY_TOLERANCE = 1e-7  # kW or kWh, as in hems.certificate


@dataclass(frozen=True, eq=False)
class TickPlans:
    """The current tick of n plans, (n,) each, and how good the plans are."""

    p_export_kw: Floats
    p_import_kw: Floats
    p_charge_kw: Floats
    p_discharge_kw: Floats
    p_spill_kw: Floats
    p_devices_kw: Floats
    objective: Floats
    lower_bound: Floats
    feasible: NDArray[np.bool_]
    path: NDArray[np.str_]
    devices: NDArray[np.object_]

    @classmethod
    def of(cls, plans: Solutions, rows: Rows | slice = slice(None)) -> Self:
        """Return copies of the first ticks of the plans numbered `rows`, all by default."""
        others = ("objective", "lower_bound", "feasible", "path", "devices")
        return cls(
            **{name: getattr(plans, name)[rows, 0].copy() for name in ALL_POWERS},
            **{name: getattr(plans, name)[rows].copy() for name in others},
        )

    def put(self, rows: Rows, other: TickPlans) -> None:
        """Overwrite the homes numbered `rows` by those of `other`."""
        for name, values in vars(self).items():
            values[rows] = getattr(other, name)

    @property
    def gap(self) -> Floats:
        """(n,) as `Solutions.gap`."""
        return np.maximum(self.objective - self.lower_bound, 0.0) / np.maximum(1.0, np.abs(self.objective))

    @property
    def certified(self) -> NDArray[np.bool_]:
        """(n,) as `Solutions.certified`."""
        return self.feasible & (self.gap <= GAP_TOLERANCE)


def answer(
    tick: FirstTick,
    to_go: CostToGo,
    aes_kw: Floats,
    *,
    planned: TickPlans,
    export_price: float,
    compiled: bool,
) -> TickPlans:
    """Return what n homes do that may export `aes_kw`, (n,) kW, less than they planned.

    planned        their plans; of each V_1 must be known
    export_price   $/kWh of tick 0
    """
    least, most = tick.battery_range_kw(aes_kw)
    if compiled:
        from hems.dp_compiled import answer_all

        stored, price = answer_all(tick, to_go, least, most)
    else:
        stored, price = _plain(tick, to_go, least, most)
    battery = np.clip(tick.battery_kw(stored), least, most)
    spill = np.clip(-aes_kw - tick.net_load_kw - battery, 0.0, tick.pv_kw)
    before = planned.p_charge_kw - planned.p_discharge_kw
    lost = tick.dt_h * export_price * (planned.p_export_kw - aes_kw)
    end = tick.soc_kwh + tick.energy_kwh(battery)
    here = tick.wear_usd(battery) + to_go.value(end) - to_go.value(tick.next_kwh)
    bound = _bound(tick, to_go, price, least, most)
    first, last = to_go.start, to_go.right[to_go.first[1:] - 1]
    passed = np.maximum(first - end, end - last)
    moved = lost - tick.wear_usd(before)
    return TickPlans(
        p_export_kw=aes_kw.copy(),
        p_import_kw=np.zeros_like(aes_kw),
        p_charge_kw=np.maximum(battery, 0.0),
        p_discharge_kw=np.maximum(-battery, 0.0),
        p_spill_kw=spill,
        p_devices_kw=planned.p_devices_kw.copy(),
        objective=planned.objective + moved + here,
        lower_bound=planned.lower_bound + moved + bound,
        feasible=planned.feasible & (passed <= _FEASIBILITY_TOLERANCE),
        path=planned.path.copy(),
        devices=planned.devices.copy(),
    )


def _bound(tick: FirstTick, to_go: CostToGo, mu: Floats, least: Floats, most: Floats) -> Floats:
    """Return what wear plus V_1, less its value as planned, cannot be less than, (n,) $."""
    corners = np.stack([least, np.clip(0.0, least, most), most])
    of_battery = (tick.wear_usd(corners) - mu * tick.energy_kwh(corners)).min(axis=0)
    ends, values = to_go.kinks
    home = np.repeat(np.arange(len(mu)), np.diff(to_go.first) + 1)
    at = to_go.first[:-1] + np.arange(len(mu))
    of_energy = np.minimum.reduceat(values + mu[home] * ends, at)
    return of_battery + of_energy - mu * tick.soc_kwh - to_go.value(tick.next_kwh)


def _plain(tick: FirstTick, to_go: CostToGo, least: Floats, most: Floats) -> tuple[Floats, Floats]:
    """Return D and its price for all homes, one after the other in plain Python."""
    n = len(least)
    stored, price = np.zeros(n), np.zeros(n)
    slopes = [-tick.wear_d * tick.eta_d, tick.wear_c / tick.eta_c]
    ends = np.stack([least, np.clip(0.0, least, most), most])
    d_ends = tick.energy_kwh(ends)
    for i in range(n):
        slope, right, start = to_go.of(i)
        width = np.diff([start, *right]).tolist()
        later = dp.ConvexFunction(slope, width, start, right[-1])
        widths = np.diff(d_ends[:, i]).tolist()
        psi = dp.Stage([(p, w) for p, w in zip(slopes, widths, strict=True) if w > 0.0], float(d_ends[0, i]))
        e = float(tick.soc_kwh[i])
        interval = dp.optimal_interval(e, psi, later, right, equal=dp.equal_slopes(tick.dt_h))
        d = dp.nearest_to_idle(interval or (psi.d_min, psi.d_min))
        left, rises = dp.slopes_at(e + d, later, right)
        falls, climbs = dp.stage_slopes_at(d, psi)
        stored[i], price[i] = d, min(max(0.0, falls, -rises), climbs, -left)
    return stored, price
