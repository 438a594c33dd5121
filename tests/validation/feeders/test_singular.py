"""An ungrounded section without any shunt: the checks name it and the power flow refuses it."""

import numpy as np
import pytest

from dms.network import Network, UngroundedError
from feeders import Feeder, Lines, Loads, Switches, Windings, library
from feeders.checks import FeederError, require_ok


@pytest.fixture
def ieee342() -> Feeder:
    return library.load("ieee342")


def without_capacitance(feeder: Feeder) -> Feeder:
    return feeder.with_tables(feeder[Lines].replace(c_nf=feeder[Lines].c_nf * 0))


def without_float_shunts(feeder: Feeder) -> Feeder:
    return feeder.with_tables(feeder[Windings].replace(float_s=feeder[Windings].float_s * 0))


def test_no_shunt_at_all_is_refused(ieee342: Feeder) -> None:
    loose = without_float_shunts(without_capacitance(ieee342))
    with pytest.raises(
        FeederError, match=r"ungrounded at 13\.8 kV, 432 nodes in 2 section\(s\), without any"
    ):
        require_ok(loose)
    with pytest.raises(UngroundedError, match="no shunt to earth"):
        Network(loose)


@pytest.mark.parametrize("change", [without_capacitance, without_float_shunts])
def test_one_kind_of_shunt_is_enough(ieee342: Feeder, change: object) -> None:
    held = change(ieee342)  # type: ignore[operator]
    assert [issue.severity for issue in require_ok(held)] == ["warning"]
    loads = held[Loads]
    assert Network(held).solve(loads.pair, -(loads.p_kw + 1j * loads.q_kvar) * 1e3).converged


def test_low_voltage_hardly_depends_on_the_float_shunts(ieee342: Feeder) -> None:
    """They are the engine's, not the circuit's: 1.3e-7 per unit with and without."""
    loads = ieee342[Loads]
    s_va = -(loads.p_kw + 1j * loads.q_kvar) * 1e3
    with_them, without = (
        Network(f).solve(loads.pair, s_va).v / f.v_base_v for f in (ieee342, without_float_shunts(ieee342))
    )
    low = np.char.startswith(ieee342.node_names.astype(str), "S")
    assert np.abs(with_them - without)[low].max() < 3e-7


def test_an_unfed_part_with_loads_is_named_and_does_not_converge(ieee342: Feeder) -> None:
    switches = ieee342[Switches]
    dark = ieee342.with_tables(switches.replace(closed=np.zeros(len(switches), dtype=bool)))
    with pytest.raises(FeederError, match="no path to a source for"):
        require_ok(dark)
    loads = dark[Loads]
    assert not Network(dark).solve(loads.pair, -(loads.p_kw + 1j * loads.q_kvar) * 1e3).converged
