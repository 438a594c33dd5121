"""The dynamic programme of `hems.dp`, compiled by numba: the same mathematics over flat arrays.

One call plans a batch, home after home. V_T .. V_1 of the home in hand lie one after the other in one buffer,
as slopes and right ends of segments; a step back copies V_{k+1} with the segments of psi put in between, and
cuts both ends by counting. Nothing but the results grows with the number of homes.

Imported only where numba is installed (extra `fast`); the compiled code is kept in numba's cache.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from hems.config import TieBreak
from hems.cost_to_go import CostToGo, FirstTick
from hems.dp_arrays import (
    COL_CHARGE,
    COL_DISCHARGE,
    COL_EXPORT,
    COL_IMPORT,
    COL_OVER,
    COL_SOC,
    COL_SPILL,
    DEFER_EXPORT,
    LEAST_BATTERY,
    ROW_BALANCE,
    ROW_TERMINAL,
    Floats,
    Group,
    Ints,
    Kept,
    Numbers,
    Plans,
    Scratch,
    group_of,
    numbers_of,
    plans,
    scratch,
)
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
)

# Nothing in here makes or keeps an array, so that none of numba's counting of references (`_nrt`) is needed:
# with it, and without `forceinline`, every call counts and copies every array of its tuples, and a plan takes
# five times as long.
_OPTIONS: Any = {"cache": True, "error_model": "numpy", "forceinline": True, "_nrt": False}
compiled: Any = numba.njit(**_OPTIONS)


@compiled
def _bisect(ends: Floats, first: int, size: int, x: float) -> int:
    """Return the first of `size` indices from `first` on whose end lies beyond x, or the last one."""
    at, left = first, size - 1  # halved without a branch, which the processor could only guess
    while left > 0:
        half = (left + 1) >> 1
        at += half if ends[at + half - 1] <= x else 0
        left -= half
    return at


@compiled
def _grid(group: Group, lo: Floats, hi: Floats, k: int, net: float, room: Scratch) -> None:
    """Fill in G of tick k: lengths of its segments by kind, and the z where it begins."""
    column, length = group.column, room.length
    imported = lo[column[COL_IMPORT] + k] + lo[column[COL_OVER] + k]
    spill, least = hi[column[COL_SPILL] + k], lo[column[COL_EXPORT] + k]
    most_out = max(least, hi[column[COL_DISCHARGE] + k] - net) + OUT_OF_REACH_KW
    most_in = max(imported, net + hi[column[COL_CHARGE] + k] + spill) + OUT_OF_REACH_KW
    export = min(hi[column[COL_EXPORT] + k], most_out)
    length[k, SPILL] = spill
    length[k, EXPORT] = export - least
    length[k, IMPORT] = min(hi[column[COL_IMPORT] + k], most_in)
    length[k, OVER] = hi[column[COL_OVER] + k]
    room.z[k] = imported - export - spill


@compiled
def _stage(group: Group, lo: Floats, hi: Floats, k: int, net: float, room: Scratch) -> bool:
    """Fill in G and psi of tick k; return whether the dynamic programme applies to it."""
    _grid(group, lo, hi, k, net, room)
    slope, order, length, z = group.slope, group.order, room.length, room.z[k]
    trades = slope[k, EXPORT] > slope[k, IMPORT] + EQUAL_SLOPE_PER_KW / group.dt_h
    if trades and length[k, EXPORT] > 0.0 and length[k, IMPORT] > 0.0:
        return False
    least, most = -hi[group.column[COL_DISCHARGE] + k], hi[group.column[COL_CHARGE] + k]
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
        z += length[k, kind]
        b = min(max(z - net, least), most)
        if abs(b) < SAME_PLACE:
            b = 0.0
        if b <= before:
            continue
        if before < 0.0:
            p = (slope[k, kind] - group.wear[k, 1]) * group.eta_d
            if p < last - SORTED:
                return False
            room.p[k, n], room.w[k, n] = p, (min(b, 0.0) - before) * per_out
            n, last = n + 1, p
        if b > 0.0:
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
    room.slope[0], room.right[0] = -group.rho, target
    room.slope[1], room.right[1] = group.surplus_price, hi


@compiled
def _copy(room: Scratch, source: int, target: int, count: int, shift: float) -> None:
    """Copy segments, moving their right ends; unsigned indices let the compiler use wide registers."""
    slope, right, a, b = room.slope, room.right, np.uint64(source), np.uint64(target)
    for m in range(np.uint64(count)):
        slope[b + m] = slope[a + m]
    for m in range(np.uint64(count)):
        right[b + m] = right[a + m] + shift


@compiled
def _merge(group: Group, k: int, room: Scratch, start: float) -> int:
    """Write the slopes of V_{k+1} and the negated ones of psi_k in order; return where they end."""
    slope, right, keep = room.slope, room.right, group.keep
    i, stop = room.first[k + 1], room.first[k + 1] + room.size[k + 1]
    at, shift = stop, start - room.start[k + 1]
    for j in range(room.n[k] - 1, -1, -1):
        s, w = -room.p[k, j], room.w[k, j]
        low, left = i, stop - i
        while left > 0:
            half = (left + 1) >> 1
            low += half if slope[low + half - 1] < s else 0
            left -= half
        _copy(room, i, at, low - i, shift)
        at += low - i
        i = low
        if i == stop or slope[i] != s:
            before = right[at - 1] if at > stop else start
            slope[at], right[at] = s, before + w
            at += 1
        shift += w  # of an equal segment the right end moves with the rest
    _copy(room, i, at, stop - i, shift)
    at += stop - i
    if keep != 1.0:
        for m in range(stop, at):
            slope[m] *= keep
            right[m] /= keep
    return at


@compiled
def _step_back(group: Group, k: int, lo: float, hi: float, room: Scratch) -> bool:
    """Fill in V_k from V_{k+1} and psi_k; return whether anything is left of it between lo and hi."""
    total = 0.0
    for j in range(room.n[k]):
        total += room.w[k, j]
    start = room.start[k + 1] - room.d_min[k] - total
    end = (room.end[k + 1] - room.d_min[k]) / group.keep
    if start / group.keep > hi + SAME_PLACE or end < lo - SAME_PLACE:
        return False
    at = room.first[k + 1] + room.size[k + 1]
    size = _merge(group, k, room, start) - at
    start, end = max(start / group.keep, lo), min(end, hi)
    first = _bisect(room.right, at, size, start)
    last = _bisect(room.right, at, size, end)
    if last > first and room.right[last - 1] >= end:
        last -= 1
    room.right[last] = end = max(end, start)
    room.first[k], room.size[k], room.start[k], room.end[k] = first, last - first + 1, start, end
    return True


@compiled
def _steeper(first: int, stop: int, slope: float, room: Scratch) -> int:
    """Return the first of the segments first .. stop - 1 with at least `slope`; stop if there is none."""
    at, left = first, stop - first
    while left > 0:
        half = (left + 1) >> 1
        at += half if room.slope[at + half - 1] < slope else 0
        left -= half
    return at


@compiled
def _interval(e: float, k: int, equal: float, room: Scratch) -> tuple[bool, float, float]:
    """Return whether there is a D at tick k, and the least and largest optimal one.

    In a segment of psi with slope p, D grows until the slope of V_{k+1} at e + D has reached -p.
    """
    start, first = room.start[k + 1], room.first[k + 1]
    if e + room.d_min[k] > room.end[k + 1] + SAME_PLACE:
        return False, 0.0, 0.0
    j, n, d = 0, room.n[k], room.d_min[k]
    at, wanted = first + room.size[k + 1], d
    while j < n:  # the steeper psi, the earlier in V: what was found bounds the next search
        at = _steeper(first, at, -room.p[k, j] - equal, room)
        wanted = (start if at == first else room.right[at - 1]) - e
        if wanted < d + room.w[k, j]:
            break
        d += room.w[k, j]
        j += 1
    lo = hi = max(d, wanted) if j < n else d
    while j < n:
        d += room.w[k, j]
        while at < first + room.size[k + 1] and room.slope[at] < equal - room.p[k, j]:
            at += 1
        wanted = (start if at == first else room.right[at - 1]) - e
        hi = max(hi, min(wanted, d))
        j += 1
        if wanted < d or j == n:
            break
        at = _steeper(first, at, equal - room.p[k, j], room)
    return bool(e + hi >= start - SAME_PLACE), lo, hi


@compiled
def _begin(order: Ints, k: int, kind: int, room: Scratch) -> float:
    """Return the z where the segment of `kind` begins."""
    z = room.z[k]
    for j in range(4):
        if order[k, j] == kind:
            break
        z += room.length[k, order[k, j]]
    return z


@compiled
def _used(order: Ints, k: int, kind: int, z: float, room: Scratch) -> float:
    """Return how far the segment of `kind` is used up at z, kW: so much less is exported or spilled."""
    return min(max(z - _begin(order, k, kind, room), 0.0), room.length[k, kind])


@compiled
def _energy(group: Group, b: float) -> float:
    """Return the energy that b stores in a tick, kWh."""
    return group.dt_h * (b * group.eta_c if b > 0.0 else b / group.eta_d)


@compiled
def _power(group: Group, d: float) -> float:
    """Return the net battery power that stores d in a tick, kW."""
    return (d / group.eta_c if d > 0.0 else d * group.eta_d) / group.dt_h


@compiled
def _preferred(group: Group, k: int, net: float, lo: float, hi: float, room: Scratch) -> float:
    """Return the D that the tie-break takes: export first where it says so, then least |D|."""
    if group.tie_break != LEAST_BATTERY:
        z = _begin(group.prefer, k, EXPORT, room)
        begin, end = _energy(group, z - net), _energy(group, z + room.length[k, EXPORT] - net)
        if end - begin <= SAME_PLACE:
            pass
        elif group.tie_break == DEFER_EXPORT:
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
def _energy_price(keep: float, k: int, d: float, e: float, mu: float, room: Scratch) -> float:
    """Return mu_{k+1}: as near to mu_k / keep as the slopes of psi_k and V_{k+1} around D and e allow."""
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
    at = _bisect(room.right, first, size, e - SAME_PLACE)
    if e - SAME_PLACE >= room.start[k + 1]:
        left = room.slope[at]
    if e + SAME_PLACE <= room.end[k + 1]:
        while at < first + size - 1 and room.right[at] <= e + SAME_PLACE:
            at += 1
        right = room.slope[at]
    return min(max(max(mu / keep, falls), -right), min(rises, -left))


@compiled
def _power_price(group: Group, k: int, b: float, z: float, mu: float, room: Scratch) -> float:
    """Return the price of power at tick k, $/kWh: the battery's, as far as the slopes of G at z allow."""
    price = mu / group.eta_d + group.wear[k, 1] if b < 0.0 else mu * group.eta_c - group.wear[k, 0]
    x, least, most = room.z[k], -np.inf, np.inf
    for j in range(4):
        kind = group.order[k, j]
        if x < z - SAME_PLACE:
            least = group.slope[k, kind]
        x += room.length[k, kind]
        if x > z + SAME_PLACE:
            most = group.slope[k, kind]
            break
    return min(max(price, least), most)


