"""Lines and cables: coupled series impedance and half of the shunt capacitance at each end."""

from __future__ import annotations

import numpy as np

from feeders.elements.primitive import Primitive, series_pair
from feeders.table import ABSENT, Array, Table, column


class Lines(Table):
    """Overhead lines and cables, up to four conductors each; whole-length figures."""

    name: Array = column("-", dtype=str, check="unique")
    from_node: Array = column("node", dtype=int, shape=(4,), check="node")
    to_node: Array = column("node", dtype=int, shape=(4,), check="node")
    z_ohm: Array = column("ohm", dtype=complex, shape=(4, 4), doc="series impedance; absent rows zero")
    c_nf: Array = column("nF", shape=(4, 4), default=0.0, doc="shunt capacitance (Maxwell), whole line")
    i_max_a: Array = column("A", shape=(4,), check="any", default=np.nan, doc="rating, NaN unrated")
    length_m: Array = column("m", check="any", default=np.nan, doc="length, for drawing only")


def conductors(lines: Lines) -> Array:
    """(n, 4) bool: conductors that exist at both ends."""
    return (lines.from_node != ABSENT) & (lines.to_node != ABSENT)


def shunt_s(lines: Lines, frequency_hz: float) -> Array:
    """Shunt admittance at each end, j 2 pi f C / 2, (n, 4, 4) siemens."""
    return 1j * 2 * np.pi * frequency_hz * lines.c_nf * 1e-9 / 2


def primitive(lines: Lines, frequency_hz: float) -> Primitive:
    """Pi section: v_from - v_to = z i, and j omega C / 2 at each end.

    Returns a `Primitive` with 8 node slots (4 from, 4 to) and 4 branches.
    """
    n = len(lines)
    y = np.zeros((n, 8, 8), dtype=complex)
    y[:, :4, :4] = y[:, 4:, 4:] = shunt_s(lines, frequency_hz)
    return Primitive(
        kind="line",
        row=np.arange(n),
        element=lines.name,
        node=np.hstack([lines.from_node, lines.to_node]),
        turns=np.broadcast_to(series_pair(4), (n, 4, 8)),
        z_ohm=lines.z_ohm,
        e_v=np.zeros((n, 4), dtype=complex),
        y_s=y,
        branch=conductors(lines),
    )
