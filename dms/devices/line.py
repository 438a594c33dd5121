"""Line: coupled series impedance, half of the shunt capacitance at each end."""

from __future__ import annotations

import numpy as np

from dms.builder import Builder
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest
from feeders import Feeder, Lines
from feeders.elements import lines


def build(feeder: Feeder, b: Builder) -> None:
    """Series voltage drop of every line, all conductors at once.

    v_from - v_to = z i                  ANOCA II-A, rows `ohm_line_re`, `ohm_line_im`
    current into the line at an end = +-i + y v,   y = j omega C / 2

    z_ohm (n, 4, 4) ohm     y (n, 4, 4) siemens     i (n, 4) ampere, from -> to
    Never the admittance form: entries of 1e6 next to 1 keep Ipopt from converging.
    """
    t = feeder[Lines]
    here = lines.conductors(t).ravel()
    node_from, node_to = t.from_node.ravel(), t.to_node.ravel()
    label = np.array([f"{name}.{k + 1}" for name in t.name for k in range(4)], dtype=object)
    i = b.add_currents("i_line", label, node_from, here)
    v_from, v_to = b.voltage(node_from), b.voltage(node_to)
    law = v_from - v_to - i.blocks(t.z_ohm)
    b.add_law("ohm_line", label[here], law.take(here), base=b.v_base[node_from[here]])

    y = lines.shunt_s(t, feeder.frequency_hz)
    into_from = i + v_from.blocks(y)
    into_to = v_to.blocks(y) - i
    b.inject(node_from, -into_from)
    b.inject(node_to, -into_to)
    row = np.repeat(np.arange(len(t)), 4)
    slot = np.tile(np.arange(4), len(t))
    b.monitor("line", row, slot, into_from)
    b.monitor("line", row, slot + 4, into_to)


def set_numbers(
    feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers, regimes: Regimes
) -> None:
    """Nothing of a line changes from tick to tick; ratings are set with the limits."""
