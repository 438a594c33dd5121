"""`LimitValues`: the limits of a feeder, family by family, and what a tick does to them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dms.limits.family import Family
from dms.limits.find import FIND
from dms.limits.stated import Limits
from feeders import Feeder, Lines, Switches, Transformers
from feeders.table import Array

Found = tuple[Array, ...]
"""Values, or distances beyond limits, one array for each family."""
Names = Mapping[tuple[str, str], float]
"""Limits by kind and element, as in tables."""


@dataclass(frozen=True)
class LimitValues:
    """Limits resolved on a feeder: `families` in the order of their rows, each with a name of its own."""

    families: tuple[Family, ...]

    @staticmethod
    def resolve(feeder: Feeder, limits: Limits) -> LimitValues:
        """Apply the user's limits to a feeder.

        Raises  ValueError  a rating that is not positive (NaN means unrated), an exception for an element
                            that has no rating, a bus whose phases are not those of its names
                KeyError    an exception for a bus or an element that the feeder does not have
        """
        _check_names("bus", limits.buses, feeder.buses.name)
        every = [n for table in (Lines, Switches, Transformers) for n in _both_names(feeder, table)]
        _check_names("element", limits.elements, every)
        found = [family for find in FIND for family in find(feeder, limits)]
        return LimitValues(tuple(found))

    def __getitem__(self, rows: str) -> Family:
        """The family of a block of rows.

        Raises  KeyError  the feeder has no such limits
        """
        for family in self.families:
            if family.rows == rows:
                return family
        raise KeyError(f"no limits {rows!r} here; there are {', '.join(f.rows for f in self.families)}")

    def __contains__(self, rows: str) -> bool:
        return any(f.rows == rows for f in self.families)

    def replaced(self, rows: str, **changes: Any) -> LimitValues:
        """The same with fields of one family changed."""
        self[rows]
        return self._each(lambda f: replace(f, **changes) if f.rows == rows else f)

    def over(self, found: Found) -> Found:
        """How far values lie beyond their limits."""
        return tuple(f.over(value) for f, value in zip(self.families, found, strict=True))

    def around(self, base: Found) -> LimitValues:
        """Resolved with the values of the base state."""
        return self._with(Family.around, base)

    def narrower(self, other: LimitValues) -> LimitValues:
        """The stricter of two limits, one by one."""
        return self._with(Family.narrower, other.families)

    def tightened(self, over: Found) -> LimitValues:
        """Narrower by what a state lies outside of them."""
        return self._with(Family.tightened, over)

    def relaxed(self, found: Found) -> LimitValues:
        """Widened so that a state keeps every limit."""
        return self._with(Family.relaxed, found)

    @property
    def unresolved(self) -> bool:
        """Some limit lies around a base state that is not known yet."""
        return any(f.unresolved.any() for f in self.families)

    def by_name(self) -> Names:
        """Every limit under its kind and element."""
        return {
            (kind, str(label)): float(limit)
            for f in self.families
            for kind, side in zip(f.kinds, (f.lo, f.hi), strict=True)
            for label, limit in zip(f.label, side, strict=True)
            if kind
        }

    def named(self, limits: Names) -> LimitValues:
        """With the limits that are given by name; one that is to be resolved and has none is no limit."""

        def one(f: Family) -> Family:
            lo, hi = (
                np.array([limits.get((kind, str(n)), x) for n, x in zip(f.label, side, strict=True)])
                for kind, side in zip(f.kinds, (f.lo, f.hi), strict=True)
            )
            left = f.unresolved & np.array([(f.kinds[1], str(n)) not in limits for n in f.label], dtype=bool)
            lo, hi = np.where(left, -np.inf, lo), np.where(left, np.inf, hi)
            return replace(f, lo=lo.astype(float), hi=hi.astype(float), fall=None, rise=None)

        return self._each(one)

    def _each(self, change: Callable[[Family], Family]) -> LimitValues:
        return replace(self, families=tuple(map(change, self.families)))

    def _with(self, change: Callable[[Family, Any], Family], others: Iterable[Any]) -> LimitValues:
        pairs = zip(self.families, others, strict=True)
        return replace(self, families=tuple(change(f, other) for f, other in pairs))

    # Voltages to ground and ratings, side by side ---------------------------------------------------

    @property
    def node(self) -> Array:
        """(n_v,) nodes with a band to ground."""
        return np.asarray(self["v_band"].place[:, 0])

    @property
    def v_min_pu(self) -> Array:
        """(n_v,) lower end of their band."""
        return self["v_band"].lo

    @property
    def v_max_pu(self) -> Array:
        """(n_v,) upper end of their band."""
        return self["v_band"].hi

    @property
    def rated(self) -> tuple[Family, ...]:
        """Ratings of currents, ampere, and of apparent powers of coils, volt-ampere."""
        return tuple(f for f in self.families if f.rows in ("i_limit", "s_limit"))

    @property
    def kind(self) -> Array:
        """(n_i,) kind of element of every rated terminal."""
        return np.concatenate([f.of for f in self.rated])

    @property
    def row(self) -> Array:
        """(n_i,) rows of their tables."""
        return np.concatenate([f.place[:, 0] for f in self.rated])

    @property
    def slot(self) -> Array:
        """(n_i,) node slots as in `feeders.elements.Primitive`."""
        return np.concatenate([f.place[:, 1] for f in self.rated])

    @property
    def label(self) -> Array:
        """(n_i,) names of the rated terminals."""
        return np.concatenate([f.label for f in self.rated])

    @property
    def rating(self) -> Array:
        """(n_i,) their ratings."""
        return np.concatenate([f.hi for f in self.rated])

    @property
    def unit(self) -> Array:
        """(n_i,) ampere "A", or "VA" across the coil that begins there."""
        return np.concatenate([np.full(len(f), f.unit, dtype=object) for f in self.rated])

    def held(self, v: Array, v_base_v: Array) -> Array:
        """Voltages (n_nodes + 1,), volt, with every limited node brought to the nearer end of its band."""
        held = v.copy()
        size = np.abs(v[self.node]) / v_base_v[self.node]
        inside = np.clip(size, self.v_min_pu, self.v_max_pu)
        held[self.node] *= np.where(size > 0, inside / np.where(size > 0, size, 1.0), 1.0)
        return held


def _both_names(feeder: Feeder, table: Any) -> list[str]:
    """Names of elements, each as it is and with its kind before it."""
    kind = {Lines: "line", Switches: "switch", Transformers: "transformer"}[table]
    return [name for n in feeder[table].name for name in (str(n), f"{kind} {n}")]


def _check_names(what: str, given: Mapping[str, Any], known: Iterable[Any]) -> None:
    names = [str(n) for n in known]
    for name in given:
        if name not in set(names):
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names[:6])} ..."
            raise KeyError(f"limits: no {what} {name!r}; {hint}")
