"""Laws of every kind of limit on seeded random feeders: it binds, it is met, and tightening it never pays.

A limit is put between the state at zero export and the state at the requests, nothing else being limited.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dms import DmsProblem, DmsRequest, DmsSolution, Limits, LimitValues, Network, Status, compile, solve
from dms.certificate import State, measure, run
from feeders import Connections, Feeder, Transformers, Windings, library

FREE = {"v_min_pu": 0.3, "v_max_pu": 2.0}
WIDE: dict[str, dict[str, Any]] = {
    "v_ll_band": {"current": False, "band_across": "phase_to_phase"},
    "relative": {"current": False},
    "unbalance": {"current": False, "unbalance": True, "unbalance_max": 0.9},
    "negative_sequence": {"current": False, "negative_sequence_max_pu": 0.9},
    "i_limit": {"transformer_scale": 1e3},
    "s_limit": {"line_scale": 1e3},
    "reverse_power": {"current": False, "reverse_power_max_kw": 1e6},
}
"""Limits of one kind alone, too wide to matter."""
SEEDS = range(3)


def _limits(kind: str, most: float) -> Limits:
    """The kind's limit at a value, in the unit that it is measured in."""
    key: dict[str, dict[str, Any]] = {
        "v_ll_band": {"v_max_pu": most},
        "relative": {"v_rise_pu": most, "band": "relative"},
        "unbalance": {"unbalance_max": most},
        "negative_sequence": {"negative_sequence_max_pu": most},
        "i_limit": {"line_scale": most},
        "s_limit": {"transformer_scale": most},
        "reverse_power": {"reverse_power_max_kw": most},
    }
    free = {} if kind == "relative" else FREE
    return Limits(**{**free, **WIDE[kind], **key[kind]})


def _feeder(seed: int) -> Feeder:
    """With a rated transformer; radial and meshed, mixed and three phases."""
    phases = ("mixed", "three", "mixed")[seed % 3]
    share = {"delta_share": 0.4, "prosumers": 0.6}
    feeder = library.synthetic(12 + seed, seed, meshed=0.2 * (seed % 2), phases=phases, **share)
    windings = feeder[Windings]
    kva = np.where(windings.winding == 1, feeder[Transformers].s_kva[windings.transformer], np.nan)
    return feeder.with_tables(windings.replace(s_max_kva=kva))


@dataclass
class Case:
    """A limit of one kind between two states, `part` of the way from zero export to the requests."""

    kind: str
    feeder: Feeder
    request: DmsRequest
    rest: float
    full: float

    @staticmethod
    def of(kind: str, seed: int) -> "Case":
        feeder = _feeder(seed)
        network = Network(feeder)
        wide = {**FREE, **WIDE[kind]}
        values = LimitValues.resolve(feeder, Limits(**wide))
        export_kw = feeder[Connections].p_pv_max_kw * np.random.default_rng(seed).uniform(3.0, 6.0)
        flows = [run(network, DmsRequest.of(feeder, p)) for p in (0 * export_kw, export_kw)]
        states = [measure(network, flow, values) for flow in flows]
        assert all(state.flow.converged for state in states)
        rest, full = (_measured(kind, state) for state in states)
        if kind == "relative":
            rest, full = 0.0, float((states[1].v_pu - states[0].v_pu).max())
        assert full > rest + 1e-3 * abs(rest), (rest, full)
        return Case(kind, feeder, DmsRequest.of(feeder, export_kw), rest, full)

    def at(self, part: float, **given: Any) -> tuple[DmsProblem, DmsSolution]:
        limits = _limits(self.kind, self.rest + part * (self.full - self.rest))
        problem = compile(self.feeder, norm="l2", limits=Limits(**{**vars(limits), **given}))
        return problem, solve(problem, self.request)


def _rows(kind: str) -> str:
    return "v_band" if kind == "relative" else kind


def _measured(kind: str, state: State) -> float:
    """The largest value; of ratings the largest share."""
    k = [f.rows for f in state.values.families].index(_rows(kind))
    family, found = state.values.families[k], state.found[k]
    return float((found / family.hi if kind in ("i_limit", "s_limit") else found).max())


@pytest.fixture(scope="module", params=[(k, s) for k in WIDE for s in SEEDS], ids=lambda p: f"{p[0]}-{p[1]}")
def case(request: pytest.FixtureRequest) -> Case:
    return Case.of(*request.param)


def test_a_limit_binds_is_met_and_costs_no_less_when_tighter(case: Case) -> None:
    cost = []
    for part in (0.7, 0.4):
        problem, solution = case.at(part)
        solution.raise_for_status()
        assert (solution.status, solution.certificate.safe) == (Status.CURTAILED, "yes")
        flow = run(Network(case.feeder), case.request, solution.p_curtail_kw)
        state = measure(problem.network, flow, problem.limits_at(case.request))
        k = [f.rows for f in state.values.families].index(_rows(case.kind))
        assert -1e-6 <= state.over[k].max() <= 1e-7
        assert all(over.max(initial=-np.inf) <= 1e-7 for over in state.over)
        assert solution.binding() >= 1
        cost.append(problem.objective(solution.unit_curtail_kw))
    assert cost[1] >= cost[0] > 0


def test_zero_export_beyond_a_limit_names_it_and_is_no_worse_after(case: Case) -> None:
    """Below what zero export needs: "strict" names it and keeps it or is infeasible, "relax" stays at it."""
    if case.kind == "relative":
        return  # zero export is the middle of such a band
    below = 0.98 * case.rest if case.rest > 0 else 1.02 * case.rest
    part = (below - case.rest) / (case.full - case.rest)
    _, refused = case.at(part, preexisting="strict")
    assert refused.status is Status.INFEASIBLE or refused.certificate.safe == "yes"
    kinds = {"v_ll_band": "v_ll_max", "i_limit": "i_max", "s_limit": "s_max"}
    assert {p.kind for p in refused.preexisting} == {kinds.get(case.kind, case.kind)}
    assert all(p.element and p.value > p.limit for p in refused.preexisting)
    problem, solution = case.at(part)
    assert solution.raise_for_status().certificate.safe == "relaxed"
    assert solution.preexisting == refused.preexisting
    family = solution.values[_rows(case.kind)]
    worst = max(p.value for p in refused.preexisting if family.label.tolist().count(p.element))
    assert family.hi.max() <= max(worst + 2e-6 * abs(worst), problem.values[_rows(case.kind)].hi.max())
