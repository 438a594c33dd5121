"""The certificate: it must hold where the relaxation is exact, and fail where it is not."""

from collections.abc import Callable

import numpy as np
import pytest

from hems import Battery, HemsConfig, HemsFleet, Home, PlanStatus, Tariff, UncertifiedError
from hems.dp_backend import compiled_is_there

FASTEST = "dp_compiled" if compiled_is_there() else "dp"
LOSSY = Battery(energy_kwh=4.0, p_charge_kw=4.0, p_discharge_kw=4.0, eta_charge=0.8, eta_discharge=0.8)


def full_battery(backend: str, **config: object) -> HemsFleet:
    """Nothing to feed, nowhere to export to."""
    options = HemsConfig(step_minutes=15, horizon=4, backend=backend, **config)
    return HemsFleet([Home("A", LOSSY, export_limit_kw=0.0)], options, soc_start=0.9)


def test_burn_case_the_relaxation_cheats_and_the_milp_does_not(flat: Callable[..., Tariff]) -> None:
    # 1.6 kWh must go to reach e* exactly, and nothing takes it: the relaxation does both at once.
    idle = np.zeros((1, 4))
    cheat = full_battery("lp", terminal="equality").plan(idle, idle, flat())
    assert cheat.status.tolist() == [PlanStatus.UNCERTIFIED]
    assert cheat.gap[0] > 0.1
    with pytest.raises(UncertifiedError, match=r"A \(lp, gap"):
        cheat.raise_for_status()

    honest = full_battery("auto", terminal="equality").plan(idle, idle, flat())
    honest.raise_for_status()
    assert honest.path.tolist() == ["milp"]
    assert honest.gap[0] <= 1e-6
    assert honest.objective[0] == pytest.approx(1.6 * 10 * 0.30 / 0.8, rel=1e-9)  # stays 1.6 kWh above e*
    # The one-sided terminal has no reason to burn.
    assert full_battery("auto").plan(idle, idle, flat()).path.tolist() == [FASTEST]


def test_worthless_energy_is_not_burnt_but_spilled() -> None:
    # Battery full for good, PV that nobody takes: charging while discharging costs the relaxation nothing.
    fleet = full_battery("lp")
    fleet.soc_kwh = [4.0]
    pv, load = np.full((1, 4), 3.0), np.full((1, 4), 0.5)
    plan = fleet.plan(load, pv, Tariff(np.full(4, 0.3), np.zeros(4)))
    plan.raise_for_status()
    table = fleet.explain(0)
    assert (table[["p_charge_kw", "p_discharge_kw"]].min(axis=1) == 0.0).all()
    assert table.p_spill_kw.to_numpy() == pytest.approx(np.full(4, 2.5))


def test_netting_a_burning_point_costs_nothing_where_the_theorem_holds() -> None:
    from hems.certificate import RawPlans, complete
    from hems.household import HomeArrays
    from hems.model import Window, build_problems, build_structure

    config = HemsConfig(step_minutes=15, horizon=2)
    structure = build_structure(2, 0.25, eta_charge=0.8, eta_discharge=0.8)
    window = Window(np.zeros((1, 2)), np.array([[2.0, 2.0]]), Tariff(np.full(2, 0.3), np.full(2, 0.1)))
    p = build_problems(
        structure,
        HomeArrays.of([Home("A", LOSSY, export_limit_kw=0.0)]),
        window=window,
        soc_kwh=np.array([4.0]),
        config=config,
    )
    # Full battery, no export: PV 2 kW goes round in circles, 0.8 c = d / 0.8 and c - d = 2.
    raw = RawPlans.empty(p, path="lp")
    raw.x[0], raw.lower_bound[0] = 0.0, 0.0
    c = 2.0 / (1.0 - 0.64)
    raw.x[0, structure.col.p_charge_kw], raw.x[0, structure.col.p_discharge_kw] = c, c - 2.0
    done = complete(p, raw)
    assert done.certified.all()
    assert done.objective[0] == 0.0
    assert done.p_spill_kw.tolist() == [[2.0, 2.0]]
    assert not done.p_charge_kw.any()
    assert not done.p_discharge_kw.any()
    assert done.soc_kwh.tolist() == [[4.0, 4.0]]


