"""Every verb, as a user types it: exit codes, messages, files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from anoca.config import load_scenario
from anoca.results import read
from anoca.runner import is_done

ROOT = Path(__file__).resolve().parents[2]


def test_run_writes_tables_plots_and_manifest(anoca_command, small, tmp_path):
    out = tmp_path / "results"
    done = anoca_command("run", small, "--out", out)
    assert done.code == 0
    folder = next((out / "small").iterdir())
    names = {p.name for p in folder.iterdir()}
    written = ("ticks", "prosumers", "values", "messages", "limits", "causes", "nodes", "timings")
    tables = {f"{n}.parquet" for n in written}
    assert names == tables | {
        "manifest.json", "scenario.toml", "voltage_profile.png", "curtailment.png", "exports.png"
    }  # fmt: skip
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["provenance"]["hash"] == folder.name
    assert manifest["provenance"]["versions"]["ipopt"]
    assert "certified" in done.out
    assert "Limits: |v|" in done.out


def test_run_again_reads_what_is_there(anoca_command, small, tmp_path):
    out = tmp_path / "results"
    first = anoca_command("run", small, "--out", out, "--json")
    folder = Path(first.rows[0]["folder"])
    stamp = (folder / "manifest.json").stat().st_mtime_ns
    again = anoca_command("run", small, "--out", out)
    assert "done already" in again.out
    assert (folder / "manifest.json").stat().st_mtime_ns == stamp
    assert len(list((out / "small").iterdir())) == 1


def test_compare_is_one_table_and_one_plot(anoca_command, small, tmp_path):
    out = tmp_path / "results"
    done = anoca_command("compare", small, "--norms", "l1,l2,linf", "--out", out, "--json")
    rows = {r["norm"]: r for r in done.rows}
    assert done.code == 0
    assert set(rows) == {"l1", "l2", "linf"}
    columns = "case scenario norm total_mw curtailed_mw largest_kw homes seconds iterations method certified"
    assert set(columns.split()) <= set(done.rows[0])
    assert (out / "small" / "compare-l1-l2-linf.png").stat().st_size > 5000


@pytest.mark.parametrize("norms", ["", ",", " , "])
@pytest.mark.parametrize("more", [(), ("--bids",)])
def test_no_norm_to_compare_is_one_line(anoca_command, small, tmp_path, norms, more):
    done = anoca_command("compare", small, "--norms", norms, "--out", tmp_path / "r", *more)
    assert done.code == 2
    assert done.err.startswith("error: --norms names no norm; known: l1, l2, linf")
    assert len(done.err.splitlines()) == 1
    assert not (tmp_path / "r").exists()


def test_help_says_what_the_tool_does_for_its_user(anoca_command):
    text = " ".join(anoca_command("--help").out.split())
    assert "Simulate homes with PV and batteries on a real feeder. Every home plans" in text
    assert "Python API" not in text


def test_sweep_does_only_what_is_missing(anoca_command, small, tmp_path):
    out = tmp_path / "results"
    small.write_text(small.read_text() + '\n[sweep]\n"dms.norm" = ["l1", "l2"]\nseed = [1, 2]\n')
    done = anoca_command("sweep", small, "--out", out, "--jobs", "2", "--json")
    assert done.code == 0
    assert len(done.rows) == 4
    assert {(r["dms.norm"], r["seed"]) for r in done.rows} == {("l1", 1), ("l1", 2), ("l2", 1), ("l2", 2)}
    assert (out / "small" / "sweep.png").stat().st_size > 5000
    table = pd.read_csv(out / "small" / "sweep.csv")
    assert len(table) == 4
    stamps = {Path(r["folder"]): (Path(r["folder"]) / "manifest.json").stat().st_mtime_ns for r in done.rows}
    lost = next(iter(stamps))
    for path in lost.iterdir():
        path.unlink()
    lost.rmdir()
    again = anoca_command("sweep", small, "--out", out, "--jobs", "1", "--json")
    assert again.code == 0
    for folder, stamp in stamps.items():
        changed = (folder / "manifest.json").stat().st_mtime_ns != stamp
        assert changed == (folder == lost)


def test_an_interrupted_run_leaves_nothing_that_counts_as_done(anoca_command, small, tmp_path, monkeypatch):
    out = tmp_path / "results"

    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("anoca.simulation.decide", stop)
    monkeypatch.setattr("anoca.agents.decide", stop)
    done = anoca_command("run", small, "--out", out)
    assert done.code == 130
    assert "nothing of this run is kept, the same command again starts it over" in done.err
    assert not is_done(load_scenario(small), out)


def test_an_interrupted_sweep_says_that_finished_runs_stay(anoca_command, small, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("anoca.studies.sweep.sweep", stop)
    done = anoca_command("-v", "sweep", small)
    assert done.code == 130
    assert "what is finished stays" in done.err


def test_reproduce_case1_meets_the_published_voltages(anoca_command, tmp_path):
    done = anoca_command("reproduce", "case1", "--out", tmp_path, "--json")
    rows = [r for r in done.rows if "Table II:" in r["table"]]
    assert done.code == 0
    assert [r["gridlabd_v"] for r in rows] == [1917.76, 2061.26, 1980.76]
    for row in rows:
        assert abs(row["our_v"] / row["gridlabd_v"] - 1) <= 1e-4
        assert abs(row["our_v"] - row["check_v"]) <= 1e-5
        assert row["anoca_error_pct"] == pytest.approx(100 * (row["anoca_v"] / row["gridlabd_v"] - 1))
    without = {r["export_rule"]: r for r in done.rows if "Table III" in r["table"]}
    assert without["net_unity"]["solution"] is False
    v = [without["net_keep_q"][f"v{k}_pu"] for k in range(3)]
    assert np.allclose(v, [1.158, 0.957, 0.594], atol=1e-3)


def test_powerflow_of_case2_matches_the_reference_values(anoca_command):
    done = anoca_command("powerflow", "ieee342", "--json")
    whole = json.loads(done.out)
    v = {r["node"]: r["v_pu"] for r in whole["rows"]}
    assert whole["converged"] is True
    assert whole["source_kw"] == pytest.approx(42760.187, abs=0.01)
    assert v["S1.1"] == pytest.approx(0.9955008, abs=1e-7)
    assert v["S47.1"] == pytest.approx(0.9909994, abs=1e-7)


@pytest.mark.parametrize(
    "words",
    [
        ("doctor",),
        ("feeder", "list"),
        ("feeder", "check", "ieee4"),
        ("feeder", "show", "ieee342"),
        ("powerflow", "ieee4"),
        ("scenarios", "list"),
    ],
)
def test_verbs_print_for_people_and_for_scripts(anoca_command, words):
    for_people = anoca_command(*words)
    for_scripts = anoca_command(*words, "--json")
    assert for_people.out.strip()
    assert isinstance(for_scripts.rows, list)
    assert for_people.code == for_scripts.code == 0


def test_a_feeder_of_ones_own_as_tables(anoca_command, small, tmp_path):
    folder = tmp_path / "mine"
    words = ("feeder", "convert", "synthetic", folder, "-o", "n_buses=20", "-o", "seed=1")
    assert anoca_command(*words).code == 0
    assert anoca_command(*words).code == 2
    library_run = anoca_command("run", small, "--out", tmp_path / "a", "--json").rows[0]
    text = small.read_text().replace('"synthetic"\noptions = { n_buses = 20, seed = 1 }', '"mine"', 1)
    small.write_text(text.replace("[plant]\noptions = { n_buses = 20 }\n", ""))
    own_run = anoca_command("run", small, "--out", tmp_path / "a", "--json").rows[0]
    assert own_run["curtailed_mw"] == pytest.approx(library_run["curtailed_mw"], rel=1e-9)
    lines = folder / "Lines.csv"
    lines.write_text(lines.read_text().replace("i_max_a_1", "i_max"))
    refused = anoca_command("run", small, "--out", tmp_path / "b")
    assert refused.code == 2
    assert "Lines.csv" in refused.err
    assert "i_max_a_1" in refused.err
    assert not (tmp_path / "b").exists()


def test_scenarios_copy(anoca_command, tmp_path):
    done = anoca_command("scenarios", "copy", "case2_hour.toml", tmp_path)
    assert done.code == 0
    assert load_scenario(tmp_path / "case2_hour.toml").name == "case2-hour"
    assert anoca_command("scenarios", "copy", "case2_hour.toml", tmp_path).code == 2


EXTRA = "[[prosumers.extra]]\nname = 'x'\nnode = '{node}'\nbase_kw = {kw}\npercent = 50\n"
FLAT = "[tariff]\nkind = 'flat'\nimport_price_per_kwh = 0.01\nexport_price_per_kwh = 0.05\n"

# What is changed in the scenario (line -> line, or appended), and two words the message must have:
# the thing that is wrong, and the fix or the reason.
BAD: dict[str, tuple[str, str, str, str]] = {
    "unknown key": ("", "[dms]\nnrm = 'l1'", "nrm", "norm"),
    "unknown section": ("", "[limit]\nv_min_pu = 0.9", "limit", "limits"),
    "unknown norm": ("", "[dms]\nnorm = 'l7'", "l7", "l1"),
    "unknown library feeder": ('name = "synthetic"', 'name = "synthetik"', "synthetik", "did you mean"),
    "unknown feeder option": ("n_buses = 20, seed = 1", "n_buses = 20, colour = 1", "colour", "options"),
    "unknown bus": ("", EXTRA.format(node="nowhere.1", kw=5), "nowhere", "no node"),
    "negative kW": ("", EXTRA.format(node="b1.1", kw=-5), "base_kw", "-5"),
    "NaN": ("i_scale = 0.25", "i_scale = nan", "i_scale", "finite"),
    "empty band": ("i_scale = 0.25", "v_min_pu = 1.06", "v_min_pu", "empty"),
    "unknown switch": ("[prosumers]", "open = ['S1']\n[prosumers]", "S1", "switch"),
    "price import below export": ("", FLAT, "import", "export"),
    "unknown time zone": ("ticks = 2", "timezone = 'Mars/Olympus'", "Mars/Olympus", "time zone"),
    "missing load file": ("", "[series]\nload_file = 'nowhere.csv'", "nowhere.csv", "no load file"),
    "no prosumer": ("percent = { A = 150, C = 100 }", "percent = { A = 0 }", "prosumer", "percent"),
    "unknown category": ("percent = { A = 150, C = 100 }", "percent = { D = 10 }", "D", "categories"),
    "weight of nobody": ("battery_kw = 20.0", "weights = { ghost = 2.0 }", "ghost", "weights"),
    "start in the clock change": (
        "ticks = 2",
        "start = 2026-03-08T02:30:00",
        "2026-03-08",
        "America/New_York",
    ),
    "a node with itself": ("", EXTRA.format(node="0", kw=5), "'x'", "two nodes"),
    "weights too far apart": ("battery_kw = 20.0", "weights = { NAME = 1e-9 }", "weights", "apart"),
    "no seed": ("seed = 3", "", "seed", "missing"),
    "not TOML": ("seed = 3", "seed = = 3", "small.toml", "TOML"),
}


def some_prosumer(path: Path) -> str:
    from anoca.placement import load_feeder, place

    scenario = load_scenario(path)
    return str(place(scenario, load_feeder(scenario.feeder)).name[0])


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_one_clear_message_and_writes_nothing(anoca_command, small, tmp_path, case):
    line, other, the_thing, the_fix = BAD[case]
    other = other.replace("NAME", f"'{some_prosumer(small)}'")
    content = small.read_text()
    assert line in content
    small.write_text(content.replace(line, other, 1) if line else f"{content}\n{other}\n")
    out = tmp_path / "results"
    done = anoca_command("run", small, "--out", out)
    assert done.code == 2, done.err
    assert the_thing in done.err
    assert the_fix in done.err
    assert "Traceback" not in done.err
    assert not out.exists()


def test_a_missing_scenario_suggests_the_near_one(anoca_command, small):
    done = anoca_command("run", small.with_name("smal.toml"))
    assert done.code == 2
    assert "did you mean" in done.err
    assert "small.toml" in done.err


def test_opening_switches_that_cut_off_nodes_names_them(anoca_command, tmp_path):
    from feeders import Switches, library

    names = json.dumps([str(name) for name in library.load("ieee342")[Switches].name])
    path = tmp_path / "island.toml"
    path.write_text(
        f'name = "island"\nseed = 1\nmode = "snapshot"\n[feeder]\nname = "ieee342"\nopen = {names}\n'
        "[prosumers]\ntable1 = 3\n"
    )
    done = anoca_command("run", path, "--out", tmp_path / "results")
    assert done.code == 2
    assert "no path to a source" in done.err
    assert "S1" in done.err
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.assign(**{f.columns[1]: np.nan}), "not a number"),
        (lambda f: f.assign(**{f.columns[1]: -1.0}), "powers are >= 0"),
        (lambda f: f.drop(columns=f.columns[1]), "missing"),
        (lambda f: f.iloc[:5], "ticks missing"),
        (lambda f: f.rename(columns={"time": "when"}), "no column `time`"),
        (lambda f: pd.concat([f, f]), "twice"),
        (lambda f: f.assign(time="noon"), "no time"),
        (lambda f: f.assign(time=[str(t)[:-6] for t in f["time"]]), "no offset from UTC"),
        (lambda f: f.assign(**{f.columns[1]: "much"}), "much"),
    ],
)
def test_a_users_series_is_used_or_refused(anoca_command, small, tmp_path, spoil, message):
    from anoca.placement import load_feeder, place

    scenario = load_scenario(small)
    placement = place(scenario, load_feeder(scenario.feeder))
    times = pd.date_range("2026-06-21 12:30", periods=26, freq="5min", tz="America/New_York")
    good = pd.DataFrame({"time": times, **dict.fromkeys(placement.name, 3.0)})
    path = tmp_path / "load.csv"
    small.write_text(small.read_text() + '\n[series]\nload_file = "load.csv"\n')
    good.to_csv(path, index=False)
    fine = anoca_command("run", small, "--out", tmp_path / "results", "--json")
    assert fine.code == 0
    homes = pd.read_parquet(Path(fine.rows[0]["folder"]) / "prosumers.parquet")
    assert (homes["p_load_kw"] == 3.0).all()
    spoil(good).to_csv(path, index=False)
    refused = anoca_command("run", small, "--out", tmp_path / "other")
    assert refused.code == 2
    assert message in refused.err
    assert "load.csv" in refused.err
    assert not (tmp_path / "other").exists()


def test_files_of_one_name_in_two_folders_are_two_inputs(anoca_command, small, tmp_path):
    from anoca.placement import load_feeder, place

    scenario = load_scenario(small)
    names = place(scenario, load_feeder(scenario.feeder)).name
    times = pd.date_range("2026-06-21 12:30", periods=26, freq="5min", tz="America/New_York")
    for folder, kw in (("a", 100.0), ("b", 500.0)):
        (tmp_path / folder).mkdir()
        frame = pd.DataFrame({"time": times, **dict.fromkeys(names, kw)})
        frame.to_csv(tmp_path / folder / "x.csv", index=False)
    small.write_text(small.read_text() + '\n[series]\nload_file = "a/x.csv"\npv_file = "b/x.csv"\n')
    first = anoca_command("run", small, "--out", tmp_path / "r", "--json").rows[0]
    changed = (tmp_path / "a" / "x.csv").read_text().replace("100.0", "300.0")
    (tmp_path / "a" / "x.csv").write_text(changed)
    second = anoca_command("run", small, "--out", tmp_path / "r", "--json").rows[0]
    assert second["folder"] != first["folder"]
    assert second["total_mw"] < first["total_mw"]


def test_what_a_home_spills_by_its_own_will_is_on_the_books(anoca_command, small, tmp_path):
    flat = "[tariff]\nkind = 'flat'\nimport_price_per_kwh = 0.2\nexport_price_per_kwh = -0.1\n"
    small.write_text(small.read_text() + flat)
    done = anoca_command("run", small, "--out", tmp_path / "r", "--json")
    h = pd.read_parquet(Path(done.rows[0]["folder"]) / "prosumers.parquet")
    spilled = h["p_spill_plan_kw"] + h["p_spill_curtail_kw"] + h["p_spill_tracking_kw"]
    supply = h["p_import_kw"] + h["p_pv_kw"] - spilled + h["p_discharge_kw"]
    assert h["p_spill_plan_kw"].max() > 1
    assert (supply - h["p_export_kw"] - h["p_load_kw"] - h["p_charge_kw"]).abs().max() <= 1e-9


def test_text_beyond_ascii_survives(anoca_command, small, tmp_path):
    small.write_text(
        small.read_text().replace('name = "small"', 'name = "small"\ndescription = "ünï 😀 \\u007f"', 1)
    )
    first = anoca_command("run", small, "--out", tmp_path / "r", "--json")
    again = anoca_command("run", small, "--out", tmp_path / "r", "--json")
    assert first.code == again.code == 0
    assert first.rows == again.rows


def test_equal_points_of_a_sweep_are_one_run(anoca_command, small, tmp_path):
    small.write_text(small.read_text() + "\n[sweep]\n'limits.i_scale' = [0.25, 0.25, 1]\n")
    done = anoca_command("sweep", small, "--out", tmp_path / "r", "--jobs", "2", "--json")
    assert done.code == 0
    assert [r["limits.i_scale"] for r in done.rows] == [0.25, 0.25, 1]
    assert done.rows[0]["folder"] == done.rows[1]["folder"] != done.rows[2]["folder"]


def test_a_run_without_any_limited_node_goes_on(anoca_command, small, tmp_path):
    small.write_text(small.read_text().replace("i_scale = 0.25", "band_up_to_kv = 0.001", 1))
    for _ in "run it", "read it":
        done = anoca_command("run", small, "--out", tmp_path / "r")
        assert done.code == 0
        limits, said = (line for line in done.out.splitlines() if line.startswith(("Limits: ", "Warning: ")))
        assert limits.startswith("Limits: |v|")
        assert "no bus is at or below 0.001 kV (the lowest: 12.47 kV)" in said
        assert "remove limits.band_up_to_kv" in said
        assert "nan" not in done.out + done.err
    compared = anoca_command("compare", small, "--norms", "l2", "--out", tmp_path / "r")
    assert f"\n{limits}\n" in compared.out
    assert f"\n{said}\n" in compared.out
    folder = next(path for path in (tmp_path / "r" / "small").iterdir() if path.is_dir())
    warnings = json.loads((folder / "manifest.json").read_text())["warnings"]
    assert [said.removeprefix("Warning: ")] == warnings == list(read(folder).warnings)


def test_a_damaged_folder_is_named(anoca_command, small, tmp_path):
    folder = Path(anoca_command("run", small, "--out", tmp_path / "r", "--json").rows[0]["folder"])
    (folder / "ticks.parquet").write_bytes(b"")
    done = anoca_command("run", small, "--out", tmp_path / "r")
    assert done.code == 2
    assert "not whole" in done.err
