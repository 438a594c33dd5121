"""Capacitor: the steps in service, an admittance between two nodes."""

from __future__ import annotations

from dms.builder import Builder
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest
from feeders import Feeder
from feeders.elements import Capacitors
from feeders.elements.capacitors import step_s


def build(feeder: Feeder, b: Builder) -> None:
    """i = n y (v_a - v_b) from a to b, posted to Kirchhoff's law.

    n (n,) steps in service     y (n,) siemens of one step

    Where n is free it is a `position`, and i a variable of its own: rows `steps_capacitor_*`.
    """
    t = feeder[Capacitors]
    free = b.controls.of_capacitor >= 0
    one = b.across(t.pair).times(step_s(t))
    current = one.times(t.steps_on.astype(float)).keep(~free)
    if free.any():
        base_node = t.pair.max(axis=1)
        i = b.add_currents("i_capacitor", t.name, base_node, free)
        n = b.variables("position").start + b.controls.of_capacitor[free]
        base = b.i_base[base_node[free]]
        b.add_law("steps_capacitor", t.name[free], -i.take(free), base=base, products=one.take(free).by(n))
        current = current + i
    b.inject(t.pair[:, 0], -current)
    b.inject(t.pair[:, 1], current)


def set_numbers(
    feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers, regimes: Regimes
) -> None:
    """Free steps are numbers of `dms.controls`; nothing else changes from tick to tick."""
