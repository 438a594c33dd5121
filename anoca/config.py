"""`Scenario`: everything a run depends on, read from TOML and checked before anything starts.

Unknown keys are errors; sections have defaults; `resolved()` writes out what was really used.
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Mapping
from datetime import date, datetime, time
from pathlib import Path
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pandas as pd
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from anoca.config_dms import DmsSection
from anoca.config_hems import DevicesSection, HemsSection
from anoca.config_reactive import ReactiveSection
from anoca.config_series import ForecastSection, SeriesSection, TariffSection
from anoca.errors import InputError
from dms import Controls, Limits
from dms.limits.stated import UNBALANCE_MAX, V_STEP_PU

SCHEMA_VERSION = 1

PATHS = (("tariff", "file"), ("series", "load_file"), ("series", "pv_file"))
"""Keys that name files, relative to the scenario file."""

TABLE_I: dict[int, dict[str, float]] = {
    1: {"A": 150, "B": 0, "C": 30},
    2: {"A": 30, "B": 150, "C": 0},
    3: {"A": 30, "B": 0, "C": 150},
    4: {"A": 0, "B": 150, "C": 30},
}
"""ANOCA Table I: export in percent of base load, by category and scenario."""

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Sigma = Annotated[float, Field(ge=0, le=10)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _band_or_exempt(value: Any) -> Any:
    numbers = isinstance(value, list | tuple) and all(type(x) in (int, float) for x in value)
    if value != "exempt" and not (numbers and len(value) == 2):
        raise ValueError('give [lowest, highest] in pu, or "exempt"')
    return value


def _factor_or_exempt(value: Any) -> Any:
    if value != "exempt" and not (type(value) in (int, float) and 0 < value < float("inf")):
        raise ValueError('give a positive factor of the rating, or "exempt"')
    return value


Exempt = Literal["exempt"]
OwnBand = Annotated[Exempt | tuple[float, float], BeforeValidator(_band_or_exempt)]
OwnFactor = Annotated[Exempt | float, BeforeValidator(_factor_or_exempt)]
ExportRule = Literal["net_keep_q", "net_unity", "behind_load"]


class Section(BaseModel):
    """Base of every section: unknown keys are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FeederSection(Section):
    """Which network.

    name     a feeder of the library, see `anoca feeder list`; or a folder of CSV tables, see
             `anoca feeder convert`; or an OpenDSS master file, Master.dss
    options  passed to the library: form = "expanded" for ieee342; n_buses, seed for synthetic
    open     names of switches to open
    """

    name: str
    options: dict[str, str | int | float | bool] = {}
    open: list[str] = []


class ExtraProsumer(Section):
    """A prosumer put at named nodes, beside those that the categories give.

    node, to   the two nodes it lies between, `bus.phase`; `to` is earth when left out
    """

    name: Annotated[str, Field(min_length=1)]
    node: str
    to: str = "0"
    base_kw: Positive
    base_kvar: Finite = 0.0
    percent: NonNegative


class ProsumersSection(Section):
    """Who has solar panels, how much, and how it enters the feeder.

    table1         scenario of ANOCA Table I (1-4); or give `percent`
    percent        export in percent of base load by category, 0 = a plain load. A load is a row of the
                   feeder's table of loads: a three-phase load of a file is three, one per phase
    category_rule  "number_mod_3": load number n, A: n mod 3 = 2, B: 1, C: 0 (case 2); "in_order": A, B, C
    export_rule    "net_keep_q": exports instead of drawing its load, keeps the load's Q;
                   "net_unity": the same with Q = 0; "behind_load": PV beside the load
    curtail_unit   "prosumer": one curtailment per prosumer; "connection": one per connection
    battery_kw     one Powerwall 2 per this many kW of base load, rounded up; 0 = no batteries
    weights        weight of the norm by prosumer, or (connection) by connection such as pv#2, default 1. It
                   multiplies the curtailment, under l2 inside the square: weight 10 counts 100-fold, and
                   between like homes about 100 times less is curtailed
    extra          prosumers at named nodes
    generators     the feeder's own generators (PV, storage, machines) that feed in are prosumers too, and ask
                   for what they deliver; snapshots only. Without it they deliver that, whatever happens
    """

    table1: Literal[1, 2, 3, 4] | None = None
    percent: dict[str, NonNegative] = {}
    category_rule: Literal["number_mod_3", "in_order"] = "number_mod_3"
    export_rule: ExportRule = "net_keep_q"
    curtail_unit: Literal["prosumer", "connection"] = "prosumer"
    battery_kw: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5.0
    weights: dict[str, Positive] = {}
    extra: list[ExtraProsumer] = []
    generators: bool = False
    reactive: ReactiveSection = ReactiveSection()

    @field_validator("battery_kw")
    @classmethod
    def _sensible_battery(cls, value: float) -> float:
        if 0 < value < 1e-3:
            raise ValueError("one Powerwall per this many kW: at least 0.001, or 0 for no batteries")
        return value

    @model_validator(mode="after")
    def _one_way_to_say_it(self) -> ProsumersSection:
        if self.table1 is not None and self.percent:
            raise ValueError("give either table1 or percent, not both")
        if unknown := set(self.percent) - {"A", "B", "C"}:
            raise ValueError(f"percent has categories A, B and C; not {', '.join(sorted(unknown))}")
        return self

    @property
    def percent_by_category(self) -> dict[str, float]:
        """Percent of base load for A, B and C."""
        given = TABLE_I[self.table1] if self.table1 else self.percent
        return {"A": 0.0, "B": 0.0, "C": 0.0, **given}


