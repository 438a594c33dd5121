"""What inverters do by themselves: curves at hand-computed voltages, the rating, faults by name."""

import re
from math import sqrt

import numpy as np
import pytest

from feeders import Connections, Draft, Feeder, Inverters, Loads, Sources
from feeders.checks import check, require_ok
from feeders.elements.connections import Q_MODES, curve_at, delivered
from feeders.elements.sources import balanced_emf_v
from feeders.inverters import CATEGORY_B_VOLT_VAR, CATEGORY_B_VOLT_WATT
from feeders.readers.tables import read_tables, write_tables

V_KV = 0.24


@pytest.fixture(scope="module")
def homes() -> Feeder:
    """Homes a (phase 1), b (phases 1 and 2) and c (two connections), each connection of 10 kVA."""
    draft = Draft("homes")
    draft.add_bus("x", v_base_kv=V_KV)
    x = draft.phases("x", width=3)
    draft.add(Sources, name="s", node=x, z_ohm=0.01j * np.eye(3), e_v=balanced_emf_v(V_KV * sqrt(3), 1.0))
    draft.add(Loads, name="l", pair=[x[2], 0], p_kw=1.0, q_kvar=0.0, v_nom_kv=0.23)
    for name, pair, share, load in (
        ("a", (x[0], 0), 1.0, ""),
        ("b", (x[0], x[1]), 1.0, ""),
        ("c", (x[1], 0), 0.25, ""),
        ("c", (x[2], 0), 0.75, "l"),
    ):
        draft.add(Connections, prosumer=name, pair=pair, share=share, load=load, s_inverter_kva=10.0)
    return draft.finish()


def does(feeder: Feeder, w: float, p_kw: float, q_kvar: float = 0.0, q_set_kvar: float = 0.0) -> tuple:
    """Power, reactive power and the most of connection "a"."""
    t = feeder[Connections].take(np.array([0]))
    given = (np.array([x]) for x in (p_kw, q_kvar, q_set_kvar, w * t.v_nom_kv[0] * 1e3))
    return tuple(float(x[0]) for x in delivered(t, *given))


@pytest.mark.parametrize(
    ("w", "q"),
    [(0.80, 4.4), (0.92, 4.4), (0.95, 2.2), (0.98, 0), (1.0, 0), (1.02, 0), (1.05, -2.2), (1.08, -4.4)],
)
def test_volt_var_of_category_b(homes: Feeder, w: float, q: float) -> None:
    """IEEE 1547-2018 Table 8: 44 % of the rating at 0.92 and 1.08, none between 0.98 and 1.02."""
    p, found, most = does(Inverters("volt_var").on(homes), w, 5.0)
    assert (p, found) == pytest.approx((5.0, q), abs=1e-12)
    assert most == pytest.approx(sqrt(100 - q**2))


@pytest.mark.parametrize(("w", "p"), [(1.0, 10), (1.06, 10), (1.07, 8), (1.09, 4), (1.1, 2), (1.2, 2)])
def test_volt_watt_of_category_b(homes: Feeder, w: float, p: float) -> None:
    found = does(Inverters("unity", volt_watt=CATEGORY_B_VOLT_WATT).on(homes), w, 12.0)
    assert found == pytest.approx((p, 0.0, p))


def test_pieces_of_a_curve_meet() -> None:
    for points in (CATEGORY_B_VOLT_VAR, CATEGORY_B_VOLT_WATT):
        for w, y in points:
            near = curve_at(np.array([points] * 3), w + np.array([-1e-12, 0.0, 1e-12]))
            assert near == pytest.approx(y, abs=1e-9)


def test_reactive_power_goes_before_real_power(homes: Feeder) -> None:
    constant = Inverters("constant").on(homes)
    assert does(constant, 1.0, 12.0, q_kvar=6.0) == pytest.approx((8.0, 6.0, 8.0))
    assert does(constant, 1.0, 7.0, q_kvar=-6.0) == pytest.approx((7.0, -6.0, 8.0))
    free = Inverters("free").on(homes)
    assert does(free, 1.0, 12.0, q_kvar=1.0, q_set_kvar=-6.0) == pytest.approx((8.0, -5.0, 8.0))


def test_a_power_factor_follows_the_export_made(homes: Feeder) -> None:
    for pf, sign in ((0.8, 1), (-0.8, -1)):
        rule = Inverters("power_factor", power_factor=pf).on(homes)
        assert does(rule, 1.0, 4.0) == pytest.approx((4.0, sign * 3.0, 8.0))
        assert does(rule, 1.0, 12.0) == pytest.approx((8.0, sign * 6.0, 8.0))


def test_without_a_rule_the_rating_is_not_looked_at(homes: Feeder) -> None:
    assert does(homes, 1.0, 50.0, q_kvar=30.0) == (50.0, 30.0, np.inf)
    unrated = homes.with_tables(homes[Connections].replace(s_inverter_kva=np.full(4, np.nan)))
    assert does(Inverters("unity").on(unrated), 1.0, 50.0, q_kvar=30.0) == (50.0, 30.0, np.inf)