@compiled
def _backward(group: Group, numbers: Numbers, i: int, room: Scratch) -> bool:
    """Fill in psi and V_T .. V_1 of home i; return whether the dynamic programme applies to it."""
    lo, hi, rhs = numbers.lo[i], numbers.hi[i], numbers.rhs[i]
    n, soc = group.n_ticks, group.column[COL_SOC]
    for k in range(n):
        if not _stage(group, lo, hi, k, rhs[group.row[ROW_BALANCE] + k], room):
            return False
    _terminal(group, rhs[group.row[ROW_TERMINAL]], lo[soc + n - 1], hi[soc + n - 1], room)
    for k in range(n - 1, 0, -1):
        if not _step_back(group, k, lo[soc + k - 1], hi[soc + k - 1], room):
            return False
    return bool(n > 0)


@compiled
def _forward(group: Group, numbers: Numbers, i: int, room: Scratch, out: Plans) -> bool:
    """Fill in the plan of home i; return whether there is one."""
    e, mu, equal = numbers.soc_kwh[i], 0.0, EQUAL_SLOPE_PER_KW / group.dt_h
    for k in range(group.n_ticks):
        net = numbers.rhs[i, group.row[ROW_BALANCE] + k]
        e *= group.keep
        there_is, least, most = _interval(e, k, equal, room)
        if not there_is:
            return False
        if k == 0:
            export = -room.z[0] - room.length[0, SPILL] + numbers.lo[i, group.column[COL_IMPORT]]
            z = net + _power(group, least), net + _power(group, most)
            out.band_kw[i, 0] = export - _used(group.defer, 0, EXPORT, z[1], room)
            out.band_kw[i, 1] = export - _used(group.order, 0, EXPORT, z[0], room)
        d = _preferred(group, k, net, least, most, room)
        e += d
        mu = _energy_price(group.keep, k, d, e, mu, room)
        b = _power(group, d)
        out.battery_kw[i, k] = b
        out.spill_kw[i, k] = room.length[k, SPILL] - _used(group.prefer, k, SPILL, net + b, room)
        out.balance[i, k] = group.dt_h * _power_price(group, k, b, net + b, mu, room)
        out.dynamics[i, k] = -mu
    return True


