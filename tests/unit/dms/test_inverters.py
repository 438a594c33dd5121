"""Modes of inverters in the optimisation, on streets small enough for a closed form."""

from math import sqrt

import numpy as np
import pytest
from scipy.optimize import brentq

from dms import NORMS, DmsSolution, Limits, Status, compile, reference, solve
from dms.certificate import certify, run
from dms.devices.inverter import piece_of
from dms.injection import inverters_at
from dms.regimes import Regimes
from feeders import Connections, Feeder, Inverters
from feeders.checks import FeederError
from feeders.elements.connections import curve_at
from feeders.inverters import CATEGORY_B_VOLT_VAR, CATEGORY_B_VOLT_WATT

V, Z, S_KVA = 240.0, 0.05 + 0.02j, 60.0
WIDE = Limits(v_min_pu=0.5, v_max_pu=1.5)


@pytest.fixture
def home(street) -> Feeder:
    """One home of 60 kVA at the end of a cable."""
    feeder = street(z_ohm=(Z,), i_max_a=(9e3,), homes=((1,),))
    return feeder.with_tables(feeder[Connections].replace(s_inverter_kva=np.array([S_KVA])))


def answer(feeder: Feeder, p_kw: float, limits: Limits = WIDE, norm: str = "l2", **given) -> DmsSolution:
    problem = compile(feeder, norm=norm, limits=limits)
    return solve(problem, problem.request(np.array([p_kw]), **given)).raise_for_status()


def v_end(p_kw: float, q_kvar: float) -> float:
    """|v| at the end of the cable: |v - z conj((p + jq) / v)| = E, v real."""

    def gap(v: float) -> float:
        return abs(v - Z * (p_kw - 1j * q_kvar) * 1e3 / v) - V

    return float(brentq(gap, 200.0, 400.0, xtol=1e-12))


def p_at(v: float, q_kvar: float) -> float:
    """Export that lifts the end of the cable to v."""
    return float(brentq(lambda p: v_end(p, q_kvar) - v, 0.0, 400.0, xtol=1e-12))


def test_pieces_are_the_curve() -> None:
    for points in (
        CATEGORY_B_VOLT_VAR,
        CATEGORY_B_VOLT_WATT,
        ((0.9, 0.3), (0.91, 0.3), (1.0, -0.2), (1.3, -1)),
    ):
        w = np.linspace(0.85, 1.4, 400)
        many = np.broadcast_to(np.array(points), (len(w), len(points), 2))
        a, b, left, right = piece_of(many, w)
        assert a + b * w == pytest.approx(curve_at(many, w), abs=1e-12)
        assert ((left <= w) & (w <= right)).all()
        corners = np.array(points)[:, 0]
        for side in (-1e-13, 1e-13):
            a, b, _, _ = piece_of(many[: len(corners)], corners + side)
            assert a + b * corners == pytest.approx(np.array(points)[:, 1], abs=1e-9)


@pytest.mark.parametrize("norm", NORMS)
def test_volt_var_below_a_voltage_limit(home: Feeder, norm: str) -> None:
    """At the limit 1.035 the curve gives -0.11 S; the export is what lifts the end to 1.035 with that Q."""
    solution = answer(Inverters("volt_var").on(home), 100.0, Limits(v_min_pu=0.9, v_max_pu=1.035), norm)
    assert solution.status is Status.CURTAILED
    assert solution.q_kvar[0] == pytest.approx(-0.11 * S_KVA, abs=1e-6 * S_KVA)
    assert solution.p_adjusted_kw[0] == pytest.approx(p_at(1.035 * V, -0.11 * S_KVA), rel=1e-7)


