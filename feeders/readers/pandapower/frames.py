"""The tables of a pandapower file: data frames as lists of elements, without pandapower and pandas."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from feeders.draft import Draft
from feeders.readers.element import Element
from feeders.readers.errors import FormatError
from feeders.readers.result import Audit
from feeders.table import EARTH

ELSEWHERE = ("res_", "_")
"""Beginnings of names of results and of pandapower's own notes."""


def frames(document: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Rows by table; each holds its columns that are not empty, and `index`.

    Raises  FormatError  a table is no data frame in split orientation
    """
    net = document.get("_object")
    if not isinstance(net, dict):
        raise FormatError("`_object` is missing: this is no network that pandapower wrote")
    found = {}
    for name, entry in net.items():
        if name.startswith(ELSEWHERE) or not isinstance(entry, dict) or entry.get("_class") != "DataFrame":
            continue
        found[name] = _rows(name, entry)
    return found


def _rows(name: str, entry: dict[str, Any]) -> list[dict[str, Any]]:
    if entry.get("orient", "split") != "split":
        raise FormatError(f"{name}: data frames in {entry['orient']!r} orientation are not read")
    body: Any = entry.get("_object")
    try:
        parts: Any = json.loads(body) if isinstance(body, str) else body
        columns, index, data = parts["columns"], parts["index"], parts["data"]
        if len(index) != len(data) or any(len(row) != len(columns) for row in data):
            raise FormatError(f"{name}: rows, columns and index differ in length")
        rows = [
            dict(zip(columns, row, strict=True)) | {"index": k} for k, row in zip(index, data, strict=True)
        ]
    except FormatError:
        raise
    except (ValueError, TypeError, KeyError, RecursionError) as exc:
        raise FormatError(f"{name}: no data frame with columns, index and data: {exc}") from exc
    return [{str(key): value for key, value in row.items() if value is not None} for row in rows]


@dataclass
class Net:
    """The network while it is read: tables, buses, the feeder in the making and the audit."""

    tables: dict[str, list[dict[str, Any]]]
    draft: Draft
    zero_sequence: float | str
    source: str
    audit: Audit = field(default_factory=Audit)
    bus: dict[int, str] = field(default_factory=dict)
    vn_kv: dict[int, float] = field(default_factory=dict)
    noted: dict[str, list[str]] = field(default_factory=dict)
    star_points: dict[int, int] = field(default_factory=dict)
    names: dict[str, set[str]] = field(default_factory=dict)
    made: list[Element] = field(default_factory=list)

    def elements(self, table: str) -> list[Element]:
        """Elements of a table in service, named; those out of service are noted.

        Raises  FormatError  an index that is there twice
        """
        found, seen = [], set()
        for row in self.tables.get(table, []):
            index = row["index"]
            if not isinstance(index, int) or isinstance(index, bool):
                raise FormatError(f"{table}: index {index!r} is no whole number")
            if index in seen:
                raise FormatError(f"{table} {index}: the index is there twice")
            seen.add(index)
            element = Element(table, str(index), row)
            element.used |= {"index", "name"}
            self.made.append(element)
            if element.get("in_service", bool, True):
                found.append(element)
            else:
                self.note(f"{table}: out of service, left out", element)
        return found

    def name(self, element: Element, kind: str) -> str:
        """A name that is unique among `kind`: the element's own, or its table and index."""
        own = element.fields.get("name")
        taken = self.names.setdefault(kind, set())
        plain = f"{element.kind}{element.name}"
        name = own if isinstance(own, str) and own and own not in taken else plain
        while name in taken:
            name += "'"
        taken.add(name)
        return name

    def note(self, what: str, element: Element) -> None:
        """Remember an element for the audit."""
        self.noted.setdefault(what, []).append(element.name)

    def bus_of(self, element: Element, key: str = "bus") -> int:
        """Index of the bus an element names.

        Raises  FormatError  there is none
        """
        index = int(element.get(key, int))
        if index not in self.vn_kv:
            raise element.wrong(f"`{key}`: there is no bus {index}")
        return index

    def note_unread(self) -> None:
        """Columns with values that nothing asked for, table by table."""
        used: dict[str, set[str]] = {}
        there: dict[str, set[str]] = {}
        for element in self.made:
            used.setdefault(element.kind, set()).update(element.used)
            there.setdefault(element.kind, set()).update(element.fields)
        for table, columns in there.items():
            self.audit.note(table, "", sorted(columns - used[table]), "columns not read")

    def live(self, element: Element, *keys: str) -> bool:
        """Whether all its buses are supplied; notes it when not."""
        supplied = all(self.bus_of(element, key) in self.bus for key in keys or ("bus",))
        if not supplied:
            self.note(f"{element.kind}: at a bus without supply, left out", element)
        return supplied

    def phases(self, bus: int) -> list[int]:
        """Nodes of the three phases of a bus."""
        return [self.draft.node(self.bus[bus], k) for k in (1, 2, 3)]

    def star_point(self, bus: int) -> int:
        """A new node for a star point at a bus: terminals from 4 on."""
        self.star_points[bus] = self.star_points.get(bus, 3) + 1
        return self.draft.node(self.bus[bus], self.star_points[bus])

    def zero(self, element: Element, zero_key: str, key: str) -> float:
        """A zero-sequence figure, or, when it is missing, what the caller chose.

        Raises  FormatError  it is missing and the choice is `error`
        """
        if zero_key in element.fields:
            return element.number(zero_key)
        if self.zero_sequence == "error":
            hint = "choose zero_sequence: equal, or a factor on the positive sequence"
            raise element.wrong(f"`{zero_key}` is missing; {hint}")
        factor = 1.0 if self.zero_sequence == "equal" else float(self.zero_sequence)
        self.note(f"{element.kind}.{zero_key}: missing, {factor:g} x `{key}`", element)
        return factor * element.number(key, 0.0)


def to_earth(nodes: list[int]) -> list[list[int]]:
    """Pairs of a wye against earth."""
    return [[node, EARTH] for node in nodes]


def around(nodes: list[int]) -> list[list[int]]:
    """Pairs of a delta: a-b, b-c, c-a."""
    return [[nodes[k], nodes[(k + 1) % 3]] for k in range(3)]
