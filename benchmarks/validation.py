"""Write docs/validation.md: the OpenDSS reader and the power flow beside two OpenDSS engines.

.venv/bin/python benchmarks/validation.py          # or: make validation

Every figure of the page comes from here and from nowhere else. The circuits, cases and comparisons are those
of tests/validation/feeders. Exit code 1 if a figure misses the tolerance that the page states for it.
"""

from __future__ import annotations

import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks import opendss
from benchmarks import validation_text as text
from benchmarks.opendss import CORPUS, ENGINE, ROOT, TESTS, compared, module
from dms.network import Network
from feeders.readers.opendss import read

TARGET = ROOT / "docs" / "validation.md"
VOLTAGE_PU, ADMITTANCE, CURRENT, MICRO_PU, COMPILE_S = 1e-6, 1e-8, 1e-5, 1e-8, 5.0
CIRCUITS = module(f"{TESTS}/test_opendss_circuits.py")
ELEMENTS = module(f"{TESTS}/test_opendss_elements.py")
RANDOM = module(f"{TESTS}/test_opendss_random.py")
SECOND = module(f"{TESTS}/test_opendss_second_engine.py")
MASTERS = (*CIRCUITS.SMALL, *CIRCUITS.LARGE)
BIG = "8500-Node/Master.dss"
RANDOM_MASTERS = 300
RUNS = 5

Rows = Iterable[Iterable[object]]


class Page:
    """The text as it grows, and what missed its tolerance."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.missed: list[str] = []

    def say(self, *paragraphs: str) -> None:
        """Add paragraphs."""
        self.parts += paragraphs

    def table(self, head: str, rows: Rows) -> None:
        """Add a table; the head's columns are separated by bars."""
        columns = [f" {column.strip()} " for column in head.split("|")]
        lines = [f"|{'|'.join(columns)}|", "|" + "---|" * len(columns)]
        lines += [f"| {' | '.join(map(str, row))} |" for row in rows]
        self.parts.append("\n".join(lines))

    def within(self, what: str, figure: float, limit: float) -> str:
        """A figure as printed, held against its limit."""
        if not figure <= limit:
            self.missed.append(f"{what}: {figure:.1e}, allowed {limit:.0e}")
        return f"{figure:.1e}"

    def none(self, what: str, count: int) -> int:
        """A count that ought to be zero."""
        if count:
            self.missed.append(f"{what}: {count}")
        return count


def main() -> int:
    """Measure everything, write the page, say what missed its tolerance."""
    page = Page()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = _whole(page, folder)  # first, with nothing else in this process yet
        found = {master: _compared(master, folder) for master in MASTERS}
        page.say(_head())
        _circuits(page, found)
        _agreement(page, found)
        _reasons(page, found, folder)
        _times(page, found)
        _command_line(page, folder)
        page.say(whole)
        _micro(page, folder)
        _random(page, folder)
        _second_engine(page, folder)
    page.say(text.REPEAT)
    TARGET.write_text("\n\n".join(page.parts) + "\n", encoding="utf-8")
    for line in page.missed:
        print(f"missed: {line}")
    return 1 if page.missed else 0


def _copied(master: str, folder: Path) -> Path:
    """The master in a copy of its folder: some circuits write files."""
    source, name = master.split("/")
    if not (folder / source).exists():
        for path in (CORPUS / source).rglob("*"):
            if path.is_file():
                target = folder / source / path.relative_to(CORPUS / source)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    return folder / source / name


def _compared(master: str, folder: Path) -> tuple[Any, float, opendss.Times]:
    found, seconds = compared(_copied(master, folder), opendss.READINGS)
    print(f"{master:40s} {seconds:6.2f} s  {found.row}", flush=True)
    return found, seconds, opendss.timed(found.result.feeder)


