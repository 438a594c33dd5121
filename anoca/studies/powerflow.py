"""Power flow of a feeder as it stands: node voltages at base load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from anoca.config import FeederSection
from anoca.placement import Option, load_feeder
from dms import DmsRequest, Network
from dms.certificate import run
from feeders import Connections


@dataclass(frozen=True)
class PowerFlowTable:
    """`rows`: node, v_v, v_pu, angle_deg; `facts`: converged, iterations and totals."""

    rows: pd.DataFrame
    facts: dict[str, Any]

    def extremes(self, n: int = 5) -> pd.DataFrame:
        """The lowest and the highest voltages."""
        by_voltage = self.rows.sort_values("v_pu")
        return pd.concat([by_voltage.head(n), by_voltage.tail(n)])


def powerflow(name: str, options: dict[str, Option] | None = None) -> PowerFlowTable:
    """Every load at base, no prosumer exporting.

    Raises  InputError  an unknown feeder, or one with errors
    """
    feeder = load_feeder(FeederSection(name=name, options=options or {}))
    network = Network(feeder)
    zero = np.zeros(len(feeder[Connections]))
    flow = run(network, DmsRequest.of(feeder, zero))
    v = flow.v[1:]
    rows = pd.DataFrame(
        {
            "node": feeder.node_names[1:],
            "v_v": np.abs(v),
            "v_pu": np.abs(v) / feeder.v_base_v[1:],
            "angle_deg": np.rad2deg(np.angle(v)),
        }
    )
    supplied = _source_power_kva(network, flow)
    facts = {
        "feeder": feeder.name,
        "converged": flow.converged,
        "iterations": flow.iterations,
        "residual_pu": flow.residual,
        "source_kw": supplied.real,
        "source_kvar": supplied.imag,
    }
    return PowerFlowTable(rows, facts)


def _source_power_kva(network: Network, flow: Any) -> complex:
    """What the sources deliver at their terminals, kW + j kvar."""
    total = 0j
    for primitive, current in network.terminal_currents(flow):
        if primitive.kind == "source":
            total -= complex(np.sum(flow.v[np.maximum(primitive.node, 0)] * np.conj(current)))
    return total / 1e3
