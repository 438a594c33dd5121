"""Sources, loads and generators from the engine's properties."""

from __future__ import annotations

from math import pi, sin, sqrt
from typing import Any

import numpy as np

from feeders.elements import Connections, Generators, Loads, Sources
from feeders.elements.generators import power_va
from feeders.readers.errors import UnsupportedError
from feeders.readers.opendss.case import Case, Row, real
from feeders.table import ABSENT, EARTH, Array

MODELS = {
    1: "constant_power",
    2: "constant_impedance",
    3: "cvr",
    4: "cvr",
    5: "constant_current",
    6: "fixed_q",
    7: "fixed_x",
    8: "zip",
}
"""The engine's numbers; 3, constant power with quadratic reactive power, is cvr with exponents 0 and 2."""
GENERATOR_MODELS = {1: "constant_power", 2: "constant_impedance"}


def add_sources(case: Case) -> None:
    """Thevenin sources with their other terminal at earth.

    z_self = (2 z1 + z0) / 3, z_mutual = (z0 - z1) / 3; e = V / (2 sin(pi / n)), n the number of phases
    """
    for row in case.rows("Vsource"):
        name, n = row["Name"], int(row["Phases"])
        fault = _source_fault(case, row)
        if fault:
            raise UnsupportedError(f"vsource.{name}: {fault}")
        z1, z0 = (complex(*map(real, row[z])) for z in ("Z1", "Z0"))
        if row["Model"].lower() == "ideal":
            z1 = z0 = complex(*map(real, row["puZIdeal"])) * real(row["BasekV"]) ** 2 / real(row["BaseMVA"])
        z_self, z_mutual = ((2 * z1 + z0) / 3, (z0 - z1) / 3) if n > 1 else (z1, 0j)
        z = np.zeros((3, 3), dtype=complex)
        z[:n, :n] = z_mutual + np.eye(n) * (z_self - z_mutual)
        kv = real(row["BasekV"]) / (2 * sin(pi / n) if n > 1 else 1.0)
        turn = {"positive": -1, "pos": -1, "negative": 1, "neg": 1}.get(row["Sequence"].lower(), 0)
        angle = np.deg2rad(real(row["Angle"]) + turn * 360.0 / n * np.arange(3))
        e_v = real(row["pu"]) * kv * 1e3 * np.exp(1j * angle) * (np.arange(3) < n)
        nodes = case.nodes("Vsource", name, 0) + [ABSENT] * (3 - n)
        case.draft.add(Sources, name=name, node=nodes, z_ohm=z, e_v=e_v)


def _source_fault(case: Case, row: Row) -> str:
    """Why a source cannot be read, or nothing."""
    if int(row["Phases"]) > 3:
        return "more than three phases"
    if any(case.nodes("Vsource", row["Name"], 1)):
        return "its second terminal is not at earth"
    if row["Z1"] != row["Z2"]:
        return "positive and negative sequence impedances differ"
    if abs(real(row["Frequency"]) - case.frequency_hz) > 1e-9 * case.frequency_hz:
        return "its frequency is not that of the circuit"
    return ""


def load_pairs(nodes: list[int], phases: int, conn: str) -> list[list[int]]:
    """Node pairs of a wye (to the last conductor) or a delta (round the conductors)."""
    if conn.lower() == "wye":
        return [[nodes[k], nodes[-1]] for k in range(phases)]
    return [[nodes[k], nodes[(k + 1) % len(nodes)]] for k in range(phases)]


def v_phase_kv(row: Row) -> float:
    """Rated voltage across one phase: line to line, but for a wye of two or three phases."""
    wye = row["Conn"].lower() == "wye" and int(row["Phases"]) in (2, 3)
    return real(row["kV"]) / (sqrt(3) if wye else 1.0)


