"""The Pyomo text states the same problem, coefficient by coefficient, and can be extended."""

from collections.abc import Callable
from functools import partial

import numpy as np
import pyomo.environ as pyo
import pytest

from dms import NORMS, Controls, Limits, Status, compile, reference, solve
from dms.norms import UNWEIGHTED
from dms.phasor import Products, Terms
from dms.program import Objective, Program
from feeders import Connections, Feeder, Inverters, Loads, library

SAME = 1e-12
LIMITS = Limits(v_min_pu=0.93, v_max_pu=1.04, band_up_to_kv=5.0, i_scale=0.9, i_max_default_a=70.0)
SYNTHETIC = [(12, 0), (14, 1), (16, 2), (18, 3), (20, 4)]


def _ieee4() -> Feeder:
    """Loads "0" and "1" become prosumers."""
    feeder = library.load("ieee4")
    loads = feeder[Loads]
    homes = Connections(prosumer=loads.name[:2], pair=loads.pair[:2])
    return feeder.with_tables(loads.take(np.array([2])), homes)


@pytest.fixture(params=["ieee4", "zoo", "zoo_backwards", *SYNTHETIC], ids=str)
def feeder(request: pytest.FixtureRequest) -> Feeder:
    if request.param == "ieee4":
        return _ieee4()
    if request.param in ("zoo", "zoo_backwards"):
        return request.getfixturevalue(request.param)
    n_buses, seed = request.param
    return library.synthetic(n_buses, seed, meshed=0.2, prosumers=0.5, delta_share=0.5)


@pytest.mark.parametrize("norm", NORMS)
def test_coefficients_agree(feeder: Feeder, norm: str) -> None:
    """Every row, variable, coefficient and bound, under the same names; both curtailment units, weighted."""
    for unit in ("prosumer", "connection"):
        names = compile(feeder, curtail_unit=unit).units.name
        weights = {} if norm in UNWEIGHTED else {name: 0.5 + k for k, name in enumerate(names)}
        given = {"norm": norm, "limits": LIMITS, "weights": weights, "curtail_unit": unit}
        ours = compile(feeder, **given).program
        text = reference.to_program(reference.build_model(feeder, **given))
        assert (ours.n, ours.m) == (text.n, text.m)
        assert {"v_band", "i_limit", "kcl_re", "p_prosumer"} <= set(text.rows)
        worst, where = reference.largest_difference(ours, text)
        assert worst <= SAME, where


MODES = ("constant", "unity", "power_factor", "volt_var", "free", "request")


@pytest.mark.parametrize("norm", NORMS)
def test_coefficients_agree_with_inverters_of_every_mode(norm: str) -> None:
    """Wye and delta, with Volt-Watt and without; a prosumer of three connections among them."""
    feeder = library.synthetic(16, 2, phases="mixed", prosumers=0.8, delta_share=0.5)
    t = feeder[Connections]
    names = t.prosumer.copy()
    names[[3, 7, 9]] = "three phases"
    t = t.replace(prosumer=names, share=np.where(names == "three phases", [1 / 3], 1.0))
    modes = {str(name): MODES[k % len(MODES)] for k, name in enumerate(dict.fromkeys(names))}
    modes["three phases"] = "volt_var"
    rules = Inverters("unity", modes, power_factor=-0.93, volt_watt=((1.05, 1.0), (1.08, 0.1)))
    feeder = rules.on(feeder.with_tables(t))
    given = {"norm": norm, "limits": LIMITS}
    ours = compile(feeder, **given).program
    text = reference.to_program(reference.build_model(feeder, **given))
    blocks = {"volt_var", "volt_watt", "s_prosumer", "export_prosumer", "piece_prosumer", "square_prosumer"}
    assert blocks <= set(text.rows)
    assert "q_free" in text.variables
    worst, where = reference.largest_difference(ours, text)
    assert worst <= SAME, where


CONTROLS = Controls(taps=("dy", "dd"), winding={"dd": 0}, capacitors=("bank", "unit"), steps_per_tick=3)


