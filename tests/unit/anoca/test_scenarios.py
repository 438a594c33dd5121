"""Scenarios, placement and what names a results folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anoca.config import TABLE_I, Scenario, load_scenario
from anoca.errors import InputError
from anoca.placement import homes_behind, load_feeder, place
from anoca.provenance import provenance
from anoca.results import to_toml
from anoca.runner import _check_place
from anoca.studies.sweep import grid
from feeders import Connections, Loads

ROOT = Path(__file__).resolve().parents[3]


def scenario(**overrides: Any) -> Scenario:
    base = {"name": "x", "seed": 1, "feeder": {"name": "ieee342"}, "prosumers": {"table1": 3}}
    return Scenario.model_validate(base).with_overrides(overrides)


@pytest.mark.parametrize(("table1", "total_mw"), [(1, 25.363), (2, 25.543), (3, 25.053), (4, 25.465)])
def test_table_1_gives_416_prosumers_and_the_totals(table1: int, total_mw: float) -> None:
    chosen = scenario(**{"prosumers.table1": table1})
    placed = place(chosen, load_feeder(chosen.feeder))
    assert len(placed.name) == 416
    assert len(placed.feeder[Loads]) == 624 - 416
    assert placed.p_request_kw.sum() / 1e3 == pytest.approx(total_mw, abs=5e-4)


def test_categories_follow_the_load_number() -> None:
    placed = place(scenario(), load_feeder(scenario().feeder))
    number = placed.name.astype(int)
    assert set(number % 3) == {0, 2}
    assert (placed.percent[number % 3 == 2] == TABLE_I[3]["A"]).all()
    assert (placed.percent[number % 3 == 0] == TABLE_I[3]["C"]).all()


def test_export_rules() -> None:
    def placed(rule: str) -> Any:
        chosen = scenario(mode="snapshot", **{"prosumers.export_rule": rule})
        return place(chosen, load_feeder(chosen.feeder))

    keep, unity, behind = (placed(r) for r in ("net_keep_q", "net_unity", "behind_load"))
    assert np.array_equal(keep.q_kvar(), -keep.base_kvar)
    assert not unity.q_kvar().any()
    assert len(behind.feeder[Loads]) == 624
    assert not behind.q_kvar(net=False).any()
    assert len(keep.feeder[Connections]) == len(behind.feeder[Connections]) == 416


def test_one_powerwall_per_5_kw_rounded_up() -> None:
    assert homes_behind(np.array([0.1, 5.0, 5.1, 60.0]), 5.0).tolist() == [1, 1, 2, 12]
    placed = place(scenario(), load_feeder(scenario().feeder))
    units = [home.battery.n_units for home in placed.homes() if home.battery]
    assert units == np.ceil(placed.base_kw / 5).tolist()


def test_a_feeder_with_prosumers_of_its_own_is_refused() -> None:
    options = {"n_buses": 20, "seed": 1, "prosumers": 0.5}
    chosen = scenario(**{"feeder.name": "synthetic", "feeder.options": options})
    with pytest.raises(InputError, match="of its own"):
        place(chosen, load_feeder(chosen.feeder))


def test_all_issues_come_at_once() -> None:
    with pytest.raises(InputError) as caught:
        scenario(**{"dms.nrm": 1, "limits.v_max_pu": -1, "clock.ticks": 0})
    assert len(caught.value.issues) == 3
    assert any("did you mean `norm`" in issue for issue in caught.value.issues)


def test_overrides_check_their_keys() -> None:
    assert scenario(**{"dms.norm": "l1"}).dms.norm == "l1"
    with pytest.raises(InputError, match="normm"):
        scenario(**{"dms.normm": "l1"})


def test_the_hash_covers_scenario_and_input_files(tmp_path: Path) -> None:
    series = tmp_path / "load.csv"
    series.write_text("time,a\n")
    with_file = {"series.load_file": str(series)}
    first = provenance(scenario(**with_file))["hash"]
    assert provenance(scenario(**with_file))["hash"] == first
    assert provenance(scenario(**with_file, seed=2))["hash"] != first
    series.write_text("time,b\n")
    assert provenance(scenario(**with_file))["hash"] != first


def test_grid_is_the_product_in_order() -> None:
    swept = Scenario.model_validate(
        {
            "name": "x",
            "seed": 1,
            "feeder": {"name": "ieee4"},
            "sweep": {"dms.norm": ["l1", "l2"], "seed": [1, 2]},
        }
    )
    assert [tuple(p.values()) for p in grid(swept)] == [("l1", 1), ("l1", 2), ("l2", 1), ("l2", 2)]
    with pytest.raises(InputError, match=r"\[sweep\]"):
        grid(scenario())


@pytest.mark.parametrize("path", sorted((ROOT / "scenarios").glob("*.toml")), ids=lambda p: p.name)
def test_shipped_scenarios_are_valid_and_survive_a_round_trip(path: Path, tmp_path: Path) -> None:
    shipped = load_scenario(path)
    assert shipped.description
    copy = tmp_path / "copy.toml"
    copy.write_text(to_toml(shipped.resolved()))
    assert load_scenario(copy) == shipped


@pytest.mark.parametrize("ticks", ["true", "100000000000", "0"])
def test_a_number_of_ticks_that_is_none_names_the_setting(tmp_path: Path, ticks: str) -> None:
    file = tmp_path / "s.toml"
    file.write_text(f'name = "s"\n[feeder]\nname = "ieee13"\n[clock]\nticks = {ticks}\n')
    with pytest.raises(InputError, match=r"clock\.ticks"):
        load_scenario(file)


def test_a_place_that_cannot_be_written_to_is_refused_before_the_run(tmp_path: Path) -> None:
    file = tmp_path / "taken"
    file.write_text("no folder")
    with pytest.raises(InputError, match="no folder that can be written to"):
        _check_place(file / "name" / "hash")
    _check_place(tmp_path / "name" / "hash")
    assert list(tmp_path.iterdir()) == [file]  # nothing is left behind
