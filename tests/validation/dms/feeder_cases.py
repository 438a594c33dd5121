"""PV systems on public circuits, and limits under which curtailment is needed: what is tested and published.

Units stand at the pairs of randomly chosen load rows and ask for a multiple of the load. The multiple, the
band and the ratings of each circuit were found by experiment: at least five limits bind at every norm's
optimum, a current among them, and zero export keeps all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dms import Controls, DmsProblem, DmsRequest, DmsSolution, Limits, compile
from dms.certificate import State, measure, run
from dms.network import Network
from feeders import EARTH, Connections, Feeder, Lines, Loads
from feeders.elements.lines import conductors
from feeders.readers.opendss import read
from feeders.table import Array

NORMS = ("l1", "l2", "linf")
LARGEST_OF_MEDIAN = 20.0
"""No unit asks for more than this many times the median one: none is absurd behind a service drop."""
SPREAD = (0.5, 1.5)


@dataclass(frozen=True)
class FeederCase:
    """A circuit with its PV and limits.

    share     of the load rows that have PV
    multiple  of the load's kW that the unit asks for, times a random number in `SPREAD`
    controls  taps and banks that may be moved
    fuse_a    rating of one-phase lines that have none
    """

    name: str
    master: str
    share: float
    multiple: float
    limits: Limits
    controls: Controls
    seed: int = 1
    fuse_a: float | None = None


REGULATED = Controls(taps=("regulated",))
CASES = {
    case.name: case
    for case in (
        FeederCase(
            "IEEE 13",
            "13Bus/IEEE13Nodeckt.dss",
            share=0.6,
            multiple=8.0,
            limits=Limits(v_min_pu=0.95, v_max_pu=1.08, i_max_default_a=700.0),
            controls=REGULATED,
        ),
        FeederCase(
            "IEEE 34",
            "34Bus/ieee34Mod1.dss",
            share=0.4,
            multiple=6.0,
            limits=Limits(v_min_pu=0.90, v_max_pu=1.10, i_max_default_a=72.0),
            controls=REGULATED,
            seed=4,
            fuse_a=13.0,
        ),
        FeederCase(
            "IEEE 123",
            "123Bus/IEEE123Master.dss",
            share=0.4,
            multiple=5.0,
            limits=Limits(v_min_pu=0.95, v_max_pu=1.08, i_max_default_a=640.0),
            controls=REGULATED,
            fuse_a=65.0,
        ),
        FeederCase(
            "European LV",
            "LVTestCase/Master.dss",
            share=0.6,
            multiple=5.0,
            limits=Limits(v_min_pu=0.94, v_max_pu=1.08, i_max_default_a=95.0),
            controls=Controls(taps=("tr1",), steps_per_tick=4, tries=12),
        ),
        FeederCase(
            "EPRI J1",
            "epri_dpv_J1/Master_noPV.dss",
            share=0.3,
            multiple=4.0,
            limits=Limits(v_min_pu=0.95, v_max_pu=1.10, i_scale=0.95),
            controls=Controls(taps=("subxfmr",), steps_per_tick=2, tries=4),
        ),
        FeederCase(
            "EPRI M1",
            "epri_dpv_M1/Master_NoPV.dss",
            share=0.3,
            multiple=5.0,
            limits=Limits(v_min_pu=0.95, v_max_pu=1.035, i_scale=0.7),
            controls=Controls(taps=("regulated",), steps_per_tick=4, tries=12),
        ),
    )
}


@dataclass(frozen=True)
class Placed:
    """A circuit as read, with its PV connected.

    p_export_kw  (n_connections,) what the units ask for
    """

    case: FeederCase
    feeder: Feeder
    p_export_kw: Array

    @staticmethod
    def on(case: FeederCase, circuit: Feeder) -> Placed:
        """Connect the units at chosen loads."""
        loads = circuit[Loads]
        rng = np.random.default_rng(case.seed)
        able = np.flatnonzero(loads.p_kw > 0)
        rows = np.sort(rng.permutation(able)[: int(np.ceil(case.share * len(loads)))])
        asked = case.multiple * loads.p_kw[rows] * rng.uniform(*SPREAD, len(rows))
        asked = np.minimum(asked, LARGEST_OF_MEDIAN * np.median(asked))
        units = Connections(
            prosumer=np.array([f"pv {name}" for name in loads.name[rows]], dtype=object),
            pair=loads.pair[rows],
            load=loads.name[rows],
        )
        lines = circuit[Lines]
        wires = conductors(lines)
        fused = wires & (wires.sum(axis=1) == 1)[:, None] & np.isnan(lines.i_max_a)
        rating = np.where(fused, np.nan if case.fuse_a is None else case.fuse_a, lines.i_max_a)
        return Placed(case, circuit.with_tables(units, lines.replace(i_max_a=rating)), asked)

    @staticmethod
    def read(case: FeederCase, master: Path) -> Placed:
        """Read the circuit, its regulators at rest, and connect the units."""
        return Placed.on(case, read(master).feeder)

    @property
    def share(self) -> float:
        """Units over load rows."""
        return len(self.feeder[Connections]) / len(self.feeder[Loads])

    @cached_property
    def network(self) -> Network:
        """The circuit as read, for power flows."""
        return Network(self.feeder)

    def problem(self, norm: str, controls: Controls | None = None) -> DmsProblem:
        """Compiled with the case's limits."""
        return compile(self.feeder, norm=norm, limits=self.case.limits, controls=controls)

    def request(self, problem: DmsProblem, scale: float = 1.0) -> DmsRequest:
        """What the units ask for, the loads as read."""
        return problem.request(self.p_export_kw * scale)


