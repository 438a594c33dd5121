import numpy as np
import pandas as pd
import pytest

from hems import ConfigError, SeriesError, TariffError, flat_prices, ny_like_rtp, ny_like_tou, supply_prices

NY = "America/New_York"


def day(date: str, step: str = "5min") -> pd.DatetimeIndex:
    start = pd.Timestamp(date, tz=NY)
    return pd.date_range(start, start + pd.DateOffset(days=1), freq=step, inclusive="left")


MONTH = pd.date_range("2026-06-01", "2026-07-01", freq="5min", tz=NY, inclusive="left")


def test_supply_is_noisy_dearer_in_the_evening_and_about_eight_cents() -> None:
    supply = supply_prices(MONTH, seed=1)
    assert supply.mean() == pytest.approx(0.08, rel=0.25)
    assert supply.min() >= 0.005
    assert supply.max() > 0.2  # spikes
    hour = MONTH.hour
    assert supply[(hour >= 17) & (hour < 20)].mean() > 1.4 * supply[(hour >= 2) & (hour < 5)].mean()
    assert len(np.unique(supply)) > 0.95 * len(supply)


def test_prices_hang_on_seed_and_day_alone() -> None:
    whole = supply_prices(MONTH, seed=1)
    np.testing.assert_array_equal(whole[300:500], supply_prices(MONTH[300:500], seed=1))
    assert not np.allclose(whole, supply_prices(MONTH, seed=2))
    assert not np.allclose(whole[:288], whole[288:576])


@pytest.mark.parametrize(("date", "hours"), [("2026-06-21", 24), ("2026-03-08", 23), ("2026-11-01", 25)])
def test_other_steps_repeat_or_average_the_five_minutes(date: str, hours: int) -> None:
    five = supply_prices(day(date), seed=1)
    assert len(five) == hours * 12
    np.testing.assert_allclose(supply_prices(day(date, "15min"), seed=1), five.reshape(-1, 3).mean(axis=1))
    np.testing.assert_allclose(supply_prices(day(date, "1min"), seed=1), np.repeat(five, 5), rtol=1e-9)
    six = supply_prices(day(date, "6min"), seed=1)
    np.testing.assert_allclose(six.reshape(-1, 5).mean(axis=1), five.reshape(-1, 6).mean(axis=1))


@pytest.mark.parametrize("delivery", ["flat", "tou"])
@pytest.mark.parametrize("export", ["flat", "share", "supply", "net", "none"])
@pytest.mark.parametrize("negative", [False, True])
def test_export_never_pays_more_than_import_costs(delivery: str, export: str, negative: bool) -> None:
    spring = pd.date_range("2026-04-01", "2026-04-15", freq="5min", tz=NY, inclusive="left")
    per_kwh = 0.5 if export == "share" else -0.02
    tariff = ny_like_rtp(
        spring,
        seed=4,
        delivery=delivery,  # type: ignore[arg-type]
        export=export,  # type: ignore[arg-type]
        export_per_kwh=per_kwh,
        allow_negative=negative,
    )
    assert not tariff.arbitrage.any()
    if export == "supply":
        assert (tariff.export_price_per_kwh.min() < 0) == negative


def test_time_of_use_delivery_follows_the_local_clock_through_a_change() -> None:
    for date in ("2026-03-08", "2026-11-01"):
        times = day(date)
        gap = ny_like_rtp(times, seed=1, delivery="tou").import_price_per_kwh - supply_prices(times, seed=1)
        np.testing.assert_allclose(gap, ny_like_tou(times).import_price_per_kwh - 0.08)
        assert times[np.flatnonzero(np.abs(np.diff(gap)) > 1e-9)[-1] + 1].hour == 8


def test_flat_prices_are_flat() -> None:
    tariff = flat_prices(day("2026-06-21"), import_per_kwh=0.25, export_per_kwh=0.05)
    assert set(tariff.import_price_per_kwh) == {0.25}
    assert set(tariff.export_price_per_kwh) == {0.05}
    with pytest.raises(TariffError, match="export pays more"):
        flat_prices(day("2026-06-21"), import_per_kwh=0.05, export_per_kwh=0.25)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'supply'"):
        ny_like_rtp(MONTH, seed=1, export="suply")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="delivery"):
        ny_like_rtp(MONTH, seed=1, delivery="time")  # type: ignore[arg-type]
    with pytest.raises(TariffError, match="between 0 and 1"):
        ny_like_rtp(MONTH, seed=1, export="share", export_per_kwh=1.5)
    with pytest.raises(TariffError, match="export pays more"):
        ny_like_rtp(MONTH, seed=1, export="flat", export_per_kwh=2.0)
    with pytest.raises(SeriesError, match="naive"):
        supply_prices(pd.date_range("2026-06-21", periods=4, freq="5min"), seed=1)
