"""PNG plots of results: one function per picture, each saying what it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import DateFormatter
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from anoca.results import Results
from dms.solution import COUNT_KW

COLOURS = {
    "l1": "#1b6ca8",
    "l2": "#d1495b",
    "linf": "#66a182",
    "linf_l1": "#8d6a9f",
    "linf_l2": "#edae49",
    "proportional": "#5c5c5c",
    "alpha_fair": "#00798c",
}
"""One colour per norm, the same in every picture."""
BEFORE, AFTER, STORE, SPILL = "#d1495b", "#1b6ca8", "#66a182", "#edae49"
LETTERS_PER_INCH, PANEL_INCHES = 8, 4.2
"""Of a title, before it is broken; width of a panel of a comparison."""


def plot_results(results: Results) -> list[Path]:
    """Every picture that a run's tables allow, into its folder."""
    assert results.folder is not None
    made = []
    if "nodes" in results.tables and results.tables["nodes"]["limited"].any():
        made.append(save(voltage_profile(results), results.folder / "voltage_profile.png"))
    made.append(save(curtailment_of_run(results), results.folder / "curtailment.png"))
    if results.scenario["mode"] == "loop":
        made.append(save(exports_over_time(results), results.folder / "exports.png"))
    return made


def voltage_profile(results: Results) -> Figure:
    """Voltages of all limited nodes before and after, and their change, at the tick with most curtailment."""
    ticks = results.tables["ticks"]
    worst = ticks.iloc[int(ticks["curtailed_kw"].to_numpy().argmax())]
    nodes = results.tables["nodes"]
    nodes = nodes[(nodes["tick"] == worst["tick"]) & nodes["limited"]].sort_values("v_oes_pu")
    limits = results.scenario["limits"]
    figure = blank((8, 5.5))
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    x = np.arange(len(nodes))
    axes.plot(x, nodes["v_oes_pu"], ".", ms=2.5, color=BEFORE, label="requests, nothing curtailed")
    axes.plot(x, nodes["v_aes_pu"], ".", ms=2.5, color=AFTER, label="adjusted set-points")
    spread = nodes[["v_oes_pu", "v_aes_pu"]].to_numpy()
    shown = [*spread[np.isfinite(spread)].tolist()]
    if limits["band"] != "relative":
        for key in ("v_min_pu", "v_max_pu"):
            axes.axhline(limits[key], color="0.4", lw=0.8, ls="--")
        shown.append(limits["v_max_pu"])
    if shown:
        axes.set_ylim(min(shown) - 0.005, max(shown) + 0.005)
    axes.set_ylabel("|v|, pu")
    axes.set_title(f"{_name(results)}: voltages before and after{_at(results, worst)}")
    axes.legend(markerscale=4, frameon=False)
    below.plot(x, 1e3 * (nodes["v_aes_pu"] - nodes["v_oes_pu"]), ".", ms=2.5, color=AFTER)
    below.axhline(0, color="0.4", lw=0.8)
    below.set_ylabel("change, 0.001 pu")
    below.set_xlabel("nodes with a voltage band, sorted by voltage before")
    return figure


def _name(results: Results) -> str:
    return f"{results.scenario['name']}, norm {results.scenario['dms']['norm']}"


def _at(results: Results, tick: pd.Series) -> str:
    return f" at {tick['time']:%H:%M}" if results.scenario["mode"] == "loop" else ""


def curtailment_of_run(results: Results) -> Figure:
    """Curtailment of every prosumer, largest first; in a loop the energy over the run."""
    energy = results.scenario["mode"] == "loop"
    hours = results.scenario["clock"]["step_minutes"] / 60 if energy else 1.0
    cut = results.tables["prosumers"].groupby("prosumer")["p_curtail_kw"].sum() * hours
    norm = results.scenario["dms"]["norm"]
    figure = blank((8, 4))
    axes = figure.subplots()
    _sorted_curve(axes, cut.to_numpy(), norm)
    axes.set_ylabel("curtailed, kWh" if energy else "curtailed, kW")
    axes.set_title(f"{_name(results)}: curtailment per prosumer")
    return figure


def curtailment_by_norm(panels: Mapping[str, Mapping[str, Sequence[float]]], title: str) -> Figure:
    """Curtailment per prosumer by norm: one panel per scenario, one sorted curve per norm, kW."""
    width = PANEL_INCHES * max(len(panels), 1)
    figure = blank((width, 3.6))
    axes = figure.subplots(1, max(len(panels), 1), squeeze=False, sharey=True)[0]
    for axis, (name, by_norm) in zip(axes, panels.items(), strict=True):
        for norm, cut in by_norm.items():
            _sorted_curve(axis, np.asarray(cut), norm)
        axis.set_title(fill(name, int(LETTERS_PER_INCH * PANEL_INCHES)))
        axis.legend(frameon=False)
    axes[0].set_ylabel("curtailed, kW")
    figure.suptitle(fill(title, int(LETTERS_PER_INCH * width)))
    return figure


