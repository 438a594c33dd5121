"""Admittance: an element known only by its fixed primitive admittance, entry by entry."""

from __future__ import annotations

from dms.builder import Builder
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest
from feeders import Feeder
from feeders.elements import Admittances


def build(feeder: Feeder, b: Builder) -> None:
    """Current y v_of into the element at node `to`, posted to Kirchhoff's law.

    y (n,) siemens     v_of (n,) volt to earth
    """
    t = feeder[Admittances]
    b.inject(t.to_node, -b.voltage(t.of_node).times(t.y_s))


def set_numbers(
    feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers, regimes: Regimes
) -> None:
    """Nothing of a fixed admittance changes from tick to tick."""
