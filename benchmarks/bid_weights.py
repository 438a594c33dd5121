"""Write docs/bid-weights.md and its figures: every norm with plain weights and with the homes' bids.

    OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 .venv/bin/python benchmarks/bid_weights.py

Runs `anoca compare --bids` on an afternoon of case 2 and on a small synthetic feeder; runs that are in
results/ already are read. Ends with 1 if a set-point is not certified.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import pandas as pd

from anoca.config import Scenario, load_scenario
from anoca.report.plots import save
from anoca.studies.bids import compare_bids, figure

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
NORMS = {"case2": ("l1", "l2", "linf"), "street": ("l1", "l2", "linf", "linf_l1")}
QUIET = {"output.plots": False, "output.nodes": False}

HEAD = """# Least kilowatt or least regret

Written by `benchmarks/bid_weights.py`, which runs `anoca compare SCENARIO --bids`.

With `dms.weight_by = "bid"` every request carries the home's bid: what any smaller export would cost it
over its horizon, exactly (`hems.bids`). The first kilowatts are often free, since the battery takes them
and sells them later at the same price; the rest costs what export pays. A weight is one number and a bid a
curve, so a tick that curtails is answered up to three times: with the weights as they stand; with weights
in proportion to the mean price of each bid ($ per kW) over the whole request; and over the cut in the
better of the two, no less than 40 % of the request for homes that it spares. The certified answer that
costs least by the bids is sent, so that in no single tick homes lose more by their own word than with plain
weights. Later ticks start from other batteries, and the sum over a day is not bound by that.

Prices of zero count as the least that keeps all weights within 1e4 of each other (`dms.weights.by_bid`),
homes without a bid (planned by LP or MILP) as the mean of the others. The price is up to three
optimisations a tick.

- **curtailed, stored, lost**: kWh; lost is what was spilled because of the curtailment. Of the curtailed,
  **free** is what cost the home nothing. **largest**: kW, of one home in one tick.
- **regret**: sum over ticks of J(AES) - J(OES), $, by the homes' own forecasts.
- **bill**: what the homes paid more than the same homes with everything granted, $; part of it is energy
  that stands in their batteries at the end, **in store**, kWh more than then.
- **DMS**: seconds a tick.
"""

COLUMNS = {
    "norm": "norm", "weights": "weights", "curtailed_kwh": "curtailed", "stored_kwh": "stored",
    "spilled_kwh": "lost", "free_kwh": "free", "largest_kw": "largest", "regret_usd": "regret",
    "bill_more_usd": "bill", "stored_more_kwh": "in store", "certified": "certified", "seconds": "DMS",
}  # fmt: skip


def scenarios() -> dict[str, Scenario]:
    """An afternoon of the day of case 2, and two hours of a small feeder with ratings scaled down."""
    noon = {"clock.start": "2026-06-21T13:00:00", "clock.ticks": 12, "name": "case2-afternoon"}
    day = load_scenario(ROOT / "scenarios" / "case2_day.toml")
    street = {
        "name": "street",
        "seed": 3,
        "feeder": {"name": "synthetic", "options": {"n_buses": 60, "seed": 1}},
        "prosumers": {"percent": {"A": 400, "C": 300}, "battery_kw": 10.0},
        "limits": {"i_scale": 0.4},
        "series": {"load": "homes", "pv": "roofs", "sky": "mixed"},
        "hems": {"horizon": 48},
        "clock": {"start": "2026-06-21T11:00:00", "ticks": 24},
    }
    small = Scenario.model_validate(street)
    return {"case2": day.with_overrides({**noon, **QUIET}), "street": small.with_overrides(QUIET)}


TITLES = {
    "case2": "Case 2, 416 homes, 13:00 to 14:00 of `scenarios/case2_day.toml`",
    "street": "60 buses, synthetic, PV of 4 or 5 times the base load, ratings x 0.4, 11:00 to 13:00",
}


def main() -> int:
    """Run, draw, write."""
    parts, ok = [HEAD], True
    for name, scenario in scenarios().items():
        frame, _ = compare_bids(scenario, NORMS[name], ROOT / "results", _said)
        ok &= all(text.split(" of ")[0] == text.split(" of ")[1] for text in frame["certified"])
        picture = save(figure(frame, TITLES[name].replace("`", "")), DOCS / f"bid-weights-{name}.png")
        parts.append(
            f"## {TITLES[name]}\n\n![Plain weights and bids by norm]({picture.name})\n\n{_table(frame)}"
        )
    (DOCS / "bid-weights.md").write_text("\n".join(parts) + "\n", encoding="utf-8")
    return 0 if ok else 1


def _said(done: int, total: int, text: str) -> None:
    print(f"{done}/{total} {text}", flush=True)


def _table(frame: pd.DataFrame) -> str:
    lines = ["| " + " | ".join(COLUMNS.values()) + " |", "|---" * len(COLUMNS) + "|"]
    for record in frame[list(COLUMNS)].to_dict("records"):
        lines.append("| " + " | ".join(_cell(str(key), value) for key, value in record.items()) + " |")
    return "\n".join(lines) + "\n"


def _cell(column: str, value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.2f}" if column in ("regret_usd", "bill_more_usd", "seconds") else f"{value:.1f}"


if __name__ == "__main__":
    sys.exit(main())