def test_volt_var_leaves_the_rating_its_share(home: Feeder) -> None:
    """No limit of the feeder: the circle holds the export, Q on the curve where the two meet."""
    solution = answer(Inverters("volt_var").on(home), 100.0)

    def gap(q: float) -> float:
        w = v_end(sqrt(S_KVA**2 - q**2), q) / V
        return float(S_KVA * curve_at(np.array([CATEGORY_B_VOLT_VAR]), np.array([w]))[0] - q)

    q = brentq(gap, -0.44 * S_KVA, 0.0, xtol=1e-12)
    assert solution.status is Status.CURTAILED
    assert solution.q_kvar[0] == pytest.approx(q, abs=1e-6 * S_KVA)
    assert solution.p_adjusted_kw[0] == pytest.approx(sqrt(S_KVA**2 - q**2), rel=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_volt_watt_never_asks_for_more_than_the_inverter_gives(home: Feeder, norm: str) -> None:
    feeder = Inverters("unity", volt_watt=((1.03, 1.0), (1.06, 0.2))).on(home)
    solution = answer(feeder, 100.0, norm=norm)

    def gap(p: float) -> float:
        return float(
            p - S_KVA * curve_at(np.array([[(1.03, 1.0), (1.06, 0.2)]]), np.array([v_end(p, 0) / V]))[0]
        )

    assert solution.status is Status.CURTAILED
    assert solution.p_adjusted_kw[0] == pytest.approx(brentq(gap, 0.0, S_KVA, xtol=1e-12), rel=1e-6)
    assert -1e-6 <= solution.certificate.worst_s <= 1e-6


@pytest.mark.parametrize(
    ("rule", "q_kvar", "p_kw", "q_found"),
    [
        (Inverters("constant"), -36.0, 48.0, -36.0),
        (Inverters("unity"), -3.0, 60.0, -3.0),
        (Inverters("power_factor", power_factor=-0.8), 0.0, 48.0, -36.0),
        (Inverters("power_factor", power_factor=0.8), 1.0, 48.0, 37.0),
        (Inverters("free"), 2.0, 60.0, 2.0),
    ],
)
def test_ratings_hold_the_export(
    home: Feeder, rule: Inverters, q_kvar: float, p_kw: float, q_found: float
) -> None:
    """100 kW of 60 kVA, with nothing else in the way; what the home draws itself does not count."""
    solution = answer(rule.on(home), 100.0, q_kvar=np.array([q_kvar]))
    assert solution.status is Status.CURTAILED
    assert solution.p_adjusted_kw[0] == pytest.approx(p_kw, rel=1e-6)
    assert solution.q_kvar[0] == pytest.approx(q_found, abs=2e-3)


def test_free_reactive_power_makes_room(home: Feeder) -> None:
    """As much as the voltage needs, on the circle where the export still is too large."""
    limits = Limits(v_min_pu=0.9, v_max_pu=1.02)
    some, most = (answer(Inverters("free").on(home), p, limits) for p in (30.0, 100.0))
    unity = answer(Inverters("unity").on(home), 30.0, limits)
    assert unity.total_curtailed_kw > 1.0
    assert some.total_curtailed_kw <= 1e-3
    assert v_end(some.p_adjusted_kw[0], some.q_set_kvar[0]) == pytest.approx(1.02 * V, rel=1e-7)
    p, q = most.p_adjusted_kw[0], most.q_set_kvar[0]
    assert q < 0
    assert np.hypot(p, q) == pytest.approx(S_KVA, rel=1e-6)
    assert v_end(p, q) == pytest.approx(1.02 * V, rel=1e-7)
    assert most.q_kvar[0] == q


def test_free_reactive_power_ends_what_zero_export_breaks(street) -> None:
    """A load takes the end of the cable below 0.95; the inverter lifts it, whatever `preexisting` says."""
    feeder = street(z_ohm=(0.05 + 0.1j,), i_max_a=(9e3,), homes=((1,),), loads=((1, 60.0, 20.0),))
    feeder = feeder.with_tables(feeder[Connections].replace(s_inverter_kva=np.array([S_KVA])))
    for preexisting in ("relax", "strict"):
        limits = Limits(v_min_pu=0.95, v_max_pu=1.05, preexisting=preexisting)
        held = compile(Inverters("unity").on(feeder), limits=limits)
        assert solve(held, held.request(np.array([5.0]))).certificate.safe != "yes" or preexisting == "strict"
        solution = answer(Inverters("free").on(feeder), 5.0, limits)
        assert (solution.certificate.safe, solution.status) == ("yes", Status.CURTAILED)
        assert solution.total_curtailed_kw <= 1e-3
        assert solution.q_set_kvar[0] > 0


def test_nothing_is_granted_beyond_the_rating(home: Feeder) -> None:
    """The certificate names a set-point that its inverter cannot give, though the feeder would bear it."""
    for rule in (
        Inverters("unity"),
        Inverters("volt_var"),
        Inverters("unity", volt_watt=CATEGORY_B_VOLT_WATT),
    ):
        problem = compile(rule.on(home), limits=WIDE)
        request = problem.request(np.array([100.0]))
        found = certify(problem.network, request, request.p_export_kw, problem.values)
        assert found.reasons == ("a set-point is above what its inverter can give",)
        assert found.worst_s == pytest.approx((100 - 60) / 60, abs=0.2)


def test_the_power_flow_caps_what_an_inverter_cannot_give(home: Feeder) -> None:
    problem = compile(Inverters("constant").on(home), limits=WIDE)
    request = problem.request(np.array([100.0]), q_kvar=np.array([-36.0]))
    flow = run(problem.network, request)
    assert abs(flow.v[2]) == pytest.approx(v_end(48.0, -36.0), rel=1e-9)
    assert flow.over_s == pytest.approx((100.0 - 48.0) / 60.0)
    made = inverters_at(problem.feeder[Connections], request, request.p_export_kw, flow)
    assert (made.p_kw[0], made.q_kvar[0]) == pytest.approx((48.0, -36.0))


def test_a_held_inverter_stays_between_the_corners_of_its_piece(home: Feeder) -> None:
    problem = compile(Inverters("volt_var").on(home), limits=WIDE)
    request, t = problem.request(np.array([100.0])), problem.feeder[Connections]
    row = problem.program.rows["piece_prosumer"].start
    for w, ends in ((0.9, (0.01, 0.92)), (1.0, (0.98, 1.02)), (1.03, (1.02, 1.08)), (1.2, (1.08, 10.0))):
        regimes = Regimes(np.array([0.0, V, w * V], dtype=complex))
        free, held = (problem.at(request, None, r) for r in (regimes, regimes.hold(t, np.array([True]))))
        assert (free.row_lo[row], free.row_hi[row]) == (0.01, 10.0)
        assert (held.row_lo[row], held.row_hi[row]) == ends
        elsewhere = Regimes(np.array([0.0, V, V], dtype=complex), held_w=np.array([w]))
        assert problem.laws(problem.at(request, None, elsewhere)) == problem.laws(held)


def test_the_pyomo_text_finds_the_same(home: Feeder) -> None:
    feeder = Inverters("volt_var", volt_watt=((1.03, 1.0), (1.06, 0.2))).on(home)
    ours = answer(feeder, 100.0)
    text = reference.compile(feeder, limits=WIDE)
    theirs = solve(text, text.request(np.array([100.0])))
    assert theirs.p_adjusted_kw == pytest.approx(ours.p_adjusted_kw, abs=1e-5)


# Refused ------------------------------------------------------------------------------------------


def test_a_constant_beyond_the_rating_is_refused(home: Feeder) -> None:
    problem = compile(Inverters("constant").on(home))
    with pytest.raises(ValueError, match=r"q_kvar: -61 at h1 is beyond its inverter's rating of 60 kVA"):
        solve(problem, problem.request(np.array([1.0]), q_kvar=np.array([-61.0])))


def test_a_mode_without_its_rating_is_refused(street) -> None:
    for mode in ("volt_var", "free"):
        with pytest.raises(FeederError, match=r"s_inverter_kva h1: .* need the inverter's rating"):
            compile(Inverters(mode).on(street(homes=((1,),))))


def test_a_wrong_rated_voltage_is_refused(home: Feeder) -> None:
    """A split phase taken for two of three."""
    t = home[Connections].replace(v_nom_kv=np.array([V / 1e3 * sqrt(3) / 2]))
    with pytest.raises(ValueError, match=r"inverter of h1: without load its voltage is 1.155 of the rated"):
        compile(Inverters("volt_var").on(home.with_tables(t)))
