"""What a home does when load and PV come out otherwise than forecast: the meter obeys, the plan gives way.

The battery keeps its set-point b. PV that the plan spilled stays spilled as far as the surplus still exceeds
the planned export. If the rest of the surplus would pass the export cap,

    let devices give less;   charge more (first discharge less), up to Pc and e_max;   then spill, as tracking

A deficit is imported. So export never passes the cap, and one of charge and discharge is always zero. Where a
home's battery may not export, or not charge from the grid, its set-point is cut down to the net load, or to
the surplus, that there is.
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
    draw_kw          what devices draw, of which ruled_draw_kw charges batteries that `grid_charging` is for
    give_kw          what devices give
    spill_kw         planned spill, of which spill_curtail_kw is due to the curtailment
    p_export_kw      planned export        p_export_cap_kw   what export must not pass
    """

    battery_kw: Floats
    spill_kw: Floats
    spill_curtail_kw: Floats
    p_export_kw: Floats
    p_export_cap_kw: Floats
    draw_kw: Floats | float = 0.0
    ruled_draw_kw: Floats | float = 0.0
    give_kw: Floats | float = 0.0


@dataclass(frozen=True)
class Flows:
    """What flowed during the tick, (n,) kW, and the SOC at its end, kWh.

    give_kw, ruled_draw_kw   what is left of those of the set-points
    """

    battery_kw: Floats
    give_kw: Floats
    ruled_draw_kw: Floats
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

    E_end = keep E + (eta_c c - d / eta_d) dt       (1c), with what was really charged or discharged
    """
    kept_kwh = (1.0 - homes.self_discharge_per_h) ** dt_h * soc_kwh
    most_in = np.minimum(
        homes.p_charge_kw, np.maximum(homes.soc_hi_kwh - kept_kwh, 0.0) / (homes.eta_charge * dt_h)
    )
    most_out = np.minimum(
        homes.p_discharge_kw, np.maximum(kept_kwh - homes.soc_lo_kwh, 0.0) * homes.eta_discharge / dt_h
    )
    battery = np.clip(hold.battery_kw, -most_out, most_in)
    surplus = pv_kw - load_kw - hold.draw_kw + hold.give_kw - battery
    kept_spill = np.minimum(hold.spill_kw, np.clip(surplus - hold.p_export_kw, 0.0, pv_kw))
    load_kw = load_kw + hold.draw_kw - hold.ruled_draw_kw
    battery, give, ruled_draw = _ruled(homes, hold, battery, net_kw=load_kw - (pv_kw - kept_spill))
    load_kw = load_kw + ruled_draw
    surplus = pv_kw - load_kw + give - battery
    less = np.minimum(np.maximum(surplus - kept_spill - hold.p_export_cap_kw, 0.0), give)
    give, surplus = give - less, surplus - less
    load_kw = load_kw - give
    excess = np.maximum(surplus - kept_spill - hold.p_export_cap_kw, 0.0)
    more = np.minimum(excess, most_in - battery)
    battery = battery + more
    tracking = np.minimum(excess - more, pv_kw - kept_spill)
    p_import = load_kw + battery - (pv_kw - kept_spill - tracking)
    stored_kw = np.where(battery > 0.0, battery * homes.eta_charge, battery / homes.eta_discharge)
    curtail = np.minimum(kept_spill, hold.spill_curtail_kw)
    return Flows(
        battery_kw=battery,
        give_kw=give,
        ruled_draw_kw=ruled_draw,
        p_import_kw=np.maximum(p_import, 0.0),
        p_export_kw=np.minimum(np.maximum(-p_import, 0.0), hold.p_export_cap_kw),
        p_spill_plan_kw=kept_spill - curtail,
        p_spill_curtail_kw=curtail,
        p_spill_tracking_kw=tracking,
        soc_end_kwh=kept_kwh + dt_h * stored_kw,
    )


def _ruled(
    homes: HomeArrays, hold: SetPoints, battery: Floats, *, net_kw: Floats
) -> tuple[Floats, Floats, Floats]:
    """Return battery power, what devices give and what charges them, cut to the rules of the homes.

    net_kw   load and unruled draw less PV used
    """
    give = np.broadcast_to(np.asarray(hold.give_kw, dtype=float), battery.shape)
    draw = np.broadcast_to(np.asarray(hold.ruled_draw_kw, dtype=float), battery.shape)
    if homes.battery_export.all() and homes.grid_charging.all():
        return battery, give, draw
    most_in = np.where(homes.grid_charging, np.inf, np.maximum(-net_kw, 0.0))
    draw = np.minimum(draw, most_in)
    most_out = np.where(homes.battery_export, np.inf, np.maximum(net_kw + draw, 0.0))
    give = np.minimum(give, most_out)
    return np.clip(battery, give - most_out, most_in - draw), give, draw
