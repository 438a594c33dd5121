"""Taps and capacitor steps as controls: their laws, their bounds, and what the search chooses."""

from itertools import product

import numpy as np
import pytest

from dms import Controls, DmsProblem, Limits, Status, compile, solve
from dms.certificate import run
from dms.regimes import Regimes
from feeders import Capacitors, Connections, Feeder, Loads, Regulators, Windings

AGREE_PU = 1e-9
BOTH = Controls(taps=("dy", "dd"), winding={"dd": 0}, capacitors=("bank", "unit"))


def _names(problem: DmsProblem) -> list[str]:
    return problem.controls.name.tolist()


@pytest.mark.parametrize(
    "moved",
    [(0.0, 0.0, 0.0, 0.0), (2.0, -3.0, 1.0, -1.0), (-4.0, 5.0, -2.0, 0.0)],
)
def test_any_position_agrees_with_the_independent_circuit_there(
    controllable: Feeder, moved: tuple[float, ...]
) -> None:
    problem = compile(controllable, controls=BOTH)
    assert _names(problem) == ["dy", "dd", "bank", "unit"]
    controls = problem.controls
    position = controls.present(controllable) + np.array(moved) * controls.step
    request = problem.request(np.full(7, 20.0))
    flow = run(problem.network_at(position), request)
    point = problem.power_flow.solve(problem.at(request, regimes=Regimes(flow.v), position=position))
    assert flow.converged
    assert point.converged
    gap = (problem.voltages_v(point.x) - flow.v)[1:] / controllable.v_base_v[1:]
    assert np.abs(gap).max() < AGREE_PU
    at_rest = run(problem.network, request).v
    assert (np.abs(flow.v - at_rest).max() > 1.0) == any(moved)


def test_a_gang_moves_as_one(controllable: Feeder) -> None:
    windings = controllable[Windings]
    alike = controllable.with_tables(
        windings.replace(tap=np.ones(4), tap_steps=np.full(4, 16), tap_max=np.full(4, 1.1))
    )
    problem = compile(alike, controls=Controls(taps=(("dd", "dy"),), steps_per_tick=2))
    assert _names(problem) == ["dd + dy"]
    there = problem.controls.apply(alike, np.array([1.025]))
    assert there[Windings].tap.tolist() == [1.0, 1.025, 1.0, 1.025]
    lo, hi = problem.controls.reach(np.array([1.0]))
    assert (lo[0], hi[0]) == pytest.approx((0.975, 1.025))


def test_what_cannot_be_moved_is_named(controllable: Feeder) -> None:
    stuck = controllable[Windings].replace(tap_steps=np.zeros(4, dtype=int))
    for controls, feeder, error, text in (
        (Controls(taps=("nobody",)), controllable, KeyError, "no transformer 'nobody'; known: dd, dy"),
        (Controls(taps=("dy",), winding={"dy": 2}), controllable, KeyError, "'dy' has no winding 2"),
        (Controls(capacitors=("battery",)), controllable, KeyError, "no capacitor bank 'battery'"),
        (Controls(taps=("regulated",)), controllable, KeyError, "no regulators"),
        (Controls(taps=("dy", "dy")), controllable, ValueError, "'dy' is named twice"),
        (Controls(taps=(("dy", "dd"),)), controllable, ValueError, "move together but differ"),
        (Controls(taps=("dy",)), controllable.with_tables(stuck), ValueError, "cannot move: 0 steps"),
    ):
        with pytest.raises(error, match=text):
            compile(feeder, controls=controls)
    with pytest.raises(ValueError, match="steps_per_tick = 0"):
        Controls(steps_per_tick=0)


