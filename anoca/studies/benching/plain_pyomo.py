"""The plain Pyomo route: the same equations, Pyomo's own .nl file, casadi's reader and its Ipopt.

What a user of Pyomo does who has (2) as text and no derivatives of his own. Every stage is timed apart:

    build   `dms.reference.build_model`, the tick's numbers put into it, and a power flow as its start point
    write   Pyomo's .nl file
    read    casadi's `NlpBuilder.import_nl` and `nlpsol`, which makes the derivative functions
    solve   Ipopt with its default options
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dms import DmsProblem, DmsRequest
from dms.program import Block, Numbers
from dms.reference import build_model
from dms.scaling import KW_PER_PU
from feeders.table import Array


@dataclass(frozen=True)
class PlainAnswer:
    """What the route returns: curtailment (n_units,) kW, Ipopt's own word, and seconds of each stage.

    cpu_s  processor seconds of all stages but the building
    """

    unit_curtail_kw: Array
    status: str
    iterations: int
    build_s: float
    write_s: float
    read_s: float
    solve_s: float
    cpu_s: float

    @property
    def converged(self) -> bool:
        """Ipopt says that it has a local optimum, to its tolerance or to the acceptable one."""
        return self.status in ("Solve_Succeeded", "Solved_To_Acceptable_Level")

    @property
    def tick_s(self) -> float:
        """What every tick costs again: the file, the reading and the solution."""
        return self.write_s + self.read_s + self.solve_s


def solve_plain(problem: DmsProblem, request: DmsRequest, max_wall_s: float = 600.0) -> PlainAnswer:
    """One tick by the plain route, limits and numbers as `problem.at(request)` has them.

    max_wall_s  Ipopt gives up after this; the one option that is not its default, but for the printing

    Raises  ImportError  casadi is not installed (the set-up brings it with Ipopt)
    """
    import casadi

    clock = _Clock()
    model = build_model(
        problem.feeder,
        norm=problem.norm,
        limits=problem.limits,
        weights=dict(zip(problem.units.name, problem.weights, strict=True)),
    )
    numbers = problem.at(request)
    numbers.x0[:] = problem.power_flow.solve(numbers).x
    _set_numbers(model, problem, numbers)
    build_s, cpu = clock.lap(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "dms.nl"
        columns = _write(model, path)
        write_s = clock.lap()
        nl = casadi.NlpBuilder()
        nl.import_nl(str(path))
        nlp: Any = {"x": casadi.vertcat(*nl.x), "f": nl.f, "g": casadi.vertcat(*nl.g)}
        quiet: Any = {"ipopt.print_level": 0, "ipopt.sb": "yes", "print_time": False}
        solver = casadi.nlpsol("plain", "ipopt", nlp, {**quiet, "ipopt.max_wall_time": max_wall_s})
        read_s = clock.lap()
    found = solver(x0=nl.x_init, lbx=nl.x_lb, ubx=nl.x_ub, lbg=nl.g_lb, ubg=nl.g_ub)
    x = np.asarray(found["x"]).ravel()
    curtail = np.array([_value(data, x, columns) for data in model.p_curtail.values()]) * KW_PER_PU
    stats = solver.stats()
    return PlainAnswer(
        unit_curtail_kw=curtail,
        status=str(stats["return_status"]),
        iterations=int(stats["iter_count"]),
        build_s=build_s,
        write_s=write_s,
        read_s=read_s,
        solve_s=clock.lap(),
        cpu_s=time.process_time() - cpu,
    )


def _write(model: Any, path: Path) -> dict[int, int]:
    """Write the file; returns the column of every variable in it, by the identity of the variable."""
    _, number = model.write(str(path), format="nl")
    names = model.solutions.symbol_map[number].bySymbol
    return {id(data): int(name[1:]) for name, data in names.items() if name[:1] == "v" and name[1:].isdigit()}


def _value(data: Any, x: Array, columns: dict[int, int]) -> float:
    """Of a variable: from the solution, or as it stands where the file left it out."""
    column = columns.get(id(data))
    return float(data.value) if column is None else float(x[column])


def _set_numbers(model: Any, problem: DmsProblem, numbers: Numbers) -> None:
    """Bounds, start point and right-hand sides of the tick, by the names that model and programme share."""
    program, base = problem.program, problem.program.numbers
    for block in program.variables.values():
        for data, k in _entries(model, block):
            data.set_value(float(numbers.x0[k]), skip_validation=True)
            data.setlb(_finite(numbers.x_lo[k]))
            data.setub(_finite(numbers.x_hi[k]))
            if numbers.x_lo[k] == numbers.x_hi[k]:
                data.fix(float(numbers.x_lo[k]))
    moved = (numbers.row_lo != base.row_lo) | (numbers.row_hi != base.row_hi)
    for block in program.rows.values():
        if moved[block.span].any():
            for data, k in _entries(model, block):
                # The text may keep a constant on the left: bounds move by as much as the programme's.
                low = None if data.lower is None else float(data.lower) + numbers.row_lo[k] - base.row_lo[k]
                high = None if data.upper is None else float(data.upper) + numbers.row_hi[k] - base.row_hi[k]
                data.set_value((low, data.body, high))


def _entries(model: Any, block: Block) -> list[tuple[Any, int]]:
    component = model.find_component(block.name)
    by_label = {str(key): data for key, data in component.items()}
    return [(by_label[str(label)], block.start + k) for k, label in enumerate(block.label)]


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


class _Clock:
    """Seconds since the last lap."""

    def __init__(self) -> None:
        self.last = time.perf_counter()

    def lap(self) -> float:
        now = time.perf_counter()
        gone, self.last = now - self.last, now
        return gone
