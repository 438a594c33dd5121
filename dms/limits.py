"""Limits: voltage bands and ratings, what is already broken, and their rows (2j), (2m)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dms.builder import Builder
from dms.phasor import Phasor, Products, Terms
from dms.program import Numbers, Program
from dms.scaling import S_BASE_VA
from feeders import Feeder, Lines, Switches, Transformers, Windings
from feeders.elements import lines, switches, transformers
from feeders.table import Array

WIDEN = 1 + 1e-6
"""A limit already broken at zero export is widened to the value found times this factor."""


@dataclass(frozen=True)
class Limits:
    """What a solution must keep, as a user states it.

    v_min_pu, v_max_pu  band of |v| phase to earth
    band_up_to_kv       the band holds at buses whose nominal line-to-line voltage is at most this
    current             enforce ratings at all
    i_scale             every rating times this (0.8 makes a demonstration bind)
    i_max_default_a     rating of unrated line conductors, None = they stay unlimited
    preexisting         "relax": a limit broken at zero export is widened to that value and listed;
                        "strict": the tick is infeasible

    Raises  ValueError  an empty band, a number that is not positive, another word for preexisting
    """

    v_min_pu: float = 0.90
    v_max_pu: float = 1.05
    band_up_to_kv: float = np.inf
    current: bool = True
    i_scale: float = 1.0
    i_max_default_a: float | None = None
    preexisting: Literal["relax", "strict"] = "relax"

    def __post_init__(self) -> None:
        if not 0 <= self.v_min_pu < self.v_max_pu:
            raise ValueError(f"voltage band {self.v_min_pu} to {self.v_max_pu} pu is empty")
        if not self.band_up_to_kv > 0:
            raise ValueError(f"band_up_to_kv = {self.band_up_to_kv} must be positive")
        for name in ("i_scale", "i_max_default_a"):
            value = getattr(self, name)
            if value is not None and not 0 < value < np.inf:
                raise ValueError(f"{name} = {value} must be positive and finite")
        if self.preexisting not in ("relax", "strict"):
            raise ValueError(f"preexisting = {self.preexisting!r} is not 'relax' or 'strict'")

    def describe(self) -> str:
        """One line for tables and plots."""
        where = "" if np.isinf(self.band_up_to_kv) else f" up to {self.band_up_to_kv:g} kV"
        band = f"|v| {self.v_min_pu:g}-{self.v_max_pu:g} pu{where}"
        rating = f"ratings x {self.i_scale:g} at both ends" if self.current else "no current limit"
        return f"{band}; {rating}"


@dataclass(frozen=True)
class LimitValues:
    """Limits resolved on a feeder, node by node and terminal by terminal.

    node, v_min_pu, v_max_pu          (n_v,)  limited nodes and their band
    kind, row, slot, label            (n_i,)  rated terminals: element kind, row of its table, node
                                              slot as in `feeders.elements.Primitive`
    rating, unit                      (n_i,)  ampere "A", or "VA" across the coil that begins there
    """

    node: Array
    v_min_pu: Array
    v_max_pu: Array
    kind: Array
    row: Array
    slot: Array
    rating: Array
    unit: Array
    label: Array

    @staticmethod
    def resolve(feeder: Feeder, limits: Limits) -> LimitValues:
        """Apply the user's limits to a feeder.

        Raises  ValueError  a rating that is not positive (NaN means unrated)
        """
        terminal, bus = feeder.nodes.terminal, feeder.nodes.bus
        v_ll_kv = feeder.buses.v_base_kv[bus] * np.sqrt(3)
        node = np.flatnonzero((bus >= 0) & (terminal <= 3) & (v_ll_kv <= limits.band_up_to_kv * 1.0001))
        rated = _rated_terminals(feeder, limits) if limits.current else []
        if wrong := [f"{r[5]}: {r[3]:g} {r[4]}" for r in rated if not r[3] > 0]:
            raise ValueError(f"ratings must be positive, or NaN for none: {'; '.join(wrong[:4])}")
        kind, row, slot, rating, unit, label = (
            (list(c) for c in zip(*rated, strict=True)) if rated else ([],) * 6
        )
        return LimitValues(
            node=node,
            v_min_pu=np.full(len(node), limits.v_min_pu),
            v_max_pu=np.full(len(node), limits.v_max_pu),
            kind=np.array(kind, dtype=object),
            row=np.array(row, dtype=int),
            slot=np.array(slot, dtype=int),
            rating=np.array(rating, dtype=float),
            unit=np.array(unit, dtype=object),
            label=np.array(label, dtype=object),
        )

    @property
    def rating_kind(self) -> Array:
        """ "i_max" or "s_max" (n_i,), as in tables of limits."""
        return np.where(self.unit == "A", "i_max", "s_max").astype(object)

    def held(self, v: Array, v_base_v: Array) -> Array:
        """Voltages (n_nodes + 1,), volt, with every limited node brought to the nearer end of its band."""
        held = v.copy()
        size = np.abs(v[self.node]) / v_base_v[self.node]
        inside = np.clip(size, self.v_min_pu, self.v_max_pu)
        held[self.node] *= np.where(size > 0, inside / np.where(size > 0, size, 1.0), 1.0)
        return held

    def narrower(self, other: LimitValues) -> LimitValues:
        """The stricter of two limits, one by one."""
        return replace(
            self,
            v_min_pu=np.maximum(self.v_min_pu, other.v_min_pu),
            v_max_pu=np.minimum(self.v_max_pu, other.v_max_pu),
            rating=np.minimum(self.rating, other.rating),
        )

    def tightened(self, over_v: Array, over_i: Array) -> LimitValues:
        """Narrower by what a state lies outside of them: over_v (n_v,) pu, over_i (n_i,) relative."""
        more = np.where(over_v > 0, over_v, 0.0)
        middle = (self.v_min_pu + self.v_max_pu) / 2
        return replace(
            self,
            v_min_pu=np.minimum(self.v_min_pu + more, middle - 1e-6),
            v_max_pu=np.maximum(self.v_max_pu - more, middle + 1e-6),
            rating=self.rating / (1 + np.maximum(over_i, 0.0)),
        )

    def relaxed(self, v_pu: Array, through: Array) -> LimitValues:
        """Widened so that the state (v_pu (n_v,), through (n_i,)) keeps every limit."""
        return replace(
            self,
            v_min_pu=np.where(v_pu < self.v_min_pu, v_pu / WIDEN, self.v_min_pu),
            v_max_pu=np.where(v_pu > self.v_max_pu, v_pu * WIDEN, self.v_max_pu),
            rating=np.where(through > self.rating, through * WIDEN, self.rating),
        )


def _rated_terminals(feeder: Feeder, limits: Limits) -> list[tuple[str, int, int, float, str, str]]:
    """Every terminal with a rating: (kind, row, slot, rating, unit, label)."""
    found: list[tuple[str, int, int, float, str, str]] = []
    i_line = feeder[Lines].i_max_a
    if limits.i_max_default_a is not None:
        i_line = np.where(np.isnan(i_line), limits.i_max_default_a, i_line)
    conductors = (
        ("line", feeder[Lines].name, i_line, lines.conductors(feeder[Lines])),
        ("switch", feeder[Switches].name, feeder[Switches].i_max_a, switches.poles(feeder[Switches])),
    )
    for kind, name, rating, exists in conductors:
        for r, k in np.argwhere(exists & ~np.isnan(rating)):
            for slot, end in ((k, "from"), (k + 4, "to")):
                label = f"{kind} {name[r]} phase {k + 1} {end}"
                found.append((kind, int(r), int(slot), float(rating[r, k]) * limits.i_scale, "A", label))
    windings, units = feeder[Windings], feeder[Transformers]
    coils = transformers.coils(windings)
    per_coil_va = windings.s_max_kva * 1e3 / np.maximum(coils.sum(axis=1), 1)
    for unit, ratings, what in (("A", windings.i_max_a, ""), ("VA", per_coil_va, " power")):
        for r in np.flatnonzero(~np.isnan(ratings)):
            t, w = int(windings.transformer[r]), int(windings.winding[r])
            for leg in np.flatnonzero(coils[r]):
                label = f"transformer {units.name[t]} winding {w} leg {leg + 1}{what}"
                slot = w * 6 + int(leg) * 2
                found.append(("transformer", t, slot, float(ratings[r]) * limits.i_scale, unit, label))
    return found


def apply_limits(values: LimitValues, b: Builder) -> None:
    """Rows of the limits, scaled so that ratings read 1.

    (2m)  Vmin^2 <= v_re^2 + v_im^2 <= Vmax^2     per unit        rows `v_band`
    (2j)  (i_re^2 + i_im^2) / Imax^2 <= 1         at both ends    rows `i_limit`
          (p^2 + q^2) / Smax^2 <= 1           of a coil           rows `s_limit`
          p + jq = u conj(i)                                      rows `p_coil_rows`, `q_coil_rows`
    """
    base = b.v_base[values.node]
    label = b.feeder.node_names[values.node]
    band = {"lo": values.v_min_pu**2, "hi": values.v_max_pu**2}
    b.add_magnitude("v_band", label, b.voltage(values.node), base, **band)
    current = b.monitored(values.kind, values.row, values.slot)
    by_current, by_power = values.unit == "A", np.flatnonzero(values.unit == "VA")
    label, rating = values.label[by_current], values.rating[by_current]
    b.add_magnitude("i_limit", label, current.take(by_current), rating, lo=-np.inf, hi=1.0)
    if len(by_power):
        _limit_power(values, by_power, current.take(by_power), b)


def _limit_power(values: LimitValues, which: Array, current: Phasor, b: Builder) -> None:
    label = values.label[which]
    u = b.across(coil_pairs(b.feeder, values.row[which], values.slot[which]))
    p, q = (b.add_variables(f"{part}_coil", label, role="drawn") for part in "pq")
    n = np.arange(len(which))
    per_unit = u.times(1 / S_BASE_VA)
    for part, products in ((p, per_unit.dot(current)), (q, per_unit.cross(current))):
        row = Terms(n, part.index, -np.ones(len(n)))
        b.add_rows(f"{part.name}_rows", label, linear=row, products=products, role="power")
    scale = (S_BASE_VA / values.rating[which]) ** 2
    both = np.concatenate([p.index, q.index])
    squares = Products(np.concatenate([n, n]), both, both, np.concatenate([scale, scale]))
    b.add_rows("s_limit", label, products=squares, lo=-np.inf, hi=1.0, role="limit")


def coil_pairs(feeder: Feeder, transformer: Array, slot: Array) -> Array:
    """Node pairs (n, 2) of the coils that begin at slots (n,) of transformers (n,)."""
    windings = feeder[Windings]
    names = zip(windings.transformer.tolist(), windings.winding.tolist(), strict=True)
    row = {name: r for r, name in enumerate(names)}
    at = [row[int(t), int(s) // 6] for t, s in zip(transformer, slot, strict=True)]
    return np.asarray(windings.pair[at, slot % 6 // 2])


def set_limit_numbers(program: Program, nominal: LimitValues, tick: LimitValues, numbers: Numbers) -> None:
    """The limits in force this tick; `nominal` are those the rows were scaled with."""
    band, current = program.rows["v_band"].span, program.rows["i_limit"].span
    numbers.row_lo[band], numbers.row_hi[band] = tick.v_min_pu**2, tick.v_max_pu**2
    widened = (tick.rating / nominal.rating) ** 2
    numbers.row_hi[current] = widened[nominal.unit == "A"]
    if "s_limit" in program.rows:
        numbers.row_hi[program.rows["s_limit"].span] = widened[nominal.unit == "VA"]
