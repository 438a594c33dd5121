"""Stage costs of the dynamic programme: what one tick costs as a function of the energy it stores.

With z = L - PV + b, what a home asks of grid and spill at net battery power b, a tick costs least

    G(z) = inf-convolution of { export: slope pe, length X }, { spill: 0, PV }, { import: pi, G },
           { import above the limit: pi + 10 rho, ... },  from z = -(X + PV) on

which puts the segments in the order of their slopes. With b as a function of the energy D that is stored,

    psi(D) = G(L - PV + b) + kappa |b|,     b = D / (eta_c dt) if D > 0,    eta_d D / dt if D < 0

slopes (G' - kappa) eta_d on the discharging side and (G' + kappa) / eta_c on the charging side, $/kWh. psi is
convex exactly if these stay sorted at b = 0, which a negative marginal price there upsets: burning energy in
the battery would then pay. Where psi is convex and export never pays more than import costs, psi is the cost
of (1) with its binaries, no relaxation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hems.config import TieBreak
from hems.model import Problems

Floats = NDArray[np.float64]

EQUAL_SLOPE_PER_KW = 1e-11
"""$/kW; marginal costs of a tick closer than this are equal, as in `hems.lp`."""
SAME_PLACE = 1e-9
"""kWh or kW; a point this close to a kink lies on it."""
SORTED = 1e-12  # $/kWh: with efficiencies of 1 both sides of b = 0 have one slope, computed in two ways
OUT_OF_REACH_KW = 1.0  # further than any power of the tick can go: a limit there never binds
SPILL, EXPORT, IMPORT, OVER = range(4)
SPILL_FIRST = np.array([SPILL, EXPORT, IMPORT, OVER])
"""Which of equally cheap segments is used up first when power is needed: least spill stays."""
EXPORT_FIRST = np.array([EXPORT, SPILL, IMPORT, OVER])


def first_used(tie_break: TieBreak) -> NDArray[np.intp]:
    """Return which of equally cheap spill and export gives way first."""
    return EXPORT_FIRST if tie_break == "defer_export" else SPILL_FIRST


def kind_slopes(problems: Problems) -> Floats:
    """Return the slopes of G by kind, (T, 4) $/kWh."""
    col, cost = problems.structure.col, problems.cost
    kinds = (cost[col.p_spill_kw], -cost[col.p_export_kw], cost[col.p_import_kw], cost[col.p_over_import_kw])
    return np.stack(kinds, axis=1) / problems.structure.dt_h


def order_of(slope: Floats, first: NDArray[np.intp] = SPILL_FIRST) -> NDArray[np.intp]:
    """Return the kinds, (T, 4), in the order of their slopes; of equal ones by `first`."""
    return np.lexsort((np.broadcast_to(np.argsort(first), slope.shape), slope), axis=1)


@dataclass(frozen=True, eq=False)
class Grid:
    """G of every home and tick, all limits finite.

    slope       (T, 4) $/kWh by kind: spill, export, import, import above the limit
    length      (n, T, 4) kW, likewise
    start       (n, T) kW, z where G begins: everything exported and spilled
    export_max, spill_max, net_load   (n, T) kW; net load is L - PV
    """

    slope: Floats
    length: Floats
    start: Floats
    export_max: Floats
    spill_max: Floats
    net_load: Floats

    def begin(self, kind: int, order: NDArray[np.intp]) -> Floats:
        """(n, T) z at which the segment of `kind` begins."""
        place = np.argsort(order, axis=1)
        earlier = place < place[:, kind : kind + 1]
        return self.start + (self.length * earlier).sum(axis=2)

    def corners(self) -> Floats:
        """(n, T, 5) z of the kinks of G, ends included, in the order of the slopes."""
        lengths = np.take_along_axis(self.length, order_of(self.slope)[None], axis=2)
        return np.concatenate([self.start[..., None], lengths], axis=2).cumsum(axis=2)

    def export_range(self, first: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """(n, T) z over which export falls from most to least."""
        begin = self.begin(EXPORT, order_of(self.slope, first))
        return begin, begin + self.length[..., EXPORT]

    def slopes_at(self, z: Floats) -> tuple[Floats, Floats]:
        """(n, T) left and right derivative of G at z, $/kWh, infinite beyond the ends."""
        slope = np.take_along_axis(self.slope, order_of(self.slope), axis=1)
        corners, at = self.corners(), z[..., None]
        left = np.where(corners[..., :-1] < at - SAME_PLACE, slope, -np.inf).max(axis=2)
        right = np.where(corners[..., 1:] > at + SAME_PLACE, slope, np.inf).min(axis=2)
        return left, right

    def export_at(self, z: Floats, first: NDArray[np.intp]) -> Floats:
        """(n, T) export where G is evaluated at z."""
        used = np.clip(z - self.begin(EXPORT, order_of(self.slope, first)), 0.0, self.length[..., EXPORT])
        return self.export_max - used

    def spill_at(self, z: Floats, first: NDArray[np.intp]) -> Floats:
        """(n, T) spill where G is evaluated at z."""
        used = np.clip(z - self.begin(SPILL, order_of(self.slope, first)), 0.0, self.length[..., SPILL])
        return self.spill_max - used


def grid(problems: Problems) -> Grid:
    """Return G of every home and tick of `problems`; limits beyond reach become finite."""
    lo, hi, col = problems.col_lo, problems.col_hi, problems.structure.col
    net = problems.rhs[:, problems.structure.row.balance]
    spill = hi[:, col.p_spill_kw]
    export_lo, import_lo = lo[:, col.p_export_kw], lo[:, col.p_import_kw] + lo[:, col.p_over_import_kw]
    most_out = np.maximum(export_lo, hi[:, col.p_discharge_kw] - net) + OUT_OF_REACH_KW
    most_in = np.maximum(import_lo, net + hi[:, col.p_charge_kw] + spill) + OUT_OF_REACH_KW
    export = np.minimum(hi[:, col.p_export_kw], most_out)
    imported = np.minimum(hi[:, col.p_import_kw], most_in)
    length = np.stack([spill, export - export_lo, imported, hi[:, col.p_over_import_kw]], axis=2)
    return Grid(kind_slopes(problems), length, import_lo - export - spill, export, spill, net)


@dataclass(frozen=True, eq=False)
class Stages:
    """psi of every home and tick: eight segments, four on each side of b = 0, of slopes that all homes share.

    slope   (T, 8) $/kWh       width   (n, T, 8) kWh       d_min   (n, T) kWh, the least D
    convex  (n,) psi is convex at every tick, and there is a D; else the dynamic programme does not apply
    """

    slope: Floats
    width: Floats
    d_min: Floats
    convex: NDArray[np.bool_]


def stages(problems: Problems, g: Grid) -> Stages:
    """Return psi of every home and tick of `problems`."""
    structure, hi = problems.structure, problems.col_hi
    col, dt_h = structure.col, structure.dt_h
    eta_c, eta_d = structure.eta_charge, structure.eta_discharge
    least, most = -hi[:, col.p_discharge_kw], hi[:, col.p_charge_kw]
    b = np.clip(g.corners() - g.net_load[..., None], least[..., None], most[..., None])
    b[np.abs(b) < SAME_PLACE] = 0.0  # rounding must not put a sliver of one side on the other
    out, into = np.minimum(b, 0.0), np.maximum(b, 0.0)
    width = dt_h * np.concatenate([np.diff(out) / eta_d, np.diff(into) * eta_c], axis=2)
    sorted_slope = np.take_along_axis(g.slope, order_of(g.slope), axis=1)
    wear_c = (problems.cost[col.p_charge_kw] / dt_h)[:, None]
    wear_d = (problems.cost[col.p_discharge_kw] / dt_h)[:, None]
    slope = np.concatenate([(sorted_slope - wear_d) * eta_d, (sorted_slope + wear_c) / eta_c], axis=1)
    d_min = dt_h * (out[..., 0] / eta_d + into[..., 0] * eta_c)
    used = width > 0.0
    last_out = np.where(used, slope, -np.inf)[..., :4].max(axis=2)
    first_in = np.where(used, slope, np.inf)[..., 4:].min(axis=2)
    first, last = g.start - g.net_load, g.start + g.length.sum(axis=2) - g.net_load
    reachable = (first <= most + SAME_PLACE) & (last >= least - SAME_PLACE)
    trades = (g.slope[:, EXPORT] > g.slope[:, IMPORT] + EQUAL_SLOPE_PER_KW / dt_h) & (
        (g.length[..., EXPORT] > 0.0) & (g.length[..., IMPORT] > 0.0)
    )
    healthy = (last_out <= first_in + SORTED) & reachable & ~trades
    return Stages(slope, width, d_min, healthy.all(axis=1))
