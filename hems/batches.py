"""What the three steps of a tick return: one read-only array per quantity, one entry per home.

Powers are kW, means over the tick, never negative: the name says the direction. All satisfy

    p_import + p_pv - p_spill + p_discharge = p_export + p_load + p_charge + p_devices

p_devices alone has a sign: what the devices of the home draw, less what they give.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hems.answers import ALL_POWERS, TickPlans
from hems.certificate import Solutions
from hems.checks import read_only
from hems.errors import UncertifiedError

Floats = NDArray[np.float64]


class PlanStatus(StrEnum):
    """How a plan turned out; where several apply, the first of this list."""

    UNCERTIFIED = "uncertified"  # no proof that nothing is cheaper: see `gap`, and `path` for what it is
    RECOVERING = "recovering"  # optimal; the SOC started outside its band and is coming back
    IMPORT_LIMIT = "import_limit"  # optimal; the load will exceed the import limit
    TARGET_MISSED = "target_missed"  # optimal; a target cannot be reached: see `shortfall_kwh`, `explain`
    OPTIMAL = "optimal"


@dataclass(frozen=True, eq=False)
class _Batch:
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                read_only(value)

    def to_frame(self) -> pd.DataFrame:
        """One row per home, indexed by name; a column per quantity, in the order of the class."""
        columns = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "names"}
        return pd.DataFrame(columns, index=pd.Index(self.names, name="home"))


@dataclass(frozen=True, eq=False)
class PlanBatch(_Batch):
    """What the homes want to do in the current tick; all arrays (n,).

    p_export_kw, p_import_kw   OES and OIS, which go to the utility; one of them is 0
    oes_lo_kw, oes_hi_kw       least and largest export of the equally cheap plans; NaN for homes planned by
                               MILP or Pyomo, and unless `compute_band` for those planned by LP
    objective                  $, cost of the whole horizon by (1a), priced deviations included
    lower_bound                $, no plan costs less
    gap                        (objective - lower_bound) / max(1 $, |objective|)
    path                       "closed_form", "dp", "dp_compiled", "lp", "milp", "pyomo" or "idle" (battery
                               off: no method found a plan); str
    status                     `PlanStatus` as str
    shortfall_kwh              energy missing at the end of the horizon
    over_import_kw             import above the service limit in this tick
    """

    p_export_kw: Floats
    p_import_kw: Floats
    p_charge_kw: Floats
    p_discharge_kw: Floats
    p_spill_kw: Floats
    p_devices_kw: Floats
    oes_lo_kw: Floats
    oes_hi_kw: Floats
    objective: Floats
    lower_bound: Floats
    gap: Floats
    path: NDArray[np.str_]
    status: NDArray[np.str_]
    shortfall_kwh: Floats
    over_import_kw: Floats

    @classmethod
    def of(cls, names: tuple[str, ...], plans: Solutions, *, status: NDArray[np.str_]) -> Self:
        """Return the current tick of `plans`."""
        return cls(
            names=names,
            oes_lo_kw=plans.oes_lo_kw.copy(),
            oes_hi_kw=plans.oes_hi_kw.copy(),
            objective=plans.objective.copy(),
            lower_bound=plans.lower_bound.copy(),
            gap=plans.gap,
            path=plans.path.copy(),
            status=status,
            shortfall_kwh=plans.shortfall_kwh.copy(),
            over_import_kw=plans.p_over_import_kw[:, 0].copy(),
            **{name: getattr(plans, name)[:, 0].copy() for name in ALL_POWERS},
        )

    def raise_for_status(self) -> None:
        """Raise UncertifiedError, naming the homes, if some plan is not proved optimal."""
        bad = np.flatnonzero(self.status == PlanStatus.UNCERTIFIED)
        if bad.size:
            shown = ", ".join(f"{self.names[i]} ({self.path[i]}, gap {self.gap[i]:.1e})" for i in bad[:10])
            raise UncertifiedError(f"{bad.size} home(s) without certificate: {shown}.")


@dataclass(frozen=True, eq=False)
class DispatchBatch(_Batch):
    """What the homes will do after the answer of the utility; all arrays (n,).

    p_export_kw          min(OES, AES), exactly
    curtailed            bool, AES below OES: these homes have planned again
    p_charge_more_kw, p_discharge_less_kw, p_devices_more_kw, p_spill_curtail_kw
                         where the curtailed power goes; their sum is OES - AES
    regret_usd           $, what the curtailment costs over the horizon, >= 0
    objective, lower_bound, gap, path, certified   of the plan in force, as in `PlanBatch`
    """

    p_export_kw: Floats
    p_import_kw: Floats
    p_charge_kw: Floats
    p_discharge_kw: Floats
    p_spill_kw: Floats
    p_devices_kw: Floats
    curtailed: NDArray[np.bool_]
    p_charge_more_kw: Floats
    p_discharge_less_kw: Floats
    p_devices_more_kw: Floats
    p_spill_curtail_kw: Floats
    regret_usd: Floats
    objective: Floats
    lower_bound: Floats
    gap: Floats
    path: NDArray[np.str_]
    certified: NDArray[np.bool_]

    @classmethod
    def of(
        cls, names: tuple[str, ...], plans: TickPlans, *, planned: TickPlans, curtailed: NDArray[np.bool_]
    ) -> Self:
        """Return the current tick of the plans in force, and what became of the plans before the answer."""
        return cls(
            names=names,
            curtailed=curtailed,
            p_charge_more_kw=plans.p_charge_kw - planned.p_charge_kw,
            p_discharge_less_kw=planned.p_discharge_kw - plans.p_discharge_kw,
            p_devices_more_kw=plans.p_devices_kw - planned.p_devices_kw,
            p_spill_curtail_kw=plans.p_spill_kw - planned.p_spill_kw,
            regret_usd=np.maximum(plans.objective - planned.objective, 0.0),
            objective=plans.objective.copy(),
            lower_bound=plans.lower_bound.copy(),
            gap=plans.gap,
            path=plans.path.copy(),
            certified=plans.certified,
            **{name: getattr(plans, name).copy() for name in ALL_POWERS},
        )

    @property
    def p_stored_kw(self) -> Floats:
        """(n,) curtailed power that stays in the home: charged more, discharged less, drawn by devices."""
        return self.p_charge_more_kw + self.p_discharge_less_kw + self.p_devices_more_kw


@dataclass(frozen=True, eq=False)
class RealisedBatch(_Batch):
    """What happened with the load and PV as they came; all arrays (n,).

    p_spill_plan_kw      spilled because the plan wanted it (prices, limits of export and inverter)
    p_spill_curtail_kw   spilled because of the curtailment
    p_spill_tracking_kw  spilled because the surplus came out larger than forecast
    soc_start_kwh, soc_end_kwh   end = keep start + (eta_charge p_charge - p_discharge / eta_discharge) dt
    cost_usd             $, import paid less export earned, without wear
    """

    p_export_kw: Floats
    p_import_kw: Floats
    p_charge_kw: Floats
    p_discharge_kw: Floats
    p_spill_plan_kw: Floats
    p_spill_curtail_kw: Floats
    p_spill_tracking_kw: Floats
    soc_start_kwh: Floats
    soc_end_kwh: Floats
    p_devices_kw: Floats
    cost_usd: Floats

    @property
    def p_spill_kw(self) -> Floats:
        """(n,) all PV left unused."""
        return self.p_spill_plan_kw + self.p_spill_curtail_kw + self.p_spill_tracking_kw
