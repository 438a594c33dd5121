"""What curtailment was worth: table `values`, its totals, and the run in which everything is granted."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from anoca.config import Scenario
from anoca.errors import InputError
from anoca.results import Results
from anoca.simulation import simulate
from anoca.values import values_table
from tests.end_to_end import small_scenario

SMALL = small_scenario.SMALL | {"dms": {"norm": "l1"}, "output": {"counterfactual": True}}


@pytest.fixture(scope="module")
def results() -> Results:
    """A quarter of an hour around noon whose limits bind."""
    return simulate(Scenario.model_validate(SMALL))


def test_a_day_is_the_sum_of_its_ticks(results: Results) -> None:
    values, homes = results.tables["values"], results.tables["prosumers"]
    assert len(values) == results.summary["prosumers"]
    by_home = homes.groupby("prosumer", sort=False)
    assert list(values["prosumer"]) == list(by_home.groups)
    for total, each in {"export_kwh": "p_export_kw", "curtailed_kwh": "p_curtail_kw"}.items():
        np.testing.assert_allclose(values[total], by_home[each].sum() / 12, atol=1e-12)
    ticks = results.tables["ticks"].set_index("tick")
    bill = homes["p_import_kw"] * homes["tick"].map(ticks["import_price_per_kwh"])
    bill -= homes["p_export_kw"] * homes["tick"].map(ticks["export_price_per_kwh"])
    np.testing.assert_allclose(bill / 12, homes["cost_usd"], atol=1e-12)
    np.testing.assert_allclose(values["bill_usd"], by_home["cost_usd"].sum(), atol=1e-12)


def test_what_was_curtailed_is_accounted_for(results: Results) -> None:
    values = results.tables["values"]
    parts = values["stored_kwh"] + values["spilled_kwh"] + values["unavailable_kwh"]
    np.testing.assert_allclose(parts, values["curtailed_kwh"], atol=1e-9)
    assert values["curtailed_kwh"].sum() > 1
    assert (values["regret_usd"] >= 0).all()
    assert (values["free_kwh"] <= values["curtailed_kwh"] + 1e-12).all()
    uncut = values[values["curtailed_kwh"] == 0]
    assert (uncut["regret_usd"] == 0).all()


def test_the_homes_without_utility_are_the_same_homes(results: Results) -> None:
    values, granted = results.tables["values"], results.tables["granted"]
    first = results.tables["prosumers"].query("tick == 0")
    np.testing.assert_array_equal(granted.query("tick == 0")["p_oes_kw"], first["p_oes_kw"])
    uncut = (values["curtailed_kwh"] == 0).to_numpy()
    assert uncut.any()
    for one in ("bill", "export", "soc_change"):
        unit = "usd" if one == "bill" else "kwh"
        kept = values[uncut]
        np.testing.assert_array_equal(kept[f"{one}_{unit}"], kept[f"{one}_granted_{unit}"])
    assert (values["export_granted_kwh"] - values["export_kwh"]).sum() > 1


def test_totals_are_in_the_summary(results: Results) -> None:
    values, summary = results.tables["values"], results.summary
    for name in ("bill_usd", "regret_usd", "free_kwh", "bill_granted_usd", "export_granted_kwh"):
        assert summary[name] == pytest.approx(values[name].sum())


def test_a_day_ends_at_local_midnight() -> None:
    rows = {"tick": [0, 1], "prosumer": ["a", "a"], "p_curtail_kw": [12.0, 0.0], "regret_usd": [0.0, 0.0]}
    powers = (
        "p_import_kw",
        "p_export_kw",
        "p_oes_kw",
        "p_stored_kw",
        "p_spill_curtail_kw",
        "p_unavailable_kw",
    )
    more = {"cost_usd": [1.0, 2.0], "soc_start_kwh": [5.0, 6.0], "soc_end_kwh": [6.0, 4.0]}
    table = pd.DataFrame(rows | more | dict.fromkeys(powers, 0.0))
    times = pd.DatetimeIndex(["2026-06-21 23:55", "2026-06-22 00:00"]).tz_localize("America/New_York")
    found = values_table(table, np.array([t.date() for t in times]), 1 / 12)
    assert [str(day) for day in found["day"]] == ["2026-06-21", "2026-06-22"]
    assert list(found["bill_usd"]) == [1.0, 2.0]
    assert list(found["soc_change_kwh"]) == [1.0, -2.0]
    assert list(found["free_kwh"]) == [1.0, 0.0]
    assert found["bill_granted_usd"].isna().all()


def test_a_snapshot_has_no_bills() -> None:
    with pytest.raises(InputError, match="counterfactual"):
        Scenario.model_validate(SMALL).with_overrides({"mode": "snapshot"})
