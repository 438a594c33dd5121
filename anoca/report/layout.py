"""Where buses go on paper when nobody gives coordinates: stress majorisation on line lengths.

Minimise  sum_ij w_ij (|x_i - x_j| - d_ij)^2,  w_ij = d_ij^-2,  with d the length of the shortest path.
Up to `FULL` buses by Guttman transforms on all pairs; above, by pivot multidimensional scaling
(Brandes and Pich 2006), linear in the number of buses, then the same on a sparse set of pairs.
"""

from __future__ import annotations

import networkx as nx
import numpy as np
import scipy.sparse as sp
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.csgraph import dijkstra
from scipy.sparse.linalg import factorized

from feeders.table import Array

FULL = 1500
"""Largest number of buses for all pairs; above it pivots."""
PIVOTS = 60
ROUNDS = 120


def stress_layout(graph: nx.Graph, *, seed: int = 0) -> dict[str, tuple[float, float]]:
    """Positions of the nodes of a connected or unconnected graph; edges carry `length`.

    graph    nodes are names; an edge without a positive finite `length` counts as the median one
    Returns  name -> (x, y); components are set side by side
    """
    positions: dict[str, tuple[float, float]] = {}
    left = 0.0
    for part in sorted(nx.connected_components(graph), key=len, reverse=True):
        names = sorted(part)
        xy = _component(graph.subgraph(part), names, seed)
        xy -= xy.min(axis=0)
        positions |= {name: (left + x, y) for name, (x, y) in zip(names, xy.tolist(), strict=True)}
        left += 1.1 * float(np.ptp(xy[:, 0])) + 1.0
    return positions


def _component(graph: nx.Graph, names: list[str], seed: int) -> Array:
    if len(names) < 3:
        return np.column_stack([np.arange(len(names), dtype=float), np.zeros(len(names))])
    lengths = _lengths(graph, names)
    pivots = _pivots(lengths, min(PIVOTS, len(names)))
    start = _pivot_scaling(pivots[1], seed)
    if len(names) <= FULL:
        return _majorise_all(dijkstra(lengths, directed=False), start)
    return _majorise_sparse(lengths, pivots, start)


def _lengths(graph: nx.Graph, names: list[str]) -> sp.csr_matrix:
    """Symmetric matrix of edge lengths; missing ones take the median, tiny ones a fraction of it."""
    number = {name: k for k, name in enumerate(names)}
    ends = np.array([(number[a], number[b]) for a, b in graph.edges()])
    length = np.array([float(data.get("length", np.nan)) for *_, data in graph.edges(data=True)])
    good = np.isfinite(length) & (length > 0)
    typical = float(np.median(length[good])) if good.any() else 1.0
    length = np.maximum(np.where(good, length, 0.3 * typical), 0.1 * typical)
    matrix = sp.coo_matrix((length, (ends[:, 0], ends[:, 1])), shape=(len(names), len(names))).tocsr()
    return matrix.maximum(matrix.T).tocsr()


def _pivots(lengths: sp.csr_matrix, count: int) -> tuple[Array, Array]:
    """Pivots spread by the max-min rule, and their distances to everybody, (n, count)."""
    chosen, rows = [0], []
    nearest = np.full(lengths.shape[0], np.inf)
    for _ in range(count):
        rows.append(np.asarray(dijkstra(lengths, directed=False, indices=np.array([chosen[-1]]))[0]))
        nearest = np.minimum(nearest, rows[-1])
        chosen.append(int(np.argmax(nearest)))
    return np.array(chosen[:count]), np.array(rows).T


def _pivot_scaling(distance: Array, seed: int) -> Array:
    """Classical scaling on the distances to the pivots, (n, 2)."""
    square = distance**2
    centred = -0.5 * (square - square.mean(axis=0) - square.mean(axis=1)[:, None] + square.mean())
    _, vectors = np.linalg.eigh(centred.T @ centred)
    xy: Array = centred @ vectors[:, -2:]
    xy /= max(float(np.abs(xy).max()), 1e-12) / max(float(distance.max()), 1e-12)
    # A path has no second dimension; a little noise gives it one.
    return xy + np.random.default_rng(seed).normal(0, 1e-3 * float(distance.max()), xy.shape)


def _majorise_all(distance: Array, xy: Array) -> Array:
    """Guttman transforms: L_w x' = L(x) x, with the first node held."""
    with np.errstate(divide="ignore"):
        weight = np.where(distance > 0, distance**-2.0, 0.0)
    laplacian = np.diag(weight.sum(axis=1)) - weight
    factor = cho_factor(laplacian[1:, 1:])
    target = weight * distance
    for _ in range(ROUNDS):
        gap = np.sqrt(((xy[:, None, :] - xy[None, :, :]) ** 2).sum(axis=2))
        ratio = target / np.maximum(gap, 1e-12)
        pull = ratio.sum(axis=1)[:, None] * xy - ratio @ xy
        new = np.vstack([np.zeros(2), cho_solve(factor, pull[1:])])
        step, xy = float(np.abs(new - new.mean(axis=0) - xy + xy.mean(axis=0)).max()), new
        if step < 1e-3 * float(distance.max()):
            break
    return xy


def _majorise_sparse(lengths: sp.csr_matrix, pivots: tuple[Array, Array], xy: Array) -> Array:
    """The same on the pairs that share a line and those with a pivot."""
    number, distance = pivots
    n = lengths.shape[0]
    edge = sp.triu(lengths).tocoo()
    near = np.argsort(distance, axis=1)[:, :8]  # a handful of pivots each is enough to keep the shape
    i = np.concatenate([edge.row, np.repeat(np.arange(n), near.shape[1])])
    j = np.concatenate([edge.col, number[near].ravel()])
    d = np.concatenate([edge.data, np.take_along_axis(distance, near, axis=1).ravel()])
    keep = (i != j) & (d > 0)
    i, j, d = i[keep], j[keep], d[keep]
    w = d**-2.0

    def laplacian(v: Array) -> sp.csr_matrix:
        off = sp.coo_matrix(
            (np.concatenate([v, v]), (np.concatenate([i, j]), np.concatenate([j, i]))), (n, n)
        )
        return (sp.diags(np.asarray(off.sum(axis=1)).ravel()) - off).tocsr()

    solve = factorized(laplacian(w)[1:, 1:].tocsc())
    for _ in range(ROUNDS // 2):
        gap = np.sqrt(((xy[i] - xy[j]) ** 2).sum(axis=1))
        pull = laplacian(w * d / np.maximum(gap, 1e-12)) @ xy
        xy = np.vstack([np.zeros(2), np.column_stack([solve(pull[1:, k]) for k in (0, 1)])])
    return xy
