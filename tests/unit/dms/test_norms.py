"""Norms on circuits small enough for a closed form, or for brute force through the independent power flow."""

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from dms import NORMS, DmsProblem, DmsSolution, Limits, Status, compile, solve
from dms.certificate import measure, run
from dms.norms import KEPT_SHIFT_PU, UNWEIGHTED, degree
from dms.program import Program
from feeders import Feeder

E_V, Z, I_A = 240.0, 0.05 + 0.02j, 100.0
WIDE = Limits(v_min_pu=0.5, v_max_pu=1.5)
COST: dict[str, Callable[[np.ndarray], float]] = {
    "l1": lambda c: float(c.sum()),
    "l2": lambda c: float((c**2).sum()),
    "linf": lambda c: float(c.max()),
}


def _cap_by_current_kw() -> float:
    """Unity power factor: v and i in phase, |e|^2 = (v - r i)^2 + (x i)^2 at i = i_max."""
    v = Z.real * I_A + sqrt(E_V**2 - (Z.imag * I_A) ** 2)
    return v * I_A / 1e3


def _cap_by_voltage_kw(v_pu: float) -> float:
    """The same triangle with v given: |z|^2 i^2 - 2 r v i + v^2 - e^2 = 0, the smaller root."""
    v = v_pu * E_V
    b, c = -2 * Z.real * v, v**2 - E_V**2
    i = (-b - sqrt(b**2 - 4 * abs(Z) ** 2 * c)) / (2 * abs(Z) ** 2)
    return v * i / 1e3


def _solve(
    feeder: Feeder, export_kw: list[float], norm: str, limits: Limits = WIDE, **weights: float
) -> DmsSolution:
    problem = compile(feeder, norm=norm, limits=limits, weights=weights)
    solution = solve(problem, problem.request(np.array(export_kw))).raise_for_status()
    assert solution.status is Status.CURTAILED
    return solution


TWO_STAGES = ("linf_l1", "linf_l2")
BY_RULE = ("proportional", "alpha_fair")


def _degrees(program: Program) -> list[int]:
    return [degree(program.for_stage(stage)) for stage in range(program.stages)]


def test_the_tests_know_every_norm(street) -> None:
    assert {*COST, *TWO_STAGES, *BY_RULE} == set(NORMS)
    degrees = {norm: _degrees(compile(street(), norm=norm).program) for norm in NORMS}
    one = {"l1": [1], "l2": [2], "linf": [1], "proportional": [1], "alpha_fair": [1]}
    assert degrees == {**one, "linf_l1": [1, 1], "linf_l2": [1, 2]}


@pytest.mark.parametrize("norm", NORMS)
def test_one_home_behind_a_rated_cable(street, norm: str) -> None:
    solution = _solve(street(homes=((1,),)), [40.0], norm)
    assert solution.p_adjusted_kw[0] == pytest.approx(_cap_by_current_kw(), rel=1e-7)


@pytest.mark.parametrize("norm", NORMS)
def test_one_home_below_a_voltage_limit(street, norm: str) -> None:
    limits = Limits(v_max_pu=1.02, current=False)
    solution = _solve(street(homes=((1,),)), [40.0], norm, limits)
    assert solution.p_adjusted_kw[0] == pytest.approx(_cap_by_voltage_kw(1.02), rel=1e-7)


CUT = 45.0 - _cap_by_current_kw()  # of homes that ask 30 and 15 kW at one bus


