"""Derivatives of the programme for every device, norm and limit; its structure never changes."""

from dataclasses import fields

import numpy as np
import pytest
import scipy.sparse as sp

from dms import NORMS, Controls, Limits, compile, solve
from dms.devices import DEVICES
from dms.norms import UNWEIGHTED
from dms.phasor import Powers
from dms.program import Program, phi
from feeders import Feeder, Windings

TOLERANCE = 1e-7
STEP = 0.5  # central differences of a quadratic are exact at any step; a long one rounds least
SHORT = 1e-4  # for powers, which are no quadratics


@pytest.fixture(params=["zoo", "three_winding", "controllable"])
def feeder(request: pytest.FixtureRequest) -> Feeder:
    return request.getfixturevalue(request.param)


CASES = {norm: {} for norm in NORMS} | {"alpha_fair": {"alpha": 1.0}, "alpha_fair, 2": {"alpha": 2.0}}


def _program(feeder: Feeder, case: str) -> Program:
    norm = case.partition(",")[0]
    weights = {name: 1.0 + 0.5 * k for k, name in enumerate(dict.fromkeys(_prosumers(feeder)))}
    weights = {} if norm in UNWEIGHTED else weights
    limits, controls = Limits(i_max_default_a=50.0), Controls()
    if feeder[Windings].tap_steps[0] == 20:  # the controllable one
        controls = Controls(taps=("dy", "dd"), winding={"dd": 0}, capacitors=("bank", "unit"))
    elif len(feeder[Windings]) == 5:
        controls = Controls(taps=("unit",), winding={"unit": 2})
    given = {"limits": limits, "weights": weights, "controls": controls, **CASES[case]}
    return compile(feeder, norm=norm, **given).program


def _prosumers(feeder: Feeder) -> list[str]:
    from feeders import Connections

    return list(feeder[Connections].prosumer)


def _point(program: Program, seed: int = 0) -> np.ndarray:
    """Anywhere, but with the bases of powers where voltages are."""
    x = np.random.default_rng(seed).normal(size=program.n)
    x[program.powers.col] = 1 + 0.1 * x[program.powers.col]
    return x


def _difference(f, x: np.ndarray, powers: np.ndarray) -> np.ndarray:
    """Central differences of f, one row per variable; a short step where powers are."""
    step = np.full(len(x), STEP)
    step[powers] = SHORT
    return np.array([(f(x + h) - f(x - h)) / (2 * h.sum()) for h in np.diag(step)])


