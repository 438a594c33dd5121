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
    if "name" in scenario.sweep:
        raise InputError(f"{scenario.name}: a sweep cannot vary `name`, the folder of its results")
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
    folders = {k: folder_of(one, out) for k, one in enumerate(runs) if is_done(one, out)}
    places = [folder_of(one, out) for one in runs]
    missing = [k for k in range(len(runs)) if k not in folders and places[k] not in places[:k]]
    log.info("%d runs, %d to do", len(runs), len(missing))
    tell = progress or (lambda done, total, text: None)
    if folders:
        tell(len(folders), len(runs), "done already")
    work = joblib.Parallel(n_jobs=jobs, return_as="generator_unordered")(
        joblib.delayed(_one)(k, points[k], runs[k], out) for k in missing
    )
    for k, text, folder in work:
        folders[k] = folder
        tell(len(folders), len(runs), text)
    table = pd.DataFrame(
        [
            _row(point, folders[k if k in folders else places.index(places[k])])
            for k, point in enumerate(points)
        ]
    )
    folder = out / scenario.name
    table.to_parquet(folder / "sweep.parquet", index=False)
    table.to_csv(folder / "sweep.csv", index=False)
    picture = save(
        sweep_summary(table, list(scenario.sweep), f"{scenario.name}: sweep"), folder / "sweep.png"
    )
    return table, picture


def _one(number: int, point: dict[str, Any], scenario: Scenario, out: Path) -> tuple[int, str, Path]:
    results = run(scenario, out)
    assert results.folder is not None
    cut_kw = results.summary["curtailed_mw"] * 1e3
    varied = ", ".join(f"{key.rpartition('.')[2]} {_short(value)}" for key, value in point.items())
    return number, f"{varied}: {cut_kw:.1f} kW curtailed", results.folder


def _row(point: dict[str, Any], folder: Path) -> dict[str, Any]:
    keys = {key: _short(value) for key, value in point.items()}
    return {**keys, **read(folder).summary, "folder": str(folder)}


def _short(value: Any) -> Any:
    """A grid value for a table: dictionaries and lists as `A 150 C 30`."""
    if isinstance(value, dict):
        return " ".join(f"{key} {_short(v)}" for key, v in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else value
