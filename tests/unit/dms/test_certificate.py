"""Every reason not to publish can be provoked, and nothing is refused inside the tolerances."""

from dataclasses import replace

import numpy as np
import pytest

from dms import (
    Certificate,
    DmsProblem,
    DmsRequest,
    Limits,
    LimitValues,
    UncertifiedError,
    certify,
    compile,
    solve,
)
from dms.certificate import measure, run
from dms.network import Flow

DIVERGES = "the power flow at the set-points does not converge"
RESIDUAL = "Kirchhoff residual above 1e-6 pu"
VOLTAGE = "a voltage is outside its band"
CURRENT = "a current or power is above its rating"
NEGATIVE = "a set-point is negative"
ABOVE = "a set-point is above its request"
DISAGREE = "voltages differ from the optimiser's by more than 1e-6 pu"


@pytest.fixture(scope="module")
def problem(street) -> DmsProblem:
    return compile(street(), limits=Limits(v_max_pu=1.05))


@pytest.fixture
def request_(problem: DmsProblem) -> DmsRequest:
    """10 kW each: 80 A of 100, 1.017 pu."""
    return problem.request(np.array([10.0, 10.0]))


def _certify(problem: DmsProblem, request: DmsRequest, adjusted_kw: list[float], **given) -> Certificate:
    values = given.pop("values", problem.values)
    return certify(problem.network, request, np.array(adjusted_kw), values, **given)


def _claim(
    problem: DmsProblem, request: DmsRequest, adjusted_kw: list[float], shift_pu: complex
) -> np.ndarray:
    flow = run(problem.network, request, request.p_export_kw - adjusted_kw)
    claimed = flow.v[1:] / problem.feeder.v_base_v[1:]
    claimed[-1] += shift_pu
    return claimed


def test_safe_set_points_are_certified(problem: DmsProblem, request_: DmsRequest) -> None:
    found = _certify(problem, request_, [10.0, 9.0])
    assert (found.safe, found.ok, found.reasons) == ("yes", True, ())
    assert found.worst_v_pu == pytest.approx(-0.0336, abs=5e-4)
    assert found.worst_i == pytest.approx(-0.224, abs=5e-3)
    assert (found.where_v, found.where_i) == ("b1.1", "line c1 phase 1 from")
    assert found.disagreement_pu == 0.0
    assert found.kcl_residual < 1e-12


def test_widened_limits_are_said(problem: DmsProblem, request_: DmsRequest) -> None:
    found = _certify(problem, request_, [10.0, 9.0], relaxed=True)
    assert (found.safe, found.ok) == ("relaxed", True)
    assert _certify(problem, request_, [-1.0, 9.0], relaxed=True).safe == "no"


def test_no_power_flow(problem: DmsProblem) -> None:
    request = problem.request(np.array([1e5, 1e5]), p_import_kw=np.array([2e6, 0.0]))
    found = _certify(problem, request, [1e5, 1e5])
    assert DIVERGES in found.reasons
    assert not found.ok


def test_a_flow_that_does_not_solve_kirchhoff(problem: DmsProblem, request_: DmsRequest) -> None:
    flow: Flow = run(problem.network, request_)
    for residual, reasons in ((0.9e-6, ()), (1.1e-6, (RESIDUAL,)), (np.nan, (RESIDUAL,))):
        state = measure(problem.network, replace(flow, residual=residual), problem.values)
        found = _certify(problem, request_, [10.0, 10.0], state=state)
        assert found.reasons == reasons


@pytest.mark.parametrize(("beyond", "reasons"), [(0.9e-5, ()), (1.1e-5, (VOLTAGE,))])
@pytest.mark.parametrize("side", ["lo", "hi"])
def test_voltage_outside_its_band(
    problem: DmsProblem, request_: DmsRequest, side: str, beyond: float, reasons: tuple[str, ...]
) -> None:
    v_pu = measure(problem.network, run(problem.network, request_), problem.values).v_pu
    limit = v_pu + beyond if side == "lo" else v_pu - beyond
    found = _certify(
        problem, request_, [10.0, 10.0], values=problem.values.replaced("v_band", **{side: limit})
    )
    assert found.reasons == reasons
    assert found.worst_v_pu == pytest.approx(beyond, rel=1e-6)


