"""Feeders as folders of CSV files: round trips, and what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from feeders import Lines, Loads, library
from feeders.readers.tables import TablesError, read_tables, write_tables

CASES = {
    "ieee4": {},
    "ieee342": {"form": "parallel"},
    "synthetic": {"n_buses": 60, "seed": 3, "prosumers": 0.5},
}


@pytest.mark.parametrize("name", CASES)
def test_round_trip_is_exact(name: str, tmp_path: Path) -> None:
    feeder = library.load(name, **CASES[name])
    back = read_tables(write_tables(feeder, tmp_path / "case"))
    assert (back.name, back.frequency_hz, back.origin) == (feeder.name, feeder.frequency_hz, feeder.origin)
    assert list(back.node_names) == list(feeder.node_names)
    assert {k for k in back.tables if len(back[k])} == {k for k in feeder.tables if len(feeder[k])}
    for kind, table in (*feeder.tables.items(), (type(feeder.buses), feeder.buses)):
        again = back.buses if table is feeder.buses else back[kind]
        for col in kind.columns():
            ours, theirs = getattr(table, col.name), getattr(again, col.name)
            assert ours.dtype == theirs.dtype
            if col.dtype is float or col.dtype is complex:
                assert np.array_equal(ours, theirs, equal_nan=True), col.name
            else:
                assert np.array_equal(ours, theirs), col.name


def spoil(folder: Path, table: str, change) -> None:  # type: ignore[no-untyped-def]
    path = folder / f"{table}.csv"
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("Lines", lambda f: f.drop(columns="z_ohm_1_1_re"), "z_ohm_1_1_re"),
        ("Lines", lambda f: f.assign(z_ohm_1_1_re="much"), "'much' is not a number"),
        ("Lines", lambda f: f.assign(colour="red"), "unknown column colour"),
        ("Loads", lambda f: f.assign(pair_1="nowhere.1"), "'nowhere.1' is no node"),
        ("nodes", lambda f: f.assign(node="nowhere.1"), "nowhere.1"),
        ("nodes", lambda f: f.rename(columns={"node": "name"}), "one column `node`"),
        ("buses", lambda f: f.drop(columns="v_base_kv"), "v_base_kv"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, table, change, message) -> None:  # type: ignore[no-untyped-def]
    folder = write_tables(library.load("ieee4"), tmp_path / "case")
    spoil(folder, table, change)
    with pytest.raises(TablesError, match=message):
        read_tables(folder)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TablesError, match=r"feeder\.json"):
        read_tables(tmp_path)
    folder = write_tables(library.load("ieee4"), tmp_path / "case")
    with pytest.raises(FileExistsError):
        write_tables(library.load("ieee4"), folder)
    (folder / "Turbines.csv").write_text("name\nx\n")
    with pytest.raises(TablesError, match="Turbines"):
        read_tables(folder)


def test_names_that_look_like_numbers_stay_names(tmp_path: Path) -> None:
    feeder = library.load("ieee4")
    loads = feeder[Loads].replace(name=np.array(["1e5", "NA", "007"], dtype=object))
    folder = write_tables(feeder.with_tables(loads), tmp_path / "case")
    assert list(read_tables(folder)[Loads].name) == ["1e5", "NA", "007"]
    assert len(read_tables(folder)[Lines]) == 2