@pytest.mark.parametrize("norm", NORMS)
def test_coefficients_agree_with_free_taps_and_steps(controllable: Feeder, norm: str) -> None:
    """Taps of either winding, wye and delta, with core losses; capacitors in wye and delta."""
    given = {"norm": norm, "limits": LIMITS, "controls": CONTROLS}
    ours = compile(controllable, **given).program
    text = reference.to_program(reference.build_model(controllable, **given))
    assert {"ratio_tap_1_re", "turns_tap_0_im", "steps_capacitor_re", "moved_up"} <= set(text.rows)
    worst, where = reference.largest_difference(ours, text)
    assert worst <= SAME, where


def test_a_difference_anywhere_is_found(zoo: Feeder) -> None:
    """The comparison is not blind: each kind of change shows, and is named."""
    ours = compile(zoo, norm="l2").program
    assert reference.largest_difference(ours, ours)[0] == 0.0
    for change, name in (
        (lambda p: p["linear"].coef, "linear"),
        (lambda p: p["products"].coef, "products"),
        (lambda p: p["objectives"][0].products.coef, "cost"),
    ):
        parts = _unfrozen(ours)
        change(parts)[0] *= 1 + 1e-9
        worst, where = reference.largest_difference(ours, _rebuilt(ours, parts))
        assert worst == pytest.approx(1e-9, rel=1e-3), name
        assert len(where) == (2 if name == "linear" else 3)
    numbers = ours.numbers.copy()
    numbers.row_hi[0] += 1e-6
    assert reference.largest_difference(ours, _rebuilt(ours, {"numbers": numbers}))[0] > 1e-7


def _unfrozen(program: Program) -> dict:
    found = {}
    for name in ("linear", "products"):
        part = getattr(program, name)
        found[name] = type(part)(*(a.copy() for a in vars(part).values()))
    cost = program.objectives[0]
    squares = Products(*(a.copy() for a in vars(cost.products).values()))
    return {**found, "objectives": (Objective(cost.linear.copy(), squares),)}


def _rebuilt(program: Program, parts: dict) -> Program:
    names = ("n", "m", "objectives", "linear", "products", "powers", "variables", "rows", "numbers")
    return Program(**{**{name: getattr(program, name) for name in names}, **parts})


@pytest.mark.parametrize("norm", NORMS)
def test_solving_the_text_gives_the_same_optimum(zoo: Feeder, norm: str) -> None:
    limits = Limits(v_max_pu=1.04, i_scale=0.8)
    ours, text = (make(zoo, norm=norm, limits=limits) for make in (compile, reference.compile))
    a, b = (solve(p, p.request(np.full(7, 60.0))).raise_for_status() for p in (ours, text))
    assert a.status is b.status is Status.CURTAILED
    assert text.added == ()
    request = ours.request(np.full(7, 60.0))
    cost = partial(ours.objective, request=request)
    assert cost(b.unit_curtail_kw) == pytest.approx(cost(a.unit_curtail_kw), rel=1e-6)
    if norm != "linf":  # of which the total is not unique
        assert b.p_adjusted_kw == pytest.approx(a.p_adjusted_kw, abs=1e-3)


# Extensions -----------------------------------------------------------------------------------------

REQUEST_KW = np.full(7, 60.0)


def _extended(zoo: Feeder, extend: Callable, norm: str = "l2", **limits):
    problem = reference.compile(zoo, norm=norm, limits=Limits(**{"v_max_pu": 1.04, **limits}), extend=extend)
    return problem, solve(problem, problem.request(REQUEST_KW))


def _total_floor(kw: float) -> Callable:
    def extend(model: pyo.ConcreteModel) -> None:
        model.floor = pyo.Constraint(expr=sum(model.p_curtail.values()) >= kw / 1e3)

    return extend


@pytest.mark.parametrize("limits", [{"v_max_pu": 1.04}, {"v_max_pu": 1.5, "current": False}])
def test_a_floor_on_the_total_is_obeyed(zoo: Feeder, limits: dict) -> None:
    """Whether or not the network itself asks for curtailment."""
    plain = compile(zoo, limits=Limits(**limits))
    free = solve(plain, plain.request(REQUEST_KW)).unit_curtail_kw.sum()
    assert (free == 0.0) == ("current" in limits)
    problem, solution = _extended(zoo, _total_floor(free + 25.0), **limits)
    assert problem.added == ("floor",)
    assert (solution.status, solution.certificate.ok) == (Status.CURTAILED, True)
    assert solution.unit_curtail_kw.sum() == pytest.approx(free + 25.0, rel=1e-6)


