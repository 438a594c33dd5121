"""What the README shows is run as it stands: its Python, its scenario, its commands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anoca.cli import app
from anoca.config import Scenario

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "scenarios.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_python_examples_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    names: dict[str, Any] = {}
    for block in blocks(README, "python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["results"].is_certified
    solution, problem = names["solution"], names["problem"]
    assert solution.status == "curtailed"
    first_two = np.asarray(problem.request(names["asked"]).p_export_kw - solution.p_adjusted_kw)[:2]
    assert first_two[0] == pytest.approx(first_two[1], abs=1e-4)
    plan, dispatch, realised = names["plan"], names["dispatch"], names["realised"]
    assert (plan.p_export_kw > 0.1).all()
    assert dispatch.p_export_kw == pytest.approx(plan.p_export_kw / 2)
    assert realised.p_export_kw == pytest.approx(dispatch.p_export_kw)
    assert names["bids"].aes_kw[-1] == pytest.approx(plan.p_export_kw[0])


@pytest.mark.parametrize("text", [README, SETTINGS], ids=["README", "docs/scenarios.md"])
def test_scenarios_are_valid(text: str) -> None:
    for block in blocks(text, "toml"):
        Scenario.model_validate(tomllib.loads(block))


def test_the_table_names_every_verb() -> None:
    import typer.main

    table = README.split("<!-- commands: begin -->")[1].split("<!-- commands: end -->")[0]
    verbs = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert verbs <= set(re.findall(r"`anoca (\w+)", table))
