"""Write docs/benchmarks-hems.md: the home energy problem by every method, and whole fleets.

    .venv/bin/python benchmarks/hems.py [--cases tou,rtp] [--runs 5] [--no-memory]
    .venv/bin/python benchmarks/hems.py --page FOLDER      only the page, from the tables of an earlier run

Runs the same study as `anoca bench hems` and keeps its tables under results/bench.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd

from anoca.provenance import versions
from anoca.studies.bench import Plan, load
from anoca.studies.benching.tables import Keeper
from anoca.studies.benching.timing import on_one_thread

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "benchmarks-hems.md"
HEAD = """# How fast the homes plan

Written by `.venv/bin/python benchmarks/hems.py`, which runs `anoca bench hems` and nothing else. One
thread, the methods in turn, medians of the rounds; a speedup is the median of the quotients within a round.
Absolute times depend on the machine and on what else it does; ratios much less.

- Machine: {machine}.
- Homes: {settings}.

- **plain_pyomo**: the text of (1) with its binaries as a Pyomo model, built anew for every home and tick and
  solved by HiGHS to a gap of 0; no tie-break, no certificate.
- **milp**, **lp**, **dp**, **dp_compiled**: `HemsFleet.plan` by that method alone, with checks, arrays,
  tie-break and certificate; time per home of a fleet of n.
- **gap**: largest (cost - lower bound) / max(1 $, cost) of the homes; **difference**: largest difference of
  the cost from that of the Pyomo model, $.
- **memory**: peak of a process that builds the fleet, plans once and answers once.
"""
CELLS = {
    "seconds": "{:.4f}", "home_us": "{:.1f}", "speedup": "{:.0f}", "target": "{:.0f}", "gap": "{:.0e}",
    "objective_diff": "{:.0e}", "peak_mb": "{:.0f}", "slowest_s": "{:.4f}",
}  # fmt: skip
NAMES = {"case": "tariff", "home_us": "us a home", "objective_diff": "difference", "peak_mb": "memory MB",
         "slowest_s": "slowest", "target": "aim"}  # fmt: skip
HOME = ("case", "method", "n", "runs", "home_us", "speedup", "target", "certified", "gap", "objective_diff")
FLEET = (
    "case",
    "start",
    "n",
    "runs",
    "seconds",
    "slowest_s",
    "home_us",
    "path",
    "certified",
    "gap",
    "peak_mb",
)


def main() -> int:
    """Run the study, or take its tables, and write the page."""
    on_one_thread()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", default="", help="tariffs, separated by commas; default all")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--page", type=Path, metavar="FOLDER", help="only the page, from these tables")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    parser.add_argument("--to", type=Path, default=TARGET, help="the page")
    given = parser.parse_args()
    if given.page:
        frame = pd.read_parquet(given.page / "rows.parquet")
    else:
        cases = tuple(word for word in given.cases.split(",") if word)
        keeper = Keeper(given.out, "hems")
        plan = Plan(cases=cases, runs=given.runs, memory=not given.no_memory)
        frame = load("hems")(plan, lambda done, total, said: print(f"{done}/{total} {said}"), keeper.keep)
        keeper.keep(frame)
    given.to.write_text(page(frame), encoding="utf-8")
    return 0


def page(frame: pd.DataFrame) -> str:
    """The page as Markdown."""
    tools = ", ".join(
        f"{name} {v}" for name, v in versions().items() if name in ("highspy", "numba", "pyomo")
    )
    machine = f"{_processor()}, {os.cpu_count()} cores, Python {platform.python_version()}; {tools}"
    home = frame[frame["start"] == "home"]
    parts = [
        HEAD.format(machine=machine, settings=frame["settings"].iloc[0]).rstrip(),
        "## A home",
        table(home, HOME),
        "## Whole fleets, backend `auto`",
        table(frame[frame["start"] != "home"], FLEET),
        f"Command: `{frame['command'].iloc[0].replace(' --cases ' + frame['case'].iloc[0], '')}`",
    ]
    return "\n\n".join(parts) + "\n"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def table(rows: pd.DataFrame, columns: tuple[str, ...]) -> str:
    """Rows as a Markdown table; what is NaN stays empty."""

    def cell(name: str, value: object) -> str:
        if value is None or value != value:
            return ""
        return CELLS[name].format(value) if name in CELLS else str(value)

    lines = ["| " + " | ".join(NAMES.get(name, name) for name in columns) + " |", "|" + "---|" * len(columns)]
    for row in rows.to_dict("records"):
        lines.append("| " + " | ".join(cell(name, row[name]) for name in columns) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
