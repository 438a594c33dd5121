"""Synthetic feeders on which prosumers and binding limits grow with the size.

Prosumers stand at 30 % of the nodes and ask for a multiple of the load there. The band is one for all; a few
of the lines that carry power back have a fuse a little below what the requests would drive through it: limits
bind in proportion to the size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dms import DmsRequest, Limits, Network, Units
from dms.certificate import run
from feeders import Connections, Feeder, Lines, Loads
from feeders.elements.lines import conductors
from feeders.library.synthetic import synthetic
from feeders.table import Array

SIZES = (1000, 2000, 5000, 10_000, 20_000, 50_000)
"""Nodes, near enough: a feeder is drawn by its buses."""

SEED = 1
PROSUMERS_PER_NODE = 0.30
MULTIPLE = 5.0
"""Export asked for, times the load's kW, times a random number in `SPREAD`."""
SPREAD = (0.5, 1.5)
V_MIN_PU, V_MAX_PU = 0.90, 1.05
FUSED_SHARE = 0.10
"""Of the lines that carry power back when the requests are granted."""
FUSE_SHARE, FUSE_REST = 0.85, 1.10
"""Fuse over the current at the requests; at least this over the current at zero export."""


@dataclass(frozen=True)
class SyntheticCase:
    """A feeder with its prosumers, limits and requests (n_connections,) kW."""

    feeder: Feeder
    limits: Limits
    p_export_kw: Array

    def describe(self) -> str:
        """Settings for the page."""
        return (
            f"{self.feeder.n_nodes} nodes, prosumers at {100 * PROSUMERS_PER_NODE:.0f} % of them, "
            f"{MULTIPLE:g} x load; {self.limits.describe()}; {100 * FUSED_SHARE:g} % of the lines that carry "
            f"power back fused at {FUSE_SHARE:g} of their current at the requests"
        )


def synthetic_case(n_nodes: int, seed: int = SEED) -> SyntheticCase:
    """A feeder of about `n_nodes` nodes, 10 % loops, 30 % delta loads; the same arguments give the same."""
    n_buses = round(n_nodes / _nodes_per_bus(n_nodes, seed))
    plain = synthetic(n_buses, seed)
    share = min(1.0, PROSUMERS_PER_NODE * plain.n_nodes / len(plain[Loads]))
    feeder = synthetic(n_buses, seed, prosumers=share)
    rng = np.random.default_rng([seed, n_buses])
    units = feeder[Connections]
    row = {name: k for k, name in enumerate(feeder[Loads].name)}
    load_kw = feeder[Loads].p_kw[[row[name] for name in units.load]]
    asked = MULTIPLE * load_kw * rng.uniform(*SPREAD, len(units))
    limits = Limits(v_min_pu=V_MIN_PU, v_max_pu=V_MAX_PU)
    return SyntheticCase(_fused(feeder, asked, rng), limits, asked)


def _nodes_per_bus(n_nodes: int, seed: int) -> float:
    n = max(n_nodes // 2, 10)
    return synthetic(n, seed).n_nodes / n


def _fused(feeder: Feeder, asked: Array, rng: np.random.Generator) -> Feeder:
    """Fuses in some of the lines that carry power back, every conductor by its own current."""
    lines, wires = feeder[Lines], conductors(feeder[Lines])
    network = Network(feeder)
    request = DmsRequest.of(feeder, asked, units=Units.of(feeder[Connections]))
    loaded = _line_currents(network, request)
    rest = _line_currents(network, request.without_export())
    back = (loaded > 1.5 * rest).any(axis=1)
    chosen = np.flatnonzero(back)[rng.random(int(back.sum())) < FUSED_SHARE]
    rating = lines.i_max_a.copy()
    fuse = np.maximum(FUSE_SHARE * loaded[chosen], FUSE_REST * rest[chosen])
    rating[chosen] = np.where(wires[chosen], fuse, np.nan)
    # Nothing else is rated below what zero export needs.
    rating = np.where(wires, np.maximum(rating, 1.02 * rest), np.nan)
    return feeder.with_tables(lines.replace(i_max_a=rating))


def _line_currents(network: Network, request: DmsRequest) -> Array:
    """Larger end current of every conductor (n_lines, 4), ampere."""
    flow = run(network, request)
    if not flow.converged:
        raise ValueError(f"feeder {network.feeder.name}: no power flow at the requests; ask for less")
    n = len(network.feeder[Lines])
    found = np.zeros((n, 4))
    for p, current in network.terminal_currents(flow):
        if p.kind == "line":
            size = np.abs(current)
            found[p.row] = np.maximum(size[:, :4], size[:, 4:8])
    return found
