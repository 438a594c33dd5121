"""OpenDSS master files on the command line: read, checked, solved; refused where there is no law yet."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("dss", reason="needs dss_python: pip install 'anoca[opendss]'")


def test_powerflow_and_check_of_a_master_file(anoca_command, feeder_folder):
    master = feeder_folder("13Bus") / "IEEE13Nodeckt.dss"
    solved = json.loads(anoca_command("powerflow", master, "--json").out)
    v = {row["node"]: row["v_pu"] for row in solved["rows"]}
    assert solved["converged"] is True
    assert solved["source_kw"] == pytest.approx(3567.05, abs=0.05)  # OpenDSS: 3567 kW
    assert max(v.values()) == pytest.approx(1.056, abs=1e-3)
    checked = anoca_command("feeder", "check", master, "--json")
    assert checked.code == 0
    assert {row["severity"] for row in checked.rows} == {"audit"}
    assert any("no rating" in row["message"] for row in checked.rows)


def test_a_scenario_on_loads_without_a_law_is_refused(anoca_command, feeder_folder, tmp_path):
    master = feeder_folder("13Bus") / "IEEE13Nodeckt.dss"
    path = tmp_path / "s.toml"
    path.write_text(
        f'name = "s"\nseed = 1\nmode = "snapshot"\n[feeder]\nname = "{master}"\n'
        "[prosumers]\npercent = { A = 50 }\n"
    )
    done = anoca_command("run", path, "--out", tmp_path / "r")
    assert done.code == 2
    assert "voltage-dependent load" in done.err
    assert not (tmp_path / "r").exists()


def test_a_missing_master_is_named(anoca_command, tmp_path):
    done = anoca_command("powerflow", tmp_path / "Nowhere.dss")
    assert done.code == 2
    assert "Nowhere.dss" in done.err


def test_a_snapshot_on_the_european_low_voltage_feeder(anoca_command, feeder_folder, tmp_path):
    """55 constant-power loads with bands; PV so large that currents or voltages bind."""
    feeder_folder("LVTestCase")
    path = tmp_path / "lv.toml"
    path.write_text(
        'name = "lv"\nseed = 1\nmode = "snapshot"\n[feeder]\nname = "LVTestCase/Master.dss"\n'
        "[prosumers]\npercent = { A = 1500, B = 900, C = 1200 }\n[limits]\nv_max_pu = 1.07\n"
    )
    done = anoca_command("run", path, "--out", tmp_path / "r", "--json")
    assert done.code == 0, done.err
    row = done.rows[0]
    assert (row["certified"], row["relaxed"], row["prosumers"]) == (1, 0, 55)
    assert 0.1 < row["curtailed_mw"] < row["total_mw"]
    assert row["ticks_binding"] == 1
