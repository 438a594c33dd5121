"""Connections: where a prosumer's inverter meets the feeder."""

from __future__ import annotations

import numpy as np

from feeders.table import Array, Table, column


class Connections(Table):
    """One row per connection; a prosumer has one to three, whose shares sum to 1."""

    prosumer: Array = column("-", dtype=str, check="any", doc="name of the prosumer")
    pair: Array = column("node", dtype=int, shape=(2,), check="node", doc="the two nodes it lies between")
    share: Array = column("-", check="positive", default=1.0, doc="part of the prosumer's power here")
    load: Array = column("-", dtype=str, check="any", default="", doc="the load it stands beside or for")
    s_inverter_kva: Array = column("kVA", check="any", default=np.nan, doc="carried along, not enforced yet")
    p_pv_max_kw: Array = column("kW", check="any", default=np.nan, doc="NaN unknown")
