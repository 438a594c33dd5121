import numpy as np
import pandas as pd
import pytest

from hems import ConfigError
from hems.clouds import sky_shares

NY = "America/New_York"


def day(date: str, step: str = "5min") -> pd.DatetimeIndex:
    start = pd.Timestamp(date, tz=NY)
    return pd.date_range(start, start + pd.DateOffset(days=1), freq=step, inclusive="left")


def test_a_home_sees_the_same_sky_a_little_later() -> None:
    share = sky_shares(day("2026-05-02", "1min"), seed=1, clouds="broken", lag_s=np.array([0.0, 180.0]))
    np.testing.assert_allclose(share[1, 3:], share[0, :-3], rtol=1e-9)


@pytest.mark.parametrize("clouds", ["clear", "broken", "overcast", "mixed"])
def test_longer_steps_are_means_of_shorter_ones(clouds: str) -> None:
    lag = np.array([0.0, 17.0])
    fine = sky_shares(day("2026-05-02", "30s"), seed=1, clouds=clouds, lag_s=lag)  # type: ignore[arg-type]
    coarse = sky_shares(day("2026-05-02", "15min"), seed=1, clouds=clouds, lag_s=lag)  # type: ignore[arg-type]
    np.testing.assert_allclose(coarse, fine.reshape(2, -1, 30).mean(axis=2), rtol=1e-9)
    assert fine.min() > 0.0
    assert fine.max() <= 1.1 + 1e-9


def test_neighbours_share_a_sky_and_the_further_the_less() -> None:
    lag = np.array([0.0, 30.0, 120.0, 300.0])
    days = [sky_shares(day(f"2026-05-{k:02}"), seed=1, clouds="broken", lag_s=lag) for k in range(1, 11)]
    rho = np.corrcoef(np.concatenate(days, axis=1))[0]
    assert rho[1] > 0.95
    assert (np.diff(rho) < 0).all()


# Measured: mean of the three records of docs/pv-ramps.md.
@pytest.mark.parametrize(("step", "measured"), [("10s", 0.124), ("30s", 0.182), ("60s", 0.226)])
def test_ramps_under_a_broken_sky_are_as_measured(step: str, measured: float) -> None:
    shares = [sky_shares(day(f"2026-05-{k:02}", step), seed=1, clouds="broken") for k in range(1, 11)]
    assert np.diff(np.concatenate(shares, axis=0), axis=1).std() == pytest.approx(measured, rel=0.2)


def test_days_and_seeds_differ_and_a_mixed_sky_has_all_states() -> None:
    one, other = (sky_shares(day("2026-05-02"), seed=seed) for seed in (1, 2))
    assert not np.allclose(one, other)
    month = [sky_shares(d, seed=1)[0] for d in (day(f"2026-05-{k:02}") for k in range(1, 29))]
    assert not np.allclose(month[0], month[1])
    hours = np.concatenate(month).reshape(-1, 12)
    assert (hours.min(axis=1) > 0.9).mean() > 0.15  # clear all the hour
    assert (hours.max(axis=1) < 0.6).mean() > 0.10  # overcast all the hour


def test_unknown_clouds_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'broken'"):
        sky_shares(day("2026-05-02"), seed=1, clouds="brokn")  # type: ignore[arg-type]
