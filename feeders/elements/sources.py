"""Sources: a stiff three-phase voltage behind a Thevenin impedance, wye, neutral at earth."""

from __future__ import annotations

import numpy as np

from feeders.elements.primitive import Primitive
from feeders.table import ABSENT, Array, Table, column


class Sources(Table):
    """Thevenin sources."""

    name: Array = column("-", dtype=str, check="unique")
    node: Array = column("node", dtype=int, shape=(3,), check="node")
    z_ohm: Array = column("ohm", dtype=complex, shape=(3, 3), doc="Thevenin impedance, coupled")
    e_v: Array = column("V", dtype=complex, shape=(3,), doc="open-circuit phase-to-earth voltage")


def balanced_emf_v(v_ll_kv: float, pu: float = 1.0, angle_deg: float = 0.0) -> Array:
    """Balanced positive-sequence phase-to-earth voltages, (3,) complex volt."""
    rotation = np.exp(1j * np.deg2rad(angle_deg + np.array([0.0, -120.0, 120.0])))
    return pu * v_ll_kv * 1e3 / np.sqrt(3) * rotation


def primitive(sources: Sources, frequency_hz: float) -> Primitive:
    """Branch law v - z i = e, with i flowing out of the node into the source (so -i is what it supplies)."""
    n = len(sources)
    return Primitive(
        kind="source",
        row=np.arange(n),
        element=sources.name,
        node=sources.node,
        turns=np.broadcast_to(np.eye(3), (n, 3, 3)),
        z_ohm=sources.z_ohm,
        e_v=sources.e_v,
        y_s=np.zeros((n, 3, 3), dtype=complex),
        branch=sources.node != ABSENT,
    )
