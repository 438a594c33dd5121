"""Checks of what lies between two nodes: loads, generators, capacitors, reactors; and of regulators."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from feeders.elements import (
    GENERATOR_MODELS,
    LOAD_MODELS,
    Admittances,
    Capacitors,
    Connections,
    Generators,
    Loads,
    Reactors,
    Regulators,
    Transformers,
    Windings,
)
from feeders.elements.loads import voltage_dependent
from feeders.feeder import Feeder
from feeders.issues import Issue, error, errors
from feeders.table import ABSENT, EARTH, Array, Table


def check_shunts(feeder: Feeder) -> Iterator[Issue]:
    """Everything that is wrong with two-node elements and regulator controls."""
    yield from _loads(feeder[Loads])
    yield from _generators(feeder[Generators])
    for table in (feeder[Loads], feeder[Generators]):
        yield from _rated_for_its_nodes(feeder, table)
    yield from _banks(feeder[Capacitors])
    reactors = feeder[Reactors]
    yield from pairs(Reactors, reactors.name, reactors.pair)
    zero = reactors.z_ohm == 0
    yield from errors(Reactors, "z_ohm", reactors.name, zero, "zero; give an impedance, or use a switch")
    fixed = feeder[Admittances]
    absent = (fixed.to_node == ABSENT) | (fixed.of_node == ABSENT)
    yield from errors(Admittances, "to_node", fixed.element, absent, "needs two nodes; earth is 0")
    yield from _regulators(feeder)


def pairs(table: type[Table], names: Array, pair: Array) -> Iterator[Issue]:
    """Two nodes, and not the same one."""
    absent = (pair == ABSENT).any(axis=1)
    yield from errors(table, "pair", names, absent, "needs two nodes; earth is 0")
    same = (pair[:, 0] == pair[:, 1]) & ~absent
    yield from errors(table, "pair", names, same, "lies between a node and itself; correct one end")


def connection_pairs(connections: Connections) -> Iterator[Issue]:
    """Connections lie between two nodes as well."""
    return pairs(Connections, connections.prosumer, connections.pair)


def _models(table: type[Table], names: Array, models: Array, known: tuple[str, ...]) -> Iterator[Issue]:
    kind, valid = table.__name__.lower().removesuffix("s"), " or ".join(known)
    for name, model in zip(names, models, strict=True):
        if model not in known:
            yield error(table, "model", name, f"unknown {kind} model {model!r}; use {valid}")


def _loads(loads: Loads) -> Iterator[Issue]:
    yield from pairs(Loads, loads.name, loads.pair)
    yield from _models(Loads, loads.name, loads.model, LOAD_MODELS)
    yield from _rated(Loads, loads.name, loads.v_nom_kv, voltage_dependent(loads))
    yield from _band(Loads, loads.name, loads.v_min_pu, loads.v_max_pu)
    idle = (loads.model == "zip") & ~loads.zip.any(axis=1) & ((loads.p_kw != 0) | (loads.q_kvar != 0))
    yield from errors(Loads, "zip", loads.name, idle, "all six shares are zero; give them")


def _generators(generators: Generators) -> Iterator[Issue]:
    names = generators.name
    yield from pairs(Generators, names, generators.pair)
    yield from _models(Generators, names, generators.model, GENERATOR_MODELS)
    banded = (generators.v_min_pu > 0) | (generators.v_max_pu < np.inf)
    needed = (generators.model != "constant_power") | banded
    yield from _rated(Generators, names, generators.v_nom_kv, needed)
    yield from _band(Generators, names, generators.v_min_pu, generators.v_max_pu)


def _rated(table: type[Table], names: Array, v_nom_kv: Array, needed: Array) -> Iterator[Issue]:
    missing = needed & ~(np.isfinite(v_nom_kv) & (v_nom_kv > 0))
    yield from errors(table, "v_nom_kv", names, missing, "power depends on voltage: give the rated one, kV")


def _rated_for_its_nodes(feeder: Feeder, t: Loads | Generators) -> Iterator[Issue]:
    """A rated voltage that is far from what the two nodes suggest: another level, or phase for line."""
    known = (t.pair != ABSENT).all(axis=1) & np.isfinite(t.v_nom_kv) & (t.v_nom_kv > 0)
    if not known.any():
        return
    phase = (t.pair > EARTH) & (feeder.nodes.terminal[np.maximum(t.pair, 0)] <= 3)
    base_kv = feeder.v_base_v[np.maximum(t.pair, 0).max(axis=1)] / 1e3
    between = np.asarray(phase.all(axis=1))
    # Between phases it is sqrt 3 of the base, or twice that where one phase is split.
    ends = np.where(between[:, None], base_kv[:, None] * [np.sqrt(3), 2.0], base_kv[:, None] * [1.0, 1.0])
    ratio = np.where(known, t.v_nom_kv, 1.0)[:, None] / ends
    far = known & ((ratio < 0.75) | (ratio > 1.33)).all(axis=1)
    for row in np.flatnonzero(far):
        message = f"{t.v_nom_kv[row]:g} kV, its nodes suggest {ends[row, 0]:.4g} kV; phase or line voltage?"
        yield Issue("warning", type(t).__name__, "v_nom_kv", str(t.name[row]), message)


def _band(table: type[Table], names: Array, v_min_pu: Array, v_max_pu: Array) -> Iterator[Issue]:
    crossed = ~(v_max_pu > v_min_pu)
    yield from errors(table, "v_max_pu", names, crossed, "not above v_min_pu; correct the band")


def _banks(banks: Capacitors) -> Iterator[Issue]:
    yield from pairs(Capacitors, banks.name, banks.pair)
    over = banks.steps_on > banks.steps
    yield from errors(Capacitors, "steps_on", banks.name, over, "more steps in service than there are")


def _regulators(feeder: Feeder) -> Iterator[Issue]:
    regulators, windings = feeder[Regulators], feeder[Windings]
    known = set(zip(windings.transformer.tolist(), windings.winding.tolist(), strict=True))
    units = len(feeder[Transformers])
    for column in ("winding", "tap_winding"):
        ends = zip(regulators.transformer.tolist(), getattr(regulators, column).tolist(), strict=True)
        lost = np.array([end not in known for end in ends], dtype=bool)
        message = f"no such winding; there are {units} transformers, and windings count from 0"
        yield from errors(Regulators, column, regulators.name, lost, message)
