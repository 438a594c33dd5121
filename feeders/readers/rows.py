"""A feeder as rows with names instead of numbers, and the difference between two of them.

    Rows[Lines]["feeder 1"]["from_node"] = ["source.1", "source.2", "", ""]

Nodes are `bus.terminal`, `0` earth, `` absent; transformers go by name. Rows have keys of their own: the
name, or `transformer/winding`, `prosumer/1`, `element/to/of`. A reader collects rows, `feeder` freezes them;
`difference` is what turns one set of rows into another, as JSON.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from feeders.draft import Draft
from feeders.elements import (
    Admittances,
    Capacitors,
    Connections,
    Generators,
    Lines,
    Loads,
    Reactors,
    Regulators,
    Sources,
    Switches,
    Transformers,
    WindingPairs,
    Windings,
)
from feeders.feeder import Buses, Feeder
from feeders.readers.element import LARGEST
from feeders.readers.errors import FormatError
from feeders.table import ABSENT, REQUIRED, Column, Table

Row = dict[str, Any]
KINDS: tuple[type[Table], ...] = (
    Buses,
    Sources,
    Lines,
    Switches,
    Transformers,
    Windings,
    WindingPairs,
    Regulators,
    Capacitors,
    Reactors,
    Admittances,
    Loads,
    Generators,
    Connections,
)
BY_NAME = {kind.__name__: kind for kind in KINDS}
LARGEST_INT = 2**31
SAME_RTOL = 1e-13
"""Numbers closer than this differ by the rounding of unit conversions only."""
KEYS: dict[type[Table], tuple[str, ...]] = {
    Windings: ("transformer", "winding"),
    WindingPairs: ("transformer", "winding_a", "winding_b"),
    Connections: ("prosumer",),
    Admittances: ("element", "to_node", "of_node"),
}


@dataclass
class Rows:
    """Rows by table and key, in order, and the nodes `bus.terminal` in order."""

    name: str
    frequency_hz: float
    origin: str = ""
    nodes: list[str] = field(default_factory=list)
    tables: dict[type[Table], dict[str, Row]] = field(default_factory=lambda: {kind: {} for kind in KINDS})

    def __getitem__(self, kind: type[Table]) -> dict[str, Row]:
        return self.tables[kind]

    def add(self, kind: type[Table], **row: Any) -> None:
        """Add a row under its own key; a key that is taken gets a number."""
        key = "/".join(str(row[part]) for part in KEYS.get(kind, ("name",)))
        if kind is Connections or key in self.tables[kind]:
            count = 1
            while f"{key}/{count}" in self.tables[kind]:
                count += 1
            key = f"{key}/{count}"
        self.tables[kind][key] = row

    def feeder(self) -> Feeder:
        """Frozen tables.

        Raises  FormatError  a row names a bus or transformer that is not there, or does not fit its table
        """
        draft = Draft(self.name, frequency_hz=self.frequency_hz, origin=self.origin)
        number = {name: k for k, name in enumerate(self[Transformers])}
        try:
            for row in self[Buses].values():
                draft.add_bus(**row)
            for node in self.nodes:
                draft.node(*_place(node))
            for kind, rows in self.tables.items():
                for key, row in rows.items() if kind is not Buses else ():
                    draft.add(kind, **{c: _indexed(draft, number, kind, c, v, key) for c, v in row.items()})
            return draft.finish()
        except (KeyError, ValueError, TypeError) as exc:
            raise FormatError(str(exc.args[0] if exc.args else exc)) from exc


def rows_of(feeder: Feeder) -> Rows:
    """A feeder's tables as rows."""
    found = Rows(feeder.name, feeder.frequency_hz, feeder.origin, [str(n) for n in feeder.node_names[1:]])
    names = np.append(feeder.node_names, "")  # the last one is index -1, absent
    for kind in KINDS:
        table: Table = feeder.buses if kind is Buses else feeder[kind]
        data = {}
        for col in kind.columns():
            value = getattr(table, col.name)
            if col.check == "node":
                value = names[value]
            elif col.name == "transformer" and kind in (Windings, WindingPairs, Regulators):
                value = feeder[Transformers].name[value]
            data[col.name] = value
        for k in range(len(table)):
            found.add(kind, **{name: _plain(value[k]) for name, value in data.items()})
    return found


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


