"""What a run's tables leave unsaid: ratings that are missing, sources outside a band, loads out of scale."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from anoca.config import Scenario
from anoca.placement import Placement, load_feeder, place
from anoca.results import Results
from dms import LimitValues
from dms.limits import idle, some, unrated
from feeders import Feeder, Lines, Loads, Sources, Transformers, Windings

VOLTAGES = ("v_min", "v_max", "v_ll_min", "v_ll_max")
"""Limits that taps, or loads left in place, may mend."""


def hints(scenario: Scenario, results: Results) -> list[str]:
    """Lines for the end of a run: limits in force, and what may mend what went wrong."""
    feeder = load_feeder(scenario.feeder)
    placed = place(scenario, feeder)
    broken = results.tables["limits"]
    broken = broken[broken["preexisting"].astype(bool)].drop_duplicates(["kind", "element"])
    return [
        *_no_operating_point(results, placed, float(feeder[Loads].p_kw.sum())),
        *_sources(feeder, broken),
        *_taps(scenario, feeder, results, broken),
        *in_force(scenario),
    ]


def in_force(scenario: Scenario) -> list[str]:
    """The limits of a scenario in one line, what has no rating, and warnings of those that act on nothing."""
    feeder = place(scenario, load_feeder(scenario.feeder)).feeder
    return [
        *_in_force(scenario, feeder),
        *(f"Warning: {line}" for line in idle(feeder, scenario.limits.limits())),
    ]


def _in_force(scenario: Scenario, feeder: Feeder) -> list[str]:
    """The limits in one line; and what has no rating, since no rating means no limit."""
    limits, text = scenario.limits.limits(), scenario.in_force()
    if not limits.current:
        return [f"Limits: {text}"]
    values = LimitValues.resolve(feeder, replace(limits, elements={}))
    rated = {(kind, row) for kind, row in zip(values.kind, values.row, strict=True)}
    if not rated:
        kept = [part for part in text.split("; ") if not part.startswith("ratings x")]
        return [
            f"Limits: {'; '.join(kept)}",
            "no element has a rating: currents are not limited (limits.i_max_default_a)",
        ]
    every = len(feeder[Lines]) + len(feeder[Transformers])
    without = unrated(feeder, limits, "line", "transformer")
    has = f"{len(without)} of {every} lines and transformers have no rating"
    more = [f"{has}, currents are not limited there: {some(without)}"]
    return [f"Limits: {text}", *(more if without else [])]


def _sources(feeder: Feeder, broken: pd.DataFrame) -> list[str]:
    """A band that the source's own voltage leaves."""
    found = {}
    for kind, side, so in (
        ("v_max", "above", "no export is possible there"),
        ("v_min", "below", "no export mends that"),
    ):
        for row in broken[broken["kind"] == kind].to_dict("records"):
            bus = _bus(row["element"])
            if bus in _source_buses(feeder) and bus not in found:
                stands = (max if kind == "v_max" else min)(row["limit"], row["value"])
                found[bus] = (
                    f"the source stands at {stands:.3f} pu, {side} {kind} {row['original_limit']:g}: {so}; "
                    f'set limits.band_up_to_kv or [limits.buses] {bus} = "exempt"'
                )
    return list(found.values())


def _taps(scenario: Scenario, feeder: Feeder, results: Results, broken: pd.DataFrame) -> list[str]:
    """Where voltages break without any export: what there is that may help."""
    at_source = broken["element"].map(_bus).isin(_source_buses(feeder))
    bad = broken["kind"].isin(VOLTAGES) & ~at_source
    if "controls" in results.tables or not bad.any() or results.tables["ticks"]["curtailed_kw"].sum() <= 0:
        return []
    ways = ["free them ([controls] taps)"] if (feeder[Windings].tap_steps > 0).any() else []
    if scenario.mode == "snapshot" and scenario.prosumers.export_rule != "behind_load":
        ways.append('leave loads in place (export_rule = "behind_load")')
    stand = "Taps stand where the file or its own load left them. " if len(feeder[Windings]) else ""
    return [f"{stand}Where limits break without any export, {' or '.join(ways)}"] if ways else []


def _no_operating_point(results: Results, placed: Placement, base_kw: float) -> list[str]:
    """How large the loads are that no power flow carries: often they are watts."""
    ticks = results.tables["ticks"]
    bad = ticks[ticks["status"] == "no_operating_point"]
    if bad.empty:
        return []
    said = f"the feeder's base load is {base_kw:.6g} kW"
    homes = results.tables["prosumers"]
    drawn = homes[homes["tick"] == bad["tick"].iloc[0]]["p_load_kw"].sum(min_count=1)
    if pd.notna(drawn):
        of = f"{drawn:.6g} kW at {bad['time'].iloc[0]:%H:%M}, their base load {placed.base_kw.sum():.6g} kW"
        said = f"the prosumers' loads are {of}; {said}"
    return [f"no operating point: {said}; are the units kW?"]


def _source_buses(feeder: Feeder) -> set[str]:
    return {_bus(name) for name in feeder.node_names[feeder[Sources].node[feeder[Sources].node > 0]]}


def _bus(element: str) -> str:
    return str(element).rpartition(".")[0]
