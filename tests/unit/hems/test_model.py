import numpy as np
import pytest

from hems import Battery, HemsConfig, Home, Tariff
from hems.household import HomeArrays
from hems.model import Problems, Window, build_problems, build_structure

T, DT = 3, 0.25


@pytest.fixture
def structure():
    return build_structure(T, DT, eta_charge=0.9, eta_discharge=0.8)


def problems(structure, battery: Battery, *, soc_kwh: float = 1.0, config: HemsConfig | None = None, **home):
    config = config or HemsConfig(step_minutes=15, horizon=T)
    tariff = Tariff(np.array([0.4, 0.1, 0.2]), np.array([0.05, 0.05, -0.01]))
    window = Window(np.array([[1.0, 6.0, 2.0]]), np.array([[0.0, 4.0, 5.0]]), tariff)
    arrays = HomeArrays.of([Home("A", battery, **home)])
    return build_problems(structure, arrays, window=window, soc_kwh=np.array([soc_kwh]), config=config)


def row_values(p: Problems, **powers: list[float]) -> np.ndarray:
    """A x - rhs of the powers given per tick, SOC by hand."""
    col = p.structure.col
    x = np.zeros(p.structure.n_cols)
    for name, values in powers.items():
        x[getattr(col, name)] = values
    return p.structure.matrix @ x - p.rhs[0]


def test_structure_is_built_once(structure) -> None:
    assert build_structure(T, DT, eta_charge=0.9, eta_discharge=0.8) is structure
    assert build_structure(T, DT, eta_charge=0.9, eta_discharge=0.9) is not structure


def test_rows_are_the_balance_the_dynamics_and_the_terminal(structure, battery: Battery) -> None:
    p = problems(structure, battery)
    # By hand: load 1, 6, 2; PV 0, 4, 5. Discharge 2 and export 1; charge 1 and import 3; spill 1, export 2.
    soc = [1.0 - DT * 2.0 / 0.8, 0.0, 0.0]
    soc[1] = soc[2] = soc[0] + DT * 0.9 * 1.0
    residual = row_values(
        p,
        p_discharge_kw=[2, 0, 0],
        p_charge_kw=[0, 1, 0],
        p_import_kw=[0, 3, 0],
        p_export_kw=[1, 0, 2],
        p_spill_kw=[0, 0, 1],
        soc_kwh=soc,
        shortfall_kwh=[1.0 - soc[2]],
    )
    np.testing.assert_allclose(residual, 0.0, atol=1e-15)


def test_bounds_and_costs(structure, battery: Battery) -> None:
    p = problems(structure, battery, import_limit_kw=5.0, export_limit_kw=2.0)
    col = structure.col
    assert p.col_hi[0, col.p_import_kw].tolist() == [5, 5, 5]
    assert p.col_hi[0, col.p_over_import_kw].tolist() == [0, 1, 0]  # the load of 6 alone passes 5
    assert p.col_hi[0, col.p_export_kw].tolist() == [2, 2, 2]
    assert p.col_hi[0, col.p_charge_kw].tolist() == [3, 3, 3]
    assert p.col_hi[0, col.p_discharge_kw].tolist() == [4, 4, 4]
    assert p.col_hi[0, col.p_spill_kw].tolist() == [0, 4, 5]
    assert p.col_hi[0, col.soc_kwh].tolist() == [2, 2, 2]
    np.testing.assert_allclose(p.cost[col.p_import_kw], [0.1, 0.025, 0.05])
    np.testing.assert_allclose(p.cost[col.p_export_kw], [-0.0125, -0.0125, 0.0025])
    assert p.cost[col.surplus_kwh] == 0.0
    assert p.cost[col.shortfall_kwh] == pytest.approx(10 * 0.4 / 0.9)
    assert (p.cost[col.p_over_import_kw] > 10 * p.cost[col.shortfall_kwh] * DT).all()


def test_terminal_equality_prices_both_sides(structure, battery: Battery) -> None:
    config = HemsConfig.paper(step_minutes=15, horizon=T, shortfall_price_per_kwh=7.0)
    p = problems(structure, battery, config=config)
    assert p.cost[structure.col.shortfall_kwh] == p.cost[structure.col.surplus_kwh] == 7.0
    assert (p.col_hi[0, structure.col.p_spill_kw] == 0.0).all()


def test_recovery_from_below_is_as_fast_as_the_service_allows(structure, battery: Battery) -> None:
    from dataclasses import replace

    reserve = replace(battery, soc_min=0.4)  # 0.8 kWh
    p = problems(structure, reserve, soc_kwh=0.1, import_limit_kw=2.5)
    # Spare: 2.5 - 1 = 1.5; 2.5 - 2 = 0.5; then 2.5 + 3 = 5.5, limited by 3 kW and by the band.
    steps = np.cumsum([0.25 * 0.9 * 1.5, 0.25 * 0.9 * 0.5, 0.25 * 0.9 * 3.0])
    np.testing.assert_allclose(p.col_lo[0, structure.col.soc_kwh], np.minimum(0.1 + steps, 0.8))


def test_recovery_from_above_is_into_the_own_net_load(structure, battery: Battery) -> None:
    from dataclasses import replace

    p = problems(structure, replace(battery, soc_max=0.5), soc_kwh=1.8)
    # Net load 1, 2, -3: 1.8 - .3125, - .625 more, then no further, and never below 1.
    np.testing.assert_allclose(p.col_hi[0, structure.col.soc_kwh], [1.4875, 1.0, 1.0])


def test_export_fixed_pins_tick_0_only(structure, battery: Battery) -> None:
    config = HemsConfig(step_minutes=15, horizon=T, pv_spill=False)
    p = problems(structure, battery, config=config)
    cut = p.export_fixed(np.array([0.5]), pv_kw=np.array([4.0]))
    col = structure.col
    assert cut.col_lo[0, col.p_export_kw].tolist() == [0.5, 0, 0]
    assert cut.col_hi[0, col.p_export_kw].tolist() == [0.5, np.inf, np.inf]
    assert cut.col_hi[0, col.p_import_kw].tolist() == [0, np.inf, np.inf]
    assert cut.col_hi[0, col.p_spill_kw].tolist() == [4.0, 0, 0]
    assert p.col_hi[0, col.p_export_kw.start] == np.inf  # the original is untouched
