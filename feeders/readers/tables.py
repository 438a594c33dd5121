"""A feeder as a folder of CSV files: one per table, nodes by name, units in the header's names.

    feeder.json      name, frequency_hz, origin
    buses.csv        name, v_base_kv, x, y
    nodes.csv        node            every `bus.terminal`, in order
    <table>.csv      one column per scalar; arrays spread as column_i_j, complex numbers as _re and _im

Columns whose every value is the default are left out when writing and filled in when reading.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from feeders.feeder import Buses, Feeder, Nodes
from feeders.table import ABSENT, REQUIRED, Array, Column, Table

T = TypeVar("T", bound=Table)

_APART = (Buses, Nodes)


class TablesError(ValueError):
    """The folder does not hold a feeder; the message names file, column and row."""


def write_tables(feeder: Feeder, folder: Path) -> Path:
    """Write a feeder as CSV tables; an existing folder is left alone.

    Raises  FileExistsError  the folder is there already
    """
    folder.mkdir(parents=True)
    facts = {"name": feeder.name, "frequency_hz": feeder.frequency_hz, "origin": feeder.origin}
    (folder / "feeder.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    names = feeder.node_names
    _frame(feeder.buses, names).to_csv(folder / "buses.csv", index=False)
    pd.DataFrame({"node": names[1:]}).to_csv(folder / "nodes.csv", index=False)
    for kind, table in feeder.tables.items():
        if len(table):
            _frame(table, names).to_csv(folder / f"{kind.__name__}.csv", index=False)
    return folder


def read_tables(folder: Path) -> Feeder:
    """Read a feeder from its folder.

    Raises  TablesError  a file or column is missing, unknown, or holds something that does not fit
    """
    try:
        facts = json.loads((folder / "feeder.json").read_text(encoding="utf-8"))
        name, frequency = str(facts["name"]), float(facts["frequency_hz"])
    except FileNotFoundError as exc:
        raise TablesError(f"{folder}: no feeder.json; is this a folder of feeder tables?") from exc
    except (json.JSONDecodeError, KeyError, TypeError, ValueError) as exc:
        raise TablesError(f"{folder / 'feeder.json'}: not as expected: {exc}") from exc
    buses = _table(Buses, folder / "buses.csv", {})
    nodes = _nodes(folder / "nodes.csv", buses)
    empty = Feeder(name=name, buses=buses, nodes=nodes)
    index = {str(node): k for k, node in enumerate(empty.node_names)} | {"": ABSENT}
    kinds = {kind.__name__: kind for kind in _kinds(Table) if kind not in _APART}
    tables: dict[type[Table], Table] = {}
    for path in sorted(folder.glob("*.csv")):
        if path.stem in ("buses", "nodes"):
            continue
        if path.stem not in kinds:
            raise TablesError(f"{path}: no table of that name; known: {', '.join(sorted(kinds))}")
        tables[kinds[path.stem]] = _table(kinds[path.stem], path, index)
    return Feeder(name, buses, nodes, tables, frequency, str(facts.get("origin", "")))


def _kinds(base: type[Table]) -> list[type[Table]]:
    return [kind for sub in base.__subclasses__() for kind in (sub, *_kinds(sub))]


# Writing ------------------------------------------------------------------------------------------


def _frame(table: Table, names: Array) -> pd.DataFrame:
    data: dict[str, Array] = {}
    for col in table.columns():
        value = getattr(table, col.name)
        if col.default is not REQUIRED and _all_default(value, col):
            continue
        for suffix, part in _parts(value, col):
            if col.check == "node":
                part = np.where(part == ABSENT, "", names[np.maximum(part, 0)])
            data[col.name + suffix] = part
    return pd.DataFrame(data)


def _all_default(value: Array, col: Column) -> bool:
    if col.dtype in (str, bool, int):
        return bool((value == col.default).all())
    default = np.asarray(col.default)
    return bool(((value == default) | (np.isnan(value) & np.isnan(default))).all())


def _parts(value: Array, col: Column) -> list[tuple[str, Array]]:
    """Spread an array-valued column over flat ones, and complex numbers over two."""
    found = []
    for place in np.ndindex(*col.shape):
        suffix = "".join(f"_{k + 1}" for k in place)
        flat = value[(slice(None), *place)]
        if col.dtype is complex:
            found += [(f"{suffix}_re", flat.real), (f"{suffix}_im", flat.imag)]
        else:
            found.append((suffix, flat))
    return found


# Reading ------------------------------------------------------------------------------------------


def _read(path: Path) -> pd.DataFrame:
    try:
        # Everything as text first: a bus named 1e5 or NA stays what it is.
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError as exc:
        raise TablesError(f"{path}: missing") from exc
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as exc:
        raise TablesError(f"{path}: not readable as CSV: {exc}") from exc


def _nodes(path: Path, buses: Buses) -> Nodes:
    frame = _read(path)
    if list(frame.columns) != ["node"]:
        raise TablesError(f"{path}: one column `node` is expected, found {', '.join(frame.columns)}")
    row = {str(name): k for k, name in enumerate(buses.name)}
    bus, terminal = [ABSENT], [0]
    for number, name in enumerate(frame["node"]):
        where, _, conductor = name.rpartition(".")
        if where not in row or not (conductor.isascii() and conductor.isdigit()) or conductor == "0":
            raise TablesError(
                f"{path}: row {number + 1}: {name!r} is not `bus.terminal` of a bus in buses.csv"
            )
        bus.append(row[where])
        terminal.append(int(conductor))
    return Nodes(bus=np.array(bus), terminal=np.array(terminal))


def _table(kind: type[T], path: Path, index: dict[str, int]) -> T:
    frame = _read(path)
    data: dict[str, Array] = {}
    known: set[str] = set()
    for col in kind.columns():
        template = np.zeros((0, *col.shape), dtype=complex if col.dtype is complex else float)
        headers = [col.name + suffix for suffix, _ in _parts(template, col)]
        known |= set(headers)
        missing = [h for h in headers if h not in frame.columns]
        if len(missing) == len(headers) and col.default is not REQUIRED:
            continue
        if missing:
            raise TablesError(f"{path}: column {', '.join(missing[:4])} is missing")
        flat = [_values(frame[h], col, path, index) for h in headers]
        if col.dtype is complex:
            flat = [re + 1j * im for re, im in zip(flat[::2], flat[1::2], strict=True)]
        data[col.name] = np.stack(flat, axis=1).reshape(len(frame), *col.shape) if col.shape else flat[0]
    if unknown := [h for h in frame.columns if h not in known]:
        raise TablesError(f"{path}: unknown column {', '.join(unknown[:4])}")
    try:
        return kind(**data)
    except (TypeError, ValueError) as exc:
        raise TablesError(f"{path}: {exc}") from exc


def _values(text: pd.Series, col: Column, path: Path, index: dict[str, int]) -> Array:
    """One flat column of text as what its declaration says."""
    if col.check == "node" and index:
        return np.array([_look_up(index, t, path, col, k) for k, t in enumerate(text)], dtype=int)
    if col.dtype is str:
        return text.to_numpy(dtype=object)
    if col.dtype is bool:
        read = {"True": True, "true": True, "1": True, "False": False, "false": False, "0": False}
        return np.array([_look_up(read, t, path, col, k) for k, t in enumerate(text)], dtype=bool)
    values = pd.to_numeric(text.replace("", "nan"), errors="coerce").to_numpy(dtype=float)
    wrong = np.isnan(values) & ~text.str.lower().isin(["", "nan"]).to_numpy()
    if wrong.any():
        k = int(np.flatnonzero(wrong)[0])
        raise TablesError(f"{path}: row {k + 1}, column {text.name}: {text.iloc[k]!r} is not a number")
    if col.dtype is int and np.isfinite(values).all():
        return values.astype(int)
    return values


def _look_up(known: dict[str, int] | dict[str, bool], text: str, path: Path, col: Column, row: int) -> int:
    if text not in known:
        what = "node in nodes.csv" if col.check == "node" else "true or false"
        raise TablesError(f"{path}: row {row + 1}, column {col.name}: {text!r} is no {what}")
    return known[text]
