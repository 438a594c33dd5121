"""What the compiled dynamic programme reads and writes: tuples of arrays, as numba takes them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hems.config import TieBreak
from hems.model import Problems
from hems.stages import first_used, kind_slopes, order_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

PIECES = 5
"""Segments of psi: four of G, one of them split at b = 0."""
LEAST_BATTERY, DEFER_EXPORT, EXPORT_EARLY = range(3)
_TIE_BREAKS: dict[TieBreak, int] = {
    "least_battery": LEAST_BATTERY,
    "defer_export": DEFER_EXPORT,
    "export_early": EXPORT_EARLY,
}
COL_IMPORT, COL_OVER, COL_EXPORT, COL_CHARGE, COL_DISCHARGE, COL_SPILL, COL_SOC = range(7)
ROW_BALANCE, ROW_DYNAMICS, ROW_TERMINAL = range(3)


class Group(NamedTuple):
    """What all homes of a batch share.

    slope    (T, 4) $/kWh of G by kind     order   (T, 4) kinds by slope, spill first among equals
    prefer   (T, 4) the same, first among equals as the tie-break wants it
    defer    (T, 4) the same, export first among equals
    wear     (T, 2) $/kWh of charging and discharging
    column   first columns of the blocks, by COL_...; row likewise
    """

    n_ticks: int
    dt_h: float
    eta_c: float
    eta_d: float
    keep: float
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


class Kept(NamedTuple):
    """`hems.cost_to_go.CostToGo` as numba takes it."""

    first: Ints
    start: Floats
    slope: Floats
    right: Floats


class Scratch(NamedTuple):
    """Room for one home: G and psi by tick, and the segments of V_T .. V_1.

    length    (T, 4) of the segments of G by kind   z      (T,) where G begins
    p, w      (T, 5) slopes and widths of psi       n      (T,) how many       d_min (T,)
    first     (T + 1,) where V_k begins             size   (T + 1,) how many segments
    start, end  (T + 1,) ends of V_k                slope, right   of the segments of all V_k
    """

    length: Floats
    z: Floats
    p: Floats
    w: Floats
    n: Ints
    d_min: Floats
    first: Ints
    size: Ints
    start: Floats
    end: Floats
    slope: Floats
    right: Floats


class Plans(NamedTuple):
    """What is found for n homes.

    battery_kw, spill_kw   (n, T)
    balance, dynamics      (n, T) multipliers of (1b), $/kW, and (1c), $/kWh
    band_kw                (n, 2) least and largest export of tick 0 among the equally cheap
    found                  (n,) false: declined
    v_first (n + 1,), v_start (n,), v_slope, v_right   V_1 as in `hems.cost_to_go`
    """

    battery_kw: Floats
    spill_kw: Floats
    balance: Floats
    dynamics: Floats
    band_kw: Floats
    found: Flags
    v_first: Ints
    v_start: Floats
    v_slope: Floats
    v_right: Floats


def group_of(problems: Problems, tie_break: TieBreak) -> Group:
    """Return what the homes of `problems` share."""
    structure, cost = problems.structure, problems.cost
    col = structure.col
    slope = kind_slopes(problems)
    columns = (
        col.p_import_kw,
        col.p_over_import_kw,
        col.p_export_kw,
        col.p_charge_kw,
        col.p_discharge_kw,
        col.p_spill_kw,
        col.soc_kwh,
    )
    return Group(
        n_ticks=structure.n_ticks,
        dt_h=float(structure.dt_h),
        eta_c=float(structure.eta_charge),
        eta_d=float(structure.eta_discharge),
        keep=structure.keep,
        tie_break=_TIE_BREAKS[tie_break],
        slope=slope,
        order=order_of(slope),
        prefer=order_of(slope, first_used(tie_break)),
        defer=order_of(slope, first_used("defer_export")),
        wear=np.stack([cost[col.p_charge_kw], cost[col.p_discharge_kw]], axis=1) / structure.dt_h,
        rho=float(cost[col.shortfall_kwh.start]),
        surplus_price=float(cost[col.surplus_kwh.start]),
        column=np.array([block.start for block in columns]),
        row=np.array([block.start for block in structure.row]),
    )


def numbers_of(problems: Problems) -> Numbers:
    """Return the arrays of `problems` in the layout that was compiled for."""
    arrays = problems.col_lo, problems.col_hi, problems.rhs, problems.soc_kwh
    return Numbers(*(np.require(array, np.float64, ("C", "W")) for array in arrays))


def scratch(n_ticks: int) -> Scratch:
    """Return room for one home of so many ticks; untouched memory costs nothing."""
    most = 4 + (2 + PIECES * n_ticks) * (n_ticks + 1)
    return Scratch(
        length=np.empty((n_ticks, 4)),
        z=np.empty(n_ticks),
        p=np.empty((n_ticks, PIECES)),
        w=np.empty((n_ticks, PIECES)),
        n=np.empty(n_ticks, dtype=np.int64),
        d_min=np.empty(n_ticks),
        first=np.empty(n_ticks + 1, dtype=np.int64),
        size=np.empty(n_ticks + 1, dtype=np.int64),
        start=np.empty(n_ticks + 1),
        end=np.empty(n_ticks + 1),
        slope=np.empty(most),
        right=np.empty(most),
    )


def plans(n: int, n_ticks: int) -> Plans:
    """Return room for the plans of n homes."""
    most = n * (2 + PIECES * n_ticks)
    power = np.zeros((4, n, n_ticks))
    return Plans(
        battery_kw=power[0],
        spill_kw=power[1],
        balance=power[2],
        dynamics=power[3],
        band_kw=np.zeros((n, 2)),
        found=np.zeros(n, dtype=np.bool_),
        v_first=np.zeros(n + 1, dtype=np.int64),
        v_start=np.zeros(n),
        v_slope=np.empty(most),
        v_right=np.empty(most),
    )
