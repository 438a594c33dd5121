"""A closed-loop day by norm: plan, DMS, answer, plant and records of every tick, on one core.

The whole of `anoca.simulation.simulate` is timed, files left out. Where the seconds go:

    setup_s     feeder, problem, series, fleet, and the tables at the end
    hems_s      forecasts and plans         respond_s   answers to the AES, and what was lived through
    dms_s       screen, optimisation, certificate, guard
    plant_s     power flow of the plant     explain_s   what binds, and whom it curtails
    record_s    rows of the tables          rest_s      messages, agents and their clock
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from anoca.cli_scenarios import shipped
from anoca.config import Scenario, load_scenario
from anoca.results import Results
from anoca.simulation import simulate
from anoca.studies.bench import Plan, Progress, chosen
from anoca.studies.benching.timing import require_one_thread
from dms import NORMS
from dms.solution import COUNT_KW

ROUNDS = 1
TARGET_S = 60.0
"""What a day of 416 homes may take."""
DEFAULT_NORMS = ("l1", "l2", "linf", "linf_l1", "linf_l2")
CASES: dict[str, dict[str, Any]] = {
    "case2": {},
    "noon": {"clock.start": "2026-06-21T11:30:00", "clock.ticks": 12},
}
"""Changes to scenarios/case2_day.toml."""
PARTS = ("setup_s", "hems_s", "respond_s", "dms_s", "plant_s", "explain_s", "record_s", "rest_s")


def scenario_of(case: str, norm: str) -> Scenario:
    """The day, or an hour of it."""
    changes = {"dms.norm": norm, "output.plots": False, **CASES[case]}
    return load_scenario(shipped("case2_day.toml")).with_overrides(changes)


def run(plan: Plan, tell: Progress, keep: Callable[[pd.DataFrame], None]) -> pd.DataFrame:
    """Every norm, `plan.runs` times; medians.

    Raises  InputError  an unknown case or norm, or more than one thread
    """
    require_one_thread()
    cases = chosen(plan.cases or (("noon",) if plan.quick else ("case2",)), list(CASES), "case")
    norms = chosen(plan.norms or DEFAULT_NORMS, list(NORMS), "norm")
    rows: list[dict[str, Any]] = []
    for k, (case, norm) in enumerate((case, norm) for case in cases for norm in norms):
        rounds = []
        for one in range(plan.runs):
            done = (k * plan.runs + one, len(cases) * len(norms) * plan.runs)
            rounds.append(timed(scenario_of(case, norm), _within(tell, done, f"{case}, {norm}")))
        rows.append(_row(case, norm, rounds))
        keep(pd.DataFrame(rows))
    return pd.DataFrame(rows)


def _within(tell: Progress, run: tuple[int, int], name: str) -> Progress:
    number, of = run

    def told(done: int, total: int, text: str) -> None:
        tell(number * total + done, of * total, f"{name}: {text}")

    return told


Round = tuple[Results, dict[str, float]]


def timed(scenario: Scenario, tell: Progress) -> Round:
    """One run in memory, and where its seconds went."""
    ends: list[float] = []

    def told(done: int, total: int, text: str) -> None:
        ends.append(time.perf_counter())
        tell(done, total, text)

    began, cpu = time.perf_counter(), _cpu_s()
    results = simulate(scenario, told)
    whole = time.perf_counter() - began
    timings = results.tables["timings"].set_index("tick")
    spent = {name: float(total) for name, total in timings.sum().items()}
    first = ends[0] - float(timings.iloc[0].sum())
    ticking = ends[-1] - first
    own = {"setup_s": whole - ticking, "rest_s": ticking - sum(spent.values())}
    return results, {"seconds": whole, "cpu_s": _cpu_s() - cpu, **spent, **own}


def _cpu_s() -> float:
    """Processor time of this process and of the children it has had."""
    spent = os.times()
    return spent.user + spent.system + spent.children_user + spent.children_system


def _row(case: str, norm: str, rounds: list[Round]) -> dict[str, Any]:
    results, s = rounds[0][0], rounds[0][0].summary
    seconds = pd.DataFrame([spent for _, spent in rounds]).median()
    ticks = results.tables["ticks"]
    cut = ticks[ticks["curtailed_kw"] > COUNT_KW]
    return {
        "bench": "day",
        "case": case,
        "method": "loop",
        "norm": norm,
        "n": s["prosumers"],
        "ticks": s["ticks"],
        "seconds": float(seconds["seconds"]),
        "cpu_s": float(seconds["cpu_s"]),
        "runs": len(rounds),
        "ratio_to": f"{TARGET_S:g} s",
        "ratio": float(seconds["seconds"]) / TARGET_S,
        **{part: float(seconds[part]) for part in PARTS},
        "slowest_tick_s": float(results.tables["timings"].drop(columns="tick").sum(axis=1).max()),
        "ticks_curtailed": s["ticks_curtailed"],
        "from": f"{cut['time'].iloc[0]:%H:%M}" if len(cut) else "",
        "to": f"{cut['time'].iloc[-1]:%H:%M}" if len(cut) else "",
        "certified": f"{s['certified']} of {s['ticks']}",
        "guard_hits": s["guard_hits"],
        "rungs": ", ".join(f"{name} {n}" for name, n in ticks["method"].value_counts().items()),
        "iterations": s["iterations"],
        "curtailed_mwh": s["curtailed_kwh"] / 1e3,
        "stored_mwh": s["stored_kwh"] / 1e3,
        "regret_usd": s["regret_usd"],
        "largest_kw": s["largest_kw"],
        "ticks_plant_violated": s["ticks_plant_violated"],
        "gap": np.nan,
        "command": f"anoca bench day --cases {case} --norms {norm} --runs {len(rounds)}",
    }
