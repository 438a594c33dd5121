"""The dynamic programme of `hems.dp`, compiled by numba: the same mathematics over flat arrays.

One call plans a batch, home after home. V_T .. V_1 of the home in hand lie one after the other in one buffer,
as slopes, widths and right ends of segments; a step back is one merge of two sorted lists that cuts both ends
as it goes. Nothing but the results grows with the number of homes.

Imported only where numba is installed (extra `fast`); the compiled code is kept in numba's cache.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from hems.config import TieBreak
from hems.model import Problems
from hems.stages import (
    EQUAL_SLOPE_PER_KW,
    EXPORT,
    IMPORT,
    OUT_OF_REACH_KW,
    OVER,
    SAME_PLACE,
    SORTED,
    SPILL,
    first_used,
    kind_slopes,
    order_of,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

_PIECES = 5  # segments of psi: four of G, one of them split at b = 0
_LEAST_BATTERY, _DEFER_EXPORT, _EXPORT_EARLY = range(3)
_TIE_BREAKS: dict[TieBreak, int] = {
    "least_battery": _LEAST_BATTERY,
    "defer_export": _DEFER_EXPORT,
    "export_early": _EXPORT_EARLY,
}

compiled: Any = numba.njit(cache=True, error_model="numpy")


class Group(NamedTuple):
    """What all homes of a batch share.

    slope   (T, 4) $/kWh of G by kind      order   (T, 4) kinds by slope, spill first among equals
    prefer  (T, 4) the same, first among equals as the tie-break wants it     defer   (T, 4), export first
    wear    (T, 2) $/kWh of charging and discharging
    column  first columns of import, import above the limit, export, charge, discharge, spill, SOC, shortfall,
            surplus; row: first rows of balance, dynamics, terminal
    """

    n_ticks: int
    dt_h: float
    eta_c: float
    eta_d: float
    kept: float
    tie_break: int
    slope: Floats
    order: Ints
    prefer: Ints
    defer: Ints
    wear: Floats
    rho: float
    surplus_price: float
    column: Ints
    row: Ints


class Numbers(NamedTuple):
    """Bounds, right-hand sides and start of the homes, as in `hems.model.Problems`."""

    lo: Floats
    hi: Floats
    rhs: Floats
    soc_kwh: Floats


class Scratch(NamedTuple):
    """Room for one home: psi by tick, and the segments of V_T .. V_1.

    p, w      (T, 5) slopes and widths of psi       n (T,) how many       d_min (T,)
    first     (T + 1,) where V_k begins             size (T + 1,)         start, end (T + 1,)
    slope, width, right   segments of all V_k
    """

    p: Floats
    w: Floats
    n: Ints
    d_min: Floats
    first: Ints
    size: Ints
    start: Floats
    end: Floats
    slope: Floats
    width: Floats
    right: Floats
    length: Floats


class Plans(NamedTuple):
    """Results: as `hems.dp_backend.DpPlans`, and prices of power.

    v_first (n + 1,), v_slope, v_right   V_1 of the homes on what they can reach in tick 0; v_start (n,)
    """

    stored_kwh: Floats
    energy_price: Floats
    first: Floats
    found: Flags


@compiled
def _bisect(ends: Floats, first: int, size: int, x: float) -> int:
    """Return the first of `size` indices from `first` on whose end lies beyond x, or the last one."""
    low, high = first, first + size - 1
    while low < high:
        middle = (low + high) // 2
        if ends[middle] > x:
            high = middle
        else:
            low = middle + 1
    return low


@compiled
def _lengths(group: Group, lo: Floats, hi: Floats, k: int, net: float, length: Floats) -> float:
    """Fill in the lengths of G's segments by kind; return the z where G begins."""
    column = group.column
    spill, least = hi[column[5] + k], lo[column[2] + k]
    export = min(hi[column[2] + k], max(least, hi[column[4] + k] - net) + OUT_OF_REACH_KW)
    most_in = max(lo[column[0] + k] + lo[column[1] + k], net + hi[column[3] + k] + spill) + OUT_OF_REACH_KW
    length[SPILL] = spill
    length[EXPORT] = export - least
    length[IMPORT] = min(hi[column[0] + k], most_in)
    length[OVER] = hi[column[1] + k]
    return lo[column[0] + k] + lo[column[1] + k] - export - spill


