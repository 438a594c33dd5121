"""Which figures the text leaves to the engine: all that matter to the power flow, for the audit."""

from __future__ import annotations

from math import isclose

from feeders.readers.opendss.case import Case, Row, real
from feeders.readers.opendss.lines import UNIT_M

CODE = frozenset({"XfmrCode", "Like"})
NEEDED: dict[str, dict[str, frozenset[str]]] = {
    "Line": {"length": frozenset({"Length", "Like", "Switch"})},
    "Load": {
        "rated voltage": frozenset({"kV", "Like"}),
        "power": frozenset({"kW", "kVA", "XfkVA", "kWh", "Like"}),
    },
    "Transformer": {
        "rated voltages": frozenset({"kV", "kVs"}) | CODE,
        "rating": frozenset({"kVA", "kVAs"}) | CODE,
        "resistance": frozenset({"pctR", "pctRs", "pctLoadLoss"}) | CODE,
    },
    "Capacitor": {
        "size": frozenset({"kvar", "Cuf", "CMatrix", "Like"}),
        "rated voltage": frozenset({"kV", "Like"}),
    },
    "Vsource": {
        "voltage": frozenset({"BasekV", "Like"}),
        "impedance": frozenset({"MVASC3", "MVASC1", "Isc3", "Isc1", "Z1", "R1", "X1", "puZ1", "Like"}),
    },
    "Generator": {"rated voltage": frozenset({"kV", "Like"}), "power": frozenset({"kW", "kVA", "Like"})},
    "PVSystem": {"rated voltage": frozenset({"kV", "Like"}), "peak power": frozenset({"Pmpp", "Like"})},
    "Storage": {"rated voltage": frozenset({"kV", "Like"}), "rating": frozenset({"kWRated", "kVA", "Like"})},
}
"""Figures by class, and the properties any one of which gives them."""

REACTANCE = {"XHL", "XSCArray"} | CODE
REACTANCE_PCT = 7.0
"""The engine's own transformer, whose reactance it lists as given whether it is or not."""
KFT_M = UNIT_M["kft"]
IMPEDANCE_OHM_KFT = {"R1": 0.058, "X1": 0.1206, "R0": 0.1784, "X0": 0.4047}
CAPACITANCE_NF_KFT = {"C1": 3.4, "C0": 1.6}
"""The engine's own line."""


def note_defaults(case: Case) -> None:
    """One line of the audit for every kind of figure that some elements leave to the engine."""
    for kind, figures in NEEDED.items():
        for figure, properties in figures.items():
            names = [
                row["Name"] for row in case.rows(kind) if not properties & set(case.given(kind, row["Name"]))
            ]
            case.note_all(kind, "", names, f"{figure} not given: the engine's default")
    units = [(row["Name"], real(row["XHL"])) for row in case.rows("Transformer")]
    plain = [
        name
        for name, x_pct in units
        if not REACTANCE & set(case.given("Transformer", name)) and isclose(x_pct, REACTANCE_PCT)
    ]
    case.note_all("Transformer", "", plain, "reactance not given: the engine's default")
    lines = [row for row in case.rows("Line") if row["R1"] is not None and not row["Switch"]]
    bare = [row["Name"] for row in lines if not row["LineCode"] and _is_default(row, IMPEDANCE_OHM_KFT, 1.0)]
    case.note_all("Line", "", bare, "impedance not given: the engine's default")
    charged = [row["Name"] for row in lines if _is_default(row, CAPACITANCE_NF_KFT, _per_unit(row))]
    case.note_all(
        "Line", "", charged, "capacitance not given: the engine's default, 3.4 and 1.6 nF per 1000 ft"
    )


def _per_unit(row: Row) -> float:
    """A figure per 1000 ft in the line's own unit of length; without one, it stays a number."""
    return UNIT_M.get(row["Units"], KFT_M) / KFT_M


def _is_default(row: Row, figures: dict[str, float], factor: float) -> bool:
    return all(isclose(real(row[name]), value * factor, rel_tol=1e-9) for name, value in figures.items())
