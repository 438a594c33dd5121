"""Broken BMOPF files: a typed error that names the element, never another exception."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feeders import library
from feeders.readers import bmopf
from feeders.readers.bmopf.read import read_document
from feeders.readers.bmopf.write import document_of
from feeders.readers.errors import FileError, ReadError

Document = dict[str, Any]
FUZZ = 60


def small() -> Document:
    document: Document = json.loads(json.dumps(document_of(library.load("ieee4"))[0]))
    return document


def put(*path: str | int, value: Any) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return change


def cut(*path: str) -> Callable[[Document], None]:
    def change(document: Document) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]

    return change


LINE, LOAD, UNIT = ("line", "n1-n2"), ("load", "load.1"), ("transformer", "n_winding", "n2-n3")
BROKEN: dict[str, tuple[Callable[[Document], None], str]] = {
    "no buses": (cut("bus"), "`bus` is missing"),
    "no source": (put("voltage_source", value={}), "`voltage_source` is missing"),
    "unknown table": (put("turbine", value={}), "unknown table turbine"),
    "table is a list": (put("line", value=[]), r"line: \[\], expected an object"),
    "element is a number": (put(*LINE, value=3), "line 'n1-n2': 3"),
    "no terminals": (cut("bus", "n1", "terminal_names"), "bus 'n1': `terminal_names` is missing"),
    "terminals not texts": (put("bus", "n1", "terminal_names", value=[1]), "bus 'n1': `terminal_names`"),
    "terminal twice": (put("bus", "n1", "terminal_names", value=["1", "1"]), "bus 'n1'.*twice"),
    "earthed stranger": (put("bus", "n1", "perfectly_grounded_terminals", value=["9"]), "bus 'n1'.*'9'"),
    "unknown bus field": (put("bus", "n1", "colour", value=1), "bus 'n1': unknown field `colour`"),
    "line to nowhere": (put(*LINE, "bus_to", value="moon"), "line 'n1-n2'.*'moon'"),
    "line bus is a number": (put(*LINE, "bus_to", value=7), "line 'n1-n2': `bus_to` is 7"),
    "unknown terminal": (put(*LINE, "terminal_map_to", value=["1", "2", "8"]), "line 'n1-n2'.*'8'"),
    "maps differ": (put(*LINE, "terminal_map_to", value=["1", "2"]), "line 'n1-n2'.*differ in length"),
    "empty map": (put(*LINE, "terminal_map_to", value=[]), "line 'n1-n2'.*empty"),
    "no diagonal": (cut(*LINE, "R_series_2_2"), "line 'n1-n2': `R_series_2_2` is missing"),
    "outside matrix": (put(*LINE, "R_series_5_5", value=1.0), "line 'n1-n2': `R_series_5_5` is outside"),
    "text for number": (put(*LINE, "R_series_1_1", value="much"), "line 'n1-n2': `R_series_1_1`"),
    "true for number": (put(*LINE, "R_series_1_1", value=True), "line 'n1-n2': `R_series_1_1`"),
    "infinite": (put(*LINE, "X_series_1_1", value=1e999), "line 'n1-n2': `X_series_1_1` is not finite"),
    "both impedances": (put(*LINE, "linecode", value="c"), "line 'n1-n2'"),
    "negative length": (put(*LINE, "length", value=-1.0), "line 'n1-n2': `length` is -1"),
    "ratings short": (put(*LINE, "i_max", value=[1.0]), "line 'n1-n2': `i_max` has 1 entries, expected 3"),
    "unknown line field": (put(*LINE, "sag", value=1), "line 'n1-n2': unknown field `sag`"),
    "source angle": (cut("voltage_source", "source", "v_angle"), "voltage_source 'source': `v_angle`"),
    "source short": (put("voltage_source", "source", "v_angle", value=[0.0]), "voltage_source 'source'"),
    "source negative": (
        put("voltage_source", "source", "v_magnitude", value=[-1.0, 1.0, 1.0]),
        "voltage_source 'source': `v_magnitude`",
    ),
    "load model": (put(*LOAD, "model", value="magic"), "load 'load.1': `model` is 'magic'"),
    "load configuration": (put(*LOAD, "configuration", value="STAR"), "load 'load.1': `configuration`"),
    "load map": (put(*LOAD, "terminal_map", value=["1", "2", "3"]), "load 'load.1': `terminal_map`"),
    "load power": (cut(*LOAD, "p_nom"), "load 'load.1': `p_nom` is missing"),
    "load power scalar": (put(*LOAD, "p_nom", value=5.0), "load 'load.1': `p_nom` is 5.0, expected list"),
    "load power shape": (put(*LOAD, "q_nom", value=[1.0, 2.0]), "load 'load.1': `q_nom` has 2 entries"),
    "load null": (put(*LOAD, "p_nom", value=[None]), "load 'load.1': `p_nom` holds None"),
    "zip shares": (put(*LOAD, "model", value="ZIP"), "load 'load.1': `alpha_z` is missing"),
    "one winding": (put(*UNIT, "windings", value=[]), r"n_winding 'n2-n3': has 0 winding"),
    "winding text": (put(*UNIT, "windings", value=["a"]), r"n_winding 'n2-n3': `windings`"),
    "no reactance": (put(*UNIT, "x_sc", value={}), r"n_winding 'n2-n3' 'x_sc': `1_2` is missing"),
    "reactance too many": (put(*UNIT, "x_sc", value={"1_2": 1.0, "1_9": 1.0}), "unknown field `1_9`"),
    "rating zero": (put(*UNIT, "s_rating", value=0), r"n_winding 'n2-n3': `s_rating` is 0"),
    "winding volts": (put(*UNIT, "windings", 0, "v_nom", value=0), "'n2-n3' winding '1': `v_nom`"),
    "subtype": (put("transformer", "magic", value={"t": {}}), r"transformer.magic 't'"),
    "schema": (put("meta", "schema_version", value="9.0"), "`schema_version` is '9.0'"),
    "frequency": (put("meta", "frequency", value=0), "`frequency`"),
    "direct current": (put("dc_bus", value={"d": {}}), "dc_bus"),
    "extension version": (put("extras", "anoca", "version", value=99), "`version` is 99"),
    "extension table": (put("extras", "anoca", "tables", value={"Moons": {}}), "'Moons' is no table"),
    "extension row": (
        put("extras", "anoca", "tables", "Windings", "set", value={"moon/0": {}}),
        "no 'moon/0' to change",
    ),
    "extension column": (
        put("extras", "anoca", "tables", "Windings", "set", value={"n2-n3/0": {"moons": 1}}),
        "unknown column 'moons'",
    ),
    "extension value": (
        put("extras", "anoca", "tables", "Windings", "set", value={"n2-n3/0": {"tap": "high"}}),
        "n2-n3/0, tap: 'high' is not a number",
    ),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_wrong_is_named(what: str) -> None:
    change, message = BROKEN[what]
    document = small()
    if what.startswith("load") or what.startswith("zip"):
        document["load"]["load.1"] = document["load"].pop(next(iter(document["load"])))
        del document["extras"]
    change(document)
    with pytest.raises(ReadError, match=message):
        read_document(document, "x")


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = [path] if path else []
    for key, part in inside:
        found += places(part, (*path, key))
    return found


@pytest.mark.parametrize("seed", range(FUZZ))
def test_random_damage_is_read_or_refused_by_name(seed: int) -> None:
    rng = np.random.default_rng(seed)
    document = small()
    if seed % 2:
        del document["extras"]
    found = places(document)
    for _ in range(3):
        path = found[rng.integers(len(found))]
        place: Any = document
        try:
            for key in path[:-1]:
                place = place[key]
            old = place[path[-1]]
        except (KeyError, IndexError, TypeError):
            continue  # an earlier change took it away
        choices = [
            None,
            "",
            "x",
            -1,
            0,
            1e30,
            True,
            [],
            {},
            [[1]],
            {"a": 1},
            deepcopy(old),
            "1",
            ["1", "1"],
        ]
        kind = rng.integers(len(choices) + 2)
        if kind < len(choices):
            place[path[-1]] = choices[kind]
        elif kind == len(choices) and isinstance(place, dict):
            del place[path[-1]]
        elif isinstance(place, dict):
            place["new field"] = old
    with suppress(ReadError):  # any other exception is a defect
        read_document(document, "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"bus": {"a": 1', "not JSON, or cut off"),
        ('{"bus": {}, "bus": {}}', "'bus' is there twice"),
        ('{"bus": {"a": {"v": NaN}}}', "NaN is not a number"),
        ("[1, 2]", "expected an object"),
        ("[" * 100_000, "not JSON, or cut off"),
        ("\xff", "not JSON|not text"),
    ],
)
def test_files_that_are_no_documents(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(FileError, match=message):
        bmopf.read(path)
    with pytest.raises(FileError, match="no such file"):
        bmopf.read(tmp_path / "y.json")
