"""What a result depends on: scenario, input files, our own source, solver versions."""

from __future__ import annotations

import hashlib
import importlib
import json
import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from anoca.config import Scenario
from hems.forecasters import own_module

PACKAGES = ("anoca", "dms", "feeders", "hems")
LIBRARIES = ("numpy", "scipy", "pandas", "highspy", "pyomo", "cyipopt", "casadi", "simpy", "numba")


def provenance(scenario: Scenario) -> dict[str, Any]:
    """Everything in one dictionary, with the `hash` that names the results folder."""
    facts: dict[str, Any] = {
        "versions": {"python": platform.python_version(), **versions()},
        "source": source_hash(),
        "inputs": {role: _file_hash(path) for role, path in input_files(scenario).items()},
        "seed": scenario.seed,
    }
    text = json.dumps([scenario.resolved(), facts], sort_keys=True)
    return {"hash": hashlib.sha256(text.encode()).hexdigest()[:12], **facts}


def input_files(scenario: Scenario) -> dict[str, Path]:
    """Files that the scenario names and that exist, by the part they play."""
    named = {
        "tariff.file": scenario.tariff.file,
        "series.load_file": scenario.series.load_file,
        "series.pv_file": scenario.series.pv_file,
    }
    named["forecast.method"] = own_module(scenario.forecast.method)
    files = {role: path for role, path in named.items() if path is not None and path.is_file()}
    place = Path(scenario.feeder.name)
    if place.is_file() and place.suffix.lower() == ".json":
        return files | {f"feeder/{place.name}": place}
    folder = place.parent if place.suffix.lower() == ".dss" else place
    if place.exists() and folder.is_dir():
        found = (path for path in sorted(folder.rglob("*")) if path.is_file())
        files |= {f"feeder/{path.relative_to(folder)}": path for path in found}
    return files


@cache
def source_hash() -> str:
    """Hash of the Python source of the four packages."""
    digest = hashlib.sha256()
    for package in PACKAGES:
        module = importlib.import_module(package)
        root = Path(str(module.__file__)).parent
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package}/{path.relative_to(root)}".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


@cache
def versions() -> dict[str, str]:
    """Versions of the libraries that shape a result, and of the Ipopt in use."""
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    try:
        import cyipopt

        found["ipopt"] = ".".join(map(str, cyipopt.IPOPT_VERSION))
    except ImportError:
        pass
    return found


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
