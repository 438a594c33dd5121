"""Power flow of a feeder as it stands: node voltages at base load."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from anoca.config import FeederSection
from anoca.errors import InputError
from anoca.placement import Option, load_feeder
from dms import Network
from feeders import ABSENT, Feeder, Loads, Table
from feeders.checks import check
from feeders.elements.loads import outside_band
from feeders.table import Array


@dataclass(frozen=True)
class PowerFlowTable:
    """`rows`: node, v_v, v_pu, angle_deg; `facts`: converged, iterations and totals.

    warnings  what to know before trusting them, in one phrase, "" nothing
    """

    rows: pd.DataFrame
    facts: dict[str, Any]
    warnings: str = ""

    def extremes(self, n: int = 5) -> pd.DataFrame:
        """The lowest and the highest voltages; none without a power flow."""
        by_voltage = self.rows.dropna(subset="v_pu").sort_values("v_pu")
        return pd.concat([by_voltage.head(n), by_voltage.tail(n)])


def powerflow(name: str, options: dict[str, Option] | None = None) -> PowerFlowTable:
    """Every load and generator by its own law, no prosumer exporting; NaN where no power flow is found.

    Raises  InputError  an unknown feeder, or one with errors
    """
    feeder = load_feeder(FeederSection(name=name, options=options or {}))
    network = Network(feeder)
    flow = network.solve_loads()
    v = flow.v[1:] if flow.converged else np.full(len(flow.v) - 1, np.nan + 0j)
    rows = pd.DataFrame(
        {
            "node": feeder.node_names[1:],
            "v_v": np.abs(v),
            "v_pu": np.abs(v) / feeder.v_base_v[1:],
            "angle_deg": np.rad2deg(np.angle(v)),
        }
    )
    supplied = _source_power_kva(network, flow) if flow.converged else complex(np.nan, np.nan)
    facts = {
        "feeder": feeder.name,
        "converged": flow.converged,
        "iterations": flow.iterations,
        "residual_pu": flow.residual,
        "source_kw": supplied.real,
        "source_kvar": supplied.imag,
    }
    return PowerFlowTable(rows, facts, _warnings(feeder, flow.v if flow.converged else None))


def _warnings(feeder: Feeder, v: Array | None) -> str:
    found = sum(issue.severity == "warning" for issue in check(feeder))
    drawn = feeder[Loads]
    outside = 0 if v is None else int(outside_band(drawn, v[drawn.pair[:, 0]] - v[drawn.pair[:, 1]]).sum())
    parts = [f"{found} warning(s) about the feeder"] if found else []
    parts += [f"{outside} of {len(drawn)} load(s) outside their voltage band"] if outside else []
    return " and ".join(parts)


def _source_power_kva(network: Network, flow: Any) -> complex:
    """What the sources deliver at their terminals, kW + j kvar."""
    total = 0j
    for primitive, current in network.terminal_currents(flow):
        if primitive.kind == "source":
            total -= complex(np.sum(flow.v[np.maximum(primitive.node, 0)] * np.conj(current)))
    return total / 1e3


def table_of(feeder: Feeder, name: str) -> pd.DataFrame:
    """One of a feeder's tables by name, whatever its case, with nodes by their names.

    Raises  InputError  the feeder has no such table
    """
    tables: dict[str, Table] = {kind.__name__.lower(): t for kind, t in feeder.tables.items() if len(t)}
    tables["buses"] = feeder.buses
    if name.lower() == "nodes":
        return pd.DataFrame({"node": feeder.node_names[1:], "v_base_v": feeder.v_base_v[1:]})
    if name.lower() not in tables:
        raise InputError(
            f"feeder {feeder.name} has no table {name!r}; it has nodes, {', '.join(sorted(tables))}"
        )
    found = tables[name.lower()]
    data: dict[str, Any] = {}
    for col in found.columns():
        value = getattr(found, col.name)
        if col.check == "node":
            data[col.name] = [_node_words(feeder, row) for row in value.reshape(len(found), -1)]
        elif not col.shape:
            data[col.name] = value
    return pd.DataFrame(data)


def _node_words(feeder: Feeder, nodes: Any) -> str:
    return " ".join(str(feeder.node_names[n]) for n in nodes if n != ABSENT)
