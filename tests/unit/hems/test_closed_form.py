"""Homes without battery: exact for any prices, and what a battery of no power would do."""

import numpy as np
import pytest

from hems import Battery, HemsConfig, HemsFleet, Home, Tariff

POWERLESS = Battery(energy_kwh=1.0, p_charge_kw=0.0, p_discharge_kw=0.0, eta_charge=1.0, eta_discharge=1.0)


@pytest.mark.parametrize("tie_break", ["least_battery", "defer_export", "export_early"])
def test_agrees_with_a_battery_that_cannot_move(tie_break: str) -> None:
    rng = np.random.default_rng(11)
    T = 6
    for case in range(60):
        pi = rng.choice([0.3, 0.1, 0.05, 0.0, -0.02], T)
        pe = np.minimum(rng.choice([0.1, 0.05, 0.0, -0.03], T), pi)
        load, pv = rng.uniform(0, 5, (1, T)), rng.uniform(0, 8, (1, T)) * (rng.random((1, T)) < 0.7)
        limits = {
            "import_limit_kw": rng.choice([2.0, np.inf]),
            "export_limit_kw": rng.choice([0.0, 1.5, np.inf]),
        }
        config = HemsConfig(horizon=T, tie_break=tie_break, compute_band=True)
        tariff = Tariff(pi, pe)
        bare = HemsFleet([Home("A", None, **limits)], config).plan(load, pv, tariff)
        still = HemsFleet([Home("A", POWERLESS, **limits)], config).plan(load, pv, tariff)
        assert bare.path.tolist() == ["closed_form"]
        assert bare.gap[0] < 1e-9
        assert bare.objective[0] == pytest.approx(still.objective[0], abs=1e-8), case
        assert bare.p_export_kw[0] == pytest.approx(still.p_export_kw[0], abs=2e-9), case
        assert bare.p_spill_kw[0] == pytest.approx(still.p_spill_kw[0], abs=2e-9), case
        assert bare.over_import_kw[0] == pytest.approx(still.over_import_kw[0], abs=2e-9), case
        if still.path[0] != "milp":
            assert bare.oes_lo_kw[0] == pytest.approx(still.oes_lo_kw[0], abs=1e-8), case
            assert bare.oes_hi_kw[0] == pytest.approx(still.oes_hi_kw[0], abs=1e-8), case


@pytest.mark.parametrize(
    ("pi", "pe", "export", "spill", "imported"),
    [
        (0.3, 0.05, 3.0, 0.0, 0.0),
        (0.3, 0.0, 3.0, 0.0, 0.0),  # exporting for nothing is preferred to spilling
        (0.3, -0.05, 0.0, 3.0, 0.0),  # paying to export is not
        (-0.1, -0.2, 0.0, 4.0, 1.0),  # paid to import: the PV stays unused
    ],
)
def test_by_hand(pi: float, pe: float, export: float, spill: float, imported: float) -> None:
    fleet = HemsFleet([Home("A")], HemsConfig(horizon=1))
    plan = fleet.plan([[1.0]], [[4.0]], Tariff(np.array([pi]), np.array([pe])))
    plan.raise_for_status()
    assert (plan.p_export_kw[0], plan.p_spill_kw[0], plan.p_import_kw[0]) == (export, spill, imported)


def test_curtailment_is_spilled_at_the_export_price() -> None:
    fleet = HemsFleet([Home("A")], HemsConfig(horizon=1, step_minutes=60))
    fleet.plan([[1.0]], [[4.0]], Tariff(np.array([0.3]), np.array([0.05])))
    dispatch = fleet.respond([1.2])
    assert dispatch.p_export_kw[0] == 1.2
    assert dispatch.p_spill_curtail_kw[0] == pytest.approx(1.8, abs=1e-12)
    assert dispatch.p_stored_kw[0] == 0.0
    assert dispatch.regret_usd[0] == pytest.approx(1.8 * 0.05, abs=1e-12)
    assert dispatch.certified.all()


def test_without_spill_all_surplus_is_exported_until_curtailed() -> None:
    fleet = HemsFleet([Home("A")], HemsConfig.paper(horizon=1))
    plan = fleet.plan([[1.0]], [[4.0]], Tariff(np.array([0.3]), np.array([-0.05])))
    assert plan.p_export_kw[0] == 3.0
    assert fleet.respond([0.0]).p_spill_kw[0] == 3.0