@pytest.mark.parametrize(
    ("norm", "weights", "wanted"),
    [
        ("l2", {}, (CUT / 2, CUT / 2)),
        ("linf", {}, (CUT / 2, CUT / 2)),
        ("l1", {"h1": 2.0}, (CUT - 15.0, 15.0)),  # the light one first, to its end
        ("l1", {"h2": 2.0}, (CUT, 0.0)),
        ("l2", {"h1": 2.0}, (CUT / 5, 4 * CUT / 5) if CUT * 4 / 5 < 15 else (CUT - 15.0, 15.0)),
        ("l2", {"h2": 2.0}, (4 * CUT / 5, CUT / 5)),  # w1^2 c1 = w2^2 c2
        ("linf", {"h2": 2.0}, (2 * CUT / 3, CUT / 3)),  # w1 c1 = w2 c2
        ("linf", {"h2": 4.0}, (4 * CUT / 5, CUT / 5)),
    ],
)
def test_two_homes_at_one_bus_share_the_cut_as_the_norm_says(
    street, norm: str, weights: dict[str, float], wanted: tuple[float, float]
) -> None:
    solution = _solve(street(), [30.0, 15.0], norm, **weights)
    assert solution.p_curtail_kw == pytest.approx(wanted, abs=2e-4)
    assert solution.total_curtailed_kw == pytest.approx(CUT, rel=1e-6)


def test_a_home_that_has_nothing_left_is_cut_to_zero(street) -> None:
    """L2 would like halves; the small home has only 2 kW."""
    solution = _solve(street(), [30.0, 2.0], "l2")
    assert solution.p_adjusted_kw[1] == pytest.approx(0.0, abs=2e-4)
    assert solution.total_curtailed_kw == pytest.approx(32.0 - _cap_by_current_kw(), rel=1e-6)


@pytest.mark.parametrize("norm", [n for n in NORMS if n not in UNWEIGHTED])
def test_scaling_every_weight_changes_nothing(street, norm: str) -> None:
    one = _solve(street(), [30.0, 15.0], norm, h1=1.0, h2=1.3)
    many = _solve(street(), [30.0, 15.0], norm, h1=70.0, h2=91.0)
    assert many.p_adjusted_kw == pytest.approx(one.p_adjusted_kw, abs=2e-4)


# Fairness --------------------------------------------------------------------------------------------

CAP = _cap_by_current_kw()
SHIFT_KW = 1e3 * KEPT_SHIFT_PU


def _fair(feeder: Feeder, export_kw: list[float], norm: str = "alpha_fair", **given) -> DmsSolution:
    problem = compile(feeder, norm=norm, limits=WIDE, **given)
    solution = solve(problem, problem.request(np.array(export_kw))).raise_for_status()
    assert solution.status is Status.CURTAILED
    return solution


@pytest.mark.parametrize("alpha", [0.5, 1.0, 2.0, 4.0])
def test_alpha_fair_homes_at_one_bus_keep_the_same(street, alpha: float) -> None:
    """w_k U'(y_k) is the same for all: y_k in proportion to w_k^(1/alpha), 20 W included."""
    assert _fair(street(), [30.0, 15.0], alpha=alpha).p_adjusted_kw == pytest.approx([CAP / 2] * 2, abs=2e-4)
    kept = _fair(street(), [30.0, 15.0], alpha=alpha, weights={"h1": 1.5}).p_adjusted_kw + SHIFT_KW
    assert kept[0] / kept[1] == pytest.approx(1.5 ** (1 / alpha), rel=1e-4)
    assert kept.sum() == pytest.approx(CAP + 2 * SHIFT_KW, rel=1e-6)


