"""Capacitors, reactors, fixed admittances, cores, regulators: laws, checks and topology."""

from typing import Any

import numpy as np
import pytest

from feeders import (
    Admittances,
    Capacitors,
    Feeder,
    Generators,
    Loads,
    Reactors,
    Regulators,
    Table,
    Transformers,
    Windings,
)
from feeders.checks import check
from feeders.elements import capacitors, primitives, reactors, transformers
from feeders.topology import energised, node_groups


def bank(**changes: Any) -> Capacitors:
    columns: dict[str, Any] = {
        "name": np.array(["c"]),
        "pair": np.array([[1, 2]]),
        "kvar": np.array([100.0]),
        "v_nom_kv": np.array([10.0]),
        "steps": np.array([3]),
        "steps_on": np.array([2]),
    }
    return Capacitors(**{**columns, **changes})


def test_steps_in_service_lie_across_the_pair() -> None:
    y = capacitors.primitive(bank()).yprim_s()[0]
    assert y == pytest.approx(2j * 100e3 / 1e8 * np.array([[1, -1], [-1, 1]]))


def test_filter_is_in_series_with_each_step() -> None:
    y = capacitors.primitive(bank(z_ohm=np.array([2 + 30j]))).yprim_s()[0]
    assert y[0, 0] == pytest.approx(2 / (2 + 30j - 1j * 1e8 / 100e3))


def test_reactor_with_conductance_across() -> None:
    one = Reactors(
        name=np.array(["r"]), pair=np.array([[1, 0]]), z_ohm=np.array([3 + 4j]), g_s=np.array([0.5])
    )
    y = reactors.primitive(one).yprim_s()[0]
    assert y == pytest.approx((0.5 + 1 / (3 + 4j)) * np.array([[1, -1], [-1, 1]]))


def test_fixed_admittance_is_taken_entry_by_entry(small: Feeder) -> None:
    fixed = Admittances(
        element=np.array(["e", "e"]),
        to_node=np.array([1, 2]),
        of_node=np.array([2, 2]),
        y_s=np.array([1 - 2j, 3j]),
    )
    found = {p.kind: p for p in primitives(small.with_tables(fixed))}
    y = found["admittance"].yprim_s()
    assert y[:, 0, 1].tolist() == [1 - 2j, 3j]
    assert np.count_nonzero(y) == 2


def test_core_lies_across_the_coils_at_the_present_tap(small: Feeder) -> None:
    plain = small[Windings]
    core = np.array([0, 0.4 - 1.5j])
    with_core = plain.replace(core_pct=core, tap=np.array([1.0, 1.05]))
    base = plain.replace(tap=np.array([1.0, 1.05]))
    rows = transformers.group_by_windings(plain)[0][1]
    pairs = small.tables[next(t for t in small.tables if t.__name__ == "WindingPairs")]
    y = [
        transformers.primitive(small[Transformers], w, pairs, rows).yprim_s()[0]  # type: ignore[arg-type]
        for w in (with_core, base)
    ]
    across = core[1] / 100 * 500e3 / 3 / (base.v_coil_kv[1] * 1e3 * 1.05) ** 2
    assert (y[0] - y[1])[6:8, 6:8] == pytest.approx(across * np.array([[1, -1], [-1, 1]]))
    assert abs((y[0] - y[1])[:6]).max() < 1e-12


def regulator(**changes: Any) -> Regulators:
    columns: dict[str, Any] = {
        "name": np.array(["g"]),
        "transformer": np.array([0]),
        "winding": np.array([1]),
        "tap_winding": np.array([1]),
        "v_reg_v": np.array([122.0]),
        "band_v": np.array([2.0]),
        "pt_ratio": np.array([20.0]),
        "ct_primary_a": np.array([700.0]),
    }
    return Regulators(**{**columns, **changes})


