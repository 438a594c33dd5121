"""Generator: an operating point that is not decided here, constant or by a law of its voltage."""

from __future__ import annotations

import numpy as np

from dms.builder import Builder
from dms.devices.voltage_law import Law, build_drawn, set_power
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest
from feeders import Feeder, Generators
from feeders.table import Array


def build(feeder: Feeder, b: Builder) -> None:
    """Power of every generator, by the law of its model (`dms.devices.voltage_law`).

    Re(u conj(i)) = P(|u|),  Im(u conj(i)) = Q(|u|)      rows `p_generator`, `q_generator`

    u = v_a - v_b volt     i ampere injected at a, taken from b
    """
    t = feeder[Generators]
    build_drawn(b, "generator", t, 1.0, exponents=np.zeros((len(t), 2)), follows=_follows(t))


def set_numbers(
    feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers, regimes: Regimes
) -> None:
    """The table's powers, each generator in its regime."""
    t = feeder[Generators]
    law = regime_law(t, regimes.w(t), always_inside=not regimes.known)
    law = law.where(_follows(t), law.at_rated())
    set_power(program, numbers, "generator", law, t.p_kw, t.q_kvar)


def _follows(t: Generators) -> Array:
    rated = np.isfinite(t.v_nom_kv) & (t.v_nom_kv > 0)
    banded = (t.v_min_pu > 0) | (t.v_max_pu < np.inf)
    return np.asarray(rated & (banded | (t.model != "constant_power")))


def regime_law(t: Generators, w: Array, *, always_inside: bool = False) -> Law:
    """s, s w or s w^2 by the model; outside its band an impedance that meets s at the end of the band."""
    inside = np.full(len(t), always_inside)
    below, above = ~inside & (w <= t.v_min_pu) & (t.v_min_pu > 0), ~inside & (w > t.v_max_pu)
    column = np.select([t.model == "constant_impedance", t.model == "constant_current"], [2, 1], 0)
    law = np.eye(4)[column]
    end = np.where(below, t.v_min_pu, np.where(above, t.v_max_pu, 1.0))
    impedance = (below | above) & (t.model != "constant_impedance")
    law[impedance] = np.eye(4)[2] / end[impedance, None] ** 2
    return Law(law, law)