def test_alpha_zero_is_l1(street) -> None:
    feeder, export_kw = street(homes=((1,), (2,)), **CASES["rated"][0]), CASES["rated"][2]
    fair = compile(feeder, norm="alpha_fair", alpha=0.0, weights={"h1": 1.7})
    plain = compile(feeder, norm="l1", weights={"h1": 1.7})
    assert fair.program.objectives[0].linear.tolist() == plain.program.objectives[0].linear.tolist()
    nearly = _fair(feeder, export_kw, alpha=1e-3, weights={"h1": 1.7})
    assert nearly.p_curtail_kw == pytest.approx(_solve(feeder, export_kw, "l1", h1=1.7).p_curtail_kw, abs=0.1)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_alpha_fair_marginal_utilities_are_as_the_effects_on_the_limit(street, alpha: float) -> None:
    """KKT with one binding limit: w_k U'(y_k) / (dI / dP_k) is one number; dI / dP by power flows."""
    feeder = street(z_ohm=(0.05 + 0.02j, 0.30 + 0.05j), i_max_a=(90.0, 300.0), homes=((1,), (2,)))
    problem = compile(feeder, norm="alpha_fair", alpha=alpha, limits=WIDE, weights={"h2": 2.0})
    solution = solve(problem, problem.request(np.array([20.0, 18.0]))).raise_for_status()

    def current(kept_kw: np.ndarray) -> float:
        flow = run(problem.network, problem.request(kept_kw))
        return measure(problem.network, flow, problem.values).worst_over_i

    kept, step = solution.p_adjusted_kw, 1e-3 * np.eye(2)
    effect = np.array([current(kept + h) - current(kept - h) for h in step])
    marginal = problem.weights * (kept + SHIFT_KW) ** -alpha
    assert effect[1] != pytest.approx(effect[0], rel=1e-2)
    assert marginal[0] / effect[0] == pytest.approx(marginal[1] / effect[1], rel=1e-4)


def test_proportional_cuts_the_same_share_of_every_request(street) -> None:
    solution = _fair(street(homes=((1,), (2,)), **CASES["rated"][0]), [16.0, 30.0], "proportional")
    share = solution.p_curtail_kw / [16.0, 30.0]
    assert share[0] == pytest.approx(share[1], abs=1e-6)
    assert solution.gini == pytest.approx(0.0, abs=1e-6)
    assert max(solution.state.worst_over_i, solution.state.worst_over_v) > -1e-6  # no smaller share would do


def test_who_asks_for_nothing_does_not_disturb_the_others(street) -> None:
    for norm in BY_RULE:
        alone = _fair(street(), [30.0, 15.0], norm)
        joined = _fair(street(homes=((1,), (1,), (1,))), [30.0, 15.0, 0.0], norm)
        assert joined.p_adjusted_kw[:2] == pytest.approx(alone.p_adjusted_kw, abs=2e-4)


def test_a_second_stage_spares_the_home_that_cannot_help(street) -> None:
    """Only the far cable binds: linf leaves the near home anywhere below the peak, linf_l1 at its request."""
    feeder = street(z_ohm=(0.05 + 0.02j, 0.08 + 0.02j), i_max_a=(500.0, 55.0), homes=((1,), (2,)))
    peak = _solve(feeder, [16.0, 18.0], "linf").largest_kw
    solution = _fair(feeder, [16.0, 18.0], "linf_l1", peak_tol=1e-3)
    assert solution.p_curtail_kw[0] == pytest.approx(0.0, abs=1e-3)
    assert peak * (1 - 1e-6) <= solution.largest_kw <= peak * (1 + 1e-3) + 1e-6


