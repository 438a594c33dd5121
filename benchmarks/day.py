"""Write docs/benchmarks-day.md: a closed-loop day by norm, where its seconds go, and a profile.

    .venv/bin/python benchmarks/day.py [--norms l1,l2] [--runs 1] [--profile l2]
    .venv/bin/python benchmarks/day.py --page FOLDER ...     times from tables kept by earlier runs

Runs the same study as `anoca bench day` and keeps its tables under results/bench. Of a norm that several
folders hold, the last one counts. The profile is a run of its own, without the guard's child process, whose
work a profiler would not see.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import platform
import pstats
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd

from anoca.provenance import versions
from anoca.simulation import simulate
from anoca.studies.bench import Plan, load
from anoca.studies.bench.day import DEFAULT_NORMS, TARGET_S, scenario_of
from anoca.studies.benching.tables import Keeper
from anoca.studies.benching.timing import on_one_thread

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "benchmarks-day.md"
TOP = 24

HEAD = """# A closed-loop day

Written by `benchmarks/day.py`, which runs `anoca bench day` and a profile. `scenarios/case2_day.toml`:
21 June, 288 ticks of five minutes, 416 prosumers with batteries on case 2 (merged), homes of their own, roofs
under one moving sky, Table I scenario 1. Every tick: forecasts and plans of eight hours, the DMS with its
guard, answers of the homes, power flow of the plant on the expanded network (1420 buses), all tables. One
core, nothing written to disk; the target is {target:g} s a norm. Seconds depend on the machine and on what
else it does ({machine}).

Voltages at 1.05 pu bind from about 10:10 to 15:20; all other ticks are go-aheads.

- **s**, **cpu**: wall clock and processor time, children included. **setup**: feeder, problem, series, fleet,
  tables at the end. **hems**: forecasts and plans. **dms**: screen, optimisation, certificate, guard.
  **plant**: its power flow. **explain**: what binds, and whom it cuts. **record**: rows of tables. **rest**:
  messages, agents and their clock, answers of the homes.
- **cut**: ticks with curtailment. **rungs**: methods that gave the answers.
"""
COLUMNS = {
    "norm": "norm", "seconds": "s", "cpu_s": "cpu", "setup_s": "setup", "hems_s": "hems", "dms_s": "dms",
    "plant_s": "plant", "explain_s": "explain", "record_s": "record", "rest": "rest",
    "slowest_tick_s": "slowest tick", "ticks_curtailed": "cut", "from": "from", "to": "to",
    "certified": "certified", "guard_hits": "guard hits", "rungs": "rungs", "curtailed_mwh": "MWh curtailed",
    "stored_mwh": "stored", "regret_usd": "regret, $",
}  # fmt: skip


def main() -> int:
    """Run the study, or take its tables, profile one norm, and write the page."""
    on_one_thread()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--norms", default="", help="separated by commas; default all five")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--page", type=Path, nargs="+", metavar="FOLDER", help="times from these tables")
    parser.add_argument("--profile", default="l2", help="norm that is profiled")
    parser.add_argument("--out", type=Path, default=ROOT / "results")
    given = parser.parse_args()
    if given.page:
        frame = pd.concat([pd.read_parquet(folder / "rows.parquet") for folder in given.page])
        frame = frame.drop_duplicates(["case", "norm"], keep="last")
        frame = frame.sort_values("norm", key=lambda norm: norm.map(DEFAULT_NORMS.index))
    else:
        keeper = Keeper(given.out, "day")
        plan = Plan(norms=tuple(word for word in given.norms.split(",") if word), runs=given.runs)
        frame = load("day")(plan, lambda done, total, said: print(f"{done}/{total} {said}"), keeper.keep)
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}; " + ", ".join(
        f"{name} {v}" for name, v in versions().items() if name in ("numpy", "scipy", "highspy", "simpy")
    )
    parts = [
        HEAD.format(target=TARGET_S, machine=machine),
        _times(frame),
        f"## Profile, {given.profile}\n",
        "By own time; the profiler itself about doubles what small calls take.\n",
        profile(given.profile),
    ]
    TARGET.write_text("\n".join(parts), encoding="utf-8")
    return 0


def _times(frame: pd.DataFrame) -> str:
    frame = frame.assign(rest=frame["rest_s"] + frame["respond_s"])
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "|---" * len(COLUMNS) + "|"]
    for record in frame[list(COLUMNS)].to_dict("records"):
        cells = [f"{value:.1f}" if isinstance(value, float) else str(value) for value in record.values()]
        lines.append("| " + " | ".join(cells) + " |")
    commands = "\n".join(f"    {command}" for command in frame["command"])
    return "\n".join(lines) + f"\n\n{commands}\n"


def profile(norm: str) -> str:
    """The functions of a day that take most time of their own, as a table."""
    profiler = cProfile.Profile()
    scenario = scenario_of("case2", norm).with_overrides({"dms.guard": False})
    profiler.runcall(simulate, scenario)
    stats = pstats.Stats(profiler)
    whole = float(stats.total_tt)  # type: ignore[attr-defined]
    found = sorted(stats.stats.items(), key=lambda item: -item[1][2])[:TOP]  # type: ignore[attr-defined]
    lines = ["| own s | % | with callees s | calls | function |", "|---|---|---|---|---|"]
    for (file, _, name), (_, calls, own, cumulative, _) in found:
        share = 100 * own / whole
        lines.append(f"| {own:.2f} | {share:.1f} | {cumulative:.2f} | {calls} | {_place(file, name)} |")
    return "\n".join(lines) + "\n"


def _place(file: str, name: str) -> str:
    path = Path(file)
    if file in ("~", ""):
        return f"`{name.strip('<>{}')}`"
    if path.is_relative_to(ROOT):
        inside = path.relative_to(ROOT)
        if ".venv" not in inside.parts:
            return f"`{inside}` {name}"
    parts = path.parts
    start = parts.index("site-packages") + 1 if "site-packages" in parts else len(parts) - 1
    return f"`{'/'.join(parts[start:])}` {name}"


if __name__ == "__main__":
    sys.exit(main())
