"""`compile` refuses what makes no sense; weights and curtailment units do what they say."""

import numpy as np
import pytest

import dms
from dms import NORMS, Limits, compile, solve
from feeders import Connections, Feeder, Lines, Loads, library
from feeders.checks import FeederError
from feeders.table import Array, Table, column


def test_an_unknown_norm_lists_the_known_ones(street) -> None:
    with pytest.raises(KeyError, match="unknown norm 'l3'; known: l1, l2, linf"):
        compile(street(), norm="l3")


def test_a_weight_for_nobody_is_refused(street) -> None:
    with pytest.raises(KeyError, match="unknown prosumer nobody"):
        compile(street(), weights={"h1": 2.0, "nobody": 1.0})


@pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
def test_a_weight_that_is_not_positive_is_refused(street, weight: float) -> None:
    with pytest.raises(ValueError, match="weights must be positive and finite: h2"):
        compile(street(), weights={"h2": weight})


def test_a_feeder_without_prosumers_is_refused() -> None:
    with pytest.raises(ValueError, match="feeder ieee4 has no connection"):
        compile(library.load("ieee4"))


def test_weights_stand_in_the_order_of_the_units(street) -> None:
    problem = compile(street(), weights={"h2": 3.0})
    assert problem.weights.tolist() == [1.0, 3.0]
    with pytest.raises(ValueError, match="read-only"):
        problem.weights[0] = 5.0


def test_weights_by_connection_use_the_connections_names(zoo: Feeder) -> None:
    problem = compile(zoo, curtail_unit="connection", weights={"three#2": 2.0})
    assert problem.units.name.tolist()[3] == "three#2"
    assert problem.weights.tolist() == [1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 1.0]
    with pytest.raises(KeyError, match="three#2"):
        compile(zoo, weights={"three#2": 2.0})


@pytest.mark.parametrize("norm", NORMS)
def test_numbers_of_a_tick(street, norm: str) -> None:
    """(2f)-(2i): powers per unit of 1 MVA, curtailment between zero and the request."""
    feeder = street(homes=((1,), (1, "pair", 0.75), (1, "pair", 0.25)), loads=((1, 2.0, 1.0),))
    problem = compile(feeder, norm=norm)
    numbers = problem.at(
        problem.request(
            np.array([5.0, 6.0, 4.0]), p_import_kw=np.array([1.0, 0, 0]), q_kvar=np.array([0, -2.0, 0])
        )
    )
    rows, x = problem.program.rows, problem.program.variables
    for name, wanted in {
        "p_prosumer": [0.004, 0.006, 0.004],
        "q_prosumer": [0.0, -0.002, 0.0],
        "p_load": [0.002],
        "q_load": [0.001],
    }.items():
        assert numbers.row_lo[rows[name].span] == pytest.approx(wanted)
        assert numbers.row_hi[rows[name].span] == pytest.approx(wanted)
    assert numbers.x_lo[x["p_curtail"].span].tolist() == [0.0, 0.0]
    assert numbers.x_hi[x["p_curtail"].span] == pytest.approx([0.005, 0.008])
    assert numbers.row_lo[rows["v_band"].span] == pytest.approx(0.9**2)
    assert numbers.row_hi[rows["v_band"].span] == pytest.approx(1.05**2)
    assert numbers.row_hi[rows["i_limit"].span] == pytest.approx(1.0)
    assert ("peak" in x) == norm.startswith("linf")


def test_widened_limits_change_the_numbers_and_not_the_rows(street) -> None:
    problem = compile(street())
    request = problem.request(np.zeros(2))
    wide = problem.values.relaxed((np.array([1.2, 0.8]), np.array([200.0, 50.0])))
    numbers = problem.at(request, wide)
    rows = problem.program.rows
    assert numbers.row_hi[rows["v_band"].span] == pytest.approx([1.2**2, 1.05**2], rel=1e-5)
    assert numbers.row_lo[rows["v_band"].span] == pytest.approx([0.9**2, 0.8**2], rel=1e-5)
    assert numbers.row_hi[rows["i_limit"].span] == pytest.approx([4.0, 1.0], rel=1e-5)


