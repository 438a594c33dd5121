"""Layout and one-line diagram."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest

from anoca.report.diagram import one_line_diagram
from anoca.report.layout import FULL, stress_layout
from feeders import library


def distances(where: dict[str, tuple[float, float]], graph: nx.Graph) -> np.ndarray:
    return np.array([np.hypot(*np.subtract(where[a], where[b])) for a, b in graph.edges()])


@pytest.mark.parametrize("n", [30, FULL + 200])
def test_a_path_is_laid_out_straight_and_keeps_its_lengths(n: int) -> None:
    graph = nx.path_graph([f"b{k:05d}" for k in range(n)])
    lengths = np.random.default_rng(1).uniform(50, 150, n - 1)
    for (a, b), length in zip(graph.edges(), lengths, strict=True):
        graph[a][b]["length"] = length
    where = stress_layout(graph)
    assert np.allclose(distances(where, graph), lengths, rtol=0.1)
    ends = np.hypot(*np.subtract(where["b00000"], where[f"b{n - 1:05d}"]))
    assert ends > 0.8 * lengths.sum()


def test_unconnected_parts_and_missing_lengths_are_placed_apart() -> None:
    graph = nx.Graph([("a", "b"), ("b", "c"), ("c", "a"), ("x", "y")])
    where = stress_layout(graph)
    assert set(where) == set(graph.nodes())
    assert min(where[k][0] for k in "xy") > max(where[k][0] for k in "abc")
    assert np.isfinite(list(where.values())).all()
    sides = distances(where, graph.subgraph("abc"))
    assert np.allclose(sides, sides[0], rtol=0.02)


@pytest.mark.parametrize("colour", ["voltage", "loading"])
@pytest.mark.parametrize(("name", "options"), [("ieee4", {}), ("synthetic", {"n_buses": 40, "seed": 1})])
def test_diagrams_are_written(tmp_path: Path, name: str, options: dict[str, int], colour: str) -> None:
    feeder = library.load(name, **options)
    for ending in ("png", "svg"):
        picture = one_line_diagram(feeder, tmp_path / f"x.{ending}", colour)  # type: ignore[arg-type]
        assert picture.stat().st_size > 5000