def generator(**changes: Any) -> Generators:
    columns: dict[str, Any] = {
        "name": np.array(["g"]),
        "unit": np.array(["g"]),
        "pair": np.array([[1, 0]]),
        "p_kw": np.array([3.0]),
        "q_kvar": np.array([1.0]),
    }
    return Generators(**{**columns, **changes})


def reactor(**changes: Any) -> Reactors:
    columns: dict[str, Any] = {"name": np.array(["r"]), "pair": np.array([[1, 0]]), "z_ohm": np.array([3j])}
    return Reactors(**{**columns, **changes})


GOOD: dict[str, Table] = {
    "capacitor": bank(),
    "regulator": regulator(),
    "generator": generator(),
    "reactor": reactor(),
}
BAD: dict[str, tuple[Table, str, str, str]] = {
    "capacitor looped": (bank(pair=np.array([[1, 1]])), "Capacitors", "pair", "a node and itself"),
    "more steps": (bank(steps_on=np.array([4])), "Capacitors", "steps_on", "more steps"),
    "no voltage": (bank(v_nom_kv=np.array([0.0])), "Capacitors", "v_nom_kv", "above zero"),
    "winding": (regulator(winding=np.array([2])), "Regulators", "winding", "no such winding"),
    "tap winding": (regulator(transformer=np.array([7])), "Regulators", "tap_winding", "no such winding"),
    "band": (regulator(band_v=np.array([0.0])), "Regulators", "band_v", "above zero"),
    "generator model": (
        generator(model=np.array(["wind"])),
        "Generators",
        "model",
        "unknown generator model",
    ),
    "generator rated": (generator(v_min_pu=np.array([0.9])), "Generators", "v_nom_kv", "rated"),
    "generator one node": (generator(pair=np.array([[1, -1]])), "Generators", "pair", "two nodes"),
    "reactor zero": (reactor(z_ohm=np.array([0j])), "Reactors", "z_ohm", "zero; give"),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_tables_pass(small: Feeder, name: str) -> None:
    issues = check(small.with_tables(GOOD[name]))
    assert not [issue for issue in issues if issue.severity == "error"]


@pytest.mark.parametrize("name", BAD)
def test_bad_tables_are_found(small: Feeder, name: str) -> None:
    table, kind, column, message = BAD[name]
    errors = [issue for issue in check(small.with_tables(table)) if issue.severity == "error"]
    assert [
        issue
        for issue in errors
        if (issue.table, issue.column) == (kind, column) and message in issue.message
    ]


@pytest.mark.parametrize(
    ("changes", "column", "message"),
    [
        ({"model": ["cvr"] * 2}, "v_nom_kv", "depends on voltage"),
        ({"v_min_pu": [0.9] * 2}, "v_nom_kv", "depends on voltage"),
        ({"v_min_pu": [0.9] * 2, "v_max_pu": [0.8] * 2, "v_nom_kv": [1.0] * 2}, "v_max_pu", "not above"),
        ({"model": ["zip"] * 2, "v_nom_kv": [1.0] * 2}, "zip", "all six shares"),
    ],
)
def test_bad_loads_are_found(small: Feeder, changes: dict[str, Any], column: str, message: str) -> None:
    loads = small[Loads].replace(**{key: np.array(value) for key, value in changes.items()})
    issues = check(small.with_tables(loads))
    assert [i for i in issues if i.severity == "error" and i.column == column and message in i.message]


def test_a_reactor_to_earth_holds_its_node(small: Feeder) -> None:
    """A node that only a grounding reactor ties to earth is no island."""
    end = small.n_nodes
    assert energised(small.with_tables(reactor(pair=np.array([[end, 0]]))))[end]


def test_a_fixed_admittance_joins(small: Feeder) -> None:
    a, b = small.node("s.1"), small.node("s.2")
    fixed = Admittances(
        element=np.array(["e"]), to_node=np.array([a]), of_node=np.array([b]), y_s=np.array([1j])
    )
    joined = node_groups(small.with_tables(fixed), "coils")
    assert joined[a] == joined[b]
    assert node_groups(small, "conductors")[a] != node_groups(small, "conductors")[b]
