"""Source: a Thevenin voltage behind its impedance."""

from __future__ import annotations

import numpy as np

from dms.builder import Builder
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest
from feeders import ABSENT, Feeder, Sources


def build(feeder: Feeder, b: Builder) -> None:
    """Thevenin law, all phases at once.

    v + z i = e        rows `emf_source_re`, `emf_source_im`

    z_ohm (n, 3, 3) ohm     e_v (n, 3) volt     i (n, 3) ampere into the feeder
    """
    t = feeder[Sources]
    node = t.node.ravel()
    here = node != ABSENT
    label = np.array([f"{name}.{k + 1}" for name in t.name for k in range(3)], dtype=object)
    i = b.add_currents("i_source", label, node, here)
    law = b.voltage(node) + i.blocks(t.z_ohm)
    b.add_law(
        "emf_source",
        label[here],
        law.take(here),
        base=b.v_base[node[here]],
        value=t.e_v.ravel()[here],
    )
    b.inject(node, i)
    row, slot = (k.ravel() for k in np.indices(t.node.shape))
    b.monitor("source", row, slot, -i)


def set_numbers(
    feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers, regimes: Regimes
) -> None:
    """Nothing of a source changes from tick to tick."""
