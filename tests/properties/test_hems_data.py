"""Laws of generated and read series, whatever the seed, the day and the step."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from hems import FileRules, draw_roofs, home_loads, ny_like_rtp, read_powers, roof_pv
from hems.load_models import EUROPEAN, NEW_YORK
from hems.solar import Site, cos_zenith

NAMES = ["a", "b", "c"]
ZONES = ("America/New_York", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe", "UTC")
CLOCK_CHANGES = [date(2026, 3, 8), date(2026, 11, 1), date(2026, 3, 29), date(2026, 10, 25), date(2026, 4, 5)]
seeds = st.integers(0, 2**32)
days = st.dates(date(2020, 1, 1), date(2030, 12, 31)) | st.sampled_from(CLOCK_CHANGES)
zones = st.sampled_from(ZONES)
minutes = st.sampled_from([5, 10, 15, 30])
few = settings(max_examples=25, deadline=None)


def whole_day(day: date, zone: str, step: int) -> pd.DatetimeIndex:
    start = pd.Timestamp(day).tz_localize(zone)
    return pd.date_range(start, start + pd.DateOffset(days=1), freq=f"{step}min", inclusive="left")


@few
@given(seeds, days, zones, minutes, st.sampled_from([EUROPEAN, NEW_YORK]))
def test_loads_are_positive_and_keep_their_energy(seed, day, zone, step, model):
    fine, coarse = (home_loads(NAMES, whole_day(day, zone, m), seed=seed, model=model) for m in (5, step))
    assert np.isfinite(fine).all()
    assert fine.min() > 0.0
    np.testing.assert_allclose(fine.sum(axis=1) * 5, coarse.sum(axis=1) * step, rtol=1e-9)


@few
@given(seeds, days, zones, minutes, st.sampled_from(["clear", "broken", "overcast", "mixed"]))
def test_pv_is_zero_at_night_below_the_inverter_and_keeps_its_energy(seed, day, zone, step, clouds):
    roofs, site = draw_roofs(NAMES, seed=seed), Site(50.0, 10.0)
    fine, coarse = (
        roof_pv(roofs, whole_day(day, zone, m), seed=seed, clouds=clouds, site=site) for m in (5, step)
    )
    times = whole_day(day, zone, 5) + pd.Timedelta(minutes=2.5)
    night = cos_zenith(times, latitude=50.0, longitude=10.0) <= 0
    assert fine.min() >= 0.0
    assert (fine[:, night] == 0.0).all()
    assert (fine.max(axis=1) <= [roof.inverter for roof in roofs]).all()
    np.testing.assert_allclose(fine.sum(axis=1) * 5, coarse.sum(axis=1) * step, rtol=1e-9)


@few
@given(seeds, days, zones, st.lists(st.text(min_size=1), unique=True, max_size=4))
def test_nothing_depends_on_who_else_is_there(seed, day, zone, others):
    times = whole_day(day, zone, 30)
    more = [name for name in others if name not in NAMES]
    among = [*more, *NAMES[::-1]]
    alone, together = (home_loads(names, times, seed=seed) for names in (NAMES, among))
    np.testing.assert_array_equal(alone, together[[among.index(name) for name in NAMES]])
    alone, together = (roof_pv(draw_roofs(names, seed=seed), times, seed=seed) for names in (NAMES, among))
    np.testing.assert_array_equal(alone, together[[among.index(name) for name in NAMES]])


@few
@given(seeds, days, zones, minutes, st.sampled_from(["supply", "net", "none"]), st.booleans())
def test_prices_are_finite_and_never_pay_for_turning_round(seed, day, zone, step, export, negative):
    times = whole_day(day, zone, step)
    tariff = ny_like_rtp(times, seed=seed, export=export, allow_negative=negative)
    assert np.isfinite(tariff.import_price_per_kwh).all()
    assert not tariff.arbitrage.any()


@few
@given(
    st.lists(st.floats(0, 1e4), min_size=12, max_size=12),
    st.sampled_from([1, 5, 15, 30, 60]),
    st.sampled_from(["kw", "w", "kwh"]),
    st.sampled_from(["csv", "parquet"]),
    st.booleans(),
)
def test_a_file_read_at_any_step_keeps_its_energy(values, step, unit, ending, long):
    of_file = pd.date_range("2026-11-01 00:00", periods=12, freq=f"{step}min", tz="America/New_York")
    table = pd.DataFrame({"time": of_file, "a": values, "b": 2 * np.array(values)})
    if long:
        table = table.melt(id_vars="time", var_name="home", value_name="kwh" if unit == "kwh" else "value")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"load.{ending}"
        table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path, index=False)
        tick = min(step * 12, 5)
        ticks = pd.date_range(of_file[0], of_file[-1] + pd.Timedelta(minutes=step), freq=f"{tick}min")[:-1]
        rules = FileRules(unit=unit, resample=True)
        found = read_powers(path, ["b", "a"], ticks[: 12 * step // tick], rules=rules)
    hours = {"kw": step / 60, "w": step / 60e3, "kwh": 1.0}[unit]
    used = sum(values[: len(ticks) * tick // step]) * hours
    np.testing.assert_allclose(found.kw.sum(axis=1) * tick / 60, [2 * used, used], rtol=1e-9, atol=1e-9)
