"""Layout and one-line diagram."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import networkx as nx
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from anoca.report.diagram import explained_diagram, one_line_diagram
from anoca.report.layout import FULL, stress_layout
from anoca.report.plots import curtailment_by_norm
from dms import Limits
from feeders import Connections, library


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


@pytest.mark.parametrize(
    "name", ["my", "a village with a very long name " * 3, "a_name_without_any_blanks_" * 4]
)
def test_titles_of_a_comparison_stay_inside_the_picture(name: str) -> None:
    figure = curtailment_by_norm({name: {"l1": [5.0, 1.0]}}, f"{name}: each prosumer's largest curtailment")
    FigureCanvasAgg(figure).draw()
    for text in (figure.axes[0].title, *figure.texts):
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= figure.bbox.width


def test_circles_of_curtailment_are_sums_of_a_bus(tmp_path: Path) -> None:
    feeder = library.load("synthetic", n_buses=20, seed=1, prosumers=1.0)
    of = feeder[Connections]
    at = [str(feeder.buses.name[feeder.nodes.bus[pair.max()]]) for pair in of.pair]
    bus = max(set(at), key=at.count)
    mine = dict.fromkeys([str(n) for n, b in zip(of.prosumer, at, strict=True) if b == bus], 1.5)
    with mpl.rc_context({"svg.fonttype": "none"}):
        text = explained_diagram(feeder, Limits(), {}, mine, tmp_path / "x.svg", "x").read_text()
    assert len(mine) > 1
    assert f"curtailed, per bus; the largest circle is {1.5 * len(mine):.3g} kW" in text


@pytest.mark.parametrize("colour", ["voltage", "loading"])
@pytest.mark.parametrize(("name", "options"), [("ieee4", {}), ("synthetic", {"n_buses": 40, "seed": 1})])
def test_diagrams_are_written(tmp_path: Path, name: str, options: dict[str, int], colour: str) -> None:
    feeder = library.load(name, **options)
    for ending in ("png", "svg"):
        picture = one_line_diagram(feeder, tmp_path / f"x.{ending}", colour)  # type: ignore[arg-type]
        assert picture.stat().st_size > 5000