@compiled
def _stage(group: Group, lo: Floats, hi: Floats, k: int, net: float, room: Scratch) -> bool:
    """Fill in psi of tick k; return whether the dynamic programme applies to it."""
    z = _lengths(group, lo, hi, k, net, room.length)
    slope, order, length = group.slope, group.order, room.length
    trades = slope[k, EXPORT] > slope[k, IMPORT] + EQUAL_SLOPE_PER_KW / group.dt_h
    if trades and length[EXPORT] > 0.0 and length[IMPORT] > 0.0:
        return False
    least, most = -hi[group.column[4] + k], hi[group.column[3] + k]
    if z - net > most + SAME_PLACE:
        return False
    per_out, per_in = group.dt_h / group.eta_d, group.dt_h * group.eta_c
    before = min(max(z - net, least), most)
    if abs(before) < SAME_PLACE:
        before = 0.0
    room.d_min[k] = before * (per_out if before < 0.0 else per_in)
    n, last = 0, -np.inf
    for j in range(4):
        kind = order[k, j]
        z += length[kind]
        b = min(max(z - net, least), most)
        if abs(b) < SAME_PLACE:
            b = 0.0
        if before < 0.0 and b > before:
            p = (slope[k, kind] - group.wear[k, 1]) * group.eta_d
            if p < last - SORTED:
                return False
            room.p[k, n], room.w[k, n] = p, (min(b, 0.0) - before) * per_out
            n, last = n + 1, p
        if b > 0.0 and b > before:
            p = (slope[k, kind] + group.wear[k, 0]) / group.eta_c
            if p < last - SORTED:
                return False
            room.p[k, n], room.w[k, n] = p, (b - max(before, 0.0)) * per_in
            n, last = n + 1, p
        before = b
    room.n[k] = n
    return bool(z - net >= least - SAME_PLACE)


@compiled
def _terminal(group: Group, target: float, lo: float, hi: float, room: Scratch) -> None:
    """Fill in V_T."""
    k, target = group.n_ticks, min(max(target, lo), hi)
    room.first[k], room.size[k], room.start[k], room.end[k] = 0, 2, lo, hi
    room.slope[0], room.width[0], room.right[0] = -group.rho, target - lo, target
    room.slope[1], room.width[1], room.right[1] = group.surplus_price, hi - target, hi


@compiled
def _step_back(group: Group, k: int, lo: float, hi: float, room: Scratch) -> bool:
    """Fill in V_k from V_{k+1} and psi_k; return whether anything is left of it between lo and hi."""
    kept = group.kept
    total = 0.0
    for j in range(room.n[k]):
        total += room.w[k, j]
    start = (room.start[k + 1] - room.d_min[k] - total) / kept
    end = (room.end[k + 1] - room.d_min[k]) / kept
    if start > hi + SAME_PLACE or end < lo - SAME_PLACE:
        return False
    i, stop, j = room.first[k + 1], room.first[k + 1] + room.size[k + 1], room.n[k] - 1
    first = stop
    at, x, s = first - 1, start, 0.0
    while (i < stop or j >= 0) and x < hi:
        if j < 0 or (i < stop and room.slope[i] <= -room.p[k, j]):
            s, w = room.slope[i] * kept, room.width[i] / kept
            i += 1
        else:
            s, w = -room.p[k, j] * kept, room.w[k, j] / kept
            j -= 1
        right = min(x + w, hi)
        if right > lo and right > x:
            left = max(x, lo)
            if at >= first and room.slope[at] == s:
                room.width[at] += right - left
            else:
                at += 1
                room.slope[at], room.width[at] = s, right - left
            room.right[at] = right
        x = right
    if at < first:  # a single point is left
        at = first
        room.slope[at], room.width[at] = s, 0.0
    room.first[k], room.size[k] = first, at - first + 1
    room.start[k], room.end[k] = max(start, lo), max(min(end, hi), max(start, lo))
    room.right[at] = room.end[k]
    return True


