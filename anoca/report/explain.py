"""Why a tick came out as it did, for people: what binds, who was cut by it, what was broken before.

Everything is read from the tables of a run, so that a finished run can be explained at any time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from anoca.config import Scenario
from anoca.errors import InputError
from anoca.placement import load_feeder, place
from anoca.report.diagram import explained_diagram
from anoca.results import TABLES, Results, read

HOMES_SHOWN = 10
ROWS_SHOWN = 10
ENDS = re.compile(r" (from|to)$")
UNANSWERED = ("infeasible", "no_operating_point", "uncertified")

BLOCKED = {
    "by_limits": "no export keeps these limits; at the least they would have to give",
    "at_zero_export": 'zero export breaks these, and "strict" forbids that; some export mends them',
    "no_operating_point": "the circuit has no state at zero export; at the least these nodes need support",
    "not_at_all": "some export keeps every limit: it is the optimiser that failed",
    "unknown": "the elastic problem was not solved either",
}
PROBLEMS = {
    "limits": "limits",
    "currents_sparse": "support at few nodes",
    "currents_spread": "support spread out",
}


@dataclass(frozen=True)
class Explanation:
    """One tick of a run explained.

    picture  the feeder, binding limits coloured, circles for curtailment
    binds    limits that decide, ends and parallel cables as one, the most worth first
    cut      homes, the most curtailed first, with their causes in words
    broken   limits that zero export breaks        blocked  what would have to give, where there is no answer
    """

    norm: str
    tick: int
    time: pd.Timestamp
    status: str
    binds: pd.DataFrame = field(repr=False)
    cut: pd.DataFrame = field(repr=False)
    broken: pd.DataFrame = field(repr=False)
    blocked: pd.DataFrame = field(repr=False)
    why_blocked: str = ""
    picture: Path | None = None

    def tables(self) -> dict[str, pd.DataFrame]:
        """Title and table of all that there is to say."""
        found = {
            "What binds": self.binds,
            f"Why each home was cut (top {HOMES_SHOWN} of {len(self.cut)})": self.cut.head(HOMES_SHOWN),
            f"Broken already without export: {len(self.broken)} (first {ROWS_SHOWN})": self.broken.head(
                ROWS_SHOWN
            ),
            f"Why there is no answer: {self.why_blocked}": self.blocked,
        }
        return {title: frame for title, frame in found.items() if len(frame)}

    def rows(self) -> dict[str, Any]:
        """The same as flat records, for scripts."""
        names = ("binds", "cut", "broken", "blocked")
        told = {name: getattr(self, name).to_dict("records") for name in names}
        which = {"norm": self.norm, "tick": self.tick, "time": str(self.time), "status": self.status}
        return which | told | {"picture": self.picture}


def explain(results: Results, tick: int | None = None) -> Explanation:
    """Explain a tick of a run; by default the worst: one without an answer, else the one most curtailed.

    Raises  InputError  the run has no such tick
    """
    ticks = results.tables["ticks"]
    chosen = _worst(ticks) if tick is None else tick
    row = ticks[ticks["tick"] == chosen]
    if row.empty:
        last = int(ticks["tick"].max())
        raise InputError(f"the run has no tick {chosen}; it has 0 to {last}")
    one = row.iloc[0]
    tables = {name: _of_tick(results, name, chosen) for name in ("limits", "causes", "prosumers")}
    slacks = _slacks(results, chosen)
    reason = "" if slacks.empty else BLOCKED[str(slacks["blocked"].iloc[0])]
    limits = tables["limits"]
    return Explanation(
        norm=str(results.scenario["dms"]["norm"]),
        tick=chosen,
        time=one["time"],
        status=str(one["status"]),
        binds=_binds(limits),
        cut=_cut(tables["prosumers"], tables["causes"], limits),
        broken=_broken(limits),
        blocked=_blocked(slacks),
        why_blocked=reason,
    )


def draw(scenario: Scenario, results: Results, tick: int) -> Path:
    """The one-line diagram of a tick: binding limits coloured, circles for curtailment.

    Returns  `explain.png` in the results' folder
    """
    assert results.folder is not None
    feeder = place(scenario, load_feeder(scenario.feeder)).feeder
    prosumers = _of_tick(results, "prosumers", tick)
    cut = dict(zip(prosumers["prosumer"], prosumers["p_curtail_kw"], strict=True))
    limits = _of_tick(results, "limits", tick)
    decide = limits[limits["multiplier"].fillna(0) > 0]
    on = limits[(limits["binding"] | limits["violated"]) & limits["group"].isin(decide["group"])]
    marks = {
        "binds": on if len(on) else limits[limits["binding"]],
        "broken before": limits[limits["preexisting"]],
    }
    named = {what: set(frame["element"]) for what, frame in marks.items()}
    picture = results.folder / "explain.png"
    title = f"{scenario.name}, norm {scenario.dms.norm}, tick {tick}: {sum(cut.values()):.1f} kW curtailed"
    return explained_diagram(feeder, scenario.limits.limits(), named, cut, picture, title)


def explain_run(scenario: Scenario, results: Results, tick: int | None = None) -> Explanation:
    """Explain a tick of a run and draw it; `tick` as in `explain`."""
    told = explain(results, tick)
    return replace(told, picture=draw(scenario, results, told.tick))


def explain_comparison(scenario: Scenario, runs: pd.DataFrame) -> list[Explanation]:
    """The worst tick of every run of a comparison, explained and drawn.

    runs  with the columns norm and folder
    """
    pairs = zip(runs["norm"], runs["folder"], strict=True)
    return [
        explain_run(scenario.with_overrides({"dms.norm": norm}), read(Path(folder))) for norm, folder in pairs
    ]


def in_json(told: Sequence[Explanation]) -> dict[str, Any]:
    """What goes into the one JSON object beside its rows."""
    return {"explain": [one.rows() for one in told]} if told else {}


def _worst(ticks: pd.DataFrame) -> int:
    unanswered = ticks[ticks["status"].isin(UNANSWERED)]
    if len(unanswered):
        return int(unanswered["tick"].iloc[0])
    return int(ticks["tick"].iloc[int(ticks["curtailed_kw"].to_numpy().argmax())])


def _of_tick(results: Results, name: str, tick: int) -> pd.DataFrame:
    table = results.tables.get(name)
    if table is None:
        return pd.DataFrame(columns=list(TABLES[name]))
    return table[table["tick"] == tick]


def _slacks(results: Results, tick: int) -> pd.DataFrame:
    """Of the tick, or of the tick before it in which the same limits were broken first."""
    table = results.tables.get("slacks")
    ticks = results.tables["ticks"]
    status = str(ticks.loc[ticks["tick"] == tick, "status"].iloc[0])
    if table is None or status not in UNANSWERED:
        return pd.DataFrame(columns=["blocked"])
    earlier = table[table["tick"] <= tick]
    return earlier[earlier["tick"] == earlier["tick"].max()]


def _name(elements: Iterable[str]) -> str:
    """One name for a group: without its ends, and how many more it stands for."""
    names = list(dict.fromkeys(ENDS.sub("", str(e)) for e in elements))
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} like it"


def _binds(limits: pd.DataFrame) -> pd.DataFrame:
    """Groups of limits that bind; a group's multiplier and worth are sums, its name that of the strongest."""
    on = limits[limits["binding"] | (limits["multiplier"].fillna(0) > 0) & limits["kw_per_unit"].ne(0)]
    rows = []
    for _, group in on.groupby("group", sort=False):
        strongest = group.sort_values("multiplier", ascending=False, kind="stable")
        first = strongest.iloc[0]
        rows.append(
            {
                "limit": first["kind"],
                "element": _name(strongest["element"]),
                "phase": first["phase"],
                "in force": first["limit"],
                "value": first["value"],
                "unit": first["unit"],
                "multiplier": group["multiplier"].sum(min_count=1),
                "kW saved": group["kw_per_unit"].sum(skipna=False),
                "peak kW saved": group["peak_kw_per_unit"].sum(skipna=False),
                "per": first["per"],
                "broken before": bool(group["preexisting"].any()),
            }
        )
    columns = ["limit", "element", "phase", "in force", "value", "unit", "multiplier"]
    columns += ["kW saved", "peak kW saved", "per", "broken before"]
    found = pd.DataFrame(rows, columns=columns)
    return found.sort_values("multiplier", ascending=False, kind="stable", ignore_index=True)


