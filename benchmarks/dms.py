"""Write docs/benchmarks.md: the DMS's methods against each other and against a plain Pyomo model.

    .venv/bin/python benchmarks/dms.py [--cases a,b] [--norms l1,l2] [--runs 3] [--no-memory]
    .venv/bin/python benchmarks/dms.py --page FOLDER ...     only the page, from tables kept by earlier runs

Runs the same study as `anoca bench dms` and keeps its tables under results/bench. The page is made of
every row in the folders named, or of this run; of a case and norm that several hold, the last one counts.
Rows of one case and norm always come from one run.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import pandas as pd

from anoca.provenance import versions
from anoca.studies.bench import Plan, load
from anoca.studies.benching.methods import PLAIN
from anoca.studies.benching.tables import Keeper
from anoca.studies.benching.timing import on_one_thread

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "benchmarks.md"
HEAD = """# How fast the DMS is

Written by `.venv/bin/python benchmarks/dms.py`, which runs `anoca bench dms` and nothing else. One
thread, the methods in turn, medians of the rounds; a ratio is the median of the quotients within a round.
Absolute seconds depend on the machine and on what else it does, cpu_s, processor time of the same rows,
less, and ratios much less ({machine}).

- **cold**: a problem compiled anew, no earlier solution: screen, optimisation and `safe` certificate.
  **compile** (problem, factors, orders and patterns of all methods: what is kept for later ticks) is apart.
- **warm**: every export 3 % up, from the cold solution. **go-ahead**: exports that need no curtailment.
- **plain_pyomo**: the same equations as a Pyomo model from a power-flow start, Pyomo's .nl file, casadi's
  reader and its Ipopt with default options. Its seconds are writing, reading and solving; building the
  model stands under compile; it has no screen and no certificate.
- **gap**: excess of the norm's own figure (total, sum of squares, peak) over that of the method the ratio
  names, only where both points keep the band to 1e-8 pu and the ratings to 1e-7 in the independent power
  flow; else empty.
