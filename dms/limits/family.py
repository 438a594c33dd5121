"""`Family`: limits of one kind, and all that can be done to them without knowing which kind it is."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from feeders.table import Array

WIDEN = 1 + 1e-6
"""A limit already broken at zero export is widened to the value found times this factor."""
BAND_TOLERANCE_PU = 1e-5
"""Distance beyond a limit in its own unit, per unit or a ratio, that a certificate forgives."""
CURRENT_TOLERANCE = 1e-4
"""The same relative to the limit: ratings and reverse power."""


@dataclass(frozen=True)
class Family:
    """Limits of one kind on n elements: lo <= value <= hi, in `unit`; infinite where there is none.

    rows           name of its block of rows in the `Program`, which hold (value / scale)^power
    kinds          names of lower and upper limit in tables, "" where the kind has none
    label, phase   (n,) element, with its phase and end if it has some; the phases alone
    place          (n, k) int  nodes, or row of the element's table and slot of its terminal
    of             (n,) kind of element that the terminals belong to, "" for nodes
    base           (n,) what one `unit` of the quantity is in SI: volt, ampere, volt-ampere, watt, or 1
    lo, hi, scale  (n,)
    least          None: distances beyond a limit count in `unit`; else relative to the limit, or to this
                   where the limit is smaller
    fall, rise     (n,) the limits also lie this far around the value at a base state that is not known
                   yet, infinite where they do not; None: nothing is left to be resolved
    """

    rows: str
    kinds: tuple[str, str]
    unit: str
    label: Array
    phase: Array
    place: Array
    of: Array
    base: Array
    lo: Array
    hi: Array
    scale: Array
    power: int = 2
    least: float | None = None
    fall: Array | None = None
    rise: Array | None = None

    def __len__(self) -> int:
        return len(self.label)

    @property
    def tolerance(self) -> float:
        """Largest `over` that a certificate forgives."""
        return BAND_TOLERANCE_PU if self.least is None else CURRENT_TOLERANCE

    @property
    def size(self) -> Array:
        """(n,) what distances beyond a limit are measured in."""
        return np.ones(len(self)) if self.least is None else np.maximum(np.abs(self.hi), self.least)

    @property
    def unresolved(self) -> Array:
        """(n,) bool, limits around a base state that is not known yet."""
        if self.fall is None or self.rise is None:
            return np.zeros(len(self), dtype=bool)
        return np.isfinite(self.fall) | np.isfinite(self.rise)

    def sides(self, value: Array) -> tuple[tuple[str, Array, Array], ...]:
        """(kind, limit (n,), distance beyond it (n,)) below and above; unknown (NaN) where unresolved."""
        unknown = np.where(self.unresolved, np.nan, 0.0)
        both = ((self.kinds[0], self.lo, self.lo - value), (self.kinds[1], self.hi, value - self.hi))
        return tuple((kind, limit, beyond / self.size + unknown) for kind, limit, beyond in both if kind)

    def over(self, value: Array) -> Array:
        """(n,) how far values (n,) lie beyond their limits; negative is the margin."""
        return np.asarray(np.maximum.reduce([beyond for *_, beyond in self.sides(value)]))

    def as_rows(self, value: Array) -> Array:
        """Values of the programme's rows; infinite limits stay infinite."""
        return np.where(np.isfinite(value), (value / self.scale) ** self.power, value)

    def from_rows(self, rows: Array) -> Array:
        """The quantities (n,) that rows of the programme stand for."""
        root = rows if self.power == 1 else np.sqrt(np.maximum(rows, 0.0))
        return np.asarray(root * self.scale)

    def around(self, base: Array) -> Family:
        """Resolved with the values (n,) of the base state."""
        if self.fall is None or self.rise is None:
            return self
        lo = np.maximum(self.lo, np.maximum(base - self.fall, 0.0))
        return replace(self, lo=lo, hi=np.minimum(self.hi, base + self.rise), fall=None, rise=None)

    def narrower(self, other: Family) -> Family:
        """The stricter of two, one by one."""
        return replace(self, lo=np.maximum(self.lo, other.lo), hi=np.minimum(self.hi, other.hi))

    def tightened(self, over: Array) -> Family:
        """Narrower by what a state lies beyond, (n,) as `over`; a band never closes."""
        step = np.where(over > 0, over, 0.0)
        step = step if self.least is None else step * self.size / (1 + step)
        low = np.where(np.isfinite(self.lo), self.lo, 0.0 if self.power == 2 else -np.inf)
        middle = (low + self.hi) / 2
        return replace(
            self,
            lo=np.minimum(self.lo + step, middle - 1e-6),
            hi=np.maximum(self.hi - step, middle + 1e-6),
        )

    def relaxed(self, value: Array) -> Family:
        """Widened so that values (n,) keep every limit."""
        size = np.abs(value)
        lower, higher = value - size * (1 - 1 / WIDEN), value + size * (WIDEN - 1)
        return replace(
            self,
            lo=np.where(value < self.lo, lower, self.lo),
            hi=np.where(value > self.hi, higher, self.hi),
        )
