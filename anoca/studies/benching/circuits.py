"""Public circuits, where their files are."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from feeders import Feeder
from feeders.readers.opendss import read

FEEDERS_VARIABLE = "ANOCA_TEST_FEEDERS"


class MissingCircuitError(FileNotFoundError):
    """The files of a public circuit are not where they are looked for; the message says where that is."""


def corpus() -> Path:
    """Folder of the public circuits: `ANOCA_TEST_FEEDERS`, or `../shared/feeders` beside the project."""
    beside = Path(__file__).resolve().parents[3].parent / "shared" / "feeders"
    return Path(os.environ.get(FEEDERS_VARIABLE, beside))


def read_copy(master: str) -> Feeder:
    """A public circuit, read from a copy of its folder: the engine writes beside what it reads.

    Raises  MissingCircuitError  its files are not there
    """
    folder, file = master.split("/")
    if not (corpus() / folder / file).is_file():
        raise MissingCircuitError(
            f"no circuit {master} in {corpus()}; set {FEEDERS_VARIABLE} to the folder that has it"
        )
    with tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / folder
        shutil.copytree(corpus() / folder, target, copy_function=shutil.copyfile)
        for inside in [target, *(p for p in target.rglob("*") if p.is_dir())]:
            inside.chmod(0o755)
        return read(target / file).feeder
