"""The DMS's optimisers against each other and against a plain Pyomo model of the same equations.

One process, one thread, methods in turn (`benching.timing`). Three kinds of tick:

    cold      a problem compiled anew (compile_s apart), no earlier solution: screen, optimum, certificate
    warm      the same with every export 3 % up, from the cold solution
    go_ahead  exports so small that nothing is needed

The plain route is timed from the file's writing to the solution; its screen and certificate are not counted.
Objectives are compared only where a point keeps band and ratings in the independent power flow
(`benching.agreement`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from anoca.errors import InputError
from anoca.studies.bench import Plan, Progress, chosen
from anoca.studies.benching import dms_cases
from anoca.studies.benching.agreement import Point, gap, held
from anoca.studies.benching.circuits import MissingCircuitError
from anoca.studies.benching.dms_cases import DmsCase
from anoca.studies.benching.memory import peak_mb
from anoca.studies.benching.methods import PLAIN, PLAIN_NORMS, REFERENCE, Answer, Method, methods
from anoca.studies.benching.timing import Rounds, Work, interleaved, median, ratio, require_one_thread
from dms import NORMS, DmsProblem, DmsRequest, DmsSolution, certify_optimal

log = logging.getLogger(__name__)

STARTS = ("cold", "warm", "go_ahead")
MOVED = 1.03
"""Exports of the warm tick over those of the cold one."""
QUICK_CASES = ("case1",)
PLAIN_UP_TO = 10_000
"""Nodes up to which the plain route is timed; beyond, its model alone takes minutes to build."""
KKT_UP_TO = 10_000
"""Nodes up to which KKT residuals are tested beside the times."""
MOST_HALVINGS = 12


@dataclass(frozen=True)
class Timed:
    """A tick solved by a method, with the problem it was solved on."""

    problem: DmsProblem
    request: DmsRequest
    answer: Answer


def run(plan: Plan, tell: Progress, keep: Callable[[pd.DataFrame], None]) -> pd.DataFrame:
    """Every case by every norm, start and method; a circuit whose files are missing is left out, and said.

    Raises  InputError  an unknown case, norm, method or start, or more than one thread
    """
    require_one_thread()
    known = methods()
    names = chosen(plan.cases or (QUICK_CASES if plan.quick else ()), dms_cases.names(), "case")
    norms = chosen(plan.norms, list(NORMS), "norm")
    starts = chosen(plan.starts, list(STARTS), "start")
    table = {name: known[name] for name in chosen(plan.methods, list(known), "method")}
    _warm_up(table)
    rows: list[dict[str, Any]] = []
    total, done = len(names) * len(norms), 0
    for name in names:
        try:
            ticks = dms_cases.cases(name)
        except MissingCircuitError as exc:
            done += len(norms)
            tell(done, total, f"{name} left out: {exc}")
            log.warning("%s left out: %s", name, exc)
            continue
        for norm in norms:
            for tick in ticks:
                rows += _Row(tick, norm, table, plan).rows(starts)
            rows += _means(rows, name, norm)
            done += 1
            keep(pd.DataFrame(rows))
            tell(done, total, f"{name}, {norm}: {_said(rows[-1])}")
    if not rows:
        raise InputError("no case could be timed: none of their files is there")
    return pd.DataFrame(rows)


def _warm_up(table: dict[str, Method]) -> None:
    """Load what methods import when they are first used: it is no part of a tick."""
    tick = dms_cases.cases("case1")[0]
    for method in table.values():
        problem = tick.compile("l2")
        method(problem, tick.request(problem), None)


class _Row:
    """One tick under one norm."""

    def __init__(self, tick: DmsCase, norm: str, table: dict[str, Method], plan: Plan) -> None:
        self.tick, self.norm, self.plan = tick, norm, plan
        small = tick.feeder.n_nodes <= PLAIN_UP_TO and norm in PLAIN_NORMS
        self.table = {name: m for name, m in table.items() if name != PLAIN or small}
        self.cold: dict[str, Rounds[Timed]] = {}

    def rows(self, starts: list[str]) -> list[dict[str, Any]]:
        """Rows of every start asked for; the warm ones need the cold ones."""
        ladder = {name: m for name, m in self.table.items() if name != PLAIN}
        found: list[dict[str, Any]] = []
        if "cold" in starts or "warm" in starts:
            once = self.plan if "cold" in starts else replace(self.plan, runs=1)
            self.cold = self._timed(self.table, 1.0, once.runs)
            found += self._table("cold", self.cold) if "cold" in starts else []
        # A tick that needs nothing has no optimum to start the next one from.
        if "warm" in starts and any(
            r.outcome and r.outcome.answer.rung != "go_ahead" for r in self.cold.values()
        ):
            warm = {n: r.outcome.answer.solution for n, r in self.cold.items() if n in ladder and r.outcome}
            found += self._table("warm", self._timed(ladder, MOVED, self.plan.runs, warm))
        if "go_ahead" in starts:
            one = dict(list(ladder.items())[:1])
            found += self._table("go_ahead", self._timed(one, self._harmless(), self.plan.runs))
        return found

    def _timed(
        self,
        table: dict[str, Method],
        scale: float,
        runs: int,
        warm: dict[str, DmsSolution | None] | None = None,
    ) -> dict[str, Rounds[Timed]]:
        def work(name: str, method: Method) -> Work[Timed]:
            def solved(problem: Any) -> Timed:
                request = self.tick.request(problem, scale)
                return Timed(problem, request, method(problem, request, (warm or {}).get(name)))

            own = _plain_seconds if name == PLAIN else None
            return Work(lambda: self.tick.compile(self.norm), solved, own)

        return interleaved({name: work(name, method) for name, method in table.items()}, runs)

    def _harmless(self) -> float:
        """Exports scaled down by halves until the screen grants them."""
        problem = self.tick.compile(self.norm)
        for k in range(MOST_HALVINGS):
            request = self.tick.request(problem, 0.5**k)
            if held(problem, request, np.zeros(len(problem.units.name))).within(0.0, 0.0):
                return 0.5**k
        return 0.0

    def _table(self, start: str, rounds: dict[str, Rounds[Timed]]) -> list[dict[str, Any]]:
        points = {name: _point(r.outcome) for name, r in rounds.items() if r.outcome}
        first = REFERENCE if REFERENCE in points else next(iter(points))
        return [
            self._record(start, name, rounds[name], points[name])
            | {
                "ratio_to": first,
                "ratio": ratio(rounds[name], rounds[first]),
                "gap": gap(points[name], points[first], self.norm),
            }
            for name in points
        ]

    def _record(self, start: str, name: str, mine: Rounds[Timed], point: Point) -> dict[str, Any]:
        assert mine.outcome is not None
        problem, answer = mine.outcome.problem, mine.outcome.answer
        plain = answer.stages
        return {
            "bench": "dms",
            "case": self.tick.name,
            "scenario": self.tick.scenario,
            "method": name,
            "norm": self.norm,
            "start": start,
            "n": self.tick.feeder.n_nodes,
            "prosumers": len(problem.units.name),
            "variables": problem.program.n,
            "seconds": mine.median_s,
            "cpu_s": median(mine.cpu_s.values()),
            "slowest_s": max(mine.seconds.values()),
            "runs": len(mine.seconds),
            "compile_s": mine.median_prepare_s if plain is None else plain.build_s,
            "write_s": plain.write_s if plain else np.nan,
            "read_s": plain.read_s if plain else np.nan,
            "solve_s": plain.solve_s if plain else np.nan,
            "curtailed_kw": float(point.unit_curtail_kw.sum()),
            "largest_kw": float(point.unit_curtail_kw.max(initial=0.0)),
            "objective": point.objective,
            "binding": point.binding,
            "binding_pct": 100 * point.binding / self.tick.feeder.n_nodes,
            "iterations": answer.iterations,
            "status": answer.status,
            "rung": answer.rung,
            "certified": answer.certificate.safe,
            "kkt": _kkt(mine.outcome),
            "worst_v_pu": answer.certificate.worst_v_pu,
            "worst_i": answer.certificate.worst_i,
            "over_v_pu": point.over_v,
            "over_i": point.over_i,
            "comparable": point.comparable,
            "peak_mb": peak_mb(self.tick.name, self.tick.scenario, name, self.norm)
            if self.plan.memory and start == "cold"
            else np.nan,
            "command": f"anoca bench dms --cases {self.tick.name} --norms {self.norm} --runs {self.plan.runs}"
            + (" --memory" if self.plan.memory else ""),
            "settings": self.tick.note,
        }


def _point(timed: Timed) -> Point:
    solution = timed.answer.solution
    values = solution.values if solution else None
    return Point.of(timed.problem, timed.request, timed.answer.unit_curtail_kw, values)


def _kkt(timed: Timed) -> float:
    """KKT residual by `dms.certify_optimal`; NaN for the plain route, which has no multipliers of ours."""
    solution = timed.answer.solution
    if solution is None or timed.problem.feeder.n_nodes > KKT_UP_TO:
        return float("nan")
    return certify_optimal(timed.problem, timed.request, solution).kkt_residual


def _plain_seconds(timed: Timed) -> tuple[float, float]:
    assert timed.answer.stages is not None
    return timed.answer.stages.tick_s, timed.answer.stages.cpu_s


AVERAGED = ("seconds", "cpu_s", "ratio", "compile_s", "write_s", "read_s", "solve_s")
NOT_AVERAGED = ("curtailed_kw", "largest_kw", "objective", "iterations", "worst_v_pu", "worst_i", "peak_mb")


def _means(rows: list[dict[str, Any]], case: str, norm: str) -> list[dict[str, Any]]:
    """Mean over those scenarios of a case whose cold tick needs curtailment, by start and method."""
    mine = [r for r in rows if r["case"] == case and r["norm"] == norm]
    idle = {r["scenario"] for r in mine if r["start"] == "cold" and r["rung"] == "go_ahead"}
    found = []
    for start, method in dict.fromkeys((r["start"], r["method"]) for r in mine if r["start"] != "go_ahead"):
        of = [r for r in mine if (r["start"], r["method"]) == (start, method) and r["scenario"] not in idle]
        if len(of) < 2:
            continue
        gaps = [abs(r["gap"]) for r in of]
        whole = {
            "scenario": "mean of " + " ".join(r["scenario"] for r in of),
            "runs": min(r["runs"] for r in of),
            "certified": "yes" if all(r["certified"] == "yes" for r in of) else "no",
            "comparable": all(r["comparable"] for r in of),
            "gap": float(np.max(gaps)) if np.isfinite(gaps).all() else np.nan,
        }
        mean = {key: float(np.mean([r[key] for r in of])) for key in AVERAGED}
        found.append(of[0] | mean | whole | dict.fromkeys(NOT_AVERAGED, np.nan))
    return found


def _said(row: dict[str, Any]) -> str:
    return f"{row['method']} {row['start']} {row['seconds']:.3f} s"