def test_equal_curtailment_of_two_homes_is_obeyed(zoo: Feeder) -> None:
    def extend(model: pyo.ConcreteModel) -> None:
        model.alike = pyo.Constraint(expr=model.p_curtail["wye"] == model.p_curtail["to earth"])

    plain = compile(zoo, limits=Limits(v_max_pu=1.04))
    free = solve(plain, plain.request(REQUEST_KW))
    names = plain.units.name.tolist()
    k, j = names.index("wye"), names.index("to earth")
    assert abs(free.unit_curtail_kw[k] - free.unit_curtail_kw[j]) > 1.0
    _, solution = _extended(zoo, extend)
    assert solution.status is Status.CURTAILED
    assert solution.unit_curtail_kw[k] == pytest.approx(solution.unit_curtail_kw[j], abs=1e-4)
    assert (solution.unit_curtail_kw**2).sum() > (free.unit_curtail_kw**2).sum()


def test_a_quadratic_constraint_with_a_variable_of_its_own_is_obeyed(zoo: Feeder) -> None:
    """|v| at a node kept below a variable that is itself bounded."""

    def extend(model: pyo.ConcreteModel) -> None:
        model.ceiling = pyo.Var(bounds=(0, 1.02**2), initialize=1.0)
        v = model.v_re["two.2"] ** 2 + model.v_im["two.2"] ** 2
        model.below = pyo.Constraint(expr=v <= model.ceiling)

    problem, solution = _extended(zoo, extend)
    assert set(problem.added) == {"ceiling", "below"}
    assert solution.status is Status.CURTAILED
    at = zoo.node("two.2")
    v_pu = abs(solution.state.flow.v[at]) / zoo.v_base_v[at]
    assert v_pu == pytest.approx(1.02, abs=1e-6)


@pytest.mark.parametrize(
    ("extend", "message"),
    [
        (
            lambda m: m.add_component("wavy", pyo.Constraint(expr=pyo.sin(m.p_curtail["wye"]) <= 1)),
            "wavy is not",
        ),
        (
            lambda m: m.add_component("cubic", pyo.Constraint(expr=m.p_curtail["wye"] ** 3 <= 1)),
            "cubic is not",
        ),
        (lambda m: m.add_component("choice", pyo.Var(domain=pyo.Binary)), "choice is not continuous"),
    ],
)
def test_an_addition_of_another_form_is_refused_by_name(zoo: Feeder, extend: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        reference.compile(zoo, extend=extend)


def test_refusals_are_those_of_compile(street, three_winding: Feeder) -> None:
    with pytest.raises(KeyError, match="unknown norm 'l3'"):
        reference.compile(street(), norm="l3")
    with pytest.raises(ValueError, match="weights must be positive"):
        reference.compile(street(), weights={"h1": -1.0})
    with pytest.raises(NotImplementedError, match="transformer unit: the Pyomo text covers two windings"):
        reference.build_model(three_winding)


def test_a_point_goes_back_into_the_model(zoo: Feeder) -> None:
    """The text's own expressions, evaluated by Pyomo, give the programme's rows."""
    model = reference.build_model(zoo, norm="l1")
    program = reference.to_program(model)
    x = np.random.default_rng(0).normal(size=program.n)
    reference.load_values(model, program, x)
    values = program.constraints(x)
    for name in ("kcl_re", "i_limit", "q_prosumer"):
        block = program.rows[name]
        bodies = [pyo.value(con.body) for con in model.find_component(name).values()]
        # Constants of a row stand on its right-hand side in a programme.
        np.testing.assert_allclose(values[block.span], bodies, atol=1e-9)
    assert pyo.value(model.cost) == pytest.approx(program.objective(x))


def test_coefficients_sum_repeated_terms(street) -> None:
    program = compile(street(homes=((1,),)), norm="l1").program
    twice = Terms(*(np.concatenate([a, a]) for a in vars(program.linear).values()))
    once, double = (reference.coefficients(p) for p in (program, _rebuilt(program, {"linear": twice})))
    key = ("p_prosumer[h1]", "p_curtail[h1]")
    assert (once[key], double[key]) == (1.0, 2.0)
    assert once["cost", "p_curtail[h1]"] == 1.0
