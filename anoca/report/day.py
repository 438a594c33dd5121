"""The day of one home and of the fleet, from the tables of a run."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

from anoca.config import Scenario
from anoca.errors import InputError
from anoca.placement import load_feeder, place
from anoca.report.plots import AFTER, BEFORE, SPILL, STORE, blank, save
from anoca.results import Results
from feeders import Loads

LOAD, SUN = "#30343f", "#e9c46a"
BANDS = ((0.10, 0.90, 0.20), (0.25, 0.75, 0.40))
"""Quantiles of a fan and how dark the band between them is."""


TITLE_PAD = 26
"""Points between a title and its axes: the legend stands there."""


def check_homes(scenario: Scenario, homes: Sequence[str]) -> None:
    """Before anything runs: the scenario has days, and these homes.

    Raises  InputError  a snapshot, a load that is no prosumer, or a home that is not in the scenario
    """
    if scenario.mode != "loop":
        raise InputError("--home: a snapshot has no day; it goes with mode = 'loop'")
    feeder = load_feeder(scenario.feeder)
    known = [str(name) for name in place(scenario, feeder).name]
    for name in homes:
        if name not in known and name in feeder[Loads].name:
            raise InputError(
                f"--home: load {name!r} is no prosumer, it has no PV and no day to plot; prosumers.percent "
                f"says who is one: there are {len(known)}, the first {known[0]!r}"
            )
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {len(known)}, the first {known[0]!r}"
            listed = f"list the loads they stand for: anoca feeder show {scenario.feeder.name} --table loads"
            raise InputError(f"--home: there is no home {name!r}; {hint} ({listed})")


def plot_days(results: Results, homes: Sequence[str]) -> list[Path]:
    """The days of some homes and of the fleet, into the folder of a run; see `check_homes`."""
    assert results.folder is not None
    figures = {f"home_{re.sub(r'[^A-Za-z0-9._-]', '_', name)}": home_day(results, name) for name in homes}
    figures["fleet_day"] = fleet_day(results)
    return [save(figure, results.folder / f"{name}.png") for name, figure in figures.items()]


def home_day(results: Results, name: str) -> Figure:
    """Load and PV with what was spilled, battery and its charge, OES and AES, and prices of one home."""
    table = results.tables["prosumers"]
    home = table[table["prosumer"].astype(str) == name]
    ticks = results.tables["ticks"]
    figure = blank((9, 9))
    axes = figure.subplots(4, 1, sharex=True, height_ratios=[3, 2, 2, 1.2])
    when = _edges(ticks)
    _load_and_pv(axes[0], when, home)
    _battery(axes[1], when, home)
    _set_points(axes[2], when, home)
    _prices(axes[3], when, ticks)
    title = f"{results.scenario['name']}, norm {results.scenario['dms']['norm']}: home {name}"
    axes[0].set_title(title, pad=TITLE_PAD)
    return figure


def fleet_day(results: Results) -> Figure:
    """Totals of all homes, stacked, and quantiles over homes of net power and of state of charge."""
    homes, ticks = results.tables["prosumers"], results.tables["ticks"]
    sums = homes.drop(columns=["prosumer", "path"]).groupby("tick").sum()
    figure = blank((9, 9))
    axes = figure.subplots(4, 1, sharex=True, height_ratios=[3, 2, 2, 1.2])
    when = _edges(ticks)
    used = sums["p_pv_kw"] - _spilled(sums)
    above = {"PV used": (used, SUN), "discharge": (sums["p_discharge_kw"], STORE)}
    above["import"] = (sums["p_import_kw"], "0.6")
    below = {"load": (sums["p_load_kw"], LOAD), "charge": (sums["p_charge_kw"], STORE)}
    below["export"] = (sums["p_export_kw"], AFTER)
    _stacked(axes[0], when, above, sign=1)
    _stacked(axes[0], when, below, sign=-1)
    spilled = _spilled(sums)
    if spilled.max() > 0:
        _step(axes[0], when, (used + spilled) / 1e3, color=SPILL, label="PV available")
    axes[0].axhline(0, color="0.2", lw=0.8)
    axes[0].set_ylabel("all homes, MW\nsources up, uses down")
    _legend(axes[0])
    net = (homes["p_export_kw"] - homes["p_import_kw"]).to_numpy().reshape(len(ticks), -1)
    _fan(axes[1], when, net, AFTER)
    axes[1].set_ylabel("net export\nof a home, kW")
    charge = 100 * homes["soc_end_kwh"] / homes["capacity_kwh"].where(homes["capacity_kwh"] > 0)
    charge_by_tick = charge.to_numpy(dtype=float).reshape(len(ticks), -1)
    charge_by_tick = charge_by_tick[:, np.isfinite(charge_by_tick).all(axis=0)]
    if charge_by_tick.size:
        _fan(axes[2], when, charge_by_tick, STORE)
    axes[2].set_ylim(0, 100)
    axes[2].set_ylabel("state of\ncharge, %")
    _prices(axes[3], when, ticks)
    axes[0].set_title(
        f"{results.scenario['name']}, norm {results.scenario['dms']['norm']}: {net.shape[1]} homes "
        "(bands: 10-90 and 25-75 % of homes, line: median)",
        pad=TITLE_PAD,
    )
    return figure


def _load_and_pv(axes: Axes, when: Any, home: pd.DataFrame) -> None:
    spilled = _spilled(home)
    used = home["p_pv_kw"] - spilled
    axes.stairs(used, when, fill=True, color=SUN, label="PV used")
    axes.stairs(used + spilled, when, baseline=used, fill=True, color=SPILL, label="PV spilled", hatch="//")
    _step(axes, when, home["p_load_kw"], color=LOAD, label="load")
    axes.set_ylabel("kW")
    _legend(axes)


def _battery(axes: Axes, when: Any, home: pd.DataFrame) -> None:
    axes.stairs(home["p_charge_kw"], when, fill=True, color=STORE, label="charge")
    axes.stairs(-home["p_discharge_kw"], when, fill=True, color=BEFORE, label="discharge")
    axes.axhline(0, color="0.2", lw=0.8)
    axes.set_ylabel("battery, kW")
    _legend(axes)
    capacity = float(home["capacity_kwh"].iloc[0])
    if capacity > 0:
        right = axes.twinx()
        kwh = np.append(home["soc_start_kwh"].to_numpy()[:1], home["soc_end_kwh"].to_numpy())
        right.plot(when, 100 * kwh / capacity, color=LOAD, lw=1.4)
        right.set_ylim(0, 100)
        right.set_ylabel("state of charge, %")


def _set_points(axes: Axes, when: Any, home: pd.DataFrame) -> None:
    _step(axes, when, home["p_oes_kw"], color=BEFORE, label="requested (OES)")
    _step(axes, when, home["p_aes_kw"], color=AFTER, label="granted (AES)")
    _step(axes, when, home["p_export_kw"], color="0.4", ls="--", lw=1.0, label="exported")
    _step(axes, when, -home["p_import_kw"], color="0.6", lw=1.0, label="imported, below 0")
    axes.axhline(0, color="0.2", lw=0.8)
    axes.set_ylabel("at the meter, kW")
    _legend(axes)


def _prices(axes: Axes, when: Any, ticks: pd.DataFrame) -> None:
    _step(axes, when, ticks["import_price_per_kwh"], color=BEFORE, label="import")
    _step(axes, when, ticks["export_price_per_kwh"], color=AFTER, label="export")
    axes.set_ylabel("$/kWh")
    axes.set_xlabel("local time")
    _legend(axes)
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _legend(axes: Axes) -> None:
    """In a light frame above the axes, off the data."""
    axes.legend(
        ncols=7,
        fontsize="small",
        loc="lower left",
        bbox_to_anchor=(0, 1.01),
        borderaxespad=0,
        frameon=True,
        edgecolor="0.8",
    )


def _stacked(axes: Axes, when: Any, parts: dict[str, tuple[pd.Series, str]], *, sign: int) -> None:
    """Parts on top of one another, MW, upwards or downwards from 0."""
    base = np.zeros(len(when) - 1)
    for k, (label, (values, colour)) in enumerate(parts.items()):
        top = base + sign * values.to_numpy() / 1e3
        axes.stairs(top, when, baseline=base, fill=True, color=colour, alpha=1.0 - 0.25 * k, label=label)
        base = top


def _fan(axes: Axes, when: Any, values: Any, colour: str) -> None:
    """Quantiles over homes, (ticks, homes)."""
    for low, high, dark in BANDS:
        lower, upper = np.quantile(values, [low, high], axis=1)
        axes.stairs(upper, when, baseline=lower, fill=True, color=colour, alpha=dark, lw=0)
    axes.stairs(np.quantile(values, 0.5, axis=1), when, baseline=None, color=colour, lw=1.4)


def _step(axes: Axes, when: Any, values: Any, **style: Any) -> None:
    """A line that keeps its value over each tick."""
    axes.stairs(np.asarray(values), when, baseline=None, **{"lw": 1.4, **style})


def _spilled(table: pd.DataFrame) -> pd.Series:
    parts = [table[f"p_spill_{why}_kw"] for why in ("plan", "curtail", "tracking")]
    return parts[0] + parts[1] + parts[2]


def _edges(ticks: pd.DataFrame) -> Any:
    """Local wall-clock times of the ticks' starts, and of the last one's end.

    Across a clock change the axis counts elapsed time and shows the clock of the first tick.
    """
    start = pd.DatetimeIndex(ticks["time"])
    step = start[1] - start[0] if len(start) > 1 else pd.Timedelta(minutes=5)
    elapsed = start - start[0]
    first = start[0].tz_localize(None)
    edges = pd.DatetimeIndex([*(first + elapsed), first + elapsed[-1] + step])
    return edges.to_pydatetime()
