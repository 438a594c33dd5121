import dataclasses
import math

import numpy as np
import pytest

from hems import Battery, HemsError, Home, HomeError, Inverter
from hems.household import HomeArrays


def test_powerwall2_has_the_published_figures() -> None:
    unit = Battery.powerwall2(n_units=3)
    assert (unit.energy_kwh, unit.p_charge_kw, unit.p_discharge_kw) == (13.5, 5.0, 5.0)
    assert unit.eta_charge == unit.eta_discharge
    assert unit.eta_charge * unit.eta_discharge == pytest.approx(0.90, abs=1e-15)
    assert unit.capacity_kwh == 40.5


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("energy_kwh", 0.0),
        ("energy_kwh", math.nan),
        ("p_charge_kw", -1.0),
        ("p_discharge_kw", math.inf),
        ("eta_charge", 0.0),
        ("eta_discharge", 1.01),
        ("soc_min", -0.1),
        ("soc_max", 1.1),
        ("n_units", 0),
        ("n_units", 1.5),
        ("n_units", math.nan),
    ],
)
def test_impossible_battery_is_refused_at_once_and_names_the_field(field: str, value: float) -> None:
    numbers = dict(energy_kwh=2.0, p_charge_kw=1.0, p_discharge_kw=1.0, eta_charge=0.9, eta_discharge=0.9)
    with pytest.raises(HomeError, match=rf"Battery: .*{field}"):
        Battery(**{**numbers, field: value})


@pytest.mark.parametrize(("field", "value"), [("import_limit_kw", 0.0), ("export_limit_kw", -1.0)])
def test_impossible_limits_name_home_and_field(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"'P7'.*{field}"):
        Home("P7", None, **{field: value})


def test_every_fault_is_told_at_once() -> None:
    with pytest.raises(HemsError, match=r"energy_kwh.*p_charge_kw.*eta_charge"):
        Battery(energy_kwh=-1.0, p_charge_kw=-1.0, p_discharge_kw=1.0, eta_charge=95, eta_discharge=0.9)
    with pytest.raises(HemsError, match=r"neither PV.*export_limit_kw"):
        Home("P7", has_pv=False, export_limit_kw=math.nan)


def test_units_scale_energy_and_power_but_not_the_band() -> None:
    home = Home("A", Battery.powerwall2(4))
    arrays = HomeArrays.of([home, Home("B")])
    assert arrays.capacity_kwh.tolist() == [54.0, 0.0]
    assert arrays.p_charge_kw.tolist() == [20.0, 0.0]
    assert arrays.soc_hi_kwh.tolist() == [54.0, 0.0]
    assert arrays.has_battery.tolist() == [True, False]
    assert np.isinf(arrays.export_limit_kw).all()
    with pytest.raises(ValueError, match="read-only"):
        arrays.capacity_kwh[0] = 1.0


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"has_pv": "no"}, "has_pv='no' must be True or False"),
        ({"battery": "x"}, "battery='x' must be of type Battery, or None"),
        ({"inverter": 5.0}, "inverter=5.0 must be of type Inverter"),
        ({"devices": [1]}, "devices: 1 is no Device"),
        ({"devices": 1}, "devices=1 must be a tuple"),
        ({"export_limit_kw": "5"}, "export_limit_kw='5' must be a number"),
    ],
)
def test_a_home_of_wrong_types_names_the_field(options: dict, problem: str) -> None:
    with pytest.raises(HomeError, match=f"Home 'A': {problem}"):
        Home("A", **options)


@pytest.mark.parametrize("field", ["energy_kwh", "p_charge_kw", "eta_discharge", "soc_max", "n_units"])
@pytest.mark.parametrize("value", ["5", None, 1j, True])
def test_a_battery_takes_numbers_only(field: str, value: object) -> None:
    with pytest.raises(HomeError, match=f"{field}=.* must be a number"):
        dataclasses.replace(Battery.powerwall2(), **{field: value})


@pytest.mark.parametrize("given", [{"s_kva": "a"}, {"q_kvar": None}, {"power_factor": "x"}])
def test_an_inverter_takes_numbers_only(given: dict) -> None:
    with pytest.raises(HomeError, match=f"inverter.{next(iter(given))}=.* must be a number"):
        Home("H1", inverter=Inverter(**{"s_kva": 5.0} | given))