def _sorted_curve(axes: Axes, cut: Any, norm: str) -> None:
    """Largest first, on logarithmic axes; 0.1 kW is what counts as curtailed."""
    cut = np.sort(cut[cut > COUNT_KW])[::-1]
    label = f"{norm}: {len(cut) or 'no'} prosumer{'' if len(cut) == 1 else 's'}"
    axes.plot(np.arange(1, len(cut) + 1), cut, ".-", ms=3, color=COLOURS.get(norm), label=label)
    axes.set_xlabel("prosumers, most curtailed first")
    if any(len(line.get_xdata()) for line in axes.get_lines()):  # type: ignore[arg-type]
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    for text in list(axes.texts):
        text.remove()
    if not any(len(line.get_xdata()) for line in axes.get_lines()):  # type: ignore[arg-type]
        axes.text(0.5, 0.4, "nothing curtailed", ha="center", transform=axes.transAxes, color="0.5")


def exports_over_time(results: Results) -> Figure:
    """Requests, grants and realised exports; what became of the curtailed power; the worst cable."""
    ticks = results.tables["ticks"]
    figure = blank((8, 7))
    top, middle, bottom = figure.subplots(3, 1, sharex=True)
    when = _times(ticks)
    top.plot(when, ticks["total_oes_kw"] / 1e3, ".-", color=BEFORE, label="requested (OES)")
    top.plot(when, ticks["total_aes_kw"] / 1e3, ".-", color=AFTER, label="granted (AES)")
    top.plot(when, ticks["total_export_kw"] / 1e3, ".--", color="0.4", lw=1, label="realised")
    top.set_ylabel("export, MW")
    top.legend(frameon=False)
    top.set_title(f"{_name(results)}: exports")
    width = 0.8 * results.scenario["clock"]["step_minutes"] / (24 * 60)
    middle.bar(when, ticks["stored_kw"], width=width, color=STORE, label="stored")
    middle.bar(
        when, ticks["spilled_kw"], width=width, bottom=ticks["stored_kw"], color=SPILL, label="spilled"
    )
    middle.set_ylabel("curtailed, kW")
    middle.legend(frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0.1)
    bottom.plot(when, ticks["plant_worst_line_pct"], ".-", color="0.3")
    bottom.axhline(100, color=BEFORE, lw=0.8, ls="--")
    bottom.set_ylabel("worst cable, % of its limit")
    bottom.ticklabel_format(axis="y", useOffset=False)
    low, high = bottom.get_ylim()
    bottom.set_ylim(min(low, 99.0), max(high, 100.5))
    bottom.set_xlabel("local time")
    bottom.xaxis.set_major_formatter(DateFormatter("%H:%M"))
    return figure


def sweep_summary(table: pd.DataFrame, axes_keys: Sequence[str], title: str) -> Figure:
    """Curtailment and peak of every run of a sweep, one dot per run, grouped by the first key."""
    figure = blank((9, 4))
    left, right = figure.subplots(1, 2)
    first, rest = axes_keys[0], list(axes_keys[1:])
    groups = table[first].astype(str)
    order = list(dict.fromkeys(groups))
    series = table[rest[0]].astype(str) if rest else pd.Series([""] * len(table), index=table.index)
    for k, name in enumerate(dict.fromkeys(series)):
        mine = series == name
        x = np.array([order.index(g) for g in groups[mine]]) + 0.15 * (k - (series.nunique() - 1) / 2)
        colour = COLOURS.get(name, f"C{k}")
        left.plot(x, table.loc[mine, "curtailed_mw"], "o", ms=5, alpha=0.7, color=colour, label=name or None)
        right.plot(x, table.loc[mine, "largest_kw"], "o", ms=5, alpha=0.7, color=colour)
    left.set_yscale("symlog", linthresh=0.01)
    left.set_ylim(0, 1.5 * max(float(table["curtailed_mw"].max()), 0.01))
    left.yaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
    for axis, text in ((left, "curtailed, MW (mean over ticks)"), (right, "largest curtailment, kW")):
        axis.set_xticks(range(len(order)), order, rotation=0 if len("".join(order)) < 40 else 20)
        axis.set_xlabel(first)
        axis.set_ylabel(text)
    if rest:
        left.legend(title=rest[0], frameon=False)
    figure.suptitle(title)
    return figure


def _times(ticks: pd.DataFrame) -> Any:
    """Local wall-clock times that matplotlib shows as they are."""
    return pd.DatetimeIndex(ticks["time"]).tz_localize(None).to_pydatetime()


def blank(size: tuple[float, float]) -> Figure:
    """A figure that needs no screen."""
    mpl.use("Agg")
    return Figure(figsize=size, layout="constrained")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)
    return path