- **binding**: limits on which the optimum lies, nodes and conductors, in percent of the nodes.
"""
CELLS = {
    "seconds": "{:.3f}", "cpu_s": "{:.3f}", "ratio": "{:.2f}", "compile_s": "{:.2f}", "write_s": "{:.2f}",
    "read_s": "{:.2f}", "solve_s": "{:.2f}", "curtailed_kw": "{:.1f}", "largest_kw": "{:.2f}",
    "objective": "{:.6g}", "binding_pct": "{:.2f}", "gap": "{:+.0e}", "peak_mb": "{:.0f}",
    "iterations": "{:.0f}", "worst_v_pu": "{:.0e}", "worst_i": "{:.0e}", "kkt": "{:.0e}",
}  # fmt: skip
COMMON = (
    "case",
    "scenario",
    "norm",
    "method",
    "n",
    "seconds",
    "cpu_s",
    "runs",
    "ratio",
    "compile_s",
    "iterations",
)
SHOWN = {
    "cold": (*COMMON, "curtailed_kw", "binding_pct", "gap", "kkt", "worst_v_pu", "worst_i", "certified",
             "peak_mb", "command"),
    "warm": (*COMMON, "gap", "certified", "command"),
    "go_ahead": ("case", "scenario", "norm", "n", "seconds", "cpu_s", "runs", "certified", "command"),
}  # fmt: skip
TITLES = {"cold": "Cold ticks", "warm": "Warm ticks", "go_ahead": "Ticks that need nothing"}
STAGES = ("case", "scenario", "norm", "n", "variables", "compile_s", "write_s", "read_s", "solve_s",
          "iterations", "status", "command")  # fmt: skip


def main() -> int:
    """Run the study, or gather its tables, and write the page."""
    on_one_thread()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for what in ("cases", "norms", "methods", "starts"):
        parser.add_argument(f"--{what}", default="", help="separated by commas; default all")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument(
        "--page", nargs="+", type=Path, metavar="FOLDER", help="only the page, from these tables"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--to", type=Path, default=TARGET, help="the page")
    given = parser.parse_args()
    if given.page:
        frame = gathered([pd.read_parquet(folder / "rows.parquet") for folder in given.page])
        given.to.write_text(page(frame), encoding="utf-8")
        return 0
    words = {
        what: tuple(filter(None, getattr(given, what).split(",")))
        for what in ("cases", "norms", "methods", "starts")
    }
    keeper = Keeper(given.out, "dms")

    def keep(frame: pd.DataFrame) -> None:
        keeper.keep(frame)
        given.to.write_text(page(frame), encoding="utf-8")

    plan = Plan(**words, runs=given.runs, memory=not given.no_memory)
    keep(load("dms")(plan, lambda done, total, text: print(f"{done}/{total} {text}", flush=True), keep))
    print(f"tables: {keeper.folder}\npage: {given.to}")
    return 0


def gathered(frames: list[pd.DataFrame]) -> pd.DataFrame:
    """One table; of a case and norm in several, that of the last one."""
    found: dict[tuple[str, str], pd.DataFrame] = {}
    for frame in frames:
        for key, rows in frame.groupby(["case", "norm"], sort=False):
            found[key] = rows  # type: ignore[index]
    return pd.concat(found.values(), ignore_index=True)


def page(frame: pd.DataFrame) -> str:
    """The whole page from the table so far."""
    cpu = next((line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), "?")
    tools = ", ".join(
        f"{name} {v}" for name, v in versions().items() if name in ("ipopt", "highspy", "casadi")
    )
    machine = f"{cpu}, {os.cpu_count()} cores, Python {platform.python_version()}; {tools}"
    parts = [HEAD.format(machine=machine).rstrip()]
    scaling = frame["case"].str.startswith("synthetic-")
    for start, title in TITLES.items():
        rows = frame[(frame["start"] == start) & ~scaling]
        if len(rows):
            parts += [f"## {title}", table(rows, SHOWN[start])]
    if scaling.any():
        parts += ["## From 1 000 to 50 000 nodes", exponents(frame[scaling])]
        parts += [
            f"### {TITLES[start]}\n\n" + table(frame[scaling & (frame["start"] == start)], SHOWN[start])
            for start in TITLES
            if (scaling & (frame["start"] == start)).any()
        ]
    plain = frame[(frame["method"] == PLAIN) & ~frame["scenario"].str.startswith("mean")]
    if len(plain):
        parts += ["## Stages of the plain Pyomo route", table(plain, STAGES)]
    settings = frame.drop_duplicates(["case"])[["case", "n", "prosumers", "settings"]]
    parts += ["## Cases", table(settings, tuple(settings.columns))]
    return "\n\n".join(parts) + "\n"


def exponents(rows: pd.DataFrame) -> str:
    """How seconds grow with the nodes: least-squares slope of log(seconds) over log(n), cold."""
    lines = [
        "Cost grows as n to the power (least squares over the sizes timed, cold; first to last size):",
        "",
    ]
    for (norm, method), of in rows[rows["start"] == "cold"].groupby(["norm", "method"], sort=False):
        if of["n"].nunique() < 2:
            continue
        slope = np.polyfit(np.log(of["n"]), np.log(of["seconds"]), 1)[0]
        ends = of.sort_values("n").iloc[[0, -1]]
        (n0, n1), (s0, s1) = ends["n"], ends["seconds"]
        share = f"{of['binding_pct'].min():.2f}-{of['binding_pct'].max():.2f} %"
        lines.append(
            f"- {norm}, {method}: **{slope:.2f}** (end to end {np.log(s1 / s0) / np.log(n1 / n0):.2f}; "
            f"{n0} nodes {s0:.2f} s, {n1} nodes {s1:.2f} s; binding {share} of the nodes)"
        )
    return "\n".join(lines)


def table(rows: pd.DataFrame, columns: tuple[str, ...]) -> str:
    """Markdown; a column without a value is left out."""
    shown = [c for c in columns if c in rows and not (rows[c].isna() | (rows[c].astype(str) == "")).all()]
    lines = [f"| {' | '.join(shown)} |", "|" + "---|" * len(shown)]
    for row in rows[shown].to_dict("records"):
        lines.append(f"| {' | '.join(_cell(name, value) for name, value in row.items())} |")
    return "\n".join(lines)


def _cell(name: str, value: Any) -> str:
    if isinstance(value, float) and np.isnan(value):
        return ""
    if name == "command":
        return f"`{value}`"
    return CELLS[name].format(value) if name in CELLS else str(value).replace("|", "\\|")


def _cpu_lines() -> list[str]:
    info = Path("/proc/cpuinfo")
    return info.read_text(encoding="utf-8").splitlines() if info.is_file() else []


if __name__ == "__main__":
    sys.exit(main())
