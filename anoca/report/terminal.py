"""What a verb prints: tables for people, one JSON object for scripts, progress on the error stream."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

if TYPE_CHECKING:
    from anoca.report.explain import Explanation

SHOWN_AS_ZERO = 1e-6
PIPED_WIDTH = 200

NUMERIC = re.compile(r"-?[\d.]*(e[-+]\d+)?")
"""A column of such cells stands to the right."""

NARROW = 115
"""Below this many columns the table of ticks leaves out what can wait."""

STATUS_HINTS = {
    "fallback": "certified, but a uniform cap found by power flows and no optimum: the optimiser failed",
    "infeasible": 'a limit is broken even at zero export; preexisting = "relax" would widen and list it',
    "no_operating_point": "the loads alone have no power-flow solution; check loads and feeder",
    "uncertified": "no set-points passed the certificate; zero export was sent without one",
}


PLANT_HINT = (
    "set-points are certified for the nowcast; the plant lives with the loads and PV that really came"
)
GUARD_HINT = (
    "set-points by power flows alone, or short of the optimum, certified like any other; `anoca -v` says "
    "which method it was, [dms] budget_s gives more time"
)


class Terminal:
    """Where a verb's words go: with `as_json` nothing but the one object of `emit` is printed.

    quiet  no tables and no progress, only what `say` says (the command line's -q)
    """

    quiet = False

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._out = Console() if Console().is_terminal else Console(width=PIPED_WIDTH)
        self._err = Console(stderr=True)

    def say(self, text: str) -> None:
        """One line, as it is."""
        if not self.as_json:
            self._out.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, frame: pd.DataFrame, title: str) -> None:
        """A table with a title."""
        if self.as_json or self.quiet:
            return
        self._out.print(title, style="bold", markup=False, highlight=False)
        table = Table(show_edge=False, pad_edge=False)
        for column in frame.columns:
            right = all(NUMERIC.fullmatch(cell(value)) for value in frame[column])
            table.add_column(escape(str(column)), justify="right" if right else "left", overflow="fold")
        for row in frame.itertuples(index=False):
            table.add_row(*(escape(cell(value)) for value in row))
        self._out.print(table)
        self._out.print()

    def emit(self, rows: Sequence[Mapping[Any, Any]], title: str, **more: Any) -> None:
        """The verb's own rows: a table, a list of facts if there is just one, or `{"rows": ...}`."""
        if self.as_json:
            print(to_json({"rows": rows, **more}))
        elif len(rows) == 1:
            facts = [{"what": key, "value": cell(value)} for key, value in rows[0].items() if cell(value)]
            self.show(pd.DataFrame(facts), title)
        else:
            self.show(pd.DataFrame(rows), title)

    def ticks(self, ticks: pd.DataFrame, title: str) -> None:
        """The ticks of a run, and what it means when one is neither a go-ahead nor an optimum."""
        loop = ticks["stored_kw"].notna().any()
        wide = self._out.width >= NARROW
        kw = {"total_oes_kw": "OES kW", "curtailed_kw": "cut kW", "largest_kw": "largest kW"}
        shown: dict[str, Any] = {"time": [f"{t:%H:%M}" for t in ticks["time"]]}
        shown |= {text: [f"{v:.1f}" for v in ticks[key]] for key, text in kw.items()}
        if wide:
            shown |= {"homes": ticks["homes"], "gini": [f"{v:.3f}" for v in ticks["gini"]]}
            shown |= {"lost %": [f"{100 * v:.2f}" for v in ticks["lost_share"]], "binding": ticks["binding"]}
        if ticks["preexisting"].any():
            shown["broken before"] = ticks["preexisting"]
        if loop:
            for key in ("stored_kw", "spilled_kw", "unavailable_kw") if wide else ("stored_kw", "spilled_kw"):
                shown[key.removesuffix("_kw")] = [f"{v + 0:.1f}" for v in ticks[key].round(1)]
        shown["certified"] = ticks["certified"]
        if loop:
            short = ticks["plant_worst_line"].str.replace(r"^line (.*) phase (\d) .*$", r"\1.\2", regex=True)
            shown["plant's worst cable"] = short if wide else [""] * len(ticks)
            shown["% of limit"] = [f"{v:.2f}" if v == v else "" for v in ticks["plant_worst_line_pct"]]
            low, high = ticks["plant_v_min_pu"], ticks["plant_v_max_pu"]
            shown["|v| pu"] = [f"{a:.4f}-{b:.4f}" if a == a else "-" for a, b in zip(low, high, strict=True)]
        frame = pd.DataFrame(shown)
        self.show(frame.loc[:, [column for column in frame if frame[column].ne("").any()]], title)
        self._bad_ticks(ticks)

    def _bad_ticks(self, ticks: pd.DataFrame) -> None:
        """One line for every kind of trouble: which ticks, and what it means."""
        found = {status: (ticks["status"] == status, hint) for status, hint in STATUS_HINTS.items()}
        hits = ticks["guard_hit"]
        found |= {f"optimiser {reason}": (hits == reason, GUARD_HINT) for reason in hits.unique() if reason}
        certified = ticks["certified"] != "no"  # of the others their status speaks
        found["plant outside its limits"] = (ticks["plant_violated"].astype(bool) & certified, PLANT_HINT)
        for what, (rows, hint) in found.items():
            times = ticks.loc[rows.astype(bool), "time"]
            if len(times):
                some = ", ".join(f"{t:%H:%M}" for t in times[:6]) + (", ..." if len(times) > 6 else "")
                self.say(f"{what} in {len(times)} of {len(ticks)} ticks ({some}): {hint}")

    def broken_limits(self, limits: pd.DataFrame) -> None:
        """Limits that no export has caused: broken with every prosumer at zero export."""
        broken = limits[limits["preexisting"]]
        if len(broken):
            once = broken.drop_duplicates(["kind", "element"]).drop(
                columns=["tick", "binding", "preexisting"]
            )
            self.show(
                once.head(10), f"Limits broken even at zero export, not caused by it: {len(once)} (first 10)"
            )

    def values(self, values: pd.DataFrame | None, title: str) -> None:
        """What the days of a run were worth to all homes together."""
        if values is None:
            return
        days = values.drop(columns=["prosumer", "ticks"]).groupby("day", sort=False).sum(min_count=1)
        lost = days["regret_usd"] / days["curtailed_kwh"].where(days["curtailed_kwh"] > 0)
        days.insert(0, "regret_per_kwh", lost)
        names = ["bill_usd", "export_kwh", "curtailed_kwh", "stored_kwh", "spilled_kwh", "free_kwh"]
        names += ["regret_usd", "regret_per_kwh", "bill_granted_usd", "export_granted_kwh"]
        kept = [name for name in names if days[name].notna().any()]
        self.show(days[kept].round(4).reset_index(), title)

    def explanations(self, told: Sequence[Explanation]) -> None:
        """What binds, why each home was cut, what was broken before, and what blocks an answer."""
        for one in told:
            heading = f"norm {one.norm}: tick {one.tick}, {one.time:%H:%M}, {one.status}"
            if self.quiet:
                self.say(f"Picture, {heading}: {one.picture}")
                continue
            self.say(f"Explained, {heading}")
            tables = one.tables()
            for title, frame in tables.items():
                self.show(frame, title)
            if not tables:
                self.say("Nothing binds, nothing is broken, nobody is cut.")
            self.say(f"Picture: {one.picture}")

    def controls(self, tables: Mapping[str, pd.DataFrame]) -> None:
        """Where taps and capacitor steps stand at the end."""
        moved = tables.get("controls")
        if moved is not None:
            last = moved[moved["tick"] == moved["tick"].max()]
            rows = zip(last["control"], last["position"], last["before"], strict=True)
            stand = [f"{name} {position:.6g} ({before:.6g})" for name, position, before in rows]
            self.say(f"Controls after the last tick (before it): {', '.join(stand)}")

    @contextmanager
    def progress(self, title: str) -> Iterator[Callable[[int, int, str], None]]:
        """A progress bar on a terminal, one line per step where there is none, nothing with `as_json`."""
        if self.as_json or self.quiet:
            yield lambda done, total, text: None
        elif not self._err.is_terminal:
            yield lambda done, total, text: print(
                f"{title}: {done}/{total} {text}", file=sys.stderr, flush=True
            )
        else:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
            )
            with Progress(*columns, TextColumn("{task.fields[text]}"), console=self._err) as bar:
                task = bar.add_task(title, total=None, text="")
                yield lambda done, total, text: bar.update(task, completed=done, total=total, text=text)


def all_certified(column: pd.Series) -> bool:
    """`yes`, `relaxed` and `3 of 3` are; `no` and `2 of 3` are not."""

    def ok(text: str) -> bool:
        first, _, last = text.partition(" of ")
        return first == last if last else text != "no"

    return all(ok(str(text)) for text in column)


def complain(text: str) -> None:
    """One line on the error stream."""
    Console(stderr=True).print(text, style="red", markup=False, highlight=False, soft_wrap=True)


def cell(value: Any) -> str:
    """A value as a person reads it: six figures, nothing for NaN."""
    if not isinstance(value, float):
        return str(value)
    if abs(value) < SHOWN_AS_ZERO:
        return "0"
    return "" if pd.isna(value) else f"{value:.6g}" if abs(value) < 1e6 else f"{value:.1f}"


def to_json(data: Mapping[str, Any]) -> str:
    """JSON text; NaN becomes null, and what JSON does not know becomes a number or text."""

    def plain(value: Any) -> Any:
        return value.item() if hasattr(value, "item") else str(value)

    return json.dumps(_without_nan(data), default=plain, allow_nan=False)


def _without_nan(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_nan(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and not pd.notna(value) else value
