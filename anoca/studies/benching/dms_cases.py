"""What the DMS is timed on: the paper's cases, public circuits with PV, synthetic feeders of any size.

PV, bands and ratings of the circuits were found by experiment: limits bind at the optimum, and zero export
keeps every limit, so that nothing is widened.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from anoca.config import Scenario
from anoca.placement import load_feeder, place
from anoca.studies.benching.circuits import read_copy
from anoca.studies.benching.synthetic_case import SIZES, synthetic_case
from anoca.studies.reproduce import case1_scenario, case2_scenario
from dms import DmsProblem, DmsRequest, Limits, compile, methods
from feeders import Connections, Feeder, Loads
from feeders.table import Array

LARGEST_OF_MEDIAN = 20.0
"""No unit asks for more than this many times the median one: none is absurd behind a service drop."""
SPREAD = (0.5, 1.5)


@dataclass(frozen=True)
class DmsCase:
    """One tick to be solved: a feeder with its prosumers, limits, and what is asked.

    name, scenario  of the tables; scenario "" where there is one alone
    p_export_kw, q_kvar  (n_connections,)
    note            settings in a few words
    """

    name: str
    scenario: str
    feeder: Feeder
    limits: Limits
    p_export_kw: Array
    q_kvar: Array
    note: str = ""

    def compile(self, norm: str) -> DmsProblem:
        """The problem, everything that it keeps for later ticks made already."""
        problem = compile(self.feeder, norm=norm, limits=self.limits)
        return prepared(problem)

    def request(self, problem: DmsProblem, scale: float | Array = 1.0) -> DmsRequest:
        """The tick, exports times `scale`."""
        return problem.request(self.p_export_kw * scale, q_kvar=self.q_kvar)


@dataclass(frozen=True)
class Circuit:
    """A public circuit with PV: which share of the load rows, and how many times the load each asks for.

    multiple  of the load's kW, times a random number in `SPREAD`
    """

    master: str
    share: float
    multiple: float
    limits: Limits
    seed: int = 1

    def describe(self) -> str:
        """Settings for the page."""
        return (
            f"PV at {100 * self.share:.0f} % of the loads, {self.multiple:g} x load; {self.limits.describe()}"
        )


CIRCUITS: dict[str, Circuit] = {
    "ieee123": Circuit(
        "123Bus/IEEE123Master.dss", 0.4, 5.0, Limits(v_min_pu=0.95, v_max_pu=1.08, i_max_default_a=640.0)
    ),
    "m1": Circuit("epri_dpv_M1/Master_NoPV.dss", 1.0, 3.0, Limits(v_min_pu=0.95, v_max_pu=1.035)),
    "j1": Circuit("epri_dpv_J1/Master_noPV.dss", 1.0, 0.5, Limits(v_min_pu=0.95, v_max_pu=1.049)),
    "8500": Circuit(
        "8500-Node/Master-unbal.dss", 0.3, 1.0, Limits(v_min_pu=0.90, v_max_pu=1.06, i_scale=1.8)
    ),
}


def prepared(problem: DmsProblem) -> DmsProblem:
    """Touch all that a problem and the methods make once and keep: it belongs to the compilation."""
    for name, attribute in vars(type(problem)).items():
        if isinstance(attribute, cached_property):
            getattr(problem, name)
    methods.prepare(problem, all_methods=True)
    return problem


def cases(name: str) -> list[DmsCase]:
    """The ticks of a case; feeders are read or drawn here, and compiled by whoever times it.

    Raises  KeyError             an unknown name
            MissingCircuitError  a public circuit whose files are not there
    """
    return _LOADERS[name]()


def names() -> list[str]:
    """All cases in the order of the tables."""
    return list(_LOADERS)


def _from_scenario(name: str, label: str, scenario: Scenario) -> DmsCase:
    placement = place(scenario, load_feeder(scenario.feeder))
    at = placement.at_connections
    return DmsCase(
        name=name,
        scenario=label,
        feeder=placement.feeder,
        limits=scenario.limits.limits(),
        p_export_kw=at(placement.p_request_kw),
        q_kvar=at(placement.q_kvar()),
        note=scenario.in_force(),
    )


def _case1() -> list[DmsCase]:
    # At zero export a phase stands at 0.75 pu and a line at 2.1 times its rating: limits from there on.
    scenario = case1_scenario(2).with_overrides({"limits.v_min_pu": 0.70, "limits.i_scale": 2.2})
    return [_from_scenario("case1", "2", scenario)]


def _case2(form: str) -> list[DmsCase]:
    name = "case2" if form == "merged" else f"case2-{form}"
    return [_from_scenario(name, str(n), case2_scenario(n, form=form)) for n in (1, 2, 3, 4)]


def _circuit(name: str) -> list[DmsCase]:
    circuit = CIRCUITS[name]
    feeder = read_copy(circuit.master)
    loads = feeder[Loads]
    rng = np.random.default_rng(circuit.seed)
    able = np.flatnonzero(loads.p_kw > 0)
    rows = np.sort(rng.permutation(able)[: int(np.ceil(circuit.share * len(loads)))])
    asked = circuit.multiple * loads.p_kw[rows] * rng.uniform(*SPREAD, len(rows))
    asked = np.minimum(asked, LARGEST_OF_MEDIAN * np.median(asked))
    units = Connections(
        prosumer=np.array([f"pv {load}" for load in loads.name[rows]], dtype=object),
        pair=loads.pair[rows],
        load=loads.name[rows],
    )
    placed = feeder.with_tables(units)
    return [DmsCase(name, "", placed, circuit.limits, asked, np.zeros(len(rows)), circuit.describe())]


def _synthetic(n_nodes: int) -> list[DmsCase]:
    found = synthetic_case(n_nodes)
    zero = np.zeros(len(found.p_export_kw))
    return [
        DmsCase(
            f"synthetic-{n_nodes}", "", found.feeder, found.limits, found.p_export_kw, zero, found.describe()
        )
    ]


_LOADERS: dict[str, Callable[[], list[DmsCase]]] = {
    "case1": _case1,
    "case2": partial(_case2, "merged"),
    "case2-expanded": partial(_case2, "expanded"),
    **{name: partial(_circuit, name) for name in CIRCUITS},
    **{f"synthetic-{n}": partial(_synthetic, n) for n in SIZES},
}
