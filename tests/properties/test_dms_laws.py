"""Laws of the DMS on seeded random feeders: radial and meshed, mixed phases, limits that bind.

Every case is solved once per norm and shared by the tests. Limits are put between the state at zero
export and the state at the requests, so that zero export is safe and the requests are not.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pytest

import dms.interior
from dms import (
    NORMS,
    DmsProblem,
    DmsRequest,
    DmsSolution,
    Limits,
    LimitValues,
    Network,
    Status,
    certify,
    compile,
    solve,
)
from dms.certificate import State, measure, run
from dms.interior import InteriorPoint, InteriorStatus
from dms.program import Numbers, Program
from feeders import Connections, Feeder, Nodes, Transformers, WindingPairs, Windings, library

SEEDS = range(24)
ROUNDING = 1e-6
"""Relative: set-points are sent in whole milliwatts, Ipopt's tolerance is 1e-8."""
NEIGHBOURS = 5e-3
"""Relative: a norm's local optimum against another point's cost."""


ONE_STAGE = ("l1", "l2", "linf")
TWO_STAGES = ("linf_l1", "linf_l2")


def _free(**given: Any) -> Limits:
    return Limits(**{"v_min_pu": 0.5, "v_max_pu": 2.0, **given})


def cost(norm: str, c: np.ndarray) -> float:
    """Of curtailments in kW."""
    return float({"l1": c.sum(), "l2": (c**2).sum(), "linf": c.max()}[norm])


