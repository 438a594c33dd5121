"""A small scenario that runs in about a second, and the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from anoca import cli

SMALL = """\
name = "small"
seed = 3

[feeder]
name = "synthetic"
options = { n_buses = 20, seed = 1 }

[prosumers]
percent = { A = 150, C = 100 }
battery_kw = 20.0

[limits]
i_scale = 0.25

[hems]
horizon = 24

[clock]
ticks = 2

[plant]
options = { n_buses = 20 }
"""


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Scenario file of a closed loop on a synthetic feeder whose limits bind."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL, encoding="utf-8")
    return path


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """`rows` of the one JSON object printed."""
        found: list[dict[str, Any]] = json.loads(self.out)["rows"]
        return found


Command = Callable[..., Outcome]


@pytest.fixture
def anoca_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`anoca_command("run", path)`: exit code and output, as a shell would see them."""

    def call(*words: str | Path) -> Outcome:
        monkeypatch.setattr("sys.argv", ["anoca", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(stop.value.code or 0), captured.out, captured.err)

    return call
