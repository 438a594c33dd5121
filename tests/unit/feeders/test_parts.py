from math import sqrt

import numpy as np
import pytest

from feeders.library.ieee4 import NEUTRAL, PHASE, POLE_H_FT, POLE_X_FT
from feeders.library.parts import MILE_M, float_s, overhead, padded, source_ohm


def test_source_impedance_meets_both_fault_levels() -> None:
    z = source_ohm(12.47, s_3ph_mva=500.0, s_1ph_mva=300.0, x1_r1=5.0, x0_r0=2.0)
    z1, z0 = z[0, 0] - z[0, 1], z[0, 0] + 2 * z[0, 1]
    assert 12.47**2 / abs(z1) == pytest.approx(500)
    assert 3 * 12.47**2 / abs(2 * z1 + z0) == pytest.approx(300)
    assert z1.imag / z1.real == pytest.approx(5)
    assert z0.imag / z0.real == pytest.approx(2)


def test_overhead_line_gives_the_published_matrix_of_the_4_node_feeder() -> None:
    """Phase impedance matrix of the IEEE 4-node feeder, ohm per mile, as published with it."""
    z, p = overhead([PHASE] * 3 + [NEUTRAL], POLE_X_FT, POLE_H_FT, frequency_hz=60.0)
    published = np.array(
        [
            [0.4576 + 1.0780j, 0.1559 + 0.5017j, 0.1535 + 0.3849j],
            [0.1559 + 0.5017j, 0.4666 + 1.0482j, 0.1580 + 0.4236j],
            [0.1535 + 0.3849j, 0.1580 + 0.4236j, 0.4615 + 1.0651j],
        ]
    )
    assert np.abs(z * MILE_M - published).max() < 1e-4
    capacitance = np.linalg.inv(p)
    assert (np.diag(capacitance) > 0).all()
    assert (capacitance.sum(axis=0) > 0).all()


def test_float_shunt_is_half_a_millionth_of_the_rated_admittance() -> None:
    rated_s = 1000e3 / 3 / (208 / sqrt(3)) ** 2
    assert float_s(1000.0, 0.208 / sqrt(3)) == pytest.approx(-0.5e-6j * rated_s)


def test_padding_keeps_the_corner() -> None:
    full = padded(np.ones((2, 2), dtype=complex))
    assert full.shape == (4, 4)
    assert full.sum() == 4
