"""What a home does when load and PV come out otherwise than forecast: the meter obeys, the plan gives way.

The battery keeps its set-point b. PV that the plan spilled stays spilled as far as the surplus still exceeds
the planned export. If the rest of the surplus would pass the export cap,

    charge more (first discharge less), up to Pc and e_max;     then spill, booked as tracking

A deficit is imported. So export never passes the cap, and one of charge and discharge is always zero.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hems.household import HomeArrays

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SetPoints:
    """What the homes hold on to during the tick, (n,) kW.

    battery_kw       net battery power, + charging
    spill_kw         planned spill, of which spill_curtail_kw is due to the curtailment
    p_export_kw      planned export        p_export_cap_kw   what export must not pass
    """

    battery_kw: Floats
    spill_kw: Floats
    spill_curtail_kw: Floats
    p_export_kw: Floats
    p_export_cap_kw: Floats


@dataclass(frozen=True)
class Flows:
    """What flowed during the tick, (n,) kW, and the SOC at its end, kWh."""

    battery_kw: Floats
    p_import_kw: Floats
    p_export_kw: Floats
    p_spill_plan_kw: Floats
    p_spill_curtail_kw: Floats
    p_spill_tracking_kw: Floats
    soc_end_kwh: Floats


def live_through(
    homes: HomeArrays, hold: SetPoints, *, load_kw: Floats, pv_kw: Floats, soc_kwh: Floats, dt_h: float
) -> Flows:
    """Return the flows of one tick with the true load and available PV, (n,) each.

    E_end = E + (eta_c c - d / eta_d) dt            (1c), with what was really charged or discharged
    """
    most_in = np.minimum(
        homes.p_charge_kw, np.maximum(homes.soc_hi_kwh - soc_kwh, 0.0) / (homes.eta_charge * dt_h)
    )
    most_out = np.minimum(
        homes.p_discharge_kw, np.maximum(soc_kwh - homes.soc_lo_kwh, 0.0) * homes.eta_discharge / dt_h
    )
    battery = np.clip(hold.battery_kw, -most_out, most_in)
    surplus = pv_kw - load_kw - battery
    kept_spill = np.minimum(hold.spill_kw, np.clip(surplus - hold.p_export_kw, 0.0, pv_kw))
    excess = np.maximum(surplus - kept_spill - hold.p_export_cap_kw, 0.0)
    more = np.minimum(excess, most_in - battery)
    battery = battery + more
    tracking = np.minimum(excess - more, pv_kw - kept_spill)
    p_import = load_kw + battery - (pv_kw - kept_spill - tracking)
    stored_kw = np.where(battery > 0.0, battery * homes.eta_charge, battery / homes.eta_discharge)
    curtail = np.minimum(kept_spill, hold.spill_curtail_kw)
    return Flows(
        battery_kw=battery,
        p_import_kw=np.maximum(p_import, 0.0),
        p_export_kw=np.minimum(np.maximum(-p_import, 0.0), hold.p_export_cap_kw),
        p_spill_plan_kw=kept_spill - curtail,
        p_spill_curtail_kw=curtail,
        p_spill_tracking_kw=tracking,
        soc_end_kwh=soc_kwh + dt_h * stored_kw,
    )
