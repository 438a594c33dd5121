"""The bid curve of a home: what every export below the one it wants costs it over the horizon.

    J(a) - J(OES), J(a) = -pe a dt + min { kappa |b| dt + V_1(keep e_0 + D(b)) : -a - PV <= L - PV + b <= -a }

The inner minimum is that of a convex, piecewise linear function over an interval that slides with a, so that
the curve is convex and piecewise linear too, and its kinks are those of wear plus V_1: exact, no samples.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hems.answers import TickPlans
from hems.cost_to_go import CostToGo, FirstTick

Floats = NDArray[np.float64]

_SAME_KW = 1e-9  # two kinks closer than this are one


@dataclass(frozen=True, eq=False)
class BidCurve:
    """A convex, piecewise linear curve of what curtailment costs a home.

    aes_kw       (m,) kW, increasing from 0 to OES, the kinks
    regret_usd   (m,) $ over the horizon, what exporting so much costs more than exporting OES; 0 at OES
    """

    aes_kw: Floats
    regret_usd: Floats

    def at(self, aes_kw: ArrayLike) -> Floats:
        """Return the regret, $, at any exports between 0 and OES."""
        return np.interp(np.asarray(aes_kw, dtype=float), self.aes_kw, self.regret_usd)

    @property
    def price_per_kw(self) -> Floats:
        """(m - 1,) $/kW that the home loses per kW curtailed, between the kinks; decreasing."""
        return -np.diff(self.regret_usd) / np.diff(self.aes_kw)


def spilling_bids(oes_kw: float, value_per_kw: float) -> BidCurve:
    """Return the curve of a home that can do nothing but spill: each kW less costs its export price."""
    if oes_kw <= _SAME_KW:
        return BidCurve(np.array([oes_kw]), np.zeros(1))
    return BidCurve(np.array([0.0, oes_kw]), np.array([max(value_per_kw, 0.0) * oes_kw, 0.0]))


def exact_bids(tick: FirstTick, to_go: CostToGo, planned: TickPlans, *, export_price: float) -> BidCurve:
    """Return the curve of one home from its V_1.

    tick, to_go, planned   of this home alone        export_price   $/kWh of tick 0
    """
    oes, net, pv = float(planned.p_export_kw[0]), float(tick.net_load_kw[0]), float(tick.pv_kw[0])
    kinks = tick.battery_kw(to_go.kinks[0] - tick.soc_kwh[0])
    limits = np.array([-tick.discharge_kw[0], 0.0, tick.charge_kw[0]])
    corners = np.concatenate([kinks, limits])
    # Battery powers that export a with no spill, and with all PV spilled, meet the kinks at these a.
    at = np.concatenate([-net - corners, -net - pv - corners, [0.0, oes]])
    at = np.unique(at[(at >= 0.0) & (at <= oes)])
    aes = at[np.diff(at, prepend=-np.inf) > _SAME_KW]
    aes[-1] = oes
    cost = np.array([_least(tick, to_go, corners, a) for a in aes]) - tick.dt_h * export_price * aes
    return BidCurve(aes, np.maximum(cost - cost[-1], 0.0))


def _least(tick: FirstTick, to_go: CostToGo, corners: Floats, aes_kw: float) -> float:
    """Return the least of wear plus V_1 that one home can have when it exports `aes_kw`."""
    least, most = (float(bound[0]) for bound in tick.battery_range_kw(np.array([aes_kw])))
    lo, hi = tick.battery_kw(np.array([to_go.start[0], to_go.right[-1]]) - tick.soc_kwh[0])
    least, most = min(max(least, lo), hi), max(min(most, hi), lo)
    b = np.concatenate([corners[(corners > least) & (corners < most)], [least, most]])
    ends, values = to_go.kinks
    worth = np.interp(tick.soc_kwh[0] + tick.energy_kwh(b), ends, values)
    return float((tick.wear_usd(b) + worth).min())
