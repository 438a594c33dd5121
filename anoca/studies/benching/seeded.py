"""Seeded cases of the DMS: a feeder, a tick and limits, drawn so that many are hard in one way or another.

Every case comes from its seed alone. Of the feeders, two in five are meshed and most have delta loads or
parts of one and two phases; sources may be weak, PV up to eight times the load, bands tight. In most
cases limits are then set between what zero export and what the requests do, so that curtailment is needed
and possible; in some, below what zero export does already, so that the tick is infeasible or its limits
are widened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np

from anoca.studies.benching.circuits import MissingCircuitError, read_copy
from dms import DmsProblem, DmsRequest, Limits, Network, Units, compile
from dms.certificate import State, measure, run
from dms.limits import LimitValues
from dms.norms import UNWEIGHTED
from feeders import Connections, Feeder, Lines, Loads, Sources
from feeders.elements.lines import conductors
from feeders.library.synthetic import synthetic
from feeders.table import Array

SIZES = (20, 400)
MESHED, THREE_PHASE, WEAK, BROKEN, EASY, WEIGHTED = 0.4, 0.25, 0.3, 0.27, 0.05, 0.25
"""Shares of the cases."""
STRICT_OF_BROKEN = 0.9
"""Half of those are infeasible; some export ends the undervoltage of the others."""
MULTIPLES = (1.0, 2.0, 3.0, 3.0, 5.0, 8.0)
WEAK_FACTORS = (10.0, 60.0)
PUBLIC_SHARE = 0.1
PUBLIC = ("13Bus/IEEE13Nodeckt.dss", "34Bus/ieee34Mod1.dss", "123Bus/IEEE123Master.dss")
"""Small public circuits, all of them radial, with parts of one and two phases."""
SPREAD = (0.5, 1.5)


@dataclass(frozen=True)
class SeededCase:
    """A tick that can be solved under any norm.

    p_export_kw  (n_connections,)      weights  by unit name
    traits       what was drawn, for tables
    """

    seed: int
    feeder: Feeder
    limits: Limits
    p_export_kw: Array
    weights: dict[str, float]
    traits: Mapping[str, object]

    def problem(self, norm: str) -> DmsProblem:
        """Compiled."""
        weights = {} if norm in UNWEIGHTED else self.weights
        return compile(self.feeder, norm=norm, limits=self.limits, weights=weights)

    def request(self, problem: DmsProblem) -> DmsRequest:
        """What is asked; no reactive power."""
        return problem.request(self.p_export_kw)


def seeded_case(seed: int, *, feasible: bool = False) -> SeededCase:
    """The case of a seed.

    feasible  zero export keeps every limit, and curtailment is needed wherever requests can break one
    """
    rng = np.random.default_rng([seed, 20_260])
    feeder, traits = _public(rng) or _drawn(seed, rng)
    weak = float(rng.uniform(*WEAK_FACTORS)) if rng.random() < WEAK else 1.0
    sources = feeder[Sources]
    feeder = feeder.with_tables(sources.replace(z_ohm=sources.z_ohm * weak))
    multiple = float(rng.choice(MULTIPLES))
    units = feeder[Connections]
    row = {name: k for k, name in enumerate(feeder[Loads].name)}
    load_kw = feeder[Loads].p_kw[[row[name] for name in units.load]]
    asked = multiple * load_kw * rng.uniform(*SPREAD, len(units))
    kind = "hard" if feasible else _kind(rng)
    limits, rated = _limits(feeder, asked, kind, rng)
    if kind == "broken" and rng.random() < STRICT_OF_BROKEN:
        limits, kind = replace(limits, preexisting="strict"), "broken, strict"
    weights = {}
    if rng.random() < WEIGHTED:
        weights = {
            str(n): float(w) for n, w in zip(units.prosumer, rng.uniform(0.5, 2.0, len(units)), strict=True)
        }
    traits |= {"n": feeder.n_nodes, "weak": weak, "multiple": multiple, "kind": kind}
    traits |= {"weighted": bool(weights), "v_max_pu": limits.v_max_pu}
    return SeededCase(seed, rated, limits, asked, weights, traits)


def _drawn(seed: int, rng: np.random.Generator) -> tuple[Feeder, dict[str, object]]:
    """A synthetic feeder with prosumers, and what is to be said of it."""
    n_buses = int(np.exp(rng.uniform(*np.log(SIZES))))
    meshed = 0.1 if rng.random() < MESHED else 0.0
    phases: Literal["three", "mixed"] = "three" if rng.random() < THREE_PHASE else "mixed"
    delta = float(rng.choice([0.0, 0.3, 0.6]))
    share = rng.uniform(0.1, 0.8)
    feeder = synthetic(n_buses, seed, meshed=meshed, phases=phases, delta_share=delta, prosumers=share)
    return feeder, {"feeder": "synthetic", "meshed": meshed > 0, "parts": phases == "mixed" or delta > 0}


def _public(rng: np.random.Generator) -> tuple[Feeder, dict[str, object]] | None:
    """A small public circuit with prosumers at some loads; None for most seeds, or without its files."""
    drawn, master = rng.random(), str(rng.choice(PUBLIC))
    if drawn >= PUBLIC_SHARE:
        return None
    try:
        circuit = _circuit(master)
    except MissingCircuitError:
        return None
    loads = circuit[Loads]
    able = np.flatnonzero(loads.p_kw > 0)
    rows = np.sort(rng.permutation(able)[: max(2, round(rng.uniform(0.2, 0.8) * len(able)))])
    units = Connections(
        prosumer=np.array([f"pv {name}" for name in loads.name[rows]], dtype=object),
        pair=loads.pair[rows],
        load=loads.name[rows],
    )
    traits: dict[str, object] = {"feeder": master.split("/")[0], "meshed": False, "parts": True}
    return circuit.with_tables(units), traits


@cache
def _circuit(master: str) -> Feeder:
    return read_copy(master)


def _kind(rng: np.random.Generator) -> str:
    """Limits between zero export and requests, below zero export, or the ordinary ones."""
    drawn = rng.random()
    return "broken" if drawn < BROKEN else "easy" if drawn < BROKEN + EASY else "hard"


def _limits(feeder: Feeder, asked: Array, kind: str, rng: np.random.Generator) -> tuple[Limits, Feeder]:
    """Band and ratings; ratings are put into the feeder line by line."""
    rest, full = _states(feeder, asked)
    low, high = float(rest.v_pu.min()), float(rest.v_pu.max())
    v_min = min(0.95, low - 0.002)
    tight = rng.uniform(0.0005, 0.004) if rng.random() < 0.4 else rng.uniform(0.004, 0.03)
    v_max = high + tight
    if kind == "easy":
        return Limits(v_min_pu=v_min - 0.05, v_max_pu=high + 0.2), _rated(feeder, rest, full, 1.5, rng)
    top = float(full.v_pu.max()) if full.flow.converged else high + 0.05
    if top > high + 1e-4:
        v_max = min(v_max, high + rng.uniform(0.2, 0.9) * (top - high))
    if kind == "broken":
        above = rng.random() < 0.5
        band = (v_min, high - rng.uniform(0.001, 0.01)) if above else (low + rng.uniform(0.001, 0.01), v_max)
        band = (band[0], max(band[1], band[0] + 0.005))
        return Limits(v_min_pu=band[0], v_max_pu=band[1]), feeder
    return Limits(v_min_pu=v_min, v_max_pu=v_max), _rated(feeder, rest, full, rng.uniform(0.5, 0.95), rng)


def _rated(feeder: Feeder, rest: State, full: State, share: float, rng: np.random.Generator) -> Feeder:
    """A quarter of the lines rated at a share of their current at the requests, none below zero export's."""
    lines, wires = feeder[Lines], conductors(feeder[Lines])
    values = LimitValues.resolve(feeder, Limits())
    current = {id_: np.zeros((len(lines), 4)) for id_ in ("rest", "full")}
    of_line = values.kind == "line"
    at = (values.row[of_line], values.slot[of_line] % 4)
    np.maximum.at(current["rest"], at, rest.through[of_line])
    np.maximum.at(current["full"], at, full.through[of_line] if full.flow.converged else 0.0)
    chosen = (rng.random(len(lines)) < 0.25)[:, None] & wires & (current["full"] > 1.05 * current["rest"])
    fuse = np.where(chosen, share * current["full"], lines.i_max_a)
    rating = np.where(wires, np.maximum(fuse, 1.05 * current["rest"] + 0.5), np.nan)
    return feeder.with_tables(lines.replace(i_max_a=rating))


def _states(feeder: Feeder, asked: Array) -> tuple[State, State]:
    """Zero export and the requests, measured against limits that hold nothing back."""
    values = LimitValues.resolve(feeder, Limits())
    network = Network(feeder)
    request = DmsRequest.of(feeder, asked, units=Units.of(feeder[Connections]))
    rest, full = (measure(network, run(network, request, cut), values) for cut in (asked, 0.0))
    return rest, full