@dataclass
class Case:
    """A feeder, requests that break its limits, and the solutions of every norm.

    binding  which limits are put in the way: "current", "voltage" or "both"
    """

    feeder: Feeder
    binding: str
    export_kw: np.ndarray
    limits: Limits
    _solved: dict[str, DmsSolution] = field(default_factory=dict)

    @staticmethod
    def of(seed: int) -> "Case":
        rng = np.random.default_rng(seed)
        feeder = library.synthetic(
            int(rng.integers(10, 41)),
            seed,
            meshed=0.2 * (seed % 2),
            phases=("mixed", "mixed", "three")[seed % 3],
            delta_share=0.4,
            prosumers=0.6,
        )
        binding = ("current", "voltage", "both")[(seed // 2) % 3]
        network, values = Network(feeder), LimitValues.resolve(feeder, _free())
        export_kw = feeder[Connections].p_pv_max_kw * rng.uniform(0.7, 1.3, len(feeder[Connections]))
        rest = _state(network, values, feeder, 0 * export_kw)
        for _ in range(12):
            full = _state(network, values, feeder, export_kw)
            beyond = full.worst_over_i > rest.worst_over_i + 0.1, full.v_pu.max() > rest.v_pu.max() + 0.002
            if all(beyond):
                break
            export_kw = export_kw * 1.3
        assert all(beyond), "exports do not lift the feeder beyond zero export"
        part = rng.uniform(0.4, 0.7)
        i_scale = 1 + rest.worst_over_i + part * (full.worst_over_i - rest.worst_over_i)
        v_max_pu = rest.v_pu.max() + part * (full.v_pu.max() - rest.v_pu.max())
        given = {"i_scale": i_scale} if binding != "voltage" else {"current": False}
        given |= {"v_max_pu": v_max_pu} if binding != "current" else {}
        return Case(feeder, binding, export_kw, _free(**given))

    def problem(self, norm: str, **given: Any) -> DmsProblem:
        return compile(self.feeder, norm=norm, **{"limits": self.limits, **given})

    @cached_property
    def request(self) -> DmsRequest:
        return DmsRequest.of(self.feeder, self.export_kw)

    @cached_property
    def problems(self) -> dict[str, DmsProblem]:
        return {norm: self.problem(norm) for norm in NORMS}

    def solved(self, norm: str) -> DmsSolution:
        if norm not in self._solved:
            self._solved[norm] = solve(self.problems[norm], self.request)
        return self._solved[norm]


def _state(network: Network, values: LimitValues, feeder: Feeder, export_kw: np.ndarray) -> State:
    flow = run(network, DmsRequest.of(feeder, export_kw))
    assert flow.converged
    return measure(network, flow, values)


@pytest.fixture(scope="module", params=SEEDS)
def case(request: pytest.FixtureRequest) -> Case:
    return Case.of(request.param)


@pytest.mark.parametrize("norm", NORMS)
def test_set_points_are_optimal_certified_and_within_the_request(case: Case, norm: str) -> None:
    solution = case.solved(norm).raise_for_status()
    assert solution.status is Status.CURTAILED
    assert solution.certificate.safe == "yes"
    oes, aes = case.export_kw, solution.p_adjusted_kw
    assert (aes >= 0).all()
    assert (aes <= oes).all()
    assert solution.p_curtail_kw.tolist() == (oes - aes).tolist()
    again = certify(case.problems[norm].network, case.request, aes, case.problems[norm].values)
    assert (again.safe, again.worst_i, again.worst_v_pu) == (
        "yes",
        solution.certificate.worst_i,
        solution.certificate.worst_v_pu,
    )


@pytest.mark.parametrize("norm", ONE_STAGE)
def test_something_binds_and_nothing_is_broken(case: Case, norm: str) -> None:
    """Current to 1e-7 of rating, voltage to 1e-8 pu, by the independent power flow."""
    state = case.solved(norm).state
    assert state.worst_over_i <= 1e-7
    assert state.worst_over_v <= 1e-8
    assert max(state.worst_over_i, state.worst_over_v) > -1e-6


def test_a_zero_request_is_never_curtailed(case: Case) -> None:
    for norm in ONE_STAGE:
        problem = case.problems[norm]
        solution = solve(problem, case.request.without_export())
        assert (solution.status, solution.total_curtailed_kw) == (Status.GO_AHEAD, 0.0)


def test_what_is_granted_is_granted_again(case: Case) -> None:
    """Asking for just the AES is a go-ahead, or shaves rounding at most."""
    for norm in ONE_STAGE:
        granted = case.solved(norm).p_adjusted_kw
        again = solve(case.problems[norm], case.request.exporting(granted)).raise_for_status()
        assert again.total_curtailed_kw <= ROUNDING * case.export_kw.sum()


def test_total_is_least_under_l1_and_peak_under_linf(case: Case) -> None:
    found = {norm: case.solved(norm).p_curtail_kw for norm in ONE_STAGE}
    for norm in ONE_STAGE:
        assert found["l1"].sum() <= found[norm].sum() * (1 + NEIGHBOURS)
        assert found["linf"].max() <= found[norm].max() * (1 + NEIGHBOURS)
        assert (found["l2"] ** 2).sum() <= (found[norm] ** 2).sum() * (1 + NEIGHBOURS)


@pytest.mark.parametrize("norm", TWO_STAGES)
def test_a_second_stage_keeps_the_peak_and_does_better_in_its_own_terms(case: Case, norm: str) -> None:
    second = norm.removeprefix("linf_")
    found, least = case.solved(norm).p_curtail_kw, case.solved("linf").p_curtail_kw
    rounding = ROUNDING * case.export_kw.max()
    assert found.max() <= (1 + case.problems[norm].peak_tol) * least.max() + rounding
    assert cost(second, found) <= cost(second, least) * (1 + ROUNDING)
    assert cost(second, found) >= cost(second, case.solved(second).p_curtail_kw) * (1 - NEIGHBOURS)


def test_proportional_is_the_mildest_equal_percentage(case: Case) -> None:
    """The same share for all, and by power flows alone a millionth less is not safe."""
    solution, problem = case.solved("proportional"), case.problems["proportional"]
    share = solution.p_curtail_kw / case.export_kw
    assert np.ptp(share) <= 1e-5
    milder = (solution.lost_share - 1e-5) * case.export_kw
    state = measure(problem.network, run(problem.network, case.request, milder), problem.values)
    assert not state.within(0.0, 0.0)


def test_alpha_fairness_loses_the_least_utility(case: Case) -> None:
    problem = case.problems["alpha_fair"]
    lost = {norm: problem.objective(case.solved(norm).unit_curtail_kw, case.request) for norm in NORMS}
    assert lost["alpha_fair"] <= min(lost.values()) * (1 + NEIGHBOURS)


@pytest.mark.parametrize("norm", [*ONE_STAGE, "linf_l2", "alpha_fair"])
def test_multipliers_prove_a_stationary_point(case: Case, norm: str) -> None:
    """Gradient of the Lagrangian, signs and complementarity from the programme's own derivatives."""
    problem, point = case.problems[norm], case.solved(norm).point
    assert point is not None
    assert point.status is InteriorStatus.SOLVED
    gradient = problem.program.gradient(point.x)
    slope = gradient + problem.program.jacobian_matrix(point.x).T @ point.row_multipliers
    slope = slope - point.lower_multipliers + point.upper_multipliers
    assert np.abs(slope).max() <= 1e-5 * max(np.abs(gradient).max(), np.abs(point.row_multipliers).max())
    numbers, rows = point.numbers, problem.program.rows
    limits = np.concatenate([rows[name].index for name in ("v_band", "i_limit")])
    multiplier, value = point.row_multipliers[limits], problem.program.constraints(point.x)[limits]
    assert multiplier.max() > 0
    assert (multiplier >= -1e-6 * multiplier.max()).all()  # v_min is far away
    room = np.where(multiplier > 0, numbers.row_hi[limits] - value, 1.0)
    assert np.abs(multiplier * room).max() <= 1e-5 * multiplier.max()


@pytest.mark.parametrize("norm", ONE_STAGE)
def test_no_better_safe_point_lies_nearby(case: Case, norm: str) -> None:
    """Random steps of about 1 % that lower the cost by 0.1 %: the power flow finds each of them unsafe."""
    solution, problem = case.solved(norm), case.problems[norm]
    rng = np.random.default_rng(0)
    c, best = solution.p_curtail_kw, cost(norm, solution.p_curtail_kw)
    for _ in range(12):
        trial = np.clip(c + 0.01 * c.max() * rng.normal(size=len(c)), 0.0, case.export_kw)
        trial *= (0.999 * best / cost(norm, trial)) ** (0.5 if norm == "l2" else 1.0)
        trial = np.minimum(trial, case.export_kw)
        state = measure(problem.network, run(problem.network, case.request, trial), problem.values)
        assert not state.within(0.0, 0.0)


def test_no_norm_is_worse_than_the_uniform_rules(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    best = {norm: case.solved(norm).p_curtail_kw for norm in ONE_STAGE}
    monkeypatch.setattr(dms.interior, "solve", _no_answer)
    rule = solve(case.problems["l2"], case.request, method="ipopt").raise_for_status()
    assert rule.status is Status.FALLBACK
    assert rule.total_curtailed_kw < case.export_kw.sum()
    kept = rule.p_adjusted_kw
    by_rule = {
        "uniform_cap": np.minimum(case.export_kw, kept.max()),
        "uniform_share": case.export_kw * kept.sum() / case.export_kw.sum(),
    }
    assert kept == pytest.approx(by_rule[rule.method], abs=1e-5)  # every set-point is rounded down
    for norm in ONE_STAGE:
        assert cost(norm, best[norm]) <= cost(norm, rule.p_curtail_kw) * (1 + ROUNDING)


def _no_answer(program: Program, numbers: Numbers, **given: Any) -> InteriorPoint:
    """What an optimiser that failed returns."""
    n, m = np.full(program.n, np.nan), np.full(program.m, np.nan)
    return InteriorPoint(n, m, n, n, InteriorStatus.FAILED, np.nan, 0, 0.0)


@pytest.mark.parametrize("norm", ONE_STAGE)
def test_scaling_every_weight_changes_nothing(case: Case, norm: str) -> None:
    names = case.problems[norm].units.name
    draw = dict(zip(names, np.random.default_rng(1).uniform(0.5, 2.0, len(names)), strict=True))
    aes = []
    for factor in (1.0, 7.3):
        problem = case.problem(norm, weights={name: factor * w for name, w in draw.items()})
        aes.append(solve(problem, case.request).raise_for_status().p_adjusted_kw)
    w = np.array([draw[name] for name in names])
    one, many = (cost(norm, w * (case.export_kw - a)) for a in aes)
    assert many == pytest.approx(one, rel=ROUNDING)
    if norm == "l2":  # the others' optimum may be one of many
        assert np.abs(aes[0] - aes[1]).max() <= ROUNDING * case.export_kw.max() + 1e-3


def test_wider_limits_never_cost_more(case: Case) -> None:
    """v_max_pu up by 0.5 % of a per unit, ratings up by 5 %, each alone."""
    before = case.solved("l1").total_curtailed_kw
    limits = case.limits
    for given in (
        {"v_max_pu": limits.v_max_pu + 0.005, "i_scale": limits.i_scale},
        {"v_max_pu": limits.v_max_pu, "i_scale": 1.05 * limits.i_scale},
    ):
        wider = case.problem("l1", limits=_free(current=limits.current, **given))
        after = solve(wider, case.request).raise_for_status().total_curtailed_kw
        assert after <= before * (1 + NEIGHBOURS)
    free = case.problem("l1", limits=_free(current=False))
    assert solve(free, case.request).status is Status.GO_AHEAD


@pytest.mark.parametrize("seed", range(3))
def test_two_power_flows_agree(case: Case, seed: int) -> None:
    """The programme's Newton on its own rows against the independent one, at a random curtailment."""
    problem = case.problems["l2"]
    rng = np.random.default_rng(seed)
    n = len(case.export_kw)
    request = problem.request(case.export_kw, q_kvar=rng.uniform(-0.4, 0.4, n) * case.export_kw)
    curtail_kw = rng.uniform(0, 1, n) * case.export_kw
    point = problem.power_flow.solve(problem.at(request), curtail_kw / 1e3)
    flow = run(problem.network, request, curtail_kw)
    assert point.converged
    blocks = problem.program.variables
    v = point.x[blocks["v_re"].span] + 1j * point.x[blocks["v_im"].span]
    assert np.abs(v - flow.v[1:] / case.feeder.v_base_v[1:]).max() < 1e-9
    state = measure(problem.network, flow, problem.values)
    values, rows = problem.program.constraints(point.x), problem.program.rows
    squares = (state.through / problem.values.rating) ** 2
    np.testing.assert_allclose(values[rows["i_limit"].span], squares, atol=1e-8, rtol=1e-8)
    np.testing.assert_allclose(values[rows["v_band"].span], state.v_pu**2, atol=1e-9)


def test_a_warm_start_ends_where_a_cold_one_does(case: Case) -> None:
    problem = case.problems["l2"]
    other = solve(problem, case.request.exporting(0.97 * case.export_kw))
    warm = solve(problem, case.request, warm=other).raise_for_status()
    assert warm.status is Status.CURTAILED
    cold = case.solved("l2").p_curtail_kw
    assert (warm.p_curtail_kw**2).sum() == pytest.approx((cold**2).sum(), rel=1e-5)


# Limits broken before any export -------------------------------------------------------------------


def test_widened_limits_keep_zero_export_feasible(case: Case) -> None:
    """Every rating at 70 % of what zero export needs, and a band above some voltages."""
    values = LimitValues.resolve(case.feeder, _free())
    rest = _state(Network(case.feeder), values, case.feeder, 0 * case.export_kw)
    limits = Limits(v_min_pu=rest.v_pu.min() + 0.001, v_max_pu=2.0, i_scale=0.7 * (1 + rest.worst_over_i))
    problem = case.problem("l2", limits=limits)
    assert not measure(problem.network, rest.flow, problem.values).within()
    zero = solve(problem, case.request.without_export()).raise_for_status()
    assert (zero.status, zero.certificate.safe) == (Status.GO_AHEAD, "relaxed")
    assert zero.state.within(0.0, 0.0)
    numbers = problem.at(case.request, zero.values)
    most = numbers.x_hi[problem.program.variables["p_curtail"].span]
    values_at_rest = problem.program.constraints(problem.power_flow.solve(numbers, most).x)
    assert (values_at_rest >= numbers.row_lo - 1e-9).all()
    assert (values_at_rest <= numbers.row_hi + 1e-9).all()
    asked = solve(problem, case.request).raise_for_status()
    assert asked.preexisting == zero.preexisting
    assert len(asked.preexisting) > 0
    for found in asked.preexisting:
        if found.kind == "i_max":
            k = problem.values.label.tolist().index(found.element)
            assert asked.state.through[k] <= found.value * (1 + 1e-6 + 1e-4)
    strict = compile(case.feeder, limits=_strict(limits))
    as_they_are = solve(strict, case.request)
    assert as_they_are.preexisting == zero.preexisting
    if as_they_are.status is Status.INFEASIBLE:  # no export mends what zero export breaks
        assert as_they_are.p_adjusted_kw.max() == 0.0
        for share in np.linspace(0.0, 1.0, 21):
            state = _state(problem.network, problem.values, case.feeder, share * case.export_kw)
            assert not state.within(0.0, 0.0)
    else:
        assert as_they_are.certificate.safe == "yes"


def _strict(limits: Limits) -> Limits:
    return Limits(
        v_min_pu=limits.v_min_pu, v_max_pu=limits.v_max_pu, i_scale=limits.i_scale, preexisting="strict"
    )


# Relabelling ----------------------------------------------------------------------------------------


def relabelled(feeder: Feeder, seed: int) -> Feeder:
    """Buses, nodes and the rows of every table in another order."""
    rng = np.random.default_rng(seed)
    buses = rng.permutation(len(feeder.buses))
    node_order = np.append(0, 1 + rng.permutation(feeder.n_nodes))
    new_bus = np.append(np.argsort(buses), -1)  # -1, of earth, stays
    new_node = np.append(np.argsort(node_order), -1)
    nodes = Nodes(bus=new_bus[feeder.nodes.bus[node_order]], terminal=feeder.nodes.terminal[node_order])
    units = rng.permutation(len(feeder[Transformers]))
    tables = []
    for kind, table in feeder.tables.items():
        rows = units if kind is Transformers else rng.permutation(len(table))
        taken = table.take(rows)
        changes = {c.name: new_node[getattr(taken, c.name)] for c in table.columns() if c.check == "node"}
        if kind in (Windings, WindingPairs):
            changes["transformer"] = np.argsort(units)[taken.transformer]  # type: ignore[attr-defined]
        tables.append(taken.replace(**changes))
    return feeder.with_tables(*tables, buses=feeder.buses.take(buses), nodes=nodes)


@pytest.mark.parametrize("norm", ONE_STAGE)
def test_relabelling_permutes_the_results(case: Case, norm: str) -> None:
    other = relabelled(case.feeder, 5)
    assert sorted(other.node_names) == sorted(case.feeder.node_names)
    assert other.node_names.tolist() != case.feeder.node_names.tolist()
    asked = dict(zip(case.feeder[Connections].prosumer, case.export_kw, strict=True))
    names = other[Connections].prosumer
    problem = compile(other, norm=norm, limits=case.limits)
    solution = solve(problem, problem.request(np.array([asked[name] for name in names]))).raise_for_status()
    granted = dict(zip(names, solution.p_curtail_kw, strict=True))
    back = np.array([granted[name] for name in case.feeder[Connections].prosumer])
    ours = case.solved(norm).p_curtail_kw
    assert cost(norm, back) == pytest.approx(cost(norm, ours), rel=1e-5)
    if norm == "l2":
        assert np.abs(back - ours).max() <= 1e-5 * case.export_kw.max() + 1e-3