def test_objectives_that_count_against_the_request_need_it(street) -> None:
    for norm in BY_RULE:
        problem = compile(street(), norm=norm)
        request = problem.request(np.array([30.0, 15.0]))
        with pytest.raises(ValueError, match=f"norm {norm} counts against what was asked"):
            problem.objective(np.array([3.0, 0.0]))
        assert problem.objective(np.zeros(2), request) == pytest.approx(0.0, abs=1e-12)
    lost = np.log((30 + SHIFT_KW) / (27 + SHIFT_KW))
    assert problem.objective(np.array([3.0, 0.0]), request) == pytest.approx(lost)
    two = compile(street(), norm="linf_l1", weights={"h1": 2.0})
    assert two.objectives(np.array([3.0, 4.0])) == pytest.approx((0.006, 0.010))
    assert two.objective(np.array([3.0, 4.0])) == pytest.approx(0.010)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"norm": "l3"}, KeyError, "unknown norm 'l3'; known: l1, l2"),
        ({"norm": "linf_l1", "peak_tol": -0.1}, ValueError, "peak_tol = -0.1: give a number from 0 to 1"),
        ({"norm": "linf_l1", "peak_tol": float("nan")}, ValueError, "peak_tol = nan"),
        ({"norm": "alpha_fair", "alpha": -1.0}, ValueError, "alpha = -1: give a number from 0 to 4"),
        ({"norm": "alpha_fair", "alpha": 5.0}, ValueError, "alpha = 5: give a number from 0 to 4"),
        ({"norm": "proportional", "weights": {"h1": 2.0}}, ValueError, "takes no weights; use linf"),
    ],
)
def test_wrong_names_and_values_are_refused(street, given: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        compile(street(), **given)


# Brute force -----------------------------------------------------------------------------------------

CASES = {
    # Both sections rated: the far home loads both, the near one the first.
    "rated": ({"z_ohm": (0.05 + 0.02j, 0.08 + 0.02j), "i_max_a": (90.0, 55.0)}, WIDE, [16.0, 18.0]),
    # A voltage limit at the end: the far home has the greater effect.
    "voltage": (
        {"z_ohm": (0.05 + 0.03j, 0.06 + 0.02j), "i_max_a": (300.0, 300.0), "loads": ((1, 4.0, 2.0),)},
        Limits(v_max_pu=1.03),
        [20.0, 14.0],
    ),
    # Both bind at once.
    "both": (
        {"z_ohm": (0.04 + 0.03j, 0.10 + 0.03j), "i_max_a": (80.0, 300.0), "c_nf": 2e4},
        Limits(v_max_pu=1.04),
        [18.0, 15.0],
    ),
}


class BruteForce:
    """Least cost of two curtailments: scan the first, with the least feasible second, then close in."""

    def __init__(self, problem: DmsProblem, export_kw: list[float]) -> None:
        self.problem, self.request = problem, problem.request(np.array(export_kw))
        self.most = export_kw
        self._known: dict[float, float] = {}

    def excess(self, c1: float, c2: float) -> float:
        """How far the worst limit is broken; negative inside all."""
        flow = run(self.problem.network, self.request, np.array([c1, c2]))
        state = measure(self.problem.network, flow, self.problem.values)
        return max(state.worst_over_v, state.worst_over_i)

    def least_second(self, c1: float) -> float:
        """Least c2 beside c1 that keeps every limit; infinite if none does."""
        if c1 not in self._known:
            if self.excess(c1, 0.0) <= 0:
                found = 0.0
            elif self.excess(c1, self.most[1]) > 0:
                found = np.inf
            else:
                found = brentq(lambda c2: self.excess(c1, c2), 0.0, self.most[1], xtol=1e-7)
            self._known[c1] = found
        return self._known[c1]

    def least(self, cost: Callable[[np.ndarray], float], w: np.ndarray) -> float:
        def at(c1: float) -> float:
            return cost(w * np.array([c1, self.least_second(c1)]))

        grid = np.linspace(0.0, self.most[0], 17).tolist()
        k = int(np.argmin([at(c1) for c1 in grid]))
        around = (grid[max(k - 1, 0)], grid[min(k + 1, 16)])
        fine = minimize_scalar(at, bounds=around, method="bounded", options={"xatol": 1e-5})
        return min(at(grid[k]), float(fine.fun))


@pytest.mark.parametrize("norm", COST)
@pytest.mark.parametrize("case", CASES)
def test_optimum_equals_brute_force_through_the_power_flow(street, case: str, norm: str) -> None:
    wires, limits, export_kw = CASES[case]
    feeder = street(homes=((1,), (2,)), **wires)
    brute = BruteForce(compile(feeder, limits=limits), export_kw)
    assert brute.excess(0.0, 0.0) > 1e-3
    for weights in ({}, {"h1": 1.7}):
        problem = compile(feeder, norm=norm, limits=limits, weights=weights)
        solution = solve(problem, brute.request).raise_for_status()
        assert solution.status is Status.CURTAILED
        least = brute.least(COST[norm], problem.weights)
        assert COST[norm](problem.weights * solution.p_curtail_kw) == pytest.approx(least, rel=1e-4)
