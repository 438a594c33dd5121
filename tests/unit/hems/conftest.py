from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from hems import Battery, HemsConfig, HemsFleet, Home, Tariff


@pytest.fixture
def summer_day() -> pd.DatetimeIndex:
    return pd.date_range("2023-06-21", periods=288, freq="5min", tz="America/New_York")


@pytest.fixture
def battery() -> Battery:
    """Small enough to reach its limits within a few quarter hours."""
    return Battery(energy_kwh=2.0, p_charge_kw=3.0, p_discharge_kw=4.0, eta_charge=0.9, eta_discharge=0.8)


@pytest.fixture
def one_home(battery: Battery) -> Callable[..., HemsFleet]:
    """A fleet of one home on quarter hours; options of the home, and of the configuration by `config`."""

    def make(*, config: dict | None = None, soc_start: float = 0.5, **home: object) -> HemsFleet:
        options = {"step_minutes": 15, "horizon": 4, **(config or {})}
        home = {"battery": battery, **home}
        return HemsFleet([Home("H1", **home)], HemsConfig(**options), soc_start=soc_start)

    return make


@pytest.fixture
def flat() -> Callable[..., Tariff]:
    """A flat tariff."""

    def make(pi: float = 0.30, pe: float = 0.05, ticks: int = 4, **options: object) -> Tariff:
        return Tariff(np.full(ticks, pi), np.full(ticks, pe), **options)

    return make
