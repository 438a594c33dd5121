"""Writing: everything the schema can say in its own fields, the rest as a difference in `extras`."""

from __future__ import annotations

import json
from math import pi
from pathlib import Path
from typing import Any

import numpy as np

from feeders.elements import (
    Admittances,
    Capacitors,
    Connections,
    Generators,
    Lines,
    Loads,
    Reactors,
    Sources,
    Switches,
)
from feeders.feeder import Buses, Feeder
from feeders.issues import Issue
from feeders.readers.bmopf.read import EXTENSION, EXTENSION_VERSION, digest, plain
from feeders.readers.bmopf.transformers_out import write_transformers
from feeders.readers.errors import UnsupportedError
from feeders.readers.result import Audit
from feeders.readers.rows import Row, Rows, buses_of, difference, rows_of
from feeders.table import Array

SCHEMA = (
    "https://raw.githubusercontent.com/distribution-system-opt/dsopt-schema/main/"
    "schema/bmopf/0.2.0/bmopf.schema.json"
)
EARTH_TERMINAL = "0"
FREE = {"energy_cost_rate": [0.0]}
"""The schema wants a price of every generator; a feeder has none."""
MODELS = {
    "constant_power": "CONSTANT_POWER",
    "constant_current": "CONSTANT_CURRENT",
    "constant_impedance": "CONSTANT_IMPEDANCE",
    "zip": "ZIP",
    "cvr": "EXPONENTIAL",
    "fixed_q": "CONSTANT_POWER",
    "fixed_x": "ZIP",
}


class Writer:
    """The document while it is written; `places` finds the terminals of nodes."""

    def __init__(self, rows: Rows) -> None:
        self.rows, self.audit = rows, Audit()
        self.lost: list[str] = []
        self.tables: dict[str, dict[str, Any]] = {name: {} for name in ("bus", "voltage_source", "line")}
        self.terminals: dict[str, list[str]] = {name: [] for name in rows[Buses]}
        for node in rows.nodes:
            bus, _, terminal = node.rpartition(".")
            self.terminals[bus].append(terminal)

    def put(self, table: str, name: str, **fields: Any) -> None:
        """Add an entry; a name that is taken is refused."""
        entries = self.tables.setdefault(table, {})
        if name in entries:
            raise UnsupportedError(
                f"{table} {name!r}: two elements of this name; the format has no room for it"
            )
        entries[name] = fields

    def put_transformer(self, subtype: str, name: str, **fields: Any) -> None:
        """Add a transformer to its subtype."""
        self.tables.setdefault("transformer", {}).setdefault(subtype, {})[name] = fields

    def place(self, nodes: list[str], bus: str = "") -> tuple[str, list[str]] | None:
        """The bus and terminals of nodes; nothing if they are at several buses.

        bus  where earth is meant, when all nodes are earth
        """
        found = buses_of(nodes) or [bus]
        if len(found) > 1 or not found[0]:
            return None
        if "0" in nodes and EARTH_TERMINAL not in self.terminals[found[0]]:
            self.terminals[found[0]].append(EARTH_TERMINAL)
        return found[0], [n.rpartition(".")[2] if n != "0" else EARTH_TERMINAL for n in nodes]

    def at(self, nodes: list[str], bus: str = "") -> dict[str, Any] | None:
        """`bus` and `terminal_map` of nodes."""
        found = self.place(nodes, bus)
        return None if found is None else {"bus": found[0], "terminal_map": found[1]}

    def inner_bus(self, name: str, count: int) -> list[str]:
        """A bus of the document's own, its nodes."""
        while name in self.terminals:
            name += "'"
        self.terminals[name] = [str(k + 1) for k in range(count)]
        return [f"{name}.{k + 1}" for k in range(count)]

    def line(self, name: str, ends: tuple[list[str], list[str]], z: Array, y: Array, **more: Any) -> bool:
        """A line with matrices of its own; y at each end, siemens. False if an end is at several buses."""
        both = buses_of([*ends[0], *ends[1]])
        places = [self.place(end, both[0] if both else "") for end in ends]
        if places[0] is None or places[1] is None:
            return False
        fields: dict[str, Any] = {
            "bus_from": places[0][0],
            "bus_to": places[1][0],
            "terminal_map_from": places[0][1],
            "terminal_map_to": places[1][1],
        }
        fields |= matrix("R_series", z.real, whole=True) | matrix("X_series", z.imag, whole=True)
        if y.any():
            fields |= matrix("B_from", y.imag) | matrix("B_to", y.imag)
        self.put("line", name, **fields, **more)
        return True


def matrix(prefix: str, values: Array, *, whole: bool = False) -> dict[str, float]:
    """`prefix_i_j` for every entry; without `whole` only when there is one that is not zero."""
    if not whole and not values.any():
        return {}
    return {f"{prefix}_{i + 1}_{j + 1}": float(values[i, j]) for i, j in np.ndindex(*values.shape)}


