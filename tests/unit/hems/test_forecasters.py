import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hems import (
    ConfigError,
    Forecaster,
    ForecastNoise,
    ForecastView,
    SeriesError,
    believed,
    make_forecaster,
    register_forecaster,
)

NY = "America/New_York"
NAMES = ["A", "B"]


def view(kind: str, now: str = "2026-06-22 09:00", *, tick: int = 3, days: float = 1.1) -> ForecastView:
    """Load and PV that are the same every day, by the clock; B has twice A's."""
    start = pd.Timestamp(now, tz=NY)
    past = pd.date_range(end=start, periods=round(days * 288) + 1, freq="5min", inclusive="left")
    ahead = pd.date_range(start, periods=96, freq="5min")
    return ForecastView(
        kind,  # type: ignore[arg-type]
        NAMES,
        tick,
        past,
        np.outer([1.0, 2.0], daily(past, kind)),
        ahead,
        np.outer([1.0, 2.0], daily(ahead, kind)),
    )


def daily(times: pd.DatetimeIndex, kind: str) -> np.ndarray:
    hour = times.hour + times.minute / 60
    wave = np.cos(2 * np.pi * (hour - (19 if kind == "load" else 13)) / 24)
    return np.asarray(1.5 + wave if kind == "load" else np.maximum(wave, 0.0))


@pytest.mark.parametrize("kind", ["load", "pv"])
def test_perfect_is_the_truth_and_noisy_is_what_the_forecaster_says(kind: str) -> None:
    seen, noise = view(kind), ForecastNoise(sigma_load=0.1, sigma_pv=0.2, growth_per_h=0.5)
    np.testing.assert_array_equal(
        believed(make_forecaster("perfect", seed=1, dt_h=1 / 12), seen), seen.true_kw
    )
    noisy = believed(make_forecaster("noisy", seed=1, dt_h=1 / 12, noise=noise), seen)
    direct = Forecaster(1, noise, 1 / 12)
    method = direct.load_kw if kind == "load" else direct.pv_kw
    np.testing.assert_array_equal(noisy, method(seen.true_kw, names=NAMES, tick=3))


@pytest.mark.parametrize("kind", ["load", "pv"])
@pytest.mark.parametrize(
    "now", ["2026-06-22 09:00", "2026-03-08 09:00", "2026-11-01 09:00", "2026-11-02 09:00"]
)
def test_persistence_is_right_when_every_day_is_the_same(kind: str, now: str) -> None:
    method = make_forecaster("persistence", seed=1, dt_h=1 / 12, options={"blend_h": 0.0})
    seen = view(kind, now)
    np.testing.assert_allclose(believed(method, seen), seen.true_kw, atol=1e-12)


def test_persistence_never_looks_at_the_truth() -> None:
    seen = view("load")
    blind = ForecastView(**{**vars(seen), "true_kw": np.full_like(seen.true_kw, np.nan)})
    method = make_forecaster("persistence", seed=1, dt_h=1 / 12)
    np.testing.assert_array_equal(believed(method, blind), believed(method, seen))


def test_persistence_is_drawn_towards_what_was_last() -> None:
    method = make_forecaster("persistence", seed=1, dt_h=1 / 12, options={"blend_h": 0.5})
    load = view("load")
    load.past_kw[0, -1] += 5.0
    more = believed(method, load)[0] - load.true_kw[0]
    assert more[0] > 4.0
    assert more[-1] == pytest.approx(0.0, abs=1e-5)
    cloudy = view("pv")
    cloudy.past_kw[:, -1] *= 0.2
    share = believed(method, cloudy)[0, :12] / cloudy.true_kw[0, :12]
    assert share[0] < 0.4
    assert (np.diff(share) > 0).all()
    night = view("pv", "2026-06-22 22:00")
    assert believed(method, night)[:, :36].max() == 0.0


def test_a_horizon_of_days_repeats_the_last_day() -> None:
    seen = view("load")
    ahead = pd.date_range(seen.times_ahead[0], periods=3 * 288, freq="5min")
    longer = ForecastView("load", NAMES, 0, seen.times_past, seen.past_kw, ahead, np.zeros((2, 864)))
    method = make_forecaster("persistence", seed=1, dt_h=1 / 12, options={"blend_h": 0.0})
    np.testing.assert_allclose(believed(method, longer)[0], daily(ahead, "load"), atol=1e-12)


def test_persistence_without_a_day_of_past_says_so() -> None:
    with pytest.raises(SeriesError, match="longer past"):
        believed(make_forecaster("persistence", seed=1, dt_h=1 / 12), view("load", days=0.5))


@pytest.fixture
def users_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "my_forecasts.py").write_text(
        "import numpy as np\n"
        "class Last:\n"
        "    history_h = 1.0\n"
        "    def __init__(self, *, seed, dt_h, factor=1.0):\n"
        "        self.factor = factor\n"
        "    def forecast(self, view):\n"
        "        return np.repeat(self.factor * view.past_kw[:, -1:], len(view.times_ahead), axis=1)\n"
        "class Nothing:\n"
        "    def __init__(self, **options): pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_forecasts"
    sys.modules.pop("my_forecasts", None)


def test_a_users_class_forecasts_and_is_checked(users_module: str) -> None:
    seen = view("load")
    method = make_forecaster(f"{users_module}:Last", seed=1, dt_h=1 / 12, options={"factor": 2.0})
    np.testing.assert_array_equal(believed(method, seen)[:, 50], 2.0 * seen.past_kw[:, -1])
    wrong = make_forecaster(f"{users_module}:Last", seed=1, dt_h=1 / 12, options={"factor": -1.0})
    with pytest.raises(SeriesError, match="Last's forecast of load of home 'A', tick 0"):
        believed(wrong, seen)
    with pytest.raises(ConfigError, match="colour"):
        make_forecaster(f"{users_module}:Last", seed=1, dt_h=1 / 12, options={"colour": 1})
    with pytest.raises(ConfigError, match="no method `forecast"):
        make_forecaster(f"{users_module}:Nothing", seed=1, dt_h=1 / 12)
    with pytest.raises(ConfigError, match="has no 'Lost'"):
        make_forecaster(f"{users_module}:Lost", seed=1, dt_h=1 / 12)


def test_a_registered_name_forecasts(users_module: str) -> None:
    import my_forecasts  # type: ignore[import-not-found]

    register_forecaster("last value", my_forecasts.Last)
    method = make_forecaster("last value", seed=1, dt_h=1 / 12)
    assert believed(method, view("pv")).shape == (2, 96)
    for name in ("last value", "perfect", "a:b"):
        with pytest.raises(ConfigError, match="cannot be called"):
            register_forecaster(name, my_forecasts.Last)


@pytest.mark.parametrize(
    ("method", "options", "message"),
    [
        ("persistance", {}, "did you mean 'persistence'"),
        ("nowhere_to_be_found:Class", {}, "Python path"),
        ("module:Class", {}, "Python path"),
        ("perfect", {"blend_h": 1.0}, "takes no options"),
        ("persistence", {"blend": 1.0}, "blend"),
        ("persistence", {"blend_h": -1.0}, "blend_h=-1.0"),
    ],
)
def test_what_is_no_forecaster_is_refused(method: str, options: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_forecaster(method, seed=1, dt_h=1 / 12, options=options)
