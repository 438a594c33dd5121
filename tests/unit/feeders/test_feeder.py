from math import sqrt

import numpy as np
import pytest

from feeders import ABSENT, EARTH, Draft, Feeder, Lines, Loads, Switches, Table


def test_nodes_are_made_when_first_asked_for() -> None:
    draft = Draft("d")
    draft.add_bus("a", v_base_kv=1.0)
    assert draft.node("a", 2) == 1
    assert draft.node("a", 1) == 2
    assert draft.node("a", 2) == 1
    assert draft.node("a", 0) == EARTH
    assert draft.phases("a", (1, 2)) == [2, 1, ABSENT, ABSENT]
    assert draft.finish().node_names.tolist() == ["0", "a.2", "a.1"]


def test_draft_refuses_double_and_unknown_buses() -> None:
    draft = Draft("d")
    draft.add_bus("a", v_base_kv=1.0)
    with pytest.raises(ValueError, match="'a' is there already"):
        draft.add_bus("a", v_base_kv=1.0)
    with pytest.raises(KeyError, match="no bus 'b'"):
        draft.node("b", 1)


def test_draft_returns_row_numbers() -> None:
    draft = Draft("d")
    assert [draft.add(Loads, name=n, pair=[1, 0], p_kw=1, q_kvar=0) for n in "ab"] == [0, 1]


def test_an_absent_table_reads_as_empty() -> None:
    feeder = Draft("d").finish()
    assert len(feeder[Lines]) == 0
    assert feeder.n_nodes == 0


def test_node_bases_and_names(small: Feeder) -> None:
    assert small.n_nodes == 15
    assert small.node_names[small.node("lv.3")] == "lv.3"
    assert small.v_base_v[small.node("lv.3")] == pytest.approx(480 / sqrt(3))
    assert small.v_base_v[EARTH] == 1


def test_an_unknown_node_says_what_the_bus_has(small: Feeder) -> None:
    with pytest.raises(KeyError, match=r"bus lv has lv\.1, lv\.2, lv\.3"):
        small.node("lv.4")
    with pytest.raises(KeyError, match="there is no bus 'nowhere'"):
        small.node("nowhere.1")


def test_with_tables_replaces_and_keeps(small: Feeder) -> None:
    switches: Table = small[Switches].replace(closed=[False])
    changed = small.with_tables(switches, name="open")
    assert (changed.name, small.name) == ("open", "small")
    assert not changed[Switches].closed.any()
    assert small[Switches].closed.all()
    assert changed[Lines] is small[Lines]


def test_node_index_is_not_shared_between_copies(small: Feeder) -> None:
    small.node("lv.1")
    renamed = small.with_tables(buses=small.buses.replace(name=np.array(list("abcde"), dtype=object)))
    assert renamed.node("d.1") == small.node("lv.1")
