"""The home energy problem: every method against a Pyomo model built anew every tick, and whole fleets.

One process, one thread, methods in turn (`benching.timing`). Three kinds of row:

    per home    `plain_pyomo` builds the text of (1) with its binaries and solves it by HiGHS, home after
                home, no tie-break; the others are `HemsFleet.plan` by one method: checks, arrays, plans,
                tie-break, certificate. `home_us` is of one home, `speedup` the median of quotients of a round
    plan        a whole fleet by "auto", a tick
    respond     the same fleet's answers when every home may export half of what it wants

Objectives are compared with the Pyomo model's on the homes that it solved.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pandas as pd

from anoca.errors import InputError
from anoca.studies.bench import Plan, Progress, chosen
from anoca.studies.benching import hems_cases
from anoca.studies.benching.hems_cases import HemsCase
from anoca.studies.benching.methods import PLAIN
from anoca.studies.benching.timing import Rounds, Work, interleaved, median, ratio, require_one_thread
from feeders.table import Array
from hems import HemsFleet, PlanBatch
from hems.config import BackendName
from hems.dp_backend import compiled_is_there

HOMES = {PLAIN: 4, "milp": 4, "lp": 52, "dp": 52, "dp_compiled": 416}
"""Methods, and how many homes each plans in a round."""
FLEETS = (416, 100_000)
QUICK_FLEETS = (416,)
TARGETS = {"lp": 50.0, "dp": 100.0, "dp_compiled": 1000.0}
"""How many times faster than the Pyomo model these are meant to be."""


@dataclass(frozen=True)
class Planned:
    """The plans of one round; what the Pyomo model gives is an objective a home."""

    objective: Array
    certified: int
    gap: float
    path: str


def run(plan: Plan, tell: Progress, keep: Any) -> pd.DataFrame:
    """Every tariff by every method, then whole fleets.

    Raises  InputError  an unknown case, method or start, any norm, or more than one thread
    """
    require_one_thread()
    if plan.norms:
        raise InputError("bench hems has no norms: homes plan each for itself; leave --norms out")
    known = [name for name in HOMES if name != "dp_compiled" or compiled_is_there()]
    methods = chosen(plan.methods, known, "method")
    starts = chosen(plan.starts, ["home", "plan", "respond"], "start")
    tariffs = chosen(plan.cases or (("tou",) if plan.quick else ()), list(hems_cases.TARIFFS), "case")
    sizes = QUICK_FLEETS if plan.quick else FLEETS
    _warm_up(methods)
    rows: list[dict[str, Any]] = []
    total = len(tariffs) * (1 + len(sizes))
    for tariff in tariffs:
        if "home" in starts:
            rows += _per_home(tariff, methods, plan)
            keep(pd.DataFrame(rows))
            tell(_done(rows), total, f"{tariff}, a home: {_said(rows)}")
        for n in sizes if {"plan", "respond"} & set(starts) else ():
            rows += [row for row in _fleet(tariff, n, plan) if row["start"] in starts]
            keep(pd.DataFrame(rows))
            tell(_done(rows), total, f"{tariff}, {n} homes: {rows[-1]['seconds']:.3f} s")
    tell(total, total, "done")
    return pd.DataFrame(rows)


def _done(rows: list[dict[str, Any]]) -> int:
    return len({(r["case"], "home" if r["start"] == "home" else r["n"]) for r in rows})


def _warm_up(methods: list[str]) -> None:
    """Load and compile what is first used: it is no part of a tick."""
    given = hems_cases.case("tou", 1)
    for name in {*methods, "auto"}:
        if name == PLAIN:
            _plain(given, 1)
        else:
            fleet = given.fleet(_backend(name), 1)
            fleet.respond(0.5 * _plan(given, fleet, 1).p_export_kw)


def _backend(name: str) -> BackendName:
    return cast(BackendName, name)


def _plan(given: HemsCase, fleet: HemsFleet, n: int) -> PlanBatch:
    return fleet.plan(given.load_kw[:n], given.pv_kw[:n], given.tariff)


def _judged(plan: PlanBatch) -> Planned:
    certified = int((plan.status != "uncertified").sum())
    return Planned(plan.objective, certified, float(plan.gap.max()), " ".join(sorted(set(plan.path))))


def _plain(given: HemsCase, n: int) -> Planned:
    """Build and solve the Pyomo text of n homes, one after the other."""
    import pyomo.environ as pyo

    from hems.reference import build_model, numbers_of, solve_model

    fleet = given.fleet("pyomo", n)
    problems = fleet.problems(given.load_kw[:n], given.pv_kw[:n], given.tariff)[0]
    found = np.full(n, np.nan)
    for i in range(n):
        model = build_model(numbers_of(problems, i, fleet.config))
        if solve_model(model) is not None:
            found[i] = pyo.value(model.cost)
    return Planned(found, 0, np.nan, "pyomo")


def _per_home(tariff: str, methods: list[str], plan: Plan) -> list[dict[str, Any]]:
    given = hems_cases.case(tariff, max(HOMES.values()))

    def work(name: str) -> Work[Planned]:
        n = HOMES[name]
        if name == PLAIN:
            return Work(lambda: None, lambda _: _plain(given, n))
        return Work(
            lambda: given.fleet(_backend(name), n),
            lambda fleet: _judged(_plan(given, cast(HemsFleet, fleet), n)),
        )

    rounds = interleaved({name: work(name) for name in methods}, plan.runs)
    rows = []
    for name, mine in rounds.items():
        assert mine.outcome is not None
        first, n = rounds.get(PLAIN), HOMES[name]
        to_plain = ratio(mine, first) * HOMES[PLAIN] / n if first else np.nan
        rows.append(
            _row(tariff, "home", name, n, mine, plan)
            | {
                "ratio_to": PLAIN if first else "",
                "ratio": to_plain,
                "speedup": 1.0 / to_plain,
                "target": TARGETS.get(name, np.nan),
                "objective_diff": _difference(mine.outcome, first.outcome if first else None),
                "certified": "" if name == PLAIN else f"{mine.outcome.certified} of {n}",
                "gap": mine.outcome.gap,
                "path": mine.outcome.path,
                "peak_mb": np.nan,
            }
        )
    return rows


def _difference(mine: Planned, other: Planned | None) -> float:
    """Largest |difference| of the objectives of the homes that both planned, $."""
    if other is None:
        return float("nan")
    n = min(len(mine.objective), len(other.objective))
    return float(np.abs(mine.objective[:n] - other.objective[:n]).max())


def _fleet(tariff: str, n: int, plan: Plan) -> list[dict[str, Any]]:
    given = hems_cases.case(tariff, n)
    fleet = given.fleet("auto", n)
    oes: list[Array] = []

    def planned(_: object) -> Planned:
        found = _plan(given, fleet, n)
        oes[:] = [found.p_export_kw]
        return _judged(found)

    def answered(_: object) -> Planned:
        found = fleet.respond(0.5 * oes[0])
        paths = " ".join(sorted(set(found.path)))
        return Planned(found.objective, int(found.certified.sum()), float(found.gap.max()), paths)

    found: dict[str, Rounds[Planned]] = {"plan": Rounds(), "respond": Rounds()}
    for k in range(plan.runs):
        for start, work in (("plan", planned), ("respond", answered)):
            one = interleaved({start: Work(lambda: None, work)}, 1)[start]
            found[start].seconds[k], found[start].cpu_s[k] = one.seconds[0], one.cpu_s[0]
            found[start].outcome = one.outcome
    peak = hems_cases.peak_mb(tariff, "auto", n) if plan.memory else np.nan
    return [_fleet_row(tariff, n, start, mine, plan) | {"peak_mb": peak} for start, mine in found.items()]


def _fleet_row(tariff: str, n: int, start: str, mine: Rounds[Planned], plan: Plan) -> dict[str, Any]:
    assert mine.outcome is not None
    return _row(tariff, start, "auto", n, mine, plan) | {
        "ratio_to": "",
        "ratio": np.nan,
        "speedup": np.nan,
        "target": np.nan,
        "objective_diff": np.nan,
        "certified": f"{mine.outcome.certified} of {n}",
        "gap": mine.outcome.gap,
        "path": mine.outcome.path,
    }


def _row(tariff: str, start: str, name: str, n: int, mine: Rounds[Planned], plan: Plan) -> dict[str, Any]:
    command = f"anoca bench hems --cases {tariff} --runs {plan.runs}" + (" --memory" if plan.memory else "")
    return {
        "bench": "hems",
        "case": tariff,
        "scenario": "",
        "method": name,
        "norm": "",
        "start": start,
        "n": n,
        "seconds": mine.median_s,
        "cpu_s": median(mine.cpu_s.values()),
        "slowest_s": max(mine.seconds.values()),
        "home_us": 1e6 * mine.median_s / n,
        "runs": len(mine.seconds),
        "command": command,
        "settings": hems_cases.NOTE,
    }


def _said(rows: list[dict[str, Any]]) -> str:
    fastest = rows[-1]
    return f"{fastest['method']} {fastest['home_us']:.0f} us, {fastest['speedup']:.0f} x {PLAIN}"
