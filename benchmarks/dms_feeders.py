"""Write docs/dms-feeders.md: curtailment on public circuits, taps fixed and free.

OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python benchmarks/dms_feeders.py [--jobs 2] [circuit ...]

The circuits, units and limits are those of tests/validation/dms/feeder_cases.py. The page is rewritten after
every circuit, so that a run that is stopped leaves what it has.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.opendss import CORPUS, ENGINE, ROOT, module
from dms import Status, solve

CASES = module("tests/validation/dms/feeder_cases.py")
TARGET = ROOT / "docs" / "dms-feeders.md"
ONLY_L2 = ("EPRI J1",)
"""Circuits whose taps are moved under one norm alone: a solution takes a minute."""
HEAD = """# Curtailment on public circuits

Written by `OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python benchmarks/dms_feeders.py`; every figure
comes from one run of it. The same cases are tested by `tests/validation/dms/test_feeders.py`.

PV stands at randomly chosen load rows (a fixed seed for each circuit) and asks for a multiple of the load
there, times a random number from 0.5 to 1.5; no unit asks for more than 20 times the median one. Loads follow
their own laws (constant power, impedance, current, CVR). Taps and capacitors stand where the engine's
controls came to rest, or are optimised from there. Bands and ratings are chosen so that several limits bind
and that zero export keeps all of them; ratings that a circuit gives are used, others are stated here."""
LEGEND = """## Optima

- **binding**: nodes on their band + conductors on their rating (either end) at the set-points as sent.
  A cable of many sections counts once for each. Under linf one limit is enough to fix the peak.
- **over**: by how much the independent power flow, from nothing, exceeds band (pu) and rating (relative).
- **OpenDSS**: largest voltage difference, per unit, with the set-points written into the engine's circuit.
- **objective**: of MW, squared under l2. base: taps where they were; relaxed: between whole steps allowed;
  chosen: whole steps; gap: (chosen - relaxed) / chosen. The relaxed value is a local optimum.
- **seconds** include screen, optimisation and certificate, beside another process on the other core."""


STATES = """The CVR laws of EPRI J1's loads step at 1.05 pu, where they end. A few loads behind weak service
drops then have two consistent states, and OpenDSS may come to rest in another one than the certificate's
power flow. Started from the engine's voltages, that power flow agrees with the engine to 1e-9. In the
engine's state the limits may be exceeded by a few 1e-5 pu and 1e-4 of a rating."""


