"""Reading: the document by the schema alone, then what our extension adds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from feeders.readers import json_file
from feeders.readers.bmopf import branches, shunts, transformers
from feeders.readers.bmopf.case import Case
from feeders.readers.element import Element
from feeders.readers.errors import FormatError, ReadError, UnsupportedError
from feeders.readers.result import Reading
from feeders.readers.rows import Rows, applied

EXTENSION = "anoca"
EXTENSION_VERSION = 1
UNKNOWN_HZ = 60.0
TABLES = (
    "bus",
    "line",
    "linecode",
    "switch",
    "transformer",
    "voltage_source",
    "shunt",
    "capacitor",
    "load",
    "generator",
    "ibr",
)
UNUSED = ("wire_data", "line_geometry", "control_profile", "time_series")
DIRECT = ("dc_bus", "dc_branch", "dc_grounding", "dc_load", "dc_source")
AROUND = ("name", "meta", "extras", "terminal_conventions")


def recognises(document: dict[str, Any]) -> bool:
    """Whether a JSON object looks like a BMOPF case."""
    return "_class" not in document and any(table in document for table in ("bus", "voltage_source", "line"))


def read(path: Path) -> Reading:
    """A feeder from a BMOPF JSON file, schema 0.1.0 or 0.2.0.

    Raises  FileError         the file is missing or no JSON
            FormatError       an element does not keep to the schema; it is named
            UnsupportedError  an element that no table here can hold; it is named
    """
    document = json_file.load(path)
    try:
        return read_document(document, path.stem)
    except ReadError as exc:
        raise type(exc)(f"{path}: {exc}") from exc


def read_document(document: dict[str, Any], name: str) -> Reading:
    """A feeder from a parsed document; `name` is its own name when the document has none."""
    case = plain(document, name)
    extras = _object(document, "extras")
    extension = Element("extras", EXTENSION, _object(extras, EXTENSION))
    rows = case.rows
    if extension.fields:
        rows = _extended(case, extension, document)
    case.audit.note(
        "Feeder", "extras", sorted(set(extras) - {EXTENSION}), "extras of other programs, not read", warn=True
    )
    for what, names in case.dropped.items():
        case.audit.note("Feeder", what, names, f"in {len(names)}: not carried, or read as said")
    return Reading(rows.feeder(), case.audit)


def plain(document: dict[str, Any], name: str) -> Case:
    """What the schema's own fields say, as rows.

    Raises  FormatError, UnsupportedError  naming the element
    """
    if unknown := sorted(set(document) - {*TABLES, *UNUSED, *DIRECT, *AROUND}):
        raise FormatError(f"unknown table {', '.join(unknown)}; is this a BMOPF case?")
    if direct := [table for table in DIRECT if document.get(table)]:
        raise UnsupportedError(f"direct current is not read: {', '.join(direct)}")
    for table in ("bus", "voltage_source"):
        if not document.get(table):
            raise FormatError(f"`{table}` is missing or empty")
    meta = Element("case", "meta", _object(document, "meta"))
    title = document.get("name", name)
    if not isinstance(title, str):
        raise FormatError("`name` is no text")
    hertz = meta.number("frequency", UNKNOWN_HZ)
    if hertz <= 0:
        raise meta.wrong("`frequency` must be above zero")
    case = Case(document, Rows(title, hertz))
    if "frequency" not in meta.fields:
        message = "not in the file: impedances are as given, capacitances stand for 60 Hz"
        case.audit.note("Feeder", "frequency_hz", title, message, warn=True)
    _version(case, meta)
    case.audit.note(
        "Feeder", "", [table for table in UNUSED if document.get(table)], "tables that change no power flow"
    )
    _fill(case)
    return case


def _fill(case: Case) -> None:
    branches.read_buses(case)
    branches.earth_by_elements(case)
    case.count_terminals(
        Element("case", "terminal_conventions", _object(case.document, "terminal_conventions"))
    )
    for bus, names in case.terminals.items():
        case.rows.nodes += [f"{bus}.{case.number[t]}" for t in names if t not in case.earthed[bus]]
    branches.read_sources(case)
    branches.read_lines(case)
    branches.read_switches(case)
    transformers.read_transformers(case)
    transformers.set_voltage_bases(case)
    for step in case.later:
        step()
    shunts.read_capacitors(case)
    shunts.read_shunts(case)
    shunts.read_loads(case)
    shunts.read_generators(case)
    shunts.read_inverters(case)


def _version(case: Case, meta: Element) -> None:
    version = meta.get("schema_version", str, "0.1.0")
    if version not in ("0.1.0", "0.2.0"):
        raise meta.wrong(f"`schema_version` is {version!r}; 0.1.0 and 0.2.0 are read")


def _object(document: dict[str, Any], key: str) -> dict[str, Any]:
    found = document.get(key, {})
    if not isinstance(found, dict):
        raise FormatError(f"`{key}`: expected an object")
    return found


def digest(document: dict[str, Any]) -> str:
    """SHA-256 of a document without our extension, in a fixed spelling."""
    extras = {k: v for k, v in _object(document, "extras").items() if k != EXTENSION}
    rest = {k: v for k, v in document.items() if k != "extras"} | ({"extras": extras} if extras else {})
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def _extended(case: Case, extension: Element, document: dict[str, Any]) -> Rows:
    """Rows with what the schema has no fields for."""
    version = extension.get("version", int)
    if version != EXTENSION_VERSION:
        raise extension.wrong(f"`version` is {version}; {EXTENSION_VERSION} is read")
    origin, written = extension.get("origin", str, ""), extension.get("sha256", str, "")
    tables = extension.get("tables", dict, {})
    extension.finish({})
    try:
        rows = applied(case.rows, tables)
    except FormatError as exc:
        raise FormatError(f"extras.{EXTENSION}: {exc}") from exc
    rows.origin = origin
    for issue in [i for i in case.audit if (i.table, i.column) == ("Buses", "v_base_kv")]:
        case.audit.remove(issue)
    if written != digest(document):
        message = "the file was changed after it was written; what stands in extras.anoca still holds over it"
        case.audit.note("Feeder", "extras", ", ".join(tables) or "none", message, warn=True)
    return rows