def write(feeder: Feeder, path: Path) -> list[Issue]:
    """Write a feeder as a BMOPF JSON case, schema 0.2.0, and our extension in `extras`.

    Returns  the audit: what the schema has no fields for
    Raises   FileExistsError   the file is there already
             UnsupportedError  an element between several buses, named
    """
    document, audit = document_of(feeder)
    with path.open("x", encoding="utf-8") as file:
        json.dump(document, file, indent=1, allow_nan=False)
        file.write("\n")
    return audit


def document_of(feeder: Feeder) -> tuple[dict[str, Any], list[Issue]]:
    """The document of a feeder and the audit; see `write`."""
    want = rows_of(feeder)
    writer = Writer(want)
    for step in (
        write_sources,
        write_lines,
        write_switches,
        write_transformers,
        write_capacitors,
        write_reactors,
        write_admittances,
        write_loads,
        write_generators,
        write_connections,
    ):
        step(writer)
    if writer.lost:
        raise UnsupportedError(
            f"between several buses, which the format cannot say: {', '.join(writer.lost)}"
        )
    document = _document(writer)
    have = plain(document, feeder.name).rows
    patch = difference(have, want)
    document["extras"] = {
        EXTENSION: {
            "version": EXTENSION_VERSION,
            "origin": feeder.origin,
            "sha256": digest(document),
            "tables": patch,
        }
    }
    _note(writer.audit, patch, have)
    return document, writer.audit


def _document(writer: Writer) -> dict[str, Any]:
    for name, terminals in writer.terminals.items():
        earthed = [EARTH_TERMINAL] if EARTH_TERMINAL in terminals else []
        fields = {"terminal_names": terminals} | (
            {"perfectly_grounded_terminals": earthed} if earthed else {}
        )
        writer.put("bus", name, **fields)
    used = {t for terminals in writer.terminals.values() for t in terminals}
    roles = {
        "phase": sorted(used - {"4", EARTH_TERMINAL}),
        "neutral": [t for t in ("4", EARTH_TERMINAL) if t in used],
    }
    meta = {"$schema": SCHEMA, "schema_version": "0.2.0", "frequency": writer.rows.frequency_hz}
    return {
        "name": writer.rows.name,
        "meta": meta | {"case_study_generator": {"tool": "anoca"}},
        "terminal_conventions": roles,
        **{table: entries for table, entries in writer.tables.items() if entries},
    }


def _note(audit: Audit, patch: dict[str, Any], have: Rows) -> None:
    """What another program will not see, table by table."""
    for name, part in patch.items():
        columns: dict[str, list[str]] = {}
        for key, changes in part.get("set", {}).items():
            for column in changes:
                columns.setdefault(column, []).append(key)
        for column, keys in columns.items():
            audit.note(
                name, column, keys, f"{len(keys)} in extras.{EXTENSION}: the schema has no field for it"
            )
        added = list(part.get("add", {}))
        message = (
            f"{len(added)} whole rows in extras.{EXTENSION}; the schema says them otherwise or not at all"
        )
        audit.note(name, "", added, message)


def write_sources(writer: Writer) -> None:
    """Thevenin sources: an ideal one at a bus of its own, and a line that holds the impedance."""
    for key, row in writer.rows[Sources].items():
        live = [k for k, node in enumerate(row["node"]) if node]
        nodes = [row["node"][k] for k in live]
        e_v, z = np.array(row["e_v"])[live], np.array(row["z_ohm"])[np.ix_(live, live)]
        if z.any():
            inner = writer.inner_bus(f"source_{key}", len(nodes))
            if not writer.line(f"source_{key}", (inner, nodes), z, np.zeros_like(z)):
                writer.lost.append(f"source {key}")
                continue
            nodes = inner
        place = writer.at(nodes)
        if place is None:
            writer.lost.append(f"source {key}")
            continue
        angle = np.angle(e_v).tolist()
        writer.put("voltage_source", key, **place, v_magnitude=np.abs(e_v).tolist(), v_angle=angle)


def _conductors(row: Row) -> list[int]:
    return [k for k, (a, b) in enumerate(zip(row["from_node"], row["to_node"], strict=True)) if a and b]


def _ratings(row: Row, live: list[int]) -> dict[str, Any]:
    i_max = [row["i_max_a"][k] for k in live]
    return {"i_max": i_max} if np.isfinite(i_max).all() else {}


def _half_shunt(writer: Writer, row: Row, live: list[int]) -> Array:
    c_nf = np.array(row["c_nf"])[np.ix_(live, live)]
    return np.asarray(1j * 2 * pi * writer.rows.frequency_hz * c_nf * 1e-9 / 2)


