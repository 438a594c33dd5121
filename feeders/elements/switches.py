"""Switches, breakers, network protectors: per-phase contacts that are open or closed."""

from __future__ import annotations

import numpy as np

from feeders.elements.primitive import Primitive, series_pair
from feeders.table import ABSENT, Array, Table, column


class Switches(Table):
    """Switches of up to four poles; an open one carries no current."""

    name: Array = column("-", dtype=str, check="unique")
    from_node: Array = column("node", dtype=int, shape=(4,), check="node")
    to_node: Array = column("node", dtype=int, shape=(4,), check="node")
    z_ohm: Array = column("ohm", dtype=complex, doc="contact impedance of each pole")
    closed: Array = column("-", dtype=bool, check="any", default=True)
    i_max_a: Array = column("A", shape=(4,), check="any", default=np.nan, doc="rating, NaN unrated")
    c_nf: Array = column("nF", shape=(4, 4), default=0.0, doc="shunt capacitance (Maxwell), half at each end")


def poles(switches: Switches) -> Array:
    """(n, 4) bool: poles that exist and are closed."""
    present = (switches.from_node != ABSENT) & (switches.to_node != ABSENT)
    return present & switches.closed[:, None]


def shunt_s(switches: Switches, frequency_hz: float) -> Array:
    """Shunt admittance at each end, j 2 pi f C / 2, (n, 4, 4) siemens."""
    return np.asarray(1j * 2 * np.pi * frequency_hz * switches.c_nf * 1e-9 / 2)


def primitive(switches: Switches, frequency_hz: float) -> Primitive:
    """v_from - v_to = z i on every closed pole; nothing on an open one."""
    n = len(switches)
    y = np.zeros((n, 8, 8), dtype=complex)
    y[:, :4, :4] = y[:, 4:, 4:] = shunt_s(switches, frequency_hz)
    return Primitive(
        kind="switch",
        row=np.arange(n),
        element=switches.name,
        node=np.hstack([switches.from_node, switches.to_node]),
        turns=np.broadcast_to(series_pair(4), (n, 4, 8)),
        z_ohm=switches.z_ohm[:, None, None] * np.eye(4),
        e_v=np.zeros((n, 4), dtype=complex),
        y_s=y,
        branch=poles(switches),
    )
