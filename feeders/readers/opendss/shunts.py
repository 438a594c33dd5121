"""Capacitors, reactors and fixed admittances from the engine's properties."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np

from feeders.elements import Admittances, Capacitors, Reactors
from feeders.readers.opendss.case import Case, Row, real
from feeders.readers.opendss.injections import load_pairs
from feeders.readers.opendss.lines import add_series
from feeders.table import EARTH

ALPHA = complex(-0.5, 0.866025)
"""The engine's rotation by 120 degrees, to its six digits."""


def add_shunts(case: Case) -> None:
    """Capacitor banks and reactors; those between two buses as lines."""
    for row in case.rows("Capacitor"):
        _add_capacitor(case, row)
    off = []
    for row in case.rows("Reactor"):
        if case.element("Reactor", row["Name"])["open"]:
            off.append(row["Name"])
        else:
            _add_reactor(case, row)
    case.note_all("Reactors", "pair", off, "switched off; dropped")
    names = [row["Name"] for row in case.rows("CapControl")]
    case.note_all(
        "Capacitors", "steps_on", names, "capacitor controls not kept; the banks stay as they were left"
    )
    _add_fixed(case)


def _pairs(case: Case, kind: str, row: Row) -> list[list[int]]:
    """Node pairs of a bank: phase to the other terminal, or round the conductors of a delta."""
    name, phases = row["Name"], int(row["Phases"])
    first = case.nodes(kind, name, 0)
    if row["Conn"].lower() == "wye":
        second = case.nodes(kind, name, 1)
        return [[first[k], second[k]] for k in range(phases)]
    return load_pairs(first, phases, row["Conn"])


def _is_series(case: Case, kind: str, row: Row) -> bool:
    buses = case.buses(kind, row["Name"])
    return len(buses) == 2 and buses[0] != buses[1]


def _v_nom_kv(row: Row) -> float:
    wye = row["Conn"].lower() == "wye" and int(row["Phases"]) in (2, 3)
    return real(row["kV"]) / (sqrt(3) if wye else 1.0)


def _add_capacitor(case: Case, row: Row) -> None:
    name, kv, omega = row["Name"], _v_nom_kv(row), 2 * pi * case.frequency_hz
    ratio = case.frequency_hz / real(row["BaseFreq"])
    kvar = [omega * real(c) * 1e-6 * kv**2 * 1e3 for c in row["Cuf"]]
    z = [complex(real(r), real(x) * ratio) for r, x in zip(row["R"], row["XL"], strict=True)]
    opened = bool(case.element("Capacitor", name)["open"])
    states = [0 if opened else int(s) for s in row["States"]]
    if _is_series(case, "Capacitor", row):
        on = [z_k - 1j * kv**2 * 1e3 / q for z_k, q, s in zip(z, kvar, states, strict=True) if s]
        if on:
            total = 1 / sum(1 / z_k for z_k in on)
            _series(case, "Capacitor", row, np.eye(int(row["Phases"])) * total)
        return
    alike: dict[tuple[float, complex], list[int]] = {}
    for step, key in enumerate(zip(kvar, z, strict=True)):
        alike.setdefault(key, []).append(step)
    for number, ((q, z_k), steps) in enumerate(alike.items(), 1):
        for leg, pair in enumerate(_pairs(case, "Capacitor", row), 1):
            case.draft.add(
                Capacitors,
                name=f"{name}.{leg}" + (f".{number}" if len(alike) > 1 else ""),
                bank=name,
                pair=pair,
                kvar=q,
                v_nom_kv=kv,
                steps=len(steps),
                steps_on=sum(states[s] for s in steps),
                z_ohm=z_k,
            )


def _add_reactor(case: Case, row: Row) -> None:
    """R + jX with a conductance across it, or z1 and z0 between two buses; X follows the frequency."""
    ratio = case.frequency_hz / real(row["BaseFreq"])
    if "Z1" in case.given("Reactor", row["Name"]):
        z1, z0 = (complex(real(row[z][0]), real(row[z][1]) * ratio) for z in ("Z1", "Z0"))
        mutual = (z0 + (ALPHA + ALPHA**2) * z1) / 3
        _series(case, "Reactor", row, mutual + np.eye(3) * ((2 * z1 + z0) / 3 - mutual))
        return
    z = complex(real(row["R"]), real(row["X"]) * ratio)
    g = 1 / real(row["Rp"]) if "Rp" in case.given("Reactor", row["Name"]) and row["Rp"] else 0.0
    if _is_series(case, "Reactor", row):
        _series(case, "Reactor", row, np.eye(int(row["Phases"])) / (1 / z + g))
        return
    for leg, pair in enumerate(_pairs(case, "Reactor", row), 1):
        case.draft.add(Reactors, name=f"{row['Name']}.{leg}", pair=pair, z_ohm=z, g_s=g)


def _series(case: Case, kind: str, row: Row, z: np.ndarray) -> None:
    name = f"{kind.lower()}.{row['Name']}"
    given = case.given(kind, row["Name"])
    rating = real(row["NormAmps"]) if "NormAmps" in given and row["NormAmps"] > 0 else np.nan
    add_series(case, name, [case.nodes(kind, row["Name"], t) for t in (0, 1)], z, rating)
    case.note("Lines", "name", name, f"{kind.lower()} between two buses, read as a line")


def _add_fixed(case: Case) -> None:
    """Elements without a law, as the admittance the engine gives them."""
    for name, fixed in case.data["fixed"].items():
        places = [place.rpartition(".") for place in fixed["nodes"]]
        nodes = [case.node(bus, int(number)) if bus else EARTH for bus, _, number in places]
        y = np.array(fixed["y_s"]).view(complex).reshape(len(nodes), len(nodes))
        for i, j in zip(*np.nonzero(y), strict=True):
            if nodes[i] != EARTH and nodes[j] != EARTH:
                ends = {"to_node": nodes[i], "of_node": nodes[j]}
                case.draft.add(Admittances, element=name.lower(), y_s=y[i, j], **ends)
    names = list(case.data["fixed"])
    case.note_all("Admittances", "y_s", names, "no law of their own here: fixed primitive admittances")