class LimitsSection(Section):
    """Voltage bands, unbalance, ratings and reverse power; see `dms.Limits`.

    band             "absolute": v_min_pu to v_max_pu; "relative": at most v_fall_pu below and v_rise_pu
                     above the tick's state with every prosumer at zero export; "both"
    band_across      "phase_to_ground"; "phase_to_phase", per unit of the nominal line-to-line voltage; "both"
    band_up_to_kv    voltage limits hold at buses up to this nominal line-to-line voltage; none: everywhere.
                     The 342-node network's source stands at 1.05: give 1.0 there, or its 230 kV buses bind
    buses            by bus: an absolute band of its own, [0.95, 1.03], or "exempt": no voltage limit there
    unbalance        limit the voltage unbalance factor |V2| / |V1| of three-phase buses to unbalance_max
    negative_sequence_max_pu  most |V2| there
    current          enforce ratings
    i_scale          every rating times this
    line_scale       and those of lines and switches times this; transformer_scale: of transformers
    elements         by element ("l1", or "line l1"): a further factor, or "exempt": its rating is left out
    i_max_default_a  rating of lines that have none
    reverse_power_max_kw  most real power back into the sources, all phases and sources summed; 0: none;
                     negative: so much must be imported
    preexisting      "relax": a limit that zero export breaks is widened and listed (with free taps: where no
                     tap ends it); "strict": infeasible unless some export keeps it as it is
    """

    v_min_pu: NonNegative = 0.90
    v_max_pu: Positive = 1.05
    band: Literal["absolute", "relative", "both"] = "absolute"
    v_fall_pu: Positive = V_STEP_PU
    v_rise_pu: Positive = V_STEP_PU
    band_across: Literal["phase_to_ground", "phase_to_phase", "both"] = "phase_to_ground"
    band_up_to_kv: Positive | None = None
    buses: dict[str, OwnBand] = {}
    unbalance: bool = False
    unbalance_max: Annotated[float, Field(gt=0, lt=1)] = UNBALANCE_MAX
    negative_sequence_max_pu: Positive | None = None
    current: bool = True
    i_scale: Positive = 1.0
    line_scale: Positive = 1.0
    transformer_scale: Positive = 1.0
    elements: dict[str, OwnFactor] = {}
    i_max_default_a: Positive | None = None
    reverse_power_max_kw: Finite | None = None
    preexisting: Literal["relax", "strict"] = "relax"

    @model_validator(mode="after")
    def _sensible(self) -> LimitsSection:
        if self.v_min_pu >= self.v_max_pu:
            raise ValueError(f"the band v_min_pu {self.v_min_pu} to v_max_pu {self.v_max_pu} is empty")
        self.limits()
        return self

    def limits(self) -> Limits:
        """As the DMS takes them."""
        values = self.model_dump()
        if values["band_up_to_kv"] is None:
            del values["band_up_to_kv"]
        for name in ("buses", "elements"):
            values[name] = {key: None if own == "exempt" else own for key, own in values[name].items()}
        return Limits(**values)


