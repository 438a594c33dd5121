"""Published circuits read from OpenDSS: every element and every node against the engine.

`pytest tests/validation/feeders/test_opendss_circuits.py -s` prints the figures; `make validation` writes
them to docs/validation.md. Taps and capacitors stand where the engine's controls come to rest; its
tolerance is 1e-10. Its own rounding leaves up to 4e-5 A in Kirchhoff's law: where fuses and switches of
5e5 S and more meet lines of 1 S (ckt5), or float shunts of 1e-8 S (the 342-node network). Solved on in the
engine's own equations (`Sharp`), every voltage agrees to 1e-8 and every current to 1e-6.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from feeders.readers.errors import LimitError, ReadError
from feeders.readers.opendss import read, run

VOLTAGE_PU = 1e-6
SHARP_PU = 1e-8
ADMITTANCE = 1e-8
CURRENT = 1e-5
"""Over the element's largest current or 1 A."""

SMALL = (
    "4Bus-YY-Bal/4Bus-YY-Bal.DSS",
    "4Bus-DY-Bal/4Bus-DY-Bal.DSS",
    "4Bus-YD-Bal/4Bus-YD-Bal.DSS",
    "4Bus-GrdYD-Bal/4Bus-GrdYD-Bal.DSS",
    "13Bus/IEEE13Nodeckt.dss",
    "34Bus/ieee34Mod1.dss",
    "34Bus/ieee34Mod2.dss",
    "37Bus/ieee37.dss",
    "123Bus/IEEE123Master.dss",
    "LVTestCase/Master.dss",
    "LVTestCaseNorthAmerican/Master.dss",
    "LVTestCaseNorthAmerican/SecPar.dss",
)
LARGE = (
    "8500-Node/Master.dss",
    "8500-Node/Master-unbal.dss",
    "ckt5/Master_ckt5.dss",
    "epri_dpv_J1/Master_noPV.dss",
    "epri_dpv_J1/Master_withPV.dss",
    "epri_dpv_M1/Master_NoPV.dss",
)


@pytest.mark.parametrize("master", [*SMALL, *LARGE])
def test_circuit(compare: Callable[..., Any], feeder_folder: Callable[[str], Path], master: str) -> None:
    folder, name = master.split("/")
    found = compare(feeder_folder(folder) / name)
    print(f"\n{master:45s} | {found.row}")
    assert found.converged
    assert max(found.raw_v_pu, found.v_gap_pu, found.loose_gap_pu) <= VOLTAGE_PU
    assert found.sharp_v_pu <= SHARP_PU
    assert found.y_gap <= ADMITTANCE
    assert max(found.i_gap, found.sharp_i) <= CURRENT
    assert found.result.n_fixed == 0


GUARD = """import dss
from dss.ICircuit import ICircuit
from dss.ICktElement import ICktElement


def refuse(self, *_):
    raise RuntimeError("an admittance was asked for")


ICktElement.Yprim = ICircuit.SystemY = property(refuse)
dss.IYMatrix.GetCompressedYMatrix = refuse
"""


@pytest.mark.parametrize("master", ["13Bus/IEEE13Nodeckt.dss", "37Bus/ieee37.dss", "LVTestCase/Master.dss"])
def test_no_admittance_is_asked_for(
    feeder_folder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, master: str
) -> None:
    """An engine that gives no admittance away reads to the same tables."""
    pytest.importorskip("dss", reason="needs dss_python: make setup")
    folder, name = master.split("/")
    path = feeder_folder(folder) / name
    plain = read(path).feeder
    child = tmp_path / "child.py"
    child.write_text(run.CHILD.read_text().replace("import json\n", f"{GUARD}\nimport json\n", 1))
    monkeypatch.setattr(run, "CHILD", child)
    guarded = read(path).feeder
    for kind, table in plain.tables.items():
        for col in table.columns():
            a, b = (getattr(f[kind], col.name) for f in (plain, guarded))
            same = np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")
            assert same, f"{kind.__name__}.{col.name}"
    path.write_text(path.read_text() + "\nnew fault.f phases=1 bus1=sourcebus.1 r=800\nsolve\n")
    with pytest.raises(LimitError, match="an admittance was asked for"):
        read(path)


def test_broken_copies_are_refused(feeder_folder: Callable[[str], Path]) -> None:
    master = feeder_folder("13Bus") / "IEEE13Nodeckt.dss"
    (master.parent / "IEEELineCodes.DSS").unlink()
    with pytest.raises(ReadError, match=r"IEEE13Nodeckt\.dss line \d+: there is no file IEEELineCodes"):
        read(master)
