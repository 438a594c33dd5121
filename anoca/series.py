"""True series of a run: load, available PV and prices over all ticks and the horizon behind them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from anoca.config import Scenario
from anoca.errors import InputError
from anoca.placement import Placement, homes_behind
from dms.limits import some
from feeders import Loads
from feeders.table import Array
from hems import (
    ForecastMethod,
    PowerFile,
    Tariff,
    draw_roofs,
    export_prices,
    home_loads,
    load_shape,
    make_forecaster,
    ny_like_rtp,
    ny_like_tou,
    pv_shape,
    read_powers,
    read_prices,
    roof_pv,
)
from hems.errors import ArbitrageError, HemsError, TicksMissingError
from hems.load_models import EUROPEAN, NEW_YORK
from hems.loads import noon_kw
from hems.prices import SUPPLY_PER_KWH

log = logging.getLogger(__name__)

FAR = 20.0
"""A home's mean load over its base kW, or the other way round, from which on the unit is in doubt."""

MODELS = {"european": EUROPEAN, "new_york": NEW_YORK}


@dataclass(frozen=True)
class Series:
    """What is true, tick by tick; T = ticks + horizon, H = ticks of history before the first.

    T is less where files end before that and `series.end` is "shrink".

    times            (T,) tz-aware starts
    load_kw, pv_kw   (n, T) of the prosumers, PV as available
    load_scale       (n, T) load over base load; the load's Q follows it
    plain_scale      (n_loads, T) the same for the plain loads
    audit            what became of the values of files, one line each
    past_times, past_load_kw, past_pv_kw  (H,), (n, H) what a forecaster may know at the first tick
    """

    times: pd.DatetimeIndex
    tariff: Tariff
    load_kw: Array
    pv_kw: Array
    load_scale: Array
    plain_scale: Array
    past_times: pd.DatetimeIndex
    past_load_kw: Array
    past_pv_kw: Array
    audit: tuple[str, ...] = ()


def forecaster(scenario: Scenario) -> ForecastMethod:
    """The scenario's method of forecasting.

    Raises  InputError  an unknown method, class or option
    """
    section, dt_h = scenario.forecast, scenario.clock.step_minutes / 60
    try:
        return make_forecaster(
            section.method,
            seed=scenario.seed,
            dt_h=dt_h,
            noise=scenario.hems.noise(),
            options=section.options,
        )
    except HemsError as exc:
        raise InputError(f"forecast.method: {exc}") from exc


def build_series(scenario: Scenario, placement: Placement) -> Series:
    """Synthetic series, or the user's, on the scenario's clock.

    Raises  InputError  a file is missing, too short, off the clock, NaN or negative; prices with
                        import below export
    """
    clock = scenario.clock
    length = clock.ticks + scenario.hems.horizon
    step_h = clock.step_minutes / 60
    history = math.ceil(getattr(forecaster(scenario), "history_h", 0.0) / step_h)
    step = pd.Timedelta(minutes=clock.step_minutes)
    times = pd.date_range(clock.first_tick() - history * step, periods=history + length, freq=step)
    try:
        shape, load, audit = _loads(scenario, placement, times)
        pv, more = _pv(scenario, placement, times)
        names, base = list(placement.feeder[Loads].name), placement.feeder[Loads].p_kw
        plain = _shape(scenario, names, base, times[history:])
        tariff, prices = _tariff(scenario, times[history:])
    except ArbitrageError as exc:
        where = scenario.tariff.file if scenario.tariff.kind == "csv" else "tariff"
        raise InputError(
            f"{where}: export pays more than import costs at {exc.ticks} tick(s), the first at {exc.first}; "
            "lower export_price_per_kwh or raise import_price_per_kwh there"
        ) from exc
    except TicksMissingError as exc:
        raise InputError(f"{exc}{_history_wanted(scenario, exc, times[history])}") from exc
    except HemsError as exc:
        raise InputError(str(exc)) from exc
    said = (*audit, *more, *prices)
    for line in said:
        log.warning("%s", line)
    # What files do not reach is left out; `hold` and `error` leave nothing out.
    now = slice(history, min(load.shape[1], pv.shape[1], history + tariff.n_ticks))
    shape, plain = shape[:, : now.stop], plain[:, : now.stop - history]
    return Series(
        times=times[now],
        tariff=tariff.window(0, now.stop - history),
        load_kw=load[:, now],
        pv_kw=pv[:, now],
        load_scale=shape[:, now],
        plain_scale=plain,
        past_times=times[:history],
        past_load_kw=load[:, :history],
        past_pv_kw=pv[:, :history],
        audit=said,
    )


def _loads(
    scenario: Scenario, placement: Placement, times: pd.DatetimeIndex
) -> tuple[Array, Array, tuple[str, ...]]:
    """Load over base load, load in kW, and what a file's values went through."""
    names, base, section = list(placement.name), placement.base_kw, scenario.series
    if section.load_file is None:
        shape = _shape(scenario, names, base, times)
        return shape, base[:, None] * shape, ()
    rules = section.rules(_run_end(scenario))
    found = read_powers(section.load_file, names, times, what="load", rules=rules)
    audit = [
        *found.audit,
        *_not_prosumers(scenario, placement, found),
        *_out_of_scale(scenario, placement, found),
    ]
    return np.divide(found.kw, base[:, None]), found.kw, tuple(audit)


