"""All backends against each other and against the Pyomo text of (1), on random homes of every class.

A thin slice by default; `make test-slow` runs a thousand of each class.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np
import pytest

from hems.backends import make_backend
from hems.certificate import Solutions
from hems.dp_backend import compiled_is_there
from hems.reference import build_model, solve_model
from tests.properties import hems_cases

Case = hems_cases.Case

DP = ("dp", "dp_compiled") if compiled_is_there() else ("dp",)
PROVED = ("plain", "equal_prices", "negative_export", "soc_outside", "wear", "free")
"""Classes in which LP = MILP is a theorem: the dynamic programme must solve every one of them."""
TICKS = 12
SHARES = (1.0, 0.75, 0.5, 0.25, 0.0)


def solve(case: Case, backend: str, **changes: object) -> Solutions:
    config = dataclasses.replace(case.config, backend=backend, compute_band=True, **changes)
    return make_backend(config).solve(hems_cases.numbers(case, config))


def check(case: Case, kind: str, seen: Counter[str]) -> None:
    import pyomo.environ as pyo

    model = build_model(hems_cases.oracle_numbers(case))
    bound = solve_model(model)
    assert bound is not None
    incumbent = pyo.value(model.cost)
    plans = {name: solve(case, name) for name in (*DP, "lp", "auto")}
    best = plans["auto"]
    assert best.certified.all()
    hems_cases.assert_between(best.objective[0], bound, incumbent)
    for name, plan in plans.items():
        if plan.certified[0]:
            hems_cases.assert_between(plan.objective[0], bound, incumbent)
            assert plan.lower_bound[0] <= incumbent + 1e-6 * max(1.0, abs(incumbent)), name
        else:
            assert kind not in PROVED, name
            seen[f"{name} declines"] += 1
    seen[str(best.path[0])] += 1
    # The OES is the same whoever finds it, and so is the band of equally cheap ones.
    for name in (*DP, "lp"):
        if plans[name].certified[0] and best.path[0] != "milp":
            for what in ("p_export_kw", "p_charge_kw", "p_discharge_kw", "p_spill_kw"):
                assert getattr(plans[name], what)[0, 0] == pytest.approx(getattr(best, what)[0, 0], abs=2e-9)
            assert plans[name].oes_lo_kw[0] == pytest.approx(best.oes_lo_kw[0], abs=1e-8)
            assert plans[name].oes_hi_kw[0] == pytest.approx(best.oes_hi_kw[0], abs=1e-8)
    check_answers(case, kind)


def check_answers(case: Case, kind: str) -> None:
    """The answers to an AES: exact export, residuals, price; from V_1 as from a plan made anew."""
    fleet, anew = case.fleet(), case.fleet(backend="lp")
    plan, lp = case.plan(fleet), case.plan(anew)
    plan.raise_for_status()
    hems_cases.check_residuals(case, fleet)
    before, go_ahead = fleet.explain(0), fleet.respond(plan.p_export_kw)
    assert not go_ahead.curtailed[0]
    assert fleet.explain(0).equals(before)
    oes, costs = plan.p_export_kw, []
    by_dp, by_lp = plan.path[0] in DP, lp.status[0] != "uncertified"
    for share in SHARES:
        aes = share * oes
        dispatch = fleet.respond(aes)
        assert dispatch.p_export_kw[0] == aes[0]
        hems_cases.check_residuals(case, fleet)
        costs.append(dispatch.objective[0])
        if not dispatch.curtailed[0]:
            continue
        if by_dp:
            assert dispatch.certified[0]
            assert fleet.bid_curve(0).at(aes)[0] == pytest.approx(dispatch.regret_usd[0], abs=1e-9)
            assert fleet.explain(0).attrs["objective_usd"] == pytest.approx(costs[-1], abs=1e-9)
        if by_dp and by_lp:
            again = anew.respond(np.minimum(aes, lp.p_export_kw))
            assert costs[-1] == pytest.approx(again.objective[0], abs=1e-7)
            for name in ("p_charge_kw", "p_discharge_kw", "p_spill_kw"):
                assert getattr(dispatch, name)[0] == pytest.approx(getattr(again, name)[0], abs=1e-7)
    assert np.all(np.diff(costs) >= -1e-8)  # less export costs more, or nothing
    if kind in PROVED:
        assert np.all(np.diff(costs, n=2) >= -1e-8)


def check_many(kind: str, seed: int, count: int) -> None:
    rng, seen = np.random.default_rng([seed, hems_cases.CLASSES.index(kind)]), Counter[str]()
    for number in range(count):
        case = hems_cases.draw(rng, kind, ticks=TICKS)
        try:
            check(case, kind, seen)
        except AssertionError as error:
            raise AssertionError(f"{kind}, number {number}: {case}") from error
    print(kind, dict(sorted(seen.items())))
    if kind in ("negative_import", "arbitrage"):  # where the theorem does not hold, it fails and is caught
        assert seen["milp"] > count / 10
        assert seen["lp declines"] > count / 10
        assert all(seen[f"{name} declines"] > count / 10 for name in DP)
    elif kind in PROVED:
        assert seen[DP[-1]] == count


@pytest.mark.parametrize("kind", hems_cases.CLASSES)
def test_all_backends_agree(kind: str) -> None:
    check_many(kind, seed=21, count=12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", hems_cases.CLASSES)
def test_all_backends_agree_a_thousand_times(kind: str) -> None:
    check_many(kind, seed=22, count=1000)
