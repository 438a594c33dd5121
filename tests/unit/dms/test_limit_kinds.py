"""Every kind of limit: its rows against the Pyomo text, its value in states done by hand, its exceptions."""

from dataclasses import replace
from math import sqrt

import numpy as np
import pytest

from dms import Limits, LimitValues, Network, Status, UncertifiedError, compile, reference, solve
from dms.certificate import State, measure, run
from dms.limits import WIDEN, Family
from dms.regimes import Regimes
from feeders import ABSENT, Connections, Draft, Feeder, Lines, Sources, library
from feeders.library.parts import padded

EVERYTHING = Limits(
    band="both",
    band_across="both",
    v_rise_pu=0.02,
    unbalance=True,
    unbalance_max=0.015,
    negative_sequence_max_pu=0.01,
    line_scale=0.9,
    transformer_scale=1.2,
    i_max_default_a=90.0,
    reverse_power_max_kw=50.0,
)
NEW = {"v_ll_band", "unbalance", "negative_sequence", "reverse_power"}


@pytest.mark.parametrize("name", ["zoo", "zoo_backwards", "synthetic"])
def test_coefficients_agree_with_the_text(name: str, request: pytest.FixtureRequest) -> None:
    made = name == "synthetic"
    feeder = library.synthetic(14, 1, prosumers=0.5) if made else request.getfixturevalue(name)
    ours = compile(feeder, limits=EVERYTHING).program
    text = reference.to_program(reference.build_model(feeder, limits=EVERYTHING))
    assert {*NEW, "positive_square_rows", "unbalance_square_rows"} <= set(ours.rows)
    assert (ours.n, ours.m) == (text.n, text.m)
    worst, where = reference.largest_difference(ours, text)
    assert worst <= 1e-12, where


def test_rows_hold_what_is_measured(zoo: Feeder) -> None:
    """The programme's power flow against the independent one, every kind, at a state that is not balanced."""
    problem = compile(zoo, limits=EVERYTHING)
    request = problem.request(np.array([40.0, 5.0, 60.0, 10.0, 20.0, 30.0, 15.0]))
    flow = run(problem.network, request)
    point = problem.power_flow.solve(problem.at(request, regimes=Regimes(flow.v)))
    state = measure(problem.network, flow, problem.limits_at(request))
    rows = problem.program.constraints(point.x)
    assert point.converged
    assert len(state.values.families) == 7
    for family, found in zip(state.values.families, state.found, strict=True):
        here = rows[problem.program.rows[family.rows].span]
        np.testing.assert_allclose(here, family.as_rows(found), rtol=1e-7, atol=1e-9, err_msg=family.rows)
        np.testing.assert_allclose(family.from_rows(here), found, rtol=1e-7, atol=1e-9, err_msg=family.rows)


# By hand --------------------------------------------------------------------------------------------

V = 240.0
A = complex(-0.5, sqrt(3) / 2)


def _bus(e_v: list[complex], z_ohm: complex = 0.1) -> Feeder:
    """An ideal source of given phase voltages, a line, and a bus `b` with a home on phase 1."""
    n = len(e_v)
    draft = Draft("one bus")
    for bus in ("a", "b"):
        draft.add_bus(bus, v_base_kv=V / 1e3)
    a, b = ([draft.node(bus, k + 1) for k in range(n)] for bus in "ab")
    blank = [ABSENT] * (3 - n)
    e = [*e_v, *[0.0] * (3 - n)]
    draft.add(Sources, name="source", node=[*a, *blank], z_ohm=np.zeros((3, 3)), e_v=e)
    ends = {"from_node": [*a, *blank, ABSENT], "to_node": [*b, *blank, ABSENT]}
    line = {"z_ohm": padded(z_ohm * np.eye(n)), "c_nf": np.zeros((4, 4))}
    rating = [100.0] * n + [np.nan] * (4 - n)
    draft.add(Lines, name="cable", **ends, **line, i_max_a=rating)
    draft.add(Connections, prosumer="home", pair=[b[0], 0])
    return draft.finish()


def _state(feeder: Feeder, limits: Limits, kw: float = 0.0) -> State:
    problem = compile(feeder, limits=limits)
    request = problem.request(np.array([kw]))
    return measure(problem.network, run(problem.network, request), problem.limits_at(request))


def _found(state: State, rows: str) -> list[float]:
    at = [f.rows for f in state.values.families].index(rows)
    return state.found[at].tolist()


def _sequences(positive: complex, negative: complex) -> list[complex]:
    """Phase voltages of given sequence components, per unit."""
    turn = [1, A**2, A]
    return [V * (positive * t + negative * t.conjugate()) for t in map(complex, turn)]