class ControlsSection(Section):
    """Taps and capacitor steps that the utility may move before it curtails; see `dms.Controls`.

    taps            transformers, each on its own, or lists of names that move together; "regulated"
                    stands for every transformer that has a regulator. What moves together must stand alike
    winding         winding whose tap moves, by transformer; default: its regulator's, else 1
    capacitors      banks
    steps_per_tick  most steps of each in a tick; none: all it has
    tries           most positions that are solved or screened in a tick
    """

    taps: list[str | list[str]] = []
    winding: dict[str, Annotated[int, Field(ge=0)]] = {}
    capacitors: list[str] = []
    steps_per_tick: Annotated[int, Field(ge=1)] | None = None
    tries: Annotated[int, Field(ge=1)] = 40

    def controls(self) -> Controls:
        """As the DMS takes them."""
        return Controls(
            taps=tuple(t if isinstance(t, str) else tuple(t) for t in self.taps),
            winding=self.winding,
            capacitors=tuple(self.capacitors),
            steps_per_tick=self.steps_per_tick,
            tries=self.tries,
        )


MOST_TICKS = 1_000_000
"""Of a run; more than nine years of five minutes."""


class ClockSection(Section):
    """When: local start, time zone, number of ticks and their length."""

    start: datetime = datetime(2026, 6, 21, 12, 30)
    timezone: str = "America/New_York"
    ticks: Annotated[int, Field(ge=1, le=MOST_TICKS, strict=True)] = 12
    step_minutes: Literal[1, 5, 10, 15, 30] = 5

    @field_validator("start")
    @classmethod
    def _local(cls, value: datetime) -> datetime:
        if value.tzinfo is not None:
            raise ValueError("start is local time without an offset; the zone is `timezone`")
        if not 1900 <= value.year <= 2200:
            raise ValueError("start must lie in the years 1900 to 2200")
        return value

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
            raise ValueError(f"unknown time zone {value!r}, for instance America/New_York") from exc
        return value

    @model_validator(mode="after")
    def _start_exists(self) -> ClockSection:
        try:
            self.first_tick()
        except ValueError as exc:
            text = str(exc).splitlines()[0]
            raise ValueError(f"start {self.start} is no single instant in {self.timezone}: {text}") from exc
        return self

    def first_tick(self) -> pd.Timestamp:
        """The start with its offset from UTC."""
        return pd.Timestamp(self.start).tz_localize(self.timezone)


class PlantSection(Section):
    """What really happens: options of the plant's own feeder, over those of `[feeder]`."""

    options: dict[str, str | int | float | bool] = {}


class OutputSection(Section):
    """What is written besides the tables that always are: node voltages per tick, plots.

    counterfactual  in a loop: let the same homes also live through a run in which everything is granted (no
                    utility, no network); table `granted`, and its bills beside those of the run in `values`
    """

    nodes: bool = True
    plots: bool = True
    counterfactual: bool = False


class Scenario(Section):
    """One run.

    mode   "snapshot": one DMS solve at OES = percent x base load; "loop": HEMS and DMS in time
    sweep  dotted key -> list of values; `anoca sweep` runs their product
    """

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    description: str = ""
    mode: Literal["snapshot", "loop"] = "loop"
    seed: Annotated[int, Field(ge=0)]
    feeder: FeederSection
    prosumers: ProsumersSection = ProsumersSection()
    dms: DmsSection = DmsSection()
    limits: LimitsSection = LimitsSection()
    controls: ControlsSection = ControlsSection()
    hems: HemsSection = HemsSection()
    devices: DevicesSection = DevicesSection()
    tariff: TariffSection = TariffSection()
    series: SeriesSection = SeriesSection()
    forecast: ForecastSection = ForecastSection()
    clock: ClockSection = ClockSection()
    plant: PlantSection = PlantSection()
    output: OutputSection = OutputSection()
    sweep: dict[str, list[Any]] = {}

    @model_validator(mode="after")
    def _generators_have_no_day(self) -> Scenario:
        if self.prosumers.generators and self.mode != "snapshot":
            raise ValueError(
                "prosumers.generators: a generator of the feeder has one operating point and no day of its "
                'own; it can be a prosumer in mode = "snapshot" only'
            )
        return self

    @model_validator(mode="after")
    def _devices_have_a_day(self) -> Scenario:
        if self.devices.asked and self.mode != "loop":
            raise ValueError('devices: a snapshot has no day to live through; take mode = "loop"')
        return self

    @model_validator(mode="after")
    def _counterfactual_of_a_day(self) -> Scenario:
        if self.output.counterfactual and self.mode != "loop":
            raise ValueError('output.counterfactual: a snapshot has no bills; take mode = "loop"')
        return self

    @model_validator(mode="after")
    def _bids_of_homes(self) -> Scenario:
        if self.dms.weight_by == "bid" and self.mode != "loop":
            raise ValueError(
                'dms.weight_by = "bid": in a snapshot no home plans, or bids; take mode = "loop"'
            )
        return self

    @model_validator(mode="after")
    def _fairness_over_a_day(self) -> Scenario:
        if self.dms.cumulative_fairness and self.mode != "loop":
            raise ValueError(
                'dms.cumulative_fairness: a snapshot has no past to make up for; take mode = "loop"'
            )
        return self

    def in_force(self) -> str:
        """Limits and controls in one line, for tables and plots."""
        return f"{self.limits.limits().describe()}; {self.controls.controls().describe()}"

    def resolved(self) -> dict[str, Any]:
        """Every setting that was used, as plain data that JSON and TOML can hold."""
        data: dict[str, Any] = json.loads(self.model_dump_json(exclude_none=True))
        return data

    def with_overrides(self, overrides: Mapping[str, Any]) -> Scenario:
        """A copy with some dotted keys changed: {"dms.norm": "l1"}; the sweep grid is dropped.

        Raises  InputError  an unknown key or a bad value
        """
        data = self.model_dump(exclude_none=True)
        data["sweep"] = {}
        for key, value in overrides.items():
            *path, last = key.split(".")
            place = data
            for part in path:
                place = place.setdefault(part, {})
                if not isinstance(place, dict):
                    raise InputError(f"override {key}: `{part}` is a value and has no keys below it")
            place[last] = value
        return _validated(data, "override " + ", ".join(overrides))


