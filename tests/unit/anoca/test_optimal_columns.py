"""The `optimal` certificate in the tables of a run: only where the scenario asks for it."""

import numpy as np
import pytest

from anoca.config import Scenario
from anoca.simulation import simulate
from anoca.studies.compare import row

GIVEN = {
    "name": "village",
    "mode": "snapshot",
    "seed": 7,
    "feeder": {"name": "synthetic", "options": {"n_buses": 15, "seed": 3}},
    "prosumers": {"percent": {"A": 500, "C": 500}},
    "limits": {"v_max_pu": 1.045},
}


@pytest.mark.parametrize("asked", [True, False])
def test_a_tick_says_what_was_found_and_what_it_cost(asked: bool) -> None:
    scenario = Scenario.model_validate(GIVEN | {"dms": {"norm": "l2", "certify_optimal": asked}})
    results = simulate(scenario)
    tick, timing = results.tables["ticks"].iloc[0], results.tables["timings"].iloc[0]
    assert tick["status"] == "curtailed"
    assert (tick["optimal"], timing["optimal_s"] > 0) == (("yes", True) if asked else ("", False))
    assert tick["kkt_residual"] < 1e-5 if asked else np.isnan(tick["kkt_residual"])
    assert tick["gap"] < 1e-5 if asked else np.isnan(tick["gap"])
    record = row("village", results)
    assert record.get("optimal") == ("1 of 1" if asked else None)
