"""`Case`: what the engine said about one circuit, and the draft being made of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from math import nan, sqrt
from typing import Any

from feeders.draft import Draft
from feeders.issues import Issue
from feeders.readers.errors import EngineError, UnsupportedError
from feeders.table import EARTH

Row = dict[str, Any]


def real(value: Any) -> float:
    """A number of the engine's; it writes null for one that is none."""
    return nan if value is None else float(value)


@dataclass
class Case:
    """Engine data on one side, draft and audit on the other.

    data    what `child.circuit` returned
    draft   the feeder in the making
    audit   what the reader decided, dropped or could not know
    """

    data: dict[str, Any]
    draft: Draft
    audit: list[Issue] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.frequency_hz = float(self.data["frequency_hz"])
        self._given = {kind: {row["Name"]: row for row in rows} for kind, rows in self.data["given"].items()}
        for name, element in self.data["elements"].items():
            for bus, _ in element["terminals"]:
                if bus not in self.data["buses"]:
                    raise EngineError(f"{name.lower()}: there is no bus {bus!r}; is its name a single word?")
        self._base = voltage_bases(self)
        self._made: set[str] = set()

    def rows(self, kind: str) -> list[Row]:
        """Enabled elements of a class that have a law here, all properties."""
        fixed = self.data["fixed"]
        return [row for row in self.data["classes"][kind] if f"{kind}.{row['Name']}" not in fixed]

    def off(self, kind: str) -> list[str]:
        """Open elements of a class that the engine can only solve without."""
        names = (name.split(".", 1) for name in self.data["off"])
        return [name for k, name in names if k == kind]

    def switched_off(self, kind: str, row: Row) -> bool:
        """Whether every phase of a one-terminal element is open.

        Raises  UnsupportedError  only some are
        """
        n_open = len(self.element(kind, row["Name"])["open"])
        if 0 < n_open < int(row["Phases"]):
            raise UnsupportedError(f"{kind.lower()}.{row['Name']}: some of its conductors are open")
        return bool(n_open)

    def given(self, kind: str, name: str) -> Row:
        """The properties that the text gives an element, in the order in which they were set last."""
        found: Row = self._given[kind].get(name, {})
        return found

    def element(self, kind: str, name: str) -> Row:
        """Terminals, open conductors and power of an element."""
        found: Row = self.data["elements"][f"{kind}.{name}"]
        return found

    def buses(self, kind: str, name: str) -> list[str]:
        """Bus of each terminal."""
        return [bus for bus, _ in self.element(kind, name)["terminals"]]

    def nodes(self, kind: str, name: str, terminal: int) -> list[int]:
        """Node indices of a terminal's conductors, 0 for earth."""
        bus, numbers = self.element(kind, name)["terminals"][terminal]
        return [self.node(bus, number) for number in numbers]

    def node(self, bus: str, number: int) -> int:
        """Index of a conductor of a bus, made when first asked for."""
        if number == 0:
            return EARTH
        if bus not in self._made:
            self._made.add(bus)
            _, x, y = self.data["buses"][bus]
            place = {} if x is None else {"x": x, "y": y}
            self.draft.add_bus(bus, v_base_kv=self._base[bus], **place)
        return self.draft.node(bus, number)

    def loose_node(self, bus: str, name: str, number: int) -> int:
        """A conductor of its own for the open end of an element."""
        if name not in self._made:
            self._made.add(name)
            self.draft.add_bus(name, v_base_kv=self._base[bus])
        return self.draft.node(name, number)

    def v_volt(self, bus: str, number: int) -> complex:
        """The engine's voltage of a conductor, volt; 0 for earth."""
        return complex(*self.data["v_volt"].get(f"{bus}.{number}", (0.0, 0.0)))

    def note(self, table: str, column: str, name: str, message: str) -> None:
        """Add one line to the audit."""
        self.audit.append(Issue("audit", table, column, name, message))

    def note_all(self, table: str, column: str, names: list[str], message: str) -> None:
        """Add one line about several elements to the audit, if there are any."""
        if names:
            shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
            self.note(table, column, shown, f"{len(names)}: {message}")

    @property
    def unused_buses(self) -> list[str]:
        """Buses that nothing with a law is connected to."""
        return [bus for bus in self.data["buses"] if bus not in self._made]


def voltage_bases(case: Case) -> dict[str, float]:
    """Phase-to-earth voltage base of every bus, kV, the same wherever conductors join buses.

    The engine's own base where it has one, else that of the source or winding at the bus, else the
    solved voltage; of several bases on one stretch of conductors, the most frequent.
    """
    group = _joined(case)
    votes: dict[str, Counter[float]] = {}
    for bus, (kv, _, _) in case.data["buses"].items():
        if kv:
            votes.setdefault(group[bus], Counter())[kv] += 1
    estimates: dict[str, float] = {}
    for kind, levels in (("Vsource", "BasekV"), ("Transformer", "kV")):
        for row in case.data["classes"][kind]:
            kvs = row[levels] if isinstance(row[levels], list) else [row[levels]]
            single = int(row["Phases"]) == 1
            for bus, kv in zip(case.buses(kind, row["Name"]), kvs, strict=False):
                estimates.setdefault(group[bus], kv if single else kv / sqrt(3))
    found, guessed = {}, []
    for bus in case.data["buses"]:
        known = votes.get(group[bus])
        if known is None:
            guessed.append(bus)
        solved = max((abs(case.v_volt(bus, k)) for k in (1, 2, 3)), default=0.0) / 1e3
        estimate = estimates.get(group[bus]) or solved or 1.0
        found[bus] = known.most_common(1)[0][0] if known else estimate
    case.note_all("Buses", "v_base_kv", guessed, "no voltage base given; that of a source or winding")
    apart = [bus for bus, (kv, _, _) in case.data["buses"].items() if kv and abs(kv - found[bus]) > 1e-9 * kv]
    case.note_all("Buses", "v_base_kv", apart, "voltage base replaced by that of the conductors they join")
    return found


def _joined(case: Case) -> dict[str, str]:
    """A name of the group for every bus; lines and series elements join buses."""
    parent = {bus: bus for bus in case.data["buses"]}

    def root(bus: str) -> str:
        while parent[bus] != bus:
            parent[bus] = parent[parent[bus]]
            bus = parent[bus]
        return bus

    for name, element in case.data["elements"].items():
        if name.split(".", 1)[0] in ("Line", "Reactor", "Capacitor") and len(element["terminals"]) == 2:
            a, b = (bus for bus, _ in element["terminals"])
            parent[root(a)] = root(b)
    return {bus: root(bus) for bus in parent}
