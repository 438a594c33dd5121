"""Where a run's loads, PV, prices and forecasts come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from anoca.config import Scenario
from anoca.errors import InputError
from anoca.placement import load_feeder, place
from anoca.provenance import input_files
from anoca.report.day import fleet_day, home_day
from anoca.report.diagram import one_line_diagram
from anoca.report.explain import BLOCKED, explain
from anoca.report.terminal import Terminal
from anoca.series import Series, build_series
from anoca.simulation import simulate
from feeders import Loads
from tests.end_to_end import small_scenario

SMALL = small_scenario.SMALL | {"clock": {"ticks": 2}}
BOTTOM_UP = {
    "series.load": "homes",
    "series.pv": "roofs",
    "series.sky": "broken",
    "tariff.kind": "ny_like_rtp",
    "forecast.method": "persistence",
}


def loop(**overrides: Any) -> Scenario:
    return Scenario.model_validate(SMALL).with_overrides(overrides)


def series(scenario: Scenario) -> Series:
    return build_series(scenario, place(scenario, load_feeder(scenario.feeder)))


def names(scenario: Scenario) -> list[str]:
    return list(place(scenario, load_feeder(scenario.feeder)).name)


def test_same_seed_same_tables_other_seed_other_tables() -> None:
    first, again, other = (simulate(loop(**BOTTOM_UP, seed=s)) for s in (3, 3, 4))
    assert first.content_hash() == again.content_hash() != other.content_hash()
    assert first.is_certified


def test_adding_a_prosumer_changes_no_other_draw() -> None:
    def table(scenario: Scenario, which: str) -> pd.DataFrame:
        return pd.DataFrame(getattr(series(scenario), which).T, columns=names(scenario))

    feeder = load_feeder(loop().feeder)
    extra = {"name": "new", "node": str(feeder.node_names[-1]), "base_kw": 7.0, "percent": 50.0}
    for which in ("load_kw", "pv_kw", "past_load_kw"):
        before = table(loop(**BOTTOM_UP), which)
        after = table(loop(**BOTTOM_UP, **{"prosumers.extra": [extra]}), which)
        assert set(after.columns) - set(before.columns) == {"new"}
        pd.testing.assert_frame_equal(after[before.columns], before)


def test_homes_stand_for_their_base_load_at_noon() -> None:
    made = series(loop(**{"series.load": "homes", "clock.ticks": 24, "clock.start": "2026-06-21T11:30:00"}))
    assert made.load_scale[:, :24].mean() == pytest.approx(1.0, abs=0.15)
    assert made.load_kw.min() > 0
    assert made.past_load_kw.shape[1] == 0


def test_roofs_differ_and_the_shared_curve_does_not() -> None:
    roofs = series(loop(**{"series.pv": "roofs", "series.sky": "mixed"}))
    shared = series(loop())
    for made, same in ((roofs, False), (shared, True)):
        share = made.pv_kw / made.pv_kw.max(axis=1, keepdims=True)
        assert np.allclose(share, share[0], rtol=1e-9) == same


@pytest.mark.parametrize(
    ("tariff", "export"),
    [
        ({"kind": "ny_like_tou", "export": "share", "export_share": 0.2}, 0.2 * (0.3523 + 0.08)),
        ({"kind": "flat", "export": "net"}, 0.25),
        ({"kind": "ny_like_tou", "export": "none"}, 0.0),
        ({"kind": "ny_like_tou", "export": "supply"}, 0.08),
    ],
)
def test_export_pays_by_its_rule(tariff: dict[str, Any], export: float) -> None:
    made = series(loop(**{f"tariff.{key}": value for key, value in tariff.items()}))
    np.testing.assert_allclose(made.tariff.export_price_per_kwh, export)


def test_real_time_prices_move_every_five_minutes() -> None:
    prices = series(loop(**{"tariff.kind": "ny_like_rtp", "tariff.delivery": "tou"})).tariff
    assert len(np.unique(prices.import_price_per_kwh)) == prices.n_ticks
    assert (prices.import_price_per_kwh - prices.export_price_per_kwh).min() > 0.3


def test_half_hourly_energy_in_parquet_is_used_when_asked(tmp_path: Path, caplog: Any) -> None:
    homes = names(loop())
    times = pd.date_range("2026-06-21 12:30", periods=6, freq="30min", tz="America/New_York")
    wide = pd.DataFrame({"time": times, **{f"{n}_kwh": 1.0 + k for k, n in enumerate(homes)}})
    path = tmp_path / "load.parquet"
    wide.to_parquet(path, index=False)
    with pytest.raises(InputError, match="resample = true"):
        series(loop(**{"series.load_file": str(path)}))
    made = series(loop(**{"series.load_file": str(path), "series.resample": True}))
    np.testing.assert_allclose(made.load_kw[:, 0], 2.0 * (1.0 + np.arange(len(homes))))
    assert "held" in caplog.text


@pytest.mark.parametrize(
    ("unit", "times", "far"), [("kw", 1.0, 0), ("kw", 1e3, 14), ("w", 1e3, 0), ("w", 1.0, 14)]
)
def test_a_load_file_out_of_scale_or_of_plain_loads_is_said(
    tmp_path: Path, caplog: Any, unit: str, times: float, far: int
) -> None:
    scenario = loop(**{"series.load_file": str(tmp_path / "load.csv"), "series.unit": unit})
    feeder = load_feeder(scenario.feeder)
    placed = place(scenario, feeder)
    when = pd.date_range("2026-06-21 12:30", periods=26, freq="5min", tz="America/New_York")
    base = dict(zip(feeder[Loads].name, feeder[Loads].p_kw, strict=True))
    pd.DataFrame({"time": when, **{n: times * kw for n, kw in base.items()}}).to_csv(
        tmp_path / "load.csv", index=False
    )
    made = build_series(scenario, placed)
    assert "these loads are not prosumers and stay at their base kW times series.load" in caplog.text
    assert str(next(iter(placed.feeder[Loads].name))) in made.audit[1]
    assert made.plain_scale.max() < 2.0
    said = f"the mean load of {len(placed.name)} of {len(placed.name)} homes is more than 20 times"
    assert (said in caplog.text) == ("are these watts? see series.unit" in caplog.text) == bool(far)


def test_without_a_power_flow_its_figures_are_empty(tmp_path: Path, capsys: Any) -> None:
    scenario = loop(**{"series.load_file": str(tmp_path / "load.csv"), "dms.guard": False, "clock.ticks": 1})
    placed = place(scenario, load_feeder(scenario.feeder))
    when = pd.date_range("2026-06-21 12:30", periods=25, freq="5min", tz="America/New_York")
    loads = dict(zip(placed.name, 1e3 * placed.base_kw, strict=True))
    pd.DataFrame({"time": when, **loads}).to_csv(tmp_path / "load.csv", index=False)
    found = simulate(scenario)
    ticks = found.tables["ticks"]
    assert set(ticks["status"]) == {"no_operating_point"}
    empty = ["plant_v_min_pu", "plant_v_max_pu", "plant_worst_line_pct", "plant_over_v_pu", "dms_worst_v_pu"]
    assert ticks[[*empty, "dms_worst_i_pct"]].isna().all(axis=None)
    assert not ticks[["preexisting", "binding"]].any(axis=None)
    assert found.tables["limits"].empty
    assert found.tables["limits"]["preexisting"].dtype == bool
    assert explain(found).tables().keys() <= {f"Why there is no answer: {BLOCKED['no_operating_point']}"}
    assert found.tables["nodes"]["v_aes_pu"].isna().all()
    assert any("are these watts?" in line for line in found.warnings)
    Terminal(False).ticks(ticks, "ticks")
    Terminal(False).broken_limits(found.tables["limits"])
    said = capsys.readouterr().out
    assert "no_operating_point in 1 of 1 ticks" in said
    assert not {"nan", "zero export"} & set(said.replace("-", " ").split())
    assert "|v| pu" in said


def test_a_feeder_without_a_power_flow_shows_no_voltages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from anoca.studies import powerflow as study

    feeder = load_feeder(loop().feeder)
    loads = feeder[Loads]
    watts = feeder.with_tables(loads.replace(p_kw=1e3 * loads.p_kw))
    monkeypatch.setattr(study, "load_feeder", lambda _: watts)
    found = study.powerflow("synthetic")
    assert not found.facts["converged"]
    assert found.extremes().empty
    assert found.rows[["v_v", "v_pu", "angle_deg"]].isna().all(axis=None)
    assert np.isnan(found.facts["source_kw"])
    with pytest.raises(InputError, match="no power flow at base load"):
        one_line_diagram(watts, tmp_path / "v.png")


def test_persistence_needs_the_day_before_in_a_file(tmp_path: Path) -> None:
    homes = names(loop())
    whole = pd.date_range("2026-06-20 10:00", "2026-06-21 15:00", freq="5min", tz="America/New_York")
    kw = 2.0 + np.sin(2 * np.pi * np.asarray(whole.hour) / 24)
    table = pd.DataFrame({"time": whole, **dict.fromkeys(homes, kw)})
    path = tmp_path / "load.csv"
    keys = {"series.load_file": str(path), "forecast.method": "persistence"}
    table.iloc[200:].to_csv(path, index=False)
    with pytest.raises(InputError, match="ticks missing, the first 2026-06-20 10:30") as caught:
        series(loop(**keys))
    assert 'forecast.method = "persistence" looks back 26 hours from the first tick' in str(caught.value)
    table.iloc[:-12].to_csv(path, index=False)
    with pytest.raises(InputError, match="ticks missing, the first 2026-06-21 14:05") as caught:
        series(loop(**keys))
    assert "looks back" not in str(caught.value)
    table.to_csv(path, index=False)
    made = series(loop(**keys))
    assert made.past_load_kw.shape == (len(homes), 26 * 12)
    assert made.past_times[-1] + pd.Timedelta(minutes=5) == made.times[0]
    assert simulate(loop(**keys)).is_certified


def test_a_users_forecaster_runs_and_its_file_is_an_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_forecast.py").write_text(
        "class Zero:\n"
        "    def __init__(self, *, seed, dt_h): pass\n"
        "    def forecast(self, view): return 0.0 * view.true_kw\n"
        "class Short(Zero):\n"
        "    def forecast(self, view): return view.true_kw[:, 1:]\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    zero = loop(**{"forecast.method": "own_forecast:Zero"})
    assert input_files(zero)["forecast.method"] == tmp_path / "own_forecast.py"
    assert simulate(zero).tables["ticks"]["total_oes_kw"].max() == 0.0
    with pytest.raises(InputError, match="Short's forecast of load has shape"):
        simulate(loop(**{"forecast.method": "own_forecast:Short"}))


def test_prices_that_pay_for_round_trips_name_the_file_and_the_first_time(tmp_path: Path) -> None:
    times = pd.date_range("2026-06-21 12:00", periods=300, freq="5min", tz="America/New_York")
    table = pd.DataFrame({"time": times, "import_price_per_kwh": 0.2, "export_price_per_kwh": 0.05})
    clock = loop().clock.first_tick()
    table.loc[table["time"] == clock + pd.Timedelta(minutes=5), "export_price_per_kwh"] = 0.3
    table.to_csv(tmp_path / "prices.csv", index=False)
    with pytest.raises(InputError) as refused:
        series(loop(**{"tariff.kind": "csv", "tariff.file": str(tmp_path / "prices.csv")}))
    assert f"prices.csv: export pays more than import costs at 1 tick(s), the first at {clock.date()}" in str(
        refused.value
    )
    assert "allow_arbitrage" not in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"series.sky": "overcast"}, 'needs pv = "roofs"'),
        ({"series.load": "house"}, "homes"),
        ({"series.file_timezone": "Mars/Olympus"}, "unknown time zone"),
        ({"series.cloud_lag_s": -1}, "cloud_lag_s"),
        ({"tariff.kind": "flat", "tariff.export": "supply"}, "no supply price"),
        ({"tariff.kind": "csv", "tariff.export": "net"}, "leave `export` out"),
        (
            {"tariff.kind": "flat", "tariff.export_price_per_kwh": 0.5},
            r"^tariff: export pays more than import costs at \d+ tick\(s\), the first at 2026-.*there$",
        ),
        ({"forecast.method": ""}, "Or name a class of your own"),
        ({"forecast.method": "persistance"}, "did you mean 'persistence'"),
        ({"forecast.method": "perfect", "forecast.options": {"blend_h": 1}}, "takes no options"),
        ({"forecast.method": "nowhere_at_all:Class"}, "Python path"),
    ],
)
def test_settings_that_do_not_fit_are_refused(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        series(loop(**keys))


def test_the_day_of_a_home_and_of_the_fleet_is_drawn_from_the_tables() -> None:
    results = simulate(loop())
    table = results.tables["prosumers"]
    name = str(table["prosumer"].iloc[0])
    home = table[table["prosumer"] == name]
    drawn = home_day(results, name)
    used, spilled = (p.get_data() for p in drawn.axes[0].patches[:2])
    np.testing.assert_allclose(spilled.values, home["p_pv_kw"])
    spill = home[["p_spill_plan_kw", "p_spill_curtail_kw", "p_spill_tracking_kw"]].sum(axis=1)
    np.testing.assert_allclose(used.values, home["p_pv_kw"] - spill)
    assert len(used.edges) == len(home) + 1
    drawn.canvas.draw()
    for axes in drawn.axes:
        legend = axes.get_legend()
        assert legend is None or not legend.get_window_extent().overlaps(axes.get_window_extent())
    fleet = fleet_day(results)
    sources, uses = (fleet.axes[0].patches[k].get_data().values for k in (2, 5))
    np.testing.assert_allclose(sources, -uses, atol=1e-9)  # what goes in comes out


def test_the_command_line_plots_the_days_asked_for(anoca_command: Any, small: Path, tmp_path: Path) -> None:
    from anoca.config import load_scenario

    home = names(load_scenario(small))[0]
    wrong = anoca_command("run", small, "--out", tmp_path / "r", "--home", "nobody")
    assert wrong.code == 2
    assert "no home 'nobody'" in wrong.err
    assert not (tmp_path / "r").exists()
    scenario = load_scenario(small)
    plain = next(n for n in load_feeder(scenario.feeder)[Loads].name if n not in names(scenario))
    no_home = anoca_command("run", small, "--out", tmp_path / "r", "--home", plain)
    assert no_home.code == 2
    assert f"load '{plain}' is no prosumer" in no_home.err
    done = anoca_command("run", small, "--out", tmp_path / "r", "--home", home, "--json")
    folder = Path(done.rows[0]["folder"])
    assert (folder / f"home_{home}.png").stat().st_size > 10_000
    assert (folder / "fleet_day.png").is_file()
    small.write_text('mode = "snapshot"\n' + small.read_text())
    assert "has no day" in anoca_command("run", small, "--out", tmp_path / "s", "--home", home).err