def write_lines(writer: Writer) -> None:
    """Lines with their own, whole-length matrices: our table holds no others."""
    for key, row in writer.rows[Lines].items():
        live = _conductors(row)
        ends = ([row["from_node"][k] for k in live], [row["to_node"][k] for k in live])
        z = np.array(row["z_ohm"])[np.ix_(live, live)]
        length = {"length": row["length_m"]} if row["length_m"] >= 0 else {}
        if not writer.line(key, ends, z, _half_shunt(writer, row, live), **length, **_ratings(row, live)):
            writer.lost.append(f"line {key}")


def write_switches(writer: Writer) -> None:
    """Ideal switches; a contact impedance or capacitance is a line behind the switch."""
    for key, row in writer.rows[Switches].items():
        live = _conductors(row)
        start, end = ([row[side][k] for k in live] for side in ("from_node", "to_node"))
        both = buses_of([*start, *end])
        y = _half_shunt(writer, row, live)
        if row["z_ohm"] and row["closed"]:
            inner = writer.inner_bus(f"switch_{key}", len(live))
            if not writer.line(f"switch_{key}", (inner, end), row["z_ohm"] * np.eye(len(live)), 0 * y):
                writer.lost.append(f"switch {key}")
            end = inner
        places = [writer.place(nodes, both[0] if both else "") for nodes in (start, end)]
        if places[0] is None or places[1] is None:
            writer.lost.append(f"switch {key}")
            continue
        fields = {"bus_from": places[0][0], "bus_to": places[1][0]}
        maps = {"terminal_map_from": places[0][1], "terminal_map_to": places[1][1]}
        writer.put("switch", key, **fields, **maps, open_switch=not row["closed"], **_ratings(row, live))
        if y.any():
            outer = [row[side][k] for side in ("from_node", "to_node") for k in live]
            for side, nodes in (("from", outer[: len(live)]), ("to", outer[len(live) :])):
                put_shunt(writer, f"switch_{key}_{side}", nodes, y)


def put_shunt(writer: Writer, name: str, nodes: list[str], y: Array) -> bool:
    """A shunt matrix against earth; nodes that are earth are left out. False if at several buses."""
    live = [k for k, node in enumerate(nodes) if node not in ("", "0")]
    place = writer.at([nodes[k] for k in live])
    if place is None:
        return False
    while name in writer.tables.get("shunt", {}):
        name += "'"
    part = y[np.ix_(live, live)]
    fields = matrix("G", part.real, whole=True) | matrix("B", part.imag, whole=True)
    writer.put("shunt", name, **place, **fields)
    return True


def across(y: complex) -> Array:
    """Admittance matrix of one element between two nodes."""
    return y * np.array([[1.0, -1.0], [-1.0, 1.0]])


def write_capacitors(writer: Writer) -> None:
    """Banks row by row, at the steps in service; one with a series impedance is a shunt."""
    for key, row in writer.rows[Capacitors].items():
        q = row["steps_on"] * row["kvar"] * 1e3
        volt = row["v_nom_kv"] * 1e3
        if row["z_ohm"] or q < 0:
            y = 1j * row["kvar"] * 1e3 / volt**2
            y = row["steps_on"] * y / (1 + row["z_ohm"] * y)
            done = put_shunt(writer, f"capacitor_{key}", row["pair"], across(y))
        elif done := (place := writer.at(row["pair"])) is not None:
            writer.put("capacitor", key, **place, configuration="SINGLE_PHASE", q_rated=q, v_nom=volt)
        if not done:
            writer.lost.append(f"capacitor {key}")


def write_reactors(writer: Writer) -> None:
    """Reactors as shunts."""
    for key, row in writer.rows[Reactors].items():
        if not put_shunt(writer, key, row["pair"], across(1 / row["z_ohm"] + row["g_s"])):
            writer.lost.append(f"reactor {key}")


def write_admittances(writer: Writer) -> None:
    """Fixed admittances at one bus as shunts; between buses they stand in the extension alone."""
    elements: dict[str, list[Row]] = {}
    for row in writer.rows[Admittances].values():
        elements.setdefault(row["element"], []).append(row)
    hidden = []
    for name, rows in elements.items():
        nodes = list(dict.fromkeys(n for row in rows for n in (row["to_node"], row["of_node"]) if n != "0"))
        y = np.zeros((len(nodes), len(nodes)), dtype=complex)
        for row in rows:
            if "0" not in (row["to_node"], row["of_node"]):
                y[nodes.index(row["to_node"]), nodes.index(row["of_node"])] += row["y_s"]
        if not put_shunt(writer, name, nodes, y):
            hidden.append(name)
    message = f"between buses: only in extras.{EXTENSION}; another program reads another circuit"
    writer.audit.note("Admittances", "element", hidden, message, warn=True)


