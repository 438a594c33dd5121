"""Compare norms on one scenario: one table, one picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from anoca.config import Scenario
from anoca.errors import InputError
from anoca.report.plots import curtailment_by_norm, save
from anoca.results import Results
from anoca.runner import RESULTS, run
from anoca.simulation import Progress
from dms import NORMS


def compare(
    scenario: Scenario, norms: Sequence[str], out: Path = RESULTS, progress: Progress | None = None
) -> tuple[pd.DataFrame, Path]:
    """Run the scenario once per norm; runs that are done are read.

    Returns  (table with one row per norm, path of the picture)
    Raises   InputError  an unknown norm or none, or anything wrong with the scenario
    """
    known_norms(norms)
    tell = progress or (lambda done, total, text: None)
    results: dict[str, Results] = {}
    for norm in norms:

        def tell_norm(done: int, total: int, text: str, norm: str = norm) -> None:
            tell(len(results) * total + done, len(norms) * total, f"{norm}: {text}")

        results[norm] = run(scenario.with_overrides({"dms.norm": norm}), out, tell_norm)
    frame = pd.DataFrame([row(scenario.name, r) for r in results.values()])
    cut = {
        n: list(r.tables["prosumers"].groupby("prosumer")["p_curtail_kw"].max()) for n, r in results.items()
    }
    picture = out / scenario.name / f"compare-{'-'.join(norms)}.png"
    save(curtailment_by_norm({scenario.name: cut}, "largest curtailment per prosumer"), picture)
    frame.to_parquet(picture.with_suffix(".parquet"), index=False)
    return frame, picture


def known_norms(norms: Sequence[str]) -> list[str]:
    """The norms that are asked for.

    Raises   InputError  there is none, or one is unknown
    """
    known = f"known: {', '.join(NORMS)}"
    if not norms:
        raise InputError(f"--norms names no norm; {known}")
    if unknown := [norm for norm in norms if norm not in NORMS]:
        raise InputError(f"unknown norm {', '.join(map(repr, unknown))}; {known}")
    return list(norms)


OPTIMALITY = ("optimal", "kkt_residual", "gap")
"""Columns of a run's record that it has where every answer was tested for optimality."""


def row(case: str, results: Results) -> dict[str, Any]:
    """One flat record of a run, the same columns in every table of runs."""
    s = results.summary
    ticks = results.tables["ticks"]
    tested = ticks[ticks["optimal"] != ""]
    optimality = {
        "optimal": f"{int((tested['optimal'] == 'yes').sum())} of {len(tested)}",
        "kkt_residual": tested["kkt_residual"].max(),
        "gap": tested["gap"].max(),
    }
    return {
        "case": case,
        "scenario": results.scenario["prosumers"].get("table1", results.scenario["name"]),
        "norm": s["norm"],
        "total_mw": s["total_mw"],
        "curtailed_mw": s["curtailed_mw"],
        "largest_kw": s["largest_kw"],
        "homes": s["homes"],
        "gini": s["gini"],
        "jain": s["jain"],
        "lost_share": s["lost_share"],
        "seconds": s["dms_s"],
        "iterations": s["iterations"],
        "method": ", ".join(dict.fromkeys(ticks["method"])),
        "certified": f"{s['certified']} of {s['ticks']}",
        **(optimality if len(tested) else {}),
        "stored_kwh": s["stored_kwh"],
        "spilled_kwh": s["spilled_kwh"],
        "regret_usd": s["regret_usd"],
        "bill_usd": s["bill_usd"],
        "folder": str(results.folder),
    }
