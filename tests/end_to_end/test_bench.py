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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bench", "nothing"), "unknown benchmark 'nothing'; known: dms, hems"),
        (("bench", "dms", "--norms", "l3"), "unknown norm 'l3'"),
        (("bench", "dms", "--methods", "magic"), "unknown method 'magic'"),
    ],
)
def test_what_is_not_known_is_named(anoca_command, words, message):
    done = anoca_command(*words)
    assert done.code == 2
    assert message in done.err
