"""(1) of one battery as a convex dynamic programme, exact, in plain Python.

With psi_k of `hems.stages` the cost-to-go is

    V_T(e) = rho (e* - e)^+  [+ rho (e - e*)^+ where the terminal is an equality]
    V_k(e) = min { psi_k(D) + V_{k+1}(keep e + D) },    e_min <= e <= e_max,    keep = 1: no self-discharge

All are convex and piecewise linear. Such a minimum is an infimal convolution: the slopes of V_k are those of
V_{k+1} and the negated ones of psi_k, merged in order (Bellman, "Dynamic Programming", 1957; Rockafellar,
"Convex Analysis", 1970, theorem 16.4 in slopes). So V is kept as a sorted list of slopes with their widths,
and a step is at most eight insertions and two cuts.

Forward from e_0, psi_k' + V_{k+1}' = 0 gives the whole interval of optimal D, from which the tie-break takes
one. The prices of stored energy, mu_{k+1} in -dV_{k+1}(e_{k+1}) and dpsi_k(D_k), are multipliers of (1c):
with them `hems.duality` bounds the cost from below by LP duality, whatever happened here.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from hems.config import TieBreak
from hems.stages import EQUAL_SLOPE_PER_KW, SAME_PLACE

_INF = float("inf")


class ConvexFunction(NamedTuple):
    """Slopes, increasing, and widths of a convex function on [start, end], up to a constant."""

    slope: list[float]
    width: list[float]
    start: float
    end: float

    def kinks(self) -> list[float]:
        """Return the right ends of the segments; the last is `end`, without rounding."""
        ends = list(accumulate(self.width, initial=self.start))[1:]
        ends[-1] = self.end
        return ends

    def around(self, lo: float, hi: float) -> ConvexFunction:
        """Return the segments that [lo, hi] touches, whole."""
        ends = self.kinks()
        first, last = (min(bisect_right(ends, x), len(ends) - 1) for x in (lo, hi))
        start = self.start if first == 0 else ends[first - 1]
        return ConvexFunction(self.slope[first : last + 1], self.width[first : last + 1], start, ends[last])

    def clipped(self, lo: float, hi: float) -> ConvexFunction | None:
        """Return the function on [lo, hi], None when nothing is left."""
        slope, width, start, end = self
        return _cut(slope.copy(), width.copy(), (start, end), (lo, hi))


def _cut(
    slope: list[float], width: list[float], ends: tuple[float, float], band: tuple[float, float]
) -> ConvexFunction | None:
    """Return a function given by lists, which are cut in place, between two bounds; None: nothing is left."""
    (start, end), (lo, hi) = ends, band
    if start > hi + SAME_PLACE or end < lo - SAME_PLACE:
        return None
    if lo > start:
        first, last = 0, len(slope) - 1
        while first < last and start + width[first] <= lo:
            start += width[first]
            first += 1
        if first:
            del slope[:first], width[:first]
        width[0] -= lo - start
        start = lo
    if hi < end:
        while len(slope) > 1 and end - width[-1] >= hi:
            end -= width.pop()
            slope.pop()
        width[-1] -= end - hi
        end = hi
    return ConvexFunction(slope, width, start, end if end > start else start)


class Stage(NamedTuple):
    """psi of one tick: (slope, width) of its segments that are not empty, from d_min on."""

    segments: list[tuple[float, float]]
    d_min: float


def terminal(rho: float, surplus_price: float, *, target: float, band: tuple[float, float]) -> ConvexFunction:
    """Return V_T."""
    lo, hi = band
    target = min(max(target, lo), hi)
    return ConvexFunction([-rho, surplus_price], [target - lo, hi - target], lo, hi)


def step_back(
    later: ConvexFunction, stage: Stage, band: tuple[float, float] = (-_INF, _INF), *, keep: float = 1.0
) -> ConvexFunction | None:
    """Return e -> min { stage(D) + later(keep e + D) } within a band; None when nothing is left of it."""
    slope, width, start, end = later
    segments, d_min = stage
    slope, width = slope.copy(), width.copy()
    start, end = start - d_min, end - d_min
    for p, w in segments:
        at = bisect_left(slope, -p)
        if at < len(slope) and slope[at] == -p:
            width[at] += w
        else:
            slope.insert(at, -p)
            width.insert(at, w)
        start -= w
    if keep != 1.0:
        slope, width = [s * keep for s in slope], [w / keep for w in width]
        start, end = start / keep, end / keep
    return _cut(slope, width, (start, end), band)


def costs_to_go(
    last: ConvexFunction, stages: Sequence[Stage], bands: Sequence[tuple[float, float]], *, keep: float = 1.0
) -> list[ConvexFunction] | None:
    """Return V_1 .. V_T; None where a band cannot be kept.

    stages   those of ticks 0 .. T-1; bands   of e_1 .. e_T
    """
    found, later = [last], last
    for k in range(len(stages) - 1, 0, -1):
        before = step_back(later, stages[k], bands[k - 1], keep=keep)
        if before is None:
            return None
        found.append(before)
        later = before
    found.reverse()
    return found


class Preference(NamedTuple):
    """Which D of an optimal interval the tie-break takes: see `preferred`.

    begin, end   D over which export falls from most to least
    """

    tie_break: TieBreak
    begin: list[float]
    end: list[float]


class HomePlan(NamedTuple):
    """The plan of one home.

    stored_kwh    D of every tick       energy_price   mu_1 .. mu_T, $/kWh of stored energy
    first         least and largest optimal D of tick 0          later   V_1
    """

    stored_kwh: list[float]
    energy_price: list[float]
    first: tuple[float, float]
    later: ConvexFunction


def forward(
    soc_kwh: float,
    stages: Sequence[Stage],
    later: Sequence[ConvexFunction],
    *,
    prefer: Preference,
    equal: float,
    keep: float = 1.0,
) -> HomePlan | None:
    """Return the plan that starts from `soc_kwh`; None where none keeps to the bands.

    later   V_1 .. V_T       equal   $/kWh, slopes that add up to no more than this count as zero
    """
    e, mu, simple = soc_kwh, 0.0, prefer.tie_break == "least_battery"
    stored, price, first = [], [], (0.0, 0.0)
    for k, (stage, to_go) in enumerate(zip(stages, later, strict=True)):
        e *= keep
        ends = to_go.kinks()
        interval = optimal_interval(e, stage, to_go, ends, equal=equal)
        if interval is None:
            return None
        first = interval if k == 0 else first
        lo, hi = interval
        if lo == hi:
            d = lo
        elif simple:
            d = lo if lo > 0.0 else hi if hi < 0.0 else 0.0
        else:
            d = preferred(interval, prefer, k)
        e += d
        left, right = slopes_at(e, to_go, ends)
        falls, rises = stage_slopes_at(d, stage)
        least, most = (falls if falls > -right else -right), (rises if rises < -left else -left)
        mu = min(max(mu / keep, least), most)
        stored.append(d)
        price.append(mu)
    return HomePlan(stored, price, first, later[0])


def optimal_interval(
    e: float, stage: Stage, later: ConvexFunction, ends: Sequence[float], *, equal: float
) -> tuple[float, float] | None:
    """Return the least and largest D that minimise stage(D) + later(e + D), None when there is none."""
    slope, _, start, end = later
    segments, d = stage
    x, last = e + d, len(ends) - 1
    if x > end + SAME_PLACE:
        return None
    at, lo = min(bisect_right(ends, x), last), None
    for p, w in segments:
        while w > 0.0:
            while at < last and ends[at] <= x:
                at += 1
            below = x < start
            room = (start if below else ends[at]) - x
            gain = -_INF if below else p + slope[at] if room > 0.0 else _INF
            if gain >= -equal and lo is None:
                lo = d
            if gain > equal:
                return (d if lo is None else lo), d
            if w < room:
                d, x, w = d + w, x + w, 0.0
            else:
                d, w, x = d + room, w - room, start if below else ends[at]
    if x < start - SAME_PLACE:
        return None
    return (d if lo is None else lo), d


def preferred(interval: tuple[float, float], prefer: Preference, k: int) -> float:
    """Return the D that the tie-break takes: export first where it says so, then least |D|."""
    lo, hi = interval
    if prefer.tie_break != "least_battery":
        begin, end = prefer.begin[k], prefer.end[k]
        exports = end - begin > SAME_PLACE
        if prefer.tie_break == "defer_export" and exports:
            if hi >= end - SAME_PLACE:
                lo = max(lo, min(end, hi))
            elif hi > begin + SAME_PLACE:
                lo = hi
        elif exports:
            if lo <= begin + SAME_PLACE:
                hi = min(hi, max(begin, lo))
            elif lo < end - SAME_PLACE:
                hi = lo
    return nearest_to_idle((lo, hi))


def nearest_to_idle(interval: tuple[float, float]) -> float:
    """Return the D of least |D|."""
    return min(max(interval[0], 0.0), interval[1])


def equal_slopes(dt_h: float) -> float:
    """Return the difference, $/kWh, up to which two marginal costs are one."""
    return EQUAL_SLOPE_PER_KW / dt_h


def slopes_at(x: float, function: ConvexFunction, ends: Sequence[float]) -> tuple[float, float]:
    """Return the left and right derivative at x, infinite beyond the ends."""
    slope, _, start, end = function
    low, high, size = x - SAME_PLACE, x + SAME_PLACE, len(ends)
    left = right = bisect_left(ends, low)
    while right < size and ends[right] <= high:
        right += 1
    return (
        -_INF if low < start else slope[left] if left < size else slope[-1],
        _INF if high > end else slope[right] if right < size else slope[-1],
    )


def stage_slopes_at(d: float, stage: Stage) -> tuple[float, float]:
    """Return the left and right derivative of psi at d, infinite beyond the ends."""
    low, high, left = d - SAME_PLACE, d + SAME_PLACE, -_INF
    segments, end = stage
    for p, w in segments:
        if low > end:
            left = p
        end += w
        if high < end:
            return left, p
    return left, _INF
