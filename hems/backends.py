"""Which solver plans: each backend turns `Problems` into `Solutions`.

A new method is one class with `solve` and one entry in `make_backend`. It may read the named blocks of
`Problems` in any way; it decides battery power and spill, and `hems.certificate.complete` makes the rest.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from hems.certificate import Solutions
from hems.config import HemsConfig
from hems.cost_to_go import CostToGo
from hems.dp_backend import DpBackend, compiled_is_there
from hems.errors import ConfigError
from hems.lp import LpBackend
from hems.milp import MilpBackend
from hems.model import Problems


class Backend(Protocol):
    """A method that plans all homes of a batch."""

    def solve(self, problems: Problems) -> Solutions:
        """Return a plan for every home, feasible for (1) with its binaries, and its certificate."""
        ...


@runtime_checkable
class Keeping(Backend, Protocol):
    """A backend that can keep V_1 of the homes it plans, to answer the utility from."""

    def solve_and_keep(self, problems: Problems) -> tuple[Solutions, CostToGo]:
        """Return the plans, and V_1 where it is known."""
        ...


class AutoBackend:
    """The dynamic programme for all homes, the LP for those it did not certify, then the MILP."""

    def __init__(self, config: HemsConfig) -> None:
        self._first = DpBackend(config)
        self._others = LpBackend(config), MilpBackend(config, everywhere=False)

    def solve(self, problems: Problems) -> Solutions:
        """Return certified plans; where all methods fail the cheapest one, uncertified."""
        return self.solve_and_keep(problems)[0]

    def solve_and_keep(self, problems: Problems) -> tuple[Solutions, CostToGo]:
        """Return also V_1 of the homes that the dynamic programme has planned."""
        solutions, to_go = self._first.solve_and_keep(problems)
        for backend in self._others:
            failed = np.flatnonzero(~solutions.certified)
            if not failed.size:
                break
            solutions.put_better(failed, backend.solve(problems.take(failed)))
        return solutions, to_go


def make_backend(config: HemsConfig) -> Backend:
    """Return the backend that `config` names."""
    if config.backend == "dp":
        return DpBackend(config, compiled=False)
    if config.backend == "dp_compiled":
        if not compiled_is_there():
            raise ConfigError("backend='dp_compiled' needs numba: pip install 'anoca[fast]', or use 'auto'.")
        return DpBackend(config, compiled=True)
    if config.backend == "lp":
        return LpBackend(config)
    if config.backend == "milp":
        return MilpBackend(config, everywhere=True)
    if config.backend == "pyomo":
        from hems.reference import PyomoBackend  # slow to import, and only needed here

        return PyomoBackend(config)
    return AutoBackend(config)
