"""`DmsRequest` refuses bad figures by name; `Units` say who is curtailed together."""

import numpy as np
import pytest

from dms import DmsRequest, Units
from feeders import Connections, Feeder


@pytest.fixture
def feeder(street) -> Feeder:
    """Two plain homes, and a prosumer with two connections; one load."""
    return street(
        homes=((1,), (1, "pair", 0.75), (1, "last", 1.0), (1, "pair", 0.25)), loads=((1, 2.0, 1.0),)
    )


GOOD = np.array([1.0, 6.0, 3.0, 2.0])


def _with(index: int, value: float) -> np.ndarray:
    changed = GOOD.copy()
    changed[index] = value
    return changed


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("p_export_kw", _with(0, -1.0), r"p_export_kw: -1.0 at h1"),
        ("p_export_kw", _with(3, np.nan), r"p_export_kw: nan at pair#2"),
        ("p_export_kw", _with(2, np.inf), r"p_export_kw: inf at last"),
        ("p_export_kw", GOOD[:3], r"p_export_kw: 3 values for 4 connections"),
        ("p_export_kw", np.array(5.0), r"p_export_kw: 1 values for 4 connections"),
        (
            "p_export_kw",
            GOOD.reshape(2, 2),
            r"p_export_kw: 4 values for 4 connections; give one each, in a row",
        ),
        ("p_import_kw", _with(1, -0.5), r"p_import_kw: -0.5 at pair#1"),
        ("p_import_kw", GOOD[:1], r"p_import_kw: 1 values for 4 connections"),
        ("q_kvar", _with(1, np.nan), r"q_kvar: nan at pair#1"),
        ("q_kvar", np.zeros(5), r"q_kvar: 5 values for 4 connections"),
        ("p_load_kw", np.array([np.nan]), r"p_load_kw: nan at load row 0"),
        ("p_load_kw", np.zeros(2), r"q_load_kvar: 1 values for 2 loads"),
        ("q_load_kvar", np.zeros(2), r"q_load_kvar: 2 values for 1 loads"),
        ("q_load_kvar", np.array([-np.inf]), r"q_load_kvar: -inf at load row 0"),
    ],
)
def test_a_bad_figure_is_refused_by_name(feeder: Feeder, field: str, value: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DmsRequest.of(feeder, **{"p_export_kw": GOOD, field: value})


def test_loads_of_another_number_than_the_feeders_are_refused(feeder: Feeder) -> None:
    """Both of a wrong length agree with each other, and would be spread over the feeder's rows."""
    with pytest.raises(ValueError, match="p_load_kw: 3 values for 1 loads"):
        DmsRequest.of(feeder, GOOD, p_load_kw=np.ones(3), q_load_kvar=np.ones(3))


def test_defaults_are_the_feeders_loads_and_nothing_else(feeder: Feeder) -> None:
    request = DmsRequest.of(feeder, GOOD)
    assert request.p_load_kw.tolist() == [2.0]
    assert request.q_load_kvar.tolist() == [1.0]
    assert request.p_import_kw.tolist() == request.q_kvar.tolist() == [0.0] * 4


def test_negative_loads_and_reactive_power_are_allowed(feeder: Feeder) -> None:
    request = DmsRequest.of(feeder, GOOD, q_kvar=-GOOD, p_load_kw=np.array([-1.0]))
    assert request.q_kvar.tolist() == (-GOOD).tolist()


def test_a_request_cannot_be_changed_from_outside(feeder: Feeder) -> None:
    mine = GOOD.copy()
    request = DmsRequest.of(feeder, mine)
    mine[0] = 99.0
    assert request.p_export_kw[0] == 1.0
    with pytest.raises(ValueError, match="read-only"):
        request.p_export_kw[0] = 2.0


def test_exporting_changes_the_exports_only(feeder: Feeder) -> None:
    request = DmsRequest.of(feeder, GOOD, p_import_kw=GOOD, q_kvar=-GOOD)
    assert request.without_export().p_export_kw.tolist() == [0.0] * 4
    other = request.exporting(GOOD / 2)
    assert other.p_export_kw.tolist() == (GOOD / 2).tolist()
    assert (other.p_import_kw.tolist(), other.q_kvar.tolist()) == (GOOD.tolist(), (-GOOD).tolist())


def test_units_of_prosumers(feeder: Feeder) -> None:
    units = Units.of(feeder[Connections])
    assert units.name.tolist() == ["h1", "pair", "last"]
    assert units.of_connection.tolist() == [0, 1, 2, 1]
    assert units.connection_label.tolist() == ["h1", "pair#1", "last", "pair#2"]
    assert units.split_kw(np.array([1.0, 4.0, 2.0])).tolist() == [1.0, 3.0, 2.0, 1.0]


def test_units_of_connections(feeder: Feeder) -> None:
    units = Units.of(feeder[Connections], "connection")
    assert units.name.tolist() == ["h1", "pair#1", "last", "pair#2"]
    assert units.split_kw(GOOD).tolist() == GOOD.tolist()
    assert units.unit_export_kw(GOOD).tolist() == GOOD.tolist()


def test_a_units_largest_curtailment_leaves_no_connection_below_zero(feeder: Feeder) -> None:
    units = Units.of(feeder[Connections])
    assert units.unit_export_kw(GOOD).tolist() == [1.0, 8.0, 3.0]
    lopsided = np.array([1.0, 3.0, 3.0, 2.0])
    most = units.unit_export_kw(lopsided)
    assert most.tolist() == [1.0, 4.0, 3.0]
    assert (lopsided - units.split_kw(most)).min() == 0.0


def test_units_that_are_given_are_not_looked_for(feeder: Feeder, monkeypatch: pytest.MonkeyPatch) -> None:
    units = Units.of(feeder[Connections])
    monkeypatch.setattr(Units, "of", staticmethod(lambda *_: pytest.fail("looked for")))
    assert DmsRequest.of(feeder, GOOD, units=units).units is units
