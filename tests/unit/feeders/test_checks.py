"""Every kind of issue, each brought about by one change to a healthy feeder."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from feeders import (
    Connections,
    Draft,
    Feeder,
    Lines,
    Loads,
    Nodes,
    Sources,
    Switches,
    Table,
    Transformers,
    WindingPairs,
    Windings,
)
from feeders.checks import FeederError, Issue, check, require_ok
from feeders.elements.sources import balanced_emf_v
from feeders.elements.transformers import delta_pairs
from feeders.library.parts import add_transformer

Change = Callable[[Feeder], Feeder]


def put(table: type[Table], column: str, where: Any, value: Any) -> Change:
    """A change that sets part of a column."""

    def change(feeder: Feeder) -> Feeder:
        array = getattr(feeder[table], column).copy()
        array[where] = value
        return feeder.with_tables(feeder[table].replace(**{column: array}))

    return change


def without(table: type[Table]) -> Change:
    return lambda feeder: feeder.with_tables(table.empty())


def twice(table: type[Table], row: int) -> Change:
    """A change that repeats one row of a table."""

    def change(feeder: Feeder) -> Feeder:
        rows = [*range(len(feeder[table])), row]
        return feeder.with_tables(feeder[table].take(np.array(rows)))

    return change


def bases(index: int, value: float) -> Change:
    def change(feeder: Feeder) -> Feeder:
        v_base_kv = feeder.buses.v_base_kv.copy()
        v_base_kv[index] = value
        return feeder.with_tables(buses=feeder.buses.replace(v_base_kv=v_base_kv))

    return change


def nodes(bus: list[int], terminal: list[int]) -> Change:
    """A change that appends nodes."""

    def change(feeder: Feeder) -> Feeder:
        more = Nodes(
            bus=np.append(feeder.nodes.bus, bus), terminal=np.append(feeder.nodes.terminal, terminal)
        )
        return feeder.with_tables(nodes=more)

    return change


def bus_alone(feeder: Feeder) -> Feeder:
    buses = feeder.buses
    columns = {"name": "lonely", "v_base_kv": 1.0, "x": 0.0, "y": 0.0}
    more = {name: np.append(getattr(buses, name), value) for name, value in columns.items()}
    return feeder.with_tables(buses=buses.replace(**more))


def one_sided(feeder: Feeder) -> Feeder:
    """Three nodes of a line without a partner at the other end."""
    return put(Lines, "to_node", (1, 2), -1)(feeder)


def neither_end(feeder: Feeder) -> Feeder:
    return put(Lines, "to_node", (1, slice(None)), -1)(put(Lines, "from_node", (1, slice(None)), -1)(feeder))


ERRORS: dict[str, tuple[Change, str, str, str]] = {
    # id: change, table, column, part of the message
    "not finite": (put(Lines, "z_ohm", (0, 0, 0), np.nan), "Lines", "z_ohm", "not a finite number"),
    "positive": (put(Transformers, "s_kva", 0, 0.0), "Transformers", "s_kva", "above zero"),
    "positive nan": (bases(0, np.nan), "Buses", "v_base_kv", "above zero"),
    "nonnegative": (put(Windings, "r_pct", 1, -1.0), "Windings", "r_pct", "zero or above"),
    "node too high": (put(Loads, "pair", (0, 0), 99), "Loads", "pair", "no such node"),
    "node too low": (put(Lines, "from_node", (0, 0), -2), "Lines", "from_node", "no such node"),
    "node without bus": (nodes([7], [1]), "Nodes", "bus", "no such bus"),
    "no earth": (
        lambda f: f.with_tables(nodes=f.nodes.take(np.arange(1, 16))),
        "Nodes",
        "bus",
        "must be earth",
    ),
    "no nodes": (lambda f: f.with_tables(nodes=Nodes.empty()), "Nodes", "bus", "must be earth"),
    "node twice": (nodes([0], [1]), "Nodes", "terminal", "2 rows for one conductor"),
    "name twice": (put(Loads, "name", 1, "wye"), "Loads", "name", "2 rows have this name"),
    "no source": (without(Sources), "Sources", "", "no source at all"),
    "source on earth": (put(Sources, "node", (0, 0), 0), "Sources", "node", "drives earth"),
    "source asymmetric": (put(Sources, "z_ohm", (0, 0, 1), 9.0), "Sources", "z_ohm", "not symmetric"),
    "line one end": (one_sided, "Lines", "to_node", "only one end"),
    "line no conductor": (neither_end, "Lines", "from_node", "no conductor"),
    "line loop": (put(Lines, "to_node", 0, [1, 2, 3, -1]), "Lines", "to_node", "same node"),
    "line bases": (bases(4, 0.12), "Lines", "to_node", "voltage bases 0.277128 and 0.12 kV"),
    "line asymmetric": (put(Lines, "z_ohm", (0, 0, 1), 0.5), "Lines", "z_ohm", "not symmetric"),
    "line zero": (put(Lines, "z_ohm", 0, 0.0), "Lines", "z_ohm", "zero; give an impedance, or use a switch"),
    "line singular": (put(Lines, "z_ohm", (0, slice(3), slice(3)), 1.0), "Lines", "z_ohm", "singular"),
    "line generates": (put(Lines, "z_ohm", (0, 0, 0), -0.2 + 0.3j), "Lines", "z_ohm", "negative series"),
    "capacitance asymmetric": (put(Lines, "c_nf", (0, 0, 1), 5.0), "Lines", "c_nf", "not symmetric"),
    "capacitance negative": (
        put(Lines, "c_nf", (0, 0, 0), -5.0),
        "Lines",
        "c_nf",
        "negative on the diagonal",
    ),
    "switch bases": (bases(1, 2.4), "Switches", "to_node", "voltage bases 2.4 and 7.19956 kV"),
    "switch loop": (
        lambda f: put(Switches, "to_node", 0, f[Switches].from_node[0])(f),
        "Switches",
        "to_node",
        "same",
    ),
    "switch generates": (put(Switches, "z_ohm", 0, -1.0), "Switches", "z_ohm", "negative resistance"),
    "no such transformer": (
        put(Windings, "transformer", 1, 5),
        "Windings",
        "transformer",
        "no such transformer",
    ),
    "one winding": (
        lambda f: f.with_tables(f[Windings].take(np.array([0]))),
        "Windings",
        "transformer",
        "1 winding",
    ),
    "winding numbers": (put(Windings, "winding", 1, 4), "Windings", "winding", "number them 0 to 1"),
    "no reactance": (without(WindingPairs), "WindingPairs", "x_pct", "0 reactances between windings 0 and 1"),
    "two reactances": (
        twice(WindingPairs, 0),
        "WindingPairs",
        "x_pct",
        "2 reactances between windings 0 and 1",
    ),
    "no such pair": (put(WindingPairs, "winding_b", 0, 2), "WindingPairs", "winding_b", "no pair"),
    "coil one end": (put(Windings, "pair", (0, 0, 1), -1), "Windings", "pair", "only one end"),
    "coil looped": (put(Windings, "pair", (1, 0), [10, 10]), "Windings", "pair", "same node at both ends"),
    "no coil": (put(Windings, "pair", 1, -1), "Windings", "pair", "no coil"),
    "uneven legs": (put(Windings, "pair", (1, 0), -1), "Windings", "pair", "different legs"),
    "tap range": (put(Windings, "tap", 0, 1.2), "Windings", "tap", "1.2 is outside its range 0.9 to 1.1"),
    "load on one node": (put(Loads, "pair", (0, 1), -1), "Loads", "pair", "two nodes"),
    "load looped": (put(Loads, "pair", (0, 1), 13), "Loads", "pair", "a node and itself"),
    "load model": (
        put(Loads, "model", 0, "heater"),
        "Loads",
        "model",
        "unknown load model 'heater'; use constant_power",
    ),
    "connection load": (put(Connections, "load", 0, "nil"), "Connections", "load", "no load 'nil'"),
    "connection looped": (put(Connections, "pair", (0, 1), 13), "Connections", "pair", "a node and itself"),
    "shares": (put(Connections, "share", 0, 0.7), "Connections", "share", "sum to 0.7"),
    "shares of two": (twice(Connections, 0), "Connections", "share", "sum to 2"),
    "unused node": (nodes([0], [4]), "Nodes", "terminal", "nothing is connected to it"),
    "open switch": (
        put(Switches, "closed", 0, False),
        "Nodes",
        "bus",
        "no path to a source for n.1, n.2, n.3",
    ),
}


@pytest.mark.parametrize("case", ERRORS)
def test_every_error_is_found(small: Feeder, case: str) -> None:
    change, table, column, part = ERRORS[case]
    found = [i for i in check(change(small)) if (i.table, i.column) == (table, column)]
    assert any(i.severity == "error" and part in i.message for i in found), found
    with pytest.raises(FeederError, match=r"feeder small: \d+ error"):
        require_ok(change(small))


NOTES: dict[str, tuple[Change, str, str, str, str]] = {
    "isolated bus": (bus_alone, "warning", "Buses", "name", "isolated"),
    "coil voltage": (
        put(Windings, "v_coil_kv", 1, 0.48),
        "warning",
        "Windings",
        "v_coil_kv",
        "suggest 0.2771 kV",
    ),
    "source voltage": (put(Sources, "e_v", 0, 7.2), "warning", "Sources", "e_v", "of the base"),
    "negative load": (put(Loads, "p_kw", 1, -30.0), "audit", "Loads", "p_kw", "1 negative, -30 kW"),
    "unrated line": (put(Lines, "i_max_a", 0, np.nan), "audit", "Lines", "i_max_a", "1 of 2 lines"),
}


@pytest.mark.parametrize("case", NOTES)
def test_every_note_is_found_and_tolerated(small: Feeder, case: str) -> None:
    change, severity, table, column, part = NOTES[case]
    (issue,) = require_ok(change(small))
    assert (issue.severity, issue.table, issue.column) == (severity, table, column)
    assert part in issue.message


def test_a_healthy_feeder_has_no_issues(small: Feeder) -> None:
    assert check(small) == []


def test_an_empty_feeder_is_an_error_not_a_crash() -> None:
    assert [i.message for i in check(Draft("empty").finish())] == ["no source at all; add one"]


def test_all_errors_come_at_once_errors_first(small: Feeder) -> None:
    broken = small
    for case in ("tap range", "load model", "line asymmetric", "shares", "name twice"):
        broken = ERRORS[case][0](broken)
    broken = NOTES["unrated line"][0](broken)
    issues = check(broken)
    assert {i.column for i in issues if i.severity == "error"} >= {"tap", "model", "z_ohm", "share", "name"}
    assert [i.severity for i in issues] == sorted(
        (i.severity for i in issues), key="error warning audit".index
    )


def test_error_text_shows_the_first_and_counts_the_rest() -> None:
    issues = [Issue("error", "Loads", "p_kw", str(k), "bad") for k in range(25)]
    text = str(FeederError("f", issues))
    assert text.count("\n") == 21
    assert text.startswith("feeder f: 25 error(s)\n  error: Loads.p_kw 0: bad")
    assert text.endswith("... and 5 more")


def test_a_dark_part_is_one_issue_naming_a_few_nodes(small: Feeder) -> None:
    (issue,) = check(put(Switches, "closed", 0, False)(small))
    assert issue.message.count(",") == 6
    assert "and 3 more" in issue.message


def test_transformer_carries_the_path_in_both_directions(small: Feeder) -> None:
    low = [small.node(f"lv.{k}") for k in (1, 2, 3)]
    fed_below = small.with_tables(small[Sources].replace(node=[low], e_v=[balanced_emf_v(0.48)]))
    assert not [i for i in check(fed_below) if "no path" in i.message]


def delta_fed(small: Feeder, c_nf: float, float_s: complex) -> Feeder:
    """The small feeder with a delta-delta transformer, so that nothing earths its low side."""
    draft = Draft("delta")
    high = [small.node(f"n.{k}") for k in (1, 2, 3)]
    low = [small.node(f"lv.{k}") for k in (1, 2, 3)]
    ends = [(delta_pairs(high, lag=False), 12.47), (delta_pairs(low, lag=False), 0.48)]
    add_transformer(draft, "unit", 500.0, ends, r_pct=1.0, x_pct=5.0)
    made = draft.finish()
    windings = made[Windings].replace(float_s=np.full(2, float_s))
    lines = small[Lines].replace(c_nf=np.where(np.arange(4) < 3, small[Lines].c_nf, 0) * c_nf)
    return small.with_tables(made[Transformers], windings, made[WindingPairs], lines)


def test_ungrounded_section_held_by_capacitance_is_a_warning(small: Feeder) -> None:
    (issue,) = require_ok(delta_fed(small, c_nf=1.0, float_s=0))
    assert issue.severity == "warning"
    assert "ungrounded at 0.48 kV, 6 nodes in 1 section(s), held only by shunt capacitance" in issue.message


def test_float_shunts_hold_an_ungrounded_section_too(small: Feeder) -> None:
    (issue,) = require_ok(delta_fed(small, c_nf=0.0, float_s=-1e-9j))
    assert issue.severity == "warning"


def test_ungrounded_section_without_any_shunt_is_an_error(small: Feeder) -> None:
    (issue,) = check(delta_fed(small, c_nf=0.0, float_s=0))
    assert issue.severity == "error"
    assert "without any shunt" in issue.message


def test_checks_cope_with_holes_in_a_line(small: Feeder) -> None:
    lines = small[Lines]
    two = small.with_tables(
        lines.replace(
            from_node=np.where(np.arange(4) == 1, -1, lines.from_node),
            to_node=np.where(np.arange(4) == 1, -1, lines.to_node),
            z_ohm=lines.z_ohm * np.outer(np.arange(4) != 1, np.arange(4) != 1),
        )
    )
    assert not [i for i in check(two) if i.table == "Lines"]