def test_unbalance_and_negative_sequence_of_given_components() -> None:
    limits = Limits(unbalance=True, negative_sequence_max_pu=0.05)
    state = _state(_bus(_sequences(1.02, 0.03j)), limits)
    assert _found(state, "unbalance") == pytest.approx([0.03 / 1.02] * 2, rel=1e-12)
    assert _found(state, "negative_sequence") == pytest.approx([0.03] * 2, rel=1e-12)
    assert state.over[1] == pytest.approx([0.03 / 1.02 - 0.02] * 2, rel=1e-9)
    assert state.over[2] == pytest.approx([-0.02] * 2, rel=1e-9)
    assert state.values["unbalance"].label.tolist() == ["a", "b"]


def test_phases_that_turn_the_other_way_are_taken_in_their_order() -> None:
    """Phases 2 and 3 exchanged on paper: the network is as balanced as before."""
    one, two, three = _sequences(1.0, 0.01)
    for e_v in ([one, two, three], [one, three, two]):
        found = _state(_bus(e_v), Limits(unbalance=True))
        assert _found(found, "unbalance") == pytest.approx([0.01] * 2, rel=1e-9)


def test_three_conductors_without_three_phases_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no three-phase voltages at bus 'a'.*exempt the bus"):
        compile(_bus([V, V, V]), limits=Limits(unbalance=True))
    problem = compile(_bus([V, V, V]), limits=Limits(unbalance=True, buses={"a": None, "b": None}))
    assert len(problem.values["unbalance"]) == 0


def test_phase_to_phase_is_per_unit_of_the_nominal_line_to_line_voltage() -> None:
    limits = Limits(band_across="phase_to_phase")
    state = _state(_bus([V, V * 0.98 * A**2, V * 1.01 * A]), limits)
    pairs = {"1-2": abs(1 - 0.98 * A**2), "1-3": abs(1 - 1.01 * A), "2-3": abs(0.98 * A**2 - 1.01 * A)}
    wanted = {f"{bus}.{k}": size / sqrt(3) for bus in "ab" for k, size in pairs.items()}
    family = state.values["v_ll_band"]
    assert dict(zip(family.label, _found(state, "v_ll_band"), strict=True)) == pytest.approx(wanted)
    assert family.phase.tolist() == [*pairs] * 2
    assert len(state.v_pu) == 0


def test_halves_of_a_split_phase_stand_at_twice_the_base() -> None:
    state = _state(_bus([1.02 * V, -1.02 * V]), Limits(band_across="both"))
    assert _found(state, "v_ll_band") == pytest.approx([1.02] * 2)
    assert state.v_pu == pytest.approx([1.02] * 4)
    with pytest.raises(ValueError, match=r"a\.1 and a\.2 stand 0 degrees apart"):
        compile(_bus([V, V]), limits=Limits(band_across="phase_to_phase"))


def test_reverse_power_is_what_arrives_at_the_source() -> None:
    """40 A through 0.05 ohm from 242 V to 240 V: 9.68 kW leave the home, 9.6 kW come back."""
    limits = Limits(v_max_pu=1.2, reverse_power_max_kw=9.0)
    state = _state(_bus([V], 0.05), limits, kw=9.68)
    assert _found(state, "reverse_power") == pytest.approx([9.6], rel=1e-9)
    assert state.over[-1] == pytest.approx([0.6 / 1000], rel=1e-9)  # of 1 MW, as the limit is below it
    assert not state.within()


def test_reverse_power_binds_in_the_optimum() -> None:
    for most, kw in ((9.6, 9.68), (0.0, 0.0)):
        problem = compile(_bus([V], 0.05), limits=Limits(v_max_pu=1.2, reverse_power_max_kw=most))
        solution = solve(problem, problem.request(np.array([15.0]))).raise_for_status()
        assert solution.status is Status.CURTAILED
        assert solution.p_adjusted_kw == pytest.approx([kw], abs=1e-5)


def test_a_band_around_zero_export_moves_with_the_tick() -> None:
    """240 V at zero export, 2 % above allowed: 4.8 V over 0.05 ohm, 96 A; with a load, from lower down."""
    problem = compile(_bus([V], 0.05), limits=Limits(band="relative", v_rise_pu=0.02, current=False))
    request = problem.request(np.array([40.0]))
    assert problem.limits_at(request).v_max_pu == pytest.approx([1.02, 1.02])
    assert solve(problem, request).raise_for_status().p_adjusted_kw == pytest.approx([96 * 0.2448], rel=1e-6)
    drawn = problem.request(np.array([40.0]), p_import_kw=np.array([0.05 * 235 * 20]))
    lower = problem.limits_at(drawn)
    i = (V - sqrt(V**2 - 4 * 0.05 * 235e3)) / 0.1 if V**2 > 4 * 0.05 * 235e3 else 0.0
    assert lower.v_max_pu[0] == pytest.approx(1.02)
    assert lower.v_min_pu[1] == pytest.approx(1 - 0.05 * i / V - 0.03, rel=1e-9)


