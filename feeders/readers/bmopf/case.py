"""The document as elements with typed fields, and buses with their terminals as our nodes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from feeders.feeder import Buses
from feeders.readers.element import Element, shown
from feeders.readers.errors import FormatError, UnsupportedError
from feeders.readers.result import Audit
from feeders.readers.rows import Rows

EARTH = "0"
IMPLICIT = ("g", EARTH)
"""Earth may be named without being a terminal: `g` by the specification, `0` as other programs write it."""
USUAL = {"a": 1, "b": 2, "c": 3, "L1": 1, "L2": 2, "L3": 3, "n": 4}
LARGEST_TERMINAL = 10**6
NEVER_READ = ("time_series", "cost", "energy_cost_rate")
"""Fields of any element that change no power flow of one moment."""


class Case:
    """The document while it is read: its tables as elements, its terminals as nodes, and the audit."""

    def __init__(self, document: dict[str, Any], rows: Rows) -> None:
        self.document, self.rows, self.audit = document, rows, Audit()
        self.dropped: dict[str, list[str]] = {}
        self.earthed: dict[str, set[str]] = {}
        self.terminals: dict[str, list[str]] = {}
        self.number: dict[str, int] = {}
        self.later: list[Callable[[], None]] = []

    def base_v(self, bus: str) -> float:
        """Phase-to-earth voltage base of a bus, volt, once it is known."""
        return float(self.rows[Buses][bus]["v_base_kv"]) * 1e3

    def elements(self, kind: str, table: Any = None) -> Iterator[Element]:
        """Entries of a table of the document, in order.

        Raises  FormatError  the table or an entry is no object
        """
        found = self.document.get(kind, {}) if table is None else table
        if not isinstance(found, dict):
            raise FormatError(f"{kind}: {shown(found)}, expected an object of elements")
        for name, fields in found.items():
            if not isinstance(fields, dict):
                raise FormatError(f"{kind} {name!r}: {shown(fields)}, expected an object")
            yield Element(kind, str(name), fields)

    def finish(self, element: Element, *ignored: str) -> None:
        """See `Element.finish`; what is not carried is listed at the end."""
        element.finish(self.dropped, *ignored, *NEVER_READ)

    def bus(self, element: Element, key: str = "bus") -> str:
        """The bus an element names.

        Raises  FormatError  there is none of that name
        """
        name = str(element.get(key, str))
        if name not in self.terminals:
            raise element.wrong(f"`{key}`: there is no bus {name!r}")
        return name

    def nodes(self, element: Element, bus_key: str = "bus", map_key: str = "terminal_map") -> list[str]:
        """Our nodes of an element's terminal map; perfectly earthed terminals are earth."""
        bus = self.bus(element, bus_key)
        words = element.words(map_key)
        if not words:
            raise element.wrong(f"`{map_key}` is empty")
        return [self._node(element, bus, word, map_key) for word in words]

    def _node(self, element: Element, bus: str, terminal: str, key: str) -> str:
        if terminal in self.earthed[bus]:
            return EARTH
        if terminal in self.terminals[bus]:
            return f"{bus}.{self.number[terminal]}"
        if terminal in IMPLICIT:
            self.dropped.setdefault(f"{element.kind} at earth, not a terminal of its bus", []).append(
                element.name
            )
            return EARTH
        have = ", ".join(self.terminals[bus])
        raise element.wrong(f"`{key}`: bus {bus!r} has no terminal {terminal!r}; it has {have}")

    def pair(self, element: Element, nodes: list[str]) -> list[str] | None:
        """Two nodes, or nothing, noted, when they are the same one."""
        if nodes[0] != nodes[1]:
            return nodes
        self.dropped.setdefault(f"{element.kind} between a node and itself", []).append(element.name)
        return None

    def count_terminals(self, conventions: Element) -> None:
        """Give every terminal name of the case a number: its own, its role's, or a free one above 4."""
        places = [(bus, name) for bus, names in self.terminals.items() for name in names]
        names = list(dict.fromkeys(name for bus, name in places if name not in self.earthed[bus]))
        roles = {role: conventions.words(role, []) for role in ("phase", "neutral", "earth")}
        self.finish(conventions)
        wanted = {name: int(name) for name in names if _is_number(name)}
        for k, name in enumerate(roles["phase"], 1):
            wanted.setdefault(name, k)
        for name in roles["neutral"][:1]:
            wanted.setdefault(name, 4)
        for name in names:
            wanted.setdefault(name, USUAL.get(name, USUAL.get(name.lower(), 0)))
        taken: set[int] = set()
        for name in sorted(names, key=lambda name: not _is_number(name)):
            number = wanted[name]
            if number == 0 or number in taken:
                number = next(k for k in range(5, len(names) + 6 + len(taken)) if k not in taken)
            taken.add(number)
            self.number[name] = number
        renamed = [f"{name} = {k}" for name, k in self.number.items() if name != str(k)]
        self.audit.note("Nodes", "terminal", renamed, "terminals by name, read as numbers")


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdigit() and name[0] != "0" and int(name) < LARGEST_TERMINAL


def two(element: Element, nodes: list[str], key: str = "terminal_map") -> list[str]:
    """Exactly two nodes.

    Raises  FormatError  there are more or fewer
    """
    if len(nodes) != 2:
        raise element.wrong(f"`{key}` has {len(nodes)} terminals, expected 2")
    return nodes


def padded(nodes: list[str], width: int) -> list[str]:
    """Nodes with absent ones behind, to a width."""
    return nodes + [""] * (width - len(nodes))


def too_wide(element: Element, count: int, most: int) -> UnsupportedError:
    """An element with more conductors than a table here has columns."""
    return UnsupportedError(f"{element.kind} {element.name!r}: {count} conductors, at most {most} fit here")
