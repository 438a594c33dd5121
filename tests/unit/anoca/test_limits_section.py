"""Limits in a scenario: what a file may say, what is refused in words, and that a run keeps them."""

from datetime import datetime
from typing import Any

import pytest

from anoca import InputError
from anoca.config import Scenario
from anoca.simulation import simulate

BASE: dict[str, Any] = {
    "name": "limits",
    "seed": 3,
    "feeder": {"name": "synthetic", "options": {"n_buses": 12, "seed": 2, "phases": "three"}},
    "prosumers": {"percent": {"A": 300, "C": 250}},
    "clock": {"ticks": 2},
    "output": {"plots": False},
}


def _scenario(limits: dict[str, Any]) -> Scenario:
    return Scenario(**BASE).with_overrides({f"limits.{key}": value for key, value in limits.items()})


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"buses": {"b7": "none"}}, r'`limits\.buses\.b7`: give \[lowest, highest\] in pu, or "exempt"'),
        ({"buses": {"b7": [0.9]}}, r'`limits\.buses\.b7`: give \[lowest, highest\] in pu, or "exempt"'),
        ({"buses": {"b7": [1.1, 0.9]}}, "band of bus 'b7', 1.1 to 0.9 pu is empty"),
        (
            {"elements": {"l1": 0}},
            r'`limits\.elements\.l1`: give a positive factor of the rating, or "exempt"',
        ),
        ({"v_max_pu": 230}, "`limits`: voltage band 0.9 to 230.0 pu: give values per unit, such as 1.05"),
        ({"elements": {"l1": "off"}}, r"give a positive factor of the rating, or .exempt. \(given: 'off'\)"),
        ({"unbalance_max": 0.03}, "unbalance_max = 0.03 has no effect without unbalance = True"),
        ({"band": "relativ"}, "Input should be 'absolute', 'relative' or 'both'"),
        ({"reverse_power_kw": 1.0}, "did you mean `reverse_power_max_kw`"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(limits: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        _scenario(limits)


def test_unknown_names_are_refused_before_the_first_tick() -> None:
    for limits, message in (
        ({"buses": {"c7": "exempt"}}, "no bus 'c7'; did you mean"),
        ({"elements": {"line 14": 0.8}}, "no element 'line 14'; did you mean 'line l4'"),
    ):
        with pytest.raises(InputError, match=message):
            simulate(_scenario(limits))


def test_what_was_used_can_be_read_back() -> None:
    scenario = _scenario({"buses": {"b7": "exempt", "b8": [0.95, 1.02]}, "elements": {"line l4": 0.8}})
    again = Scenario(**scenario.resolved())
    assert again.limits == scenario.limits
    assert dict(again.limits.limits().buses) == {"b7": None, "b8": (0.95, 1.02)}
    assert dict(again.limits.limits().elements) == {"line l4": 0.8}


@pytest.mark.parametrize(("v_rise_pu", "binds"), [(0.004, {"v_max", "v_ll_max"}), (0.03, {"reverse_power"})])
def test_a_run_keeps_every_kind_and_so_does_its_plant(v_rise_pu: float, binds: set[str]) -> None:
    limits = {"band": "both", "v_rise_pu": v_rise_pu, "unbalance": True, "unbalance_max": 0.05}
    limits |= {"reverse_power_max_kw": 50.0}
    given = {**limits, "negative_sequence_max_pu": 0.05, "band_across": "both", "buses": {"b7": "exempt"}}
    results = simulate(_scenario(given))
    ticks, found = results.tables["ticks"], results.tables["limits"]
    assert ticks["certified"].tolist() == ["yes", "yes"]
    assert (ticks["curtailed_kw"] > 0).all()
    assert (ticks["plant_over_v_pu"] < v_rise_pu).all()
    assert set(found.loc[found["binding"], "kind"]) == binds
    assert not found["violated"].any()


def test_values_in_messages_are_plain() -> None:
    with pytest.raises(InputError, match=r"years 1900 to 2200 \(given: 1066-10-14 09:00:00\)"):
        Scenario(**BASE).with_overrides({"clock.start": datetime(1066, 10, 14, 9)})
