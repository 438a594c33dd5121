"""Reactor: a shunt impedance with a conductance across it, between two nodes."""

from __future__ import annotations

from dms.builder import Builder
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest
from feeders import Feeder
from feeders.elements import Reactors


def build(feeder: Feeder, b: Builder) -> None:
    """i = (1 / z + g) (v_a - v_b) from a to b, posted to Kirchhoff's law; no variables of its own.

    z (n,) ohm     g (n,) siemens
    """
    t = feeder[Reactors]
    current = b.across(t.pair).times(1 / t.z_ohm + t.g_s)
    b.inject(t.pair[:, 0], -current)
    b.inject(t.pair[:, 1], current)


def set_numbers(
    feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers, regimes: Regimes
) -> None:
    """Nothing of a reactor changes from tick to tick."""
