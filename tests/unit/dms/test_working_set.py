"""Which limits join the working set."""

import numpy as np
import pytest

from dms.working_set import PATIENCE, PER_ROUND, joining


def test_of_those_that_read_alike_the_furthest_joins_and_none_where_one_is_held() -> None:
    over = np.array([1e-3, 1e-3 + 1e-8, 2e-3, 2e-3 - 1e-12, -1.0])
    nothing = np.zeros(5, dtype=bool)
    assert joining(over, over > 0, nothing, 1).tolist() == [2, 1]
    held = np.array([False, False, True, False, False])
    assert joining(over, (over > 0) & ~held, held, 1).tolist() == [1]


@pytest.mark.parametrize(("beyond", "joins"), [(1e-8, True), (1e-12, False), (-1e-8, False)])
def test_one_that_is_further_than_the_held_one_alike_joins(beyond: float, joins: bool) -> None:
    """Else nothing would ever bring it back inside."""
    over = np.array([1e-4, 1e-4 + beyond])
    held = np.array([True, False])
    assert joining(over, ~held, held, 1).tolist() == ([1] if joins else [])


def test_of_many_some_join() -> None:
    over = np.linspace(1e-3, 1e-1, 500)
    found = joining(over, over > 0, np.zeros(500, dtype=bool), 1)
    assert len(found) == PER_ROUND
    assert found[0] == 499


def test_after_some_rounds_those_that_read_alike_join_as_well() -> None:
    """Widened limits all stand at their bounds; a search that goes on needs more than one of them."""
    over, held = np.array([1e-9, 1e-9, -1.0]), np.array([True, False, False])
    assert joining(over, (over > 0) & ~held, held, PATIENCE).tolist() == []
    assert joining(over, (over > 0) & ~held, held, PATIENCE + 1).tolist() == [1]