def _not_prosumers(scenario: Scenario, placement: Placement, found: PowerFile) -> Iterator[str]:
    """Columns of loads that a user may take for homes."""
    plain = {str(name) for name in placement.feeder[Loads].name} - {str(name) for name in placement.name}
    known = [c for c in found.unused if {c, c.rpartition("_")[0]} & plain]
    if known:
        yield (
            f"{scenario.series.load_file}: these loads are not prosumers and stay at their base kW times "
            f'series.load = "{scenario.series.load}", whatever the file says: {some(known)}'
        )


def _out_of_scale(scenario: Scenario, placement: Placement, found: PowerFile) -> Iterator[str]:
    """Homes whose mean is so far from their base kW that the unit is in doubt."""
    mean, base = found.kw.mean(axis=1), placement.base_kw
    times = np.divide(mean, base, out=np.ones(len(base)), where=base > 0)
    far = np.flatnonzero((times > FAR) | (times < 1 / FAR))
    if len(far):
        each = [f"{placement.name[k]}: {mean[k]:.6g} (base {base[k]:.4g})" for k in far]
        yield (
            f"{scenario.series.load_file}: the mean load of {len(far)} of {len(base)} homes is more than "
            f"{FAR:g} times, or less than 1/{FAR:g} of, their base kW; are these watts? see series.unit. "
            f"Means in kW by home: {some(each)}"
        )


def _history_wanted(scenario: Scenario, missing: TicksMissingError, first: pd.Timestamp) -> str:
    """That the method of forecasting is why ticks before the first one are asked for."""
    if pd.Timestamp(missing.time) >= first:
        return ""
    method, hours = scenario.forecast.method, getattr(forecaster(scenario), "history_h", 0.0)
    return (
        f'; forecast.method = "{method}" looks back {hours:g} hours from the first tick, {first}: '
        "let the file begin that much earlier, or take another method"
    )


def _shape(scenario: Scenario, names: list[str], base_kw: Array, times: pd.DatetimeIndex) -> Array:
    """Load over base load: 1 around noon, of "homes" on the average over homes."""
    homes = homes_behind(base_kw)
    if scenario.series.load == "curve":
        return load_shape(names, times, seed=scenario.seed, n_homes=list(homes))
    model = MODELS[scenario.series.load_model]
    load = home_loads(names, times, seed=scenario.seed, n_homes=list(homes), model=model)
    return np.divide(load, homes[:, None] * noon_kw(model))


def _pv(scenario: Scenario, placement: Placement, times: pd.DatetimeIndex) -> tuple[Array, tuple[str, ...]]:
    """Available PV in kW, and what a file's values went through."""
    names, section, seed = list(placement.name), scenario.series, scenario.seed
    if section.pv_file is not None:
        rules = section.rules(_run_end(scenario))
        found = read_powers(section.pv_file, names, times, what="PV", rules=rules)
        return found.kw, found.audit
    if section.pv == "roofs":
        roofs = draw_roofs(names, seed=seed, largest_lag_s=section.cloud_lag_s)
        sun = roof_pv(roofs, times, seed=seed, clouds=section.sky, per="clear_peak")
    else:
        sky = "broken" if section.sky == "broken" else "clear"
        sun = pv_shape(times, seed=seed, sky=sky)[None, :]  # type: ignore[arg-type]
    return placement.p_peak_kw[:, None] * sun, ()


def _run_end(scenario: Scenario) -> pd.Timestamp:
    clock = scenario.clock
    return clock.first_tick() + clock.ticks * pd.Timedelta(minutes=clock.step_minutes)


def _tariff(scenario: Scenario, times: pd.DatetimeIndex) -> tuple[Tariff, tuple[str, ...]]:
    """Prices of import and export, and what a file's values went through.

    Raises  InputError  a file is asked for and none named
    """
    section, seed = scenario.tariff, scenario.seed
    rule, per_kwh = section.export_rule, section.export_per_kwh
    if section.kind == "csv":
        if section.file is None:
            raise InputError("tariff.kind is 'csv': give tariff.file")
        how = replace(scenario.series.rules(_run_end(scenario)), resample=section.resample)
        found = read_prices(section.file, times, rules=how)
        return found.tariff, found.audit
    if section.kind == "ny_like_rtp":
        more = {"allow_negative": section.negative, "delivery": section.delivery}
        return ny_like_rtp(times, seed=seed, export=rule, export_per_kwh=per_kwh, **more), ()  # type: ignore[arg-type]
    if section.kind == "flat":
        bought = np.full(len(times), section.import_price_per_kwh)
    else:
        bought = ny_like_tou(times).import_price_per_kwh
    supply = np.full(len(times), SUPPLY_PER_KWH)
    return Tariff(bought, export_prices(rule, bought, supply=supply, per_kwh=per_kwh), times=times), ()