def test_a_band_without_its_base_state_is_never_kept() -> None:
    problem = compile(_bus([V], 0.05), limits=Limits(band="relative"))
    request = problem.request(np.zeros(1))
    flow = run(problem.network, request)
    assert not measure(problem.network, flow, problem.values).within()
    assert measure(problem.network, flow, problem.limits_at(request)).within(0.0, 0.0)
    with pytest.raises(ValueError, match=r"take DmsProblem\.limits_at"):
        problem.at(request, problem.values)
    hopeless = problem.request(np.ones(1), p_import_kw=np.array([1e6]))
    assert solve(problem, hopeless).status is Status.NO_OPERATING_POINT


# Exceptions -----------------------------------------------------------------------------------------


def test_buses_have_bands_of_their_own_or_none(zoo: Feeder) -> None:
    limits = Limits(buses={"far": (0.95, 1.02), "one": None}, band_up_to_kv=1.0)
    values = LimitValues.resolve(zoo, limits)
    ends = zip(values.v_min_pu, values.v_max_pu, strict=True)
    band = dict(zip(zoo.node_names[values.node], ends, strict=True))
    assert band["far.2"] == (0.95, 1.02)
    assert band["lv.2"] == (0.9, 1.05)
    assert "one.3" not in band
    moving = replace(limits, band="relative", v_rise_pu=0.01)
    around = LimitValues.resolve(zoo, moving)
    names = zoo.node_names[around.node]
    assert around["v_band"].unresolved.tolist() == [not n.startswith("far") for n in names]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"buses": {"fra": None}}, "no bus 'fra'; did you mean 'far'?"),
        ({"buses": {"zzz": None}}, "no bus 'zzz'; there are s, m"),
        ({"elements": {"line mian": 0.8}}, "no element 'line mian'; did you mean 'line main'?"),
        ({"elements": {"mian": None}}, "no element 'mian'; did you mean 'main'?"),
    ],
)
def test_unknown_names_are_refused_with_a_near_one(zoo: Feeder, given: dict, message: str) -> None:
    with pytest.raises(KeyError, match=message.replace("?", r"\?")):
        LimitValues.resolve(zoo, Limits(**given))


def test_factors_multiply_and_exceptions_leave_out(zoo: Feeder) -> None:
    plain = LimitValues.resolve(zoo, Limits())
    own = {"main": 0.5, "line high": None, "dy": 2.0}
    given = Limits(i_scale=0.9, line_scale=1.1, transformer_scale=0.8, elements=own)
    scaled = LimitValues.resolve(zoo, given)
    found = dict(zip(scaled.label, scaled.rating, strict=True))
    wanted = {}
    for label, rating, kind in zip(plain.label, plain.rating, plain.kind, strict=True):
        further = 0.8 * 2.0 if kind == "transformer" else 1.1
        if not label.startswith("line high "):
            wanted[label] = 0.9 * rating * further * (0.5 if label.startswith("line main ") else 1.0)
    assert found == pytest.approx(wanted)


