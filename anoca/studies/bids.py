"""Least regret against least kilowatt: every norm with weights as they stand, and with the homes' bids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from anoca.config import Scenario
from anoca.errors import InputError
from anoca.report.plots import AFTER, BEFORE, blank, save
from anoca.results import Results
from anoca.runner import RESULTS, run
from anoca.simulation import Progress
from dms import NORMS
from dms.norms import UNWEIGHTED

SHOWN = {
    "curtailed_kwh": "curtailed, kWh",
    "spilled_kwh": "energy lost (spilled), kWh",
    "regret_usd": "regret, $",
    "bill_more_usd": "bill above that with\neverything granted, $",
}


def compare_bids(
    scenario: Scenario, norms: Sequence[str], out: Path = RESULTS, progress: Progress | None = None
) -> tuple[pd.DataFrame, Path]:
    """Run the scenario twice per norm, and the same homes with everything granted beside both.

    Returns  (table with two rows per norm, path of the picture)
    Raises   InputError  an unknown norm, one that takes no weights, a snapshot
    """
    if unknown := [norm for norm in norms if norm not in NORMS or norm in UNWEIGHTED]:
        known = ", ".join(norm for norm in NORMS if norm not in UNWEIGHTED)
        raise InputError(f"no norm that takes weights: {', '.join(map(repr, unknown))}; known: {known}")
    tell = progress or (lambda done, total, text: None)
    pairs = [(norm, by) for norm in norms for by in (scenario.dms.weight_by, "bid")]
    rows: list[dict[str, Any]] = []
    for norm, by in pairs:

        def tell_run(done: int, total: int, text: str, name: str = f"{norm}, {by}") -> None:
            tell(len(rows) * total + done, len(pairs) * total, f"{name}: {text}")

        changes = {"dms.norm": norm, "dms.weight_by": by, "output.counterfactual": True}
        rows.append(row(run(scenario.with_overrides(changes), out, tell_run)))
    frame = pd.DataFrame(rows)
    picture = out / scenario.name / f"bids-{'-'.join(norms)}.png"
    save(figure(frame, f"{scenario.name}: least kW and least regret"), picture)
    frame.to_parquet(picture.with_suffix(".parquet"), index=False)
    return frame, picture


def row(results: Results) -> dict[str, Any]:
    """One flat record of a run."""
    s = results.summary
    return {
        "case": s["name"],
        "norm": s["norm"],
        "weights": "bids" if results.scenario["dms"]["weight_by"] == "bid" else "plain",
        "curtailed_kwh": s["curtailed_kwh"],
        "largest_kw": s["largest_kw"],
        "stored_kwh": s["stored_kwh"],
        "spilled_kwh": s["spilled_kwh"],
        "free_kwh": s["free_kwh"],
        "regret_usd": s["regret_usd"],
        "bill_usd": s["bill_usd"],
        "bill_more_usd": s["bill_usd"] - s["bill_granted_usd"],
        "stored_more_kwh": s["soc_change_kwh"] - s["soc_change_granted_kwh"],
        "ticks_curtailed": s["ticks_curtailed"],
        "gini": s["gini"],
        "certified": f"{s['certified']} of {s['ticks']}",
        "seconds": s["dms_s"],
        "folder": str(results.folder),
    }


def figure(frame: pd.DataFrame, title: str) -> Figure:
    """Four panels, a pair of bars per norm."""
    found = blank((12, 3.4))
    norms = list(dict.fromkeys(frame["norm"]))
    place = np.arange(len(norms))
    for axes, (column, label) in zip(found.subplots(1, len(SHOWN)), SHOWN.items(), strict=True):
        for k, (name, colour) in enumerate({"plain": BEFORE, "bids": AFTER}.items()):
            mine = frame[frame["weights"] == name].set_index("norm")[column]
            axes.bar(place + 0.4 * k - 0.2, mine.reindex(norms), width=0.38, color=colour, label=name)
        axes.set_xticks(place, norms)
        axes.set_title(label, fontsize=10)
    found.axes[0].legend(title="weights", frameon=False)
    found.suptitle(title)
    return found