@compiled
def _interval(e: float, k: int, equal: float, room: Scratch) -> tuple[bool, float, float]:
    """Return whether there is a D at tick k, and the least and largest optimal one; see `hems.dp`."""
    start, end = room.start[k + 1], room.end[k + 1]
    d, x = room.d_min[k], e + room.d_min[k]
    if x > end + SAME_PLACE:
        return False, 0.0, 0.0
    last = room.first[k + 1] + room.size[k + 1] - 1
    at = _bisect(room.right, room.first[k + 1], room.size[k + 1], x)
    lo, open_ = d, True
    for j in range(room.n[k]):
        p, w = room.p[k, j], room.w[k, j]
        while w > 0.0:
            while at < last and room.right[at] <= x:
                at += 1
            below = x < start
            space = (start if below else room.right[at]) - x
            gain = np.inf
            if below:
                gain = -np.inf
            elif space > 0.0:
                gain = p + room.slope[at]
            if gain >= -equal and open_:
                lo, open_ = d, False
            if gain > equal:
                return True, lo, d
            if w < space:
                d, x, w = d + w, x + w, 0.0
            else:
                d, w, x = d + space, w - space, start if below else room.right[at]
    return bool(x >= start - SAME_PLACE), d if open_ else lo, d


@compiled
def _preferred(group: Group, lo: float, hi: float, begin: float, end: float) -> float:
    """Return the D that the tie-break takes, where export falls from most to least between begin and end."""
    if group.tie_break != _LEAST_BATTERY and end - begin > SAME_PLACE:
        if group.tie_break == _DEFER_EXPORT:
            if hi >= end - SAME_PLACE:
                lo = max(lo, min(end, hi))
            elif hi > begin + SAME_PLACE:
                lo = hi
        elif lo <= begin + SAME_PLACE:
            hi = min(hi, max(begin, lo))
        elif lo < end - SAME_PLACE:
            hi = lo
    return min(max(lo, 0.0), hi)


@compiled
def _export_begin(order: Ints, k: int, kind: int, start: float, length: Floats) -> float:
    """Return the z where the segment of `kind` begins."""
    z = start
    for j in range(4):
        if order[k, j] == kind:
            break
        z += length[order[k, j]]
    return z


@compiled
def _energy(group: Group, b: float) -> float:
    """Return the energy that b stores in a tick, kWh."""
    return group.dt_h * (b * group.eta_c if b > 0.0 else b / group.eta_d)


@compiled
def _price(group: Group, k: int, d: float, e: float, mu: float, room: Scratch) -> float:
    """Return mu_{k+1}: as near to mu_k as the slopes of psi_k and V_{k+1} around D and e_{k+1} allow."""
    low, high = d - SAME_PLACE, d + SAME_PLACE
    falls, rises, x = -np.inf, np.inf, room.d_min[k]
    for j in range(room.n[k]):
        if low > x:
            falls = room.p[k, j]
        x += room.w[k, j]
        if high < x:
            rises = room.p[k, j]
            break
    first, size = room.first[k + 1], room.size[k + 1]
    left, right = -np.inf, np.inf
    if e - SAME_PLACE >= room.start[k + 1]:
        left = room.slope[_bisect(room.right, first, size, e - SAME_PLACE)]
    if e + SAME_PLACE <= room.end[k + 1]:
        right = room.slope[_bisect(room.right, first, size, e + SAME_PLACE)]
    return min(max(max(mu / group.kept, falls), -right), min(rises, -left))