def state_at(problem: DmsProblem, request: DmsRequest, solution: DmsSolution) -> State:
    """At the set-points and positions as sent: a circuit built anew, a power flow from nothing."""
    feeder = problem.feeder
    if len(problem.controls):
        feeder = problem.controls.apply(feeder, solution.position)
    network = Network(feeder)
    return measure(network, run(network, request, solution.p_curtail_kw), problem.values)


def binding(solution: DmsSolution, band_pu: float = 1e-5, current: float = 1e-4) -> tuple[int, int]:
    """Nodes on their band, and conductors on their rating at either end."""
    nodes = int(np.count_nonzero(np.abs(solution.state.over_v) <= band_pu))
    v = solution.values
    at = np.flatnonzero(np.abs(solution.state.over_i) <= current)
    ends = {"line": 4, "switch": 4}
    wires = {(v.kind[k], v.row[k], v.slot[k] % ends.get(v.kind[k], 99)) for k in at}
    return nodes, len(wires)


def engine_gap_pu(
    engine: Any, master: Path, placed: Placed, p_adjusted_kw: Array, *, same_state: bool = False
) -> float:
    """Largest voltage difference to OpenDSS, which has the set-points as loads of negative constant power.

    same_state  our power flow starts from the engine's voltages: CVR loads at the end of their band have
                two states

    engine  `OpenDss` of the tests' conftest; its controls come to rest without the units, then stay there
    """
    engine.compile(master)
    engine.run("set mode=snapshot", "set maxiterations=100", "set maxcontroliter=100", "solve")
    engine.run("set controlmode=off")
    names, feeder = placed.feeder.node_names, placed.feeder
    for k, (a, b) in enumerate(feeder[Connections].pair):
        bus, first = str(names[a]).rsplit(".", 1)
        second = "0" if b == EARTH else str(names[b]).rsplit(".", 1)[1]
        kv = feeder.v_base_v[a] / 1e3
        engine.run(
            f"new load.unit{k} phases=1 bus1={bus}.{first}.{second} kv={kv:.12g} kw={-p_adjusted_kw[k]:.12g} "
            "kvar=0 model=1 vminpu=0 vlowpu=0 vmaxpu=10 status=fixed"
        )
    engine.solve(1e-12)
    theirs = engine.voltages()
    request = DmsRequest.of(feeder, p_adjusted_kw)
    flow = run(placed.network, request)
    if same_state:
        v = np.array([theirs.get(str(n), u) for n, u in zip(names, flow.v, strict=True)])
        flow = run(placed.network, request, start=replace(flow, v=v))
    known = [
        (u, theirs[str(n)], base)
        for u, n, base in zip(flow.v, names, feeder.v_base_v, strict=True)
        if str(n) in theirs
    ]
    assert len(known) == len(theirs)
    return float(max(abs(u - w) / base for u, w, base in known))