def test_rules_by_prosumer(homes: Feeder) -> None:
    rules = Inverters("volt_var", {"b": "unity"}, volt_watt=CATEGORY_B_VOLT_WATT, s_kva={"c": 8.0})
    t = rules.on(homes)[Connections]
    assert t.q_mode.tolist() == ["volt_var", "unity", "volt_var", "volt_var"]
    assert t.s_inverter_kva.tolist() == [10.0, 10.0, 2.0, 6.0]
    assert t.v_nom_kv == pytest.approx([V_KV, V_KV * sqrt(3), V_KV, 0.23])
    assert np.isnan(t.volt_var[:, 0, 0]).tolist() == [False, True, False, False]
    assert not np.isnan(t.volt_watt).any()


def test_rules_survive_a_folder_of_tables(homes: Feeder, tmp_path) -> None:
    feeder = Inverters("volt_var", {"b": "power_factor"}, power_factor=-0.9).on(homes)
    again = read_tables(write_tables(feeder, tmp_path / "homes"))[Connections]
    for column in again.columns():
        ours, theirs = (getattr(t, column.name) for t in (feeder[Connections], again))
        assert ours.tolist() == theirs.tolist() or np.array_equal(ours, theirs, equal_nan=True), column.name


# Faults -------------------------------------------------------------------------------------------


def faults(feeder: Feeder) -> list[str]:
    return [str(issue) for issue in check(feeder) if issue.severity == "error"]


def test_every_mode_is_healthy(homes: Feeder) -> None:
    for mode in Q_MODES:
        require_ok(Inverters(mode).on(homes))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"mode": "volt_vars"}, "mode: did you mean 'volt_var'? unknown mode 'volt_vars'"),
        ({"modes": {"a": "off"}}, "a: unknown mode 'off'; known: request, constant"),
        ({"volt_var": ((1.0, 0.0),)}, "volt_var: give 4 points"),
        ({"volt_watt": ((1.0, 0.0), (1.1, 0.0), (1.2, 0.0))}, "volt_watt: give 2 points"),
    ],
)
def test_rules_that_are_none(given: dict, text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        Inverters(**given)


def test_an_unknown_prosumer_is_named(homes: Feeder) -> None:
    for given in ({"modes": {"A": "unity"}}, {"s_kva": {"A": 1.0}}):
        with pytest.raises(KeyError, match="there is no prosumer 'A'"):
            Inverters(**given).on(homes)


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ({"power_factor": 0.0, "mode": "power_factor"}, "power_factor a: must be 0.1 to 1; negative absorbs"),
        ({"power_factor": 1.2, "mode": "power_factor"}, "power_factor a: must be 0.1 to 1"),
        (
            {"volt_var": ((0.9, 0.4), (0.95, 0), (0.95, 0), (1.1, -0.4))},
            "volt_var a: points (0.9, 0.4), (0.95, 0), (0.95, 0), (1.1, -0.4): voltages must rise",
        ),
        ({"volt_var": ((0.9, 0.4), (0.95, 0), (1.0, 0.1), (1.1, -0.4))}, "a: points (0.9, 0.4), (0.95, 0)"),
        ({"volt_var": ((0.9, 1.4), (0.95, 0), (1.0, 0), (1.1, -0.4))}, "must lie between -1 and 1"),
        (
            {"volt_watt": ((1.0, 0.2), (1.1, 1.0))},
            "volt_watt a: points (1, 0.2), (1.1, 1): the curve must not",
        ),
        ({"volt_watt": ((1.0, 1.0), (1.1, -0.1))}, "must lie between 0 and 1"),
        ({"volt_watt": ((1.0, 1.0), (1.1, float("inf")))}, "give finite numbers"),
        ({"s_kva": {"a": 0.0}}, "s_inverter_kva a: volt_var, free and volt_watt need the inverter's rating"),
        ({"s_kva": {"a": -2.0}, "mode": "unity"}, "s_inverter_kva a: must be above zero, or NaN"),
    ],
)
def test_faults_name_the_prosumer(homes: Feeder, rules: dict, text: str) -> None:
    found = faults(Inverters(**{"mode": "volt_var", **rules}).on(homes))
    assert any(text in fault for fault in found), found


def test_faults_of_the_table_itself(homes: Feeder) -> None:
    t = homes[Connections]
    for change, text in (
        ({"q_mode": np.array(["volt-var"] * 4, dtype=object)}, "q_mode a: did you mean 'volt_var'?"),
        ({"s_inverter_kva": np.full(4, np.nan), "q_mode": np.full(4, "free", object)}, "need the inverter's"),
        ({"volt_watt": np.full((4, 2, 2), 1.0)}, "needs another q_mode than 'request'"),
        ({"q_mode": np.full(4, "volt_var", object)}, "v_nom_kv a: volt_var and volt_watt need the rated"),
    ):
        assert any(text in fault for fault in faults(homes.with_tables(t.replace(**change)))), text
