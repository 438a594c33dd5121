"""`[prosumers.reactive]`: what is sent, what the plant does with it, and faults in one sentence."""

from typing import Any

import numpy as np
import pytest

from anoca.config import Scenario
from anoca.errors import InputError
from anoca.placement import Placement, load_feeder, place
from anoca.results import Results
from anoca.simulation import build_problem, simulate
from feeders import Connections
from feeders.inverters import CATEGORY_B_VOLT_VAR

SMALL: dict[str, Any] = {
    "name": "reactive",
    "seed": 3,
    "feeder": {"name": "synthetic", "options": {"n_buses": 16, "seed": 1}},
    "prosumers": {"percent": {"A": 800, "C": 700}, "battery_kw": 0.0},
    "limits": {"v_max_pu": 1.042, "current": False},
    "hems": {"horizon": 6},
    "clock": {"ticks": 2},
}


def scenario(reactive: dict[str, Any], **more: Any) -> Scenario:
    return Scenario.model_validate(SMALL).with_overrides({"prosumers.reactive": reactive, **more})


def placed(reactive: dict[str, Any], **more: Any) -> Placement:
    asked = scenario(reactive, **more)
    return place(asked, load_feeder(asked.feeder))


@pytest.fixture(scope="module")
def loops() -> dict[str, Results]:
    watts = {"mode": "volt_var", "volt_watt": [[1.045, 1.0], [1.06, 0.2]]}
    rules = {mode: {"mode": mode} for mode in ("unity", "volt_var", "free")} | {"volt_watt": watts}
    return {name: simulate(scenario(rule)) for name, rule in rules.items()}


def test_every_set_point_is_certified_and_kept_by_the_plant(loops: dict[str, Results]) -> None:
    """Homes that draw less than forecast leave the plant a little above the band, as without inverters."""
    for results in loops.values():
        ticks = results.tables["ticks"]
        assert results.is_certified
        assert set(ticks["status"]) <= {"curtailed", "go_ahead"}
        assert ticks["plant_over_v_pu"].max() <= 1e-3
        assert ticks["plant_withheld_kw"].max() <= 1e-3


def test_reactive_power_saves_curtailment(loops: dict[str, Results]) -> None:
    cut = {name: results.tables["ticks"]["curtailed_kw"].sum() for name, results in loops.items()}
    assert cut["unity"] > 10.0
    assert max(cut["free"], cut["volt_var"]) <= 0.02
    assert cut["volt_watt"] > 10.0  # what the inverters would not give is not granted


def test_set_points_of_reactive_power_are_sent_where_the_utility_decides(loops: dict[str, Results]) -> None:
    for name, results in loops.items():
        messages = results.tables["messages"]
        sent = messages.loc[messages["kind"] == "AES", "q_kvar"]
        assert sent.notna().all() if name == "free" else sent.isna().all()
        assert messages.loc[messages["kind"] == "OES", "q_kvar"].max() < 0  # what the homes draw
        assert results.tables["prosumers"]["q_kvar"].notna().all()


def test_the_plant_obeys_the_set_points_of_reactive_power(loops: dict[str, Results]) -> None:
    """PV is lower than the nowcast here and there, so voltages are near those of the set-points."""
    for results in loops.values():
        ticks, nodes = results.tables["ticks"], results.tables["nodes"]
        planned = nodes[nodes["limited"]].groupby("tick")["v_aes_pu"].max()
        assert (ticks["plant_v_max_pu"] - planned.to_numpy()).abs().max() <= 2e-3


def test_a_snapshot_reports_the_curve() -> None:
    """export_rule net_unity: the whole Q is the inverter's, by the voltage in the table of nodes."""
    asked = scenario({"mode": "volt_var"}, mode="snapshot", **{"prosumers.export_rule": "net_unity"})
    results = simulate(asked)
    home = place(asked, load_feeder(asked.feeder))
    t, names = home.feeder[Connections], home.feeder.node_names
    v = results.tables["nodes"].set_index("node")["v_aes_pu"]
    q = results.tables["prosumers"].set_index("prosumer")["q_kvar"]
    to_earth = np.flatnonzero(t.pair[:, 1] == 0)
    assert len(to_earth) > 3
    for k in to_earth:
        part = np.interp(v[names[t.pair[k, 0]]], *np.array(CATEGORY_B_VOLT_VAR).T)
        assert q[t.prosumer[k]] == pytest.approx(t.s_inverter_kva[k] * part, abs=1e-6 * t.s_inverter_kva[k])


def test_ratings_follow_the_peak_of_the_pv() -> None:
    home = placed({"mode": "unity", "kva_per_kw": 0.9})
    assert home.feeder[Connections].s_inverter_kva == pytest.approx(0.9 * home.p_peak_kw)
    assert np.isnan(placed({"mode": "request"}).feeder[Connections].s_inverter_kva).all()


def test_exceptions_by_name() -> None:
    name = str(placed({}).name[0])
    mode = placed({"mode": "volt_var", "modes": {name: "unity"}}).feeder[Connections].q_mode
    assert (mode[0], set(mode[1:])) == ("unity", {"volt_var"})


@pytest.mark.parametrize(
    ("reactive", "text"),
    [
        ({"mode": "volt-var"}, "prosumers.reactive.mode"),
        ({"mods": {}}, "did you mean `modes`?"),
        ({"volt_var": [[1.0, 0.0]]}, "volt_var: give 4 points"),
        ({"kva_per_kw": 0}, "prosumers.reactive.kva_per_kw"),
        ({"mode": "unity", "modes": {"nobody": "free"}}, "there is no prosumer 'nobody'"),
        ({"mode": "volt_var", "volt_var": [[1, 0.1], [1.1, 0.2], [1.2, 0], [1.3, 0]]}, "must not rise"),
        ({"mode": "power_factor", "power_factor": 0.0}, "must be 0.1 to 1"),
    ],
)
def test_faults_are_told_before_the_run(reactive: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError) as caught:
        build_problem(scenario(reactive), placed(reactive))
    assert text in str(caught.value)
