"""The three steps of a tick: what they refuse, what they report, and the rules for odd homes."""

import logging
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from hems import (
    Battery,
    BidError,
    ConfigError,
    HemsConfig,
    HemsFleet,
    Home,
    HomeError,
    PlanStatus,
    SequenceError,
    SeriesError,
    SetpointError,
    Tariff,
    TariffError,
    ny_like_tou,
)
from hems.dp_backend import compiled_is_there

Fleet = Callable[..., HemsFleet]
Flat = Callable[..., Tariff]
FASTEST = "dp_compiled" if compiled_is_there() else "dp"
LOAD = [[0.5, 0.5, 0.5, 0.5]]
PV = [[4.0, 4.0, 0.0, 0.0]]


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("load", "message"),
    [
        ([[0.5, np.nan, 0.5, 0.5]], r"load_kw of home 'H1', tick 1 is nan"),
        ([[0.5, 0.5, -0.5, 0.5]], r"load_kw of home 'H1', tick 2 is -0\.5"),
        ([[0.5, 0.5, 0.5]], r"load_kw has shape \(1, 3\); needed is \(1, 4\)"),
        ([[np.inf, 0.5, 0.5, 0.5]], r"tick 0 is inf"),
    ],
)
def test_bad_forecasts_name_home_column_and_tick(
    one_home: Fleet, flat: Flat, load: list, message: str
) -> None:
    with pytest.raises(SeriesError, match=message):
        one_home().plan(load, PV, flat())
    with pytest.raises(SeriesError, match=message.replace("load_kw", "pv_kw")):
        one_home().plan(LOAD, load, flat())


def test_tariff_of_another_length_is_refused(one_home: Fleet, flat: Flat) -> None:
    with pytest.raises(TariffError, match="5 ticks; the horizon is 4"):
        one_home().plan(LOAD, PV, flat(ticks=5))


@pytest.mark.parametrize("wrong", [-1e-9, np.nan, np.inf])
def test_bad_aes_names_the_home_and_changes_nothing(one_home: Fleet, flat: Flat, wrong: float) -> None:
    fleet = one_home()
    with pytest.raises(SequenceError, match=r"plan\(\)"):
        fleet.respond([0.0])
    plan = fleet.plan(LOAD, PV, flat())
    for aes in (wrong, plan.p_export_kw[0] + 1e-5):
        with pytest.raises(SetpointError, match="home 'H1'"):
            fleet.respond([aes])
    with pytest.raises(SetpointError, match="shape"):
        fleet.respond([0.0, 0.0])
    with pytest.raises(SequenceError, match=r"respond\(\)"):
        fleet.realise([0.5], [4.0])
    assert fleet.respond(plan.p_export_kw).p_export_kw == plan.p_export_kw


