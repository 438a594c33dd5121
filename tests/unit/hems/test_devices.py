"""Devices of a home: by hand, through the whole fleet; what they refuse; how they live through ticks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from hems import Battery, HemsConfig, HemsFleet, Home, HomeError, PlanStatus, SeriesError, Tariff
from hems.devices import Appliance, Device, ElectricVehicle, ExtraBattery, HeatPump, Run, Stay

SMALL = Battery(energy_kwh=2.0, p_charge_kw=3.0, p_discharge_kw=4.0, eta_charge=0.9, eta_discharge=0.8)
CAR = ElectricVehicle(
    name="car",
    capacity_kwh=40.0,
    p_charge_kw=4.0,
    eta_charge=0.9,
    eta_discharge=0.8,
    stays=(Stay(arrive_tick=0, depart_tick=3, arrival_kwh=10.0, departure_kwh=11.8),),
)
WASHER = Appliance(name="washer", p_kw=2.0, run_ticks=2, runs=(Run(earliest_tick=0, end_tick=4),))
TANK = HeatPump(
    name="tank",
    p_max_kw=2.0,
    cop=3.0,
    capacity_kwh_per_k=0.5,
    loss_kw_per_k=0.0,
    start_c=50.0,
    comfort_lo_c=49.0,
    comfort_hi_c=60.0,
    heat_kw=4.0,
)
SECOND = ExtraBattery(name="second", battery=SMALL, soc_start=0.5, soc_target=0.5)
ZERO = [[0.0] * 4]


def fleet_of(*devices: Device, config: dict | None = None, **home: object) -> HemsFleet:
    options = {"step_minutes": 15, "horizon": 4, **(config or {})}
    return HemsFleet([Home("H1", devices=devices, **home)], HemsConfig(**options), soc_start=0.0)


def prices(*pi: float, pe: float = 0.05) -> Tariff:
    return Tariff(np.array(pi), np.full(len(pi), pe))


def live(fleet: HemsFleet, tariff: Tariff, load: float = 0.0, pv: float = 0.0):
    """One tick as forecast, without curtailment."""
    plan = fleet.plan([[load] * tariff.n_ticks], [[pv] * tariff.n_ticks], tariff)
    plan.raise_for_status()
    fleet.respond(plan.p_export_kw)
    return fleet.realise([load], [pv])


# Electric vehicle ---------------------------------------------------------------------------------


def test_a_vehicle_charges_when_it_is_cheap_and_leaves_with_what_it_wants() -> None:
    fleet = fleet_of(CAR)
    plan = fleet.plan(ZERO, ZERO, prices(0.4, 0.1, 0.2, 0.1))
    table = fleet.explain(0)
    # 1.8 kWh at .9 are 2 kWh, 1 kWh a tick at 4 kW; the cheap last tick comes too late.
    np.testing.assert_allclose(table.car_p_charge_kw, [0, 4, 4, 0], atol=1e-9)
    np.testing.assert_allclose(table.car_energy_kwh[:3], [10.0, 10.9, 11.8])
    assert (plan.status[0], plan.p_import_kw[0]) == (PlanStatus.OPTIMAL, 0.0)
    assert plan.objective[0] == pytest.approx(0.1 + 0.2)


def test_a_vehicle_that_cannot_make_it_leaves_short_and_says_so() -> None:
    late = dataclasses.replace(CAR, stays=(dataclasses.replace(CAR.stays[0], departure_kwh=20.0),))
    fleet = fleet_of(late)
    tariff = prices(0.4, 0.1, 0.2, 0.1)
    assert fleet.plan(ZERO, ZERO, tariff).status.tolist() == [PlanStatus.TARGET_MISSED]
    for _ in range(4):
        real = live(fleet, tariff)
    assert real.p_devices_kw[0] == 0.0  # gone
    assert fleet.device_states("H1")["car"].missed_kwh == pytest.approx(20.0 - 10.0 - 3 * 0.9)


def test_a_departure_behind_the_horizon_asks_for_what_still_makes_it() -> None:
    stay = Stay(arrive_tick=0, depart_tick=6, arrival_kwh=10.0, departure_kwh=10.0 + 3 * 0.9)
    fleet = fleet_of(dataclasses.replace(CAR, stays=(stay,)))
    fleet.plan(ZERO, ZERO, prices(0.4, 0.3, 0.2, 0.3))
    # Two ticks are left behind the horizon: one of the three is needed here.
    np.testing.assert_allclose(fleet.explain(0).car_p_charge_kw, [0, 0, 4, 0], atol=1e-9)


def test_a_vehicle_comes_and_goes() -> None:
    stays = (
        Stay(arrive_tick=0, depart_tick=1, arrival_kwh=10.0, departure_kwh=10.0),
        Stay(arrive_tick=3, depart_tick=5, arrival_kwh=4.0, departure_kwh=4.9),
    )
    fleet = fleet_of(dataclasses.replace(CAR, stays=stays))
    energies, powers = [], []
    for _ in range(6):
        energies.append(fleet.device_states(0)["car"].energy_kwh)
        powers.append(live(fleet, prices(0.3, 0.3, 0.3, 0.3)).p_devices_kw[0])
    np.testing.assert_allclose(energies, [10.0, 4.0, 4.0, 4.0, 4.0, 0.0])
    np.testing.assert_allclose(powers, [0, 0, 0, 0, 4, 0], atol=1e-9)
    assert fleet.tick == 6


def test_v2g_feeds_the_home_and_without_it_the_vehicle_never_gives() -> None:
    giving = dataclasses.replace(CAR, v2g=True, p_discharge_kw=4.0)
    stay = Stay(arrive_tick=0, depart_tick=8, arrival_kwh=20.0, departure_kwh=5.0)
    found = {}
    for name, car in (("v2g", giving), ("plain", CAR)):
        fleet = fleet_of(dataclasses.replace(car, stays=(stay,)))
        fleet.plan([[3.0] * 4], ZERO, prices(0.4, 0.4, 0.4, 0.4, pe=0.1))
        found[name] = fleet.explain(0)
    assert found["plain"].car_p_discharge_kw.tolist() == [0.0] * 4
    np.testing.assert_allclose(found["v2g"].car_p_discharge_kw, 4.0)  # 3 into the load, 1 out
    np.testing.assert_allclose(found["v2g"].p_export_kw, 1.0)


def test_v2g_gives_less_before_it_passes_the_aes() -> None:
    stay = Stay(arrive_tick=0, depart_tick=8, arrival_kwh=20.0, departure_kwh=5.0)
    car = dataclasses.replace(CAR, v2g=True, p_discharge_kw=4.0, stays=(stay,))
    fleet = fleet_of(car, has_pv=False)
    plan = fleet.plan([[3.0] * 4], ZERO, prices(0.4, 0.4, 0.4, 0.4, pe=0.1))
    assert plan.p_export_kw[0] == pytest.approx(1.0)
    dispatch = fleet.respond([0.5])
    assert dispatch.p_devices_kw[0] == pytest.approx(-3.5)
    real = fleet.realise([1.0], [0.0])  # the load falls short by 2 kW
    assert real.p_export_kw[0] == 0.5
    assert real.p_devices_kw[0] == pytest.approx(-1.5)
    assert fleet.device_states(0)["car"].energy_kwh == pytest.approx(20.0 - 0.25 * 1.5 / 0.8)


# Appliance ----------------------------------------------------------------------------------------


def test_an_appliance_runs_in_one_piece_where_it_is_cheapest() -> None:
    fleet = fleet_of(WASHER)
    plan = fleet.plan(ZERO, ZERO, prices(0.3, 0.1, 0.2, 0.4))
    np.testing.assert_allclose(fleet.explain(0).washer_p_kw, [0, 2, 2, 0])
    assert plan.objective[0] == pytest.approx(0.25 * 2 * 0.3)
    assert plan.path[0] in ("lp", "milp")


def test_a_started_appliance_stays_on_whatever_the_prices_become() -> None:
    fleet = fleet_of(WASHER)
    powers = [live(fleet, prices(0.1, 0.1, 0.3, 0.3)).p_devices_kw[0]]
    powers.append(live(fleet, prices(9.0, 0.1, 0.1, 0.1)).p_devices_kw[0])
    powers.append(live(fleet, prices(0.1, 0.1, 0.1, 0.1)).p_devices_kw[0])
    np.testing.assert_allclose(powers, [2, 2, 0])
    assert fleet.device_states(0)["washer"].run == 1


def test_a_plan_counts_the_power_of_an_appliance_that_runs_already() -> None:
    fleet = fleet_of(dataclasses.replace(WASHER, runs=(Run(earliest_tick=0, end_tick=2),)))
    tariff = prices(0.1, 0.1, 0.3, 0.3)
    for drawn in (2.0, 2.0, 0.0):  # the second tick is no decision any more
        plan = fleet.plan([[0.5] * 4], [[3.0] * 4], tariff)
        cut = 0.5 * plan.p_export_kw
        dispatch = fleet.respond(cut)
        assert fleet.explain(0).washer_p_kw.iloc[0] == drawn
        for tick in (plan, dispatch):
            assert tick.p_devices_kw[0] == drawn
            came = tick.p_import_kw + 3.0 - tick.p_spill_kw + tick.p_discharge_kw
            went = tick.p_export_kw + 0.5 + tick.p_charge_kw + tick.p_devices_kw
            np.testing.assert_allclose(came, went, atol=1e-12)
        fleet.realise([0.5], [3.0])


def test_an_appliance_may_wait_for_a_cheaper_hour_behind_the_horizon_but_not_for_ever() -> None:
    later = dataclasses.replace(WASHER, runs=(Run(earliest_tick=0, end_tick=8),))
    fleet = fleet_of(later)
    powers = [live(fleet, prices(0.4, 0.4, 0.4, 0.3)).p_devices_kw[0] for _ in range(8)]
    # A rising chance ahead puts it off, until its window leaves no other start.
    np.testing.assert_allclose(powers, [0, 0, 0, 0, 0, 0, 2, 2])
    assert fleet.device_states(0)["washer"].missed == 0


def test_an_appliance_that_the_service_cannot_carry_is_missed_and_reported() -> None:
    fleet = fleet_of(WASHER, import_limit_kw=1.0)
    plan = fleet.plan(ZERO, ZERO, prices(0.3, 0.3, 0.3, 0.3))
    assert plan.status.tolist() == [PlanStatus.TARGET_MISSED]
    for _ in range(3):
        live(fleet, prices(0.3, 0.3, 0.3, 0.3))
    assert fleet.device_states(0)["washer"].missed == 1


def test_a_second_run_follows_the_first() -> None:
    twice = dataclasses.replace(
        WASHER, run_ticks=1, runs=(Run(earliest_tick=0, end_tick=2), Run(earliest_tick=3, end_tick=5))
    )
    fleet = fleet_of(twice)
    powers = [live(fleet, prices(0.1, 0.2, 0.3, 0.4)).p_devices_kw[0] for _ in range(6)]
    np.testing.assert_allclose(powers, [2, 0, 0, 2, 0, 0])


# Heat ---------------------------------------------------------------------------------------------


def test_a_tank_is_heated_before_it_is_dear_and_stays_comfortable() -> None:
    fleet = fleet_of(TANK)
    plan = fleet.plan(ZERO, ZERO, prices(0.1, 0.1, 0.4, 0.4))
    table = fleet.explain(0)
    # 4 kW of heat for an hour, less the half kWh above 49 degrees: 3.5 kWh of heat, 1.167 of electricity.
    assert 0.25 * table.tank_p_kw.sum() == pytest.approx(3.5 / 3)
    assert table.tank_p_kw.iloc[:2].tolist() == pytest.approx([2.0, 2.0])
    assert (table.tank_temperature_c >= 49.0 - 1e-9).all()
    assert plan.status.tolist() == [PlanStatus.OPTIMAL]
    steps = 50.0 + np.cumsum(0.25 / 0.5 * (3 * table.tank_p_kw - 4.0))
    np.testing.assert_allclose(table.tank_temperature_c, steps, atol=1e-9)


def test_a_tank_that_is_too_small_gets_cold_and_says_so() -> None:
    fleet = fleet_of(dataclasses.replace(TANK, heat_kw=9.0))
    assert fleet.plan(ZERO, ZERO, prices(0.1, 0.1, 0.4, 0.4)).status.tolist() == [PlanStatus.TARGET_MISSED]
    assert fleet.explain(0).tank_temperature_c.iloc[-1] == pytest.approx(50.0 - 4 * 0.5 * 3.0)


def test_a_hot_house_cools_by_its_own_time_constant() -> None:
    house = dataclasses.replace(
        TANK, start_c=70.0, heat_kw=0.0, loss_kw_per_k=0.25, ambient_c=(10.0, 10.0, 10.0, 10.0, 20.0)
    )
    fleet = fleet_of(house)
    live(fleet, prices(0.3, 0.3, 0.3, 0.3))
    assert fleet.device_states(0)["tank"] == pytest.approx(10.0 + 60.0 * np.exp(-0.25 * 0.25 / 0.5))
    live(fleet, prices(0.3, 0.3, 0.3, 0.3))
    with pytest.raises(SeriesError, match="ambient_c of device 'tank' has 5 ticks; needed are 6"):
        fleet.plan(ZERO, ZERO, prices(0.3, 0.3, 0.3, 0.3))


# Batteries ----------------------------------------------------------------------------------------


def test_two_equal_batteries_cost_what_one_of_two_units_costs() -> None:
    rng = np.random.default_rng(4)
    for _ in range(5):
        load, pv = rng.uniform(0, 6, (1, 4)), rng.uniform(0, 12, (1, 4))
        tariff = prices(*rng.uniform(0.1, 0.4, 4))
        config = HemsConfig(step_minutes=15, horizon=4)
        pair = HemsFleet([Home("A", SMALL, devices=(SECOND,))], config).plan(load, pv, tariff)
        bank = dataclasses.replace(SMALL, n_units=2)
        one = HemsFleet([Home("A", bank)], config).plan(load, pv, tariff)
        assert pair.objective[0] == pytest.approx(one.objective[0], abs=1e-8)
        pair.raise_for_status()


def test_a_second_battery_goes_its_own_way() -> None:
    leaky = dataclasses.replace(SMALL, self_discharge_per_h=0.19)
    fleet = fleet_of(dataclasses.replace(SECOND, battery=leaky, soc_target=0.0), has_pv=False)
    live(fleet, prices(0.1, 0.1, 0.1, 0.1, pe=0.0))
    assert fleet.device_states(0)["second"] == pytest.approx(0.81**0.25)


# The fleet ----------------------------------------------------------------------------------------


def test_a_home_with_a_device_alone_is_a_prosumer_and_none_is_closed_form() -> None:
    fleet = fleet_of(WASHER, has_pv=False)
    assert fleet.plan(ZERO, ZERO, prices(0.3, 0.1, 0.2, 0.4)).path[0] in ("lp", "milp")
    problems = fleet.problems(ZERO, ZERO, prices(0.3, 0.1, 0.2, 0.4))
    assert not any(p.structure.one_battery for p in problems)


def test_homes_with_equal_devices_share_a_structure_and_not_a_state() -> None:
    homes = [Home(f"H{i}", SMALL, devices=(SECOND,)) for i in range(3)] + [Home("plain", SMALL)]
    fleet = HemsFleet(homes, HemsConfig(step_minutes=15, horizon=4))
    load = np.array([[1.0] * 4, [2.0] * 4, [0.0] * 4, [1.0] * 4])
    seen = load, np.zeros((4, 4)), prices(0.4, 0.4, 0.1, 0.1)
    assert sorted(len(p) for p in fleet.problems(*seen)) == [1, 3]
    fleet.plan(*seen)
    fleet.respond(np.zeros(4))
    fleet.realise(load[:, 0], np.zeros(4))
    energies = [fleet.device_states(i)["second"] for i in range(3)]
    assert len({round(e, 6) for e in energies}) > 1
    assert fleet.device_states("plain") == {}
    assert "second_energy_kwh" not in fleet.explain("plain")


def test_explain_shows_the_plan_that_was_lived_and_not_the_next() -> None:
    fleet = fleet_of(WASHER)
    before = fleet.plan(ZERO, ZERO, prices(0.1, 0.1, 0.3, 0.3))
    table = fleet.explain(0)
    fleet.respond(before.p_export_kw)
    fleet.realise([0.0], [0.0])
    assert fleet.explain(0).equals(table)


@pytest.mark.parametrize("backend", ["auto", "lp", "milp", "pyomo"])
def test_every_backend_plans_devices_the_same(backend: str) -> None:
    for device, exact in ((CAR, True), (TANK, True), (SECOND, True), (WASHER, backend != "lp")):
        tariff = prices(0.31, 0.12, 0.24, 0.43)
        expected = fleet_of(device).plan([[1.0] * 4], [[2.0, 0.0, 1.0, 0.0]], tariff)
        plan = fleet_of(device, config={"backend": backend}).plan([[1.0] * 4], [[2.0, 0.0, 1.0, 0.0]], tariff)
        if exact:
            assert plan.objective[0] == pytest.approx(expected.objective[0], abs=1e-7)
            assert plan.p_export_kw[0] == pytest.approx(expected.p_export_kw[0], abs=1e-6)


# What is refused ----------------------------------------------------------------------------------

NAN, INF = float("nan"), float("inf")


def changed(device: Device, **fields: object) -> Callable[[], Home]:
    return lambda: Home("H1", devices=(dataclasses.replace(device, **fields),))


@pytest.mark.parametrize(
    ("device", "field", "bad"),
    [
        *[(CAR, "capacity_kwh", v) for v in (0.0, -1.0, NAN, INF)],
        *[(CAR, "p_charge_kw", v) for v in (0.0, NAN, INF)],
        *[(CAR, "p_discharge_kw", v) for v in (1.0, NAN)],
        *[(CAR, "eta_charge", v) for v in (0.0, 1.1, NAN)],
        *[(CAR, "eta_discharge", v) for v in (0.0, 1.1, NAN)],
        *[(CAR, "soc_min", v) for v in (-0.1, 1.1, NAN)],
        *[(WASHER, "p_kw", v) for v in (0.0, NAN, INF)],
        *[(WASHER, "run_ticks", v) for v in (0, 1.5, NAN, INF)],
        *[(TANK, f, v) for f in ("p_max_kw", "cop", "capacity_kwh_per_k") for v in (0.0, NAN, INF)],
        *[(TANK, "loss_kw_per_k", v) for v in (-0.1, NAN, INF)],
        *[(TANK, "comfort_price_per_kh", v) for v in (0.0, NAN)],
        *[(TANK, "start_c", v) for v in (NAN, INF)],
        *[(TANK, "comfort_lo_c", v) for v in (61.0, NAN, -INF)],
        *[(TANK, "comfort_hi_c", v) for v in (48.0, NAN, INF)],
        *[(TANK, "ambient_c", v) for v in (NAN, (10.0, INF), ())],
        *[(TANK, "heat_kw", v) for v in (-1.0, (1.0, NAN), ())],
        *[(SECOND, f, v) for f in ("soc_start", "soc_target") for v in (-0.1, 1.1, NAN)],
    ],
)
def test_a_device_with_a_bad_number_is_a_home_error_that_names_it(
    device: Device, field: str, bad: object
) -> None:
    with pytest.raises(HomeError, match=rf"Home 'H1': device '{device.name}': .*{field}"):
        changed(device, **{field: bad})()


def stays(*times: tuple[int, int], arrival: float = 1.0, departure: float = 2.0) -> tuple[Stay, ...]:
    return tuple(
        Stay(arrive_tick=a, depart_tick=b, arrival_kwh=arrival, departure_kwh=departure) for a, b in times
    )


@pytest.mark.parametrize(
    ("home", "message"),
    [
        (changed(CAR, v2g=True), "p_discharge_kw=0.0 must be positive with v2g"),
        (changed(CAR, stays=stays((5, 5))), r"stays\[0\] must depart after it arrives, at 5"),
        (changed(CAR, stays=stays((0, 2.5))), r"stays\[0\] must begin and end at whole ticks"),
        (changed(CAR, stays=stays((0, NAN))), r"stays\[0\] must begin and end at whole ticks"),
        (changed(CAR, stays=stays((0, 4), (4, 6))), r"stays\[1\] must arrive after tick 4"),
        (changed(CAR, stays=stays((0, 4), (3, 6))), r"stays\[1\] must arrive after tick 4"),
        (changed(CAR, stays=stays((0, 4), arrival=50.0)), r"stays\[0\].arrival_kwh=50.0 must be within"),
        (changed(CAR, stays=stays((0, 4), departure=NAN)), r"stays\[0\].departure_kwh=nan must be within"),
        (changed(WASHER, runs=(Run(earliest_tick=0, end_tick=1),)), r"runs\[0\] is shorter than its 2 ticks"),
        (
            changed(WASHER, runs=(Run(earliest_tick=0.5, end_tick=4),)),
            r"runs\[0\] must begin and end at whole",
        ),
        (
            changed(WASHER, runs=(Run(earliest_tick=0, end_tick=4), Run(earliest_tick=3, end_tick=8))),
            r"runs\[1\] must not begin before runs\[0\] ends",
        ),
        (changed(CAR, p_charge_kw="7"), "p_charge_kw='7' must be a number"),
        (changed(CAR, stays=None), "stays=None must be a tuple of Stay"),
        (changed(CAR, stays=stays((0, "4"))), r"stays\[0\].depart_tick='4' must be a number"),
        (changed(WASHER, run_ticks="4"), "run_ticks='4' must be a number"),
        (changed(WASHER, runs=[3]), r"runs=\[3\] must be a tuple of Run"),
        (
            changed(WASHER, runs=(Run(earliest_tick=None, end_tick=4),)),
            r"runs\[0\].earliest_tick=None must be a number",
        ),
        (lambda: dataclasses.replace(SMALL, soc_min=2.0), "Battery: soc_min"),
        (lambda: Home("H1", devices=(CAR, CAR)), "device 'car' is there twice"),
    ],
)
def test_a_timetable_that_cannot_be_is_refused(home: Callable[[], Home], message: str) -> None:
    with pytest.raises(HomeError, match=message):
        home()
