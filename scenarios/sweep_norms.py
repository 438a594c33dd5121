"""A sweep in Python: three norms, with and without batteries, one quarter of an hour.

    python scenarios/sweep_norms.py

Shows the three steps that any study of your own takes: load a scenario, vary it, gather one table.
What is done already is read from `results/`, so running it again is quick.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

import anoca


def main() -> None:
    """Run six variants and print one table."""
    # 1. A scenario is a TOML file; everything in it can be overridden by its dotted key.
    hour = anoca.load_scenario(Path(__file__).with_name("case2_hour.toml"))
    base = {"name": "sweep-norms", "clock.ticks": 3, "output.nodes": False, "output.plots": False}

    # 2. `anoca.run` writes a folder named by the content hash of what went in, or reads it if it is there.
    rows = []
    for norm in ("l1", "l2", "linf"):
        for battery_kw in (5.0, 0.0):  # one Powerwall per 5 kW of base load, or none
            variant = hour.with_overrides({**base, "dms.norm": norm, "prosumers.battery_kw": battery_kw})
            results = anoca.run(variant)
            ticks = results.tables["ticks"]
            rows.append(
                {
                    "norm": norm,
                    "batteries": battery_kw > 0,
                    "certified": results.is_certified,
                    "curtailed_kw": ticks["curtailed_kw"].mean(),
                    "stored_kw": ticks["stored_kw"].mean(),
                    "spilled_kw": ticks["spilled_kw"].mean(),
                    "peak_kw": ticks["largest_kw"].max(),
                }
            )
            print(f"{norm}, batteries {battery_kw > 0}: {results.folder}")

    # 3. Results are pandas tables; nothing stands between you and them.
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.2f}".format))


if __name__ == "__main__":
    main()
