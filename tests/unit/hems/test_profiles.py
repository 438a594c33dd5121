import numpy as np
import pandas as pd
import pytest

from hems import ConfigError, SeriesError, load_shape, pv_shape
from hems.solar import cos_zenith, haurwitz_w_per_m2

NY = "America/New_York"


def day(date: str, step: str = "5min") -> pd.DatetimeIndex:
    start = pd.Timestamp(date, tz=NY)
    return pd.date_range(start, start + pd.DateOffset(days=1), freq=step, inclusive="left")


@pytest.mark.parametrize("date", ["2023-06-21", "2023-03-12", "2023-11-05"])  # normal, 23 h, 25 h
@pytest.mark.parametrize("step", ["5min", "15min", "1min"])
def test_load_averages_one_around_noon_of_every_day(date: str, step: str) -> None:
    times = day(date, step)
    shape = load_shape(["A", "B", "C"], times, seed=3)
    minutes = times.hour * 60 + times.minute
    noon = (minutes >= 11 * 60 + 30) & (minutes < 13 * 60 + 30)
    assert noon.sum() == pd.Timedelta("2h") / pd.Timedelta(step)
    np.testing.assert_allclose(shape[:, noon].mean(axis=1), 1.0, atol=1e-12)
    assert shape.min() >= 0.0
    assert np.isfinite(shape).all()


def test_load_differs_between_homes_days_and_seeds() -> None:
    two_days = day("2023-06-21").append(day("2023-06-22"))
    shape = load_shape(["A", "B"], two_days, seed=3)
    assert abs(np.corrcoef(shape)[0, 1]) < 0.99
    assert not np.allclose(shape[0, :288], shape[0, 288:])
    assert not np.allclose(shape, load_shape(["A", "B"], two_days, seed=4))


def test_adding_a_home_or_moving_the_window_changes_nothing() -> None:
    times = day("2023-06-21").append(day("2023-06-22"))
    few, many = load_shape(["A", "B"], times, seed=3), load_shape(["X", "B", "A"], times, seed=3)
    np.testing.assert_array_equal(few, many[[2, 1]])
    np.testing.assert_array_equal(few[:, 200:296], load_shape(["A", "B"], times[200:296], seed=3))
    for sky in ("clear", "broken"):
        whole, part = pv_shape(times, seed=3, sky=sky), pv_shape(times[200:296], seed=3, sky=sky)
        np.testing.assert_array_equal(whole[200:296], part)


def test_clear_sky_is_high_at_solar_noon_and_zero_at_night() -> None:
    times = day("2023-06-21")
    shape = pv_shape(times, seed=1)
    assert 0.95 < shape.max() <= 1.0
    # Solar noon of that day at 74 W is at 12:58 daylight time; the factor moves the peak a little.
    clear = haurwitz_w_per_m2(cos_zenith(times, latitude=40.71, longitude=-74.0))
    assert abs(times[clear.argmax()] - pd.Timestamp("2023-06-21 12:58", tz=NY)) <= pd.Timedelta("3min")
    assert shape[times.hour < 5].max() == 0.0
    assert shape[times.hour >= 21].max() == 0.0


@pytest.mark.parametrize(
    ("instant", "elevation_deg"),
    [
        # Elevation at solar noon = 90 - latitude + declination; equinox and solstices of 2023.
        ("2023-06-21 16:58", 90 - 40.71 + 23.44),
        ("2023-12-21 16:54", 90 - 40.71 - 23.44),
        ("2023-03-20 17:03", 90 - 40.71 - 0.07),
    ],
)
def test_solar_position_at_noon(instant: str, elevation_deg: float) -> None:
    times = pd.DatetimeIndex([pd.Timestamp(instant, tz="UTC")])
    cos_z = cos_zenith(times, latitude=40.71, longitude=-74.0)
    assert 90.0 - np.degrees(np.arccos(cos_z[0])) == pytest.approx(elevation_deg, abs=0.2)


def test_solar_time_is_the_same_across_the_clock_change() -> None:
    # The last day of standard time and the first of daylight time peak one hour apart on the clock.
    before, after = (pv_shape(day(d), seed=1).argmax() for d in ("2023-03-11", "2023-03-13"))
    assert abs(int(after) - int(before) - 12) <= 4


def test_haurwitz_at_the_zenith() -> None:
    assert haurwitz_w_per_m2(np.array([1.0, 0.0, -0.5])) == pytest.approx([1098 * np.exp(-0.059), 0, 0])


def test_broken_sky_lies_below_clear_and_varies_more() -> None:
    times = day("2023-06-21")
    clear, broken = pv_shape(times, seed=5), pv_shape(times, seed=5, sky="broken")
    assert broken.min() >= 0.0
    assert broken.max() <= 1.0
    sunny = clear > 0.1
    assert broken[sunny].sum() < 0.95 * clear[sunny].sum()
    assert np.abs(np.diff(broken[sunny])).mean() > 5 * np.abs(np.diff(clear[sunny])).mean()


@pytest.mark.parametrize(
    ("times", "message"),
    [
        (pd.date_range("2023-06-21", periods=4, freq="5min"), "naive"),
        (pd.date_range("2023-06-21", periods=4, freq="7min", tz=NY), "divide 30 minutes"),
        (pd.date_range("2023-06-21 00:01", periods=4, freq="5min", tz=NY), "steps after midnight"),
        (pd.date_range("2023-06-21", periods=1, freq="5min", tz=NY), "at least two"),
        (pd.date_range("2023-06-21", periods=4, freq="5min", tz=NY)[[0, 1, 3]], "equally spaced"),
        (pd.date_range("2023-06-21", periods=4, freq="5min", tz=NY)[::-1], "increase"),
    ],
)
def test_bad_times_are_refused(times: pd.DatetimeIndex, message: str) -> None:
    with pytest.raises(SeriesError, match=message):
        load_shape(["A"], times, seed=1)
    with pytest.raises(SeriesError, match=message):
        pv_shape(times, seed=1)


def test_unknown_sky_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'clear'"):
        pv_shape(day("2023-06-21"), seed=1, sky="clera")


def test_an_aggregate_of_homes_is_smoother_than_one() -> None:
    times = pd.date_range("2026-06-21", periods=288, freq="5min", tz="America/New_York")
    names = [f"node {k}" for k in range(40)]
    one = load_shape(names, times, seed=1)
    many = load_shape(names, times, seed=1, n_homes=[100] * len(names))
    roughness = [np.abs(np.diff(shape, n=2, axis=1)).mean() for shape in (one, many)]
    assert roughness[1] < 0.2 * roughness[0]  # 1 / sqrt(100); second differences leave out the day curve
    noon = (times.hour * 60 + times.minute >= 690) & (times.hour * 60 + times.minute < 810)
    assert np.allclose(many[:, noon].mean(axis=1), 1.0, rtol=1e-12)


@pytest.mark.parametrize("n_homes", [[1], [1, 0], [2, -3]])
def test_homes_behind_a_name_are_counted(n_homes: list[int]) -> None:
    times = pd.date_range("2026-06-21", periods=12, freq="5min", tz="America/New_York")
    with pytest.raises(SeriesError, match="n_homes"):
        load_shape(["a", "b"], times, seed=1, n_homes=n_homes)
