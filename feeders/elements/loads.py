"""Loads: power drawn between two nodes, constant or by a law of the voltage across them.

Phase to earth or to a neutral is a wye load, phase to phase a delta load. A load belongs to one of
six models; outside its voltage band every model turns into an impedance, by the same rules as in
OpenDSS, so that the two engines solve the same circuit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from feeders.table import Array, Table, column

LOAD_MODELS = (
    "constant_power",
    "constant_impedance",
    "constant_current",
    "cvr",
    "zip",
    "fixed_q",
    "fixed_x",
)
"""Load models the equations know; anything else is an error in `feeders.checks`."""


SMALLEST_STEP = 1e-6
"""Smallest jump of a law at the end of its band, relative to its nominal power, that counts."""


class Loads(Table):
    """One row per single-phase load; a three-phase load is three rows.

    With w = |u| / v_nom_kv, inside the band v_min_pu < w <= v_max_pu a load draws

        constant_power      p, q
        constant_impedance  p w^2, q w^2 (at every voltage)
        constant_current    p w, q w
        cvr                 p w^cvr_p, q w^cvr_q
        zip                 p (z1 w^2 + z2 w + z3), q (z4 w^2 + z5 w + z6), with drop-out at v_cutoff_pu
        fixed_q, fixed_x    p and a reactive power (reactance) that stays the same outside the band

    and outside it what `power_va` says. The default band is all voltages: no switch.
    """

    name: Array = column("-", dtype=str, check="unique")
    pair: Array = column("node", dtype=int, shape=(2,), check="node", doc="the two nodes it lies between")
    p_kw: Array = column("kW", doc="consumed; negative values are listed in the audit")
    q_kvar: Array = column("kvar", doc="consumed, > 0 inductive")
    model: Array = column("-", dtype=str, check="any", default="constant_power")
    v_nom_kv: Array = column("kV", check="any", default=np.nan, doc="rated voltage across the pair")
    zip: Array = column("-", shape=(6,), default=0.0, doc="shares Z, I, P of p, then of q; model zip")
    cvr_p: Array = column("-", default=1.0, doc="exponent of p; model cvr")
    cvr_q: Array = column("-", default=2.0, doc="exponent of q; model cvr")
    v_low_pu: Array = column("-", check="nonnegative", default=0.0, doc="an impedance at and below this")
    v_min_pu: Array = column("-", check="nonnegative", default=0.0, doc="lower end of the band")
    v_max_pu: Array = column("-", check="any", default=np.inf, doc="upper end of the band")
    v_cutoff_pu: Array = column("-", check="any", default=0.0, doc="drop-out voltage of zip; 0 none")


def voltage_dependent(loads: Loads) -> Array:
    """(n,) bool: loads whose power depends on the voltage somewhere."""
    banded = (loads.v_min_pu > 0) | (loads.v_low_pu > 0) | (loads.v_max_pu < np.inf)
    return np.asarray((loads.model != "constant_power") | banded)


def nominal_va(loads: Loads) -> Array:
    """(n,) complex power at rated voltage, volt-ampere."""
    return np.asarray((loads.p_kw + 1j * loads.q_kvar) * 1e3)


def outside_band(loads: Loads, u_volt: Array) -> Array:
    """(n,) bool: loads that a voltage takes out of their band, where they are an impedance."""
    w = per_unit(loads.v_nom_kv, u_volt)
    out = (w <= loads.v_min_pu) | (w <= loads.v_low_pu) | (w > loads.v_max_pu)
    return np.asarray(out & (loads.model != "constant_impedance") & voltage_dependent(loads))


def steps_at(loads: Loads, end_pu: Array) -> Array:
    """(n,) bool: loads whose power jumps at the end of their band, end_pu (n,), such as cvr at 1.05.

    Near there such a load has two states that are both consistent: with more power a lower voltage.
    """
    volt = end_pu * loads.v_nom_kv * 1e3
    jump = np.abs(power_va(loads, volt * (1 + 1e-9)) - power_va(loads, volt * (1 - 1e-9)))
    return np.asarray(jump > SMALLEST_STEP * np.abs(nominal_va(loads)))


def sides_of_a_step(loads: Loads, u_volt: Array, within_pu: float) -> tuple[Loads, Loads] | None:
    """The loads with those near a step held to their law inside their band, and to that outside it.

    u_volt     (n,) complex volt
    within_pu  only ends of bands that are no further away
    Returns    None where no load stands near an end of its band at which its power jumps
    """
    w = per_unit(loads.v_nom_kv, u_volt)
    ends = np.stack([loads.v_min_pu, loads.v_max_pu], axis=1)
    far = np.where(np.isfinite(ends) & (ends > 0), np.abs(w[:, None] - ends), np.inf)
    high = far[:, 1] <= far[:, 0]
    end = np.where(high, ends[:, 1], ends[:, 0])
    near = np.flatnonzero(far.min(axis=1, initial=np.inf) <= within_pu)
    near = near[steps_at(loads.take(near), end[near])]
    if not len(near):
        return None
    v_min, v_low, v_max = loads.v_min_pu.copy(), loads.v_low_pu.copy(), loads.v_max_pu.copy()
    v_min[near], v_low[near], v_max[near] = 0.0, 0.0, np.inf
    inside = loads.replace(v_min_pu=v_min, v_low_pu=v_low, v_max_pu=v_max)
    # Outside it is an impedance: that of its power just across the end.
    across = end * loads.v_nom_kv * 1e3 * np.where(high, 1 + 1e-9, 1 - 1e-9)
    s_kva = power_va(loads, np.where(np.isfinite(across), across, 0.0)) / 1e3
    model, p, q = loads.model.copy(), loads.p_kw.copy(), loads.q_kvar.copy()
    model[near] = "constant_impedance"
    p[near], q[near] = s_kva.real[near] / end[near] ** 2, s_kva.imag[near] / end[near] ** 2
    return inside, loads.replace(model=model, p_kw=p, q_kvar=q)


def per_unit(v_nom_kv: Array, u_volt: Array) -> Array:
    """|u| / v_nom; 1 where a row has no rated voltage, so that it draws its nominal power."""
    known, nominal = _rated(v_nom_kv)
    return np.asarray(np.where(known, np.abs(u_volt) / nominal, 1.0))


def _rated(v_nom_kv: Array) -> tuple[Array, Array]:
    """(n,) bool: rows with a rated voltage; and that voltage, volt, 1 for the others."""
    known = np.isfinite(v_nom_kv) & (v_nom_kv > 0)
    return known, np.where(known, v_nom_kv * 1e3, 1.0)


def power_va(loads: Loads, u_volt: Array) -> Array:
    """Complex power drawn at a voltage across every load's pair, (n,) volt-ampere.

    u_volt  (n,) complex volt

    The factors of p and q are those of an admittance g conj(s_nom) / v_nom^2 times w^2, w = |u| / v_nom:

        w <= v_low                 g = 1
        v_low < w <= v_min         g = (v_low + (a - v_low) (w - v_low) / (v_min - v_low)) / w,
                                   a = 1 / v_min; 1 for the constant-current part
        v_min < w <= v_max         the model's own law
        v_max < w                  g = 1 / v_max^2; 1 / v_max for the constant-current part

    (source: OpenDSS, Load.pas, `DoConstantPQLoad`, `DoConstantILoad`, `DoZIPVModel`, `DoCVRModel`;
    properties vlowpu, vminpu, vmaxpu). A row without `v_nom_kv` draws its nominal power.
    """
    return power_law(loads)(u_volt)


def power_law(loads: Loads) -> Callable[[Array], Array]:
    """`power_va` of these loads, for many voltages: what does not depend on them is made once."""
    laws = _laws(loads)
    p_va, q_va, known, nominal = loads.p_kw * 1e3, loads.q_kvar * 1e3, *_rated(loads.v_nom_kv)
    whole = laws[0] if len(laws) == 1 and len(laws[0].here) == len(loads) else None

    def power(u_volt: Array) -> Array:
        w = np.where(known, np.abs(u_volt) / nominal, 1.0)
        if whole is not None:
            factor_p, factor_q = whole.law(whole.some, w)
        else:
            factor_p, factor_q = np.ones((2, len(w)))
            for part in laws:
                factor_p[part.here], factor_q[part.here] = part.law(part.some, w[part.here])
        found = np.empty(len(w), dtype=complex)
        found.real, found.imag = p_va * factor_p, q_va * factor_q
        return found

    return power


@dataclass(frozen=True)
class _Banded:
    """Loads of one model with their bands, which of them know a band at all, and where it begins for them."""

    loads: Loads
    dependent: Array
    start: Array

    @staticmethod
    def of(loads: Loads) -> _Banded:
        dependent = voltage_dependent(loads)
        low = np.where(dependent, loads.v_low_pu, -np.inf)
        return _Banded(loads, dependent, np.maximum(low, loads.v_min_pu))

    def all_inside(self, w: Array) -> bool:
        """No load is outside its band."""
        return bool((w > self.start).all() and (w <= self.loads.v_max_pu).all())

    def regimes(self, w: Array) -> tuple[Array, Array, Array]:
        """(n,) bool each: below v_low, between it and the band, above the band."""
        low = (w <= self.loads.v_low_pu) & self.dependent
        below = ~low & (w <= self.loads.v_min_pu)
        return low, below, ~low & ~below & (w > self.loads.v_max_pu)

    def factors(self, w: Array, inside: Array, *, current: bool = False) -> Array:
        """A law inside the band, and g w^2 outside it."""
        if self.all_inside(w):
            return inside
        low, below, above = self.regimes(w)
        v_low, v_min, v_max = self.loads.v_low_pu, self.loads.v_min_pu, self.loads.v_max_pu
        end = np.ones(len(w)) if current else 1 / _nonzero(v_min)
        slope = (end - v_low) / _nonzero(v_min - v_low)
        over = np.where(v_max == 0, 1.0, np.where(np.isfinite(v_max), v_max, 1.0))
        outside = w**2 / (over if current else over**2)
        found = np.where(above, outside, np.where(below, (v_low + slope * (w - v_low)) * w, inside))
        return np.asarray(np.where(low, w**2, found))


_Law = Callable[[_Banded, Array], tuple[Array, Array]]
"""Factors of p and q, (n,) each, at w (n,)."""


def _constant_power(some: _Banded, w: Array) -> tuple[Array, Array]:
    factor = some.factors(w, np.ones(len(w)))
    return factor, factor


def _constant_impedance(some: _Banded, w: Array) -> tuple[Array, Array]:
    return w**2, w**2


def _constant_current(some: _Banded, w: Array) -> tuple[Array, Array]:
    factor = some.factors(w, w, current=True)
    return factor, factor


def _cvr(some: _Banded, w: Array) -> tuple[Array, Array]:
    with np.errstate(divide="ignore", over="ignore"):
        p, q = w**some.loads.cvr_p, w**some.loads.cvr_q
        return (p, q) if some.all_inside(w) else (some.factors(w, p), some.factors(w, q))


def _zip(some: _Banded, w: Array) -> tuple[Array, Array]:
    low, share = some.regimes(w)[0], some.loads.zip
    parts = np.stack([w**2, some.factors(w, w, current=True), some.factors(w, np.ones(len(w)))], axis=1)
    drop = _dropout(some.loads.v_cutoff_pu, w)
    p, q = (np.where(low, w**2, drop * (parts * own).sum(axis=1)) for own in (share[:, :3], share[:, 3:]))
    return p, q


def _fixed_q(some: _Banded, w: Array) -> tuple[Array, Array]:
    low, below, above = some.regimes(w)
    return _fixed_x(some, w)[0], np.where(low | below | above, w**2, 1.0)


def _fixed_x(some: _Banded, w: Array) -> tuple[Array, Array]:
    _, below, _ = some.regimes(w)
    step = (w / _nonzero(some.loads.v_min_pu)) ** 2
    return np.where(below, step, some.factors(w, np.ones(len(w)))), w**2


@dataclass(frozen=True)
class _Part:
    """Loads of one model, the rows (k,) that they have among all, and their law."""

    law: _Law
    here: Array
    some: _Banded


def _laws(loads: Loads) -> list[_Part]:
    """The models that occur, each once."""
    found, models = [], set(loads.model.tolist())
    for model in (model for model in LOAD_MODELS if model in models):
        here = np.flatnonzero(loads.model == model)
        some = loads if len(here) == len(loads) else loads.take(here)
        found.append(_Part(_LAWS[model], here, _Banded.of(some)))
    return found


_LAWS: dict[str, _Law] = {
    "constant_power": _constant_power,
    "constant_impedance": _constant_impedance,
    "constant_current": _constant_current,
    "cvr": _cvr,
    "zip": _zip,
    "fixed_q": _fixed_q,
    "fixed_x": _fixed_x,
}
"""Of every model; outside the band most are an impedance."""


def _nonzero(values: Array) -> Array:
    return np.where(values == 0, 1.0, values)


def _dropout(v_cutoff_pu: Array, w: Array) -> Array:
    """Smooth step from 0 to 1 at the drop-out voltage, (1 + tanh 500 (w - v_cutoff)) / 2."""
    return np.asarray(np.where(v_cutoff_pu > 0, 0.5 * (1 + np.tanh(500 * (w - v_cutoff_pu))), 1.0))