@compiled
def _keep(group: Group, numbers: Numbers, i: int, room: Scratch, out: Plans) -> None:
    """Store what tick 0 can reach of V_1, behind that of the homes before."""
    e, at = numbers.soc_kwh[i] * group.keep, out.v_first[i]
    least = e - group.dt_h / group.eta_d * numbers.hi[i, group.column[COL_DISCHARGE]]
    most = e + group.dt_h * group.eta_c * numbers.hi[i, group.column[COL_CHARGE]]
    first = _bisect(room.right, room.first[1], room.size[1], least)
    last = _bisect(room.right, room.first[1], room.size[1], most)
    out.v_start[i] = room.start[1] if first == room.first[1] else room.right[first - 1]
    for m in range(first, last + 1):
        out.v_slope[at + m - first], out.v_right[at + m - first] = room.slope[m], room.right[m]
    out.v_first[i + 1] = at + last - first + 1


@compiled
def _all(group: Group, numbers: Numbers, room: Scratch, out: Plans) -> None:
    """Plan every home."""
    for i in range(len(numbers.soc_kwh)):
        out.v_first[i + 1] = out.v_first[i]
        if _backward(group, numbers, i, room) and _forward(group, numbers, i, room, out):
            out.found[i] = True
            _keep(group, numbers, i, room, out)


