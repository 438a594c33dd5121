"""Load: constant power between two nodes."""

from __future__ import annotations

from dms.builder import Builder
from dms.program import Numbers, Program
from dms.request import DmsRequest
from dms.scaling import KW_PER_PU
from feeders import EARTH, Feeder, Loads


def build(feeder: Feeder, b: Builder) -> None:
    """Constant power, wye or delta alike.

    Re(u conj(i)) = P_load,  Im(u conj(i)) = Q_load      (2g), (2h), rows `p_load`, `q_load`

    u = v_a - v_b volt     i ampere from a through the load to b

    A load with a voltage band is taken to be inside it. Where a solution leaves the band, the
    certificate's power flow, which knows the load's whole law, disagrees and refuses it.
    """
    t = feeder[Loads]
    base = t.pair.max(axis=1)
    i = b.add_currents("i_load", t.name, base, base > EARTH)
    b.add_power("load", t.name, b.across(t.pair), i)
    b.inject(t.pair[:, 0], -i)
    b.inject(t.pair[:, 1], i)


def set_numbers(feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers) -> None:
    """The tick's consumption, kW and kvar."""
    for rows, value in (("p_load", request.p_load_kw), ("q_load", request.q_load_kvar)):
        span = program.rows[rows].span
        numbers.row_lo[span] = numbers.row_hi[span] = value / KW_PER_PU
