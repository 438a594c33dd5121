from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hems import ConfigError, FileRules, SeriesFileError, TariffError, read_powers, read_prices

NY = "America/New_York"
TIMES = pd.date_range("2026-06-21 12:30", periods=12, freq="5min", tz=NY)
NAMES = ["1", "farm"]


def frame(times: pd.DatetimeIndex = TIMES) -> pd.DataFrame:
    k = np.arange(len(times), dtype=float)
    return pd.DataFrame({"time": times, "1": 1.0 + k, "farm": 2.0 * k})


def written(folder: Path, table: pd.DataFrame, name: str = "load.csv") -> Path:
    path = folder / name
    if path.suffix == ".csv":
        table.to_csv(path, index=False)
    else:
        table.to_parquet(path, index=False)
    return path


@pytest.mark.parametrize("name", ["load.csv", "load.parquet"])
@pytest.mark.parametrize("long", [False, True])
def test_wide_and_long_files_give_the_same(tmp_path: Path, name: str, long: bool) -> None:
    table = frame()
    if long:
        table = table.melt(id_vars="time", var_name="prosumer", value_name="load_kw")
    found = read_powers(written(tmp_path, table, name), NAMES[::-1], TIMES)
    np.testing.assert_array_equal(found.kw, [2.0 * np.arange(12), 1.0 + np.arange(12)])
    assert found.audit == ()
    assert not found.kw.flags.writeable


@pytest.mark.parametrize(("ending", "factor"), [("_kw", 1.0), ("_w", 1e-3), ("_kwh", 12.0)])
def test_the_unit_is_the_ending_of_the_column(tmp_path: Path, ending: str, factor: float) -> None:
    table = frame().rename(columns={"farm": f"farm{ending}"})
    found = read_powers(written(tmp_path, table), NAMES, TIMES)
    np.testing.assert_allclose(found.kw[1], factor * 2.0 * np.arange(12))
    np.testing.assert_array_equal(found.kw[0], 1.0 + np.arange(12))
    assert len(found.audit) == (ending != "_kw")


def test_a_unit_may_be_given_and_a_long_file_has_it_in_its_value_column(tmp_path: Path) -> None:
    watts = read_powers(written(tmp_path, frame()), NAMES, TIMES, rules=FileRules(unit="w"))
    np.testing.assert_allclose(watts.kw[0], 1e-3 * (1.0 + np.arange(12)))
    long = frame().melt(id_vars="time", var_name="home", value_name="energy_kwh").assign(other=1)
    rules = FileRules(value="energy_kwh")
    energy = read_powers(written(tmp_path, long, "long.csv"), NAMES, TIMES, rules=rules)
    np.testing.assert_allclose(energy.kw[0], 12.0 * (1.0 + np.arange(12)))
    with pytest.raises(SeriesFileError, match="energy_kwh, other"):
        read_powers(tmp_path / "long.csv", NAMES, TIMES)
    with pytest.raises(ConfigError, match="unit='MW'"):
        FileRules(unit="MW")  # type: ignore[arg-type]


@pytest.mark.parametrize("step", ["1min", "15min", "30min", "60min"])
@pytest.mark.parametrize("unit", ["kw", "kwh"])
def test_resampling_is_asked_for_keeps_the_energy_and_is_said(tmp_path: Path, step: str, unit: str) -> None:
    wide = pd.date_range("2026-06-21 12:00", periods=3 * 60, freq="1min", tz=NY)
    of_file = pd.date_range(wide[0], wide[-1], freq=step)
    path = written(tmp_path, frame(of_file))
    ticks = pd.date_range("2026-06-21 13:00", periods=12, freq="5min", tz=NY)
    with pytest.raises(SeriesFileError, match="resample = true"):
        read_powers(path, NAMES, ticks)
    rules = FileRules(resample=True, unit=unit)  # type: ignore[arg-type]
    found = read_powers(path, NAMES, ticks, rules=rules)
    inside = (of_file >= ticks[0]) & (of_file < ticks[0] + pd.Timedelta(hours=1))
    hours = 1.0 if unit == "kwh" else pd.Timedelta(step) / pd.Timedelta(hours=1)
    np.testing.assert_allclose(found.kw[0].sum() / 12, frame(of_file)["1"][inside].sum() * hours)
    assert any(word in found.audit[-1] for word in ("held", "averaged"))


def test_steps_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, frame(pd.date_range(TIMES[0], periods=40, freq="7min")))
    with pytest.raises(SeriesFileError, match="do not fit"):
        read_powers(path, NAMES, TIMES, rules=FileRules(resample=True))


