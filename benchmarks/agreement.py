"""Do the DMS's methods agree? Their optima against Ipopt's, where the limits are kept; exceptions are listed.

    .venv/bin/python benchmarks/agreement.py [--seeds 200] [--cases case2,ieee123,m1,j1] [--methods auto]

Seeded synthetic cases (each under every norm), the scenarios of the paper's case 2 and public circuits. Two
optima are compared only if both keep the band to 1e-8 pu and the ratings to 1e-7 in the independent power
flow; they agree if the sum of squares (l2) or the peak (linf) is the same to 1e-5, the total (l1) to 0.5 %.
Every case is one line of results/bench/agreement.jsonl: run it again for the rest. Writes docs/agreement.md.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from anoca.studies.benching import dms_cases
from anoca.studies.benching.agreement import SAME, Point, agrees, gap
from anoca.studies.benching.circuits import MissingCircuitError
from anoca.studies.benching.methods import REFERENCE, Answer, methods
from anoca.studies.benching.seeded import seeded_case
from anoca.studies.benching.timing import on_one_thread
from benchmarks.resumable import Row, run_all
from dms import NORMS, DmsProblem, DmsRequest, certify_optimal

ROOT = Path(__file__).resolve().parent.parent
SEED_OFFSET = 50_000
"""So that these cases are others than those of benchmarks/robustness.py."""
KKT_MAX = 1e-5
HEAD = """# Do the methods agree?

Written by `.venv/bin/python benchmarks/agreement.py{words}`.

