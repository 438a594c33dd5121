"""`Builder`: per-unit scaling, Kirchhoff's law, monitored terminals, and what it refuses."""

import numpy as np
import pytest

from dms import Units
from dms.builder import Builder
from dms.controls import Controls, ControlValues
from dms.phasor import Terms
from dms.scaling import S_BASE_VA
from feeders import Connections, Feeder


@pytest.fixture
def builder(street) -> Builder:
    feeder = street(z_ohm=(0.1, 0.1), i_max_a=(50.0, 50.0), homes=((2,),))
    b = Builder(feeder, Units.of(feeder[Connections]), ControlValues.resolve(feeder, Controls()))
    b.add_voltages()
    return b


def _text(*names: str) -> np.ndarray:
    return np.array(names, dtype=object)


def test_injecting_after_kirchhoff_is_closed_is_refused(builder: Builder) -> None:
    i = builder.add_currents("i_a", _text("one"), np.array([1]))
    builder.inject(np.array([1]), i)
    builder.close_kcl()
    with pytest.raises(RuntimeError, match="Kirchhoff's law is closed"):
        builder.inject(np.array([1]), i)


def test_finishing_without_kirchhoff_is_refused(builder: Builder) -> None:
    builder.inject(np.array([1]), builder.add_currents("i_a", _text("one"), np.array([1])))
    with pytest.raises(RuntimeError, match=r"close_kcl\(\) before finish"):
        builder.finish()


def test_a_block_name_is_used_once(builder: Builder) -> None:
    builder.add_variables("x", _text("a"))
    with pytest.raises(ValueError, match="block 'x' already"):
        builder.add_variables("x", _text("b"))
    builder.add_rows("r", _text("a"))
    with pytest.raises(ValueError, match="block 'r' already"):
        builder.add_rows("r", _text("b"))


def test_unknown_blocks_and_terminals_are_key_errors(builder: Builder) -> None:
    with pytest.raises(KeyError, match="nothing"):
        builder.variables("nothing")
    with pytest.raises(KeyError, match="nothing"):
        builder.rows("nothing")
    i = builder.add_currents("i_a", _text("one"), np.array([1]))
    builder.monitor("line", np.array([0]), np.array([0]), i)
    with pytest.raises(KeyError, match="switch"):
        builder.monitored(_text("switch"), np.array([0]), np.array([0]))
    with pytest.raises(KeyError):
        builder.monitored(_text("line"), np.array([0]), np.array([4]))


def test_monitored_terminals_come_in_the_order_asked_for(builder: Builder) -> None:
    i = builder.add_currents("i_a", _text("one", "two"), np.array([1, 2]))
    builder.monitor("line", np.array([0, 1]), np.array([0, 0]), i)
    builder.monitor("line", np.array([0, 1]), np.array([4, 4]), -i)
    builder.monitor("switch", np.array([0, 1]), np.array([0, 0]), i.times(3.0))
    found = builder.monitored(_text("line", "switch", "line"), np.array([1, 0, 0]), np.array([4, 0, 0]))
    x = np.zeros(10)
    re = builder.variables("i_a_re")
    x[re.start : re.stop] = [1.0, 2.0]
    ampere = np.bincount(found.re.row, found.re.coef * x[found.re.col], 3)
    base = S_BASE_VA / 240.0
    np.testing.assert_allclose(ampere, [-2 * base, 3 * base, base])


def test_currents_sum_to_zero_at_every_node_and_earth_takes_any(builder: Builder) -> None:
    i = builder.add_currents("i_a", _text("a", "b", "c"), np.array([1, 2, 2]))
    builder.inject(np.array([1, 2, 0]), i)
    builder.inject(np.array([-1, 1, 1]), i)
    builder.close_kcl()
    program = builder.finish()
    x = np.zeros(program.n)
    x[program.variables["i_a_re"].span] = [1.0, 10.0, 100.0]
    x[program.variables["i_a_im"].span] = [2.0, 20.0, 200.0]
    values = program.constraints(x)
    # Node 1 takes a, then b and c from the second post; node 2 takes b; node 3 nothing.
    np.testing.assert_allclose(values[program.rows["kcl_re"].span], [111.0, 10.0, 0.0])
    np.testing.assert_allclose(values[program.rows["kcl_im"].span], [222.0, 20.0, 0.0])


def test_laws_and_powers_are_scaled_to_per_unit(builder: Builder) -> None:
    """v - z i = 0 over V_base, and u conj(i) over S_base."""
    node = np.array([1])
    i = builder.add_currents("i_a", _text("a"), node)
    builder.inject(node, i)
    v_base = builder.v_base[node]
    builder.add_law(
        "ohm", _text("a"), builder.voltage(node) - i.times(0.5), base=v_base, value=np.array([24j])
    )
    builder.add_power("a", _text("a"), builder.voltage(node), i)
    builder.close_kcl()
    program = builder.finish()
    x = np.zeros(program.n)
    for name, value in {"v_re": 1.02, "v_im": -0.1, "i_a_re": 0.3, "i_a_im": 0.2}.items():
        x[program.variables[name].start] = value
    values, rows = program.constraints(x), program.rows
    v, i_pu = 1.02 - 0.1j, 0.3 + 0.2j
    law = v - 0.5 * i_pu * (S_BASE_VA / 240.0) / 240.0
    assert values[rows["ohm_re"].start] == pytest.approx(law.real)
    assert values[rows["ohm_im"].start] == pytest.approx(law.imag)
    assert program.numbers.row_lo[rows["ohm_im"].start] == pytest.approx(0.1)
    assert values[rows["p_a"].start] == pytest.approx((v * i_pu.conjugate()).real)
    assert values[rows["q_a"].start] == pytest.approx((v * i_pu.conjugate()).imag)


def test_repeated_costs_and_terms_are_summed(builder: Builder) -> None:
    block = builder.add_variables("x", _text("a", "b"), lo=0.0, hi=[1.0, 2.0])
    builder.add_cost(block.index, np.array([1.0, 2.0]))
    builder.add_cost(block.index[:1], np.array([3.0]))
    builder.add_square_cost(block.index, np.array([1.0, 4.0]))
    twice = Terms(np.array([0, 0]), block.index[[0, 0]], np.array([2.0, 5.0]))
    builder.add_rows("r", _text("a"), linear=twice, lo=-1.0, hi=9.0)
    builder.close_kcl()
    program = builder.finish()
    x = np.zeros(program.n)
    x[block.span] = [2.0, 3.0]
    assert program.objective(x) == pytest.approx(2 + 2 * 3 + 3 * 2 + 4 + 4 * 9)
    assert program.constraints(x)[program.rows["r"].start] == pytest.approx(14.0)
    numbers = program.numbers
    assert numbers.x_hi[block.span].tolist() == [1.0, 2.0]
    row = program.rows["r"].start
    assert (numbers.row_lo[row], numbers.row_hi[row]) == (-1.0, 9.0)


def test_voltage_of_earth_and_of_absent_nodes_is_zero(street, builder: Builder) -> None:
    feeder: Feeder = builder.feeder
    assert feeder.n_nodes == 3
    v = builder.voltage(np.array([0, -1, 2]))
    assert sorted(set(v.row.tolist())) == [2]
    across = builder.across(np.array([[2, 1], [3, 0]]))
    x = np.concatenate([[1.0, 1.1, 1.3], np.zeros(3)])
    volt = np.bincount(across.re.row, across.re.coef * x[across.re.col], 2)
    np.testing.assert_allclose(volt, [0.1 * 240, 1.3 * 240])
