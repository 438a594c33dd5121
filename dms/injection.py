"""What connections inject in the independent power flow: the exact law of every inverter.

It is that of `feeders.elements.connections`; the optimiser's own form is `dms.devices.inverter`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dms.network import Flow
from dms.pairs import Power
from dms.request import DmsRequest
from feeders import Connections
from feeders.elements.connections import Delivered, delivered, rating_kva
from feeders.table import Array


def injected_power(t: Connections, request: DmsRequest, p_curtail_kw: Array | float) -> Power:
    """Power into the connections, volt-ampere, at the voltages across them."""
    told = request.p_export_kw - p_curtail_kw
    if (t.q_mode == "request").all():
        s_va = (told - request.p_import_kw + 1j * request.q_kvar) * 1e3
        return lambda _: s_va

    def power(u: Array) -> Array:
        found = delivered(t, told, request.q_kvar, request.q_set_kvar, u)
        return np.asarray((found.p_kw - request.p_import_kw + 1j * found.q_kvar) * 1e3)

    return power


def inverters_at(t: Connections, request: DmsRequest, p_export_kw: Array, flow: Flow) -> Delivered:
    """What every inverter delivers in a power flow when it is told to export p_export_kw (n_connections,)."""
    u = flow.v[t.pair[:, 0]] - flow.v[t.pair[:, 1]]
    return delivered(t, p_export_kw, request.q_kvar, request.q_set_kvar, u)


def with_inverters(t: Connections, request: DmsRequest, p_curtail_kw: Array | float, flow: Flow) -> Flow:
    """The flow with `over_s`: how far its inverters were told to export more than they can."""
    if (t.q_mode == "request").all():
        return flow
    told = request.p_export_kw - p_curtail_kw
    most, rating = inverters_at(t, request, told, flow).most_kw, rating_kva(t)
    rated = np.isfinite(rating)
    over = np.full(len(t), -np.inf)
    over[rated] = (told - most)[rated] / rating[rated]
    return replace(flow, over_s=over)
