"""Lines, switches and series elements from the engine's properties."""

from __future__ import annotations

from dataclasses import dataclass
from math import log, sqrt

import numpy as np

from feeders.elements import Lines, Switches
from feeders.readers.opendss.case import Case, Row, real
from feeders.readers.opendss.ratings import line_rating_a
from feeders.table import ABSENT, EARTH, Array

UNIT_M = {
    "mi": 1609.344,
    "kft": 304.8,
    "km": 1000.0,
    "m": 1.0,
    "ft": 0.3048,
    "in": 0.0254,
    "cm": 0.01,
    "mm": 0.001,
}
WIDTH = 4
SWITCH_C_NF = 0.1
"""Largest capacitance that a row of Switches keeps; above it the element is a line."""


def add_lines(case: Case) -> None:
    """All lines: those marked as switches, of equal uncoupled poles, as switches."""
    coupled, unrated, half_open = [], [], []
    for row in case.rows("Line"):
        name, element = row["Name"], case.element("Line", row["Name"])
        numbers = np.array([number for _, number in element["terminals"]])
        keep = (numbers != EARTH).any(axis=0)
        if not keep.any():
            case.note("Lines", "from_node", name, "lies at earth with both ends; dropped")
            continue
        z, c = matrices(row, case.frequency_hz)
        z, c = kron(z, keep), c[np.ix_(keep, keep)]
        i_max_a = line_rating_a(case, row)
        if np.isnan(i_max_a):
            unrated.append(name)
        if row["Switch"] and _plain_poles(z) and np.abs(c).max() <= SWITCH_C_NF:
            _add_switch(case, name, _ends(case, name, keep, loose=False), z[0, 0], c, i_max_a)
            continue
        if row["Switch"]:
            coupled.append(name)
        if element["open"]:
            half_open.append(name)
        _add_line(case, name, _ends(case, name, keep, loose=True), z, c, i_max_a, length_m(row))
    case.note_all("Switches", "z_ohm", coupled, "coupled or unequal poles, or charging: lines here")
    case.note_all("Lines", "i_max_a", unrated, "no rating in the text (a default is none): unrated")
    case.note_all("Lines", "from_node", half_open, "have open conductors: these end at nodes of their own")


def matrices(row: Row, frequency_hz: float) -> tuple[Array, Array]:
    """Series impedance, ohm, and capacitance, nF, of the whole line at a frequency.

    Matrices per unit length times length; those not computed from a geometry hold at the line's own base
    frequency f0 and follow the frequency, with k = f / f0, as the engine's do:

        R(f) = R + R_g (k - 1),   X(f) = k (X - X_g ln k / (2 ln(658.5 sqrt(rho / f0))))
    """
    r, x, c = (np.array(row[m], dtype=float) for m in ("RMatrix", "XMatrix", "CMatrix"))
    length, ratio = real(row["Length"]), frequency_hz / real(row["BaseFreq"])
    if ratio != 1 and not (row["Geometry"] or row["Spacing"]):
        k_xg = real(row["Xg"]) / log(658.5 * sqrt(real(row["rho"]) / real(row["BaseFreq"])))
        shift = 0.5 * k_xg * log(ratio) if row["Xg"] else 0.0
        r, x = r + real(row["Rg"]) * (ratio - 1), (x - shift) * ratio
    return (r + 1j * x) * length, c * length


def length_m(row: Row) -> float:
    """Length in metres; NaN without a unit."""
    return real(row["Length"]) * UNIT_M.get(row["Units"], np.nan)


def kron(z: Array, keep: Array) -> Array:
    """Impedance of some conductors, the others being at earth with both ends."""
    if keep.all() or not keep.any():
        return z
    a, b, d = z[np.ix_(keep, keep)], z[np.ix_(keep, ~keep)], z[np.ix_(~keep, ~keep)]
    return np.asarray(a - b @ np.linalg.solve(d, b.T))


@dataclass(frozen=True)
class Ends:
    """Nodes of both ends of an element, and which conductors are open at one of them."""

    nodes: list[list[int]]
    opened: Array


def _ends(case: Case, name: str, keep: Array, *, loose: bool) -> Ends:
    """Ends of the conductors to keep; where one is open, with a node of its own if `loose`."""
    element = case.element("Line", name)
    opened = {(terminal, conductor) for terminal, conductor in element["open"]}
    kept = [int(k) for k in np.flatnonzero(keep)]
    nodes: list[list[int]] = []
    for terminal, (bus, numbers) in enumerate(element["terminals"]):
        label = f"{name}~open{terminal + 1}"
        nodes.append(
            [
                case.loose_node(bus, label, k + 1)
                if loose and (terminal, k) in opened
                else case.node(bus, numbers[k])
                for k in kept
            ]
        )
    at_an_end = [any((t, k) in opened for t in (0, 1)) for k in kept]
    return Ends(nodes, np.array(at_an_end))


def _plain_poles(z: Array) -> bool:
    """Whether a matrix is one impedance on every pole, without coupling."""
    return bool(np.abs(z - np.eye(len(z)) * z[0, 0]).max() <= 1e-12 * np.abs(z[0, 0]))


def _padded(nodes: list[int]) -> list[int]:
    return [*nodes, *[ABSENT] * (WIDTH - len(nodes))]


def _square(matrix: Array) -> Array:
    out = np.zeros((WIDTH, WIDTH), dtype=matrix.dtype)
    out[: len(matrix), : len(matrix)] = matrix
    return out


def _add_line(case: Case, name: str, ends: Ends, z: Array, c: Array, i_max_a: float, length: float) -> None:
    case.draft.add(
        Lines,
        name=name,
        from_node=_padded(ends.nodes[0]),
        to_node=_padded(ends.nodes[1]),
        z_ohm=_square(z),
        c_nf=_square(c),
        i_max_a=np.where(np.arange(WIDTH) < len(z), i_max_a, np.nan),
        length_m=length,
    )


def _add_switch(case: Case, name: str, ends: Ends, z: complex, c: Array, i_max_a: float) -> None:
    """One row for the closed poles, one more for poles that are open by themselves."""
    for state, poles in ((True, ~ends.opened), (False, ends.opened)):
        if not poles.any():
            continue
        nodes = [[n for n, there in zip(side, poles, strict=True) if there] for side in ends.nodes]
        case.draft.add(
            Switches,
            name=name if poles.all() or state else f"{name}.open",
            from_node=_padded(nodes[0]),
            to_node=_padded(nodes[1]),
            z_ohm=z,
            closed=state,
            i_max_a=np.where(np.arange(WIDTH) < poles.sum(), i_max_a, np.nan),
            c_nf=_square(c[np.ix_(poles, poles)]),
        )


def add_series(case: Case, name: str, nodes: list[list[int]], z: Array, i_max_a: float = np.nan) -> None:
    """A reactor or capacitor between two buses, as a line without capacitance."""
    _add_line(case, name, Ends(nodes, np.zeros(len(z), dtype=bool)), z, np.zeros(z.shape), i_max_a, np.nan)
