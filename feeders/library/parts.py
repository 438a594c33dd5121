"""From published figures to columns: fault levels, pole geometries, transformers.

Shared by the feeders of the library; nothing here knows a particular feeder.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, pi, sqrt

import numpy as np

from feeders.draft import Draft
from feeders.elements import Transformers, WindingPairs, Windings
from feeders.table import Array

FT_M = 0.3048
IN_M = 0.0254
MILE_M = 5280 * FT_M
MU_0 = 4e-7 * pi
EPS_0 = 8.854e-12


def source_ohm(
    v_ll_kv: float, *, s_3ph_mva: float, s_1ph_mva: float, x1_r1: float = 4.0, x0_r0: float = 3.0
) -> Array:
    """Thevenin impedance of a source from its fault levels, (3, 3) ohm, coupled.

    |Z1| = kV^2 / MVA_3ph and |2 Z1 + Z0| = 3 kV^2 / MVA_1ph, with the two X/R ratios;
    self = (2 Z1 + Z0) / 3, mutual = (Z0 - Z1) / 3.
    """
    r1 = v_ll_kv**2 / s_3ph_mva / sqrt(1 + x1_r1**2)
    x1 = x1_r1 * r1
    # R0 from (2 R1 + R0)^2 + (2 X1 + k R0)^2 = |2 Z1 + Z0|^2 with k = X0/R0.
    a, b = 1 + x0_r0**2, 4 * (r1 + x0_r0 * x1)
    c = 4 * (r1**2 + x1**2) - (3 * v_ll_kv**2 / s_1ph_mva) ** 2
    r0 = (-b + sqrt(b**2 - 4 * a * c)) / (2 * a)
    z1, z0 = complex(r1, x1), complex(r0, x0_r0 * r0)
    return np.full((3, 3), (z0 - z1) / 3) + np.eye(3) * z1


def float_s(s_kva: float, v_coil_kv: float) -> complex:
    """Small reactive shunt at each coil end, siemens: half a millionth of the coil's rated admittance.

    -j 0.5e-6 (S / 3) / V_coil^2: what OpenDSS adds by default (`ppm_antifloat` = 1), kept so
    that the two engines solve the same circuit.
    """
    return -0.5e-6j * (s_kva / 3) * 1e3 / (v_coil_kv * 1e3) ** 2


def add_transformer(
    draft: Draft, name: str, s_kva: float, ends: list[tuple[Array, float]], *, r_pct: float, x_pct: float
) -> None:
    """Add a two-winding three-phase transformer with nominal taps and the small float shunts.

    ends   the two windings: coil ends (3, 2) in nodes, and the rated coil voltage in kV
    r_pct  resistance of both windings together, split half and half; x_pct short-circuit
           reactance; both on `s_kva`
    """
    row = draft.add(Transformers, name=name, s_kva=s_kva)
    for k, (pair, v_coil_kv) in enumerate(ends):
        draft.add(
            Windings,
            transformer=row,
            winding=k,
            pair=pair,
            v_coil_kv=v_coil_kv,
            r_pct=r_pct / 2,
            float_s=float_s(s_kva, v_coil_kv),
        )
    draft.add(WindingPairs, transformer=row, winding_a=0, winding_b=1, x_pct=x_pct)


def padded(matrix: Array) -> Array:
    """A 3 x 3 (or smaller) matrix in the 4 x 4 of a line's columns; the rest is zero."""
    out = np.zeros((4, 4), dtype=matrix.dtype)
    out[: len(matrix), : len(matrix)] = matrix
    return out


@dataclass(frozen=True)
class Wire:
    """A bare overhead conductor: GMR in feet, AC resistance in ohm per mile, diameter in inches."""

    gmr_ft: float
    r_ohm_per_mile: float
    diameter_in: float
    i_max_a: float


def overhead(
    wires: list[Wire], x_ft: list[float], h_ft: list[float], *, frequency_hz: float, rho_ohm_m: float = 100.0
) -> tuple[Array, Array]:
    """Series impedance and potential coefficients of an overhead line, the neutral eliminated.

    wires, x_ft, h_ft   three phases and then the neutral: type, position across, height
    Returns  z (3, 3) ohm/m and p (3, 3) m/F, so that the capacitance of phases k is inv(p[k, k])

    Carson's equations with their first terms (Carson, 1926; Kersting, Distribution System
    Modeling and Analysis, ch. 4 and 5):

        z_ii = r + omega mu0 / 8 + j omega mu0 / 2 pi (ln 1/GMR + ln(658.5 sqrt(rho / f)))
        z_ij =     omega mu0 / 8 + j omega mu0 / 2 pi (ln 1/D   + ln(658.5 sqrt(rho / f)))
        p_ii = ln(2 h / radius) / 2 pi eps0,   p_ij = ln(D_image / D) / 2 pi eps0

    and Kron's reduction of the neutral, which is at earth potential.
    """
    x, h = np.array(x_ft) * FT_M, np.array(h_ft) * FT_M
    distance = np.hypot(x[:, None] - x, h[:, None] - h)
    image = np.hypot(x[:, None] - x, h[:, None] + h)
    own = np.eye(len(wires), dtype=bool)
    omega = 2 * pi * frequency_hz
    l_unit = omega * MU_0 / (2 * pi)
    earth = complex(omega * MU_0 / 8, l_unit * log(658.5 * sqrt(rho_ohm_m / frequency_hz)))
    gmr = np.array([w.gmr_ft * FT_M for w in wires])
    radius = np.array([w.diameter_in * IN_M / 2 for w in wires])
    r = np.array([w.r_ohm_per_mile / MILE_M for w in wires])
    z = earth - 1j * l_unit * np.log(np.where(own, gmr, distance)) + np.diag(r)
    p = np.log(image / np.where(own, radius, distance)) / (2 * pi * EPS_0)
    return _kron(z), _kron(p)


def _kron(full: Array) -> Array:
    """Eliminate the last row and column, whose voltage is zero."""
    return np.asarray(full[:-1, :-1] - np.outer(full[:-1, -1], full[-1, :-1]) / full[-1, -1])
