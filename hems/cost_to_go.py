"""V_1 of many homes: what energy at the end of tick 0 is worth, kept to answer without planning again.

V_1 is convex and piecewise linear; only what tick 0 can reach of it is kept, a few segments a home. The
answer to an AES is the plan of one tick,

    min { kappa |b| dt + V_1(keep e_0 + D(b)) :  -(AES + PV) <= L - PV + b <= -AES,  -Pd <= b <= Pc }

after which spill is what is left of the PV. Its cost less that of the plan is what the curtailment costs over
the horizon.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Rows = NDArray[np.intp]


class FirstTick(NamedTuple):
    """Tick 0 of n homes that share a structure.

    eta_c, eta_d, dt_h       of all of them; wear_c, wear_d   $/kWh
    net_load_kw, pv_kw       (n,) L - PV, and available PV, all of which may be spilled
    charge_kw, discharge_kw  (n,) largest battery powers
    soc_kwh, next_kwh        (n,) keep e_0, and the e_1 that is planned
    """

    dt_h: float
    eta_c: float
    eta_d: float
    wear_c: float
    wear_d: float
    net_load_kw: Floats
    pv_kw: Floats
    charge_kw: Floats
    discharge_kw: Floats
    soc_kwh: Floats
    next_kwh: Floats

    def energy_kwh(self, battery_kw: Floats) -> Floats:
        """(n,) D that net battery power stores."""
        return self.dt_h * np.where(battery_kw > 0.0, battery_kw * self.eta_c, battery_kw / self.eta_d)

    def wear_usd(self, battery_kw: Floats) -> Floats:
        """(n,) $ of wear."""
        return self.dt_h * np.where(battery_kw > 0.0, self.wear_c * battery_kw, -self.wear_d * battery_kw)

    def battery_range_kw(self, aes_kw: Floats) -> tuple[Floats, Floats]:
        """(n,) least and largest net battery power with which a home can export exactly `aes_kw`."""
        least = np.maximum(-aes_kw - self.pv_kw - self.net_load_kw, -self.discharge_kw)
        return least, np.maximum(np.minimum(-aes_kw - self.net_load_kw, self.charge_kw), least)

    def battery_kw(self, stored_kwh: Floats) -> Floats:
        """(n,) net battery power that stores D."""
        return np.where(stored_kwh > 0.0, stored_kwh / self.eta_c, stored_kwh * self.eta_d) / self.dt_h


@dataclass(frozen=True, eq=False)
class CostToGo:
    """V_1 of n homes, their segments one after the other.

    first   (n + 1,) the segments of home i are first[i] .. first[i + 1] - 1; none: its V_1 is not known
    start   (n,) kWh where the first one begins
    slope   $/kWh, increasing within a home       right   kWh where each ends
    """

    first: Ints
    start: Floats
    slope: Floats
    right: Floats

    @classmethod
    def unknown(cls, n: int) -> Self:
        """Return that of n homes of which nothing is known."""
        return cls(np.zeros(n + 1, dtype=np.int64), np.zeros(n), np.zeros(0), np.zeros(0))

    @property
    def known(self) -> Flags:
        """(n,) there is a V_1."""
        return np.diff(self.first) > 0

    def without(self, homes: Flags) -> CostToGo:
        """Return the same without what is known of `homes`, (n,) bool."""
        size = np.where(homes, 0, np.diff(self.first))
        kept = np.repeat(~homes, np.diff(self.first))
        first = np.concatenate([[0], np.cumsum(size)])
        return CostToGo(first, self.start, self.slope[kept], self.right[kept])

    def of(self, i: int) -> tuple[list[float], list[float], float]:
        """Return slopes, right ends and start of one home."""
        segments = slice(self.first[i], self.first[i + 1])
        return self.slope[segments].tolist(), self.right[segments].tolist(), float(self.start[i])

    def take(self, homes: Rows) -> CostToGo:
        """Return that of the homes numbered `homes`."""
        size = np.diff(self.first)[homes]
        first = np.concatenate([[0], np.cumsum(size)])
        at = np.repeat(self.first[homes] - first[:-1], size) + np.arange(first[-1])
        return CostToGo(first, self.start[homes], self.slope[at], self.right[at])

    @classmethod
    def join(cls, parts: Sequence[CostToGo]) -> Self:
        """Return that of the homes of all parts, in order."""
        offsets = np.cumsum([0] + [part.first[-1] for part in parts])
        first = [part.first[1:] + offset for part, offset in zip(parts, offsets, strict=False)]
        return cls(
            np.concatenate([[0], *first]),
            *(
                np.concatenate([getattr(part, name) for part in parts])
                for name in ("start", "slope", "right")
            ),
        )

    @cached_property
    def kinks(self) -> tuple[Floats, Floats]:
        """Return the kinks of all V_1, kWh, ends included, and V_1 there, $, from 0 at the first.

        Home i has one more of them than segments: they begin at first[i] + i.
        """
        homes = np.arange(len(self.start))
        ends = np.insert(self.right, self.first[:-1], self.start)
        rise = np.insert(self.slope, self.first[:-1], 0.0)
        begin = self.first[:-1] + homes
        step = np.diff(ends, prepend=0.0)
        step[begin] = 0.0
        value = np.cumsum(rise * step)
        return ends, value - np.repeat(value[begin], np.diff(self.first) + 1)

    def value(self, e: Floats) -> Floats:
        """Return V_1(e) of each home, (n,) $, from 0 at its start; straight on beyond its ends."""
        ends, values = self.kinks
        size = np.diff(self.first)
        home = np.repeat(np.arange(len(e)), size)
        inner = np.ones(len(self.right), dtype=bool)
        inner[self.first[1:] - 1] = False
        at = self.first[:-1] + np.bincount(home, inner & (self.right <= e[home]), len(e)).astype(np.int64)
        left = at + np.arange(len(e))
        return values[left] + self.slope[at] * (e - ends[left])
