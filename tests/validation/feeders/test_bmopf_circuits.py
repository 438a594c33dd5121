"""Public test circuits, read from OpenDSS, through BMOPF and back; and what is left without our extension."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dms import Network
from feeders import Feeder, Generators, Loads, library
from feeders.readers import bmopf
from feeders.readers.bmopf.read import read_document
from feeders.readers.rows import difference, rows_of

FAST = ["4Bus-DY-Bal/4Bus-DY-Bal.DSS", "13Bus/IEEE13Nodeckt.dss", "37Bus/ieee37.dss"]
SLOW = [
    "4Bus-YY-Bal/4Bus-YY-Bal.DSS",
    "4Bus-YD-Bal/4Bus-YD-Bal.DSS",
    "4Bus-GrdYD-Bal/4Bus-GrdYD-Bal.DSS",
    "34Bus/ieee34Mod1.dss",
    "123Bus/IEEE123Master.dss",
    "LVTestCase/Master.dss",
    "epri_dpv_M1/Master_NoPV.dss",
]


def volts(feeder: Feeder) -> dict[str, complex]:
    flow = Network(feeder).solve_loads()
    assert flow.converged
    return dict(zip(feeder.node_names, flow.v, strict=True))


def unbanded(feeder: Feeder) -> Feeder:
    """Loads and generators without their voltage bands, which the schema has no field for."""
    loads, generators = feeder[Loads], feeder[Generators]
    zero, none = np.zeros(len(loads)), np.full(len(loads), np.inf)
    loads = loads.replace(v_min_pu=zero, v_low_pu=zero, v_cutoff_pu=zero, v_max_pu=none)
    zero, none = np.zeros(len(generators)), np.full(len(generators), np.inf)
    return feeder.with_tables(loads, generators.replace(v_min_pu=zero, v_max_pu=none))


def hold(feeder: Feeder, path: Path) -> None:
    """Same tables and power flow with the extension; without it that of unbanded loads."""
    bmopf.write(feeder, path)
    back = bmopf.read(path).feeder
    assert difference(rows_of(back), rows_of(feeder)) == {}
    document = json.loads(path.read_text())
    del document["extras"]
    bare = read_document(document, "x").feeder
    base = dict(zip(feeder.node_names, feeder.v_base_v, strict=True))
    for one, other in ((feeder, back), (unbanded(feeder), bare)):
        ours, theirs = volts(one), volts(other)
        assert max(abs(ours[node] - theirs[node]) / base[node] for node in ours) < 1e-9


@pytest.mark.parametrize("master", [*FAST, *(pytest.param(m, marks=pytest.mark.slow) for m in SLOW)])
def test_circuits_come_back(master: str, feeder_folder, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    pytest.importorskip("dss", reason="needs dss_python: make setup")
    from feeders.readers.opendss import read

    folder, _, name = master.partition("/")
    hold(read(feeder_folder(folder) / name, check=False).feeder, tmp_path / "case.json")


@pytest.mark.slow
def test_the_parallel_form_comes_back(tmp_path: Path) -> None:
    hold(library.load("ieee342", form="parallel"), tmp_path / "case.json")