def test_rows_out_of_order_are_sorted_and_said(tmp_path: Path) -> None:
    found = read_powers(written(tmp_path, frame().iloc[::-1]), NAMES, TIMES)
    np.testing.assert_array_equal(found.kw[0], 1.0 + np.arange(12))
    assert "sorted" in found.audit[0]


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    path.write_text(frame().to_csv(index=False), encoding="utf-8-sig")
    np.testing.assert_array_equal(read_powers(path, NAMES, TIMES).kw[0], 1.0 + np.arange(12))


def test_separators_that_are_no_commas_are_named(tmp_path: Path) -> None:
    path = tmp_path / "load.csv"
    for mark, said in ((";", "';'"), ("\t", "tabs")):
        text = frame().to_csv(index=False, sep=mark).replace("farm", "farm" + mark.join(map(str, range(200))))
        path.write_text(text)
        with pytest.raises(SeriesFileError, match=f"separated by {said}. write commas") as caught:
            read_powers(path, NAMES, TIMES)
        assert len(str(caught.value)) < len(str(path)) + 150


def test_unused_columns_are_said(tmp_path: Path) -> None:
    many = frame().assign(**{f"x{k}": 0.0 for k in range(35)})
    found = read_powers(written(tmp_path, many), ["1"], TIMES)
    assert "36 column(s) not used: farm, x0, x1, x2, x3, ... (31 more)" in found.audit[0]
    assert len(found.unused) == 36
    assert "1 column(s) not used: farm" in read_powers(written(tmp_path, frame()), ["1"], TIMES).audit[0]


def spoilt(column: str, row: int, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def spoil(table: pd.DataFrame) -> pd.DataFrame:
        table = table.astype({column: object})
        table.loc[row, column] = value
        return table

    return spoil


def naive(table: pd.DataFrame) -> pd.DataFrame:
    return table.assign(time=[str(t)[:-6] for t in table["time"]])


BAD: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], str, str, str]] = {
    "no number": (spoilt("farm", 3, "much"), "not a number", "farm", "2026-06-21 12:45:00-04:00"),
    "empty": (spoilt("farm", 3, ""), "not a number", "farm", "2026-06-21 12:45:00-04:00"),
    "infinite": (spoilt("farm", 3, "inf"), "not a number", "farm", "2026-06-21 12:45:00-04:00"),
    "negative": (spoilt("1", 4, -2.0), "powers are >= 0", "1", "2026-06-21 12:50:00-04:00"),
    "twice": (lambda f: pd.concat([f, f.iloc[[5]]]), "twice", "time", "2026-06-21 12:55:00-04:00"),
    "gap": (lambda f: f.drop(index=6), "1 of 12 ticks missing", "time", "2026-06-21 13:00:00-04:00"),
    "short": (lambda f: f.iloc[:9], "3 of 12 ticks missing", "time", "2026-06-21 13:15:00-04:00"),
    "off the clock": (
        lambda f: f.assign(time=f["time"] + pd.Timedelta(minutes=2)),
        "12 of 12 ticks missing",
        "time",
        "2026-06-21 12:30:00-04:00",
    ),
    "irregular": (
        lambda f: f.assign(time=[*f["time"][:7], f["time"][7] + pd.Timedelta(minutes=1), *f["time"][8:]]),
        "one regular step",
        "time",
        "2026-06-21 13:06:00-04:00",
    ),
    "naive": (naive, "series.file_timezone", "time", "2026-06-21 12:30:00"),
    "no time": (spoilt("time", 2, "noon"), "is no time", "time", "noon"),
    "no column": (lambda f: f.drop(columns="farm"), "1 column(s) missing", "farm", ""),
    "no time column": (lambda f: f.rename(columns={"time": "when"}), "no column `time`", "time", ""),
    "no rows": (lambda f: f.iloc[:0], "no rows", "time", ""),
    "two units": (lambda f: f.assign(farm_kw=f["farm"]), "all of farm", "farm_kw", ""),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files_are_refused_with_file_column_and_time(tmp_path: Path, case: str) -> None:
    spoil, message, column, time = BAD[case]
    path = written(tmp_path, spoil(frame()))
    with pytest.raises(SeriesFileError) as caught:
        read_powers(path, NAMES, TIMES)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)
    assert (caught.value.path, caught.value.column, caught.value.time) == (str(path), column, time)