@pytest.mark.parametrize("backend", ["auto", "milp", "pyomo"])
def test_negative_import_price_is_decided_with_binaries(backend: str) -> None:
    # Paid to import, export closed: the relaxation burns energy; a real battery can only fill up.
    home = Home("A", LOSSY, export_limit_kw=0.0)
    fleet = HemsFleet([home], HemsConfig(step_minutes=15, horizon=4, backend=backend))
    tariff = Tariff(np.full(4, -0.05), np.full(4, -0.05))
    plan = fleet.plan(np.zeros((1, 4)), np.zeros((1, 4)), tariff)
    assert plan.path.tolist() == ["milp" if backend == "auto" else backend]
    plan.raise_for_status()
    table = fleet.explain("A")
    assert (table[["p_charge_kw", "p_discharge_kw"]].min(axis=1) == 0.0).all()
    # 2 kWh fit in, for which 2.5 kWh are bought.
    assert plan.objective[0] == pytest.approx(-0.05 * 2.5, abs=1e-8)


def test_arbitrage_needs_finite_limits_and_then_never_trades_in_circles() -> None:
    tariff = Tariff(np.full(4, 0.1), np.array([0.1, 0.3, 0.1, 0.1]), allow_arbitrage=True)
    still = np.zeros((1, 4))
    config = HemsConfig(step_minutes=15, horizon=4)
    with pytest.raises(ValueError, match=r"at tick 1: home 'A'.*finite import_limit_kw"):
        HemsFleet([Home("A", LOSSY)], config).plan(still, still, tariff)
    fleet = HemsFleet([Home("A", LOSSY, import_limit_kw=5.0, export_limit_kw=5.0)], config)
    plan = fleet.plan(still, still, tariff)
    plan.raise_for_status()
    assert plan.path.tolist() == ["milp"]
    table = fleet.explain("A")
    assert (table[["p_import_kw", "p_export_kw"]].min(axis=1) == 0.0).all()
    assert table.p_export_kw[1] == pytest.approx(4.0)


def test_no_solver_plan_gives_the_idle_plan_and_says_so(monkeypatch: pytest.MonkeyPatch, flat) -> None:
    from hems.lp import LpSolver

    monkeypatch.setattr(LpSolver, "minimise", lambda self, lo, hi: None)
    fleet = HemsFleet(
        [Home("A", LOSSY, export_limit_kw=1.0)], HemsConfig(step_minutes=15, horizon=4, backend="lp")
    )
    plan = fleet.plan(np.full((1, 4), 0.5), np.full((1, 4), 4.0), flat())
    assert plan.path.tolist() == ["idle"]
    assert plan.status.tolist() == [PlanStatus.UNCERTIFIED]
    assert (plan.p_export_kw[0], plan.p_spill_kw[0], plan.p_charge_kw[0]) == (1.0, 2.5, 0.0)
    assert fleet.respond([0.2]).p_export_kw.tolist() == [0.2]


@pytest.mark.parametrize("backend", ["auto", FASTEST, "lp", "milp"])
@pytest.mark.parametrize("surplus_kw", [1e-12, 1e-10, 3e-8, -1e-12, -1e-10])
def test_an_exchange_of_rounding_size_is_no_set_point(
    flat: Callable[..., Tariff], backend: str, surplus_kw: float
) -> None:
    fleet = HemsFleet([Home("A", LOSSY)], HemsConfig(step_minutes=15, horizon=4, backend=backend))
    load, pv = np.full((1, 4), 0.5), np.full((1, 4), 0.5 + surplus_kw)
    plan = fleet.plan(load, pv, flat())
    assert plan.p_export_kw[0] == plan.p_import_kw[0] == 0.0
    used = pv[:, 0] - plan.p_spill_kw + plan.p_discharge_kw - plan.p_charge_kw
    np.testing.assert_allclose(used, load[:, 0], atol=1e-15)
    plan.raise_for_status()


def test_an_exchange_of_rounding_size_stays_where_nothing_can_take_it(flat: Callable[..., Tariff]) -> None:
    fleet = HemsFleet([Home("A", None)], HemsConfig(step_minutes=15, horizon=4, pv_spill=False))
    plan = fleet.plan([[0.5] * 4], [[0.5 + 1e-8] * 4], flat())
    assert plan.p_export_kw[0] == pytest.approx(1e-8)
    assert plan.p_spill_kw[0] == 0.0
