"""Load: power drawn between two nodes, constant or by a law of the voltage across them."""

from __future__ import annotations

import numpy as np

from dms.builder import Builder
from dms.devices.voltage_law import Law, build_drawn, fold, set_power
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import DmsRequest
from feeders import Feeder, Loads
from feeders.elements.loads import voltage_dependent
from feeders.table import Array

ONE, LINEAR, SQUARE, POWER = np.eye(4)
"""The four terms 1, w, w^2, w^k."""


def build(feeder: Feeder, b: Builder) -> None:
    """Power of every load, wye or delta alike, by the law of its model (`dms.devices.voltage_law`).

    Re(u conj(i)) = P(|u|),  Im(u conj(i)) = Q(|u|)      (2g), (2h), rows `p_load`, `q_load`

    u = v_a - v_b volt     i ampere from a through the load to b
    """
    t = feeder[Loads]
    build_drawn(b, "load", t, -1.0, exponents=_exponents(t), follows=_follows(t))


def set_numbers(
    feeder: Feeder, program: Program, request: DmsRequest, numbers: Numbers, regimes: Regimes
) -> None:
    """The tick's consumption, kW and kvar, each load in its regime."""
    t = feeder[Loads]
    w = regimes.load_w(t)
    law = regime_law(t, w, always_inside=not regimes.known)
    law = law.where(_follows(t), law.at_rated())
    set_power(program, numbers, "load", law, request.p_load_kw, request.q_load_kvar)


def _follows(t: Loads) -> Array:
    """Loads whose power moves with the voltage; one without a rated voltage draws what it is rated for."""
    rated = np.isfinite(t.v_nom_kv) & (t.v_nom_kv > 0)
    return np.asarray(voltage_dependent(t) & rated)


def _exponents(t: Loads) -> Array:
    """Exponents k_p and k_q, (n, 2); zero for every model but cvr."""
    return np.where((t.model == "cvr")[:, None], np.stack([t.cvr_p, t.cvr_q], axis=1), 0.0)


def regime_law(t: Loads, w: Array, *, always_inside: bool = False) -> Law:
    """Law of every load in the regime that w = |u| / v_nom (n,) falls in: low, below, inside, above.

    Below and above its band a load is an impedance (for the constant-current part of a load with
    other ends); the rules are those of `feeders.elements.loads.power_va`, written as coefficients.
    """
    outside, as_power, as_current = _outside(t, w)
    if always_inside:
        outside = {name: np.zeros(len(t), dtype=bool) for name in outside}
    low, out = outside["low"], outside["low"] | outside["below"] | outside["above"]
    power = np.where(out[:, None], as_power, ONE)
    current = np.where(out[:, None], as_current, LINEAR)
    p, q = power.copy(), power.copy()
    floor = np.where(t.v_min_pu == 0, 1.0, t.v_min_pu)[:, None]
    step = np.where(low[:, None], SQUARE, np.where(outside["below"][:, None], SQUARE / floor**2, power))
    raised = np.where(out[:, None], power, POWER)
    models = {
        "constant_impedance": (SQUARE, SQUARE),
        "constant_current": (current, current),
        "cvr": (raised, raised),
        "zip": tuple(_mixed(t.zip[:, part], t, w, low, power, current) for part in (slice(3), slice(3, 6))),
        "fixed_q": (step, np.where(out[:, None], SQUARE, ONE)),
        "fixed_x": (step, SQUARE),
    }
    for model, (in_p, in_q) in models.items():
        here = t.model == model
        p[here] = np.broadcast_to(in_p, p.shape)[here]
        q[here] = np.broadcast_to(in_q, q.shape)[here]
    k_p, k_q = _exponents(t).T
    return Law(fold(p, k_p), fold(q, k_q))


def _outside(t: Loads, w: Array) -> tuple[dict[str, Array], Array, Array]:
    """Masks of the three regimes outside the band, and the law of constant power and current there."""
    low = w <= t.v_low_pu
    below = ~low & (w <= t.v_min_pu)
    above = ~low & ~below & (w > t.v_max_pu)
    top = np.where(np.isfinite(t.v_max_pu) & (t.v_max_pu > 0), t.v_max_pu, 1.0)
    rise = np.where(t.v_min_pu > t.v_low_pu, t.v_min_pu - t.v_low_pu, 1.0)

    def law(end: Array, over: Array) -> Array:
        """(v_low + slope (w - v_low)) w below, w^2 / over above, w^2 when low."""
        slope = (end - t.v_low_pu) / rise
        between = slope[:, None] * SQUARE + (t.v_low_pu * (1 - slope))[:, None] * LINEAR
        high = SQUARE / over[:, None]
        return np.where(low[:, None], SQUARE, np.where(below[:, None], between, high))

    inverse = 1 / np.where(t.v_min_pu == 0, 1.0, t.v_min_pu)
    masks = {"low": low, "below": below, "above": above}
    return masks, law(inverse, top**2), law(np.ones(len(t)), top)


def _mixed(shares: Array, t: Loads, w: Array, low: Array, power: Array, current: Array) -> Array:
    """z_Z w^2 + z_I (current) + z_P (power), times the drop-out where it stands at w."""
    drop = np.where(t.v_cutoff_pu > 0, 0.5 * (1 + np.tanh(500 * (w - t.v_cutoff_pu))), 1.0)
    law = shares[:, :1] * SQUARE + shares[:, 1:2] * current + shares[:, 2:] * power
    return np.where(low[:, None], SQUARE, law * drop[:, None])
