"""Putting prosumers on a feeder: who exports, how much, and what becomes of the load it has."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from anoca.config import FeederSection, ProsumersSection, Scenario
from anoca.errors import InputError
from dms import Units
from feeders import Connections, Feeder, Generators, Loads, Switches, library, readers
from feeders.checks import Issue, check
from feeders.readers.errors import MissingEngineError, ReadError
from feeders.table import Array
from hems import Battery, Home

Option = str | int | float | bool

KW_PER_HOME = 5.0
"""Base load of one home: a node of 60 kW is an aggregate of 12, with the noise of 12."""


@dataclass(frozen=True)
class Placement:
    """A feeder with its prosumers.

    feeder      plain loads in `Loads`, prosumers in `Connections`
    name        (n,) prosumer names          percent   (n,) export in percent of base load
    base_kw, base_kvar  (n,) the load each stands for or beside
    p_peak_kw   (n,) PV at a clear noon, so that the net export reaches the percentage
    generating  (n,) bool, generators of the feeder: their reactive power is their own under every rule
    """

    feeder: Feeder
    section: ProsumersSection
    name: Array
    base_kw: Array
    base_kvar: Array
    percent: Array
    generating: Array

    @property
    def p_request_kw(self) -> Array:
        """Export of a snapshot, percent x base kW."""
        return self.percent / 100 * self.base_kw

    @property
    def p_peak_kw(self) -> Array:
        """PV peak of the loop: (1 + percent) x base kW, or percent x base kW behind a load."""
        net = self.section.export_rule != "behind_load"
        return (self.percent / 100 + net) * self.base_kw

    def at_connections(self, values: Array) -> Array:
        """Powers of the prosumers (n,) at their connections (n_connections,), by the shares."""
        return Units.of(self.feeder[Connections]).split_kw(values)

    def q_kvar(self, scale: Array | float = 1.0, *, net: bool = True) -> Array:
        """Reactive power injected at the connections: that of the load, unless the rule says unity.

        net  False in a snapshot with `behind_load`, where the load itself still draws it
        """
        keeps = net and self.section.export_rule != "net_unity"
        q: Array = np.where(keeps | self.generating, -self.base_kvar * scale, 0.0)
        return q

    @cached_property
    def units(self) -> Units:
        """Who is curtailed together."""
        return Units.of(self.feeder[Connections], self.section.curtail_unit)

    def homes(self) -> list[Home]:
        """The prosumers as the HEMS sees them, with ceil(base kW / battery_kw) Powerwall 2 each."""
        per_unit = self.section.battery_kw
        units = homes_behind(self.base_kw, per_unit) if per_unit else np.zeros(len(self.name), dtype=int)
        return [
            Home(name, Battery.powerwall2(n_units=int(n)) if n else None)
            for name, n in zip(self.name, units, strict=True)
        ]


def homes_behind(base_kw: Array, kw_per_home: float = KW_PER_HOME) -> Array:
    """Homes that a load of the feeder stands for, ceil(base kW / kW of a home), at least 1."""
    return np.maximum(np.ceil(np.abs(base_kw) / kw_per_home - 1e-9), 1).astype(int)


def load_feeder(section: FeederSection, **more: Option) -> Feeder:
    """A feeder of the library with some switches opened, checked.

    Raises  InputError  as `unchecked_feeder`, an unknown switch, or a feeder with errors (all of them)
    """
    feeder = unchecked_feeder(section.name, {**section.options, **more})
    if section.open:
        feeder = _open_switches(feeder, section.open)
    errors = [issue for issue in check(feeder) if issue.severity == "error"]
    if errors:
        raise InputError([f"feeder {section.name}: {issue.message}" for issue in errors])
    return feeder


def unchecked_feeder(name: str, options: Mapping[str, Option]) -> Feeder:
    """A feeder of the library, or from files of any format in `feeders.readers`, as it is.

    Raises  InputError  an unknown feeder, files that hold none, or options that do not fit
    """
    if readers.is_file(name):
        return read_feeder(Path(name), options)[0]
    try:
        return library.load(name, **options)
    except library.UnknownFeederError as exc:
        raise InputError(str(exc)) from exc
    except (TypeError, ValueError) as exc:
        text = str(exc).partition("() ")[2] or str(exc)
        given = ", ".join(f"{key} = {value!r}" for key, value in options.items()) or "none"
        takes = library.options(name)
        raise InputError(f"feeder {name!r}: {text} (options given: {given}; it takes: {takes})") from exc


def read_feeder(path: Path, options: Mapping[str, Option] | None = None) -> tuple[Feeder, list[Issue]]:
    """A feeder from files of any format in `feeders.readers`, and the audit of what reading it assumed.

    Raises  InputError  it cannot be read; the message names the file or the element
    """
    try:
        found = readers.read(path, options)
    except (ReadError, MissingEngineError) as exc:
        raise InputError(str(exc)) from exc
    return found.feeder, list(found.audit)


def _open_switches(feeder: Feeder, names: list[str]) -> Feeder:
    switches = feeder[Switches]
    issues = []
    for name in names:
        if name not in set(switches.name):
            near = difflib.get_close_matches(name, list(switches.name), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the feeder has {len(switches)} switches"
            listed = f"list them: anoca feeder show {feeder.name} --table switches"
            issues.append(f"feeder.open: no switch {name!r}; {hint} ({listed})")
    if issues:
        raise InputError(issues)
    return feeder.with_tables(switches.replace(closed=switches.closed & ~np.isin(switches.name, names)))


def place(scenario: Scenario, feeder: Feeder) -> Placement:
    """Make prosumers of the loads with a percentage above 0, and of the named extras.

    In a snapshot, `behind_load` leaves the load in place beside the PV; everywhere else a prosumer's
    node carries its net power only, and its load leaves the table of plain loads.

    Raises  InputError  no prosumer at all, an unknown node, a name used twice, an unknown weight
    """
    section = scenario.prosumers
    loads = feeder[Loads]
    own = set(feeder[Connections].prosumer) - set(feeder[Generators].unit)
    if own:
        raise InputError(
            f"feeder {feeder.name} brings {len(own)} prosumers of its own; a scenario places "
            "them itself, so leave them out (feeder.options.prosumers)"
        )
    percent = _percent(section, loads)
    mine = percent > 0
    extra = section.extra
    units, plain = _generating(feeder[Generators]) if section.generators else ([], feeder[Generators])
    single = [*loads.name[mine], *(e.name for e in extra)]
    names = np.array([*single, *(u.name for u in units)], dtype=object)
    _check_names(section, names)
    of = [*single, *(u.name for u in units for _ in u.pair)]
    pairs = [*loads.pair[mine], *(_pair(feeder, e.node, e.to, e.name) for e in extra)]
    connections = Connections(
        prosumer=np.array(of, dtype=object),
        pair=np.array([*pairs, *(p for u in units for p in u.pair)], dtype=int).reshape(-1, 2),
        share=np.array([*(1.0 for _ in single), *(s for u in units for s in u.share)]),
        load=np.array([*loads.name[mine], *("" for _ in of[int(mine.sum()) :])], dtype=object),
    )
    _check_weights(section, connections)
    stays = np.ones(len(loads), dtype=bool)
    if not (scenario.mode == "snapshot" and section.export_rule == "behind_load"):
        stays = ~mine
    kept = connections if stays.all() else connections.replace(load=np.full(len(of), "", dtype=object))
    more = [plain] if units else []
    placed = Placement(
        feeder=feeder.with_tables(loads.take(stays), kept, *more),
        section=section,
        name=names,
        base_kw=np.array([*loads.p_kw[mine], *(e.base_kw for e in extra), *(u.p_kw for u in units)]),
        base_kvar=np.array([*loads.q_kvar[mine], *(e.base_kvar for e in extra), *(-u.q_kvar for u in units)]),
        percent=np.array([*percent[mine], *(e.percent for e in extra), *(100.0 for _ in units)]),
        generating=np.arange(len(names)) >= len(single),
    )
    return _with_inverters(placed) if section.reactive.asked else placed


def _with_inverters(placed: Placement) -> Placement:
    """The rules of `[prosumers.reactive]`; generators of the feeder keep their own Q unless they are named.

    Raises  InputError  a rule for a prosumer that is not there
    """
    reactive, feeder = placed.section.reactive, placed.feeder
    rules = reactive.inverters()
    own = dict.fromkeys(placed.name[placed.generating], "request")
    rating = dict(zip(placed.name, reactive.kva_per_kw * placed.p_peak_kw, strict=True))
    try:
        ruled = replace(rules, modes={**own, **rules.modes}, s_kva=rating).on(feeder)
    except KeyError as exc:
        raise InputError(f"prosumers.reactive: {exc.args[0]}") from exc
    return replace(placed, feeder=ruled)


class _Unit(NamedTuple):
    """A generator as a prosumer: pairs (k, 2) and shares (k,) of its phases, kW and kvar in all."""

    name: str
    pair: Array
    share: Array
    p_kw: float
    q_kvar: float


def _generating(table: Generators) -> tuple[list[_Unit], Generators]:
    """Units that feed in on every phase, and the rows of all others."""
    units, taken = [], np.zeros(len(table), dtype=bool)
    for unit in dict.fromkeys(table.unit):
        rows = np.flatnonzero(table.unit == unit)
        p = table.p_kw[rows]
        if (p > 0).all():
            taken[rows] = True
            q = float(table.q_kvar[rows].sum())
            units.append(_Unit(str(unit), table.pair[rows], p / p.sum(), float(p.sum()), q))
    return units, table.take(~taken)


def _percent(section: ProsumersSection, loads: Loads) -> Array:
    """Export of every load in percent of its base kW, by category."""
    number = np.arange(1, len(loads) + 1)
    order = number % 3 if section.category_rule == "number_mod_3" else -number % 3
    category = np.array(["C", "B", "A"])[order]  # n mod 3: 0 -> C, 1 -> B, 2 -> A
    by_category = section.percent_by_category
    return np.array([by_category[c] for c in category], dtype=float)


def _check_names(section: ProsumersSection, names: Array) -> None:
    issues = [f"prosumer {n!r} is named twice" for n in pd.Index(names)[pd.Index(names).duplicated()]]
    if not len(names):
        issues.append(
            "no prosumer: give prosumers.table1, prosumers.percent, [[prosumers.extra]], or generators = true"
        )
    if issues:
        raise InputError(issues)


def _check_weights(section: ProsumersSection, connections: Connections) -> None:
    """Weights name prosumers, or connections where these are curtailed one by one."""
    known = list(dict.fromkeys([*connections.prosumer, *Units.of(connections, section.curtail_unit).name]))
    issues = []
    for name in sorted(set(section.weights) - set(known)):
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {len(known)}, the first {known[0]!r}"
        issues.append(f"prosumers.weights: there is no prosumer {name!r}; {hint}")
    if issues:
        raise InputError(issues)


def _pair(feeder: Feeder, node: str, to: str, name: str) -> tuple[int, int]:
    found = []
    for end in (node, to):
        try:
            found.append(feeder.node(end))
        except KeyError as exc:
            raise InputError(f"prosumer {name!r}: {exc.args[0]}") from exc
    if found[0] == found[1]:
        raise InputError(f"prosumer {name!r}: node and to are both {node!r}; it must lie between two nodes")
    return found[0], found[1]
