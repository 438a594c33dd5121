"""Write docs/peak-versus-total.md and its figure: what a little more peak saves in total, case 2.

OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python benchmarks/peak_curve.py

linf_l1 for peak_tol from 1e-6 to 0.1, between linf and l1. Ends with 1 if an answer is not a certified
optimum, a peak exceeds (1 + peak_tol) of the least, or a total exceeds that of linf or rises with peak_tol.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
from matplotlib.figure import Figure

from anoca.placement import load_feeder, place
from anoca.report.plots import COLOURS, save
from anoca.simulation import build_problem
from anoca.studies.reproduce import case2_scenario
from dms import DmsSolution, Status, solve

DOCS = Path(__file__).resolve().parent.parent / "docs"
SCENARIOS = (1, 3, 4)
TOLERANCES = (1e-6, 1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 2e-2, 5e-2, 1e-1)
ROUNDING_KW = 1e-4
"""Set-points are sent in whole milliwatts, one for each of 416 homes."""
SAME = 1e-6
"""Relative: two totals that differ by less are one."""

HEAD = """# Peak against total

Written by `benchmarks/peak_curve.py`. Case 2 (IEEE 342-node network, merged; 0.90 to 1.05 pu up to 1 kV and
ratings), scenarios 1, 3 and 4; scenario 2 needs no curtailment. `linf` makes the largest curtailment as small
as it can be, and is wasteful by nature: with one cable that binds, every home that loads it stands there.
`linf_l1` allows `peak_tol` more than the least peak and makes the total least below that. The total of `linf`
itself is not unique: any optimiser may stop at another. Laws: no peak above (1 + `peak_tol`) of the least, no
total above that of `linf`, none that rises with `peak_tol`.

![Total curtailment against the peak allowed, both relative to those of linf](peak-versus-total.png)

"""


@dataclass(frozen=True)
class Curve:
    """Answers of one scenario: linf, linf_l1 by tolerance, l1."""

    scenario: int
    linf: DmsSolution
    by_tolerance: dict[float, DmsSolution]
    l1: DmsSolution

    @staticmethod
    def of(scenario: int) -> Curve:
        """Solve them all, each from nothing."""
        linf = _solved(scenario, "linf")
        found = {}
        for tolerance in TOLERANCES:
            found[tolerance] = _solved(scenario, "linf_l1", tolerance)
            one = found[tolerance]
            print(
                f"scenario {scenario}: {tolerance:g} {one.total_curtailed_kw:.3f} kW, {one.method}",
                flush=True,
            )
        return Curve(scenario, linf, found, _solved(scenario, "l1"))

    def broken(self) -> list[str]:
        """Laws that do not hold."""
        wrong = []
        before = self.linf.total_curtailed_kw
        for tolerance, one in self.by_tolerance.items():
            name = f"scenario {self.scenario}, peak_tol {tolerance:g}"
            if one.status is not Status.CURTAILED:
                wrong.append(f"{name}: {one.status}")
            if one.largest_kw > (1 + tolerance) * self.linf.largest_kw + ROUNDING_KW:
                wrong.append(f"{name}: peak {one.largest_kw:.6f} kW")
            if one.total_curtailed_kw > before * (1 + SAME):
                wrong.append(f"{name}: total {one.total_curtailed_kw:.3f} kW after {before:.3f}")
            before = one.total_curtailed_kw
        return wrong


def _solved(scenario: int, norm: str, tolerance: float = 0.01) -> DmsSolution:
    case = case2_scenario(scenario, norm)
    placement = place(case, load_feeder(case.feeder))
    problem = replace(build_problem(case, placement), peak_tol=tolerance)
    return solve(problem, problem.request(placement.p_request_kw, q_kvar=placement.q_kvar()))


def main() -> int:
    """The page, the figure, and whether the laws hold."""
    curves = [Curve.of(scenario) for scenario in SCENARIOS]
    wrong = [line for curve in curves for line in curve.broken()]
    parts = [HEAD, *(_table(curve) for curve in curves)]
    parts.append(
        "Every answer is a certified optimum; each law above holds.\n"
        if not wrong
        else "\n".join(f"- {line}" for line in wrong) + "\n"
    )
    (DOCS / "peak-versus-total.md").write_text("\n".join(parts), encoding="utf-8")
    save(_figure(curves), DOCS / "peak-versus-total.png")
    print("\n".join(wrong))
    return 1 if wrong else 0


def _table(curve: Curve) -> str:
    head = "| norm | peak_tol | peak kW | total MW | of linf's | homes | Gini | Jain | lost % | method | s |"
    rows = [_row("linf", "", curve.linf, curve)]
    rows += [_row("linf_l1", f"{tol:g}", one, curve) for tol, one in curve.by_tolerance.items()]
    rows.append(_row("l1", "", curve.l1, curve))
    return "\n".join([f"## Scenario {curve.scenario}\n", head, "|---|" + "---|" * 10, *rows, ""])


def _row(norm: str, tolerance: str, one: DmsSolution, curve: Curve) -> str:
    total = one.total_curtailed_kw
    return (
        f"| {norm} | {tolerance} | {one.largest_kw:.4f} | {total / 1e3:.4f} "
        f"| {100 * total / curve.linf.total_curtailed_kw:.1f} % | {one.homes()} | {one.gini:.3f} "
        f"| {one.jain:.3f} | {100 * one.lost_share:.2f} | {one.method} | {one.solve_s:.2f} |"
    )


def _figure(curves: list[Curve]) -> Figure:
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for curve, colour in zip(curves, list(COLOURS.values()), strict=False):
        peak = np.array(list(curve.by_tolerance))
        total = np.array([s.total_curtailed_kw for s in curve.by_tolerance.values()])
        share = 100 * total / curve.linf.total_curtailed_kw
        label = f"scenario {curve.scenario}: linf {curve.linf.total_curtailed_kw / 1e3:.3f} MW"
        axes.plot(100 * peak, share, "o-", ms=4, color=colour, label=label)
        least = 100 * curve.l1.total_curtailed_kw / curve.linf.total_curtailed_kw
        axes.axhline(least, color=colour, lw=0.8, ls=":")
    axes.set_xscale("log")
    axes.set_ylim(0, 105)
    axes.set_xlabel("peak above the least peak, % (peak_tol)")
    axes.set_ylabel("total curtailment, % of linf's")
    axes.set_title("What a little more peak saves (dotted: l1, the least total)")
    axes.legend()
    axes.grid(alpha=0.3)
    return figure


if __name__ == "__main__":
    sys.exit(main())
