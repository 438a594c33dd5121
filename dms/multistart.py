"""How far apart local optima lie: the same tick solved from displaced start points, on demand.

The three-phase AC problem is not convex; an optimiser's answer is a local optimum. Starts are
random curtailments, zero export, and the optima of the other norms. Every answer goes through the
same rounding and the same `safe` certificate as a published one; only those that pass count.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from dms.interior import IpoptOptions
from dms.methods import METHODS, auto
from dms.problem import DmsProblem
from dms.request import DmsRequest
from dms.rungs import in_norm
from dms.solution import DmsSolution, Status
from dms.stages import Method
from dms.tick import Tick, from_point, optimise, start_numbers, with_limits_in_force
from feeders.table import Array

NEIGHBOURS = ("l1", "l2", "linf")
"""Norms whose optima are starts for the others."""


@dataclass(frozen=True)
class Start:
    """One start and what came of it.

    name       where it started
    objective  `DmsProblem.objective` of the set-points as sent; inf without a certified optimum
    """

    name: str
    objective: float
    solution: DmsSolution = field(repr=False)


@dataclass(frozen=True)
class Multistart:
    """All answers. best, worst: objective of the certified ones (inf if there is none); seconds: cost."""

    starts: tuple[Start, ...]
    seconds: float

    @property
    def found(self) -> Array:
        """Objectives of the starts that led to a certified optimum."""
        return np.array([s.objective for s in self.starts if np.isfinite(s.objective)])

    @property
    def best(self) -> float:
        """The least objective."""
        return float(self.found.min(initial=np.inf))

    @property
    def worst(self) -> float:
        """The largest objective; inf without any."""
        return float(self.found.max()) if len(self.found) else np.inf

    @property
    def spread(self) -> float:
        """(worst - best) / best: 0 where every start leads to the same value; nan without any."""
        if not len(self.found):
            return float("nan")
        return (self.worst - self.best) / self.best if self.best > 0 else 0.0


def multistart(
    problem: DmsProblem,
    request: DmsRequest,
    *,
    n: int = 10,
    seed: int = 0,
    options: IpoptOptions | None = None,
    position: Array | None = None,
    method: str = "ipopt",
) -> Multistart:
    """Solve a tick from n displaced start points: zero export, other norms' optima, random curtailments.

    position  (n_controls,) where taps and capacitor steps are held; default: as the feeder has them
    method    one of `dms.methods.METHODS`, or "auto": the first of them that ends at an optimum
    Raises    ValueError           n is not positive
              KeyError             there is no such method
              IpoptMissingError    cyipopt is not installed
    """
    if n < 1:
        raise ValueError(f"n = {n} start points; give at least 1")
    began, each = time.perf_counter(), auto if method == "auto" else METHODS[method]
    here = problem.controls.present(problem.feeder) if position is None else np.asarray(position, dtype=float)
    network = problem.network_at(here)
    tick = Tick(problem, request, here, here, network, began, problem.limits_at(request, network))
    tick, operating = with_limits_in_force(tick)
    if not operating:
        return Multistart((), time.perf_counter() - began)
    starts = []
    for (name, curtail_kw), _ in zip(_start_points(tick, options, seed, each), range(n), strict=False):
        solution = _solved_from(tick, curtail_kw, name, options or IpoptOptions(), each)
        good = solution.status is Status.CURTAILED
        objective = problem.objective(solution.unit_curtail_kw, request) if good else np.inf
        starts.append(Start(name, objective, solution))
    return Multistart(tuple(starts), time.perf_counter() - began)


def _solved_from(
    tick: Tick, curtail_kw: Array, name: str, options: IpoptOptions, method: Method
) -> DmsSolution:
    """From the power flow at a curtailment; by Ipopt, its barrier falling step by step, where that fails."""
    point = optimise(tick, start_numbers(tick, curtail_kw), options, method=method)
    solution = from_point(tick, point, name)
    if solution.status is Status.CURTAILED or options.mu_strategy == "monotone":
        return solution
    sure = replace(options, mu_strategy="monotone")
    return from_point(tick, optimise(tick, start_numbers(tick, curtail_kw), sure), name)


def _start_points(
    tick: Tick, options: IpoptOptions | None, seed: int, method: Method
) -> Iterator[tuple[str, Array]]:
    """Names and curtailments (n_units,) kW, without end."""
    yield "from zero export", tick.most_kw
    for norm in NEIGHBOURS:
        if norm != tick.problem.norm:
            other = in_norm(tick, norm)
            found = _solved_from(other, other.most_kw, norm, options or IpoptOptions(), method)
            yield f"from the optimum of {norm}", np.clip(found.unit_curtail_kw, 0.0, tick.most_kw)
    rng = np.random.default_rng(seed)
    count = 0
    while True:
        count += 1
        share = rng.random(len(tick.most_kw)) ** rng.uniform(0.3, 3.0)  # mostly much, or mostly little
        yield f"from random {count}", share * tick.most_kw
