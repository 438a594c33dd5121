"""Published circuits read from OpenDSS: every element and every node against the engine.

`pytest tests/validation/feeders/test_opendss_circuits.py -m "slow or not slow" -s` prints the table.
Taps and capacitors stand where the engine's controls come to rest; its tolerance is 1e-10. What is left
is that tolerance, and in ckt5 (6e-8) the rounding of its nodal matrix, which has fuses of 5e6 S next to
lines of 1 S: its solution leaves 1e-5 A in Kirchhoff's law at those nodes.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from feeders.readers.errors import ReadError

VOLTAGE_PU = 1e-6
ADMITTANCE = 1e-8
CURRENT = 1e-5

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
)
LARGE = (
    "8500-Node/Master.dss",
    "8500-Node/Master-unbal.dss",
    "ckt5/Master_ckt5.dss",
    "epri_dpv_J1/Master_noPV.dss",
    "epri_dpv_J1/Master_withPV.dss",
    "epri_dpv_M1/Master_NoPV.dss",
)


@pytest.mark.parametrize("master", [*SMALL, *(pytest.param(m, marks=pytest.mark.slow) for m in LARGE)])
def test_circuit(compare: Callable[..., Any], feeder_folder: Callable[[str], Path], master: str) -> None:
    folder, name = master.split("/")
    found = compare(feeder_folder(folder) / name)
    print(f"\n{master:45s} | {found.row}")
    assert found.converged
    assert max(found.v_gap_pu, found.loose_gap_pu) <= VOLTAGE_PU
    assert found.y_gap <= ADMITTANCE
    assert found.i_gap <= CURRENT
    assert found.result.n_fixed == 0


def test_broken_copies_are_refused(feeder_folder: Callable[[str], Path]) -> None:
    from feeders.readers.opendss import read

    master = feeder_folder("13Bus") / "IEEE13Nodeckt.dss"
    (master.parent / "IEEELineCodes.DSS").unlink()
    with pytest.raises(ReadError, match=r"IEEE13Nodeckt\.dss line \d+: there is no file IEEELineCodes"):
        read(master)
