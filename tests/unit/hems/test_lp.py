"""The LP: its dual bound, its optimal face, and the tie-break on it."""

import numpy as np
import pytest

from hems import Battery, HemsConfig, HemsFleet, Home, Tariff
from hems.lp import Vertex, face

UNIT = Battery(energy_kwh=4.0, p_charge_kw=2.0, p_discharge_kw=2.0, eta_charge=1.0, eta_discharge=1.0)


def plan(tie_break: str, *, load: list[float], pv: list[float], pe: list[float], **home: float):
    config = HemsConfig(
        step_minutes=60, horizon=len(load), soc_target=0.5, tie_break=tie_break, compute_band=True
    )
    fleet = HemsFleet([Home("A", UNIT, **home)], config)
    return fleet.plan([load], [pv], Tariff(np.full(len(load), 0.3), np.array(pe)))


def test_face_fixes_what_has_a_reduced_cost() -> None:
    vertex = Vertex(np.zeros(4), np.array([1e-3, -1e-3, 1e-16, 0.0]), 0.0)
    lo, hi = face(vertex, np.zeros(4), np.full(4, 5.0))
    assert lo.tolist() == [0, 5, 0, 0]
    assert hi.tolist() == [0, 5, 5, 5]


@pytest.mark.parametrize(
    ("tie_break", "export", "charge"),
    [("least_battery", 3, 0), ("defer_export", 1, 2), ("export_early", 3, 0)],
)
def test_tie_break_between_equal_hours(tie_break: str, export: float, charge: float) -> None:
    # 2 kWh will be needed in the last hour; two equal sunny hours can store them.
    p = plan(tie_break, load=[0, 0, 2], pv=[3, 3, 0], pe=[0.1, 0.1, 0.1])
    assert p.p_export_kw[0] == pytest.approx(export, abs=1e-9)
    assert p.p_charge_kw[0] == pytest.approx(charge, abs=1e-9)
    assert (p.oes_lo_kw[0], p.oes_hi_kw[0]) == pytest.approx((1.0, 3.0), abs=1e-9)
    # The 2 kWh stored forgo 10 cents each, 4 kWh are sold: the same cost, whatever the hour.
    assert p.objective[0] == pytest.approx(-0.4, abs=1e-9)


def test_export_early_may_discharge_ahead() -> None:
    p = plan("export_early", load=[0, 0, 0], pv=[1, 3, 0], pe=[0.1, 0.1, 0.1])
    assert p.p_export_kw[0] == pytest.approx(3.0, abs=1e-9)
    assert p.p_discharge_kw[0] == pytest.approx(2.0, abs=1e-9)


def test_a_band_of_one_point_where_prices_differ() -> None:
    p = plan("least_battery", load=[0, 0, 2], pv=[3, 3, 0], pe=[0.10, 0.09, 0.05])
    assert (p.oes_lo_kw[0], p.oes_hi_kw[0]) == pytest.approx((3.0, 3.0), abs=1e-9)


@pytest.mark.parametrize(("first", "export"), [(0.1 + 1e-7, 3.0), (0.1 - 1e-7, 1.0)])
def test_the_smallest_price_difference_decides_before_the_tie_break(first: float, export: float) -> None:
    for tie_break in ("least_battery", "defer_export", "export_early"):
        p = plan(tie_break, load=[0, 0, 2], pv=[3, 3, 0], pe=[first, 0.1, 0.05])
        assert p.p_export_kw[0] == pytest.approx(export, abs=1e-9)
        assert (p.oes_lo_kw[0], p.oes_hi_kw[0]) == pytest.approx((export, export), abs=1e-9)


def test_where_nobody_can_export_export_early_leaves_the_battery_alone() -> None:
    for tie_break in ("least_battery", "defer_export", "export_early"):
        p = plan(tie_break, load=[1, 1, 1], pv=[0, 0, 0], pe=[0.1, 0.1, 0.1])
        assert (p.p_export_kw[0], p.p_charge_kw[0], p.p_discharge_kw[0]) == (0.0, 0.0, 0.0)
        assert p.oes_hi_kw[0] == 0.0


def test_free_export_is_preferred_to_spill() -> None:
    # Export at price 0 and spill cost the same: the plan exports, and says that it need not.
    p = plan("least_battery", load=[0, 0, 0], pv=[3, 0, 0], pe=[0, 0, 0])
    assert (p.p_export_kw[0], p.p_spill_kw[0], p.p_charge_kw[0]) == (3.0, 0.0, 0.0)
    assert (p.oes_lo_kw[0], p.oes_hi_kw[0]) == pytest.approx((0.0, 3.0), abs=1e-9)


def test_equal_prices_do_not_trade_in_circles() -> None:
    config = HemsConfig(step_minutes=60, horizon=3, compute_band=True, backend="lp")
    for tie_break in ("least_battery", "defer_export", "export_early"):
        fleet = HemsFleet([Home("A", UNIT)], HemsConfig(**{**vars(config), "tie_break": tie_break}))
        p = fleet.plan([[0, 1, 1]], [[1, 0, 0]], Tariff(np.full(3, 0.2), np.full(3, 0.2)))
        p.raise_for_status()
        assert p.path.tolist() == ["lp"]
        table = fleet.explain(0)
        assert (table[["p_import_kw", "p_export_kw"]].min(axis=1) == 0.0).all()
        assert p.oes_hi_kw[0] == pytest.approx(3.0, abs=1e-9)
