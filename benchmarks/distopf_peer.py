"""Curtailment by a peer, distopf, on its own feeders: its set points re-checked in our power flow, and ours.

    .venv/bin/python benchmarks/distopf_peer.py --peer-python ENV/bin/python [--rounds 3]

distopf 1.0.2 installs from PyPI; give it an environment of its own (`python -m venv ENV`, then
`ENV/bin/pip install distopf==1.0.2 casadi`). Its tables (branches, loads, regulators at fixed taps,
capacitors, PV phase by phase) are made into a `Feeder` impedance by impedance in its own per unit, and
both sides' power flows are compared first. Both curtail every phase of every PV on its own, with the
same band and no ratings; its methods and ours take turns, each of its calls in a process that has solved
another case before. Writes docs/distopf.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from anoca.studies.benching.timing import median, on_one_thread
from dms import DmsProblem, DmsRequest, Limits, certify, compile, solve
from dms.certificate import Certificate, run
from feeders import (
    Capacitors,
    Connections,
    Feeder,
    Lines,
    Loads,
    Sources,
    Transformers,
    WindingPairs,
    Windings,
)
from feeders.draft import Draft
from feeders.library.parts import padded
from feeders.table import Array

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "distopf.md"
CASES = {"ieee13": (3.0, 1.06), "ieee123_30der": (10.0, 1.05)}
"""Shipped cases; what their PV, or their load without any, is multiplied by; upper end of the band."""
PEER_METHODS = ("lindist_l1", "lindist_l2", "branchflow_l1")
OUR_NORMS = ("l1", "l2", "linf")
V_MIN_PU = 0.95
V_BASE_KV = 2.4
S_BASE_KW = 1000.0
SMALL_PCT = 1e-5
"""Leakage of the ideal tap changers, per cent of 1 MVA."""
PHASES = "abc"
BEHIND = "_changer"

Row = dict[str, Any]


@dataclass(frozen=True)
class Peer:
    """The environment that has distopf, and one case in it."""

    python: Path
    case: str
    multiple: float
    v_max_pu: float

    def limits(self, feeder: Feeder) -> Limits:
        """The band at its own buses; none between a tap changer and its impedance, where it has no bus."""
        free = {str(name): (0.0, 10.0) for name in feeder.buses.name if str(name).endswith(BEHIND)}
        return Limits(v_min_pu=V_MIN_PU, v_max_pu=self.v_max_pu, current=False, buses=free)

    def ask(self, verb: str, *words: str) -> Any:
        """What the peer's side prints.

        Raises  RuntimeError  it failed; the message is the last line of what it said
        """
        side = ROOT / "benchmarks" / "distopf_side.py"
        command = [
            str(self.python),
            str(side),
            verb,
            self.case,
            str(self.multiple),
            str(self.v_max_pu),
            *words,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
        return json.loads(done.stdout.strip().rpartition("\n")[2])


def feeder_of(name: str, tables: dict[str, list[Row]]) -> tuple[Feeder, Array]:
    """Its tables as a feeder, on one voltage base throughout, and what its PV offers (n_connections,) kW.

    Per unit on 1 MVA and the branch's own base is an impedance on our one base; its transformers have no
    phase shift and no shunt, its lines no capacitance.
    """
    draft = Draft(name, frequency_hz=60.0, origin=f"distopf 1.0.2, cases/csv/{name}")
    z_base = (V_BASE_KV * 1e3) ** 2 / 1e6
    label = {row["id"]: str(row["name"]).replace(".", "_") for row in tables["bus"]}
    on = {row["id"]: [k + 1 for k, p in enumerate(PHASES) if p in row["phases"]] for row in tables["bus"]}
    for row in tables["bus"]:
        draft.add_bus(label[row["id"]], v_base_kv=V_BASE_KV)
    swing = next(row for row in tables["bus"] if row["bus_type"] == "SWING")
    turn = np.exp(-2j * np.pi / 3 * np.arange(3))
    draft.add(
        Sources,
        name="source",
        node=draft.phases(label[swing["id"]], width=3),
        z_ohm=1e-9 * z_base * np.eye(3, dtype=complex),
        e_v=np.array([swing[f"v_{p}"] for p in PHASES]) * V_BASE_KV * 1e3 * turn,
    )
    taps = {(row["fb"], row["tb"]): row for row in tables["reg"]}
    for row in tables["branch"]:
        _branch(draft, row, label, z_base, taps.get((row["fb"], row["tb"])))
    asked = _powers(draft, tables, label, on)
    return draft.finish(), np.array(asked)


def _branch(draft: Draft, row: Row, label: dict[int, str], z_base: float, tap: Row | None) -> None:
    phases = tuple(k + 1 for k, p in enumerate(PHASES) if p in row["phases"])
    start, end, name = label[row["fb"]], label[row["tb"]], f"{label[row['fb']]}-{label[row['tb']]}"
    z = np.zeros((3, 3), dtype=complex)
    for i, a in enumerate(PHASES):
        for j, b in enumerate(PHASES[i:], i):
            z[i, j] = z[j, i] = (row[f"r_{a}{b}"] or 0) + 1j * (row[f"x_{a}{b}"] or 0)
    at = np.array(phases) - 1
    if tap is not None and any(tap[f"ratio_{PHASES[k]}"] != 1 for k in at):
        behind = end + BEHIND
        draft.add_bus(behind, v_base_kv=V_BASE_KV)
        for k in phases:
            _changer(draft, f"{name} {k}", start, behind, k, tap[f"ratio_{PHASES[k - 1]}"])
        start = behind
    draft.add(
        Lines,
        name=name,
        from_node=draft.phases(start, phases),
        to_node=draft.phases(end, phases),
        z_ohm=padded(z[np.ix_(at, at)] * z_base),
    )


def _changer(draft: Draft, name: str, start: str, end: str, phase: int, ratio: float) -> None:
    """An ideal tap changer of one phase: v(end) = ratio v(start), but for `SMALL_PCT`."""
    unit = draft.add(Transformers, name=name, s_kva=S_BASE_KW)
    for k, (bus, tap) in enumerate(((start, 1.0), (end, ratio))):
        pair = np.full((3, 2), -1)
        pair[0] = draft.node(bus, phase), 0
        draft.add(Windings, transformer=unit, winding=k, pair=pair, v_coil_kv=V_BASE_KV, r_pct=0.0, tap=tap)
    draft.add(WindingPairs, transformer=unit, winding_a=0, winding_b=1, x_pct=SMALL_PCT)


def _powers(
    draft: Draft, tables: dict[str, list[Row]], label: dict[int, str], on: dict[int, list[int]]
) -> list[float]:
    """Loads, capacitors and PV, phase by phase; returns kW of the PV."""
    asked = []
    for row in tables["bus"]:
        for k in on[row["id"]]:
            p, q = (row[f"{what}_{PHASES[k - 1]}"] * S_BASE_KW for what in ("pl", "ql"))
            if p or q:
                name = f"{label[row['id']]}.{k}"
                draft.add(Loads, name=name, pair=[draft.node(label[row["id"]], k), 0], p_kw=p, q_kvar=q)
    for row in tables["cap"]:
        for k in on[row["id"]]:
            if q := row[f"q_{PHASES[k - 1]}"] * S_BASE_KW:
                node = draft.node(label[row["id"]], k)
                draft.add(
                    Capacitors, name=f"cap {label[row['id']]}.{k}", pair=[node, 0], kvar=q, v_nom_kv=V_BASE_KV
                )
    for row in tables["gen"]:
        for k in on[row["id"]]:
            if p := row[f"p_{PHASES[k - 1]}"] * S_BASE_KW:
                asked.append(p)
                draft.add(
                    Connections, prosumer=f"{label[row['id']]}.{k}", pair=[draft.node(label[row["id"]], k), 0]
                )
    return asked


def set_points(problem: DmsProblem, label: dict[int, str], powers: list[Row]) -> Array:
    """What it lets every PV feed in (n_connections,), kW."""
    at = {f"{label[row['id']]}.{k + 1}": row[p] for row in powers for k, p in enumerate(PHASES)}
    return np.array([float(at[name] or 0.0) * S_BASE_KW for name in problem.units.name])


def compared(peer: Peer, rounds: int) -> tuple[list[Row], float]:
    """Rows of all methods on one case, and the largest difference of the power flows, per unit."""
    tables = peer.ask("tables")
    label = {row["id"]: str(row["name"]).replace(".", "_") for row in tables["bus"]}
    feeder, asked = feeder_of(peer.case, tables)
    limits = peer.limits(feeder)
    problems = {norm: compile(feeder, norm=norm, limits=limits) for norm in OUR_NORMS}
    first = problems[OUR_NORMS[0]]
    request = first.request(asked)
    gap = _flow_gap(first, request, label, peer.ask("flow")["voltages"])
    found: dict[str, list[tuple[float, Array]]] = {}
    failed: dict[str, str] = {}
    for _ in range(rounds):
        for method in PEER_METHODS:
            try:
                answer = peer.ask("solve", method)
            except RuntimeError as exc:
                failed[f"distopf {method}"] = str(exc)
                continue
            fed = np.minimum(set_points(first, label, answer["p"]), asked)
            found.setdefault(f"distopf {method}", []).append((answer["seconds"], fed))
        for norm, problem in problems.items():
            began = time.perf_counter()
            problem = compile(feeder, norm=norm, limits=limits)
            solution = solve(problem, problem.request(asked))
            found.setdefault(f"ours {norm}", []).append((time.perf_counter() - began, solution.p_adjusted_kw))
    rows = []
    for method, answers in found.items():
        fed = np.clip(answers[0][1], 0.0, asked)
        rows.append(_row(peer.case, method, first, request, fed, median(s for s, _ in answers), len(answers)))
    rows += [
        {**dict.fromkeys(rows[0], ""), "case": peer.case, "method": m, "where": why}
        for m, why in failed.items()
    ]
    return rows, gap


def _flow_gap(problem: DmsProblem, request: DmsRequest, label: dict[int, str], voltages: list[Row]) -> float:
    """Largest difference of |v| at the requests, per unit."""
    feeder = problem.feeder
    flow = run(problem.network, request)
    theirs = {f"{label[row['id']]}.{k + 1}": row[p] for row in voltages for k, p in enumerate(PHASES)}
    size = np.abs(flow.v) / feeder.v_base_v
    both = [
        (size[n], theirs[name])
        for n, name in enumerate(feeder.node_names)
        if theirs.get(str(name)) is not None
    ]
    return float(max(abs(a - b) for a, b in both))


def _row(
    case: str, method: str, problem: DmsProblem, request: DmsRequest, fed: Array, seconds: float, runs: int
) -> Row:
    certificate: Certificate = certify(problem.network, request, fed, problem.values)
    cut = request.p_export_kw - fed
    return {
        "case": case,
        "method": method,
        "seconds": f"{seconds:.3f}",
        "runs": runs,
        "asked kW": f"{request.p_export_kw.sum():.0f}",
        "total kW": f"{cut.sum():.2f}",
        "sum of squares": f"{cut @ cut:.6g}",
        "peak kW": f"{cut.max():.3f}",
        "beyond pu": f"{max(certificate.worst_v_pu, 0.0):.1e}",
        "where": certificate.where_v,
        "certified": certificate.safe,
    }


def main() -> int:
    """Compare and write the page; 1 if one of our answers is not certified."""
    on_one_thread()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--peer-python", type=Path, default=Path(sys.executable), help="has distopf 1.0.2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--to", type=Path, default=TARGET)
    given = parser.parse_args()
    rows, gaps = [], []
    for case, (multiple, v_max_pu) in CASES.items():
        found, gap = compared(Peer(given.peer_python, case, multiple, v_max_pu), given.rounds)
        rows += found
        gaps.append(f"{case} {gap:.0e} pu")
    text = page(rows, gaps)
    given.to.write_text(text, encoding="utf-8")
    print(text)
    return 0 if all(row["certified"] == "yes" for row in rows if row["method"].startswith("ours")) else 1


def page(rows: list[Row], gaps: list[str]) -> str:
    """The whole page."""
    lines = [f"| {' | '.join(rows[0])} |", "|" + "---|" * len(rows[0])]
    lines += [f"| {' | '.join(map(str, row.values()))} |" for row in rows]
    return HEAD.format(gaps="; ".join(gaps)) + "\n" + "\n".join(lines) + "\n"


HEAD = """# Beside distopf

Written by `.venv/bin/python benchmarks/distopf_peer.py --peer-python ENV/bin/python`, ENV having distopf
1.0.2.

The feeders are distopf's own (radial, loads and PV from phase to earth, constant power, taps fixed),
read from its tables into ours. PV: ieee123_30der as shipped, times 10; ieee13, which ships none, at
every load, times 3. Largest difference of |v| between its power flow and ours at the requests: {gaps}.

Every phase of every PV is curtailed on its own; band at every bus 0.95-1.05 pu (ieee13: to 1.06, its
taps hold 1.056), no ratings. distopf minimises the total (`l1`) or the sum of squares (`l2`) with its
linear model, which leaves losses out and takes the angles between phases as 120 degrees, or the total
with its nonlinear branch flow; it has no largest curtailment (`linf`) and no meshed networks. The set
points of both are re-checked in our power flow by the same certificate (1e-5 pu).

Seconds: its whole call, which builds its model; ours compiling, screen, optimisation and certificate
together. Set points beyond the band curtail less than safe ones can: totals compare only between
certified rows.
"""


if __name__ == "__main__":
    sys.exit(main())
