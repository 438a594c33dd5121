"""The programme without what is drawn: the same values, derivatives and multipliers as the whole one."""

from __future__ import annotations

import numpy as np
import pytest

from dms import Limits, compile
from dms.compact import Compact, CompactTick
from dms.local_families import FEWEST, families
from feeders import Connections, Inverters, Loads
from feeders.library import load

LAWS = ("constant_power", "constant_impedance", "constant_current", "cvr", "zip")


def _problem(norm: str = "linf", inverters: Inverters | None = None):
    """A synthetic feeder, delta and wye, with a law of every kind among its loads."""
    feeder = load("synthetic", n_buses=400, seed=3, prosumers=0.4)
    t = feeder[Loads]
    n = len(t)
    model = np.array([LAWS[k % len(LAWS)] for k in range(n)], dtype=object)
    v_nom = np.abs(np.where(t.pair[:, 1] > 0, np.sqrt(3.0), 1.0)) * feeder.v_base_v[t.pair[:, 0]] / 1e3
    shares = np.tile([0.3, 0.3, 0.4, 0.5, 0.2, 0.3], (n, 1))
    laws = t.replace(model=model, v_nom_kv=v_nom, cvr_p=np.full(n, 0.8), cvr_q=np.full(n, 3.0), zip=shares)
    feeder = feeder.with_tables(laws)
    feeder = feeder if inverters is None else inverters.on(feeder)
    return compile(feeder, norm=norm, limits=Limits(v_max_pu=1.045))


def _tick(problem, seed: int = 0) -> tuple[Compact, CompactTick, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    numbers = problem.at(problem.request(rng.uniform(50, 150, len(problem.feeder[Connections]))))
    compact = Compact(problem.program)
    tick = compact.at(problem.program.stage, numbers)
    x = problem.power_flow.solve(numbers).x[compact.columns]
    x = x + 1e-3 * rng.normal(size=tick.n) * (tick.numbers.x_lo < tick.numbers.x_hi)
    return compact, tick, x, rng.normal(size=tick.m)


def test_loads_and_prosumers_are_left_out() -> None:
    problem = _problem()
    program = problem.program
    compact = Compact(program)
    gone = np.setdiff1d(np.arange(program.n), compact.columns)
    names = {name for name, b in program.variables.items() if np.isin(b.index, gone).all()}
    assert {"i_load_re", "i_load_im", "w_load", "m_load", "y_p_load", "i_prosumer_re", "b_p_load"} <= names
    kept = {name for name, b in program.variables.items() if np.isin(b.index, compact.columns).all()}
    assert {"v_re", "v_im", "i_line_re", "p_curtail", "peak"} <= kept
    assert compact.n < 0.7 * program.n
    rows = np.setdiff1d(np.arange(program.m), compact.rows)
    assert program.rows["kcl_re"].start not in rows
    assert program.n - compact.n - (program.m - compact.m) == len(gone) - len(rows) > 0


def test_every_family_has_several_members_of_one_shape() -> None:
    found = families(_problem().program)
    assert len(found) >= 4
    for family in found:
        k, count = family.told.shape
        assert count >= FEWEST
        assert family.rows.shape == (k, count)
        assert sorted(slot for _, slots in family.blocks for slot in slots) == list(range(k))
        assert sorted(law for laws, _ in family.blocks for law in laws) == list(range(k))


def test_the_whole_point_keeps_every_law_that_was_left_out() -> None:
    problem = _problem()
    compact, tick, x, y = _tick(problem)
    point, _ = tick.whole(x, y)
    left_out = np.setdiff1d(np.arange(problem.program.m), compact.rows)
    values = problem.program.constraints(point)
    numbers = problem.at(problem.request(np.random.default_rng(0).uniform(50, 150, len(problem.units.name))))
    assert np.abs(values - numbers.row_lo)[left_out].max() < 1e-13
    assert tick.constraints(x) == pytest.approx(values[compact.rows], abs=1e-14)
    assert (point[compact.columns] == x).all()


def test_derivatives_are_those_of_the_values() -> None:
    """Central differences along random directions, of the rows and of the Lagrangian's gradient."""
    _, tick, x, y = _tick(_problem())
    rng, step = np.random.default_rng(7), 1e-6
    row, col = tick.jacobian_structure

    def slope(at: np.ndarray) -> np.ndarray:
        return tick.gradient(at) + np.bincount(col, weights=y[row] * tick.jacobian(at), minlength=tick.n)

    for _ in range(3):
        d = rng.normal(size=tick.n)
        ahead, back = x + step * d, x - step * d
        change = (tick.constraints(ahead) - tick.constraints(back)) / (2 * step)
        along = np.bincount(row, weights=tick.jacobian(x) * d[col], minlength=tick.m)
        assert along == pytest.approx(change, rel=1e-6, abs=1e-6)
        h_row, h_col = tick.hessian_structure
        h = tick.hessian(x, y, 1.0)
        bent = np.bincount(h_row, weights=h * d[h_col], minlength=tick.n)
        off = h_row != h_col
        bent += np.bincount(h_col[off], weights=(h * d[h_row])[off], minlength=tick.n)
        assert bent == pytest.approx((slope(ahead) - slope(back)) / (2 * step), rel=1e-5, abs=1e-5)


def test_multipliers_of_the_whole_are_stationary_in_what_is_drawn() -> None:
    problem = _problem()
    program = problem.program
    compact, tick, x, y = _tick(problem)
    point, rows = tick.whole(x, y)
    slope = program.gradient(point) + program.jacobian_matrix(point).T @ rows
    told = np.concatenate([family.told.ravel() for family in compact.families])
    assert np.abs(slope[told]).max() < 1e-10
    jacobian = tick.gradient(x) + np.bincount(
        tick.jacobian_structure[1], weights=y[tick.jacobian_structure[0]] * tick.jacobian(x), minlength=tick.n
    )
    assert slope[compact.columns] == pytest.approx(jacobian, abs=1e-10)


def test_a_collapsed_voltage_has_no_value_and_the_next_point_has() -> None:
    _, tick, x, _ = _tick(_problem())
    before = tick.constraints(x)
    assert np.isnan(tick.constraints(np.zeros(tick.n))).any()
    assert tick.constraints(x) == pytest.approx(before, abs=1e-14)


def test_a_drawn_variable_that_a_limit_bends_stays() -> None:
    """The reactive power of a Volt-VAR inverter stands in the circle of its rating."""
    problem = _problem(inverters=Inverters("volt_var"))
    compact = Compact(problem.program)
    for name in ("q_inverter", "p_inverter"):
        assert np.isin(problem.program.variables[name].index, compact.columns).all()
    assert not np.isin(problem.program.variables["i_load_re"].index, compact.columns).all()


@pytest.mark.parametrize("part", ["row_lo", "row_hi", "x_lo", "x_hi"])
def test_numbers_that_loosen_a_law_or_bound_what_is_drawn_are_refused(part: str) -> None:
    problem = _problem()
    numbers = problem.at(problem.request(np.full(len(problem.feeder[Connections]), 50.0)))
    compact, family = Compact(problem.program), families(problem.program)[0]
    compact.at(0, numbers)
    getattr(numbers, part)[(family.rows if part.startswith("row") else family.told)[0, 0]] = 7.0
    with pytest.raises(ValueError, match="what is drawn"):
        compact.at(0, numbers)
