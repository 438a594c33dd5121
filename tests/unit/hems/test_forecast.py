import numpy as np
import pytest

from hems import ConfigError, Forecaster, ForecastNoise, SeriesError


def test_no_noise_is_the_truth() -> None:
    true = np.arange(6.0).reshape(2, 3)
    sees = Forecaster(seed=1, noise=ForecastNoise())
    np.testing.assert_array_equal(sees.load_kw(true, names=["A", "B"], tick=0), true)
    np.testing.assert_array_equal(sees.pv_kw(true, names=["A", "B"], tick=0), true)


def test_tick_0_has_its_own_noise() -> None:
    true = np.full((1, 4), 2.0)
    sees = Forecaster(seed=1, noise=ForecastNoise(sigma_load=0.2, sigma_pv_nowcast=0.1))
    load, pv = (f(true, names=["A"], tick=0) for f in (sees.load_kw, sees.pv_kw))
    assert load[0, 0] == 2.0
    assert (load[0, 1:] != 2.0).all()
    assert pv[0, 0] != 2.0
    assert (pv[0, 1:] == 2.0).all()


def test_noise_has_the_size_asked_for_and_grows_with_lead_time() -> None:
    names = [f"H{i}" for i in range(2000)]
    noise = ForecastNoise(sigma_load=0.1, growth_per_h=0.5, sigma_load_nowcast=0.02)
    sees = Forecaster(seed=1, noise=noise, dt_h=1.0)
    error = sees.load_kw(np.ones((2000, 5)), names=names, tick=0).std(axis=0)
    np.testing.assert_allclose(error, [0.02, 0.15, 0.2, 0.25, 0.3], rtol=0.06)


def test_forecasts_are_never_negative_and_pv_stays_zero_at_night() -> None:
    true = np.array([[1.0, 0.0, 5.0] * 30])
    sees = Forecaster(seed=1, noise=ForecastNoise(sigma_load=3.0, sigma_pv=3.0))
    pv = sees.pv_kw(true, names=["A"], tick=0)
    assert pv.min() == 0.0
    assert (pv[true == 0.0] == 0.0).all()
    assert sees.load_kw(true, names=["A"], tick=0).min() >= 0.0


def test_adding_a_home_changes_no_other_draw_and_ticks_differ() -> None:
    true = np.ones((2, 6))
    sees = Forecaster(seed=1, noise=ForecastNoise(sigma_load=0.1))
    two = sees.load_kw(true, names=["A", "B"], tick=4)
    three = sees.load_kw(np.ones((3, 6)), names=["B", "new", "A"], tick=4)
    np.testing.assert_array_equal(two, three[[2, 0]])
    assert not np.allclose(two, sees.load_kw(true, names=["A", "B"], tick=5))
    assert not np.allclose(two, Forecaster(2, sees.noise).load_kw(true, names=["A", "B"], tick=4))
    assert not np.allclose(two[0], two[1])


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="sigma_pv"):
        ForecastNoise(sigma_pv=-0.1)
    sees = Forecaster(seed=1, noise=ForecastNoise())
    with pytest.raises(SeriesError, match=r"pv_kw of home 'B', tick 1"):
        sees.pv_kw(np.array([[1.0, 1.0], [1.0, np.nan]]), names=["A", "B"], tick=0)
