"""What several test folders share: public test circuits and the OpenDSS engine.

The circuits are looked for in the folder named by ANOCA_TEST_FEEDERS, by default
`../shared/feeders` beside the repository. A test that needs one, or OpenDSS, skips without it.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[1]
FEEDERS_VARIABLE = "ANOCA_TEST_FEEDERS"

FeederFolder = Callable[[str], Path]


@pytest.fixture
def feeder_folder(tmp_path: Path) -> FeederFolder:
    """`feeder_folder(name)`: a writable copy of a test circuit's folder, for this test alone."""

    def copy(name: str) -> Path:
        root = Path(os.environ.get(FEEDERS_VARIABLE, ROOT.parent / "shared" / "feeders"))
        if not (root / name).is_dir():
            pytest.skip(f"no test circuit {name} in {root}; set {FEEDERS_VARIABLE} to the folder that has it")
        target = tmp_path / name
        if not target.exists():  # a test and a fixture of it may both ask for one
            shutil.copytree(root / name, target, copy_function=shutil.copyfile)
        for folder in [target, *(p for p in target.rglob("*") if p.is_dir())]:
            folder.chmod(0o755)
        return target

    return copy


class OpenDss:
    """The OpenDSS engine, through dss_python: compile, command, read back."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        engine.AllowForms = False
        engine.AllowChangeDir = False

    def run(self, *commands: str) -> None:
        """Carry out commands one by one."""
        for command in commands:
            self.engine.Text.Command = command

    def compile(self, master: Path) -> None:
        """Read a circuit file, which solves it once if it says so."""
        self.run("clear", f'compile "{master}"')

    def solve(self, tolerance: float = 1e-12) -> None:
        """Solve to a tight tolerance; fails the test when it does not converge."""
        self.run("set maxiterations=1000", f"set tolerance={tolerance}", "solve")
        assert self.engine.ActiveCircuit.Solution.Converged

    def voltages(self) -> dict[str, complex]:
        """Complex voltage, V, of every node, by its name in lower case: `bus.1`."""
        circuit = self.engine.ActiveCircuit
        return dict(zip(circuit.AllNodeNames, _complex(circuit.AllBusVolts).tolist(), strict=True))

    def yprim(self, element: str) -> np.ndarray:
        """Primitive admittance of an element, S, terminal by terminal, conductor by conductor."""
        circuit = self.engine.ActiveCircuit
        assert circuit.SetActiveElement(element) >= 0, f"no element {element}"
        flat = _complex(circuit.ActiveCktElement.Yprim)
        size = round(len(flat) ** 0.5)
        return flat.reshape(size, size)


def _complex(values: Any) -> np.ndarray:
    array = np.asarray(values)
    return array if np.iscomplexobj(array) else array.view(complex)


@pytest.fixture
def opendss() -> OpenDss:
    """The OpenDSS engine; the test skips if dss_python is not installed."""
    module = pytest.importorskip("dss", reason="needs dss_python: make setup")
    return OpenDss(module.dss)