def test_a_negative_value_does_not_hide_in_a_mean(tmp_path: Path) -> None:
    minutes = pd.date_range(TIMES[0], periods=60, freq="1min")
    path = written(tmp_path, spoilt("1", 7, -0.5)(frame(minutes)))
    with pytest.raises(SeriesFileError, match="12:37:00-04:00"):
        read_powers(path, NAMES, TIMES, rules=FileRules(resample=True))


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SeriesFileError, match="no PV file"):
        read_powers(tmp_path / "nowhere.csv", NAMES, TIMES, what="PV")
    for name in ("empty.csv", "bad.parquet"):
        (tmp_path / name).write_text("")
        with pytest.raises(SeriesFileError, match="not readable as"):
            read_powers(tmp_path / name, NAMES, TIMES)
    (tmp_path / "twice.csv").write_text("time,1,1\n2026-06-21T12:30-04:00,1,2\n")
    with pytest.raises(SeriesFileError, match="column 1 stands there twice"):
        read_powers(tmp_path / "twice.csv", NAMES, TIMES)


@pytest.mark.parametrize("date", ["2026-03-08", "2026-11-01"])
def test_wall_clock_times_of_a_zone_pass_through_a_clock_change(tmp_path: Path, date: str) -> None:
    start = pd.Timestamp(date, tz=NY)
    times = pd.date_range(start, start + pd.DateOffset(days=1), freq="5min", inclusive="left")
    path = written(tmp_path, naive(frame(times)))
    found = read_powers(path, NAMES, times, rules=FileRules(timezone=NY))
    np.testing.assert_array_equal(found.kw[0], 1.0 + np.arange(len(times)))
    with pytest.raises(SeriesFileError, match="unknown time zone 'Mars"):
        read_powers(path, NAMES, times, rules=FileRules(timezone="Mars/Olympus"))


@pytest.mark.parametrize("name", ["load.csv", "load.parquet"])
@pytest.mark.parametrize(
    ("start", "message", "time"),
    [
        ("2026-03-08 01:00", "does not exist", "2026-03-08 02:00:00"),  # skipped by the clock
        ("2026-11-01 01:00", "two instants", "2026-11-01 01:00:00"),  # there once, meant twice
    ],
)
def test_wall_clock_times_that_are_no_single_instant(
    tmp_path: Path, name: str, start: str, message: str, time: str
) -> None:
    wall = pd.date_range(start, periods=36, freq="5min")
    path = written(tmp_path, frame(wall), name)
    ticks = pd.date_range(wall[0].date(), periods=3, freq="5min", tz=NY)
    with pytest.raises(SeriesFileError, match=message) as caught:
        read_powers(path, NAMES, ticks, rules=FileRules(timezone=NY))
    assert caught.value.time == time


def prices(times: pd.DatetimeIndex = TIMES) -> pd.DataFrame:
    columns = {"import_price_per_kwh": 0.2 + 0.01 * np.arange(len(times)), "export_price_per_kwh": -0.01}
    return pd.DataFrame({"time": times, **columns})


def test_prices_may_be_negative_and_per_megawatt_hour(tmp_path: Path) -> None:
    found = read_prices(written(tmp_path, prices()), TIMES)
    assert found.tariff.export_price_per_kwh.max() == -0.01
    assert found.tariff.times is TIMES
    per_mwh = prices().rename(columns={"import_price_per_kwh": "import_price_per_mwh"})
    per_mwh["import_price_per_mwh"] *= 1000
    again = read_prices(written(tmp_path, per_mwh), TIMES)
    np.testing.assert_allclose(again.tariff.import_price_per_kwh, found.tariff.import_price_per_kwh)
    assert "divided by 1000" in again.audit[0]


def test_prices_are_held_when_asked_and_checked(tmp_path: Path) -> None:
    hourly = prices(pd.date_range("2026-06-21 12:00", periods=3, freq="1h", tz=NY))
    found = read_prices(written(tmp_path, hourly), TIMES, rules=FileRules(resample=True))
    np.testing.assert_allclose(found.tariff.import_price_per_kwh, [0.2] * 6 + [0.21] * 6)
    dear = prices().assign(export_price_per_kwh=1.0)
    with pytest.raises(TariffError, match="export pays more"):
        read_prices(written(tmp_path, dear), TIMES)
    assert read_prices(tmp_path / "load.csv", TIMES, allow_arbitrage=True).tariff.arbitrage.all()
    with pytest.raises(SeriesFileError, match="export_price_per_kwh"):
        read_prices(written(tmp_path, prices().drop(columns="export_price_per_kwh")), TIMES)
