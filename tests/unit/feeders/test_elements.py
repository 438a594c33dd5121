"""Primitive laws by hand: what goes in must come out, and known closed forms."""

from math import sqrt

import numpy as np
import pytest

from feeders import Draft, Feeder, Lines, Sources, Switches, Transformers, WindingPairs, Windings, library
from feeders.elements import lines, primitives, sources, switches, transformers
from feeders.elements.transformers import delta_pairs, wye_pairs


def test_empty_tables_are_left_out() -> None:
    assert primitives(Draft("d").finish()) == []


def test_kinds_and_shapes(small: Feeder) -> None:
    found = {p.kind: (p.node.shape, p.branch.shape) for p in primitives(small)}
    assert found == {
        "source": ((1, 3), (1, 3)),
        "line": ((2, 8), (2, 4)),
        "switch": ((1, 8), (1, 4)),
        "transformer": ((1, 12), (1, 3)),
    }


def test_line_admittance_is_a_pi_section(small: Feeder) -> None:
    t = small[Lines]
    y = lines.primitive(t, 50.0).yprim_s()[0]
    series = np.linalg.inv(t.z_ohm[0, :3, :3])
    shunt = 1j * np.pi * 50.0 * t.c_nf[0, :3, :3] * 1e-9
    assert y[:3, :3] == pytest.approx(series + shunt)
    assert y[:3, 4:7] == pytest.approx(-series)
    assert not y[3].any()
    assert not y[7].any()


def test_open_switch_and_absent_poles_carry_nothing(small: Feeder) -> None:
    closed = switches.primitive(small[Switches], 60.0)
    assert closed.branch.tolist() == [[True, True, True, False]]
    opened = switches.primitive(small[Switches].replace(closed=[False]), 60.0)
    assert not opened.yprim_s().any()


def test_source_branch_is_thevenin(small: Feeder) -> None:
    p = sources.primitive(small[Sources], 60.0)
    assert p.yprim_s()[0] == pytest.approx(np.linalg.inv(small[Sources].z_ohm[0]))
    assert np.abs(p.e_v) == pytest.approx(np.full((1, 3), 12470 / sqrt(3)))
    assert np.angle(p.e_v[0, 1] / p.e_v[0, 0], deg=True) == pytest.approx(-120)


def two_windings(tap: float = 1.0) -> tuple[Transformers, Windings, WindingPairs]:
    draft = Draft("t")
    draft.add(Transformers, name="t", s_kva=300.0)
    high = {"pair": delta_pairs([1, 2, 3], lag=True), "v_coil_kv": 12.0}
    low = {"pair": wye_pairs([4, 5, 6]), "v_coil_kv": 0.24, "tap": tap}
    for k, winding in enumerate([high, low]):
        draft.add(Windings, transformer=0, winding=k, r_pct=0.5, **winding)
    draft.add(WindingPairs, transformer=0, winding_a=0, winding_b=1, x_pct=4.0)
    draft.add_bus("b", v_base_kv=1.0)
    feeder = draft.finish()
    return feeder[Transformers], feeder[Windings], feeder[WindingPairs]


def test_short_circuit_impedance_is_on_one_coil() -> None:
    units, windings, pairs = two_windings()
    z = transformers.short_circuit_ohm(units, windings, pairs, np.array([[0, 1]]))
    assert z.ravel() == pytest.approx([(0.01 + 0.04j) * 12_000**2 / 100e3])


def test_ampere_turns_balance_and_taps_scale_the_ratio() -> None:
    for tap in (0.95, 1.0, 1.05):
        units, windings, pairs = two_windings(tap)
        p = transformers.primitive(units, windings, pairs, np.array([[0, 1]]))
        turns = p.turns[0].reshape(3, 2, 3, 2)
        for leg in range(3):
            assert turns[leg, 0, leg].tolist() == [1, -1]
            assert turns[leg, 1, leg, 1] == pytest.approx(12.0 / (0.24 * tap))


def test_wye_lags_or_leads_by_thirty_degrees() -> None:
    v = np.exp(-2j * np.pi * np.arange(3) / 3)
    for lag, angle in ((True, -30.0), (False, 30.0)):
        ends = delta_pairs([0, 1, 2], lag=lag)
        across = v[ends[:, 0]] - v[ends[:, 1]]
        assert np.angle(across / v, deg=True) == pytest.approx([angle] * 3)


def test_groups_keep_every_winding_once() -> None:
    windings = library.load("ieee342")[Windings]
    ((units, rows),) = transformers.group_by_windings(windings)
    assert units.tolist() == list(range(70))
    assert sorted(rows.ravel().tolist()) == list(range(140))
    assert (windings.winding[rows] == [0, 1]).all()


def test_rows_of_a_balanced_admittance_sum_to_the_shunts(small: Feeder) -> None:
    """Lifting all nodes of a line or switch by the same voltage drives only its shunts."""
    for p in primitives(small):
        if p.kind in ("line", "switch"):
            lifted = p.yprim_s() @ p.conductor().astype(complex)[:, :, None]
            shunt = p.y_s @ p.conductor().astype(complex)[:, :, None]
            assert np.abs(lifted - shunt).max() < 1e-9 * np.abs(p.yprim_s()).max()
