"""The dynamic programme piece by piece, on numbers that can be checked by hand, plain and compiled."""

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from hems import Battery, HemsConfig, HemsFleet, Home, Tariff
from hems.dp import (
    ConvexFunction,
    Preference,
    Stage,
    forward,
    optimal_interval,
    preferred,
    step_back,
    terminal,
)
from hems.dp_backend import compiled_is_there

METHODS = [
    "dp",
    pytest.param("dp_compiled", marks=pytest.mark.skipif(not compiled_is_there(), reason="numba")),
]
UNIT = Battery(energy_kwh=4.0, p_charge_kw=2.0, p_discharge_kw=2.0, eta_charge=1.0, eta_discharge=1.0)


def test_terminal_is_the_priced_shortfall() -> None:
    assert terminal(2.0, 0.0, target=1.5, band=(0.0, 4.0)) == ([-2.0, 0.0], [1.5, 2.5], 0.0, 4.0)
    assert terminal(2.0, 3.0, target=9.0, band=(0.0, 4.0)) == ([-2.0, 3.0], [4.0, 0.0], 0.0, 4.0)


def test_a_step_back_merges_slopes_and_adds_equal_ones() -> None:
    later = ConvexFunction([-2.0, 0.0], [1.0, 3.0], 0.0, 4.0)
    stage = Stage([(0.5, 0.25), (2.0, 0.75)], -0.5)  # D from -0.5 to 0.5
    got = step_back(later, stage)
    assert got == ([-2.0, -0.5, 0.0], [1.75, 0.25, 3.0], -0.5, 4.5)


def test_self_discharge_stretches_the_energy_axis() -> None:
    later = ConvexFunction([-2.0, 0.0], [1.0, 3.0], 0.0, 4.0)
    got = step_back(later, Stage([(0.5, 1.0)], 0.0), keep=0.5)
    # e -> min { 0.5 D + later(e / 2 + D) }: 0.5 e has to lie between -1 and 4.
    assert got == ([-1.0, -0.25, 0.0], [2.0, 2.0, 6.0], -2.0, 8.0)


def test_clipping_cuts_both_ends_and_says_when_nothing_is_left() -> None:
    f = ConvexFunction([-2.0, -1.0, 0.0], [1.0, 1.0, 2.0], 0.0, 4.0)
    assert f.clipped(0.5, 1.5) == ([-2.0, -1.0], [0.5, 0.5], 0.5, 1.5)
    assert f.clipped(1.0, 2.0) == ([-1.0], [1.0], 1.0, 2.0)
    assert f.clipped(2.5, 2.5) == ([0.0], [0.0], 2.5, 2.5)
    assert f.clipped(5.0, 6.0) is None


def test_the_optimal_interval_holds_every_tie() -> None:
    later = ConvexFunction([-3.0, -1.0, 0.0], [1.0, 1.0, 2.0], 0.0, 4.0)
    stage = Stage([(1.0, 3.0)], -1.0)
    assert optimal_interval(1.0, stage, later, later.kinks(), equal=1e-9) == (0.0, 1.0)
    assert optimal_interval(1.5, stage, later, later.kinks(), equal=1e-9) == (-0.5, 0.5)
    # Out of reach, from either side.
    assert optimal_interval(-3.0, stage, later, later.kinks(), equal=1e-9) is None
    assert optimal_interval(6.0, stage, later, later.kinks(), equal=1e-9) is None


def test_preferences() -> None:
    def take(tie_break: str, lo: float, hi: float) -> float:
        return preferred((lo, hi), Preference(tie_break, [-1.0], [1.0]), 0)  # type: ignore[arg-type]

    assert take("least_battery", -2.0, 3.0) == 0.0
    assert take("least_battery", 1.0, 3.0) == 1.0
    # Nothing is exported from D = 1 on: going further serves nobody.
    assert take("defer_export", -2.0, 3.0) == 1.0
    assert take("defer_export", -2.0, 0.5) == 0.5
    assert take("export_early", -2.0, 3.0) == -1.0
    assert take("export_early", -0.5, 3.0) == -0.5
    assert take("export_early", 2.0, 3.0) == 2.0  # no export to be had


def test_prices_of_energy_stay_until_the_battery_is_full_or_empty() -> None:
    later = [terminal(5.0, 0.0, target=1.0, band=(0.0, 1.0))] * 2
    plan = forward(
        1.0,
        [Stage([(0.1, 1.0), (0.3, 1.0)], -1.0), Stage([(0.2, 1.0), (0.4, 1.0)], -1.0)],
        later,
        prefer=Preference("least_battery", [], []),
        equal=1e-9,
    )
    assert plan is not None
    assert plan.stored_kwh == [0.0, 0.0]
    assert plan.energy_price == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("tie_break", "export", "charge"),
    [("least_battery", 3, 0), ("defer_export", 1, 2), ("export_early", 3, 0)],
)
def test_tie_break_between_equal_hours(method: str, tie_break: str, export: float, charge: float) -> None:
    # 2 kWh will be needed in the last hour; two equal sunny hours can store them.
    config = HemsConfig(step_minutes=60, horizon=3, tie_break=tie_break, backend=method)
    p = HemsFleet([Home("A", UNIT)], config).plan(
        [[0, 0, 2]], [[3, 3, 0]], Tariff(np.full(3, 0.3), np.full(3, 0.1))
    )
    p.raise_for_status()
    assert p.path.tolist() == [method]
    assert (p.p_export_kw[0], p.p_charge_kw[0]) == (export, charge)
    assert (p.oes_lo_kw[0], p.oes_hi_kw[0]) == pytest.approx((1.0, 3.0), abs=1e-12)
    assert p.objective[0] == pytest.approx(-0.4, abs=1e-12)
    assert p.lower_bound[0] == pytest.approx(-0.4, abs=1e-12)


@pytest.mark.parametrize("method", METHODS)
def test_it_declines_where_burning_or_trading_could_pay(method: str, flat: Callable[..., Tariff]) -> None:
    lossy = dataclasses.replace(UNIT, eta_charge=0.9)  # without losses there is nothing to burn
    for tariff in (flat(-0.1, -0.2), flat(0.1, 0.3, allow_arbitrage=True)):
        home = Home("A", lossy, import_limit_kw=5.0, export_limit_kw=5.0)
        p = HemsFleet([home], HemsConfig(horizon=4, backend=method)).plan([[1.0] * 4], [[0.0] * 4], tariff)
        assert (p.path.tolist(), p.status.tolist()) == (["idle"], ["uncertified"])
        assert HemsFleet([home], HemsConfig(horizon=4)).plan([[1.0] * 4], [[0.0] * 4], tariff).path[0] in (
            "lp",
            "milp",
        )
