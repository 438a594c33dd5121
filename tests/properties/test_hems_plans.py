"""Laws of the home energy problem over seeded random homes, held against the Pyomo text of (1)."""

from __future__ import annotations

import dataclasses

import highspy
import numpy as np
import pytest

from hems import HemsConfig, Tariff
from hems.lp import LpBackend, goals, relaxation
from hems.model import Problems
from hems.reference import break_ties, build_model, solve_model
from tests.properties import hems_cases

CLASSES, Case, draw = hems_cases.CLASSES, hems_cases.Case, hems_cases.draw
oracle_numbers, assert_between = hems_cases.oracle_numbers, hems_cases.assert_between
check_residuals, lp_numbers = hems_cases.check_residuals, hems_cases.numbers


def check_against_oracle(case: Case) -> str:
    """Objective and OES of one case; returns the path it took."""
    import pyomo.environ as pyo

    model = build_model(oracle_numbers(case))
    bound = solve_model(model)
    assert bound is not None
    plan = case.plan(case.fleet())
    plan.raise_for_status()
    assert_between(plan.objective[0], bound, pyo.value(model.cost))
    assert plan.lower_bound[0] <= pyo.value(model.cost) + 1e-6
    break_ties(model, "least_battery")
    # The oracle breaks ties within 1e-9 $, that is within 1e-9 $ / (smallest price difference x dt).
    assert plan.p_export_kw[0] == pytest.approx(pyo.value(model.ge[0]), abs=1e-5)
    return str(plan.path[0])


# Optimality ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CLASSES)
def test_plans_cost_what_the_milp_says(kind: str) -> None:
    rng = np.random.default_rng(5)
    paths = [check_against_oracle(draw(rng, kind, ticks=12)) for _ in range(20)]
    exact = kind not in ("negative_import", "arbitrage")
    assert ("milp" in paths) != exact  # exact classes need no MILP, the others reach it


@pytest.mark.parametrize(
    "cases", [1, pytest.param(10, marks=pytest.mark.slow)], ids=["one case", "ten cases"]
)
@pytest.mark.parametrize("kind", CLASSES)
def test_plans_cost_what_the_milp_says_over_a_full_horizon(kind: str, cases: int) -> None:
    rng = np.random.default_rng(6)
    for _ in range(cases):
        check_against_oracle(
            draw(rng, kind, ticks=96 if kind not in ("negative_import", "arbitrage") else 32)
        )


@pytest.mark.parametrize("kind", CLASSES)
def test_plans_obey_the_equations(kind: str) -> None:
    rng = np.random.default_rng(7)
    for _ in range(25 if kind not in ("negative_import", "arbitrage") else 6):
        case = draw(rng, kind, ticks=12)
        fleet = case.fleet()
        case.plan(fleet)
        check_residuals(case, fleet)


# The tie-break ------------------------------------------------------------------------------------


def permuted_optimum(p: Problems, rng: np.random.Generator, options: dict) -> tuple[float, float]:
    """Battery power and export of tick 0 by the same order of goals, from shuffled columns and other options.

    The optimal face is found afresh from this run's own multipliers.
    """
    structure = p.structure
    order = rng.permutation(structure.n_cols)
    matrix = structure.matrix[:, order]
    lp = relaxation(structure)
    lp.a_matrix_.start_, lp.a_matrix_.index_ = matrix.indptr, matrix.indices
    lp.a_matrix_.value_ = matrix.data
    lo, hi = p.col_lo[0][order], p.col_hi[0][order]
    lp.row_lower_ = lp.row_upper_ = p.rhs[0]
    tick_0 = goals(structure)
    x = np.zeros(structure.n_cols)
    for goal in (p.cost, tick_0.battery, tick_0.spill):
        highs = highspy.Highs()
        for name, value in {"output_flag": False, "dual_feasibility_tolerance": 1e-9, **options}.items():
            highs.setOptionValue(name, value)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = goal[order], lo, hi
        highs.passModel(lp)
        highs.run()
        assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
        solution = highs.getSolution()
        price = goal[order] - matrix.T @ np.array(solution.row_dual)
        lo, hi = np.where(price < -1e-10, hi, lo), np.where(price > 1e-10, lo, hi)
        x[order] = solution.col_value
    col = structure.col
    battery = x[col.p_charge_kw.start] - x[col.p_discharge_kw.start]
    return battery, -(p.rhs[0, 0] + x[col.p_spill_kw.start] + battery)


