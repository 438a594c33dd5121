"""Seeded cases, many of them hard: what the ladder answers, on which rung, and whether that is right.

    .venv/bin/python benchmarks/robustness.py [--cases 1000] [--starts 4] [--jobs 2]

Case k is drawn from the seed k alone (`anoca.studies.benching.seeded`), its norm by turns. After `dms.solve`:

    certified     is what is published certified, but for ticks that are infeasible
    multistart    an optimiser's answer is held against those from displaced starts (reduced method or
                  barrier, and Ipopt where they do not end); 0.5 % worse is counted, of two-stage norms in
                  the first stage, or in the second among those that hold what the first one gives
    infeasible    a tick called so is searched for a safe point: power flows at uniform caps and shares, and
                  the barrier method from displaced starts; one that is found makes it a false alarm

Every case is one line of results/bench/robustness.jsonl: run it again for the rest. Writes
docs/robustness.md.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from anoca.studies.benching.agreement import held
from anoca.studies.benching.seeded import seeded_case
from anoca.studies.benching.timing import on_one_thread
from benchmarks.resumable import Row, run_all
from dms import NORMS, DmsProblem, DmsRequest, DmsSolution, Status, solve
from dms.interior import IpoptOptions
from dms.multistart import multistart
from dms.optimality import best_of

ROOT = Path(__file__).resolve().parent.parent
WORSE = 5e-3
LAST_RUNGS = ("uniform_cap", "uniform_share", "zero_export")
SHOWN = ("seed", "norm", "feeder", "n", "kind", "multiple", "weak", "status", "rung", "certified", "reasons",
         "worse", "false_alarm", "seconds")  # fmt: skip
BRIEF = IpoptOptions(max_iter=150, mu_strategy="monotone")
"""One try from every start, no longer than an optimum takes."""
CAPS = np.linspace(0.0, 1.0, 33)
HEAD = """# Robustness: {n} seeded cases

Written by `.venv/bin/python benchmarks/robustness.py{words}`.

