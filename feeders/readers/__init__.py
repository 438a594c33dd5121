"""Readers: feeders from files of other programs, one module or package per format.

`read(path)` looks at the path, and into JSON files, and hands over to the format that recognises it. A new
format is one module and one entry in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from feeders.readers.errors import FileError, FormatError

if TYPE_CHECKING:
    from feeders.feeder import Feeder
    from feeders.issues import Issue
    from feeders.readers.result import Reading


@dataclass(frozen=True)
class Format:
    """One file format.

    recognises  whether a path (JSON: its document, else None) is of this format
    read        path and options to a feeder, unchecked, and the audit of reading
    options     names of the options that `read` takes
    write       feeder and path to the audit of writing; None if the format is only read
    suffix      of files that `write` makes; empty for a folder
    """

    name: str
    what: str
    recognises: Callable[[Path, dict[str, Any] | None], bool]
    read: Callable[..., Reading]
    options: tuple[str, ...] = ()
    write: Callable[[Feeder, Path], list[Issue]] | None = None
    suffix: str = ""


def is_file(name: str) -> bool:
    """Whether a name means files of a format here, and no feeder of the library."""
    return Path(name).is_dir() or Path(name).suffix.lower() in (".dss", ".json")


def find(path: Path) -> Format:
    """The format of a folder or file.

    Raises  FileError    a JSON file that is missing or broken
            FormatError  no format recognises it
    """
    from feeders.readers import json_file

    document = json_file.load(path) if path.suffix.lower() == ".json" and not path.is_dir() else None
    for form in FORMATS:
        if form.recognises(path, document):
            return form
    raise FormatError(f"{path}: {', '.join(f'no {form.what}' for form in FORMATS)}")


def read(path: Path | str, options: Mapping[str, Any] | None = None) -> Reading:
    """A feeder from files of any format, unchecked, and the audit of reading it.

    Raises  ReadError           see the format's own `read`, and `find`
            MissingEngineError  the format needs a program that is not installed
    """
    path = Path(path)
    form, given = find(path), dict(options or {})
    if unknown := set(given) - set(form.options):
        if not path.exists():
            raise FileError(f"there is no file {path.name} in {path.parent}")
        takes = ", ".join(form.options) or "no options"
        raise FormatError(f"{path}: {form.what} takes {takes}, not {', '.join(sorted(unknown))}")
    return form.read(path, **given)


def writer(path: Path, name: str = "") -> Format:
    """The format to write: that of a name, else by the ending of the path.

    Raises  FormatError  no format that can be written has this name or ending
    """
    can = [form for form in FORMATS if form.write is not None]
    for form in can:
        if form.name == name or (not name and form.suffix == path.suffix.lower()):
            return form
    known = ", ".join(f"{form.name} ({form.suffix or 'a folder'})" for form in can)
    raise FormatError(f"{name or path}: no format that can be written; known: {known}")


def _read_tables(path: Path) -> Reading:
    from feeders.readers.result import Reading
    from feeders.readers.tables import TablesError, read_tables

    try:
        return Reading(read_tables(path), [])
    except TablesError as exc:
        raise FormatError(str(exc)) from exc


def _write_tables(feeder: Feeder, path: Path) -> list[Issue]:
    from feeders.readers.tables import write_tables

    write_tables(feeder, path)
    return []


def _read_opendss(path: Path) -> Reading:
    from feeders.readers import opendss
    from feeders.readers.result import Reading

    found = opendss.read(path, check=False)
    return Reading(found.feeder, list(found.audit))


def _read_bmopf(path: Path) -> Reading:
    from feeders.readers import bmopf

    return bmopf.read(path)


def _write_bmopf(feeder: Feeder, path: Path) -> list[Issue]:
    from feeders.readers import bmopf

    return bmopf.write(feeder, path)


def _is_bmopf(_path: Path, document: dict[str, Any] | None) -> bool:
    from feeders.readers import bmopf

    return document is not None and bmopf.recognises(document)


def _read_pandapower(path: Path, **options: Any) -> Reading:
    from feeders.readers import pandapower

    return pandapower.read(path, **options)


def _is_pandapower(_path: Path, document: dict[str, Any] | None) -> bool:
    from feeders.readers import pandapower

    return document is not None and pandapower.recognises(document)


FORMATS = (
    Format(
        "tables", "folder of CSV tables", lambda path, _: path.is_dir(), _read_tables, write=_write_tables
    ),
    Format("opendss", "OpenDSS master", lambda path, _: path.suffix.lower() == ".dss", _read_opendss),
    Format("bmopf", "BMOPF case", _is_bmopf, _read_bmopf, write=_write_bmopf, suffix=".json"),
    Format("pandapower", "pandapower network", _is_pandapower, _read_pandapower, ("zero_sequence", "source")),
)
"""Every format, in the order in which they are asked."""
