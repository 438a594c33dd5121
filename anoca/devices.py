"""Electric vehicles and heat pumps of a scenario's prosumers: who has them, timetables, hot water."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd

from anoca.config import Scenario
from anoca.config_hems import DevicesSection, minutes_of
from anoca.placement import Placement, homes_behind
from feeders.table import Array
from hems import Home, generator
from hems.devices import Device, ElectricVehicle, HeatPump, Stay

VEHICLES, HEAT_PUMPS = 101, 102
"""Random streams; numbers below 100 belong to `hems`."""

FULL = 0.8  # of its capacity that a vehicle wants to leave with
ETA = 0.93  # of a charger, each way
COP, COMFORT_C, START_C, ROOM_C = 3.0, (45.0, 60.0), 52.0, 18.0
KWH_PER_LITRE_K = 1.163e-3  # water
LOSS_KW_PER_K = 0.0025  # of one tank: about 2 kWh a day, as good tanks of 300 litres have
COMFORT_PRICE = 0.5  # $/(K h)
BUMPS = ((7.0, 1.0, 0.45), (19.5, 1.5, 0.45), (13.0, 3.0, 0.10))  # hour, width, share of hot water


def managed_homes(scenario: Scenario, placement: Placement, times: pd.DatetimeIndex) -> list[Home]:
    """The prosumers as the HEMS sees them in a loop: with the rules of `[hems]` and their devices.

    times   (T,) ticks of the run and the horizon behind them
    """
    hems, section = scenario.hems, scenario.devices
    limit = math.inf if hems.export_limit_per_peak is None else hems.export_limit_per_peak
    behind = homes_behind(placement.base_kw)
    found = []
    for i, home in enumerate(placement.homes()):
        devices = _devices(section, scenario.seed, home.name, int(behind[i]), times) if section.asked else ()
        found.append(
            replace(
                home,
                export_limit_kw=limit * float(placement.p_peak_kw[i]) if math.isfinite(limit) else math.inf,
                battery_export=hems.battery_export,
                grid_charging=hems.grid_charging,
                devices=devices,
            )
        )
    return found


def _devices(
    section: DevicesSection, seed: int, name: str, homes: int, times: pd.DatetimeIndex
) -> tuple[Device, ...]:
    """What the homes behind one prosumer have, each kind as one."""
    made: list[Device] = []
    rng = generator(seed, VEHICLES, name=name, tick=0)
    shift = rng.uniform(-60.0, 60.0, 2)
    if n := int((rng.random(homes) < section.vehicle_share).sum()):
        made.append(_vehicle(section, n, times, shift))
    rng = generator(seed, HEAT_PUMPS, name=name, tick=0)
    late_h = float(rng.uniform(-1.0, 1.0))
    if n := int((rng.random(homes) < section.heat_pump_share).sum()):
        made.append(_heat_pump(section, n, times, late_h))
    return tuple(made)


def _vehicle(section: DevicesSection, n: int, times: pd.DatetimeIndex, shift: Array) -> ElectricVehicle:
    capacity, power = n * section.vehicle_kwh, n * section.vehicle_kw
    leaves, comes = FULL * capacity, FULL * capacity - n * section.trip_kwh
    step_h = (times[1] - times[0]) / pd.Timedelta(hours=1)
    stays = []
    for back, away in _nights(section, times, shift):
        there_h = max(0, -back) * step_h  # before the run began it has been charging
        arrival = min(leaves, comes + ETA * power * there_h)
        stays.append(Stay(arrive_tick=back, depart_tick=away, arrival_kwh=arrival, departure_kwh=leaves))
    return ElectricVehicle(
        name="vehicle",
        capacity_kwh=capacity,
        p_charge_kw=power,
        stays=tuple(stays),
        v2g=section.v2g,
        p_discharge_kw=power if section.v2g else 0.0,
        eta_charge=ETA,
        eta_discharge=ETA,
    )


def _nights(section: DevicesSection, times: pd.DatetimeIndex, shift: Array) -> list[tuple[int, int]]:
    """Ticks of coming back and leaving again, from before the first tick to behind the last."""
    step = times[1] - times[0]
    back_min, away_min = minutes_of(section.back_at), minutes_of(section.away_at)
    overnight = away_min <= back_min
    first, last = times[0].tz_localize(None).normalize(), times[-1].tz_localize(None).normalize()

    def tick(midnight: pd.Timestamp, minutes: float) -> int:
        local = midnight + pd.Timedelta(minutes=round(minutes))
        instant = local.tz_localize(times.tz, ambiguous=True, nonexistent="shift_forward")
        return math.ceil((instant - times[0]) / step)

    found = []
    for day in pd.date_range(first - pd.Timedelta(days=1), last, freq="D"):
        leaves_on = day + pd.Timedelta(days=1) if overnight else day
        back, away = tick(day, back_min + shift[0]), tick(leaves_on, away_min + shift[1])
        if away > 0:
            found.append((back, max(away, back + 1)))
    return found


def _heat_pump(section: DevicesSection, n: int, times: pd.DatetimeIndex, late_h: float) -> HeatPump:
    hour = np.asarray(times.hour + times.minute / 60.0, dtype=float)
    heat_kw = np.zeros(len(times))
    for centre, width, share in BUMPS:
        away = np.abs(hour - centre - late_h)
        away = np.minimum(away, 24.0 - away)
        heat_kw += share / (width * math.sqrt(2 * math.pi)) * np.exp(-0.5 * (away / width) ** 2)
    heat_kw *= n * section.hot_water_kwh  # the bumps hold 1 over a day
    return HeatPump(
        name="heat_pump",
        p_max_kw=n * section.heat_pump_kw,
        cop=COP,
        capacity_kwh_per_k=n * section.tank_l * KWH_PER_LITRE_K,
        loss_kw_per_k=n * LOSS_KW_PER_K,
        start_c=START_C,
        comfort_lo_c=COMFORT_C[0],
        comfort_hi_c=COMFORT_C[1],
        comfort_price_per_kh=n * COMFORT_PRICE,
        ambient_c=ROOM_C,
        heat_kw=tuple(heat_kw.tolist()),
    )
