"""Norms, weights and fairness from a scenario to its tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from anoca.agents import Utility
from anoca.config import Scenario
from anoca.errors import InputError
from anoca.placement import load_feeder, place
from anoca.series import build_series
from anoca.simulation import build_problem, simulate
from dms import fairness
from tests.end_to_end import small_scenario

LOOP = small_scenario.SMALL | {"name": "fair"}
NORMS = "l1,linf,linf_l1,proportional,alpha_fair"


def loop(**overrides: Any) -> Scenario:
    return Scenario.model_validate(LOOP).with_overrides(overrides)


def test_every_norm_is_compared_with_its_fairness(anoca_command, small, tmp_path) -> None:
    small.write_text(small.read_text().replace("[feeder]", 'mode = "snapshot"\n[feeder]', 1))
    done = anoca_command("compare", small, "--norms", NORMS, "--out", tmp_path / "results", "--json")
    rows = {row["norm"]: row for row in done.rows}
    assert (done.code, set(rows)) == (0, set(NORMS.split(",")))
    assert rows["proportional"]["gini"] == pytest.approx(0.0, abs=1e-5)
    assert rows["proportional"]["jain"] == pytest.approx(1.0, abs=1e-6)
    assert rows["l1"]["gini"] > 0.3
    assert min(row["curtailed_mw"] for row in rows.values()) == pytest.approx(rows["l1"]["curtailed_mw"])
    for row in rows.values():
        assert row["lost_share"] == pytest.approx(row["curtailed_mw"] / row["total_mw"])
    shown = anoca_command("compare", small, "--norms", "l1", "--out", tmp_path / "results")
    assert {"gini", "jain", "lost_share"} <= set(shown.out.replace("│", " ").split())


def test_a_runs_fairness_is_that_of_the_energies_of_its_homes() -> None:
    results = simulate(loop(**{"dms.norm": "l2"}))
    homes = results.tables["prosumers"].groupby("prosumer")[["p_curtail_kw", "p_oes_kw"]].sum()
    share = fairness.lost_shares(homes["p_curtail_kw"].to_numpy(), homes["p_oes_kw"].to_numpy())
    assert results.summary["gini"] == pytest.approx(fairness.gini(share))
    assert results.summary["jain"] == pytest.approx(fairness.jain(share))
    assert 0 < results.summary["lost_share"] < 1
    ticks = results.tables["ticks"]
    np.testing.assert_allclose(ticks["lost_share"], ticks["curtailed_kw"] / ticks["total_oes_kw"])


def test_cumulative_fairness_evens_out_a_run_and_forgets_at_midnight() -> None:
    """The same requests, tick after tick: l1 cuts the same homes, unless the past counts."""
    gini = {}
    for strength in (0.0, 20.0):
        given = {"dms.norm": "l1", "dms.cumulative_fairness": strength, "clock.ticks": 6}
        scenario = loop(**given, **{"clock.start": "2026-06-21T23:45:00"})
        placement = place(scenario, load_feeder(scenario.feeder))
        desk = Utility(scenario, build_problem(scenario, placement), build_series(scenario, placement))
        asked, lost = np.zeros((2, len(placement.name)))
        for tick in range(6):
            desk.answer(tick, _everyone_asks(placement))
            asked, lost = asked + desk.last.unit_export_kw, lost + desk.last.unit_curtail_kw
            if strength and tick in (0, 3):  # 23:45 and 0:00
                assert desk.problem is desk._as_stated
            elif strength:
                assert 1 < desk.problem.weights.max() <= 1 + strength
                assert desk.problem.weights.min() == 1.0
        gini[strength] = fairness.gini(fairness.lost_shares(lost, asked))
    assert gini[20.0] < 0.9 * gini[0.0]


def _everyone_asks(placement) -> list:
    from anoca.messages import OES, RequestedPower

    kw = placement.p_request_kw
    power = [(RequestedPower(float(p), 0.0, float(q)),) for p, q in zip(kw, placement.q_kvar(), strict=True)]
    return [OES(n, 0, 0, None, None, p) for n, p in zip(placement.name, power, strict=True)]  # type: ignore[arg-type]


def test_weights_by_capacity_and_settings_of_the_norm_reach_the_problem() -> None:
    scenario = loop(
        **{"dms.norm": "linf_l1", "dms.peak_tol": 0.2, "dms.alpha": 2.0, "dms.weight_by": "capacity"}
    )
    placement = place(scenario, load_feeder(scenario.feeder))
    first = str(placement.name[0])
    scenario = scenario.with_overrides({"prosumers.weights": {first: 3.0}})
    problem = build_problem(scenario, place(scenario, load_feeder(scenario.feeder)))
    assert (problem.peak_tol, problem.alpha) == (0.2, 2.0)
    product = problem.weights * placement.p_peak_kw
    assert product[0] == pytest.approx(3 * product[1])
    assert np.ptp(product[1:]) == pytest.approx(0.0, abs=1e-9 * product[1])


def test_weights_by_phase_from_a_scenario(tmp_path) -> None:
    """A three-phase generator curtailed phase by phase: its phases have weights of their own."""
    file = tmp_path / "Master.dss"
    file.write_text(
        "clear\nnew circuit.c basekv=12.47\n"
        "new line.l bus1=sourcebus bus2=b length=1 units=km r1=0.3 x1=0.4 r0=0.6 x0=1.2 normamps=40\n"
        "new generator.pv bus1=b phases=3 kv=12.47 kw=3000 pf=1\nset voltagebases=[12.47]\ncalcv\nsolve\n"
    )
    data = {
        "name": "phases",
        "seed": 1,
        "mode": "snapshot",
        "feeder": {"name": str(file)},
        "prosumers": {"generators": True, "curtail_unit": "connection"},
        "limits": {"v_max_pu": 1.5, "v_min_pu": 0.5},
        "dms": {"norm": "l1"},
    }
    scenario = Scenario.model_validate(data)
    name = str(place(scenario, load_feeder(scenario.feeder)).name[0])
    weighted = scenario.with_overrides({"prosumers.weights": {name: 2.0, f"{name}#2": 8.0}})
    problem = build_problem(weighted, place(weighted, load_feeder(weighted.feeder)))
    assert problem.weights.tolist() == [2.0, 8.0, 2.0]
    as_one = weighted.with_overrides({"prosumers.curtail_unit": "prosumer"})
    with pytest.raises(InputError, match=f"there is no prosumer '{name}#2'; did you mean '{name}'"):
        place(as_one, load_feeder(as_one.feeder))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"dms.norm": "linf_l3"}, "did you mean `linf_l"),
        ({"dms.peak_tol": -1}, "peak_tol"),
        ({"dms.alpha": 9}, "alpha"),
        ({"dms.cumulative_fairness": -1}, "cumulative_fairness"),
        ({"dms.norm": "proportional", "dms.weight_by": "capacity"}, "takes no weights"),
        ({"dms.norm": "proportional", "dms.cumulative_fairness": 1}, "takes no weights"),
        ({"mode": "snapshot", "dms.cumulative_fairness": 1}, "a snapshot has no past"),
    ],
)
def test_settings_that_cannot_be_are_refused(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        loop(**overrides)


def test_weights_that_could_drift_too_far_apart_are_refused_before_the_first_tick() -> None:
    scenario = loop(**{"dms.cumulative_fairness": 100.0})
    first = str(place(scenario, load_feeder(scenario.feeder)).name[0])
    with pytest.raises(InputError, match="weights may come to be"):
        simulate(scenario.with_overrides({"prosumers.weights": {first: 500.0}}))