def _head() -> str:
    return text.HEAD.format(
        dss_python=version("dss_python"),
        engine=opendss.engine_version(),
        second=version("py-dss-interface"),
        python=platform.python_version(),
        numpy=version("numpy"),
        scipy=version("scipy"),
        floor_a=opendss.COMPARISON.CURRENT_FLOOR_A,
        v_pu=VOLTAGE_PU,
        i=CURRENT,
        y=ADMITTANCE,
        micro_pu=MICRO_PU,
    )


def _circuits(page: Page, found: dict[str, Any]) -> None:
    page.say(text.CIRCUITS)
    page.table(
        "master|nodes|lines|switches|transformers|regulators|capacitors|loads|generators|fixed admittances",
        (
            [
                f"`{m}`",
                *opendss.counts(c.result.feeder),
                page.none(f"{m} fixed admittances", c.result.n_fixed),
            ]
            for m, (c, _, _) in found.items()
        ),
    )


def _agreement(page: Page, found: dict[str, Any]) -> None:
    page.say("## Agreement")
    rows = []
    for m, (c, _, _) in found.items():
        if not c.converged:
            page.missed.append(f"{m}: not converged")
        # Where the engine misses Kirchhoff's law by more than the tolerance, its currents are no yardstick.
        raw = page.within(f"{m} dI", c.i_gap, CURRENT) and f"{c.raw_i:.1e}"
        rows.append(
            [
                f"`{m}`",
                f"{page.within(f'{m} dV', c.raw_v_pu, VOLTAGE_PU)} at {c.raw_node}",
                f"{page.within(f'{m} dV solved on', c.sharp_v_pu, VOLTAGE_PU)} at {c.sharp_node}",
                f"{raw} at {c.raw_carrier}{' (1)' if c.raw_i > CURRENT else ''}",
                f"{page.within(f'{m} dI solved on', c.sharp_i, CURRENT)} at {c.sharp_carrier}",
                f"{page.within(f'{m} dY', c.y_gap, ADMITTANCE)} at {c.element}",
                c.n_elements,
            ]
        )
    page.table("master|dV|dV solved on|dI|dI solved on|dY|linear elements", rows)
    over = [m for m, (c, _, _) in found.items() if c.raw_i > CURRENT]
    if over:
        m = over[0]
        c = found[m][0]
        figures = {"residual_a": c.sharp.residual_a, "i_gap": c.i_gap, "sharp_i": c.sharp_i}
        page.say(text.NOT_BALANCED.format(master=m, **figures))


def _reasons(page: Page, found: dict[str, Any], folder: Path) -> None:
    measured, expected = opendss.angle_error_rad()
    floor = max(c.sharp_v_pu for c, _, _ in found.values())
    page.say(text.REASONS.format(measured=measured, expected=expected, floor=floor))
    page.table(
        "master|residual, A|refined, A|moves voltages by, pu|dV before|dV after|dI before|dI after",
        (
            [
                f"`{m}`",
                *(f"{x:.1e}" for x in (c.sharp.residual_a, c.sharp.left_a, c.sharp.moved_pu)),
                *(f"{x:.1e}" for x in (c.raw_v_pu, c.sharp_v_pu, c.raw_i, c.sharp_i)),
            ]
            for m, (c, _, _) in found.items()
        ),
    )
    worst = sorted(found, key=lambda m: -found[m][0].raw_v_pu)[:3]
    columns = {m: opendss.tightened(_copied(m, folder)) for m in worst}
    newton = max(gap for column in columns.values() for label, gap in column if label.startswith("newton"))
    page.say(text.TIGHTENED.format(newton=newton))
    steps = [label.split(",")[0] + "," + label.split(",")[1] for label, _ in columns[worst[0]]]
    page.table(
        "engine's algorithm, tolerance|" + "|".join(f"`{m}`" for m in worst),
        (
            [
                step,
                *(f"{columns[m][k][1]:.1e}{' (not converged)' * ('not' in columns[m][k][0])}" for m in worst),
            ]
            for k, step in enumerate(steps)
        ),
    )


