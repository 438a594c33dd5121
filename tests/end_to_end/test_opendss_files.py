"""OpenDSS master files on the command line: read, checked, solved; refused where there is no law yet."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from anoca.config import Scenario
from anoca.placement import load_feeder, place

pytest.importorskip("dss", reason="needs dss_python: make setup")

SMALL = (
    "4Bus-YY-Bal/4Bus-YY-Bal.DSS",
    "4Bus-DY-Bal/4Bus-DY-Bal.DSS",
    "4Bus-YD-Bal/4Bus-YD-Bal.DSS",
    "4Bus-GrdYD-Bal/4Bus-GrdYD-Bal.DSS",
    "13Bus/IEEE13Nodeckt.dss",
    "34Bus/ieee34Mod1.dss",
    "34Bus/ieee34Mod2.dss",
    "37Bus/ieee37.dss",
    "123Bus/IEEE123Master.dss",
)
LARGE = (
    "LVTestCase/Master.dss",
    "LVTestCaseNorthAmerican/Master.dss",
    "LVTestCaseNorthAmerican/SecPar.dss",
    "8500-Node/Master.dss",
    "8500-Node/Master-unbal.dss",
    "ckt5/Master_ckt5.dss",
    "epri_dpv_J1/Master_noPV.dss",
    "epri_dpv_J1/Master_withPV.dss",
    "epri_dpv_M1/Master_NoPV.dss",
)


@pytest.mark.parametrize("master", [*SMALL, *(pytest.param(m, marks=pytest.mark.slow) for m in LARGE)])
def test_every_published_circuit(anoca_command, feeder_folder, master):
    folder, name = master.split("/")
    path = feeder_folder(folder) / name
    checked = anoca_command("feeder", "check", path, "--json")
    assert checked.code == 0
    assert "error" not in {row["severity"] for row in checked.rows}
    solved = anoca_command("powerflow", path, "--json")
    answer = json.loads(solved.out)
    assert solved.code == 0
    assert answer["converged"] is True
    assert answer["residual_pu"] < 1e-8
    assert all(row["v_pu"] < 1.2 for row in answer["rows"])


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


def test_a_scenario_on_loads_of_every_kind_with_regulators_free(anoca_command, feeder_folder, tmp_path):
    """The 13-bus feeder: constant-impedance and -current loads, three regulators, two capacitor banks."""
    master = feeder_folder("13Bus") / "IEEE13Nodeckt.dss"
    text = (
        f'name = "s"\nseed = 1\nmode = "snapshot"\n[feeder]\nname = "{master}"\n'
        "[prosumers]\npercent = { A = 250, B = 100, C = 150 }\n[limits]\nv_max_pu = 1.06\n"
    )
    controls = '[controls]\ntaps = ["regulated"]\ncapacitors = ["cap1"]\nsteps_per_tick = 2\n'
    controls += "[dms]\nbudget_s = 300\n"  # the search is what is tried here, not the guard
    rows = []
    for name, more in (("fixed", ""), ("free", controls)):
        path = tmp_path / f"{name}.toml"
        path.write_text(text + more)
        done = anoca_command("run", path, "--out", tmp_path / name, "--json")
        assert done.code == 0, done.err
        rows.append(done.rows[0])
    fixed, free = rows
    assert fixed["certified"] == free["certified"] == 1
    assert fixed["curtailed_mw"] > 0
    assert free["curtailed_mw"] <= fixed["curtailed_mw"] * (1 + 1e-6)
    assert fixed["steps_moved"] == 0
    table = pd.read_parquet(next((tmp_path / "free").glob("s/*/controls.parquet")))
    assert table["control"].tolist() == ["reg1", "reg2", "reg3", "cap1"]
    assert table["steps_moved"].sum() > 0
    assert table["steps_moved"].sum() == pytest.approx(free["steps_moved"])
    assert table["steps_moved"].max() <= 2 + 1e-9
    assert ((table["position"] - table["before"]).abs() <= 2.001).all()


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


PV = """\
clear
new circuit.c basekv=12.47 pu=1.0
new line.l bus1=sourcebus bus2=b phases=3 r1=0.3 x1=0.6 r0=0.6 x0=1.5 length=5 units=km normamps=30
new load.x bus1=b phases=3 kv=12.47 kw=150 pf=0.95
new pvsystem.sun bus1=b phases=3 kv=12.47 kva=1100 pmpp=1000 irradiance=1
set voltagebases=[12.47]
calcvoltagebases
solve
"""


def test_the_generators_of_a_file_can_be_prosumers(anoca_command, tmp_path):
    """A three-phase PV system of 1 MW behind a line of 30 A: one prosumer, curtailed alike on its phases."""
    (tmp_path / "pv.dss").write_text(PV)
    text = 'name = "pv"\nseed = 1\nMODE[feeder]\nname = "pv.dss"\n[prosumers]\ngenerators = true\n'
    path = tmp_path / "pv.toml"
    path.write_text(text.replace("MODE", ""))
    done = anoca_command("run", path, "--out", tmp_path / "r")
    assert done.code == 2
    assert 'mode = "snapshot" only' in done.err
    path.write_text(text.replace("MODE", 'mode = "snapshot"\n'))
    done = anoca_command("run", path, "--out", tmp_path / "r")
    assert done.code == 0, done.err
    folder = next((tmp_path / "r").glob("pv/*"))
    limits = pd.read_parquet(folder / "limits.parquet")
    assert limits.loc[limits["binding"], "element"].str.startswith("line l phase").all()
    assert limits["binding"].sum() >= 3
    rows = pd.read_parquet(folder / "prosumers.parquet")
    assert rows["prosumer"].tolist() == ["pvsystem.sun"]
    assert rows["p_oes_kw"][0] == pytest.approx(1000.0, rel=0.01)
    assert rows["p_curtail_kw"][0] > 150
    path.write_text(
        path.read_text().replace("generators = true", 'generators = true\ncurtail_unit = "connection"')
    )
    done = anoca_command("run", path, "--out", tmp_path / "c")
    assert done.code == 0, done.err
    rows = pd.read_parquet(next((tmp_path / "c").glob("pv/*/prosumers.parquet")))
    assert rows["prosumer"].tolist() == [f"pvsystem.sun#{k}" for k in (1, 2, 3)]
    assert rows["p_curtail_kw"].to_numpy() == pytest.approx(rows["p_curtail_kw"].mean(), rel=1e-2)


@pytest.mark.parametrize("rule", ["net_keep_q", "net_unity", "behind_load"])
def test_a_generator_keeps_its_own_reactive_power(tmp_path, rule):
    master = tmp_path / "pv.dss"
    master.write_text(PV.replace("irradiance=1", "irradiance=1 kvar=-90"))
    feeder = {"name": str(master)}
    prosumers = {"generators": True, "export_rule": rule}
    given = {"name": "q", "seed": 1, "mode": "snapshot", "feeder": feeder, "prosumers": prosumers}
    scenario = Scenario.model_validate(given)
    placed = place(scenario, load_feeder(scenario.feeder))
    q = placed.at_connections(placed.q_kvar(net=rule != "behind_load"))
    assert q == pytest.approx([-30.0] * 3, abs=0.5)


def test_generators_that_are_no_prosumers_deliver_what_they_do(anoca_command, tmp_path):
    (tmp_path / "pv.dss").write_text(PV.replace("normamps=30", "normamps=300"))
    text = 'name = "pv"\nseed = 1\nmode = "snapshot"\n[feeder]\nname = "pv.dss"\n'
    path = tmp_path / "pv.toml"
    path.write_text(text + '[[prosumers.extra]]\nname = "home"\nnode = "b.1"\nbase_kw = 5.0\npercent = 100\n')
    done = anoca_command("run", path, "--out", tmp_path / "r", "--json")
    assert done.code == 0, done.err
    assert done.rows[0]["prosumers"] == 1
    nodes = pd.read_parquet(next((tmp_path / "r").glob("pv/*/nodes.parquet"))).set_index("node")
    assert nodes.loc["b.1", "v_aes_pu"] > 1.001  # 850 kW flow back to the source


def test_a_scenario_on_a_missing_master_says_so_before_anything_about_options(anoca_command, tmp_path):
    path = tmp_path / "s.toml"
    path.write_text('name = "s"\nseed = 1\n[feeder]\nname = "Nowhere.dss"\noptions = { form = "merged" }\n')
    done = anoca_command("run", path, "--out", tmp_path / "r")
    assert done.code == 2
    assert "there is no file Nowhere.dss" in done.err