def test_realise_needs_good_numbers_and_happens_once(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home()
    fleet.respond(fleet.plan(LOAD, PV, flat()).p_export_kw)
    with pytest.raises(SeriesError, match="pv_kw of home 'H1' is nan"):
        fleet.realise([0.5], [np.nan])
    fleet.realise([0.5], [4.0])
    with pytest.raises(SequenceError):
        fleet.realise([0.5], [4.0])
    with pytest.raises(SequenceError):
        fleet.respond([0.0])


def test_fleets_that_cannot_be(battery: Battery) -> None:
    with pytest.raises(HomeError, match="used more than once: 'A'"):
        HemsFleet([Home("A"), Home("B"), Home("A")])
    with pytest.raises(HomeError, match="at least one"):
        HemsFleet([])
    with pytest.raises(ConfigError, match=r"soc_target=0\.5 .* 'A': 0\.6 to 1"):
        HemsFleet([Home("A", Battery(**{**vars(battery), "soc_min": 0.6}))])
    with pytest.raises(ConfigError, match="home 'A' has export_limit_kw=3"):
        HemsFleet([Home("A", battery, export_limit_kw=3.0)], HemsConfig.paper())


@pytest.mark.parametrize("soc", [[np.nan], [-0.1], [1.0, 1.0]])
def test_bad_soc_is_refused(one_home: Fleet, soc: list[float]) -> None:
    fleet = one_home()
    with pytest.raises(SeriesError, match="soc"):
        fleet.soc_kwh = soc
    with pytest.raises(SeriesError, match="soc"):
        one_home(soc_start=soc)
    with pytest.raises(SeriesError, match="without battery"):
        one_home(battery=None).soc_kwh = [1.0]
    fleet.soc_kwh[0] = 99.0  # a copy
    assert fleet.soc_kwh[0] == 1.0


def test_soc_start_is_a_fraction(one_home: Fleet) -> None:
    with pytest.raises(SeriesError, match=r"soc_start is 50\.0; it is a fraction of the capacity"):
        one_home(soc_start=50)


# What is reported ---------------------------------------------------------------------------------


def test_plan_balances_and_is_read_only(one_home: Fleet, flat: Flat) -> None:
    plan = one_home().plan(LOAD, PV, flat())
    supply = plan.p_import_kw + PV[0][0] - plan.p_spill_kw + plan.p_discharge_kw
    assert supply == pytest.approx(plan.p_export_kw + LOAD[0][0] + plan.p_charge_kw, abs=1e-12)
    assert (plan.path.tolist(), plan.status.tolist()) == ([FASTEST], [PlanStatus.OPTIMAL])
    assert plan.names == ("H1",)
    with pytest.raises(ValueError, match="read-only"):
        plan.p_export_kw[0] = 0.0


def test_every_step_is_a_table_by_home(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home()
    plan = fleet.plan(LOAD, PV, flat(4))
    steps = {
        "plan": plan,
        "answer": fleet.respond(0.5 * plan.p_export_kw),
        "came": fleet.realise([0.5], [4.0]),
    }
    frames = {name: batch.to_frame() for name, batch in steps.items()}
    assert all(list(frame.index) == list(plan.names) for frame in frames.values())
    assert frames["plan"].loc["H1", "p_export_kw"] == plan.p_export_kw[0]
    assert frames["plan"].loc["H1", "status"] == plan.status[0]
    assert frames["answer"]["curtailed"].tolist() == [True]
    assert frames["came"].loc["H1", "soc_end_kwh"] == fleet.soc_kwh[0]


def test_explain_is_a_dated_table(battery: Battery) -> None:
    times = pd.date_range("2023-06-21 12:00", periods=4, freq="15min", tz="America/New_York")
    fleet = HemsFleet([Home("A"), Home("B", battery)], HemsConfig(step_minutes=15, horizon=4))
    with pytest.raises(SequenceError):
        fleet.explain(0)
    plan = fleet.plan(LOAD * 2, PV * 2, ny_like_tou(times))
    table = fleet.explain("B")
    pd.testing.assert_index_equal(table.index, times)
    assert table.p_export_kw.iloc[0] == plan.p_export_kw[1]
    supply = table.p_import_kw + table.p_pv_kw - table.p_spill_kw + table.p_discharge_kw
    assert (supply - table.p_export_kw - table.p_load_kw - table.p_charge_kw).abs().max() < 1e-9
    stored = 0.25 * (0.9 * table.p_charge_kw - table.p_discharge_kw / 0.8)
    assert (table.soc_kwh - 1.0 - stored.cumsum()).abs().max() < 1e-9
    assert table.soc_kwh.between(-1e-9, 2.0 + 1e-9).all()
    for ask in (fleet.explain, fleet.bid_curve):
        with pytest.raises(KeyError, match="no home 'C'; the 2 names are 'A', 'B'"):
            ask("C")
        with pytest.raises(KeyError, match="no home 2;"):
            ask(2)


# The rules for odd homes --------------------------------------------------------------------------


def test_target_out_of_reach_is_reported_not_infeasible(one_home: Fleet, flat: Flat) -> None:
    plan = one_home(soc_start=0.0, battery=_slow()).plan(LOAD, [[0.0] * 4], flat())
    assert plan.status.tolist() == [PlanStatus.TARGET_MISSED]
    assert plan.shortfall_kwh[0] == pytest.approx(5.0 - 1.0, abs=1e-9)
    assert plan.p_charge_kw[0] == pytest.approx(1.0)
    plan.raise_for_status()


def _slow() -> Battery:
    return Battery(energy_kwh=10.0, p_charge_kw=1.0, p_discharge_kw=1.0, eta_charge=1.0, eta_discharge=1.0)


def test_target_is_bought_at_any_ordinary_price(one_home: Fleet, flat: Flat) -> None:
    plan = one_home(soc_start=0.1).plan(LOAD, [[0.0] * 4], flat(pi=5.0))
    assert plan.shortfall_kwh[0] == pytest.approx(0.0, abs=1e-9)
    assert plan.status.tolist() == [PlanStatus.OPTIMAL]


def test_low_soc_comes_back_before_anything_else(one_home: Fleet, flat: Flat, caplog) -> None:
    reserve = Battery(**{**vars(_slow()), "soc_min": 0.2})
    with caplog.at_level(logging.WARNING, logger="hems"):
        fleet = one_home(battery=reserve, soc_start=0.15, config={"soc_target": 0.2})
    assert "H1: SOC 1.500 kWh is outside its band of 2.000 to 10.000 kWh" in caplog.text
    # Dear now, cheap later: a healthy home would wait.
    tariff = Tariff(np.array([0.9, 0.1, 0.1, 0.1]), np.zeros(4))
    plan = fleet.plan(LOAD, [[0.0] * 4], tariff)
    assert plan.status.tolist() == [PlanStatus.RECOVERING]
    assert plan.p_charge_kw[0] == pytest.approx(1.0)
    assert np.all(np.diff(fleet.explain(0).soc_kwh) >= -1e-9)


def test_high_soc_never_rises_and_goes_into_the_own_load(one_home: Fleet, flat: Flat) -> None:
    small = Battery(**{**vars(_slow()), "soc_max": 0.6})
    fleet = one_home(battery=small, soc_start=0.7, export_limit_kw=0.0)
    plan = fleet.plan(LOAD, [[0.0, 0.0, 3.0, 0.0]], flat())
    assert plan.status.tolist() == [PlanStatus.RECOVERING]
    assert plan.p_discharge_kw[0] == pytest.approx(0.5)
    assert np.all(np.diff(fleet.explain(0).soc_kwh) <= 1e-9)
    fleet.respond(plan.p_export_kw)
    assert fleet.realise([0.0], [3.0]).soc_end_kwh[0] <= 7.0  # surplus is spilled, not stored


def test_load_above_the_import_limit_is_served_and_reported(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home(soc_start=0.0, import_limit_kw=2.0)
    plan = fleet.plan([[5.0, 1.0, 1.0, 1.0]], [[0.0] * 4], flat())
    assert plan.status.tolist() == [PlanStatus.IMPORT_LIMIT]
    assert plan.p_import_kw[0] == pytest.approx(5.0)
    assert plan.over_import_kw[0] == pytest.approx(3.0)
    # With energy in the battery the overload is avoided, at the expense of the target.
    full = one_home(soc_start=1.0, import_limit_kw=2.0)
    relieved = full.plan([[5.0, 5.0, 1.0, 1.0]], [[0.0] * 4], flat())
    assert relieved.p_import_kw[0] == pytest.approx(2.0)


def test_zero_export_homes_are_legal(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home(export_limit_kw=0.0)
    plan = fleet.plan(LOAD, [[6.0] * 4], flat())
    assert plan.p_export_kw.tolist() == [0.0]
    assert (fleet.explain(0).p_export_kw == 0.0).all()
    assert fleet.explain(0).p_spill_kw.sum() > 0.0
    assert fleet.respond([0.0]).p_export_kw.tolist() == [0.0]


def test_static_export_limit_leaves_room_in_the_battery(one_home: Fleet, flat: Flat) -> None:
    # The limit will bind when the sun is up: room is made before for what cannot be exported then.
    fleet = one_home(export_limit_kw=2.0, soc_start=1.0, config={"soc_target": 1.0})
    fleet.plan([[0.0] * 4], [[0.0, 0.0, 4.5, 4.5]], flat())
    table = fleet.explain(0)
    assert table.p_spill_kw.sum() == pytest.approx(0.0, abs=1e-9)
    assert (table.p_export_kw <= 2.0 + 1e-9).all()


def test_negative_export_price_spills_and_stays_convex(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home(soc_start=1.0)
    plan = fleet.plan(LOAD, PV, flat(pe=-0.05))
    assert plan.path.tolist() == [FASTEST]
    assert plan.p_export_kw.tolist() == [0.0]
    assert plan.p_spill_kw[0] == pytest.approx(3.5)


def test_discharge_limit_is_on_the_ac_side(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home(soc_start=1.0, config={"soc_target": 0.0})
    plan = fleet.plan([[9.0, 0.0, 0.0, 0.0]], [[0.0] * 4], flat())
    assert plan.p_discharge_kw[0] == pytest.approx(4.0)  # not 4 * 0.8, nor 4 / 0.8
    assert fleet.explain(0).soc_kwh[0] == pytest.approx(2.0 - 0.25 * 4.0 / 0.8)


def test_wear_keeps_the_battery_still_when_the_gain_is_small(one_home: Fleet) -> None:
    tariff = Tariff(np.array([0.3, 0.3, 0.2, 0.2]), np.full(4, 0.05))
    moved = [
        one_home(config={"wear_price_per_kwh": kappa}).plan(LOAD, [[0.0] * 4], tariff).p_discharge_kw[0]
        for kappa in (0.0, 0.02)
    ]
    # A kWh discharged saves 0.30 and costs 0.20 / 0.72 = 0.278 to put back; wear takes 0.02 (1 + 1 / 0.72).
    assert moved == [0.5, 0.0]


@pytest.mark.parametrize("backend", ["auto", "dp", "lp", "milp", "pyomo"])
def test_every_backend_plans_the_same(one_home: Fleet, backend: str) -> None:
    rng = np.random.default_rng(3)
    tariff = Tariff(np.array([0.30, 0.10, 0.30, 0.21]), np.array([0.05, 0.05, 0.05, 0.04]))
    for _ in range(4):
        load, pv = rng.uniform(0, 2, (1, 4)), rng.uniform(0, 6, (1, 4))
        expected = one_home(config={"backend": "auto"}).plan(load, pv, tariff)
        fleet = one_home(config={"backend": backend})
        plan = fleet.plan(load, pv, tariff)
        plan.raise_for_status()
        assert plan.objective == pytest.approx(expected.objective, abs=1e-8)
        assert plan.p_export_kw == pytest.approx(expected.p_export_kw, abs=1e-6)
        dispatch = fleet.respond(0.5 * plan.p_export_kw)
        assert dispatch.certified.all()
        assert dispatch.p_export_kw.tolist() == (0.5 * plan.p_export_kw).tolist()


# Mixed fleets and reproducibility -----------------------------------------------------------------


def mixed(n: int = 6) -> list[Home]:
    kinds = [None, Battery.powerwall2(), Battery.powerwall2(2), _slow()]
    return [Home(f"H{i}", kinds[i % 4], export_limit_kw=[np.inf, 3.0][i % 2]) for i in range(n)]


def numbers(n: int = 6, ticks: int = 24) -> tuple[np.ndarray, np.ndarray, Tariff]:
    rng = np.random.default_rng(8)
    tariff = Tariff(np.where(np.arange(ticks) < 12, 0.3, 0.1), np.full(ticks, 0.05))
    return rng.uniform(0, 2, (n, ticks)), rng.uniform(0, 8, (n, ticks)), tariff


def test_homes_plan_independently_of_each_other_to_the_last_bit() -> None:
    config = HemsConfig(horizon=24, compute_band=True)
    load, pv, tariff = numbers()
    homes = mixed()
    together = HemsFleet(homes, config).plan(load, pv, tariff)
    assert set(together.path) == {"closed_form", FASTEST}
    for i, home in enumerate(homes):
        alone = HemsFleet([home], config).plan(load[i : i + 1], pv[i : i + 1], tariff)
        assert alone.p_export_kw[0] == together.p_export_kw[i]
        assert alone.objective[0] == pytest.approx(together.objective[i], abs=1e-12)


def test_the_order_of_the_homes_does_not_matter_to_the_last_bit() -> None:
    # Each home starts from its neighbour's basis: without rounding some powers differ in their last bits.
    rng = np.random.default_rng(0)
    n, ticks = 60, 96
    units = rng.integers(1, 60, n)
    homes = [Home(f"H{i}", Battery.powerwall2(int(k))) for i, k in enumerate(units)]
    scale = 5.0 * units[:, None]
    load, pv = scale * rng.uniform(0.5, 1.5, (n, ticks)), scale * rng.uniform(0, 4.0, (n, ticks))
    tariff = Tariff(np.where(np.arange(ticks) < 60, 0.4323, 0.1049), np.full(ticks, 0.05))
    soc, order = rng.uniform(0.1, 0.9, n), rng.permutation(n)
    a = HemsFleet(homes, soc_start=soc).plan(load, pv, tariff)
    b = HemsFleet([homes[i] for i in order], soc_start=soc[order]).plan(load[order], pv[order], tariff)
    for name in ("p_export_kw", "p_charge_kw", "p_discharge_kw", "p_spill_kw"):
        np.testing.assert_array_equal(getattr(a, name)[order], getattr(b, name), err_msg=name)


def test_plans_do_not_depend_on_what_was_planned_before() -> None:
    config = HemsConfig(horizon=24)
    load, pv, tariff = numbers()
    fresh, used = HemsFleet(mixed(), config), HemsFleet(mixed(), config)
    for _ in range(3):
        used.plan(pv, load, tariff)
        used.plan(load * 0.3, pv, tariff)
    a, b = fresh.plan(load, pv, tariff), used.plan(load, pv, tariff)
    for name in ("p_export_kw", "p_charge_kw", "p_discharge_kw", "objective", "lower_bound"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
    np.testing.assert_array_equal(fresh.explain(1).to_numpy(), used.explain(1).to_numpy())


@pytest.mark.parametrize("home", [-1, 1, 5, "?", None, True, 0.0])
def test_an_unknown_home_is_told_the_homes_there_are(one_home: Fleet, flat: Flat, home: object) -> None:
    fleet = one_home()
    fleet.plan(LOAD, [[0.0] * 4], flat())
    for ask in (fleet.explain, fleet.bid_curve, fleet.device_states):
        with pytest.raises(KeyError, match=r"no home .* names are 'H1'"):
            ask(home)


def test_complex_powers_are_refused(one_home: Fleet, flat: Flat) -> None:
    fleet, dark = one_home(), [[0.0] * 4]
    for load, pv in (([[1j] * 4], dark), (LOAD, np.full((1, 4), 1 + 0j))):
        with pytest.raises(SeriesError, match=r"(load|pv)_kw is no array of numbers.*complex"):
            fleet.plan(load, pv, flat())
    with pytest.raises(SeriesError, match="export_cap_kw is no array of numbers"):
        fleet.plan(LOAD, dark, flat(), export_cap_kw=np.full((1, 4), 1j))
    fleet.plan(LOAD, dark, flat())
    for aes in ([0j], ["x"]):
        with pytest.raises(SetpointError, match="aes_kw is no array of numbers"):
            fleet.respond(aes)


def test_a_home_that_expects_its_cap_again_has_no_bids(flat: Flat) -> None:
    """With PV alone, too: a cap that comes again costs more than the tick's own export."""
    fleet = HemsFleet([Home("pv")], HemsConfig(horizon=4, step_minutes=60, expect_repeat=3))
    fleet.plan(np.zeros((1, 4)), np.full((1, 4), 5.0), flat(4))
    with pytest.raises(BidError, match="'closed_form', and expects its cap again"):
        fleet.bid_curve("pv")


@pytest.mark.parametrize(
    ("lost_per_h", "minutes", "ticks"), [(0.3, 1440, 96), (0.99, 5, 300), (0.1, 60, 96), (0.01, 1440, 96)]
)
def test_self_discharge_over_a_long_horizon_asks_no_absurd_price(
    lost_per_h: float, minutes: int, ticks: int
) -> None:
    """1 / keep^T of a kWh bought at the start overflows: a target that so little reaches may be missed."""
    battery = Battery(
        energy_kwh=13.5, p_charge_kw=0.0, p_discharge_kw=5.0, eta_charge=0.95, eta_discharge=0.95,
        soc_min=0.2, self_discharge_per_h=lost_per_h,
    )  # fmt: skip
    config = HemsConfig(horizon=ticks, step_minutes=minutes)
    fleet = HemsFleet([Home("H1", battery)], config, soc_start=0.2)
    ones = np.ones((1, ticks))
    plan = fleet.plan(ones, ones, Tariff(np.full(ticks, 0.3), np.full(ticks, 0.05)))
    plan.raise_for_status()
    assert plan.shortfall_kwh[0] > 0.0
    assert plan.objective[0] <= 10.0 * 0.3 / 0.95 * 1e3 * 13.5


@pytest.mark.parametrize("homes", [None, ["H1"], [Home("H1"), None], 3])
def test_a_fleet_is_made_of_homes(homes: object) -> None:
    with pytest.raises(HomeError, match="a fleet is made of a list of Home"):
        HemsFleet(homes)  # type: ignore[arg-type]


def test_any_iterable_of_homes_is_a_fleet() -> None:
    assert HemsFleet(Home(name) for name in ("a", "b")).names == ("a", "b")


def test_what_is_no_number_is_refused_by_name(one_home: Fleet, flat: Flat) -> None:
    fleet = one_home()
    with pytest.raises(SeriesError, match="soc_start is no number"):
        one_home(soc_start="full")
    with pytest.raises(TariffError, match="of type NoneType; give a Tariff"):
        fleet.plan(LOAD, PV, None)  # type: ignore[arg-type]
    with pytest.raises(SeriesError, match=r"load_kw is no array of numbers.*masked"):
        fleet.plan(np.ma.masked_array(LOAD, mask=True), PV, flat(4))
    with pytest.raises(SeriesError, match=r"soc_kwh of home 'H1' is 1000\.0; its battery holds"):
        fleet.soc_kwh = [1000.0]


@pytest.mark.parametrize("prices", ["a", np.full(3, 0.3 + 0.2j), [None, 0.1, 0.1]])
def test_prices_are_real_numbers(prices: object) -> None:
    with pytest.raises(TariffError, match="import_price_per_kwh"):
        Tariff(prices, np.full(3, 0.05))  # type: ignore[arg-type]