def test_regulated_names_the_taps_that_regulators_move(controllable: Feeder) -> None:
    regulator = {
        "name": np.array(["r"], dtype=object),
        "winding": np.array([1]),
        "v_reg_v": np.array([120.0]),
    }
    more = {"band_v": np.array([2.0]), "pt_ratio": np.array([20.0]), "ct_primary_a": np.array([100.0])}
    table = Regulators(transformer=np.array([1]), tap_winding=np.array([0]), **regulator, **more)
    problem = compile(controllable.with_tables(table), controls=Controls(taps=("regulated",)))
    assert _names(problem) == ["dy"]
    assert np.flatnonzero(problem.controls.of_winding >= 0).tolist() == [2]  # winding 0 of dy


@pytest.fixture(scope="module")
def tight(controllable: Feeder) -> Feeder:
    """A voltage limit at the far end binds; the taps can ease it."""
    connections = controllable[Connections]
    return controllable.with_tables(connections.take(np.flatnonzero(connections.share == 1)[:3]))


LIMITS = Limits(v_min_pu=0.9, v_max_pu=1.035, band_up_to_kv=1.0)


def _problem(feeder: Feeder, norm: str, controls: Controls | None) -> DmsProblem:
    return compile(feeder, norm=norm, limits=LIMITS, controls=controls)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_the_search_finds_what_trying_every_position_finds(tight: Feeder, norm: str) -> None:
    """Within two steps of two taps: the least objective, and among equals the fewest steps."""
    asked = np.array([180.0, 60.0, 120.0])
    controls = Controls(taps=("dy", "dd"), steps_per_tick=2)
    problem = _problem(tight, norm, controls)
    solution = solve(problem, problem.request(asked)).raise_for_status()
    base = problem.controls.present(tight)
    plain = _problem(tight, norm, None)
    alone = solve(plain, plain.request(asked)).raise_for_status()
    found: list[tuple[float, float]] = []
    for a, b in product(range(-2, 3), repeat=2):
        position = base + np.array([a, b]) * problem.controls.step
        lo, hi = problem.controls.reach(base)
        if ((position < lo - 1e-9) | (position > hi + 1e-9)).any():
            continue
        there = _problem(problem.controls.apply(tight, position), norm, None)
        best = solve(there, there.request(asked))
        if best.certificate.safe == "yes" and best.status in (Status.CURTAILED, Status.GO_AHEAD):
            found.append((there.objective(best.unit_curtail_kw), abs(a) + abs(b)))
    least = min(value for value, _ in found)
    same = 1e-5 * max(least, plain.objective(np.array([1e-3, 0.0, 0.0])))
    moves = solution.moves
    assert moves is not None
    assert moves.base == pytest.approx(plain.objective(alone.unit_curtail_kw), rel=1e-5)
    assert moves.chosen <= moves.base * (1 + 1e-6)
    assert moves.chosen <= least + max(same, 1e-3 * least)
    assert moves.steps.sum() <= min(steps for value, steps in found if value <= least + same) + 1e-9
    assert moves.chosen < 0.95 * moves.base
    assert moves.relaxed <= moves.chosen * (1 + 1e-6) + 1e-9


def test_nothing_moves_while_nothing_binds(tight: Feeder) -> None:
    problem = _problem(tight, "l2", BOTH)
    solution = solve(problem, problem.request(np.full(3, 1.0)))
    assert solution.status is Status.GO_AHEAD
    np.testing.assert_array_equal(solution.position, problem.controls.present(tight))


def test_a_tick_starts_where_the_last_one_ended(tight: Feeder) -> None:
    problem = _problem(tight, "l2", Controls(taps=("dy",), steps_per_tick=1))
    request = problem.request(np.array([180.0, 60.0, 120.0]))
    one = solve(problem, request)
    two = solve(problem, request, warm=one, position=one.position)
    for before, after in ((problem.controls.present(tight), one), (one.position, two)):
        moved = problem.controls.steps_moved(after.position, before)
        assert moved.max() <= 1 + 1e-9
    assert two.total_curtailed_kw <= one.total_curtailed_kw * (1 + 1e-6)
    with pytest.raises(ValueError, match="2 positions for 1 controls"):
        solve(problem, request, position=np.ones(2))


