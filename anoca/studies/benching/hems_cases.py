"""Homes, forecasts and prices of the HEMS benchmark: seeded, any number, the same ones first.

    python -m anoca.studies.benching.hems_cases TARIFF METHOD HOMES

plans such a fleet once, answers, and prints the peak resident memory in megabytes.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from feeders.table import Array
from hems import Battery, HemsConfig, HemsFleet, Home, Tariff, load_shape, ny_like_rtp, ny_like_tou, pv_shape
from hems.config import BackendName

ROOT = Path(__file__).resolve().parents[3]
SEED = 3
HORIZON = 96
DRAWN = 416
"""Homes with loads and PV of their own; more are these again with other sizes."""
TARIFFS: dict[str, Callable[[pd.DatetimeIndex], Tariff]] = {
    "tou": ny_like_tou,
    "rtp": partial(ny_like_rtp, seed=SEED),
}
NOTE = (
    f"{HORIZON} ticks of 5 min from 9:00 on a summer day, Powerwall 2, PV 2 to 9 kW under broken clouds, "
    "10 to 90 % charged; tou: two prices by the hour, rtp: another price every tick"
)


@dataclass(frozen=True, eq=False)
class HemsCase:
    """What n homes see."""

    load_kw: Array
    pv_kw: Array
    soc: Array
    tariff: Tariff

    def fleet(self, backend: BackendName, n: int) -> HemsFleet:
        """The first n of the homes, planned by `backend`."""
        homes = [Home(f"H{i}", Battery.powerwall2()) for i in range(n)]
        return HemsFleet(homes, HemsConfig(horizon=HORIZON, backend=backend), soc_start=self.soc[:n])


def case(tariff: str, n: int) -> HemsCase:
    """n homes under a tariff of `TARIFFS`."""
    times = pd.date_range("2023-06-21 09:00", periods=HORIZON, freq="5min", tz="America/New_York")
    rng = np.random.default_rng(SEED)
    drawn = load_shape([f"H{i}" for i in range(DRAWN)], times, seed=SEED)
    load = 2.0 * np.resize(drawn, (n, HORIZON)) * rng.uniform(0.5, 1.5, (n, 1))
    cloud = np.clip(1.0 + 0.2 * rng.standard_normal((n, HORIZON)), 0.0, None)
    pv = rng.uniform(2.0, 9.0, (n, 1)) * pv_shape(times, seed=SEED, sky="broken") * cloud
    return HemsCase(load, pv, rng.uniform(0.1, 0.9, n), TARIFFS[tariff](times))


def peak_mb(tariff: str, method: str, n: int) -> float:
    """Peak resident memory of one tick of n homes, MB; NaN where the process fails."""
    command = [sys.executable, "-m", __name__, tariff, method, str(n)]
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    env = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    return float(done.stdout) if done.returncode == 0 else float("nan")


def main(tariff: str, method: BackendName, homes: str) -> None:
    """Plan and answer once, and print the peak."""
    n = int(homes)
    given = case(tariff, n)
    fleet = given.fleet(method, n)
    plan = fleet.plan(given.load_kw, given.pv_kw, given.tariff)
    fleet.respond(0.5 * plan.p_export_kw)
    # Not ru_maxrss: it starts from the size of the process that started this one.
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    print(int(status.split("VmHWM:")[1].split()[0]) / 1024)


if __name__ == "__main__":
    main(*sys.argv[1:])  # type: ignore[arg-type]
