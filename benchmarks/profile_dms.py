"""Write docs/profile-dms.md: where a tick's time goes, and how much of it no optimiser can save.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python benchmarks/profile_dms.py [--cases case2,m1,j1]

Functions of the DMS are timed as they are called, each without the timed ones that it calls itself.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd

from anoca.studies.bench.dms import MOVED
from anoca.studies.benching.circuits import MissingCircuitError
from anoca.studies.benching.dms_cases import DmsCase, cases
from anoca.studies.benching.timing import on_one_thread
from dms import DmsSolution, methods, solve

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "profile-dms.md"
CASES = ("case2", "case2-expanded", "m1", "j1", "8500", "synthetic-1000", "synthetic-10000")
NORMS = ("l1", "l2", "linf")
QUIET = 0.05
"""Share of the exports at which a tick needs nothing."""
ROUNDS = 3
PARTS: dict[str, tuple[str, ...]] = {
    "flows": ("dms.certificate.run", "dms.tick.run", "dms.tick.other_flows", "dms.certificate.other_flows"),
    "limits": ("dms.certificate.measure", "dms.tick.measure"),
    "states": ("dms.powerflow.PowerFlow.settle",),
    "factors": ("dms.state_equations.StateEquations.factorise",),
    "gradients": ("dms.adjoint.Linearised.gradients", "dms.adjoint.Linearised.law_multipliers"),
    "curvature": ("dms.adjoint.Linearised.moves", "dms.adjoint.Linearised.curvature"),
    "lp": ("dms.rounds._run",),
    "qp": ("dms.quadratic.solve",),
    "derivatives": tuple(
        f"dms.compact.CompactTick.{name}" for name in ("constraints", "jacobian", "hessian")
    ),
    "newton": ("dms.newton.NewtonSystem.assemble", "dms.newton.NewtonSystem.factorise"),
    "steps": ("dms.newton.NewtonSystem.solve",),
}
"""By column, the functions that it is the time of."""
HEAD = """# Where a tick's time goes

Written by `OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python benchmarks/profile_dms.py{words}`.

Milliseconds of one thread, the median round of {rounds}, timers in place; every column without the others.

- **floor**: what any optimiser would need as well: flows, limits, and one factorisation and power flow of the
  programme at the start point.
- **flows**, **limits**: the independent power flows of screen, zero export and certificate, and their limits.
- **states**, **factors**: power flows of the programme at trial points, and LU of its state Jacobian.
- **gradients**, **curvature**, **lp**, **qp**: rounds of the reduced method: adjoint solves, second
  derivatives along the laws, linear and quadratic models. **rounds** counts them.
- **derivatives**, **newton**, **steps**: iterations of the barrier method: values and derivatives, L D L'
  factors, and refined solutions with them.
"""


class Clock:
    """Exclusive seconds by part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = 0.0

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, its time counted as the part's, that of timed functions within left out."""

        @functools.wraps(function)
        def counted(*args: Any, **given: Any) -> Any:
            self._turn(part)
            try:
                return function(*args, **given)
            finally:
                self._turn(None)

        return counted

    def _turn(self, part: str | None) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now
        if part is None:
            self._open.pop()
        else:
            self._open.append(part)


def main() -> int:
    """Time every case, print and write the page."""
    on_one_thread()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", default=",".join(CASES))
    parser.add_argument("--norms", default=",".join(NORMS))
    parser.add_argument("--to", type=Path, default=TARGET)
    given = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in given.cases.split(","):
        try:
            ticks = cases(name)
        except MissingCircuitError as exc:
            print(f"{name} left out: {exc}")
            continue
        for norm in given.norms.split(","):
            for tick in ticks:
                print(f"{name} {tick.scenario} {norm}", flush=True)
                rows += rows_of(tick, norm)
    words = " ".join(["", *sys.argv[1:]])
    text = HEAD.format(words=words, rounds=ROUNDS) + "\n" + table(pd.DataFrame(rows)) + "\n"
    given.to.write_text(text, encoding="utf-8")
    print(text)
    return 0


def rows_of(case: DmsCase, norm: str) -> list[dict[str, Any]]:
    """A cold tick, a warm one, and for the first norm one that needs nothing."""
    problem = case.compile(norm)
    request = case.request(problem)
    methods.prepare(problem, all_methods=True)
    cold = solve(problem, request)
    if cold.method == "go_ahead":
        return []
    more = request.exporting(MOVED * request.p_export_kw)
    quiet = request.exporting(QUIET * request.p_export_kw)
    works: dict[str, Callable[[], DmsSolution]] = {
        "cold": lambda: solve(problem, request),
        "warm": lambda: solve(problem, more, warm=cold),
        "go-ahead": lambda: solve(problem, quiet),
    }
    found = []
    for start, work in works.items():
        if start == "go-ahead" and norm != NORMS[0]:
            continue
        rounds = sorted((timed(work) for _ in range(ROUNDS)), key=lambda row: float(row["total"]))
        named = {"case": case.name, "scenario": case.scenario, "norm": norm, "tick": start}
        found.append({**named, **rounds[ROUNDS // 2]})
    return found


def timed(work: Callable[[], DmsSolution]) -> dict[str, Any]:
    """Milliseconds of one tick by part."""
    clock = Clock()
    with ExitStack() as stack:
        for part, places in PARTS.items():
            for place in places:
                owner, name = _owner(place)
                counted = clock.timed(part, getattr(owner, name))
                stack.enter_context(mock.patch.object(owner, name, counted))
        began = time.perf_counter()
        solution = work()
        total = time.perf_counter() - began
    parts = {part: 1e3 * clock.seconds[part] for part in PARTS}
    floor = parts["flows"] + parts["limits"]
    if solution.method != "go_ahead":
        floor += parts["factors"] if solution.method.startswith("reduced") else 0.0
    rest = 1e3 * total - sum(parts.values())
    return {
        "method": solution.method,
        "rounds": solution.iterations,
        "total": 1e3 * total,
        "floor": floor,
        **parts,
        "rest": rest,
    }


def _owner(place: str) -> tuple[Any, str]:
    """The module or class that a dotted name is an attribute of, and the attribute."""
    path, name = place.rsplit(".", 1)
    try:
        return importlib.import_module(path), name
    except ModuleNotFoundError:
        module, cls = path.rsplit(".", 1)
        return getattr(importlib.import_module(module), cls), name


def table(frame: pd.DataFrame) -> str:
    """Markdown, milliseconds to one decimal, columns without a value left out."""
    shown = frame.loc[:, [c for c in frame if not (frame[c].dtype == float and (frame[c] < 0.05).all())]]
    lines = ["| " + " | ".join(shown.columns) + " |", "|" + "---|" * len(shown.columns)]
    for row in shown.itertuples(index=False):
        cells = [f"{value:.1f}" if isinstance(value, float) else str(value) for value in row]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
