"""`anoca scenarios`: what comes with the package."""

from __future__ import annotations

import shutil
from importlib import resources
from pathlib import Path
from typing import Annotated

import typer

from anoca.config import load_scenario
from anoca.errors import InputError
from anoca.report.terminal import Terminal

scenarios_app = typer.Typer(no_args_is_help=True, help="Scenarios that come with the package: list, copy.")


@scenarios_app.command("list")
def scenarios_list(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object with `rows`")] = False,
) -> None:
    """Scenarios that come with the package."""
    rows = [
        {"file": path.name, "mode": (s := load_scenario(path)).mode, "description": s.description}
        for path in sorted(_folder().glob("*.toml"))
    ]
    Terminal(as_json).emit(rows, f"Scenarios in {_folder()}")


@scenarios_app.command("copy")
def scenarios_copy(name: str, to: Annotated[Path, typer.Argument()] = Path()) -> None:
    """Copy a shipped scenario, to change it."""
    target = to / name if to.is_dir() else to
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}")
    if target.exists():
        raise InputError(f"{target} is there already")
    shutil.copyfile(shipped(name), target)
    Terminal(False).say(f"copied to {target}")


def shipped(name: str) -> Path:
    """The file of a shipped scenario.

    Raises  InputError  there is none of this name
    """
    path = _folder() / name
    if not path.is_file():
        have = ", ".join(p.name for p in sorted(_folder().glob("*.toml")))
        raise InputError(f"no shipped scenario {name!r}; there are {have}")
    return path


def _folder() -> Path:
    return Path(str(resources.files("scenarios")))