@pytest.mark.parametrize(
    "options",
    [
        {"presolve": "on"},
        {"presolve": "off", "simplex_strategy": 4},
        {"presolve": "off", "simplex_dual_edge_weight_strategy": 0, "random_seed": 7},
        {"solver": "ipm", "run_crossover": "on"},
    ],
    ids=["presolve", "primal", "dantzig", "interior"],
)
def test_the_oes_does_not_depend_on_the_solver(options: dict) -> None:
    rng = np.random.default_rng(9)
    for kind in ("plain", "wear", "negative_export", "soc_outside"):
        for _ in range(6):
            case = draw(rng, kind, ticks=24)
            plan = case.plan(case.fleet())
            battery, net_export = permuted_optimum(lp_numbers(case), rng, options)
            assert plan.p_charge_kw[0] - plan.p_discharge_kw[0] == pytest.approx(battery, abs=1e-6)
            assert plan.p_export_kw[0] == pytest.approx(max(net_export, 0.0), abs=1e-6)


def test_ties_are_real_and_the_band_holds_all_of_them() -> None:
    rng = np.random.default_rng(10)
    wide = 0
    for _ in range(40):
        case = draw(rng, "plain", ticks=16)
        found = {
            t: case.plan(case.fleet(tie_break=t, compute_band=True))
            for t in ("least_battery", "defer_export", "export_early")
        }
        lo, hi = found["least_battery"].oes_lo_kw[0], found["least_battery"].oes_hi_kw[0]
        assert found["defer_export"].p_export_kw[0] == pytest.approx(lo, abs=1e-8)
        assert found["export_early"].p_export_kw[0] == pytest.approx(hi, abs=1e-8)
        assert lo - 1e-8 <= found["least_battery"].p_export_kw[0] <= hi + 1e-8
        costs = [plan.objective[0] for plan in found.values()]
        assert max(costs) - min(costs) <= 1e-8
        wide += hi - lo > 0.01
    assert wide > 2  # without a tie-break these homes would have no defined OES


def test_least_battery_is_the_least_over_the_band() -> None:
    rng = np.random.default_rng(12)
    for _ in range(30):
        case = draw(rng, "plain", ticks=16)
        powers = {}
        for tie_break in ("least_battery", "defer_export", "export_early"):
            plan = case.plan(case.fleet(tie_break=tie_break))
            powers[tie_break] = abs(plan.p_charge_kw[0] - plan.p_discharge_kw[0])
        assert powers["least_battery"] <= min(powers.values()) + 1e-8


# The answer to the AES ----------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in CLASSES if k != "arbitrage"])
def test_curtailed_plans_cost_what_the_milp_with_the_cap_says(kind: str) -> None:
    import pyomo.environ as pyo

    rng = np.random.default_rng(13)
    done = 0
    while done < 5:
        case = draw(rng, kind, ticks=8)
        fleet = case.fleet()
        plan = case.plan(fleet)
        if plan.p_export_kw[0] < 0.01:
            continue
        done += 1
        aes = plan.p_export_kw * rng.random()
        dispatch = fleet.respond(aes)
        model = build_model(oracle_numbers(case, export_cap_kw=float(aes[0])))
        bound = solve_model(model)
        assert bound is not None
        assert_between(dispatch.objective[0], bound, pyo.value(model.cost))


