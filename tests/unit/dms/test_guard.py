"""A tick survives what its optimiser does; where nothing happens, the guard changes nothing."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import dms.interior
from dms import (
    Controls,
    DmsProblem,
    DmsRequest,
    DmsSolution,
    IpoptMissingError,
    IpoptOptions,
    Limits,
    Status,
    certify,
    child,
    compile,
    ladder,
    solve,
    solve_guarded,
)
from dms.interior import InteriorPoint
from feeders import Connections, Feeder

forked = pytest.mark.skipif(not child.FORKS, reason="needs processes that can be forked")
LIMITS = Limits(v_max_pu=1.5)
REAL = dms.interior.solve


@pytest.fixture
def problem(street) -> DmsProblem:
    """Two homes at the ends of two sections; the first section is the bottleneck."""
    feeder = street(z_ohm=(0.05 + 0.02j, 0.05 + 0.02j), i_max_a=(100.0, 300.0), homes=((1,), (2,)))
    return compile(feeder, norm="l2", limits=LIMITS)


def _request(problem: DmsProblem, kw: float = 20.0) -> DmsRequest:
    return problem.request(np.array([kw, kw]))


def _ipopt(monkeypatch: pytest.MonkeyPatch, act: Callable[[], Any]) -> None:
    """Ipopt does something else first."""

    def solve(*given: Any, **more: Any) -> InteriorPoint:
        act()
        return REAL(*given, **more)

    monkeypatch.setattr(dms.interior, "solve", solve)


def _same(one: DmsSolution, other: DmsSolution) -> None:
    assert (one.status, one.method, one.certificate, one.guard) == (
        other.status,
        other.method,
        other.certificate,
        other.guard,
    )
    for name in ("p_adjusted_kw", "p_curtail_kw", "q_kvar", "unit_curtail_kw", "position"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    np.testing.assert_array_equal(one.state.flow.v, other.state.flow.v)
    assert (one.point is None) == (other.point is None)
    if one.point is not None and other.point is not None:
        np.testing.assert_array_equal(one.point.x, other.point.x)
        np.testing.assert_array_equal(one.point.row_multipliers, other.point.row_multipliers)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf", "linf_l1"])
@pytest.mark.parametrize("method", ["auto", "ipopt"])
def test_answers_are_the_same_as_without_the_guard(problem: DmsProblem, norm: str, method: str) -> None:
    problem = compile(problem.feeder, norm=norm, limits=LIMITS)
    plain = guarded = None
    for kw in (19.0, 20.0, 8.0, 21.0):
        plain = solve(problem, _request(problem, kw), warm=plain, method=method)
        guarded = solve_guarded(problem, _request(problem, kw), warm=guarded, method=method)
        _same(plain, guarded)
        assert guarded.guard == ""


def test_the_point_of_the_child_is_the_next_warm_start(problem: DmsProblem) -> None:
    last = solve_guarded(problem, _request(problem, 19.0), method="ipopt")
    assert solve_guarded(problem, _request(problem), warm=last, method="ipopt").method == "interior_warm"
    assert solve_guarded(problem, _request(problem), warm=last).method == "reduced_warm"


@forked
def test_limits_are_the_very_objects_of_the_problem(problem: DmsProblem) -> None:
    solution = solve_guarded(problem, _request(problem))
    assert solution.values is problem.values
    assert solution.nominal is problem.values
    assert solution.state.values is problem.values


def _with_a_tap(feeder: Feeder) -> tuple[DmsProblem, DmsRequest]:
    connections = feeder[Connections]
    feeder = feeder.with_tables(connections.take(np.flatnonzero(connections.share == 1)[:3]))
    limits = Limits(v_min_pu=0.9, v_max_pu=1.035, band_up_to_kv=1.0)
    problem = compile(feeder, limits=limits, controls=Controls(taps=("dy",), steps_per_tick=1))
    return problem, problem.request(np.array([180.0, 60.0, 120.0]))


@forked
@pytest.mark.parametrize(
    ("act", "reason"),
    [(lambda: os._exit(1), "crashed (exit code 1)"), (lambda: time.sleep(600), "over budget of 4 s")],
)
def test_a_search_of_taps_that_is_lost_leaves_the_optimum_without_it(
    controllable: Feeder, monkeypatch: pytest.MonkeyPatch, act: Callable[[], None], reason: str
) -> None:
    problem, request = _with_a_tap(controllable)
    still = compile(problem.feeder, limits=problem.limits)
    left_alone = solve(still, still.request(request.p_export_kw))
    monkeypatch.setattr("dms.discrete.improve", lambda *_: act())
    found = solve_guarded(problem, request, budget_s=4.0)
    assert (found.status, found.guard, found.certificate.safe) == (Status.CURTAILED, reason, "yes")
    assert found.p_adjusted_kw == pytest.approx(left_alone.p_adjusted_kw, abs=1e-3)


def test_controls_are_moved_behind_the_guard_too(controllable: Feeder) -> None:
    problem, request = _with_a_tap(controllable)
    plain, guarded = solve(problem, request), solve_guarded(problem, request)
    _same(plain, guarded)
    assert guarded.moves is not None
    assert plain.moves is not None
    assert guarded.moves.tried == plain.moves.tried


def test_only_what_needs_an_optimiser_is_forked(
    problem: DmsProblem, street, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fork() -> int:
        raise AssertionError("forked")

    monkeypatch.setattr(os, "fork", fork)
    assert solve_guarded(problem, _request(problem, 8.0)).status is Status.GO_AHEAD
    sagging = street(z_ohm=(0.1 + 0.02j,), i_max_a=(60.0,), homes=((1,),), loads=((1, 16.0, 0.0),))
    widened = compile(sagging, limits=LIMITS)
    answer = solve_guarded(widened, widened.request(np.array([0.0])))
    assert (answer.status, answer.certificate.safe) == (Status.GO_AHEAD, "relaxed")
    hopeless = compile(street(homes=((1,),), loads=((1, 2000.0, 500.0),)))
    answer = solve_guarded(hopeless, hopeless.request(np.array([5.0])))
    assert answer.status is Status.NO_OPERATING_POINT
    with pytest.raises(AssertionError, match="forked"):
        solve_guarded(problem, _request(problem))


def _killed() -> None:
    faulthandler.disable()  # the test runner's, which would print a traceback
    os.kill(os.getpid(), signal.SIGSEGV)


def _out_of_memory() -> None:
    raise MemoryError


@forked
@pytest.mark.parametrize(
    ("act", "reason"),
    [
        (_killed, "crashed (signal 11)"),
        (lambda: os._exit(1), "crashed (exit code 1)"),
        (_out_of_memory, "crashed (out of memory)"),
        (lambda: time.sleep(600), "over budget of 0.5 s"),
    ],
)
def test_a_lost_optimiser_leaves_a_certified_answer(
    problem: DmsProblem,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    act: Callable[[], None],
    reason: str,
) -> None:
    best = solve(problem, _request(problem), method="ipopt")
    _ipopt(monkeypatch, act)
    began = time.perf_counter()
    with caplog.at_level(logging.WARNING):
        solution = solve_guarded(problem, _request(problem), method="ipopt", budget_s=0.5)
    assert time.perf_counter() - began < 3.0
    assert (solution.status, solution.method, solution.guard) == (Status.FALLBACK, "uniform_cap", reason)
    assert certify(problem.network, _request(problem), solution.p_adjusted_kw, problem.values).ok
    assert solution.total_curtailed_kw >= best.total_curtailed_kw
    assert solution.total_curtailed_kw < 40.0
    assert reason in caplog.text
    assert 0 < solution.solve_s < 3.0


@forked
def test_a_strict_tick_that_is_lost_claims_nothing(street, monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit broken at zero export, and no optimiser to say whether some export mends it."""
    sagging = street(z_ohm=(0.1 + 0.02j,), i_max_a=(60.0,), homes=((1,),), loads=((1, 16.0, 0.0),))
    strict = compile(sagging, limits=Limits(v_max_pu=1.5, preexisting="strict"))
    monkeypatch.setattr(ladder, "_climb", lambda *_: _killed())
    solution = solve_guarded(strict, strict.request(np.array([60.0])))
    assert solution.guard == "crashed (signal 11)"
    assert solution.status in (Status.FALLBACK, Status.UNCERTIFIED)
    assert solution.certificate.ok == (solution.status is Status.FALLBACK)


