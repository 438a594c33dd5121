"""Switch: a closed pole is a tiny impedance, an open one carries nothing."""

from __future__ import annotations

import numpy as np

from dms.builder import Builder
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest
from feeders import Feeder, Switches
from feeders.elements import switches


def build(feeder: Feeder, b: Builder) -> None:
    """Closed poles.

    v_from - v_to = z i        rows `ohm_switch_re`, `ohm_switch_im`
    current into the switch at an end = +-i + y v,   y = j omega C / 2, open or closed

    z_ohm (n,) ohm per pole     i (n, 4) ampere, from -> to
    """
    t = feeder[Switches]
    here = switches.poles(t).ravel()
    node_from, node_to = t.from_node.ravel(), t.to_node.ravel()
    label = np.array([f"{name}.{k + 1}" for name in t.name for k in range(4)], dtype=object)
    i = b.add_currents("i_switch", label, node_from, here)
    law = b.voltage(node_from) - b.voltage(node_to) - i.times(np.repeat(t.z_ohm, 4))
    b.add_law("ohm_switch", label[here], law.take(here), base=b.v_base[node_from[here]])
    y = switches.shunt_s(t, feeder.frequency_hz)
    into_from = i + b.voltage(node_from).blocks(y)
    into_to = b.voltage(node_to).blocks(y) - i
    b.inject(node_from, -into_from)
    b.inject(node_to, -into_to)
    row = np.repeat(np.arange(len(t)), 4)
    slot = np.tile(np.arange(4), len(t))
    b.monitor("switch", row, slot, into_from)
    b.monitor("switch", row, slot + 4, into_to)


def set_numbers(
    feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers, regimes: Regimes
) -> None:
    """Nothing of a switch changes from tick to tick."""