@compiled
def _home(group: Group, numbers: Numbers, i: int, room: Scratch, plans: Plans) -> bool:
    """Plan home i; return whether the dynamic programme applies to it."""
    lo, hi, rhs = numbers.lo[i], numbers.hi[i], numbers.rhs[i]
    n, soc = group.n_ticks, group.column[6]
    for k in range(n):
        if not _stage(group, lo, hi, k, rhs[group.row[0] + k], room):
            return False
    _terminal(group, rhs[group.row[2]], lo[soc + n - 1], hi[soc + n - 1], room)
    for k in range(n - 1, 0, -1):
        if not _step_back(group, k, lo[soc + k - 1], hi[soc + k - 1], room):
            return False
    e, mu, equal = numbers.soc_kwh[i], 0.0, EQUAL_SLOPE_PER_KW / group.dt_h
    for k in range(n):
        e *= group.kept
        there_is, least, most = _interval(e, k, equal, room)
        if not there_is:
            return False
        if k == 0:
            plans.first[i, 0], plans.first[i, 1] = least, most
        begin = end = 0.0
        if group.tie_break != _LEAST_BATTERY:
            net = rhs[group.row[0] + k]
            start = _lengths(group, lo, hi, k, net, room.length)
            z = _export_begin(group.prefer, k, EXPORT, start, room.length)
            begin, end = _energy(group, z - net), _energy(group, z + room.length[EXPORT] - net)
        d = _preferred(group, least, most, begin, end)
        e += d
        mu = _price(group, k, d, e, mu, room)
        plans.stored_kwh[i, k], plans.energy_price[i, k] = d, mu
    return True


@compiled
def _all(group: Group, numbers: Numbers, room: Scratch, plans: Plans) -> None:
    """Plan every home."""
    for i in range(len(numbers.soc_kwh)):
        plans.found[i] = _home(group, numbers, i, room, plans)


def group_of(problems: Problems, tie_break: TieBreak) -> Group:
    """Return what the homes of `problems` share."""
    structure, cost = problems.structure, problems.cost
    col, row = structure.col, structure.row
    slope = kind_slopes(problems)
    names = (
        col.p_import_kw, col.p_over_import_kw, col.p_export_kw, col.p_charge_kw, col.p_discharge_kw,
        col.p_spill_kw, col.soc_kwh, col.shortfall_kwh, col.surplus_kwh,
    )  # fmt: skip
    return Group(
        n_ticks=structure.n_ticks,
        dt_h=structure.dt_h,
        eta_c=structure.eta_charge,
        eta_d=structure.eta_discharge,
        kept=1.0,
        tie_break=_TIE_BREAKS[tie_break],
        slope=slope,
        order=order_of(slope),
        prefer=order_of(slope, first_used(tie_break)),
        defer=order_of(slope, first_used("defer_export")),
        wear=np.stack([cost[col.p_charge_kw], cost[col.p_discharge_kw]], axis=1) / structure.dt_h,
        rho=float(cost[col.shortfall_kwh.start]),
        surplus_price=float(cost[col.surplus_kwh.start]),
        column=np.array([block.start for block in names]),
        row=np.array([block.start for block in row]),
    )


def scratch(n_ticks: int) -> Scratch:
    """Return room for one home of so many ticks."""
    most = 4 + (2 + _PIECES * n_ticks) * (n_ticks + 1)
    return Scratch(
        p=np.empty((n_ticks, _PIECES)),
        w=np.empty((n_ticks, _PIECES)),
        n=np.empty(n_ticks, dtype=np.int64),
        d_min=np.empty(n_ticks),
        first=np.empty(n_ticks + 1, dtype=np.int64),
        size=np.empty(n_ticks + 1, dtype=np.int64),
        start=np.empty(n_ticks + 1),
        end=np.empty(n_ticks + 1),
        slope=np.empty(most),
        width=np.empty(most),
        right=np.empty(most),
        length=np.empty(4),
    )


def plan_all(problems: Problems, tie_break: TieBreak) -> Plans:
    """Return the plans of all homes of `problems`."""
    n, n_ticks = len(problems), problems.structure.n_ticks
    numbers = Numbers(
        *(
            np.require(a, np.float64, ("C", "W"))
            for a in (problems.col_lo, problems.col_hi, problems.rhs, problems.soc_kwh)
        )
    )
    plans = Plans(
        np.zeros((n, n_ticks)), np.zeros((n, n_ticks)), np.zeros((n, 2)), np.zeros(n, dtype=np.bool_)
    )
    _all(group_of(problems, tie_break), numbers, scratch(n_ticks), plans)
    return plans