def test_the_published_position_is_the_one_certified(tight: Feeder) -> None:
    problem = _problem(tight, "linf", BOTH)
    request = problem.request(np.array([180.0, 60.0, 120.0]))
    solution = solve(problem, request).raise_for_status()
    there = problem.controls.apply(tight, solution.position)
    assert not np.array_equal(there[Windings].tap, tight[Windings].tap)
    assert (there[Capacitors].steps_on >= 0).all()
    assert (there[Capacitors].steps_on <= there[Capacitors].steps).all()
    flow = run(compile(there).network, request, solution.p_curtail_kw)
    gap = np.abs(flow.v - solution.state.flow.v)[1:] / tight.v_base_v[1:]
    assert gap.max() < AGREE_PU
    assert len(tight[Loads])


def test_a_position_between_steps_may_stay_and_else_goes_to_whole_steps(controllable: Feeder) -> None:
    """A tap of 1.0125 on steps of 0.01 from 0.9: it may stay, or go to 1.01, 1.02, ..."""
    steps = controllable[Windings].replace(tap_steps=np.array([20, 16, 32, 20]))
    problem = compile(controllable.with_tables(steps), controls=Controls(taps=("dy",), steps_per_tick=2))
    values, base = problem.controls, np.array([1.0125])
    for asked, got in ((1.0128, 1.0125), (1.0179, 1.02), (1.0, 1.0), (1.04, 1.0125), (1.032, 1.03)):
        assert values.rounded(np.array([asked]), base)[0] == pytest.approx(got)


@pytest.mark.parametrize(
    ("position", "text"),
    [
        ([1.0, 0.5], "position 0.5 of bank: give whole steps 0 to 3"),
        ([1.0, -3.0], "position -3 of bank"),
        ([1.0, 5.0], "position 5 of bank"),
        ([-1.0, 2.0], r"position -1 of dy: give 0.9 to 1.1"),
        ([np.nan, 2.0], "give a number each"),
    ],
)
def test_a_position_that_cannot_be_is_refused(tight: Feeder, position: list[float], text: str) -> None:
    problem = compile(tight, controls=Controls(taps=("dy",), capacitors=("bank",)))
    with pytest.raises(ValueError, match=text):
        solve(problem, problem.request(np.full(3, 1.0)), position=np.array(position))


def test_what_makes_no_sense_in_controls_is_refused() -> None:
    for given, text in (
        ({"taps": ((),)}, "empty name or gang"),
        ({"taps": ("a",), "winding": {"b": 0}}, "names b, whose tap is not free"),
        ({"tries": 1.5}, "tries = 1.5 must be a whole number"),
        ({"steps_per_tick": "3"}, "steps_per_tick = '3'"),
    ):
        with pytest.raises(ValueError, match=text):
            Controls(**given)
    assert Controls(taps="sub").taps == ("sub",)  # type: ignore[arg-type]


def test_free_taps_end_what_zero_export_breaks_before_a_limit_is_widened(tight: Feeder) -> None:
    """Two steps up, the low voltage is above its band even without export; a tap down ends that."""
    windings = tight[Windings]
    tap = windings.tap.copy()
    tap[3] += 4 * 0.00625
    high = tight.with_tables(windings.replace(tap=tap))
    asked = np.array([60.0, 30.0, 40.0])
    plain = _problem(high, "l2", None)
    fixed = solve(plain, plain.request(asked))
    assert fixed.certificate.safe == "relaxed"
    problem = _problem(high, "l2", Controls(taps=("dy",)))
    free = solve(problem, problem.request(asked))
    assert free.certificate.safe == "yes"
    assert free.state.worst_over_v <= 1e-5
    assert free.position[0] < tap[3]
    idle = solve(problem, problem.request(np.zeros(3)))
    assert idle.certificate.safe == "yes"
