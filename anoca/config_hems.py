"""`[hems]` and `[devices]`: how homes plan, and what some of them have beside PV and a battery."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hems import ForecastNoise, HemsConfig

Share = Annotated[float, Field(ge=0, le=1)]
Sigma = Annotated[float, Field(ge=0, le=10)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
LEAST_TRIP_MINUTES = 180
"""Between the clock times at which vehicles leave and come back; homes differ from them by up to an hour."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class HemsSection(_Section):
    """The home energy management; see `hems.HemsConfig`, `hems.Home` and `hems.ForecastNoise`.

    target_time     "HH:MM" at which soc_target is wanted, local; without it at the end of every horizon
    salvage_value_per_kwh  what energy left at the end is worth, instead of a target
    expect_repeat   ticks after a curtailment in which a home expects the same cap
    battery_export, grid_charging  false: no battery discharges while its home exports; none charges while it
                    imports. Where a rule binds a home is planned by MILP, which is slower
    export_limit_per_peak  static export limit of every home over its PV peak; 0: no export at all
    """

    horizon: Annotated[int, Field(ge=1, le=2016)] = 96
    soc_start: Share = 0.5
    soc_target: Share = 0.5
    terminal: Literal["soft", "equality"] = "soft"
    tie_break: Literal["least_battery", "defer_export", "export_early"] = "least_battery"
    backend: Literal["auto", "dp", "dp_compiled", "lp", "milp", "pyomo"] = "auto"
    wear_price_per_kwh: NonNegative = 0.0
    target_time: str | None = None
    salvage_value_per_kwh: NonNegative | None = None
    expect_repeat: Annotated[int, Field(ge=0)] = 0
    battery_export: bool = True
    grid_charging: bool = True
    export_limit_per_peak: NonNegative | None = None
    sigma_load: Sigma = 0.05
    sigma_pv: Sigma = 0.05
    growth_per_h: Sigma = 0.0
    sigma_load_nowcast: Sigma = 0.01
    sigma_pv_nowcast: Sigma = 0.01

    @model_validator(mode="after")
    def _whole(self) -> HemsSection:
        self.config(5.0)
        return self

    def config(self, step_minutes: float, *, end: Literal["error", "shrink"] = "error") -> HemsConfig:
        """As the fleet takes it.

        Raises  ConfigError  settings that exclude each other
        """
        names = (
            "horizon",
            "soc_target",
            "terminal",
            "tie_break",
            "backend",
            "wear_price_per_kwh",
            "target_time",
            "salvage_value_per_kwh",
            "expect_repeat",
        )
        return HemsConfig(step_minutes=step_minutes, end=end, **{n: getattr(self, n) for n in names})

    def noise(self) -> ForecastNoise:
        """As the forecaster takes it."""
        names = ("sigma_load", "sigma_pv", "growth_per_h", "sigma_load_nowcast", "sigma_pv_nowcast")
        return ForecastNoise(**{n: getattr(self, n) for n in names})


class DevicesSection(_Section):
    """Electric vehicles and hot-water heat pumps of the prosumers, in a loop; on top of their loads.

    vehicle_share, heat_pump_share  of the homes; a prosumer of 60 kW stands for 12, and each of them has one
                       or not by a draw that hangs on seed and name. What a prosumer has is planned as one
    vehicle_kwh, vehicle_kw  capacity of one vehicle and power of its charger
    trip_kwh           energy of a day's trips; a vehicle wants to leave with 80 %, and returns with that less
    away_at, back_at   local clock times "HH:MM"; a prosumer's own are up to an hour earlier or later
    v2g                vehicles may discharge, with the power of the charger
    heat_pump_kw       electric power of one heat pump, COP 3, on a tank kept between 45 and 60 degrees
    tank_l, hot_water_kwh  litres of one tank, and heat drawn from it in a day, mostly mornings and evenings
    """

    vehicle_share: Share = 0.0
    vehicle_kwh: Positive = 60.0
    vehicle_kw: Positive = 7.0
    trip_kwh: NonNegative = 8.0
    away_at: str = "08:00"
    back_at: str = "17:30"
    v2g: bool = False
    heat_pump_share: Share = 0.0
    heat_pump_kw: Positive = 1.0
    tank_l: Positive = 300.0
    hot_water_kwh: NonNegative = 6.0

    @field_validator("away_at", "back_at")
    @classmethod
    def _clock_time(cls, value: str) -> str:
        if not _CLOCK.fullmatch(value):
            raise ValueError("write a clock time HH:MM")
        return value

    @model_validator(mode="after")
    def _sensible(self) -> DevicesSection:
        if self.trip_kwh > 0.8 * self.vehicle_kwh:
            raise ValueError(
                f"trip_kwh {self.trip_kwh:g} is more than 80 % of vehicle_kwh {self.vehicle_kwh:g}"
            )
        apart = (minutes_of(self.back_at) - minutes_of(self.away_at)) % (24 * 60)
        if not LEAST_TRIP_MINUTES <= apart <= 24 * 60 - LEAST_TRIP_MINUTES:
            raise ValueError(
                f"away_at {self.away_at} and back_at {self.back_at} are less than three hours apart"
            )
        return self

    @property
    def asked(self) -> bool:
        """Some home may have one."""
        return self.vehicle_share > 0 or self.heat_pump_share > 0


def minutes_of(clock: str) -> int:
    """Minutes after midnight of "HH:MM"."""
    hour, minute = map(int, clock.split(":"))
    return 60 * hour + minute
