"""Tables of a benchmark: kept as Parquet and CSV while it runs, and shortened for a person."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from anoca.provenance import versions

SHOWN = (
    "case", "scenario", "norm", "start", "method", "n", "seconds", "cpu_s", "runs", "ratio", "compile_s",
    "home_us", "speedup", "setup_s", "hems_s", "dms_s", "plant_s", "explain_s", "record_s", "rest_s",
    "ticks_curtailed", "from", "to", "target", "curtailed_kw", "binding", "iterations", "certified", "gap",
    "peak_mb",
)  # fmt: skip


class Keeper:
    """Writes a benchmark's table into a folder of its own, anew whenever there is more of it.

    folder  `<out>/bench/<name>-<time>`: rows.parquet, rows.csv, versions.csv
    """

    def __init__(self, out: Path, name: str) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
        self.folder = out / "bench" / f"{name}-{stamp}"

    def keep(self, frame: pd.DataFrame) -> None:
        """Replace what is there."""
        if not self.folder.is_dir():
            self.folder.mkdir(parents=True)
            found = pd.Series(versions(), name="version").rename_axis("package")
            found.to_csv(self.folder / "versions.csv")
        frame.to_parquet(self.folder / "rows.parquet", index=False)
        frame.to_csv(self.folder / "rows.csv", index=False)


def readable(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns that a person reads; `ratio` says in its name to what."""
    to = ", ".join(name for name in dict.fromkeys(frame["ratio_to"]) if name)
    shown = [column for column in SHOWN if column in frame and not frame[column].isna().all()]
    shown = [column for column in shown if not (frame[column] == "").all()]
    return frame[shown].rename(columns={"ratio": f"ratio to {to}"})