def _times(page: Page, found: dict[str, Any]) -> None:
    page.say(
        text.TIMES.format(readings=opendss.READINGS, repeats=opendss.REPEATS, more=opendss.MORE_LOAD - 1)
    )
    page.table(
        "master|read, s|ours cold, ms|engine cold, ms|ratio|our rounds|engine's rounds|"
        "ours warm, ms|engine warm, ms|ratio|engine cold at 1e-4, ms",
        (
            [
                f"`{m}`",
                f"{seconds:.2f}",
                *_pair(t.cold, t.cold_engine),
                t.rounds,
                t.rounds_engine,
                *_pair(t.warm, t.warm_engine),
                f"{t.cold_engine_loose * 1e3:.2f}",
            ]
            for m, (_, seconds, t) in found.items()
        ),
    )


def _pair(ours: float, theirs: float) -> list[str]:
    return [f"{ours * 1e3:.2f}", f"{theirs * 1e3:.2f}", f"{ours / theirs:.1f}"]


def _command_line(page: Page, folder: Path) -> None:
    rows = []
    for master in MASTERS:
        path = _copied(master, folder)
        checked, check_s = _anoca("feeder", "check", str(path), "--json")
        solved, solve_s = _anoca("powerflow", str(path), "--json")
        issues = json.loads(checked.stdout)["rows"]
        answer = json.loads(solved.stdout)
        urgent = [row for row in issues if row["severity"] != "audit"]
        done = not (checked.returncode or solved.returncode) and answer["converged"]
        gap = _shown_gap(path, answer)
        page.within(f"{master} on the command line", gap if done else np.inf, VOLTAGE_PU)
        codes = [checked.returncode, f"{len(urgent)}, {len(issues) - len(urgent)}", f"{check_s:.1f}"]
        rows.append(
            [f"`{master}`", *codes, solved.returncode, answer["converged"], f"{solve_s:.1f}", f"{gap:.1e}"]
        )
        print(rows[-1], flush=True)
    page.say(text.COMMANDS)
    head = "master|check: exit code|warnings, audit notes|s|powerflow: exit code|converged|s|dV"
    page.table(head, rows)


