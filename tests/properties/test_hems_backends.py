"""All backends against each other and against the Pyomo text of (1), on random homes of every class.

A thin slice by default; `make test-slow` runs a thousand of each class.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from hems.backends import make_backend
from hems.certificate import Solutions
from hems.dp_backend import compiled_is_there
from hems.reference import build_model, solve_model

_spec = importlib.util.spec_from_file_location("hems_cases", Path(__file__).with_name("hems_cases.py"))
assert _spec
assert _spec.loader
hems_cases = sys.modules["hems_cases"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hems_cases)
Case = hems_cases.Case

DP = ("dp", "dp_compiled") if compiled_is_there() else ("dp",)
PROVED = ("plain", "equal_prices", "negative_export", "soc_outside", "wear", "free")
"""Classes in which LP = MILP is a theorem: the dynamic programme must solve every one of them."""
TICKS = 12


def solve(case: Case, backend: str, **changes: object) -> Solutions:
    config = dataclasses.replace(case.config, backend=backend, compute_band=True, **changes)
    return make_backend(config).solve(hems_cases.numbers(case, config))


def check(case: Case, kind: str) -> None:
    import pyomo.environ as pyo

    model = build_model(hems_cases.oracle_numbers(case))
    bound = solve_model(model)
    assert bound is not None
    incumbent = pyo.value(model.cost)
    plans = {name: solve(case, name) for name in (*DP, "lp", "auto")}
    best = plans["auto"]
    assert best.certified.all()
    hems_cases.assert_between(best.objective[0], bound, incumbent)
    hems_cases.check_residuals(case, planned(case))
    for name, plan in plans.items():
        if plan.certified[0]:
            hems_cases.assert_between(plan.objective[0], bound, incumbent)
            assert plan.lower_bound[0] <= incumbent + 1e-6 * max(1.0, abs(incumbent)), name
        else:
            assert kind not in PROVED, name
    # The OES is the same whoever finds it, and so is the band of equally cheap ones.
    for name in (*DP, "lp"):
        if plans[name].certified[0] and best.path[0] != "milp":
            for what in ("p_export_kw", "p_charge_kw", "p_discharge_kw", "p_spill_kw"):
                assert getattr(plans[name], what)[0, 0] == pytest.approx(getattr(best, what)[0, 0], abs=2e-9)
            assert plans[name].oes_lo_kw[0] == pytest.approx(best.oes_lo_kw[0], abs=1e-8)
            assert plans[name].oes_hi_kw[0] == pytest.approx(best.oes_hi_kw[0], abs=1e-8)


def planned(case: Case):
    fleet = case.fleet()
    case.plan(fleet).raise_for_status()
    return fleet


def check_many(kind: str, seed: int, count: int) -> None:
    rng = np.random.default_rng([seed, hems_cases.CLASSES.index(kind)])
    for number in range(count):
        case = hems_cases.draw(rng, kind, ticks=TICKS)
        try:
            check(case, kind)
        except AssertionError as error:
            raise AssertionError(f"{kind}, number {number}: {case}") from error


@pytest.mark.parametrize("kind", hems_cases.CLASSES)
def test_all_backends_agree(kind: str) -> None:
    check_many(kind, seed=21, count=12)


@pytest.mark.slow
@pytest.mark.parametrize("kind", hems_cases.CLASSES)
def test_all_backends_agree_a_thousand_times(kind: str) -> None:
    check_many(kind, seed=22, count=1000)