@pytest.mark.parametrize("exc", [ValueError("a row of nothing"), IpoptMissingError("get cyipopt")])
def test_an_ordinary_exception_is_the_callers(
    problem: DmsProblem, monkeypatch: pytest.MonkeyPatch, exc: Exception
) -> None:
    def fail() -> None:
        raise exc

    _ipopt(monkeypatch, fail)
    with pytest.raises(type(exc), match=str(exc)):
        solve_guarded(problem, _request(problem), method="ipopt")


def test_what_is_asked_is_checked_before_anything_is_forked(problem: DmsProblem) -> None:
    with pytest.raises(KeyError, match="unknown method"):
        solve_guarded(problem, _request(problem), method="magic")
    with pytest.raises(ValueError, match="budget_s = 0"):
        solve_guarded(problem, _request(problem), budget_s=0.0)
    with pytest.raises(ValueError, match="positions for 0 controls"):
        solve_guarded(problem, _request(problem), position=np.array([1.0]))


# The budget, kept without a kill -------------------------------------------------------------------


@pytest.mark.parametrize("forks", [True, False])
def test_no_rung_is_started_when_the_budget_is_spent(
    problem: DmsProblem, monkeypatch: pytest.MonkeyPatch, forks: bool
) -> None:
    """The first rung takes all but a little of the budget and fails; the others are left out."""
    if forks and not child.FORKS:
        pytest.skip("needs processes that can be forked")
    monkeypatch.setattr(child, "FORKS", forks)

    def slow(*given: Any, **more: Any) -> InteriorPoint:
        time.sleep(0.95)
        point = REAL(*given, **more)
        return replace(point, x=np.full_like(point.x, np.nan))

    monkeypatch.setattr(dms.interior, "solve", slow)
    began = time.perf_counter()
    solution = solve_guarded(problem, _request(problem), method="ipopt", budget_s=1.0)
    assert time.perf_counter() - began < 1.9
    assert (solution.status, solution.guard) == (Status.FALLBACK, "over budget of 1 s")
    assert solution.certificate.ok


def test_ipopt_gets_what_is_left(problem: DmsProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []

    def watch(*given: Any, options: IpoptOptions, **more: Any) -> InteriorPoint:
        seen.append(options.max_wall_s)
        return REAL(*given, options=options, **more)

    monkeypatch.setattr(dms.interior, "solve", watch)
    solve(problem, _request(problem), method="ipopt")
    solve(problem, _request(problem), method="ipopt", budget_s=30.0)
    solve(problem, _request(problem), method="ipopt", budget_s=30.0, options=IpoptOptions(max_wall_s=2.0))
    assert seen[0] == 600.0
    assert 20.0 < seen[1] < 27.0
    assert seen[2] == 2.0


def test_an_optimum_found_late_is_no_hit(problem: DmsProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was left out: the answer is the same, and does not depend on the machine."""
    _ipopt(monkeypatch, lambda: time.sleep(0.3))
    solution = solve(problem, _request(problem), method="ipopt", budget_s=0.3)
    assert (solution.status, solution.guard) == (Status.CURTAILED, "")