def add_loads(case: Case) -> None:
    """All loads, phase by phase, at the present load multiplier."""
    if case.data["year"]:
        raise UnsupportedError("loads grown to another year (set year=...) are not read")
    idle, outside, off = [], [], case.off("Load")
    for row in case.rows("Load"):
        name, n = row["Name"], int(row["Phases"])
        model = int(row["Model"])
        if model not in MODELS:
            raise UnsupportedError(f"load.{name}: load model {model}")
        factor = case.data["load_mult"] if row["Status"].lower() == "variable" else 1.0
        bands: dict[str, Any] = {
            "model": MODELS[model],
            "v_nom_kv": v_phase_kv(row),
            "zip": row["ZIPV"][:6] if model == 8 else np.zeros(6),
            "cvr_p": 0.0 if model == 3 else real(row["CVRWatts"]),
            "cvr_q": 2.0 if model == 3 else real(row["CVRVars"]),
            "v_low_pu": real(row["VLowpu"]),
            "v_min_pu": real(row["VMinpu"]),
            "v_max_pu": real(row["VMaxpu"]) or 1.0,
            "v_cutoff_pu": real(row["ZIPV"][6]) if model == 8 else 0.0,
        }
        pairs = load_pairs(case.nodes("Load", name, 0), n, row["Conn"])
        p_kw, q_kvar = real(row["kW"]) * factor / n, real(row["kvar"]) * factor / n
        used = [pair for pair in pairs if pair[0] != pair[1]]
        if not used:
            idle.append(name)
        for k, pair in enumerate(pairs, 1):
            if pair[0] != pair[1]:
                label = name if n == 1 else f"{name}.{k}"
                case.draft.add(Loads, name=label, pair=pair, p_kw=p_kw, q_kvar=q_kvar, **bands)
        if model != 2 and _out_of_band(case, "Load", row):
            outside.append(name)
    case.note_all("Loads", "pair", idle, "lie between a node and itself; dropped")
    case.note_all("Loads", "pair", off, "switched off; dropped")
    case.note_all("Loads", "v_min_pu", outside, "outside their voltage band at present: impedances there")


def _volts(case: Case, kind: str, row: Row) -> Array:
    """The engine's voltages across the phases of an element."""
    bus, numbers = case.element(kind, row["Name"])["terminals"][0]
    v = [case.v_volt(bus, number) for number in numbers]
    pairs = load_pairs(list(range(len(v))), int(row["Phases"]), row["Conn"])
    return np.array([v[a] - v[b] for a, b in pairs])


def _out_of_band(case: Case, kind: str, row: Row) -> bool:
    w = np.abs(_volts(case, kind, row)) / (v_phase_kv(row) * 1e3)
    return bool(((w <= real(row["VMinpu"])) | (w > real(row["VMaxpu"]))).any())


def add_generators(case: Case) -> None:
    """PV systems, storage and generators: present power, and a connection each."""
    held, off = [], [f"generator.{name}" for name in case.off("Generator")]
    for kind in ("Generator", "PVSystem", "Storage"):
        for row in case.rows(kind):
            if case.switched_off(kind, row):
                off.append(f"{kind.lower()}.{row['Name']}")
                continue
            model = GENERATOR_MODELS.get(int(row["Model"]), "constant_power")
            if int(row["Model"]) not in GENERATOR_MODELS:
                held.append(f"{kind.lower()}.{row['Name']}")
            _add_generator(case, kind, row, model)
    case.note_all("Generators", "pair", off, "switched off; dropped")
    case.note_all("Generators", "model", held, "own control law dropped: fixed at their present power")


def _add_generator(case: Case, kind: str, row: Row, model: str) -> None:
    """Equal shares of the present power on every phase.

    The engine gives the power at present; the nominal one, which the table holds, is that over the sum of
    the law's factors at the present voltages.
    """
    unit, n = f"{kind.lower()}.{row['Name']}", int(row["Phases"])
    pairs = load_pairs(case.nodes(kind, row["Name"], 0), n, row["Conn"])
    kv, volts = v_phase_kv(row), _volts(case, kind, row)
    band = {
        "model": model,
        "v_nom_kv": kv,
        "v_min_pu": real(row["VMinpu"]),
        "v_max_pu": real(row["VMaxpu"]),
    }
    one = Generators(
        name=np.array([str(k) for k in range(n)]),
        unit=np.full(n, unit),
        pair=np.array(pairs),
        p_kw=np.full(n, 1e-3),
        q_kvar=np.zeros(n),
        **{column: np.full(n, value) for column, value in band.items()},
    )
    weight = float(power_va(one, volts).real.sum())
    s_kva = -complex(*case.element(kind, row["Name"])["s_kva"]) / weight if weight else 0j
    limit = real(row["kVA"]) / n if row.get("kVA") else np.nan
    peak = real(row["Pmpp"]) / n if kind == "PVSystem" else np.nan
    for k, pair in enumerate(pairs, 1):
        if EARTH == pair[0] == pair[1]:
            continue
        label = unit if n == 1 else f"{unit}.{k}"
        case.draft.add(
            Generators, name=label, unit=unit, pair=pair, p_kw=s_kva.real, q_kvar=s_kva.imag, **band
        )
        share = {"share": 1 / n, "s_inverter_kva": limit, "p_pv_max_kw": peak}
        case.draft.add(Connections, prosumer=unit, pair=pair, load="", **share)
