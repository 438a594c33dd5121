"""Norms on circuits small enough for a closed form, or for brute force through the independent power flow."""

from collections.abc import Callable
from math import sqrt

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from dms import NORMS, DmsProblem, DmsSolution, Limits, Status, compile, solve
from dms.certificate import measure, run
from dms.norms import degree
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


def _degrees(program: Program) -> list[int]:
    return [degree(program.for_stage(stage)) for stage in range(program.stages)]


def test_the_tests_know_every_norm(street) -> None:
    assert {*COST, *TWO_STAGES} == set(NORMS)
    degrees = {norm: _degrees(compile(street(), norm=norm).program) for norm in NORMS}
    assert degrees == {"l1": [1], "l2": [2], "linf": [1], "linf_l1": [1, 1], "linf_l2": [1, 2]}


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


@pytest.mark.parametrize("norm", NORMS)
def test_scaling_every_weight_changes_nothing(street, norm: str) -> None:
    one = _solve(street(), [30.0, 15.0], norm, h1=1.0, h2=1.3)
    many = _solve(street(), [30.0, 15.0], norm, h1=70.0, h2=91.0)
    assert many.p_adjusted_kw == pytest.approx(one.p_adjusted_kw, abs=2e-4)


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
