"""`[tariff]`, `[series]` and `[forecast]`: what is true, what it costs, and what homes believe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hems import ConfigError, FileRules
from hems.clouds import MAX_LAG_S
from hems.forecasters import check_method

Finite = Annotated[float, Field(allow_inf_nan=False)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TariffSection(_Section):
    """Prices: synthetic and New-York-like, flat, or from a file. Homes know them over their horizon.

    kind      "ny_like_tou": delivery by the clock, flat supply; "ny_like_rtp": supply that changes every five
              minutes, seeded; "flat"; "csv": from `file`
    delivery  of ny_like_rtp: "flat", or "tou" by the clock
    export    what export pays: "flat" export_price_per_kwh; "share" export_share of the import price;
              "supply" the supply price; "net" the import price; "none" nothing. Default: "supply" of
              ny_like_rtp, else "flat". Never more than the import price
    negative  ny_like_rtp: supply may be below zero at sunny noons of spring
    file      CSV or Parquet: time, import_price_per_kwh, export_price_per_kwh (or per_mwh)
    resample  let a file have other steps than the clock: shorter ones are averaged, longer ones held
    """

    kind: Literal["ny_like_tou", "ny_like_rtp", "flat", "csv"] = "ny_like_tou"
    import_price_per_kwh: Finite = 0.25
    export_price_per_kwh: Finite = 0.05
    delivery: Literal["flat", "tou"] = "flat"
    export: Literal["flat", "share", "supply", "net", "none"] | None = None
    export_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    negative: bool = False
    file: Path | None = None
    resample: bool = False

    @model_validator(mode="after")
    def _rule_fits(self) -> TariffSection:
        if self.kind == "csv" and self.export is not None:
            raise ValueError("a tariff file brings its export prices; leave `export` out")
        if self.kind == "flat" and self.export == "supply":
            raise ValueError('a flat tariff has no supply price; take export = "flat" or "share"')
        return self

    @property
    def export_rule(self) -> Literal["flat", "share", "supply", "net", "none"]:
        """The rule that holds."""
        return self.export or ("supply" if self.kind == "ny_like_rtp" else "flat")

    @property
    def export_per_kwh(self) -> float:
        """What the rule goes with: a price, or a share of one."""
        return self.export_share if self.export_rule == "share" else self.export_price_per_kwh


class SeriesSection(_Section):
    """True load and PV of the prosumers, kW: synthetic, or from CSV or Parquet.

    load       "curve": a day curve with noise, 1 around noon; "homes": built from people and appliances, 1
               around noon on the average of homes and days of June; both times base kW
    load_model  of "homes": "european" or "new_york"
    pv         "shared": one curve for all, and sky "clear" or "broken"; "roofs": each its own orientation,
               inverter and lag under one moving sky, which may also be "overcast" or "mixed" (all in turn)
    cloud_lag_s  of "roofs": longest time that clouds take to cross the neighbourhood
    load_file, pv_file  wide: column time, then one per prosumer; or long: time, prosumer, one value column.
               Loads that are not prosumers are not read from it: they keep following `load` at their base kW
    unit       of columns that do not end in _kw, _w or _kwh (kWh per step of the file)
    file_timezone  of times without offset from UTC (prices too); without it they are refused
    resample   let files have other steps than the clock: shorter ones are averaged, longer ones held
    end        of the files (prices too): "error": they cover the run and the horizon of its last tick;
               "hold": a horizon may reach behind their end, and sees their last 24 hours again; "shrink":
               horizons end with the files
    """

    load: Literal["curve", "homes"] = "curve"
    load_model: Literal["european", "new_york"] = "new_york"
    pv: Literal["shared", "roofs"] = "shared"
    sky: Literal["clear", "broken", "overcast", "mixed"] = "clear"
    cloud_lag_s: Annotated[float, Field(ge=0, le=MAX_LAG_S)] = 60.0
    load_file: Path | None = None
    pv_file: Path | None = None
    unit: Literal["kw", "w", "kwh"] = "kw"
    file_timezone: str | None = None
    resample: bool = False
    end: Literal["error", "hold", "shrink"] = "error"

    @field_validator("file_timezone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        try:
            ZoneInfo(value or "UTC")
        except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
            raise ValueError(f"unknown time zone {value!r}, for instance America/New_York") from exc
        return value

    @model_validator(mode="after")
    def _sky_fits(self) -> SeriesSection:
        if self.pv == "shared" and self.sky not in ("clear", "broken"):
            raise ValueError(
                f'sky = "{self.sky}" needs pv = "roofs"; the shared curve has "clear" and "broken"'
            )
        return self

    def rules(self, run_end: pd.Timestamp) -> FileRules:
        """As the loaders take them; ticks before the end of the run are needed whatever `end` says."""
        return FileRules(
            unit=self.unit,
            timezone=self.file_timezone,
            resample=self.resample,
            end=self.end,
            needed_until=run_end,
        )


class ForecastSection(_Section):
    """What homes believe about load and PV.

    method   "noisy": the truth with the errors of `[hems]`; "perfect"; "persistence": the same clock time of
             the day before, drawn towards what was last; or "module:Class", see `hems.ForecastMethod`
    options  of persistence: blend_h, hours (default 1); or of the class
    """

    method: str = "noisy"
    options: dict[str, str | int | float | bool] = {}

    @field_validator("method")
    @classmethod
    def _a_name(cls, value: str) -> str:
        try:
            check_method(value)
        except ConfigError as exc:
            raise ValueError(f"{exc} Or name a class of your own: module:Class") from exc
        return value
