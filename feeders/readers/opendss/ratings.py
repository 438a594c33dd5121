"""Which ratings are given in the text, and which are only the engine's defaults."""

from __future__ import annotations

import numpy as np

from feeders.readers.opendss.case import Case, Row, real

DEFAULT_A = 400.0
"""The engine's own `normamps` of a line or code that says nothing."""


def line_rating_a(case: Case, row: Row) -> float:
    """Rating of a line's conductors, A, if the line, its code, geometry or wires give one; else NaN."""
    value = real(row["NormAmps"])
    given = case.given("Line", row["Name"])
    if value <= 0 or not (_own(given) or _inherited(case, row) or value != DEFAULT_A):
        return np.nan
    return value


def _own(given: Row) -> bool:
    """Whether the line says it itself.

    A code or geometry sets Ratings, NormAmps and EmergAmps one after the other, without a word in the
    text; a value the line gives comes later.
    """
    order = list(given)
    if "NormAmps" not in order:
        return False
    if not {"LineCode", "Geometry", "Spacing", "Wires", "CNCables", "TSCables"} & set(order):
        return True
    if "EmergAmps" not in order:
        return True
    return order.index("NormAmps") > order.index("EmergAmps")


def _inherited(case: Case, row: Row) -> bool:
    """Whether the line's code, geometry or one of its wires says it."""
    if row["LineCode"] and "NormAmps" in case.given("LineCode", row["LineCode"]):
        return True
    geometry = case.given("LineGeometry", row["Geometry"]) if row["Geometry"] else {}
    if "NormAmps" in geometry:
        return True
    wires = [
        *_names(row.get("Conductors")),
        *_names(geometry.get("Conductors")),
        *_names(geometry.get("Wires")),
    ]
    plain = [wire.split(".")[-1] for wire in wires]
    return any(
        "NormAmps" in case.given(kind, wire) for wire in plain for kind in ("WireData", "CNData", "TSData")
    )


def _names(value: object) -> list[str]:
    return [str(v) for v in value if v] if isinstance(value, list) else []
