"""Running scenarios to disk: skip what is done, write what is not."""

from __future__ import annotations

import logging
from pathlib import Path
from tempfile import NamedTemporaryFile

from anoca.config import Scenario
from anoca.errors import InputError
from anoca.provenance import provenance
from anoca.report.plots import plot_results
from anoca.results import Results, is_whole, read, write
from anoca.simulation import Progress, simulate

log = logging.getLogger(__name__)

RESULTS = Path("results")
"""Where results go unless said otherwise."""


def folder_of(scenario: Scenario, out: Path = RESULTS) -> Path:
    """`<out>/<name>/<hash>`: the hash covers scenario, input files, source and solver versions."""
    return out / scenario.name / str(provenance(scenario)["hash"])


def is_done(scenario: Scenario, out: Path = RESULTS) -> bool:
    """A finished run of exactly this scenario is there."""
    return is_whole(folder_of(scenario, out))


def run(scenario: Scenario, out: Path = RESULTS, progress: Progress | None = None) -> Results:
    """Run a scenario and write its folder, or read the folder if it is there already.

    Raises  InputError  anything wrong with the scenario or the place for its results; nothing is
                        written then
    """
    folder = folder_of(scenario, out)
    if is_done(scenario, out):
        log.info("%s is done already: %s", scenario.name, folder)
        return read(folder)
    _check_place(folder)
    results = write(simulate(scenario, progress), folder)
    if scenario.output.plots:
        plot_results(results)
    return results


def _check_place(folder: Path) -> None:
    """Better now than after the simulation."""
    if folder.exists():
        raise InputError(f"{folder} is there but not whole; delete it to run again")
    there = next(parent for parent in folder.absolute().parents if parent.exists())
    try:
        with NamedTemporaryFile(dir=there):  # what the mode bits say is not always so
            pass
    except OSError as exc:
        raise InputError(
            f"cannot write results to {folder}: {there} is no folder that can be written to ({exc.strerror})"
        ) from exc