Every method's optimum is held in the independent power flow at the point before rounding. Only points that
keep the band to 1e-8 pu and the ratings to 1e-7 are compared; they agree if l1's totals are the same to
{l1:.1%}, l2's sums of squares and linf's peaks to {l2:.0e}, the last stage of a norm with two likewise (the
squares of linf_l2 to {two:.0e}). Of those that do not, "better" counts where the method's optimum is the
lower one; and "agree there" counts with the others those where Ipopt, started at the method's optimum, ends
at the same: two local optima. KKT: answers whose residual (`dms.certify_optimal`) is at most 1e-5.
"""


def main() -> int:
    """Solve everything that is not in the file yet, print and write the tables; 1 below 99 %."""
    on_one_thread()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--cases", default="case2,ieee123,m1,j1", help="of `anoca bench dms`; empty: none")
    parser.add_argument("--norms", default=",".join(NORMS))
    parser.add_argument("--methods", default="auto", help="held against Ipopt: auto, reduced, barrier")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rows", type=Path, default=ROOT / "results" / "bench" / "agreement.jsonl")
    parser.add_argument("--to", type=Path, default=ROOT / "docs" / "agreement.md")
    given = parser.parse_args()
    names = [*filter(None, given.cases.split(",")), *(f"seed {SEED_OFFSET + k}" for k in range(given.seeds))]
    keys = [f"{name}/{norm}" for name in names for norm in given.norms.split(",")]
    rows = run_all(keys, partial(compared, names=given.methods.split(",")), given.rows, given.jobs)
    text = page(pd.DataFrame(rows), " ".join(["", *sys.argv[1:]]))
    given.to.write_text(text, encoding="utf-8")
    print(text)
    return 0 if _share(pd.DataFrame(rows)) >= 0.99 else 1


def compared(key: str, names: Sequence[str] = ("auto",)) -> list[Row]:
    """Some methods on the ticks of a key, `case/norm` or `seed N/norm`, that need curtailment."""
    name, _, norm = key.rpartition("/")
    if name.startswith("seed "):
        case = seeded_case(int(name[5:]), feasible=True)
        problem = case.problem(norm)
        return _rows(name, norm, "", problem, case.request(problem), names)
    try:
        ticks = dms_cases.cases(name)
    except MissingCircuitError as exc:
        print(f"{name} left out: {exc}")
        return []
    found = []
    for tick in ticks:
        problem = tick.compile(norm)
        found += _rows(name, norm, tick.scenario, problem, tick.request(problem), names)
    return found


def _rows(
    name: str, norm: str, scenario: str, problem: DmsProblem, request: DmsRequest, names: Sequence[str]
) -> list[Row]:
    known = methods()
    answers = {m: known[m](problem, request, None) for m in (REFERENCE, *names)}
    if answers[REFERENCE].rung == "go_ahead":
        return []
    points: dict[str, Point] = {}
    for method, answer in answers.items():
        values = answer.solution.values if answer.solution else None
        points[method] = Point.of(problem, request, answer.unit_curtail_kw, values)
    rows = []
    for method, answer in answers.items():
        assert answer.solution is not None
        apart = gap(points[method], points[REFERENCE], norm)
        optimal = certify_optimal(problem, request, answer.solution)
        point = points[method]
        rows.append(
            {
                "group": "synthetic" if name.startswith("seed ") else name,
                "case": name,
                "scenario": scenario,
                "norm": norm,
                "n": problem.feeder.n_nodes,
                "method": method,
                "status": answer.status,
                "rung": answer.rung,
                "figure": point.figure(norm),
                "gap": apart,
                "gap_there": apart if agrees(apart, norm) else _gap_there(problem, request, answer, norm),
                "comparable": point.comparable,
                "over_v_pu": point.over_v,
                "over_i": point.over_i,
                "binding": point.binding,
                "certified": answer.certificate.safe,
                "optimal": optimal.optimal,
                "kkt": optimal.kkt_residual,
                "reasons": "; ".join(optimal.reasons),
                "seconds": answer.solution.solve_s,
            }
        )
    return rows


def _gap_there(problem: DmsProblem, request: DmsRequest, answer: Answer, norm: str) -> float:
    """The gap to Ipopt where it starts at the answer: there are two local optima, or one of them is none."""
    there = methods()[REFERENCE](problem, request, answer.solution)
    ours, theirs = (
        Point.of(problem, request, a.unit_curtail_kw, a.solution.values if a.solution else None)
        for a in (answer, there)
    )
    return gap(ours, theirs, norm)


def page(frame: pd.DataFrame, words: str) -> str:
    """Shares by group, norm and method, then every case that does not agree with both certificates."""
    head = HEAD.format(words=words, l1=SAME["l1"], l2=SAME["l2"], two=SAME["linf_l2"])
    if frame.empty:
        return head + "\nNothing was compared.\n"
    others = frame[frame["method"] != REFERENCE].copy()
    parts = [head, "## Shares", _shares(frame)]
    if others.empty:
        parts.append(f"There is no method beside {REFERENCE} yet.")
        return "\n\n".join(part.rstrip() for part in parts) + "\n"
    others["agrees"] = [agrees(g, n) for g, n in zip(others["gap"], others["norm"], strict=True)]
    wrong = others[~others["agrees"]]
    apart = sum(not agrees(g, n) for g, n in zip(wrong["gap_there"], wrong["norm"], strict=True))
    parts.append(
        f"## Exceptions\n\n{len(wrong)} of {len(others)} comparisons, {apart} also where Ipopt starts at the "
        "method's optimum; both certificates of each."
    )
    keys = set(wrong["case"] + wrong["norm"] + wrong["scenario"])
    listed = frame[(frame["case"] + frame["norm"] + frame["scenario"]).isin(keys)]
    if len(listed):
        parts.append(_markdown(listed.drop(columns=["group", "seconds"])))
    return "\n\n".join(part.rstrip() for part in parts) + "\n"


def _shares(frame: pd.DataFrame) -> str:
    rows = []
    for (group, norm, method), of in frame.groupby(["group", "norm", "method"], sort=False):
        gaps = of["gap"].abs()
        rows.append(
            {
                "cases": group,
                "norm": norm,
                "method": method,
                "answers": len(of),
                "certified": int(of["certified"].isin(["yes", "relaxed"]).sum()),
                "comparable": int(of["comparable"].sum()),
                "agree": int(sum(agrees(g, norm) for g in of["gap"])),
                "agree there": int(sum(agrees(g, norm) for g in of["gap_there"])),
                "better": int(sum(g < 0 and not agrees(g, norm) for g in of["gap"])),
                "largest gap": float(gaps.max()) if gaps.notna().any() else np.nan,
                "KKT <= 1e-5": int((of["kkt"] <= KKT_MAX).sum()),
            }
        )
    return _markdown(pd.DataFrame(rows))


def _share(frame: pd.DataFrame) -> float:
    """Of the comparisons with the reference that agree."""
    others = frame[frame["method"] != REFERENCE] if len(frame) else frame
    if others.empty:
        return 1.0
    return float(np.mean([agrees(g, n) for g, n in zip(others["gap"], others["norm"], strict=True)]))


def _markdown(frame: pd.DataFrame) -> str:
    lines = [f"| {' | '.join(map(str, frame.columns))} |", "|" + "---|" * len(frame.columns)]
    lines += [f"| {' | '.join(map(_cell, row.values()))} |" for row in frame.to_dict("records")]
    return "\n".join(lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4g}"
    return str(value).replace("|", "/")


if __name__ == "__main__":
    sys.exit(main())