def test_a_factor_of_an_element_without_a_rating_is_refused(zoo: Feeder) -> None:
    with pytest.raises(ValueError, match=r"element 'rod' has no rating to multiply by 0\.5"):
        LimitValues.resolve(zoo, Limits(elements={"rod": 0.5}))
    assert len(LimitValues.resolve(zoo, Limits(elements={"rod": None})).rating)
    assert len(LimitValues.resolve(zoo, Limits(elements={"rod": 0.5}, i_max_default_a=9.0)).rating)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"band": "abs"}, "band = 'abs' is not 'absolute', 'relative' or 'both'"),
        ({"band_across": "phases"}, "band_across = 'phases' is not"),
        ({"v_rise_pu": 0.02}, "v_rise_pu = 0.02 has no effect without band = 'relative' or 'both'"),
        ({"band": "relative", "v_max_pu": 1.1}, "v_max_pu = 1.1 has no effect without band = 'absolute'"),
        ({"band": "both", "v_fall_pu": 0.0}, "v_fall_pu = 0.0 must be positive"),
        ({"unbalance_max": 0.03}, "unbalance_max = 0.03 has no effect without unbalance = True"),
        ({"unbalance": True, "unbalance_max": 2.0}, "unbalance_max = 2.0 must lie between 0 and 1"),
        ({"negative_sequence_max_pu": 0.0}, "negative_sequence_max_pu = 0.0 must be positive"),
        ({"reverse_power_max_kw": np.inf}, "reverse_power_max_kw = inf must be finite"),
        ({"line_scale": 0.0}, "line_scale = 0.0 must be positive"),
        ({"buses": {"x": (1.0, 0.9)}}, "band of bus 'x', 1.0 to 0.9 pu is empty"),
        ({"v_max_pu": 230}, "voltage band 0.9 to 230 pu: give values per unit, such as 1.05"),
        ({"buses": {"x": (0.9, 10.5)}}, "band of bus 'x', 0.9 to 10.5 pu: give values per unit"),
        ({"band": "relative", "v_rise_pu": 3}, "v_rise_pu = 3: give a value per unit, such as 0.03"),
        ({"elements": {"x": -1.0}}, r"elements\['x'\] = -1.0 must be positive"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(given: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Limits(**given)


def test_description_names_every_kind() -> None:
    text = EVERYTHING.describe()
    for part in ("|v|, |v_ll| 0.9-1.05 pu and -0.03/+0.02 pu of zero export", "|V2|/|V1| up to 0.015"):
        assert part in text
    assert "lines x 0.9, transformers x 1.2" in text
    assert text.endswith("at most 50 kW back into the sources")


# Families -------------------------------------------------------------------------------------------


def _family(**given) -> Family:
    blank, n = np.array(["x", "y"], dtype=object), 2
    given = {"lo": np.full(n, -np.inf), "hi": np.full(n, 0.02), "scale": np.full(n, 0.02), **given}
    place = np.zeros((n, 1), dtype=int)
    return Family("rows", ("low", "high"), "", blank, blank, place, blank, np.ones(n), **given)


def test_limits_are_widened_to_what_is_found_and_no_further() -> None:
    wide = _family().relaxed(np.array([0.03, 0.01]))
    assert wide.hi == pytest.approx([0.03 * WIDEN, 0.02], abs=1e-15)
    export = _family(hi=np.array([-5.0, 0.0]), power=1, least=1e3).relaxed(np.array([-4.0, 3.0]))
    assert export.hi == pytest.approx([-4.0 + 4e-6, 3.0 * WIDEN], abs=1e-12)
    assert (export.over(np.array([-4.0, 3.0])) < 0).all()


def test_narrowing_never_closes_a_band() -> None:
    tight = _family().tightened(np.array([0.5, -1.0]))
    assert tight.hi == pytest.approx([0.01, 0.02], abs=2e-6)
    band = _family(lo=np.array([0.9, 0.9]), hi=np.array([1.1, 1.1])).tightened(np.array([0.05, 0.5]))
    assert band.lo == pytest.approx([0.95, 1.0], abs=2e-6)
    assert band.hi == pytest.approx([1.05, 1.0], abs=2e-6)
    rated = _family(hi=np.array([100.0, 100.0]), least=0.0).tightened(np.array([0.25, -0.5]))
    assert rated.hi == pytest.approx([80.0, 100.0])


def test_certificates_forgive_each_kind_its_tolerance() -> None:
    limits = Limits(unbalance=True, unbalance_max=0.03)
    problem = compile(_bus(_sequences(1.0, 0.03)), limits=limits)
    request = problem.request(np.zeros(1))
    flow = run(Network(problem.feeder), request)
    for beyond, kept in ((0.9e-5, True), (1.1e-5, False)):
        values = problem.values.replaced("unbalance", hi=np.full(2, 0.03 - beyond))
        assert measure(problem.network, flow, values).within() is kept
    for most, kept in ((-0.09, True), (-0.11, False), (0.0, True)):  # 1e-4 of 1 MW
        small = compile(_bus([V]), limits=Limits(reverse_power_max_kw=most))
        state = measure(small.network, run(small.network, small.request(np.zeros(1))), small.values)
        assert state.within() is kept


def test_strict_limits_name_what_breaks_them() -> None:
    limits = Limits(unbalance=True, preexisting="strict")
    problem = compile(_bus(_sequences(1.0, 0.03)), limits=limits)
    refused = solve(problem, problem.request(np.ones(1)))
    assert refused.status is Status.INFEASIBLE
    assert [(p.kind, p.element, p.unit) for p in refused.preexisting] == [("unbalance", n, "") for n in "ab"]
    with pytest.raises(UncertifiedError, match=r"out of balance.*unbalance of a at zero export"):
        refused.raise_for_status()
    relaxed = solve(compile(problem.feeder, limits=Limits(unbalance=True)), problem.request(np.ones(1)))
    assert relaxed.raise_for_status().certificate.safe == "relaxed"
    assert relaxed.widened["unbalance", "b"] == pytest.approx(0.03 * WIDEN, rel=1e-9)
