"""Rounds, medians, ratios, agreement: the arithmetic of a benchmark, without a solver."""

import importlib.util
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import dms
from anoca.errors import InputError
from anoca.studies import bench
from anoca.studies.bench.dms import _means
from anoca.studies.benching import dms_cases
from anoca.studies.benching.agreement import Point, agrees, gap, held
from anoca.studies.benching.circuits import MissingCircuitError
from anoca.studies.benching.seeded import seeded_case
from anoca.studies.benching.synthetic_case import synthetic_case
from anoca.studies.benching.tables import Keeper, readable
from anoca.studies.benching.timing import Rounds, Work, interleaved, median, ratio, require_one_thread
from feeders import Connections, Lines


class Clock:
    """Time that passes only where the work says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def works(clock: Clock, order: list[str], **seconds: float) -> dict[str, Work[str]]:
    def work(name: str, took: float) -> Work[str]:
        def run(ready: object) -> str:
            assert ready == "ready"
            order.append(name)
            clock.now += took
            return f"{name} {len(order)}"

        def prepare() -> str:
            clock.now += 100.0
            return "ready"

        return Work(prepare, run)

    return {name: work(name, took) for name, took in seconds.items()}


def test_methods_take_turns_and_the_order_moves_on() -> None:
    clock, order = Clock(), []
    found = interleaved(works(clock, order, a=1.0, b=2.0, c=3.0), 3, patience_s=1e9, clock=clock)
    assert order == list("abc") + list("bca") + list("cab")
    assert found["b"].seconds == {0: 2.0, 1: 2.0, 2: 2.0}
    assert found["b"].prepare_s == {0: 100.0, 1: 100.0, 2: 100.0}
    assert found["c"].outcome == "c 3"  # of the first round


def test_a_slow_method_takes_no_further_turn() -> None:
    clock, order = Clock(), []
    found = interleaved(works(clock, order, slow=6.0, quick=1.0), 4, patience_s=10.0, clock=clock)
    assert len(found["slow"].seconds) == 2
    assert len(found["quick"].seconds) == 4
    assert ratio(found["slow"], found["quick"]) == 6.0


def test_the_methods_own_seconds_count_where_it_gives_them() -> None:
    clock, order = Clock(), []
    plain = works(clock, order, a=5.0)["a"]
    own = Work(plain.prepare, plain.run, lambda outcome: (0.25, 0.125))
    found = interleaved({"a": own}, 1, clock=clock)["a"]
    assert (found.seconds[0], found.cpu_s[0]) == (0.25, 0.125)


def test_a_ratio_is_the_median_of_quotients_within_a_round() -> None:
    # The machine is ten times slower in the second round; each round says "twice".
    one = Rounds(seconds={0: 2.0, 1: 20.0, 2: 2.2})
    other = Rounds(seconds={0: 1.0, 1: 10.0, 2: 1.1})
    assert ratio(one, other) == pytest.approx(2.0)
    assert np.isnan(ratio(one, Rounds(seconds={7: 1.0})))


def test_medians() -> None:
    assert median([3.0, 1.0, 2.0]) == 2.0
    assert median({0: 1.0, 1: 2.0}.values()) == 1.5
    assert np.isnan(median([]))


@pytest.mark.parametrize("value", ["2", None])
def test_more_than_one_thread_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "1")
    require_one_thread()
    monkeypatch.delenv("OMP_NUM_THREADS")
    if value is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    with pytest.raises(InputError, match=r"set OMP_NUM_THREADS=1 before"):
        require_one_thread()
    assert os.environ.get("OMP_NUM_THREADS") == value


def point(cut: list[float], *, kept: bool = True, weights: list[float] | None = None) -> Point:
    curtail = np.array(cut)
    w = np.ones(len(curtail)) if weights is None else np.array(weights)
    return Point(curtail, w, 0.0, over_v=-1.0, over_i=0.0, binding=0, kept=kept)


def test_optima_are_compared_by_what_their_norm_makes_small() -> None:
    one, other = point([3.0, 4.0]), point([0.0, 5.0])
    assert gap(one, other, "l1") == pytest.approx(7 / 5 - 1)
    assert gap(one, other, "l2") == pytest.approx(0.0)
    assert gap(one, other, "linf") == pytest.approx(4 / 5 - 1)
    assert gap(point([3.0, 4.0], weights=[2.0, 1.0]), other, "linf") == pytest.approx(6 / 5 - 1)


def test_a_point_outside_its_limits_is_not_compared() -> None:
    good, bad = point([1.0]), point([1.0], kept=False)
    assert np.isnan(gap(bad, good, "l2"))
    assert np.isnan(gap(good, bad, "l2"))
    assert gap(good, good, "l2") == 0.0


def test_a_point_is_held_against_its_limits_in_the_power_flow() -> None:
    """1e-9 more export than an optimum allows may be compared with it, 1e-5 more may not."""
    tick = dms_cases.cases("case1")[0]
    problem = tick.compile("l2")
    request = tick.request(problem)
    best = dms.solve(problem, request).point
    cut = best.x[problem.program.variables["p_curtail"].span] * 1e3
    found = [Point.of(problem, request, cut * (1 - less)) for less in (0.0, 1e-9, 1e-5)]
    assert [p.comparable for p in found] == [True, True, False]
    assert [p.binding for p in found] == [2, 2, 2]
    assert found[2].over_v == pytest.approx(0.0, abs=1e-5)
    assert found[0].objective == pytest.approx(float((cut / 1e3) @ (cut / 1e3)))


def test_agreement_has_the_tolerance_of_the_norm_and_never_nan() -> None:
    assert agrees(4e-3, "l1")
    assert not agrees(4e-3, "l2")
    assert agrees(-9e-6, "linf")
    assert not agrees(2e-5, "linf")
    assert agrees(4e-3, "linf_l1")
    assert not agrees(float("nan"), "l1")


def row(scenario: str, method: str, rung: str, seconds: float, found: float = 0.0) -> dict[str, object]:
    numbers = dict.fromkeys(("cpu_s", "ratio", "compile_s", "write_s", "read_s", "solve_s"), 1.0)
    return {
        **numbers, "case": "c", "norm": "l2", "start": "cold", "scenario": scenario, "method": method,
        "rung": rung, "seconds": seconds, "runs": 3, "certified": "yes", "comparable": True, "gap": found,
    }  # fmt: skip


def test_the_mean_leaves_out_what_needed_nothing_for_every_method() -> None:
    rows = [
        row("1", "ipopt", "interior", 2.0), row("1", "plain_pyomo", "plain_pyomo", 20.0, 1e-3),
        row("2", "ipopt", "go_ahead", 0.01), row("2", "plain_pyomo", "plain_pyomo", 99.0),
        row("3", "ipopt", "interior", 4.0), row("3", "plain_pyomo", "plain_pyomo", 40.0, -2e-3),
    ]  # fmt: skip
    found = {r["method"]: r for r in _means(rows, "c", "l2")}
    assert found["ipopt"]["seconds"] == 3.0
    assert found["plain_pyomo"]["seconds"] == 30.0
    assert found["plain_pyomo"]["gap"] == 2e-3
    assert found["ipopt"]["scenario"] == "mean of 1 3"


def test_benchmarks_and_cases_are_found_by_name() -> None:
    assert "dms" in bench.names()
    with pytest.raises(InputError, match="unknown benchmark 'dns'; known: day, dms"):
        bench.load("dns")
    with pytest.raises(InputError, match="unknown case 'case7'"):
        bench.chosen(("case7",), dms_cases.names(), "case")
    assert bench.chosen((), ["a", "b"], "case") == ["a", "b"]


def test_a_missing_circuit_says_where_it_was_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ANOCA_TEST_FEEDERS", str(tmp_path))
    with pytest.raises(MissingCircuitError, match=f"no circuit 123Bus.* in {tmp_path}"):
        dms_cases.cases("ieee123")


def test_prosumers_of_the_scaling_feeders_grow_with_the_nodes() -> None:
    for n in (300, 600):
        found = synthetic_case(n)
        nodes = found.feeder.n_nodes
        assert nodes == pytest.approx(n, rel=0.15)
        assert len(found.feeder[Connections]) == pytest.approx(0.3 * nodes, rel=0.01)
    again = synthetic_case(600)
    assert np.array_equal(again.p_export_kw, found.p_export_kw)


def test_tables_are_kept_and_the_ratio_says_to_what(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        [{"case": "c", "scenario": "", "ratio_to": "ipopt", "ratio": 0.5, "peak_mb": np.nan}]
    )
    keeper = Keeper(tmp_path, "dms")
    keeper.keep(frame)
    keeper.keep(pd.concat([frame, frame]))
    assert len(pd.read_parquet(keeper.folder / "rows.parquet")) == 2
    assert {p.name for p in keeper.folder.iterdir()} == {"rows.parquet", "rows.csv", "versions.csv"}
    assert list(readable(frame)) == ["case", "ratio to ipopt"]


def test_seeded_cases_are_drawn_from_their_seed_alone_and_are_hard(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("ANOCA_TEST_FEEDERS", str(tmp_path))  # no public circuit among them
    first, again = seeded_case(7), seeded_case(7)
    assert np.array_equal(first.p_export_kw, again.p_export_kw)
    assert first.limits == again.limits
    assert np.array_equal(first.feeder[Lines].i_max_a, again.feeder[Lines].i_max_a, equal_nan=True)
    traits = pd.DataFrame([seeded_case(k).traits for k in range(40)])
    assert traits["meshed"].mean() >= 0.2
    assert traits["parts"].mean() >= 0.3
    assert traits["kind"].eq("hard").mean() >= 0.6
    assert traits["kind"].eq("broken, strict").mean() >= 0.05
    assert traits["n"].between(20, 1200).all()


def test_a_feasible_seeded_case_keeps_its_limits_at_zero_export() -> None:
    for seed in range(3):
        case = seeded_case(seed, feasible=True)
        problem = case.problem("l1")
        request = case.request(problem)
        most = request.units.unit_export_kw(request.p_export_kw)
        assert held(problem, request, most).within(0.0, 0.0)


def test_what_is_in_the_file_is_not_done_again(tmp_path: Path) -> None:
    resumable = module("benchmarks/resumable.py")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"key": "-1", "rows": [{"x": 7}]}\n')
    found = resumable.run_all(["-1", "-2", "-3"], absolute, rows, jobs=1)
    assert found == [{"x": 7}, {"x": 2}, {"x": 3}]
    assert len(rows.read_text().splitlines()) == 3
    assert resumable.run_all(["-3"], absolute, rows, jobs=1) == [{"x": 3}]


def absolute(key: str) -> list[dict[str, int]]:
    return [{"x": abs(int(key))}]


def module(path: str) -> Any:
    """A script of the project's, by its path from the root."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, Path(__file__).parents[3] / path)
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found
