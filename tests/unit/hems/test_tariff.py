import numpy as np
import pandas as pd
import pytest

from hems import SeriesError, Tariff, TariffError, ny_like_tou


def test_import_below_export_lists_the_ticks_and_the_way_out() -> None:
    with pytest.raises(TariffError, match=r"at 2 tick\(s\): 1, 3\..*allow_arbitrage=True"):
        Tariff(np.array([0.2, 0.1, 0.2, 0.1]), np.array([0.2, 0.15, 0.0, 0.2]))


def test_equal_prices_are_allowed() -> None:
    assert not Tariff(np.full(3, 0.1), np.full(3, 0.1)).arbitrage.any()


def test_arbitrage_is_allowed_on_request() -> None:
    tariff = Tariff(np.array([0.1, 0.1]), np.array([0.2, 0.1]), allow_arbitrage=True)
    assert tariff.arbitrage.tolist() == [True, False]


@pytest.mark.parametrize(
    ("pi", "pe"), [([0.1, np.nan], [0.0, 0.0]), ([0.1], [0.0, 0.0]), ([[0.1]], [[0.0]]), ([np.inf], [0.0])]
)
def test_malformed_prices_are_refused(pi: list, pe: list) -> None:
    with pytest.raises(TariffError):
        Tariff(np.array(pi), np.array(pe))


def test_prices_are_read_only_copies() -> None:
    pi = np.full(2, 0.1)
    tariff = Tariff(pi, np.zeros(2))
    pi[0] = 9.0
    assert tariff.import_price_per_kwh[0] == 0.1
    with pytest.raises(ValueError, match="read-only"):
        tariff.import_price_per_kwh[0] = 9.0


@pytest.mark.parametrize(
    ("local", "import_price"),
    [
        ("2023-07-05 07:55", 0.1049),
        ("2023-07-05 08:00", 0.4323),
        ("2023-07-05 23:55", 0.4323),
        ("2023-09-30 12:00", 0.4323),
        ("2023-10-01 12:00", 0.2105),
        ("2023-01-01 00:00", 0.1049),
    ],
)
def test_ny_like_tou_follows_local_hours_and_months(local: str, import_price: float) -> None:
    times = pd.DatetimeIndex([pd.Timestamp(local, tz="America/New_York")])
    tariff = ny_like_tou(times)
    assert tariff.import_price_per_kwh[0] == pytest.approx(import_price, abs=1e-12)
    assert tariff.export_price_per_kwh[0] == 0.05
    assert not tariff.arbitrage.any()


def test_naive_times_are_refused() -> None:
    naive = pd.date_range("2023-01-01", periods=3, freq="5min")
    with pytest.raises(SeriesError, match="naive"):
        ny_like_tou(naive)
    with pytest.raises(SeriesError, match="naive"):
        Tariff(np.full(3, 0.1), np.zeros(3), times=naive)


def test_window_cuts_prices_and_times(summer_day: pd.DatetimeIndex) -> None:
    day = ny_like_tou(summer_day)
    part = day.window(95, 2)
    assert part.import_price_per_kwh.tolist() == day.import_price_per_kwh[95:97].tolist()
    assert part.times is not None
    assert part.times[0] == summer_day[95]
    with pytest.raises(TariffError, match="needs 289, has 288"):
        day.window(280, 9)