def load_scenario(path: str | Path) -> Scenario:
    """Read and check a scenario file; paths inside it are relative to it.

    Raises  InputError  the file is missing, is not TOML, or has issues (all of them)
    """
    path = Path(path)
    if not path.is_file():
        there = [p.name for p in path.parent.glob("*.toml")]
        near = difflib.get_close_matches(path.name, there, n=1, cutoff=0.75)
        hint = f"; did you mean {path.parent / near[0]}?" if near else "; see `anoca scenarios list`"
        raise InputError(f"no scenario file {path}{hint}")
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise InputError(f"{path} is not readable as TOML: {exc}") from exc
    _resolve_paths(data, path.parent)
    feeder = data.get("feeder")
    if isinstance(feeder, dict) and isinstance(feeder.get("name"), str) and feeder["name"]:
        there = path.parent / feeder["name"]
        if there.is_dir() or there.suffix.lower() in (".dss", ".json"):
            feeder["name"] = str(there.resolve())
    return _validated(data, str(path))


def _resolve_paths(data: dict[str, Any], folder: Path) -> None:
    """File names in sections and in the grid start at the scenario's folder."""

    def absolute(value: Any) -> Any:
        return str((folder / value).resolve()) if isinstance(value, str) else value

    swept = data.get("sweep")
    for section, key in PATHS:
        part = data.get(section)
        if isinstance(part, dict) and key in part:
            part[key] = absolute(part[key])
        if isinstance(swept, dict) and isinstance(swept.get(f"{section}.{key}"), list):
            swept[f"{section}.{key}"] = [absolute(value) for value in swept[f"{section}.{key}"]]


def _validated(data: Mapping[str, Any], where: str) -> Scenario:
    try:
        return Scenario.model_validate(data)
    except ValidationError as exc:
        raise InputError([_explain(error, where) for error in exc.errors()]) from exc


def _explain(error: Any, where: str) -> str:
    """One sentence per issue: where, what, and the near key if one was misspelt."""
    key = ".".join(str(part) for part in error["loc"]) or "scenario"
    if error["type"] == "extra_forbidden":
        known = _keys_at(error["loc"][:-1])
        return f"{where}: `{key}`: {_unknown('key', str(error['loc'][-1]), known)}"
    if error["type"] == "missing":
        return f"{where}: `{key}` is missing; add it"
    message = error["msg"].removeprefix("Value error, ")
    value = error["input"]
    shown = str(value) if isinstance(value, date | time) else repr(value)
    given = "" if error["loc"] == () or isinstance(value, dict) else f" (given: {shown})"
    return f"{where}: `{key}`: {message}{given}"


def _keys_at(location: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Scenario
    for part in location:
        annotation = model.model_fields[part].annotation if part in model.model_fields else None
        if part == "extra":
            annotation = ExtraProsumer
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
    return list(model.model_fields)


def _unknown(what: str, given: str, known: Any) -> str:
    near = difflib.get_close_matches(given, list(known), n=1, cutoff=0.5)
    hint = f"did you mean `{near[0]}`? " if near else ""
    return f"{hint}unknown {what} {given!r}; known: {', '.join(known)}"
