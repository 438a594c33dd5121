"""A second engine, the C++ one behind py-dss-interface, agrees on a sample of circuits.

The two engines differ among themselves where matrices come from a pole's geometry (4Bus: 6e-7 pu, their
constants of nature have different digits); elsewhere all three agree to 1e-8.
"""

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dms.network import Network
from feeders.readers.opendss import read

VOLTAGE_PU = 1e-6
MASTERS = (
    "4Bus-DY-Bal/4Bus-DY-Bal.DSS",
    "13Bus/IEEE13Nodeckt.dss",
    "34Bus/ieee34Mod1.dss",
    "123Bus/IEEE123Master.dss",
    "LVTestCase/Master.dss",
)
SCRIPT = """
import json, sys
import py_dss_interface
engine = py_dss_interface.DSS()
for command in (
    f'compile "{sys.argv[1]}"', "set maxiterations=100", "set maxcontroliter=100", "solve",
    "set controlmode=off", "set tolerance=1e-10", "set maxiterations=1000", "solve",
):
    engine.text(command)
found = dict(names=engine.circuit.nodes_names, parts=engine.circuit.buses_volts)
open(sys.argv[2], "w").write(json.dumps(found))
"""


@pytest.mark.parametrize("master", MASTERS)
def test_second_engine(feeder_folder: Callable[[str], Path], tmp_path: Path, master: str) -> None:
    for module in ("dss", "py_dss_interface"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}: make setup")
    folder, name = master.split("/")
    path, answer = feeder_folder(folder) / name, tmp_path / "answer.json"
    result = read(path)
    command = [sys.executable, "-c", SCRIPT, str(path), str(answer)]
    subprocess.run(command, check=False, capture_output=True, timeout=120, cwd=tmp_path)
    found = json.loads(answer.read_text())
    theirs = dict(
        zip(map(str.lower, found["names"]), np.array(found["parts"]).view(complex).tolist(), strict=True)
    )
    feeder = result.feeder
    flow = Network(feeder).solve_loads()
    v = np.array([0j, *(theirs[str(node)] for node in feeder.node_names[1:])])
    gap = np.abs(flow.v - v) / feeder.v_base_v
    print(f"\n{master:45s} {gap.max():.1e} at {feeder.node_names[gap.argmax()]}")
    assert gap.max() <= VOLTAGE_PU