def test_curtailing_by_connection_beats_curtailing_by_prosumer(zoo: Feeder) -> None:
    """The connection's own curtailment may do whatever the shares do, and more."""
    limits = Limits(v_max_pu=1.03, current=False)
    totals = {}
    for unit in ("prosumer", "connection"):
        problem = compile(zoo, norm="l1", limits=limits, curtail_unit=unit)
        export_kw = np.where(zoo[Connections].prosumer == "three", 400.0 * zoo[Connections].share, 0.0)
        solution = solve(problem, problem.request(export_kw)).raise_for_status()
        totals[unit] = solution.total_curtailed_kw
        three = solution.p_curtail_kw[[1, 3, 5]]
        if unit == "prosumer":
            assert three / three.sum() == pytest.approx([0.5, 0.3, 0.2], abs=1e-6)
            assert len(solution.unit_curtail_kw) == 5
        else:
            assert len(solution.unit_curtail_kw) == 7
    assert 0 < totals["connection"] < 0.99 * totals["prosumer"]


def test_lazy_parts_are_made_once(street) -> None:
    problem = compile(street())
    assert problem.network is problem.network
    assert problem.power_flow is problem.power_flow
    assert problem.feeder[Connections].prosumer.tolist() == problem.units.name.tolist()


def test_a_feeder_with_errors_is_refused(zoo: Feeder) -> None:
    connections = zoo[Connections]
    halved = zoo.with_tables(connections.replace(share=connections.share / 2))
    with pytest.raises(FeederError, match="share"):
        dms.compile(halved)
    to_itself = np.array([[n, n] for n in connections.pair[:, 0]])
    with pytest.raises(FeederError):
        dms.compile(zoo.with_tables(connections.replace(pair=to_itself)))


@pytest.mark.parametrize("rating", [0.0, -20.0])
def test_a_rating_that_is_not_positive_is_refused(zoo: Feeder, rating: float) -> None:
    lines = zoo[Lines]
    with pytest.raises(ValueError, match=r"i_max_a|ratings must be positive"):
        dms.compile(zoo.with_tables(lines.replace(i_max_a=np.full_like(lines.i_max_a, rating))))


def test_weights_more_than_1e4_apart_are_refused(zoo: Feeder) -> None:
    name = str(zoo[Connections].prosumer[0])
    assert dms.compile(zoo, weights={name: 1e4}).weights.max() == 1e4
    with pytest.raises(ValueError, match="apart"):
        dms.compile(zoo, weights={name: 1.1e4})


class Windmills(Table):
    """A table that no device knows."""

    name: Array = column("-", dtype=str, check="unique")


def test_an_element_without_a_law_is_refused(zoo: Feeder) -> None:
    with pytest.raises(dms.UnsupportedError, match="table Windmills"):
        dms.compile(zoo.with_tables(Windmills(name=np.array(["w"], dtype=object))))


@pytest.mark.parametrize("norm", dms.NORMS)
def test_a_load_that_leaves_its_band_is_solved_with_the_law_it_then_has(zoo: Feeder, norm: str) -> None:
    """The same optimum as with loads that have that law to begin with."""
    plain = zoo.with_tables(zoo[Connections].take(zoo[Connections].prosumer == "wye"))
    loads = plain[Loads].take(np.arange(4))
    nominal = np.array([0.277, 0.277, 0.48, 4.16])
    limits = Limits(v_min_pu=0.5)

    def best(**law) -> dms.DmsSolution:
        feeder = plain.with_tables(loads.replace(v_nom_kv=nominal, **law))
        problem = compile(feeder, limits=limits, norm=norm)
        solution = solve(problem, problem.request(np.array([300.0]))).raise_for_status()
        assert solution.status == "curtailed"
        return solution

    inside = best(v_min_pu=np.full(4, 0.5), v_max_pu=np.full(4, 2.0))
    outside = best(v_min_pu=np.full(4, 0.5), v_max_pu=np.full(4, 0.6))
    free = best()
    models = np.array(["constant_impedance"] * 4, dtype=object)
    impedance = best(model=models, p_kw=loads.p_kw / 0.36, q_kvar=loads.q_kvar / 0.36)
    assert inside.p_adjusted_kw == pytest.approx(free.p_adjusted_kw, abs=1e-5)
    assert outside.p_adjusted_kw == pytest.approx(impedance.p_adjusted_kw, abs=1e-5)
    assert abs(outside.p_adjusted_kw - inside.p_adjusted_kw).max() > 1.0
