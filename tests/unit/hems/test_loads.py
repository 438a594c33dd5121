import numpy as np
import pandas as pd
import pytest

from hems import SeriesError, home_loads
from hems.appliances import Runs, poisson
from hems.load_models import EUROPEAN, NEW_YORK
from hems.loads import noon_kw
from hems.occupancy import OCCUPANTS, presence

NY = "America/New_York"
NAMES = [f"home {k}" for k in range(200)]


def day(date: str, step: str = "5min") -> pd.DatetimeIndex:
    start = pd.Timestamp(date, tz=NY)
    return pd.date_range(start, start + pd.DateOffset(days=1), freq=step, inclusive="left")


def test_adding_a_home_or_moving_the_window_changes_no_other_draw() -> None:
    times = day("2026-06-20").append(day("2026-06-21"))
    few, many = home_loads(["A", "B"], times, seed=3), home_loads(["X", "B", "A"], times, seed=3)
    np.testing.assert_array_equal(few, many[[2, 1]])
    part = home_loads(["A", "B"], times[200:296], seed=3)
    np.testing.assert_array_equal(few[:, 200:296], part)
    assert not np.allclose(few[0], few[1])
    assert not np.allclose(few[:, :288], few[:, 288:])
    assert not np.allclose(few, home_loads(["A", "B"], times, seed=4))


@pytest.mark.parametrize("model", [EUROPEAN, NEW_YORK])
@pytest.mark.parametrize(("date", "hours"), [("2026-07-15", 24), ("2026-03-08", 23), ("2026-11-01", 25)])
def test_energy_does_not_depend_on_the_step(date: str, hours: int, model: object) -> None:
    fine = home_loads(NAMES[:20], day(date, "1min"), seed=1, model=model)  # type: ignore[arg-type]
    assert fine.shape == (20, hours * 60)
    assert fine.min() > 0.0
    for minutes in (5, 15, 30):
        coarse = home_loads(NAMES[:20], day(date, f"{minutes}min"), seed=1, model=model)  # type: ignore[arg-type]
        np.testing.assert_allclose(coarse, fine.reshape(20, -1, minutes).mean(axis=2), rtol=1e-9)


def test_a_name_that_stands_for_many_homes_is_their_sum() -> None:
    times = day("2026-06-21")
    sums = home_loads(["A", "B"], times, seed=2, n_homes=[3, 1])
    each = home_loads(["A", "A/1", "A/2", "B"], times, seed=2)
    np.testing.assert_allclose(sums, [each[:3].sum(axis=0), each[3]], rtol=1e-12)


# Measured: the 100 one-minute profiles of the IEEE European LV feeder, five-minute means; the full table is
# docs/load-calibration.md. Bands are for one population of 200 homes, not for the mean of ten.
def test_a_population_is_like_the_measured_one() -> None:
    load = home_loads(NAMES, day("2026-03-18"), seed=0)
    kwh, peak = 24 * load.mean(axis=1), load.max(axis=1)
    assert kwh.mean() == pytest.approx(8.42, rel=0.10)
    assert peak.mean() == pytest.approx(3.55, rel=0.12)
    assert (load.mean(axis=1) / peak).mean() == pytest.approx(0.108, rel=0.12)
    assert load.sum(axis=0).max() / peak.sum() == pytest.approx(0.195, rel=0.2)
    away = load - load.mean(axis=1, keepdims=True)
    rho = (away[:, 1:] * away[:, :-1]).mean() / away.var()
    assert rho == pytest.approx(0.75, abs=0.08)


def test_homes_in_new_york_are_larger_and_cooled_in_summer() -> None:
    winter, summer = (
        24 * home_loads(NAMES, day(d), seed=0, model=NEW_YORK).mean() for d in ("2026-01-14", "2026-07-15")
    )
    assert 17 < winter < summer < 32


def test_noon_is_what_a_prosumers_base_load_is_scaled_by() -> None:
    assert noon_kw() == pytest.approx(0.45, abs=0.1)


def test_people_sleep_at_night_and_work_by_day() -> None:
    rng = np.random.default_rng(0)
    n, hours = 400, np.tile((np.arange(144) + 0.5) / 6, (400, 1))
    people = {
        works: presence(
            size=np.full(n, 2),
            works=np.full((n, OCCUPANTS), works),
            hours=hours,
            workday=True,
            start=rng.random((n, OCCUPANTS)),
            draws=rng.random((n, OCCUPANTS, 144)),
        )
        for works in (True, False)
    }
    for there in people.values():
        assert there.active[:, 18:30].mean() < 0.2  # 3:00 to 5:00, of two
        assert (there.active <= there.home).all()
        assert there.home.max() == 2
    assert people[True].home[:, 60:96].mean() < 0.4 * people[False].home[:, 60:96].mean()  # 10:00 to 16:00


def test_a_run_is_spread_exactly_over_the_steps_it_touches() -> None:
    sums = np.zeros((2, 4))
    runs = Runs(np.array([0, 1]), np.array([2.5, 18.0]), np.array([12.5, 99.0]), np.array([4.0, 1.0]))
    runs.add_to(sums, 5.0)
    np.testing.assert_allclose(np.cumsum(sums, axis=1), [[2.0, 4.0, 2.0, 0.0], [0.0, 0.0, 0.0, 0.4]])


def test_counts_follow_poissons_law_up_to_the_most() -> None:
    draws = (np.arange(10_000) + 0.5) / 10_000
    count = poisson(draws, np.full(10_000, 1.5), most=9)
    assert count.mean() == pytest.approx(1.5, abs=0.01)
    assert (count == 0).mean() == pytest.approx(np.exp(-1.5), abs=1e-3)
    assert poisson(np.array([0.999999]), np.array([50.0]), most=4) == 4
    assert poisson(np.array([0.999]), np.array([0.0]), most=4) == 0


@pytest.mark.parametrize("n_homes", [[1], [1, 0], [2, -3]])
def test_homes_behind_a_name_are_counted(n_homes: list[int]) -> None:
    with pytest.raises(SeriesError, match="n_homes"):
        home_loads(["a", "b"], day("2026-06-21"), seed=1, n_homes=n_homes)


def test_naive_times_are_refused() -> None:
    with pytest.raises(SeriesError, match="naive"):
        home_loads(["a"], pd.date_range("2026-06-21", periods=4, freq="5min"), seed=1)
