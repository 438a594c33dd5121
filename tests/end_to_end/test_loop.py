"""The two stages in a loop: what must hold on every tick, on a small feeder and on the hour of case 2."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anoca.config import Scenario, load_scenario
from anoca.placement import load_feeder, place
from anoca.results import TABLES, Results, read, to_toml, write
from anoca.series import build_series
from anoca.simulation import simulate
from tests.end_to_end.small_scenario import SMALL

ROOT = Path(__file__).resolve().parents[2]
ROUND_TRIP = 0.9


def small(**overrides: Any) -> Scenario:
    return Scenario.model_validate(SMALL).with_overrides(overrides)


@pytest.fixture(scope="module")
def hour() -> Results:
    """The hour of the main job: 416 homes with batteries, scenario 3, 12:30-13:30 on 21 June."""
    return simulate(load_scenario(ROOT / "scenarios" / "case2_hour.toml"))


@pytest.fixture(scope="module")
def small_run() -> Results:
    return simulate(small())


@pytest.fixture(scope="module", params=["small_run", "hour"])
def results(request: pytest.FixtureRequest) -> Results:
    found: Results = request.getfixturevalue(request.param)
    return found


def test_every_published_set_point_is_certified(results: Results) -> None:
    assert results.is_certified
    assert set(results.tables["ticks"]["certified"]) <= {"yes", "relaxed"}
    answers = results.tables["messages"].query("kind == 'AES'")
    assert len(answers) == len(results.tables["prosumers"])
    assert (answers["certified"] != "no").all()


def test_something_is_curtailed(results: Results) -> None:
    assert results.summary["ticks_curtailed"] >= 1


def test_set_points_are_obeyed(results: Results) -> None:
    homes = results.tables["prosumers"]
    cut = homes[homes["p_curtail_kw"] > 0]
    assert len(cut)
    assert (cut["p_planned_kw"] - cut["p_aes_kw"]).abs().max() <= 1e-6
    assert (homes["p_export_kw"] - homes["p_aes_kw"]).max() <= 1e-3  # 1 W
    assert (homes["p_oes_kw"] - homes["p_aes_kw"]).min() >= 0
    assert homes["p_aes_kw"].min() >= 0


def test_energy_of_every_battery_adds_up(results: Results) -> None:
    homes = results.tables["prosumers"]
    step_h = results.scenario["clock"]["step_minutes"] / 60
    eta = np.sqrt(ROUND_TRIP)
    change = (eta * homes["p_charge_kw"] - homes["p_discharge_kw"] / eta) * step_h
    assert (homes["soc_end_kwh"] - homes["soc_start_kwh"] - change).abs().max() <= 1e-9
    per_home = homes.assign(change=change).groupby("prosumer")
    total = per_home["soc_end_kwh"].last() - per_home["soc_start_kwh"].first() - per_home["change"].sum()
    assert total.abs().max() <= 1e-9
    assert (homes["p_charge_kw"] * homes["p_discharge_kw"]).max() == 0


def test_power_of_every_home_balances(results: Results) -> None:
    h = results.tables["prosumers"]
    spilled = h["p_spill_plan_kw"] + h["p_spill_curtail_kw"] + h["p_spill_tracking_kw"]
    supply = h["p_import_kw"] + h["p_pv_kw"] - spilled + h["p_discharge_kw"]
    assert (supply - h["p_export_kw"] - h["p_load_kw"] - h["p_charge_kw"]).abs().max() <= 1e-9


def test_what_was_curtailed_is_accounted_for(results: Results) -> None:
    homes, ticks = results.tables["prosumers"], results.tables["ticks"]
    parts = homes["p_stored_kw"] + homes["p_spill_curtail_kw"] + homes["p_unavailable_kw"]
    assert (parts - homes["p_curtail_kw"]).abs().max() <= 1e-9
    assert homes[["p_stored_kw", "p_spill_curtail_kw"]].min().min() >= 0
    for total, each in (
        ("curtailed_kw", "p_curtail_kw"),
        ("stored_kw", "p_stored_kw"),
        ("spilled_kw", "p_spill_curtail_kw"),
        ("total_oes_kw", "p_oes_kw"),
        ("total_aes_kw", "p_aes_kw"),
        ("total_export_kw", "p_export_kw"),
    ):
        assert np.allclose(ticks[total], homes.groupby("tick")[each].sum(), atol=1e-6), total


def test_state_of_charge_goes_on_where_it_stopped(results: Results) -> None:
    soc = results.tables["prosumers"].pivot(
        index="tick", columns="prosumer", values=["soc_start_kwh", "soc_end_kwh"]
    )
    ends, starts = soc["soc_end_kwh"].to_numpy()[:-1], soc["soc_start_kwh"].to_numpy()[1:]
    assert np.array_equal(ends, starts)


def test_the_answer_repeats_the_request(results: Results) -> None:
    messages = results.tables["messages"]
    asked = messages[messages["kind"] == "OES"].reset_index(drop=True)
    granted = messages[messages["kind"] == "AES"].reset_index(drop=True)
    assert (asked["mrid"] == granted["mrid"]).all()
    assert (asked["p_export_kw"] - granted["p_curtail_kw"] - granted["p_export_kw"]).abs().max() <= 1e-9
    assert ((granted["valid_until"] - granted["valid_from"]) == pd.Timedelta(minutes=5)).all()


def test_tables_have_the_declared_columns(results: Results) -> None:
    assert set(results.tables) == set(TABLES) - {"controls", "slacks", "granted"}
    for name, frame in results.tables.items():
        assert list(frame.columns) == list(TABLES[name]), name


def test_the_hour_binds_stores_and_spills(hour: Results) -> None:
    ticks = hour.tables["ticks"]
    assert len(ticks) == 12
    assert ((ticks["binding"] > 0) & (ticks["curtailed_kw"] > 0.1)).sum() >= 8
    assert ticks["homes_storing"].sum() > 0
    assert ticks["homes_spilling"].sum() > 0
    assert ticks["plant_worst_line"].str.startswith("line").all()
    assert ticks[["plant_worst_line_pct", "plant_v_min_pu", "plant_v_max_pu"]].notna().all().all()
    assert hour.summary["prosumers"] == 416
    assert str(ticks["time"].iloc[0]) == "2026-06-21 12:30:00-04:00"


def test_the_plant_stays_near_its_limits(hour: Results) -> None:
    """The plant runs on the expanded network with loads and PV that differ from the nowcast by 1 %."""
    ticks = hour.tables["ticks"]
    assert ticks["plant_worst_line_pct"].max() < 101
    assert ticks["plant_over_v_pu"].max() < 0


def test_same_seed_same_tables_other_seed_other_tables() -> None:
    first, again, other = (simulate(small(**{"seed": s})) for s in (3, 3, 4))
    assert first.content_hash() == again.content_hash()
    assert first.content_hash() != other.content_hash()


def test_adding_a_prosumer_changes_no_other_draw() -> None:
    def series(scenario: Scenario) -> pd.DataFrame:
        placement = place(scenario, load_feeder(scenario.feeder))
        made = build_series(scenario, placement)
        return pd.DataFrame(made.load_kw.T, columns=list(placement.name))

    feeder = load_feeder(small().feeder)
    extra = {"name": "new", "node": str(feeder.node_names[-1]), "base_kw": 7.0, "percent": 50.0}
    before, after = series(small()), series(small(**{"prosumers.extra": [extra]}))
    assert set(after.columns) - set(before.columns) == {"new"}
    assert after[before.columns].equals(before)


def test_without_batteries_everything_cut_is_spilled() -> None:
    sure = {"hems.sigma_load_nowcast": 0.0, "hems.sigma_pv_nowcast": 0.0}
    ticks = simulate(small(**{"prosumers.battery_kw": 0.0}, **sure)).tables["ticks"]
    assert ticks["curtailed_kw"].sum() > 1
    assert ticks["stored_kw"].sum() == 0
    assert ticks["spilled_kw"].sum() == pytest.approx(ticks["curtailed_kw"].sum(), abs=1e-6)
    assert ticks["unavailable_kw"].abs().sum() < 1e-6


def test_behind_load_peaks_lower() -> None:
    net, behind = (small(**{"prosumers.export_rule": rule}) for rule in ("net_keep_q", "behind_load"))
    placed = [place(s, load_feeder(s.feeder)) for s in (net, behind)]
    assert np.allclose(placed[0].p_peak_kw - placed[1].p_peak_kw, placed[0].base_kw)


def test_the_pyomo_text_runs_the_same_loop(small_run: Results) -> None:
    twin = simulate(small(**{"dms.backend": "pyomo", "hems.backend": "pyomo"}))
    columns = ["total_oes_kw", "total_aes_kw", "curtailed_kw"]
    ours, theirs = (r.tables["ticks"][columns].to_numpy() for r in (small_run, twin))
    assert np.allclose(ours, theirs, rtol=1e-5, atol=1e-3)


def test_results_survive_a_round_trip(small_run: Results, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "small" / "abc"
    written = write(small_run, folder)
    back = read(folder)
    assert back.content_hash() == small_run.content_hash() == written.content_hash()
    assert pd.Series(back.summary).equals(pd.Series(small_run.summary))  # NaN: not asked for
    assert back.scenario == small_run.scenario
    assert not list(folder.parent.glob(".*partial*"))
    with pytest.raises(FileExistsError):
        write(small_run, folder)


def test_a_resolved_scenario_is_a_scenario(tmp_path: Path) -> None:
    scenario = load_scenario(ROOT / "scenarios" / "case2_sweep.toml")
    path = tmp_path / "resolved.toml"
    path.write_text(to_toml(scenario.resolved()), encoding="utf-8")
    assert load_scenario(path) == scenario