def _place(node: str) -> tuple[str, int]:
    bus, _, terminal = node.rpartition(".")
    if not terminal.isdigit():
        raise ValueError(f"{node!r} is no node: bus.terminal, 0 for earth")
    return bus, int(terminal)


def _indexed(
    draft: Draft, number: Mapping[str, int], kind: type[Table], column: str, value: Any, key: str
) -> Any:
    if column == "transformer" and kind in (Windings, WindingPairs, Regulators):
        if value not in number:
            raise ValueError(f"{kind.__name__} {key}: there is no transformer {value!r}")
        return number[value]
    if not any(col.name == column and col.check == "node" for col in kind.columns()):
        return value
    try:
        return _node_index(draft, value)
    except (KeyError, ValueError) as exc:
        raise ValueError(f"{kind.__name__} {key}: {exc.args[0]}") from exc


def _node_index(draft: Draft, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_node_index(draft, v) for v in value]
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no node name")
    return ABSENT if value == "" else draft.node(*_place(value))


# The difference ---------------------------------------------------------------------------------


def difference(have: Rows, want: Rows) -> dict[str, Any]:
    """What makes `want` of `have`, as JSON: per table `drop`, `set`, `add` and `order`."""
    patch: dict[str, Any] = {}
    for kind in KINDS:
        old, new = have[kind], want[kind]
        part: dict[str, Any] = {
            "drop": [key for key in old if key not in new],
            "set": {key: diff for key in old if key in new and (diff := _changes(kind, old[key], new[key]))},
            "add": {key: _full(kind, row) for key, row in new.items() if key not in old},
        }
        order = [key for key in old if key in new] + list(part["add"])
        if order != list(new):
            part["order"] = list(new)
        if part := {word: value for word, value in part.items() if value}:
            patch[kind.__name__] = part
    return patch


def _changes(kind: type[Table], old: Row, new: Row) -> Row:
    return {
        col.name: _encoded(_value(new, col))
        for col in kind.columns()
        if not same(_value(old, col), _value(new, col))
    }


def _full(kind: type[Table], row: Row) -> Row:
    values = {col.name: (_value(row, col), col) for col in kind.columns()}
    return {
        name: _encoded(value)
        for name, (value, col) in values.items()
        if col.default is REQUIRED or not same(value, np.full(col.shape, col.default)[()])
    }


def _value(row: Row, col: Column) -> Any:
    return row[col.name] if col.name in row else np.full(col.shape, col.default)[()]


def same(a: Any, b: Any) -> bool:
    """Equal, up to rounding over the largest entry; NaN equals NaN."""
    x, y = np.asarray(a), np.asarray(b)
    if x.shape != y.shape:
        return False
    if x.dtype.kind not in "iufc" or y.dtype.kind not in "iufc":
        return bool((x == y).all())
    equal = (x == y) | (np.isnan(x) & np.isnan(y))
    finite = np.isfinite(x) & np.isfinite(y)
    size = max(np.abs(x[finite]).max(initial=0.0), np.abs(y[finite]).max(initial=0.0))
    near = finite & (np.abs(np.where(finite, x, 0) - np.where(finite, y, 0)) <= SAME_RTOL * size)
    return bool((equal | near).all())


