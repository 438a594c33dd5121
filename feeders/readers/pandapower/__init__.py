"""pandapower networks from their JSON file (`pp.to_json`), three-phase, without pandapower.

>>> from feeders.readers.pandapower import read        # doctest: +SKIP
>>> feeder = read("net.json").feeder                   # doctest: +SKIP

Every bus gets phases 1, 2, 3; wye loads lie against earth, as in pandapower's three-phase power flow. Lines
become matrices, z_self = (2 z1 + z0) / 3 and z_mutual = (z0 - z1) / 3. A network for balanced studies has no
zero sequence; what to do then is the caller's choice, `zero_sequence`, and never a guess.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from feeders.draft import Draft
from feeders.readers import json_file
from feeders.readers.errors import FormatError, ReadError, UnsupportedError
from feeders.readers.pandapower.elements import (
    add_buses,
    add_ext_grids,
    add_lines,
    add_powers,
    add_shunts,
    add_switches,
)
from feeders.readers.pandapower.frames import Net, frames
from feeders.readers.pandapower.transformers import add_transformers
from feeders.readers.result import Reading

READ = (
    "bus",
    "line",
    "trafo",
    "load",
    "sgen",
    "asymmetric_load",
    "asymmetric_sgen",
    "shunt",
    "switch",
    "ext_grid",
)
HARMLESS = (
    "bus_geodata",
    "line_geodata",
    "controller",
    "group",
    "measurement",
    "poly_cost",
    "pwl_cost",
    "characteristic",
    "trafo_characteristic_table",
    "shunt_characteristic_table",
    "profiles",
)
"""Tables that change no power flow of one moment; with rows they are audited."""
SOURCES = ("held", "short_circuit")


def recognises(document: dict[str, Any]) -> bool:
    """Whether a JSON object is a network that pandapower wrote."""
    return document.get("_class") == "pandapowerNet"


def read(path: Path, *, zero_sequence: float | str = "error", source: str = "held") -> Reading:
    """A feeder from a pandapower JSON file.

    zero_sequence  what a missing zero-sequence figure is: "error", "equal" to the positive sequence, or a
                   factor on it; a missing vector group then follows from the shift (Dyn or YNyn)
    source         "held": an external grid holds its voltage, as `vm_pu` says; "short_circuit": that voltage
                   stands behind the impedance of its short-circuit power
    Raises  FileError         the file is missing or no JSON
            FormatError       an element is not as it should be, or a figure is missing; it is named
            UnsupportedError  tables or elements that no table here can hold, all named
    """
    try:
        return _read(json_file.load(path), path.stem, _choice(zero_sequence), source)
    except ReadError as exc:
        raise type(exc)(f"{path}: {exc}") from exc


def _choice(zero_sequence: float | str) -> float | str:
    try:
        return zero_sequence if zero_sequence in ("error", "equal") else float(zero_sequence)
    except ValueError as exc:
        raise FormatError(f"zero_sequence {zero_sequence!r}: use error, equal or a factor") from exc


def _read(document: dict[str, Any], stem: str, zero_sequence: float | str, source: str) -> Reading:
    if not recognises(document):
        raise FormatError("no network that pandapower wrote with to_json")
    if source not in SOURCES:
        raise FormatError(f"source {source!r}: use {' or '.join(SOURCES)}")
    tables = frames(document)
    foreign = [name for name, rows in tables.items() if rows and name not in (*READ, *HARMLESS)]
    if foreign := [name for name in foreign if any(row.get("in_service", True) for row in tables[name])]:
        raise UnsupportedError(f"tables with rows that are not read: {', '.join(foreign)}")
    if not tables.get("bus") or not tables.get("ext_grid"):
        raise FormatError("no buses or no external grid")
    facts = document["_object"]
    hertz, name = facts.get("f_hz", 50.0), facts.get("name") or stem
    if isinstance(hertz, bool) or not isinstance(hertz, int | float) or not hertz > 0:
        raise FormatError(f"`f_hz` is {hertz!r}, must be a number above zero")
    draft = Draft(
        str(name), frequency_hz=float(hertz), origin=f"pandapower {facts.get('version', '')}".strip()
    )
    net = Net(tables, draft, zero_sequence, source)
    for step in (
        add_buses,
        add_ext_grids,
        add_lines,
        add_transformers,
        add_switches,
        add_shunts,
        add_powers,
    ):
        step(net)
    for what, names in net.noted.items():
        net.audit.note("Feeder", "", names, what)
    net.note_unread()
    left = [table for table in HARMLESS if tables.get(table)]
    net.audit.note("Feeder", "", left, "tables that change no power flow; not read")
    return Reading(draft.finish(), net.audit)


__all__ = ["read", "recognises"]