def _cut(prosumers: pd.DataFrame, causes: pd.DataFrame, limits: pd.DataFrame) -> pd.DataFrame:
    """Every home with a cause, and its causes in words."""
    kw = dict(zip(prosumers["prosumer"], prosumers["p_curtail_kw"], strict=True))
    asked = dict(zip(prosumers["prosumer"], prosumers["p_oes_kw"], strict=True))
    group = dict(zip(zip(limits["kind"], limits["element"], strict=True), limits["group"], strict=True))
    names = {g: _name(members["element"]) for g, members in limits.groupby("group", sort=False)}
    rows = []
    for home, mine in causes.groupby("prosumer", sort=False):
        words = []
        for kind, element, share in zip(mine["kind"], mine["element"], mine["share"], strict=True):
            helps = "" if share > 0 else ", relieved by its export"
            words.append(f"{kind} {names[group[kind, element]]} {100 * share:.0f} %{helps}")
        row = {"prosumer": home, "requested kW": asked.get(home), "cut kW": kw.get(home)}
        rows.append(row | {"because of": "; ".join(words)})
    found = pd.DataFrame(rows, columns=["prosumer", "requested kW", "cut kW", "because of"])
    return found.sort_values("cut kW", ascending=False, kind="stable", ignore_index=True)


def _broken(limits: pd.DataFrame) -> pd.DataFrame:
    before = limits[limits["preexisting"]]
    once = before.assign(element=before["element"].str.replace(ENDS, "", regex=True))
    once = once.drop_duplicates(["kind", "element"])
    shown = {"kind": "limit", "original_limit": "original", "limit": "in force"}
    columns = ["kind", "element", "original_limit", "limit", "value", "unit", "violated"]
    return once[columns].rename(columns=shown).reset_index(drop=True)


def _blocked(slacks: pd.DataFrame) -> pd.DataFrame:
    """The first of each elastic problem, ends of lines as one."""
    if slacks.empty:
        return pd.DataFrame()
    told = slacks.assign(
        element=slacks["element"].str.replace(ENDS, "", regex=True),
        problem=slacks["problem"].map(PROBLEMS).fillna(""),
    )
    told = (
        told.drop_duplicates(["problem", "kind", "element"]).groupby("problem", sort=False).head(ROWS_SHOWN)
    )
    return told.drop(columns=["tick", "blocked"]).reset_index(drop=True)