def _encoded(value: Any) -> Any:
    """JSON of a value: complex as {re, im}, NaN as null, infinity as text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_encoded(v) for v in value]
    if isinstance(value, complex):
        return {"re": _encoded(value.real), "im": _encoded(value.imag)}
    if isinstance(value, float) and not np.isfinite(value):
        return None if np.isnan(value) else ("inf" if value > 0 else "-inf")
    return value


def applied(rows: Rows, patch: Mapping[str, Any]) -> Rows:
    """Rows after a difference; `rows` itself changes.

    Raises  FormatError  the difference is not of this form, or does not fit these rows
    """
    for name, part in patch.items():
        if name not in BY_NAME or not isinstance(part, dict):
            raise FormatError(f"{name!r} is no table; known: {', '.join(BY_NAME)}")
        if unknown := set(part) - {"drop", "set", "add", "order"}:
            raise FormatError(f"{name}: unknown key {', '.join(sorted(unknown))}")
        _apply(BY_NAME[name], rows, part)
    return rows


def _apply(kind: type[Table], rows: Rows, part: Mapping[str, Any]) -> None:
    table, label = rows[kind], kind.__name__
    for key in _of(list, part.get("drop", []), f"{label}.drop"):
        if not isinstance(key, str) or table.pop(key, None) is None:
            raise FormatError(f"{label}: there is no {key!r} to drop")
        if kind is Buses:
            rows.nodes = [node for node in rows.nodes if node.rpartition(".")[0] != key]
    for key, changes in _of(dict, part.get("set", {}), f"{label}.set").items():
        if key not in table:
            raise FormatError(f"{label}: there is no {key!r} to change")
        table[key] = {**table[key], **_decoded_row(kind, key, changes)}
    for key, row in _of(dict, part.get("add", {}), f"{label}.add").items():
        if key in table:
            raise FormatError(f"{label}: {key!r} is there already")
        table[key] = _decoded_row(kind, key, row)
    order = _of(list, part.get("order", list(table)), f"{label}.order")
    if Counter(map(str, order)) != Counter(list(table)):
        raise FormatError(f"{label}.order: not the names that are there")
    rows.tables[kind] = {key: table[key] for key in order}


def _of(kind: type, value: Any, place: str) -> Any:
    if not isinstance(value, kind):
        raise FormatError(f"{place}: {type(value).__name__}, expected {kind.__name__}")
    return value


def _decoded_row(kind: type[Table], key: str, row: Any) -> Row:
    known = {col.name: col for col in kind.columns()}
    found = {}
    for name, value in _of(dict, row, f"{kind.__name__} {key}").items():
        if name not in known:
            raise FormatError(f"{kind.__name__} {key}: unknown column {name!r}")
        found[name] = _decoded(value, known[name], f"{kind.__name__} {key}, {name}")
    return found


def _decoded(value: Any, col: Column, place: str) -> Any:
    if isinstance(value, list):
        return [_decoded(v, col, place) for v in value]
    if col.dtype is str or col.check == "node" or col.name == "transformer":
        return _typed(value, str, place)
    if col.dtype is complex:
        if not isinstance(value, dict) or set(value) != {"re", "im"}:
            raise FormatError(f"{place}: {value!r} is no complex number {{re, im}}")
        return complex(_number(value["re"], place), _number(value["im"], place))
    if col.dtype is float:
        return _number(value, place)
    return _typed(value, col.dtype, place)


def _typed(value: Any, dtype: type, place: str) -> Any:
    if not isinstance(value, dtype) or (dtype is int and isinstance(value, bool)):
        raise FormatError(f"{place}: {value!r} is not {dtype.__name__}")
    if isinstance(value, int) and abs(value) > LARGEST_INT:
        raise FormatError(f"{place}: {value!r} is not {dtype.__name__}")
    return value


def _number(value: Any, place: str) -> float:
    if value is None or value in ("inf", "-inf"):
        return float("nan") if value is None else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise FormatError(f"{place}: {value!r} is not a number")
    if abs(value) > LARGEST:
        raise FormatError(f"{place}: too large a number")
    return float(value)


def buses_of(nodes: Iterable[str]) -> list[str]:
    """The buses of some nodes, in order, earth and absent ones left out."""
    return list(dict.fromkeys(node.rpartition(".")[0] for node in nodes if node not in ("", "0")))
