"""Prosumer: an inverter that injects what it asked for, less what is curtailed."""

from __future__ import annotations

import numpy as np

from dms.builder import Builder
from dms.devices.inverter import add_reactive, least_curtailment_pu, set_reactive_numbers
from dms.phasor import Terms
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest
from dms.scaling import KW_PER_PU
from feeders import EARTH, Connections, Feeder


def build(feeder: Feeder, b: Builder) -> None:
    """Power of every connection; one curtailment per unit, split by the shares.

    Re(u conj(i)) + share P_C = P_export - P_import      (2f), (2g)    rows `p_prosumer`
    Im(u conj(i)) = Q                                    (2h)          rows `q_prosumer`, by the
                                                                       inverter's mode: `dms.devices.inverter`
    0 <= P_C <= P_export                                 (2i)          variables `p_curtail`

    u = v_a - v_b volt     i ampere injected at a, taken from b
    """
    t = feeder[Connections]
    units = b.units
    label = units.connection_label
    base = t.pair.max(axis=1)
    i = b.add_currents("i_prosumer", label, base, base > EARTH, "drawn")
    curtail = b.add_variables("p_curtail", units.name, lo=0.0, role="control")
    held_back = Terms(np.arange(len(t)), curtail.start + units.of_connection, units.share)
    u = b.across(t.pair)
    reactive = add_reactive(b, t, u, held_back.col)
    b.add_power("prosumer", label, u, i, extra_p=held_back, extra_q=reactive)
    b.inject(t.pair[:, 0], i)
    b.inject(t.pair[:, 1], -i)


def set_numbers(
    feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers, regimes: Regimes
) -> None:
    """The tick's export request, import and reactive power; (2i) bounds the curtailment.

    From below it is what an inverter's rating asks for.
    """
    t, units = feeder[Connections], request.units
    p = program.rows["p_prosumer"].span
    numbers.row_lo[p] = numbers.row_hi[p] = (request.p_export_kw - request.p_import_kw) / KW_PER_PU
    set_reactive_numbers(t, program, request, numbers, regimes)
    curtail = program.variables["p_curtail"].span
    numbers.x_hi[curtail] = most = units.unit_export_kw(request.p_export_kw) / KW_PER_PU
    numbers.x_lo[curtail] = np.minimum(least_curtailment_pu(t, units, request), most)
