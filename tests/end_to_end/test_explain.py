"""`--explain`: a run says what binds, why homes were cut, and what blocks; finished runs say it again."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

SNAPSHOT = """\
name = "village"
seed = 3
mode = "snapshot"

[feeder]
name = "synthetic"
options = { n_buses = 20, seed = 1 }

[prosumers]
percent = { A = 300, C = 200 }

[limits]
"""


@pytest.fixture
def village(tmp_path: Path) -> Path:
    """A snapshot in which lines bind."""
    path = tmp_path / "village.toml"
    path.write_text(SNAPSHOT + "i_scale = 0.3\n", encoding="utf-8")
    return path


def test_run_explains_what_binds_and_why_homes_were_cut(anoca_command, village, tmp_path):
    done = anoca_command("run", village, "--out", tmp_path / "out", "--explain")
    assert done.code == 0
    assert "What binds" in done.out
    assert "Why each home was cut" in done.out
    folder = next((tmp_path / "out" / "village").iterdir())
    assert (folder / "explain.png").stat().st_size > 5000
    again = anoca_command("run", village, "--out", tmp_path / "out", "--explain", "--json")
    (told,) = json.loads(again.out)["explain"]
    assert told["binds"][0]["limit"] == "i_max"
    assert told["binds"][0]["kW saved"] > 0
    assert told["binds"][0]["element"] in told["cut"][0]["because of"]
    assert told["cut"][0]["cut kW"] == max(row["cut kW"] for row in told["cut"])
    assert told["broken"] == told["blocked"] == []


def test_tables_say_the_same_to_scripts(anoca_command, village, tmp_path):
    done = anoca_command("run", village, "--out", tmp_path / "out", "--json")
    folder = Path(done.rows[0]["folder"])
    limits, causes = (pd.read_parquet(folder / f"{name}.parquet") for name in ("limits", "causes"))
    assert limits["multiplier"].max() > 0
    assert set(limits.loc[limits["kw_per_unit"] > 0, "per"]) == {"1 A"}
    known = set(zip(limits["kind"], limits["element"], strict=True))
    assert set(zip(causes["kind"], causes["element"], strict=True)) <= known
    cut = pd.read_parquet(folder / "prosumers.parquet").set_index("prosumer")["p_curtail_kw"]
    assert set(causes["prosumer"]) == set(cut[cut > 0.1].index)
    assert causes.groupby("prosumer").size().max() <= 5


def test_an_infeasible_tick_names_what_blocks_it(anoca_command, village, tmp_path):
    """The source stands above the band's upper end, whatever the homes do."""
    village.write_text(SNAPSHOT + 'v_max_pu = 1.01\npreexisting = "strict"\n', encoding="utf-8")
    done = anoca_command("run", village, "--out", tmp_path / "out", "--explain", "--json")
    assert done.code == 1
    whole = json.loads(done.out)
    (told,) = whole["explain"]
    assert told["status"] == "infeasible"
    assert {row["element"] for row in told["broken"]} >= {"source.1", "source.2", "source.3"}
    limits = [row["element"] for row in told["blocked"] if row["problem"] == "limits"]
    assert limits[0].startswith("source.")
    assert any(row["problem"] == "support at few nodes" for row in told["blocked"])
    slacks = pd.read_parquet(Path(whole["rows"][0]["folder"]) / "slacks.parquet")
    assert set(slacks["blocked"]) == {"by_limits"}


def test_compare_explains_every_norm(anoca_command, village, tmp_path):
    done = anoca_command(
        "compare", village, "--norms", "l1,l2", "--out", tmp_path / "out", "--explain", "--json"
    )
    whole = json.loads(done.out)
    assert done.code == 0
    assert [told["norm"] for told in whole["explain"]] == ["l1", "l2"]
    assert all(told["binds"] and Path(told["picture"]).is_file() for told in whole["explain"])


def test_one_tick_of_a_loop_is_explained_by_its_number(anoca_command, small, tmp_path):
    done = anoca_command("run", small, "--out", tmp_path / "out", "--explain-tick", "1", "--json")
    assert json.loads(done.out)["explain"][0]["tick"] == 1
    missing = anoca_command("run", small, "--out", tmp_path / "out", "--explain-tick", "7")
    assert missing.code == 2
    assert "no tick 7" in missing.err