def main() -> int:
    """Solve everything, write the page; 1 if an answer is no certified optimum."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("circuits", nargs="*", default=list(CASES.CASES), help="default: all of them")
    parser.add_argument("--jobs", type=int, default=2)
    given = parser.parse_args()
    tasks = [(name, norm, free) for free in (False, True) for name in given.circuits for norm in CASES.NORMS]
    tasks = [t for t in tasks if not (t[2] and t[0] in ONLY_L2 and t[1] != "l2")]
    rows: dict[tuple[str, str, bool], dict[str, Any]] = {}
    slow_last = sorted(tasks, key=lambda task: (task[0] in ONLY_L2, task[2], task[0] == "European LV"))
    with ProcessPoolExecutor(given.jobs) as pool:
        for future in as_completed([pool.submit(solved, *task) for task in slow_last]):
            row = future.result()
            rows[row["case"], row["norm"], row["free"]] = row
            print(*(f"{k}={v}" for k, v in row.items()), flush=True)
            TARGET.write_text(page(given.circuits, rows, tasks), encoding="utf-8")
    wrong = [key for key, row in rows.items() if row["status"] != Status.CURTAILED]
    print(f"not solved: {wrong}" if wrong else "all certified optima")
    return 1 if wrong else 0


def solved(name: str, norm: str, free: bool) -> dict[str, Any]:
    """One row of the tables."""
    case = CASES.CASES[name]
    folder, file = case.master.split("/")
    with tempfile.TemporaryDirectory() as scratch:
        master = Path(scratch) / folder / file
        for path in (CORPUS / folder).rglob("*"):
            if path.is_file():
                target = Path(scratch) / folder / path.relative_to(CORPUS / folder)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
        placed = CASES.Placed.read(case, master)
        problem = placed.problem(norm, case.controls if free else None)
        request = placed.request(problem)
        began = time.perf_counter()
        solution = solve(problem, request)
        seconds = time.perf_counter() - began
        gap = None if free else CASES.engine_gap_pu(ENGINE, master, placed, solution.p_adjusted_kw)
    state = CASES.state_at(problem, request, solution)
    return {
        "case": name,
        "norm": norm,
        "free": free,
        "nodes": placed.feeder.n_nodes,
        "units": len(placed.p_export_kw),
        "share": placed.share,
        "asked": float(placed.p_export_kw.sum()),
        "curtailed": solution.total_curtailed_kw,
        "largest": solution.largest_kw,
        "homes": solution.homes(),
        "binding": CASES.binding(solution),
        "over": (state.worst_over_v, state.worst_over_i),
        "opendss": gap,
        "moves": solution.moves,
        "iterations": solution.iterations,
        "seconds": seconds,
        "status": solution.status,
        "method": solution.method,
        "safe": solution.certificate.safe,
    }


def page(
    names: list[str], rows: dict[tuple[str, str, bool], dict[str, Any]], tasks: list[tuple[str, str, bool]]
) -> str:
    """The whole page from what there is."""
    cases = [CASES.CASES[name] for name in names]
    parts = [HEAD, "## Circuits", _circuits(cases, rows), LEGEND]
    for title, free in (("Taps fixed", False), ("Taps free", True)):
        found = [rows[task] for task in tasks if task[2] == free and task in rows]
        parts += [f"### {title}", _fixed(found) if not free else _free(found)]
    missing = [f"{c} {n} taps {'free' if f else 'fixed'}" for c, n, f in tasks if (c, n, f) not in rows]
    if missing:
        parts.append(f"Not run: {'; '.join(missing)}.")
    if set(ONLY_L2) & set(names):
        parts.append(
            f"{', '.join(ONLY_L2)}: one tap is moved, under l2 alone, two steps a tick, to save time."
        )
        parts.append(STATES)
    return "\n\n".join(parts) + "\n"


def _circuits(cases: list[Any], rows: dict[tuple[str, str, bool], dict[str, Any]]) -> str:
    table = []
    for case in cases:
        row: dict[str, Any] = next((r for (name, _, _), r in rows.items() if name == case.name), {})
        limits, rating = case.limits, [f"x {case.limits.i_scale:g}"] if case.limits.i_scale != 1 else []
        rating += [f"lines without {limits.i_max_default_a:g} A"] if limits.i_max_default_a else []
        rating += [f"one-phase lines {case.fuse_a:g} A"] if case.fuse_a else []
        units = f"{row['units']} ({100 * row['share']:.0f} %)" if row else ""
        band = f"{limits.v_min_pu:g}-{limits.v_max_pu:g}"
        asked = f"{row['asked']:.0f}" if row else ""
        nodes, free = row.get("nodes", ""), case.controls.describe()
        table.append(
            [
                case.name,
                f"`{case.master}`",
                nodes,
                units,
                f"{case.multiple:g}",
                asked,
                band,
                ", ".join(rating),
                free,
            ]
        )
    return _table("circuit|master|nodes|PV (of loads)|of load|asked kW|band pu|ratings|controls", table)


def _fixed(rows: list[dict[str, Any]]) -> str:
    head = "circuit|norm|curtailed kW|largest kW|homes|binding v + i|over v|over i|OpenDSS"
    table = [[*_common(r), f"{r['opendss']:.0e}", *_effort(r)] for r in rows]
    return _table(f"{head}|iterations|seconds|method|status|safe", table)


def _free(rows: list[dict[str, Any]]) -> str:
    head = "circuit|norm|curtailed kW|largest kW|homes|binding v + i|over v|over i|base|relaxed|chosen|gap"
    table = []
    for r in rows:
        m = r["moves"]
        steps = " ".join(f"{s:.0f}" for s in m.steps)
        found = [
            f"{m.base:.5g}",
            f"{m.relaxed:.5g}",
            f"{m.chosen:.5g}",
            f"{100 * m.gap:.2f} %",
            steps,
            m.tried,
        ]
        table.append([*_common(r), *found, *_effort(r)])
    return _table(f"{head}|steps moved|tried|iterations|seconds|method|status|safe", table)


def _common(r: dict[str, Any]) -> list[object]:
    v, i = r["binding"]
    over = [f"{x:.0e}" if np.isfinite(x) else "-" for x in r["over"]]
    return [
        r["case"],
        r["norm"],
        f"{r['curtailed']:.1f}",
        f"{r['largest']:.1f}",
        r["homes"],
        f"{v} + {i}",
        *over,
    ]


def _effort(r: dict[str, Any]) -> list[object]:
    return [r["iterations"], f"{r['seconds']:.1f}", r["method"], str(r["status"]), r["safe"]]


def _table(head: str, rows: Iterable[Iterable[object]]) -> str:
    columns = head.split("|")
    lines = [f"| {' | '.join(columns)} |", "|" + "---|" * len(columns)]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])


if __name__ == "__main__":
    sys.exit(main())
