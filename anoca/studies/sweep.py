"""Sweep: the product of a scenario's `[sweep]` grid, over processes, resumable."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import joblib
import pandas as pd

from anoca.config import Scenario
from anoca.errors import InputError
from anoca.placement import load_feeder, place
from anoca.report.plots import save, sweep_summary
from anoca.results import read
from anoca.runner import RESULTS, folder_of, is_done, run
from anoca.simulation import Progress

log = logging.getLogger(__name__)


def grid(scenario: Scenario) -> list[dict[str, Any]]:
    """All combinations of the `[sweep]` lists, in the order they are written.

    Raises  InputError  no grid, or an empty list in it
    """
    if not scenario.sweep:
        raise InputError(f'{scenario.name}: no [sweep] section; add one, such as "dms.norm" = ["l1", "l2"]')
    if empty := [key for key, values in scenario.sweep.items() if not values]:
        raise InputError(f"{scenario.name}: sweep of {', '.join(empty)} has no values")
    keys = list(scenario.sweep)
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*scenario.sweep.values())]


def sweep(
    scenario: Scenario, out: Path = RESULTS, jobs: int = -1, progress: Progress | None = None
) -> tuple[pd.DataFrame, Path]:
    """Run what is not done yet, `jobs` processes at a time, and gather one table.

    Every run has a folder of its own named by its content hash, so an interrupted sweep that is
    started again does only what is missing.

    Returns  (table with one row per run: the grid's keys, then the summary; path of the picture)
    Raises   InputError  anything wrong with any of the runs, before the first starts
    """
    points = grid(scenario)
    runs = [scenario.with_overrides(point) for point in points]
    for one in runs:
        place(one, load_feeder(one.feeder))
    missing = [one for one in runs if not is_done(one, out)]
    log.info("%d runs, %d done already", len(runs), len(runs) - len(missing))
    tell = progress or (lambda done, total, text: None)
    done = len(runs) - len(missing)
    tell(done, len(runs), f"{done} done already")
    work = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(
        joblib.delayed(_one)(one, out) for one in missing
    )
    for name in work:
        done += 1
        tell(done, len(runs), name)
    table = pd.DataFrame([_row(point, one, out) for point, one in zip(points, runs, strict=True)])
    folder = out / scenario.name
    table.to_parquet(folder / "sweep.parquet", index=False)
    table.to_csv(folder / "sweep.csv", index=False)
    picture = save(
        sweep_summary(table, list(scenario.sweep), f"{scenario.name}: sweep"), folder / "sweep.png"
    )
    return table, picture


def _one(scenario: Scenario, out: Path) -> str:
    results = run(scenario, out)
    return (
        f"{scenario.dms.norm}, seed {scenario.seed}: {results.summary['curtailed_mw'] * 1e3:.1f} kW curtailed"
    )


def _row(point: dict[str, Any], scenario: Scenario, out: Path) -> dict[str, Any]:
    folder = folder_of(scenario, out)
    keys = {key: value if not isinstance(value, dict) else str(value) for key, value in point.items()}
    return {**keys, **read(folder).summary, "folder": str(folder)}
