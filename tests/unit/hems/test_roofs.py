import numpy as np
import pandas as pd
import pytest

from hems import ConfigError, HomeError, Roof, SeriesError, draw_roofs, roof_pv
from hems.roofs import PERFORMANCE
from hems.solar import cos_zenith, erbs_diffuse_share, sun_direction

NY = "America/New_York"


def day(date: str, step: str = "5min") -> pd.DatetimeIndex:
    start = pd.Timestamp(date, tz=NY)
    return pd.date_range(start, start + pd.DateOffset(days=1), freq=step, inclusive="left")


def test_a_clear_june_day_gives_what_a_south_roof_should() -> None:
    pv = roof_pv([Roof(inverter=2.0)], day("2026-06-21"), seed=0, clouds="clear")[0]
    # 8.1 kWh/m2 in the plane of array: a clear-sky library's figure for this place, day and plane.
    assert pv.sum() / 12 / PERFORMANCE == pytest.approx(8.1, rel=0.03)
    assert pv[:48].max() == 0.0


def test_the_inverter_clips() -> None:
    times = day("2026-06-21")
    wide, narrow = roof_pv([Roof(inverter=2.0), Roof(inverter=0.6)], times, seed=0, clouds="clear")
    assert narrow.max() == 0.6
    np.testing.assert_allclose(narrow, np.minimum(wide, 0.6), atol=1e-12)


def test_east_peaks_before_south_before_west() -> None:
    roofs = [Roof(azimuth_deg=a, inverter=2.0) for a in (90.0, 180.0, 270.0)]
    peaks = roof_pv(roofs, day("2026-06-21"), seed=0, clouds="clear").argmax(axis=1)
    assert (np.diff(peaks) > 6).all()


def test_a_flat_roof_sees_the_horizontal_light_alone() -> None:
    times = day("2026-03-20")
    flat = roof_pv([Roof(tilt_deg=0.0, azimuth_deg=90.0), Roof(tilt_deg=0.0)], times, seed=0)
    np.testing.assert_allclose(flat[0], flat[1], atol=1e-12)


def test_per_clear_peak_is_a_share_of_each_roofs_own_best() -> None:
    roofs = draw_roofs([f"h{k}" for k in range(30)], seed=1)
    for date in ("2026-06-21", "2026-12-21"):
        clear = roof_pv(roofs, day(date), seed=1, clouds="clear", per="clear_peak")
        assert ((clear.max(axis=1) > 0.9) & (clear.max(axis=1) <= 1.0)).all()
    assert roof_pv(roofs, day("2026-06-21"), seed=1, clouds="broken", per="clear_peak").max() < 1.15


def test_adding_a_home_or_moving_the_window_changes_nothing() -> None:
    few, many = draw_roofs(["A", "B"], seed=3), draw_roofs(["X", "B", "A"], seed=3)
    assert few == [many[2], many[1]]
    times = day("2026-06-21").append(day("2026-06-22"))
    whole = roof_pv(many, times, seed=3)
    np.testing.assert_array_equal(roof_pv(few, times, seed=3), whole[[2, 1]])
    np.testing.assert_array_equal(roof_pv(many, times[200:296], seed=3), whole[:, 200:296])


@pytest.mark.parametrize(("date", "hours"), [("2026-03-08", 23), ("2026-11-01", 25)])
def test_days_of_a_clock_change_are_whole_and_longer_steps_are_means(date: str, hours: int) -> None:
    roofs = draw_roofs(["A", "B"], seed=3)
    five, quarter = (roof_pv(roofs, day(date, step), seed=3) for step in ("5min", "15min"))
    assert five.shape[1] == hours * 12
    np.testing.assert_allclose(quarter, five.reshape(2, -1, 3).mean(axis=2), rtol=1e-12)


def test_homes_of_a_neighbourhood_move_together() -> None:
    roofs = draw_roofs([f"h{k}" for k in range(20)], seed=1)
    pv = roof_pv(roofs, day("2026-06-21"), seed=1, clouds="broken", per="clear_peak")[:, 120:192]
    assert np.corrcoef(np.diff(pv, axis=1)).mean() > 0.7
    other = roof_pv(roofs, day("2026-06-21"), seed=2, clouds="broken", per="clear_peak")[:, 120:192]
    assert abs(np.corrcoef(np.diff(pv[0]), np.diff(other[0]))[0, 1]) < 0.4


def test_the_suns_direction_is_a_unit_vector_and_rises_in_the_east() -> None:
    times = day("2026-06-21", "30min")
    sun = sun_direction(times, latitude=40.71, longitude=-74.0)
    np.testing.assert_allclose((sun**2).sum(axis=0), 1.0, rtol=1e-12)
    np.testing.assert_array_equal(sun[2], cos_zenith(times, latitude=40.71, longitude=-74.0))
    assert sun[0, 16] > 0 > sun[0, 32]  # 8:00 and 16:00


def test_light_of_an_overcast_sky_is_all_diffuse() -> None:
    share = erbs_diffuse_share(np.array([[50.0, 900.0]]), np.array([0.9, 0.9]), np.array([172.0, 172.0]))
    assert share[0, 0] > 0.98
    assert share[0, 1] < 0.3


@pytest.mark.parametrize(
    "bad", [{"tilt_deg": 91.0}, {"azimuth_deg": -1.0}, {"inverter": 0.0}, {"lag_s": 1e9}]
)
def test_impossible_roofs_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(HomeError, match=next(iter(bad))):
        Roof(**bad)


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'clear_peak'"):
        roof_pv([Roof()], day("2026-06-21"), seed=1, per="clear_peek")  # type: ignore[arg-type]
    with pytest.raises(SeriesError, match="naive"):
        roof_pv([Roof()], pd.date_range("2026-06-21", periods=4, freq="5min"), seed=1)
    with pytest.raises(ConfigError, match="largest_lag_s"):
        draw_roofs(["A"], seed=1, largest_lag_s=-1.0)
