"""The ANOCA simulator: prosumers ask, the utility curtails as little as the wires demand.

>>> import anoca
>>> scenario = anoca.load_scenario("scenarios/case2_hour.toml")
>>> results = anoca.simulate(scenario)      # in memory;  anoca.run(scenario) writes a folder
>>> results.tables["ticks"]
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anoca.config import Scenario, load_scenario
    from anoca.errors import InputError
    from anoca.results import Results, read
    from anoca.runner import run
    from anoca.simulation import simulate
    from anoca.studies.compare import compare
    from anoca.studies.sweep import sweep

__version__ = version("anoca")

# Loaded on first use, so that `anoca doctor` still speaks where a library is missing.
_HOME = {
    "InputError": "anoca.errors",
    "Results": "anoca.results",
    "Scenario": "anoca.config",
    "compare": "anoca.studies.compare",
    "load_scenario": "anoca.config",
    "read": "anoca.results",
    "run": "anoca.runner",
    "simulate": "anoca.simulation",
    "sweep": "anoca.studies.sweep",
}

__all__ = [
    "InputError",
    "Results",
    "Scenario",
    "compare",
    "load_scenario",
    "read",
    "run",
    "simulate",
    "sweep",
]


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'anoca' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
