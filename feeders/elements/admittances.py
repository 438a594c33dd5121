"""Admittances: elements without a law of their own here, as fixed primitive admittances.

The last resort of a reader: exact at the state they were read in, and nothing more. Whoever reads a
feeder lists how many elements came in this way.
"""

from __future__ import annotations

import numpy as np

from feeders.elements.primitive import Primitive
from feeders.table import Array, Table, column


class Admittances(Table):
    """One row per non-zero entry of an element's primitive admittance matrix."""

    element: Array = column("-", dtype=str, check="any", doc="the element the entry is part of")
    to_node: Array = column("node", dtype=int, check="node", doc="where the current enters the element")
    of_node: Array = column("node", dtype=int, check="node", doc="the voltage that drives it")
    y_s: Array = column("S", dtype=complex)


def primitive(admittances: Admittances) -> Primitive:
    """Current y v_of into the element at node `to`, entry by entry."""
    n = len(admittances)
    y = np.zeros((n, 2, 2), dtype=complex)
    y[:, 0, 1] = admittances.y_s
    return Primitive(
        kind="admittance",
        row=np.arange(n),
        element=admittances.element,
        node=np.column_stack([admittances.to_node, admittances.of_node]),
        turns=np.zeros((n, 0, 2)),
        z_ohm=np.zeros((n, 0, 0), dtype=complex),
        e_v=np.zeros((n, 0), dtype=complex),
        y_s=y,
        branch=np.zeros((n, 0), dtype=bool),
    )
