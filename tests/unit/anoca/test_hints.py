"""What a run says at its end of missing ratings, sources outside the band, and loads out of scale."""

from typing import Any

import numpy as np
import pytest

from anoca.config import Scenario
from anoca.report.hints import hints
from anoca.simulation import simulate
from feeders import Lines, library

BASE: dict[str, Any] = {
    "name": "hints",
    "seed": 3,
    "mode": "snapshot",
    "feeder": {"name": "ieee4"},
    "prosumers": {"percent": {"A": 100, "C": 100}},
    "dms": {"guard": False},
}


def _said(**changes: Any) -> str:
    scenario = Scenario(**BASE).with_overrides({k.replace("__", "."): v for k, v in changes.items()})
    return "\n".join(hints(scenario, simulate(scenario)))


def test_missing_ratings_are_no_limit_and_said_to_be_none(monkeypatch: pytest.MonkeyPatch) -> None:
    of_some = _said()
    assert (
        "1 of 3 lines and transformers have no rating, currents are not limited there: transformer "
        in of_some
    )
    assert "ratings x 1 at both ends" in of_some
    feeder = library.load("ieee4")
    lines = feeder[Lines]
    unrated = feeder.with_tables(lines.replace(i_max_a=np.full_like(lines.i_max_a, np.nan)))
    monkeypatch.setattr("anoca.report.hints.load_feeder", lambda _: unrated)
    said = _said()
    assert "no element has a rating: currents are not limited (limits.i_max_default_a)" in said
    assert "ratings x" not in said
    assert "no element has a rating" not in _said(limits__current=False)


def test_a_scale_of_ratings_that_are_not_there_is_a_warning() -> None:
    said = _said(limits__transformer_scale=0.5)
    assert (
        "Warning: limits.transformer_scale = 0.5 acts on nothing: no transformer has a rating (transformer"
        in said
    )
    assert "acts on nothing" not in _said(limits__line_scale=0.5)


def test_a_source_above_the_band_is_told_by_its_bus() -> None:
    said = _said(limits__v_max_pu=0.98, limits__v_min_pu=0.5)
    assert "the source stands at 1.000 pu, above v_max 0.98: no export is possible there" in said
    assert '[limits.buses] n1 = "exempt"' in said


def test_taps_help_voltages_and_not_reverse_power() -> None:
    assert "free them ([controls] taps) or leave loads in place" in _said(limits__v_min_pu=0.99)
    wide = {"v_min_pu": 0.3, "v_max_pu": 1.5, "reverse_power_max_kw": -1e5}
    assert "[controls] taps" not in _said(limits=wide)


def test_loads_without_an_operating_point_are_told_in_total() -> None:
    scenario = Scenario(**BASE)
    results = simulate(scenario)
    results.tables["ticks"]["status"] = "no_operating_point"
    assert "no operating point: the feeder's base load is 5400 kW; are the units kW?" in hints(
        scenario, results
    )