def plan_all(problems: Problems, tie_break: TieBreak) -> Plans:
    """Return the plans of all homes of `problems`."""
    n_ticks = problems.structure.n_ticks
    found = plans(len(problems), n_ticks)
    _all(group_of(problems, tie_break), numbers_of(problems), scratch(n_ticks), found)
    return found


@compiled
def _answers(tick: FirstTick, to_go: Kept, reach: Floats, room: Scratch, out: Floats) -> None:
    """Fill in D and its price for every home, which may choose from least to most net battery power.

    reach   (n, 2) kW       out   (n, 2)
    """
    per_out, per_in = tick.dt_h / tick.eta_d, tick.dt_h * tick.eta_c
    for i in range(len(reach)):
        first, stop = to_go.first[i], to_go.first[i + 1]
        for m in range(first, stop):
            room.slope[m - first], room.right[m - first] = to_go.slope[m], to_go.right[m]
        room.first[1], room.size[1] = 0, stop - first
        room.start[1], room.end[1] = to_go.start[i], to_go.right[stop - 1]
        least, most, n = reach[i, 0], reach[i, 1], 0
        room.d_min[0] = least * (per_in if least > 0.0 else per_out)
        if least < 0.0:
            room.p[0, 0], room.w[0, 0] = -tick.wear_d * tick.eta_d, (min(most, 0.0) - least) * per_out
            n = 1
        if most > 0.0:
            room.p[0, n], room.w[0, n] = tick.wear_c / tick.eta_c, (most - max(least, 0.0)) * per_in
            n += 1
        room.n[0] = n
        _, lo, hi = _interval(tick.soc_kwh[i], 0, EQUAL_SLOPE_PER_KW / tick.dt_h, room)
        d = min(max(lo, 0.0), hi)
        out[i, 0], out[i, 1] = d, _energy_price(1.0, 0, d, tick.soc_kwh[i] + d, 0.0, room)


def answer_all(tick: FirstTick, to_go: CostToGo, least_kw: Floats, most_kw: Floats) -> tuple[Floats, Floats]:
    """Return D, kWh, and the price of energy, $/kWh, that each home answers with, as in `hems.answers`."""
    out, most = np.zeros((len(least_kw), 2)), int(np.diff(to_go.first).max(initial=1))
    kept = Kept(to_go.first, to_go.start, to_go.slope, to_go.right)
    _answers(tick, kept, np.stack([least_kw, most_kw], axis=1), scratch(max(most, 1)), out)
    return out[:, 0], out[:, 1]