@pytest.mark.parametrize(("beyond", "reasons"), [(0.9e-4, ()), (1.1e-4, (CURRENT,))])
def test_current_above_its_rating(
    problem: DmsProblem, request_: DmsRequest, beyond: float, reasons: tuple[str, ...]
) -> None:
    i_a = measure(problem.network, run(problem.network, request_), problem.values).through
    values = problem.values.replaced("i_limit", hi=np.array([200.0, i_a[1] / (1 + beyond)]))
    found = _certify(problem, request_, [10.0, 10.0], values=values)
    assert found.reasons == reasons
    assert found.worst_i == pytest.approx(beyond, rel=1e-6)
    assert found.where_i == "line c1 phase 1 to"


def test_set_points_outside_zero_and_the_request(problem: DmsProblem, request_: DmsRequest) -> None:
    assert _certify(problem, request_, [10.0, -1e-9]).reasons == (NEGATIVE,)
    assert _certify(problem, request_, [10.0, 0.0]).reasons == ()
    assert _certify(problem, request_, [10.0, 10.0 + 0.9e-6]).reasons == ()
    assert _certify(problem, request_, [10.0, 10.0 + 1.1e-6]).reasons == (ABOVE,)


def test_voltages_the_optimiser_claims_are_compared(problem: DmsProblem, request_: DmsRequest) -> None:
    adjusted = [10.0, 9.0]
    for shift, reasons in ((0.9e-6, ()), (0.9e-6j, ()), (1.1e-6, (DISAGREE,)), (1.1e-6j, (DISAGREE,))):
        claimed = _claim(problem, request_, adjusted, shift)
        found = _certify(problem, request_, adjusted, claimed_v_pu=claimed)
        assert found.reasons == reasons
        assert found.disagreement_pu == pytest.approx(abs(shift), rel=1e-3)


def test_every_reason_that_holds_is_given(problem: DmsProblem) -> None:
    request = problem.request(np.array([70.0, 10.0]))
    found = _certify(problem, request, [70.0, 10.1], claimed_v_pu=np.ones(2, dtype=complex))
    assert set(found.reasons) == {VOLTAGE, CURRENT, ABOVE, DISAGREE}


def test_set_points_that_are_not_numbers_are_never_certified(
    problem: DmsProblem, request_: DmsRequest
) -> None:
    found = _certify(problem, request_, [10.0, np.nan])
    assert found.safe == "no"
    assert {DIVERGES, NEGATIVE, ABOVE} <= set(found.reasons)


def test_a_published_solution_fails_against_tighter_limits(problem: DmsProblem) -> None:
    """Limits tampered with after the fact are noticed."""
    request = problem.request(np.array([20.0, 20.0]))
    solution = solve(problem, request).raise_for_status()
    assert _certify(problem, request, solution.p_adjusted_kw).ok
    tight = compile(problem.feeder, limits=Limits(i_scale=0.999)).values
    assert _certify(problem, request, solution.p_adjusted_kw, values=tight).reasons == (CURRENT,)


def test_raise_for_status_names_status_and_reasons(problem: DmsProblem) -> None:
    solution = solve(problem, problem.request(np.array([20.0, 20.0])))
    assert solution.raise_for_status() is solution
    bad = replace(solution, certificate=replace(solution.certificate, safe="no", reasons=(VOLTAGE, CURRENT)))
    with pytest.raises(UncertifiedError, match=f"curtailed: {VOLTAGE}; {CURRENT}"):
        bad.raise_for_status()


def test_currents_are_those_of_the_terminals_asked_for(zoo, problem: DmsProblem) -> None:
    """In any order and of any kinds; a subset reads the same values."""
    whole = compile(zoo)
    flow = run(whole.network, whole.request(np.full(7, 30.0)))
    values = whole.values
    all_a = measure(whole.network, flow, values).through
    rated = values["i_limit"]
    pick = np.random.default_rng(0).permutation(len(rated))[:11]
    columns = ("label", "phase", "place", "of", "base", "lo", "hi", "scale")
    some = LimitValues((replace(rated, **{name: getattr(rated, name)[pick] for name in columns}),))
    state = measure(whole.network, flow, some)
    np.testing.assert_array_equal(state.through, all_a[pick])
    assert state.worst_over_v == -np.inf
    assert state.within()