def _largest_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Relative to the largest entry of the same row where that is above one."""
    scale = np.maximum(np.abs(wanted).max(axis=-1, keepdims=True), 1.0)
    return float((np.abs(found - wanted) / scale).max())


def test_the_zoo_has_every_device_and_kind_of_limit(zoo: Feeder) -> None:
    """A device added without a place in the zoo is not covered by the tests below."""
    assert {table.__name__ for table in DEVICES if not len(zoo[table])} == set()
    values = compile(zoo).values
    assert set(values.kind) == {"line", "switch", "transformer"}
    assert len(values.node)


@pytest.mark.parametrize("norm", CASES)
def test_gradient(feeder: Feeder, norm: str) -> None:
    whole = _program(feeder, norm)
    x = _point(whole)
    for program in map(whole.for_stage, range(whole.stages)):
        wanted = _difference(lambda y, p=program: np.array([p.objective(y)]), x, program.powers.col)[:, 0]
        assert np.abs(wanted).max() > 0.1
        assert _largest_error(program.gradient(x), wanted) < TOLERANCE


@pytest.mark.parametrize("norm", CASES)
def test_jacobian(feeder: Feeder, norm: str) -> None:
    program = _program(feeder, norm)
    assert {"v_band", "i_limit"} <= set(program.rows)
    x = _point(program)
    wanted = _difference(program.constraints, x, program.powers.col).T
    assert _largest_error(program.jacobian_matrix(x).toarray(), wanted) < TOLERANCE


@pytest.mark.parametrize("norm", CASES)
def test_hessian_of_the_lagrangian(feeder: Feeder, norm: str) -> None:
    program = _program(feeder, norm)
    rng = np.random.default_rng(1)
    multipliers, sigma, x = rng.normal(size=program.m), 1.7, _point(program)
    multipliers[program.powers.row] = 0.0
    none = np.zeros(0, dtype=int)

    def slope(y: np.ndarray) -> np.ndarray:
        """Of the Lagrangian, by differences of the values alone."""
        values = _difference(lambda z: np.append(program.constraints(z), program.objective(z)), y, none)
        return values @ np.append(multipliers, sigma)

    # Second differences of a power round too much: the next test has those columns.
    some = np.setdiff1d(rng.permutation(program.n)[:25], program.powers.col)
    columns = [(slope(x + h) - slope(x - h)) / (2 * STEP) for h in STEP * np.eye(program.n)[some]]
    row, col = program.hessian_structure
    lower = sp.coo_matrix(
        (program.hessian(x, multipliers, sigma), (row, col)), shape=(program.n,) * 2
    ).toarray()
    full = lower + np.tril(lower, -1).T
    assert _largest_error(full[some], np.array(columns)) < TOLERANCE


@pytest.mark.parametrize("norm", CASES)
def test_hessian_is_the_slope_of_the_lagrangian_gradient(feeder: Feeder, norm: str) -> None:
    """Every column, from the gradients that the tests above have checked; the pattern serves all stages."""
    whole = _program(feeder, norm)
    rng = np.random.default_rng(2)
    multipliers, sigma, x = rng.normal(size=whole.m), 0.3, _point(whole)
    row, col = whole.hessian_structure
    for program in map(whole.for_stage, range(whole.stages)):
        wanted = _difference(
            lambda y, p=program: sigma * p.gradient(y) + p.jacobian_matrix(y).T @ multipliers,
            x,
            program.powers.col,
        )
        values = program.hessian(x, multipliers, sigma)
        lower = sp.coo_matrix((values, (row, col)), shape=(program.n,) * 2).toarray()
        assert _largest_error(lower + np.tril(lower, -1).T, wanted) < TOLERANCE


def test_logarithms_and_powers_have_the_derivatives_of_mathematics() -> None:
    x, e = np.array([0.5, 2.0, 3.0]), np.array([Powers.LOG, -1.0, 0.5])
    np.testing.assert_allclose(phi(x, e), [np.log(0.5), 0.5, np.sqrt(3)])
    np.testing.assert_allclose(phi(x, e, 1), [2.0, -0.25, 0.5 / np.sqrt(3)])
    np.testing.assert_allclose(phi(x, e, 2), [-4.0, 0.25, -0.25 * 3**-1.5])
    assert np.isfinite(phi(np.array([-1.0, 0.0, 0.0]), e)).all(), "a trial step may leave the bound"


def test_stages_share_what_is_compiled_and_a_programme_stands_at_its_last(zoo: Feeder) -> None:
    program = compile(zoo, norm="linf_l2").program
    first, last = program.for_stage(0), program.for_stage(1)
    assert (program.stage, first.stage, program.stages) == (1, 0, 2)
    assert last is program
    assert first._maps is program._maps
    peak, curtail = program.variables["peak"], program.variables["p_curtail"]
    x = np.zeros(program.n)
    x[peak.span], x[curtail.span] = 3.0, 2.0
    assert (first.objective(x), last.objective(x)) == (3.0, 4.0 * len(curtail.label))
    assert [o.hold for o in program.objectives] == [None, "peak"]
    with pytest.raises(IndexError, match="stage 2 of a programme with 2"):
        program.for_stage(2)


def test_patterns_are_lower_triangular_and_without_repeats(zoo: Feeder) -> None:
    program = _program(zoo, "l2")
    for row, col in (program.jacobian_structure, program.hessian_structure):
        assert len({*zip(row.tolist(), col.tolist(), strict=True)}) == len(row)
    row, col = program.hessian_structure
    assert (row >= col).all()


def test_names_cover_every_variable_and_row_once(zoo: Feeder) -> None:
    program = _program(zoo, "linf")
    assert len(set(program.variable_names())) == program.n
    assert len(set(program.row_names())) == program.m
    covered = np.concatenate([b.index for b in program.variables.values()])
    np.testing.assert_array_equal(covered, np.arange(program.n))


def _arrays(program: Program) -> dict[str, np.ndarray]:
    """Every array that makes up the structure."""
    found = {}
    parts = {part: getattr(program, part) for part in ("linear", "products", "powers", "numbers")}
    for k, objective in enumerate(program.objectives):
        parts[f"cost_{k}"], found[f"cost_{k}.linear"] = objective.products, objective.linear
    for name, part in parts.items():
        for f in fields(part):
            found[f"{name}.{f.name}"] = getattr(part, f.name)
    for name, value in program._maps.items():
        if sp.issparse(value):
            found |= {f"{name}.{part}": getattr(value, part) for part in ("data", "indices", "indptr")}
        else:
            found[name] = value
    return found


def test_structure_is_read_only(zoo: Feeder) -> None:
    program = _program(zoo, "linf")
    writeable = [name for name, array in _arrays(program).items() if array.flags.writeable]
    assert writeable == []
    with pytest.raises(ValueError, match="read-only"):
        program.numbers.row_lo[0] = 1.0


def test_ticks_share_the_structure_and_change_none_of_it(zoo: Feeder) -> None:
    problem = compile(zoo, norm="linf", limits=Limits(i_scale=0.5))
    before = {name: array.tobytes() for name, array in _arrays(problem.program).items()}
    one = problem.at(problem.request(np.full(7, 60.0)))
    two = problem.at(problem.request(np.full(7, 10.0)))
    assert not np.array_equal(one.row_lo, two.row_lo)
    one.row_lo[:], one.x0[:] = -1.0, 2.0
    assert solve(problem, problem.request(np.full(7, 60.0))).certificate.ok
    after = {name: array.tobytes() for name, array in _arrays(problem.program).items()}
    assert after == before
    np.testing.assert_array_equal(two.x0, problem.at(problem.request(np.full(7, 10.0))).x0)