@pytest.mark.parametrize("kind", ["plain", "negative_import", "paper", "soc_outside"])
def test_export_is_the_aes_and_the_cut_is_accounted_for(kind: str) -> None:
    rng = np.random.default_rng(14)
    for _ in range(30 if kind != "negative_import" else 8):
        case = draw(rng, kind, ticks=8)
        fleet = case.fleet()
        plan = case.plan(fleet)
        oes = plan.p_export_kw
        regrets = []
        for share in (1.0, 0.7, 0.3, 0.0):
            dispatch = fleet.respond(share * oes)
            assert dispatch.p_export_kw.tolist() == (share * oes).tolist()
            assert dispatch.curtailed[0] == (share < 1.0 and oes[0] > 1e-5)
            cut = oes[0] - dispatch.p_export_kw[0]
            split = dispatch.p_charge_more_kw + dispatch.p_discharge_less_kw + dispatch.p_spill_curtail_kw
            assert split[0] == pytest.approx(cut, abs=1e-8)
            supply = dispatch.p_import_kw + case.pv_kw[0] - dispatch.p_spill_kw + dispatch.p_discharge_kw
            use = dispatch.p_export_kw + case.load_kw[0] + dispatch.p_charge_kw
            assert supply[0] == pytest.approx(use[0], abs=1e-9)
            if kind == "plain":  # by convexity none of the three goes backwards
                parts = dispatch.p_charge_more_kw, dispatch.p_discharge_less_kw, dispatch.p_spill_curtail_kw
                assert min(float(part[0]) for part in parts) >= -1e-8
            regrets.append(float(dispatch.regret_usd[0]))
        assert np.all(np.diff(regrets) >= -1e-8)
        assert regrets[0] == 0.0


def test_the_go_ahead_changes_nothing() -> None:
    rng = np.random.default_rng(15)
    for _ in range(20):
        case = draw(rng, "plain", ticks=12)
        fleet = case.fleet()
        plan = case.plan(fleet)
        before = fleet.explain(0)
        dispatch = fleet.respond(plan.p_export_kw)
        for name in (
            "p_export_kw",
            "p_import_kw",
            "p_charge_kw",
            "p_discharge_kw",
            "p_spill_kw",
            "objective",
        ):
            np.testing.assert_array_equal(getattr(dispatch, name), getattr(plan, name))
        assert fleet.explain(0).equals(before)


def test_planning_again_with_the_oes_as_limit_gives_the_same_oes() -> None:
    # What `respond` would do without its short cut: the fixed export is already the optimum.
    rng = np.random.default_rng(16)
    backend = LpBackend(HemsConfig(horizon=12, step_minutes=15))
    for _ in range(20):
        case = draw(rng, "plain", ticks=12)
        first = backend.solve(lp_numbers(case))
        if first.p_export_kw[0, 0] == 0.0:
            continue
        fixed = lp_numbers(case).export_fixed(first.p_export_kw[:, 0], pv_kw=case.pv_kw[:1])
        again = backend.solve(fixed)
        assert again.objective[0] == pytest.approx(first.objective[0], abs=1e-9)
        for name in ("p_export_kw", "p_charge_kw", "p_discharge_kw", "p_spill_kw"):
            assert getattr(again, name)[0, 0] == pytest.approx(getattr(first, name)[0, 0], abs=2e-9)


def test_the_cost_of_an_aes_is_convex() -> None:
    rng = np.random.default_rng(17)
    for _ in range(15):
        case = draw(rng, "plain", ticks=12)
        fleet = case.fleet()
        plan = case.plan(fleet)
        cost = [fleet.respond(share * plan.p_export_kw).objective[0] for share in np.linspace(0, 1, 6)]
        assert np.all(np.diff(cost, n=2) >= -1e-8)


def test_scaling_all_prices_scales_the_cost_and_keeps_the_plan() -> None:
    rng = np.random.default_rng(18)
    for _ in range(10):
        case = draw(rng, "plain", ticks=12)
        t = case.tariff
        scaled = Tariff(3.0 * t.import_price_per_kwh, 3.0 * t.export_price_per_kwh)
        fixed = {"shortfall_price_per_kwh": 5.0}, {"shortfall_price_per_kwh": 15.0}
        a = case.plan(case.fleet(**fixed[0]))
        b = dataclasses.replace(case, tariff=scaled).plan(case.fleet(**fixed[1]))
        assert b.objective[0] == pytest.approx(3.0 * a.objective[0], abs=1e-7)
        assert b.p_export_kw[0] == pytest.approx(a.p_export_kw[0], abs=1e-7)
