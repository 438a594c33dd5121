import numpy as np
import pandas as pd
import pytest

from feeders.table import Array, Table, column


class Things(Table):
    name: Array = column("-", dtype=str, check="unique")
    size_m: Array = column("m", check="positive")
    rank: Array = column("-", dtype=int, shape=(2,), check="any")
    open: Array = column("-", dtype=bool, default=False)
    gain: Array = column("-", dtype=complex, shape=(2, 2), default=1.0)


def things(**changes: object) -> Things:
    given = {"name": ["a", "b"], "size_m": [1, 2.5], "rank": [[1, 2], [3, 4]], **changes}
    return Things(**given)  # type: ignore[arg-type]


def test_columns_are_converted_filled_and_frozen() -> None:
    t = things()
    assert len(t) == 2
    assert t.size_m.dtype == float
    assert t.open.tolist() == [False, False]
    assert t.gain.shape == (2, 2, 2)
    assert (t.gain == 1).all()
    with pytest.raises(ValueError, match="read-only"):
        t.size_m[0] = 3
    with pytest.raises(AttributeError):
        t.size_m = np.zeros(2)  # type: ignore[misc]


def test_source_arrays_are_copied() -> None:
    sizes = np.array([1.0, 2.0])
    t = things(size_m=sizes)
    sizes[0] = 9
    assert t.size_m[0] == 1


def test_declarations_can_be_read_back() -> None:
    names = [c.name for c in Things.columns()]
    assert names == ["name", "size_m", "rank", "open", "gain"]
    size = Things.columns()[1]
    assert (size.unit, size.check, size.dtype, size.shape) == ("m", "positive", float, ())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size_m": [1.0]}, r"Things.size_m: 1 rows, other columns have 2"),
        ({"rank": [[1], [2]]}, r"Things.rank: shape \(2, 1\)"),
        ({"size_m": [1.0, "x"]}, r"Things.size_m: cannot be read as float"),
        ({"rank": [[1, 2], [3]]}, r"Things.rank: cannot be read as int"),
        ({"rank": [[1, 2], [3, 4.5]]}, r"Things.rank: cannot be read as int"),
        ({"rank": [[1, 2], [3, np.nan]]}, r"Things.rank: cannot be read as int"),
        ({"size_m": np.array([1.0, 1j])}, r"Things.size_m: cannot be read as float"),
        ({"open": ["no", "yes"]}, r"Things.open: cannot be read as bool"),
    ],
)
def test_misfits_are_refused_by_name(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        things(**changes)


def test_whole_floats_are_good_integers() -> None:
    assert things(rank=[[1.0, 2.0], [3.0, -1.0]]).rank.dtype.kind == "i"


def test_empty_table_keeps_shapes() -> None:
    t = Things.empty()
    assert t is Things.empty()
    assert len(t) == 0
    assert t.gain.shape == (0, 2, 2)
    assert t.to_frame().empty
    assert len(Things.from_rows([])) == 0


def test_from_rows_takes_defaults_row_by_row() -> None:
    rows = [
        {"name": "a", "size_m": 1, "rank": [1, 2]},
        {"name": "b", "size_m": 2, "rank": [3, 4], "open": True},
    ]
    assert Things.from_rows(rows).open.tolist() == [False, True]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"name": "a", "size_m": 1}, "Things"),
        ({"name": "a", "size_m": 1, "rank": [1, 2], "colour": 3}, "unknown column colour"),
    ],
)
def test_from_rows_names_missing_and_unknown_columns(row: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Things.from_rows([row])


def test_from_rows_names_a_column_missing_in_some_rows() -> None:
    rows = [{"name": "a", "size_m": 1, "rank": [1, 2]}, {"name": "b", "size_m": 1}]
    with pytest.raises(ValueError, match=r"Things.rank: missing in 1 rows"):
        Things.from_rows(rows)


def test_take_and_replace_make_new_tables() -> None:
    t = things()
    assert t.take(np.array([True, False])).name.tolist() == ["a"]
    assert t.take(np.array([1, 0])).name.tolist() == ["b", "a"]
    assert t.replace(size_m=[3, 4]).size_m.tolist() == [3, 4]
    assert t.size_m.tolist() == [1, 2.5]


def test_to_frame_spreads_arrays_over_columns() -> None:
    frame = things().to_frame()
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns[:5]) == ["name", "size_m", "rank_1", "rank_2", "open"]
    assert frame["rank_2"].tolist() == [2, 4]
    assert "gain_2_1" in frame


def test_rows_are_not_iterated() -> None:
    with pytest.raises(TypeError, match="Things is not iterated"):
        iter(things())
