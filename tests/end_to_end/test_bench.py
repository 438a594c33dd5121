"""`anoca bench`: the smallest case, as a user types it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from anoca.studies.bench import COLUMNS
from anoca.studies.benching.methods import PLAIN


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")


def test_quick_bench_times_every_method_and_their_optima_agree(anoca_command, tmp_path):
    words = ("--quick", "--norms", "l2,linf", "--runs", "1", "--out", tmp_path, "--json")
    done = anoca_command("bench", "dms", *words)
    assert done.code == 0
    assert set(COLUMNS) <= set(done.rows[0])
    assert {r["norm"] for r in done.rows} == {"l2", "linf"}
    assert {r["start"] for r in done.rows} == {"cold", "warm", "go_ahead"}
    for r in done.rows:
        assert r["case"] == "case1"
        assert r["seconds"] > 0
        if r["method"] != PLAIN:
            assert r["certified"] == "yes"
            assert r["comparable"]
        if r["start"] == "go_ahead":
            assert r["curtailed_kw"] == 0
        elif r["method"] != PLAIN:  # its default tolerances are its own
            assert abs(r["gap"]) < 1e-5
            assert r["curtailed_kw"] > 1
    (folder,) = (tmp_path / "bench").iterdir()
    assert len(pd.read_parquet(folder / "rows.parquet")) == len(done.rows)


def test_circuits_that_are_missing_are_left_out_with_a_word(anoca_command, tmp_path, monkeypatch):
    monkeypatch.setenv("ANOCA_TEST_FEEDERS", str(tmp_path))
    done = anoca_command("bench", "dms", "--cases", "j1", "--norms", "l2", "--out", tmp_path)
    assert done.code == 2
    assert "no case could be timed" in done.err
    assert "j1 left out" in done.err
    assert not Path(tmp_path / "bench").exists()


def test_homes_are_certified_and_faster_than_a_model_built_anew(anoca_command, tmp_path):
    words = ("--quick", "--methods", "plain_pyomo,lp,dp", "--runs", "1", "--out", tmp_path, "--json")
    done = anoca_command("bench", "hems", *words)
    assert done.code == 0
    assert set(COLUMNS) <= set(done.rows[0])
    by = {(r["start"], r["method"]): r for r in done.rows}
    assert set(by) == {
        ("home", "plain_pyomo"),
        ("home", "lp"),
        ("home", "dp"),
        ("plan", "auto"),
        ("respond", "auto"),
    }
    for r in done.rows:
        if r["method"] != PLAIN:
            assert r["certified"] == f"{r['n']} of {r['n']}"
            assert r["gap"] <= 1e-6
    for method in ("lp", "dp"):
        assert by["home", method]["objective_diff"] <= 1e-6
        assert by["home", method]["speedup"] > 5  # far below what is measured: this machine may be busy


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bench", "nothing"), "unknown benchmark 'nothing'; known: day, dms, hems"),
        (("bench", "dms", "--norms", "l3"), "unknown norm 'l3'"),
        (("bench", "dms", "--norms", " , "), "--norms ' , ' names nothing; leave it out"),
        (("bench", "hems", "--quick", "--norms", "l7"), "bench hems has no norms"),
        (("bench", "dms", "--methods", "magic"), "unknown method 'magic'"),
    ],
)
def test_what_is_not_known_is_named(anoca_command, words, message):
    done = anoca_command(*words)
    assert done.code == 2
    assert message in done.err