def _scaled(row: Row) -> tuple[float, float, dict[str, Any]]:
    """p and q with zip shares that sum to one, and the fields of the voltage law."""
    p, q, model = row["p_kw"] * 1e3, row["q_kvar"] * 1e3, row["model"]
    law: dict[str, Any] = {}
    if model == "cvr":
        law = {"gamma_p": [row["cvr_p"]], "gamma_q": [row["cvr_q"]]}
    elif model in ("zip", "fixed_x"):
        shares = np.array([0, 0, 1, 1, 0, 0] if model == "fixed_x" else row["zip"], dtype=float).reshape(2, 3)
        total = shares.sum(axis=1)
        if (total == 0).any():
            shares[total == 0], total = [0, 0, 1], np.where(total == 0, 0.0, total)
        size = shares.sum(axis=1)
        p, q = (float(s * t) for s, t in zip((p, q), total, strict=True))
        shares = shares / size[:, None]
        words = [f"{a}_{part}" for a in ("alpha", "beta") for part in "zip"]
        law = {word: [float(v)] for word, v in zip(words, shares.ravel(), strict=True)}
    return p, q, law


def write_loads(writer: Writer) -> None:
    """Loads row by row, each between its two terminals."""
    banded = []
    for key, row in writer.rows[Loads].items():
        place = writer.at(row["pair"])
        if place is None:
            writer.lost.append(f"load {key}")
            continue
        p, q, law = _scaled(row)
        rated = {"v_nom": [row["v_nom_kv"] * 1e3]} if np.isfinite(row["v_nom_kv"]) else {}
        fields = {"configuration": "SINGLE_PHASE", "p_nom": [p], "q_nom": [q]}
        writer.put(
            "load", key, **place, **fields, model=MODELS.get(row["model"], "CONSTANT_POWER"), **rated, **law
        )
        if row["v_min_pu"] > 0 or row["v_max_pu"] < np.inf or row["v_low_pu"] > 0 or row["v_cutoff_pu"] > 0:
            banded.append(key)
    message = f"voltage bands are only in extras.{EXTENSION}; another program solves them unbanded"
    writer.audit.note("Loads", "v_min_pu", banded, message, warn=True)


def write_generators(writer: Writer) -> None:
    """Generators row by row, pinned to their present power by equal limits.

    The schema counts a generator's power by phase conductors: one between two phases is a negative load.
    """
    lawful = []
    for key, row in writer.rows[Generators].items():
        place = writer.at(row["pair"])
        if place is None:
            writer.lost.append(f"generator {key}")
            continue
        p, q = [row["p_kw"] * 1e3], [row["q_kvar"] * 1e3]
        if between_phases(row["pair"]):
            power = {"p_nom": [-p[0]], "q_nom": [-q[0]]}
            writer.put("load", f"generator_{key}", **place, configuration="SINGLE_PHASE", **power)
            continue
        limits = {"p_min": p, "p_max": p, "q_min": q, "q_max": q, **FREE}
        writer.put("generator", key, **place, configuration="SINGLE_PHASE", **limits)
        if row["model"] != "constant_power" or row["v_min_pu"] > 0 or row["v_max_pu"] < np.inf:
            lawful.append(key)
    message = f"voltage laws are only in extras.{EXTENSION}; another program takes constant power"
    writer.audit.note("Generators", "model", lawful, message, warn=True)


def between_phases(pair: list[str]) -> bool:
    """Whether both ends are phases."""
    return all(node.rpartition(".")[2] in ("1", "2", "3") for node in pair) and "0" not in pair


def write_connections(writer: Writer) -> None:
    """Connections as inverters where a rating is known, as generators with room to move where not.

    Those of units that deliver power at present stand in the extension alone: twice in the file they would
    count twice. So do those between two phases: the schema counts power by phase conductors.
    """
    busy = {row["unit"] for row in writer.rows[Generators].values()}
    for key, row in writer.rows[Connections].items():
        place = writer.at(row["pair"])
        if place is None or row["prosumer"] in busy or between_phases(row["pair"]):
            continue
        one = key.endswith("/1") and f"{row['prosumer']}/2" not in writer.rows[Connections]
        name = row["prosumer"] if one else key
        limits: dict[str, Any] = {"p_min": [0.0]}
        if row["p_pv_max_kw"] >= 0:
            limits["p_max"] = [row["p_pv_max_kw"] * 1e3]
        if row["s_inverter_kva"] >= 0:
            rated = {"topology": "SINGLE_PHASE", "prime_mover": "PV", "s_max": [row["s_inverter_kva"] * 1e3]}
            writer.put("ibr", name, **place, **rated, **limits)
        else:
            name = name if name not in writer.tables.get("generator", {}) else f"prosumer.{key}"
            writer.put("generator", name, **place, configuration="SINGLE_PHASE", **limits, **FREE)