A feeder of 20 to 400 buses or a small public one, a tick and a norm for every seed; what is drawn, and how,
is said in `anoca/studies/benching/seeded.py`.
"""


def main() -> int:
    """Solve what is not in the file yet, print and write the page; 1 if a criterion is missed."""
    on_one_thread()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--starts", type=int, default=4, help="displaced starts of the multistart")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", type=Path, default=ROOT / "results" / "bench" / "robustness.jsonl")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "robustness.md")
    given = parser.parse_args()
    keys = [str(k) for k in range(given.cases)]
    rows = run_all(keys, partial(judged, starts=given.starts), given.rows, given.jobs)
    frame = pd.DataFrame(rows)
    text = page(frame, " ".join(["", *sys.argv[1:]]))
    given.to.write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(ok for _, _, ok in criteria(frame)) else 1


def judged(key: str, starts: int) -> list[Row]:
    """One case: solved, and held against what else can be found."""
    seed = int(key)
    case = seeded_case(seed)
    norm = list(NORMS)[seed % len(NORMS)]
    problem = case.problem(norm)
    request = case.request(problem)
    began = time.perf_counter()
    solution = solve(problem, request)
    seconds = time.perf_counter() - began
    row: Row = {
        "seed": seed,
        "norm": norm,
        **case.traits,
        "status": str(solution.status),
        "rung": solution.method,
        "certified": solution.certificate.safe,
        "reasons": "; ".join(solution.certificate.reasons),
        "iterations": solution.iterations,
        "seconds": seconds,
        "curtailed_kw": solution.total_curtailed_kw,
        "asked_kw": float(request.p_export_kw.sum()),
        "objective": problem.objective(solution.unit_curtail_kw, request),
        "binding": solution.binding(),
        "named": len(named(solution)),
        "crashed": False,
    }
    if solution.status is Status.INFEASIBLE:
        row["false_alarm"] = safe_point(problem, request, starts, seed)
    elif solution.method not in (*LAST_RUNGS, "go_ahead") and starts:
        row |= _against_multistart(problem, request, solution, starts, seed)
    return [row]


def _against_multistart(
    problem: DmsProblem, request: DmsRequest, solution: DmsSolution, starts: int, seed: int
) -> Row:
    """By how much another local optimum is better: of two-stage norms in the peak, or in what it holds."""
    found = multistart(problem, request, n=starts, seed=seed, method="auto", options=BRIEF)
    mine, best = (
        problem.objective(solution.unit_curtail_kw, request),
        best_of(problem, request, solution, found),
    )
    others = [s.solution for s in found.starts if np.isfinite(s.objective)]
    least = min((peak for other in others for peak in _first_stages(other)), default=np.inf)
    gaps = [mine / best - 1 if best > 0 else 0.0]
    gaps += [peak / least - 1 for peak in _first_stages(solution)]
    return {"multistart": best if np.isfinite(best) else None, "worse": max(gaps) if others else None}


def _first_stages(solution: DmsSolution) -> list[float]:
    """Objectives of the stages before the last; none of a norm that has one stage."""
    return [] if solution.point is None else [stage.objective for stage in solution.point.earlier]


def named(solution: DmsSolution) -> list[str]:
    """Elements that an infeasible tick names."""
    return [p.element for p in solution.preexisting]


def safe_point(problem: DmsProblem, request: DmsRequest, starts: int, seed: int) -> str:
    """How a point that keeps the limits was found after all; empty if none was."""
    most = request.units.unit_export_kw(request.p_export_kw)
    for part in CAPS:
        for rule, cut in (
            ("share", part * most),
            ("cap", np.maximum(most - part * most.max(initial=0.0), 0.0)),
        ):
            if held(problem, request, cut).within():
                return f"uniform {rule} {part:.3f}"
    nominal = replace(problem, limits=replace(problem.limits, preexisting="strict"))
    tries = multistart(nominal, request, n=max(starts, 1), seed=seed, method="barrier", options=BRIEF)
    good = [s.name for s in tries.starts if s.solution.certificate.safe == "yes"]
    return good[0] if good else ""


Criterion = tuple[str, str, bool]


def criteria(frame: pd.DataFrame) -> list[Criterion]:
    """What is asked for, what came out, and whether it holds."""
    n = len(frame)
    crashed = frame["crashed"].fillna(True).astype(bool)
    whole = frame[~crashed]
    infeasible = whole["status"] == Status.INFEASIBLE
    published = whole[~infeasible & (whole["status"] != Status.NO_OPERATING_POINT)]
    certified = published["certified"].isin(["yes", "relaxed"])
    before = certified & ~published["rung"].isin(LAST_RUNGS)
    worse = whole["worse"] > WORSE if "worse" in whole else pd.Series(dtype=bool)
    alarms = whole["false_alarm"].fillna("") != "" if "false_alarm" in whole else pd.Series(dtype=bool)
    strict = whole[infeasible]
    parts = float(whole["parts"].mean())
    needs = (whole["rung"] != "go_ahead") & ~infeasible
    return [
        ("no case takes its process down", f"{int(crashed.sum())}", not crashed.any()),
        ("need curtailment, >= 60 %", f"{needs.mean():.1%}", needs.mean() >= 0.6),
        ("infeasible under strict, >= 10 %", f"{infeasible.mean():.1%}", infeasible.mean() >= 0.1),
        ("meshed, >= 20 %", f"{whole['meshed'].mean():.1%}", whole["meshed"].mean() >= 0.2),
        ("delta, or parts of one or two phases, >= 30 %", f"{parts:.1%}", parts >= 0.3),
        (
            "published set-points certified, 100 %",
            f"{int(certified.sum())} of {len(published)}",
            bool(certified.all()),
        ),
        ("before the uniform cap, >= 99.5 %", f"{before.mean():.2%}", before.mean() >= 0.995),
        ("worse than multistart by more than 0.5 %, none", f"{int(worse.sum())}", not worse.any()),
        ("false infeasible, none", f"{int(alarms.sum())}", not alarms.any()),
        (
            "true infeasible ticks that name elements, all",
            f"{int((strict['named'] > 0).sum())} of {len(strict)}",
            bool((strict["named"] > 0).all()),
        ),
        ("cases", f"{n}", n > 0),
    ]


def page(frame: pd.DataFrame, words: str) -> str:
    """Criteria, histogram of rungs, times, and every case that misses something."""
    parts = [HEAD.format(n=len(frame), words=words).rstrip(), "## What was asked, and what came out"]
    lines = ["| | found | holds |", "|---|---|---|"]
    lines += [f"| {what} | {found} | {'yes' if ok else '**no**'} |" for what, found, ok in criteria(frame)]
    parts += ["\n".join(lines), "## Rungs", _histogram(frame)]
    parts += ["## Seconds", _seconds(frame), "## Exceptions", _exceptions(frame)]
    return "\n\n".join(parts) + "\n"


def _histogram(frame: pd.DataFrame) -> str:
    counts = frame.groupby(["rung", "status"], sort=False).size().sort_values(ascending=False)
    lines = ["| rung | status | cases | |", "|---|---|---|---|"]
    for (rung, status), count in counts.items():  # type: ignore[misc]
        lines.append(f"| {rung} | {status} | {count} | {'#' * max(1, round(60 * count / len(frame)))} |")
    return "\n".join(lines)


def _seconds(frame: pd.DataFrame) -> str:
    lines = ["| norm | solved | median | 95 % | largest |", "|---|---|---|---|---|"]
    for norm, of in frame[frame["rung"] != "go_ahead"].groupby("norm", sort=False):
        s = of["seconds"]
        lines.append(f"| {norm} | {len(of)} | {s.median():.2f} | {s.quantile(0.95):.2f} | {s.max():.2f} |")
    return "\n".join(lines)


def _exceptions(frame: pd.DataFrame) -> str:
    """Everything that is not plainly right, with the traits of its case."""
    strange = frame["certified"].eq("no") & frame["status"].ne(Status.INFEASIBLE)
    strange |= frame["rung"].isin(LAST_RUNGS) & frame["status"].ne(Status.INFEASIBLE)
    strange |= frame["crashed"].fillna(True).astype(bool)
    if "worse" in frame:
        strange |= frame["worse"] > WORSE
    if "false_alarm" in frame:
        strange |= frame["false_alarm"].fillna("") != ""
    strange |= frame["status"].eq(Status.INFEASIBLE) & frame["named"].eq(0)
    shown = [name for name in SHOWN if name in frame]
    if not strange.any():
        return "None."
    lines = [f"| {' | '.join(shown)} |", "|" + "---|" * len(shown)]
    lines += [
        f"| {' | '.join(map(_cell, row.values()))} |" for row in frame[strange][shown].to_dict("records")
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")


if __name__ == "__main__":
    sys.exit(main())
