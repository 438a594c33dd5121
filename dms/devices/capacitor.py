"""Capacitor: the steps in service, an admittance between two nodes."""

from __future__ import annotations

from dms.builder import Builder
from dms.program import Numbers, Program
from dms.request import DmsRequest
from feeders import Feeder
from feeders.elements import Capacitors
from feeders.elements.capacitors import step_s
from feeders.table import Array


def build(feeder: Feeder, b: Builder) -> None:
    """i = n y (v_a - v_b) from a to b, posted to Kirchhoff's law; no variables of its own.

    n (n,) steps in service     y (n,) siemens of one step
    """
    t = feeder[Capacitors]
    current = b.across(t.pair).times(t.steps_on * step_s(t))
    b.inject(t.pair[:, 0], -current)
    b.inject(t.pair[:, 1], current)


def set_numbers(
    feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers, v: Array | None = None
) -> None:
    """Steps are fixed; nothing changes from tick to tick."""
