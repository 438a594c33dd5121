"""Transformers and their tap controls from the engine's properties."""

from __future__ import annotations

from itertools import combinations
from math import sqrt

import numpy as np

from feeders.elements import Reactors, Regulators, Transformers, WindingPairs, Windings
from feeders.readers.opendss.case import Case, Row, real
from feeders.table import ABSENT, EARTH

SOLID_S = 1e6
"""The engine's admittance of a solidly earthed neutral, siemens."""


def add_transformers(case: Case) -> None:
    """All transformers with their windings, then the regulator controls."""
    number, unrated = {}, []
    for row in case.rows("Transformer"):
        name = row["Name"]
        number[name] = case.draft.add(Transformers, name=name, s_kva=real(row["kVA"][0]))
        rated = "NormHkVA" in case.given("Transformer", name)
        if not rated:
            unrated.append(name)
        step = delta_step(row)
        for k in range(len(row["kV"])):
            _add_winding(case, row, number[name], k, step, rated)
            _add_neutral(case, row, k)
        ratio = case.frequency_hz / real(row["BaseFreq"])
        ends = combinations(range(len(row["kV"])), 2)
        for (a, b), x_pct in zip(ends, row["XSCArray"], strict=True):
            pair = {"winding_a": a, "winding_b": b, "x_pct": real(x_pct) * ratio}
            case.draft.add(WindingPairs, transformer=number[name], **pair)
    case.note_all(
        "Windings", "i_max_a", unrated, "no normhkva in the text (the engine's default is not one): unrated"
    )
    _add_regulators(case, number)


def delta_step(row: Row) -> int:
    """Which way round deltas go: +1 A-B, B-C, C-A; -1 A-C, B-A, C-B.

    Set by the first two windings: 1 if both are connected alike; otherwise by which of them has the higher
    line-to-line voltage and by leadlag, whose default, lag, makes the low-voltage side lag by 30 degrees.
    """
    conns, volts = row["Conn"], row["kV"]
    if conns[0] == conns[1]:
        return 1
    high_is_delta = conns[0 if volts[0] >= volts[1] else 1].lower() == "delta"
    leads = row["LeadLag"].lower() in ("lead", "euro")
    return 1 if leads == high_is_delta else -1


def v_coil_kv(row: Row, k: int) -> float:
    """Rated voltage across one coil of winding k: line to line, but for a wye of two or three phases."""
    kv = real(row["kV"][k])
    return kv / sqrt(3) if row["Conn"][k].lower() == "wye" and int(row["Phases"]) > 1 else kv


def _coils(case: Case, row: Row, k: int, step: int) -> list[list[int]]:
    """Coil ends of winding k, leg by leg."""
    nodes, phases = case.nodes("Transformer", row["Name"], k), int(row["Phases"])
    if phases == 1:
        pairs = [[nodes[0], nodes[-1]]]
    elif row["Conn"][k].lower() == "wye":
        pairs = [[nodes[i], nodes[phases]] for i in range(phases)]
    else:
        pairs = [[nodes[i], nodes[(i + step) % (phases if phases > 2 else 3)]] for i in range(phases)]
    return pairs + [[ABSENT, ABSENT]] * (3 - phases)


def float_s(row: Row, k: int) -> complex:
    """Small shunt at both ends of each coil, -j ppm 1e-6 (S / phases) / (2 V^2), whatever the tap."""
    v = v_coil_kv(row, k) * 1e3
    s_va = real(row["kVA"][0]) * 1e3 / int(row["Phases"])
    return -0.5e-6j * real(row["ppm_Antifloat"]) * s_va / v**2


def _add_winding(case: Case, row: Row, number: int, k: int, step: int, rated: bool) -> None:
    tap, low, high = (real(row[column][k]) for column in ("Tap", "MinTap", "MaxTap"))
    if not low <= tap <= high:
        case.note(
            "Windings",
            "tap",
            row["Name"],
            f"tap {tap:g} of winding {k + 1} widens its range {low:g} to {high:g}",
        )
    ratio = case.frequency_hz / real(row["BaseFreq"])
    core = real(row["pctNoLoadLoss"]) - 1j * real(row["pctIMag"]) / ratio if k == 1 else 0j
    kv = v_coil_kv(row, k)
    case.draft.add(
        Windings,
        transformer=number,
        winding=k,
        pair=_coils(case, row, k, step),
        v_coil_kv=kv,
        r_pct=real(row["pctR"][k]) * (ratio if row["XRConst"] else 1.0),
        tap=tap,
        tap_min=min(low, tap),
        tap_max=max(high, tap),
        tap_steps=int(row["NumTaps"][k]),
        i_max_a=real(row["NormHkVA"]) / int(row["Phases"]) / kv if rated else np.nan,
        float_s=float_s(row, k),
        core_pct=core,
    )


def _add_neutral(case: Case, row: Row, k: int) -> None:
    """What lies between a brought-out neutral and earth: its impedance, or the engine's small shunt."""
    neutral = case.nodes("Transformer", row["Name"], k)[-1]
    if row["Conn"][k].lower() != "wye" or neutral == EARTH:
        return
    r, x = real(row["RNeut"][k]), real(row["XNeut"][k]) * case.frequency_hz / real(row["BaseFreq"])
    y = float_s(row, k) if r < 0 else (1 / complex(r, x) if r or x else complex(SOLID_S))
    if y:
        label = f"transformer.{row['Name']}.neutral{k + 1}"
        case.draft.add(Reactors, name=label, pair=[neutral, EARTH], z_ohm=1 / y)


def _add_regulators(case: Case, number: dict[str, int]) -> None:
    foreign = []
    for row in case.rows("RegControl"):
        unit = row["Transformer"].split(".")[-1].lower()
        if unit not in number:
            foreign.append(row["Name"])
            continue
        case.draft.add(
            Regulators,
            name=row["Name"],
            transformer=number[unit],
            winding=int(row["Winding"]) - 1,
            tap_winding=int(row["TapWinding"]) - 1,
            v_reg_v=real(row["VReg"]),
            band_v=real(row["Band"]),
            pt_ratio=real(row["PTRatio"]),
            ct_primary_a=real(row["CTPrim"]),
            r_v=real(row["R"]),
            x_v=real(row["X"]),
            phase=str(row["PTPhase"]).lower(),
            bus=str(row["Bus"] or "").lower(),
            delay_s=real(row["Delay"]),
            max_tap_change=int(row["MaxTapChange"]),
            reversible=bool(row["Reversible"]),
            v_limit_v=real(row["VLimit"]) or np.nan,
        )
    case.note_all(
        "Regulators", "transformer", foreign, "control of something that is no transformer here; dropped"
    )