def _whole(page: Page, folder: Path) -> str:
    """The 8500-node network from the command line, several times: wall and processor time."""
    path, wall, busy = _copied(BIG, folder), [], []
    for _ in range(RUNS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        wall.append(_anoca("powerflow", str(path), "--json")[1])
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        busy.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    page.within("8500 nodes, seconds", min(wall), COMPILE_S)
    said, cpu = (", ".join(f"{s:.1f}" for s in seconds) for seconds in (wall, busy))
    print(said, flush=True)
    return text.COMPILE.format(runs=RUNS, seconds=said, cpu=cpu, master=BIG, limit=COMPILE_S)


def _anoca(*words: str) -> tuple[subprocess.CompletedProcess[str], float]:
    began = time.perf_counter()
    command = [sys.executable, "-m", "anoca", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done, time.perf_counter() - began


def _shown_gap(path: Path, answer: dict[str, Any]) -> float:
    """Largest difference of the printed voltages to the engine's, per unit."""
    opendss.COMPARISON.settle(ENGINE, path)
    theirs = ENGINE.voltages()
    gaps = []
    for row in answer["rows"]:
        if row["node"] in theirs:
            v = row["v_v"] * np.exp(1j * np.deg2rad(row["angle_deg"]))
            gaps.append(abs(v - theirs[row["node"]]) * row["v_pu"] / row["v_v"])
    return max(gaps)


def _micro(page: Page, folder: Path) -> None:
    groups: dict[str, list[tuple[str, Any]]] = defaultdict(list)

    def add(group: str, name: str, **options: Any) -> None:
        body = ELEMENTS.every_load() if group.startswith("load") else ELEMENTS.CASES[name]
        groups[group].append((name, compared(ELEMENTS.case(folder, body, **options))[0]))

    for name in ELEMENTS.CASES:
        add(name.split("/")[0], name)
    for name in ("line/code-mi", "line/kron", "transformer/delta-wye-lag", "shunt/capacitor-wye-3"):
        add("at 50 Hz", name, hz=50)
    for pu in (0.2, 0.45, 0.6, 0.8, 0.92, 0.951, 1.0, 1.049, 1.08, 1.2):
        add("load: 8 models, 6 connections, at 10 voltages", f"{pu} pu", pu=pu)
    rows = []
    for group, cases in groups.items():
        entry = [(n, c) for n, c in cases if n not in ELEMENTS.OPEN]
        rows.append(
            [
                group,
                len(cases),
                _worst(page, cases, lambda c: c.raw_v_pu, MICRO_PU),
                _worst(page, cases, lambda c: c.raw_i, CURRENT),
                _worst(page, entry, lambda c: c.y_gap, ADMITTANCE),
                sum(c.result.n_fixed for _, c in cases),
            ]
        )
    fixed = ", ".join(n for cases in groups.values() for n, c in cases if c.result.n_fixed)
    page.say(text.MICRO.format(open=" and ".join(ELEMENTS.OPEN), fixed=fixed))
    page.table("elements|cases|dV|dI|dY|fixed admittances", rows)


def _worst(page: Page, cases: list[tuple[str, Any]], of: Callable[[Any], float], limit: float) -> str:
    name, found = max(cases, key=lambda case: of(case[1]))
    return f"{page.within(name, of(found), limit)} in {name.split('/')[-1]}"


def _random(page: Page, folder: Path) -> None:
    found = []
    for seed in range(RANDOM_MASTERS):
        master = folder / f"random{seed}.dss"
        master.write_text(RANDOM.Maker(seed).circuit(size=8 + seed % 17))
        found.append((f"seed {seed}", compared(master)[0]))
    loose = [(name, c) for name, c in found if c.raw_v_pu > VOLTAGE_PU]
    for name, c in loose:
        page.within(f"{name}, ungrounded section", c.loose_gap_pu, c.blur_pu)
    earthed = _worst(page, found, lambda c: c.v_gap_pu, VOLTAGE_PU)
    nodes = [c.result.feeder.n_nodes for _, c in found]
    page.say(text.RANDOM.format(n=len(found), least=min(nodes), most=max(nodes)))
    page.table(
        "|figure",
        [
            ["dV, ungrounded sections against their own mean", earthed],
            ["dI", _worst(page, found, lambda c: c.raw_i, CURRENT)],
            ["dY", _worst(page, found, lambda c: c.y_gap, ADMITTANCE)],
            ["fixed admittances", sum(c.result.n_fixed for _, c in found)],
            [f"circuits with dV up to {VOLTAGE_PU:.0e} to earth everywhere", len(found) - len(loose)],
        ],
    )
    if loose:
        page.say(text.LOOSE.format(n=len(loose)))
        page.table(
            "circuit|dV to earth|what rounding may do|dV against the mean",
            ([n, f"{c.raw_v_pu:.1e}", f"{c.blur_pu:.1e}", f"{c.v_gap_pu:.1e}"] for n, c in loose),
        )


def _second_engine(page: Page, folder: Path) -> None:
    rows = []
    for master in SECOND.MASTERS:
        path, answer = _copied(master, folder), folder / "answer.json"
        command = [sys.executable, "-c", SECOND.SCRIPT, str(path), str(answer)]
        subprocess.run(command, check=False, capture_output=True, cwd=folder)
        told = json.loads(answer.read_text())
        names = [name.lower() for name in told["names"]]
        v = dict(zip(names, np.array(told["parts"]).view(complex).tolist(), strict=True))
        feeder = read(path).feeder
        theirs = np.array([0j, *(v[str(node)] for node in feeder.node_names[1:])])
        gap = np.abs(Network(feeder).solve_loads().v - theirs) / feeder.v_base_v
        worst = int(gap.argmax())
        rows.append(
            [f"`{master}`", f"{page.within(master, gap[worst], VOLTAGE_PU)} at {feeder.node_names[worst]}"]
        )
    page.say(text.SECOND)
    page.table("master|dV", rows)


if __name__ == "__main__":
    sys.exit(main())
