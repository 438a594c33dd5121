"""Run every command and put what it prints into the README, between its two markers.

    .venv/bin/python docs/commands.py            rewrite the table
    .venv/bin/python docs/commands.py --check    only say whether it is up to date (text, not seconds)

Figures in the README come from here and from nowhere else.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- commands: begin -->", "<!-- commands: end -->"

Row = dict[str, Any]
Headline = Callable[[list[Row], Row], str]


def _doctor(rows: list[Row], _: Row) -> str:
    found = {row["name"]: row["found"] for row in rows}
    return f"{len(rows)} lines; cyipopt {found['cyipopt']}, Ipopt {found['Ipopt solves']}"


def _feeders(rows: list[Row], _: Row) -> str:
    return "; ".join(f"{r['name']} {r['buses']} buses" for r in rows)


def _check(rows: list[Row], _: Row) -> str:
    return "; ".join(f"{r['severity']}: {r['message']}" for r in rows if r["severity"] != "audit")[:180]


def _show(rows: list[Row], _: Row) -> str:
    keep = ("buses", "nodes", "lines", "transformers", "loads")
    return ", ".join(f"{rows[0][k]} {k}" for k in keep if k in rows[0])


def _powerflow(rows: list[Row], whole: Row) -> str:
    low, high = (f(r["v_pu"] for r in rows) for f in (min, max))
    return (
        f"{len(rows)} nodes, {low:.6f}-{high:.6f} pu, source {whole['source_kw'] / 1e3:.6f} MW, "
        f"residual {whole['residual_pu']:.0e} pu"
    )


def _case1(rows: list[Row], _: Row) -> str:
    errors = [(r["our_error_pct"], r["anoca_error_pct"]) for r in rows if r.get("gridlabd_v")]
    ours, theirs = (max(abs(e[k]) for e in errors) for k in (0, 1))
    return f"load voltages within {ours:.4f} % of GridLAB-D (the paper: {theirs:.3f} %)"


def _case2(rows: list[Row], _: Row) -> str:
    parts = [f"S{r['scenario']} {r['norm']} {r['curtailed_mw']:.4f}" for r in rows if r["curtailed_mw"] > 0]
    certified = sum(r["certified"] != "no" for r in rows)
    return f"MW curtailed: {', '.join(parts)}; {certified} of {len(rows)} certified"


def _demo(rows: list[Row], whole: Row) -> str:
    return f"reproduce case2 and the hour: {len(rows)} solves, then {_run([whole['hour']], whole)}"


def _compare(rows: list[Row], _: Row) -> str:
    return "; ".join(
        f"{r['norm']} {r['curtailed_mw'] * 1e3:.1f} kW, peak {r['largest_kw']:.1f} kW, {r['homes']} homes"
        for r in rows
    )


def _run(rows: list[Row], _: Row) -> str:
    r = rows[-1]
    cut, stored, spilled = (r[f"{what}_kwh"] for what in ("curtailed", "stored", "spilled"))
    return (
        f"{r['ticks']} ticks, {r['certified']} certified, {r['ticks_curtailed']} with curtailment, "
        f"{cut:.0f} kWh curtailed ({stored:.0f} stored, {spilled:.0f} spilled), "
        f"worst cable {r['plant_worst_line_pct']:.2f} %"
    )


def _sweep(rows: list[Row], _: Row) -> str:
    certified, ticks = (sum(r[key] for r in rows) for key in ("certified", "ticks"))
    return f"{len(rows)} runs, {certified} of {ticks} ticks certified"


def _bench(rows: list[Row], _: Row) -> str:
    methods = ", ".join(dict.fromkeys(r["method"] for r in rows))
    certified = sum(r["certified"] == "yes" for r in rows)
    return f"times of {methods} in every norm, cold, warm and go-ahead; {certified} of {len(rows)} certified"


COMMANDS: list[tuple[str, Headline]] = [
    ("doctor", _doctor),
    ("feeder list", _feeders),
    ("feeder check ieee342", _check),
    ("feeder show ieee342-expanded", _show),
    (
        "feeder plot ieee342",
        lambda rows, _: f"a one-line diagram, {Path(rows[0]['plot']).suffix[1:].upper()}",
    ),
    ("powerflow ieee342", _powerflow),
    ("reproduce case1", _case1),
    ("reproduce case2", _case2),
    ("demo", _demo),
    ("run scenarios/case2_hour.toml", _run),
    ("compare scenarios/case2_snapshot.toml", _compare),
    ("sweep scenarios/case2_sweep.toml", _sweep),
    ("bench dms --quick", _bench),
    ("scenarios list", lambda rows, _: ", ".join(r["file"] for r in rows)),
]

# Verbs that write, and what sends it to an empty folder: nothing is read from an earlier run.
WRITES = {verb: ["--out", "{out}"] for verb in ("reproduce", "run", "compare", "sweep", "demo", "bench")}
WRITES["feeder plot"] = ["--to", "{out}/feeder.png"]


def table(out: str) -> str:
    """Run each command with --json and say in one line what it printed and how long it took."""
    lines = ["| command | what comes out, in short | seconds |", "|---|---|---|"]
    for command, headline in COMMANDS:
        began = time.perf_counter()
        words = [str(ROOT / ".venv/bin/anoca"), *command.split(), "--json"]
        for verb, extra in WRITES.items():
            words += (
                [word.format(out=f"{out}/{len(lines)}") for word in extra] if command.startswith(verb) else []
            )
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
        whole = json.loads(done.stdout)
        excerpt = headline(whole["rows"], whole).replace("|", "\\|")
        lines.append(f"| `anoca {command}` | {excerpt} | {seconds:.0f} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> int:
    """Rewrite or check the README; exit code 1 when a check finds it out of date."""
    text = README.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    old, after = rest.split(END)
    with tempfile.TemporaryDirectory() as out:
        new = f"\n{table(out)}\n"
    if "--check" in sys.argv:
        same = [r.rsplit("|", 2)[0] for r in old.split("\n")] == [
            r.rsplit("|", 2)[0] for r in new.split("\n")
        ]
        print("up to date" if same else "out of date: run docs/commands.py")
        return 0 if same else 1
    README.write_text(before + BEGIN + new + END + after, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
