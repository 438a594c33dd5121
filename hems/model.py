"""Problem (1) of ANOCA as sparse arrays with named blocks: the one definition the solvers share.

    (1a) min  sum_k dt ( pi_k gi_k - pe_k ge_k + kappa (c_k + d_k) )  +  rho_g sum_k dt x_k
              + rho sigma + rho_up surplus
    (1b) gi_k + x_k - ge_k + d_k - c_k - s_k = L_k - PV_k                                  rows `balance`
    (1c) e_{k+1} = e_k + dt ( eta_c c_k - d_k / eta_d ),  e_0 measured                     rows `dynamics`
    (1d) e_T + sigma - surplus = e*                                                        row  `terminal`
    (1e) 0 <= c_k <= Pc z_k          (1f) 0 <= d_k <= Pd (1 - z_k)          (1g) e_min <= e_{k+1} <= e_max
    (1h) 0 <= gi_k <= G zg_k,        0 <= ge_k <= X_k (1 - zg_k),           0 <= s_k <= PV_k,    z, zg binary

with k = 0 .. T-1. The source prints no formulas in the copy used here: (1a)-(1c) are sure from its text, the
placing of (1d)-(1h) is likely. Added to it: PV spill s, wear kappa, the priced deviations sigma and surplus
from e*, the static limits G and X, and x, import above G where the load alone exceeds it.

The arrays hold everything but the binaries: without them this is the linear relaxation, and `hems.milp` adds
the ones it needs. Soft terminal: `surplus` is free of charge, so that (1d) reads e_T >= e*.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from hems.config import HemsConfig
from hems.household import HomeArrays
from hems.tariff import Tariff

Floats = NDArray[np.float64]


class Columns(NamedTuple):
    """Where each variable block sits among the columns; blocks of T but the last two, of 1."""

    p_import_kw: slice
    p_over_import_kw: slice
    p_export_kw: slice
    p_charge_kw: slice
    p_discharge_kw: slice
    p_spill_kw: slice
    soc_kwh: slice  # at the *ends* of the ticks: e_1 .. e_T
    shortfall_kwh: slice
    surplus_kwh: slice


class Rows(NamedTuple):
    """Where each block of equations sits among the rows; all rows are equations."""

    balance: slice
    dynamics: slice
    terminal: slice


@dataclass(frozen=True, eq=False)
class Structure:
    """What all homes with the same efficiencies share: the coefficients of (1b)-(1d); compared by identity.

    matrix   (n_rows, n_cols) sparse by columns
    """

    n_ticks: int
    dt_h: float
    eta_charge: float
    eta_discharge: float
    col: Columns
    row: Rows
    matrix: sp.csc_array

    @property
    def n_cols(self) -> int:
        """Number of variables."""
        return int(self.matrix.shape[1])

    @property
    def n_rows(self) -> int:
        """Number of equations."""
        return int(self.matrix.shape[0])


@lru_cache(maxsize=1024)
def build_structure(n_ticks: int, dt_h: float, *, eta_charge: float, eta_discharge: float) -> Structure:
    """Return the coefficients of (1b), (1c), (1d); built once per distinct arguments."""
    ends = np.cumsum([0] + [n_ticks] * 7 + [1, 1]).tolist()
    col = Columns(*itertools.starmap(slice, itertools.pairwise(ends)))
    row = Rows(*itertools.starmap(slice, itertools.pairwise([0, n_ticks, 2 * n_ticks, 2 * n_ticks + 1])))
    k = np.arange(n_ticks)
    terms = [
        (row.balance.start + k, col.p_import_kw.start + k, 1.0),  # (1b)
        (row.balance.start + k, col.p_over_import_kw.start + k, 1.0),
        (row.balance.start + k, col.p_export_kw.start + k, -1.0),
        (row.balance.start + k, col.p_discharge_kw.start + k, 1.0),
        (row.balance.start + k, col.p_charge_kw.start + k, -1.0),
        (row.balance.start + k, col.p_spill_kw.start + k, -1.0),
        (row.dynamics.start + k, col.soc_kwh.start + k, 1.0),  # (1c); e_0 is a number, on the right
        (row.dynamics.start + k[1:], col.soc_kwh.start + k[:-1], -1.0),
        (row.dynamics.start + k, col.p_charge_kw.start + k, -dt_h * eta_charge),
        (row.dynamics.start + k, col.p_discharge_kw.start + k, dt_h / eta_discharge),
        (row.terminal.start + k[:1], col.soc_kwh.start + k[-1:], 1.0),  # (1d)
        (row.terminal.start + k[:1], col.shortfall_kwh.start + k[:1], 1.0),
        (row.terminal.start + k[:1], col.surplus_kwh.start + k[:1], -1.0),
    ]
    rows, cols = (np.concatenate([term[i] for term in terms]) for i in (0, 1))
    values = np.concatenate([np.full(len(at), value) for at, _, value in terms])
    matrix = sp.csc_array((values, (rows, cols)), shape=(row.terminal.stop, col.surplus_kwh.stop))
    return Structure(n_ticks, dt_h, eta_charge, eta_discharge, col, row, matrix)


@dataclass(frozen=True)
class Problems:
    """The numbers of (1) for n homes that share a structure and a tariff.

    cost            (n_cols,) $ per unit of each variable
    col_lo, col_hi  (n, n_cols) bounds
    rhs             (n, n_rows) right-hand sides: L - PV, e_0 in the first dynamics row, e*
    soc_kwh         (n,) e_0
    """

    structure: Structure
    cost: Floats
    col_lo: Floats
    col_hi: Floats
    rhs: Floats
    soc_kwh: Floats

    def __len__(self) -> int:
        return len(self.rhs)

    def take(self, rows: NDArray[np.intp]) -> Problems:
        """Return a copy with the homes numbered `rows`."""
        return replace(
            self,
            col_lo=self.col_lo[rows],
            col_hi=self.col_hi[rows],
            rhs=self.rhs[rows],
            soc_kwh=self.soc_kwh[rows],
        )

    def export_fixed(self, aes_kw: Floats, *, pv_kw: Floats) -> Problems:
        """Return the problems of the homes after an AES below their OES.

        At tick 0: ge_0 = AES, gi_0 = 0, and PV may be spilled whatever the profile says, since nothing else
        always obeys. With ge_0 <= AES instead the optimum is the same: cost is convex in ge_0 and least at
        OES. Where it is not convex (pi < 0, pe > pi) AES it is all the same: the network was certified there.

        aes_kw, pv_kw   (n,) kW, the AES and the available PV of tick 0
        """
        col = self.structure.col
        lo, hi = self.col_lo.copy(), self.col_hi.copy()
        lo[:, col.p_export_kw.start] = hi[:, col.p_export_kw.start] = aes_kw
        hi[:, [col.p_import_kw.start, col.p_over_import_kw.start]] = 0.0
        hi[:, col.p_spill_kw.start] = pv_kw
        return replace(self, col_lo=lo, col_hi=hi)


@dataclass(frozen=True)
class Window:
    """What a plan looks at: forecasts (n, T) kW of load and available PV, and prices."""

    load_kw: Floats
    pv_kw: Floats
    tariff: Tariff

    def take(self, rows: NDArray[np.intp]) -> Window:
        """Return the window of the homes numbered `rows`."""
        return Window(self.load_kw[rows], self.pv_kw[rows], self.tariff)


def build_problems(
    structure: Structure, homes: HomeArrays, *, window: Window, soc_kwh: Floats, config: HemsConfig
) -> Problems:
    """Fill in bounds, costs and right-hand sides for homes that share `structure`.

    soc_kwh   (n,) measured e_0; outside the band it widens the band, see `recovery_band`
    """
    col, row = structure.col, structure.row
    load, pv = window.load_kw, window.pv_kw
    lo = np.zeros((len(load), structure.n_cols))
    hi = np.full_like(lo, np.inf)
    hi[:, col.p_import_kw] = homes.import_limit_kw[:, None]
    # With the battery idle a home needs no more than this, so (1) stays feasible and x is never free energy.
    hi[:, col.p_over_import_kw] = np.maximum(load - homes.import_limit_kw[:, None], 0.0)
    hi[:, col.p_export_kw] = homes.export_limit_kw[:, None]
    hi[:, col.p_charge_kw] = homes.p_charge_kw[:, None]
    hi[:, col.p_discharge_kw] = homes.p_discharge_kw[:, None]
    hi[:, col.p_spill_kw] = pv if config.pv_spill else 0.0
    lo[:, col.soc_kwh], hi[:, col.soc_kwh] = recovery_band(structure, homes, window=window, soc_kwh=soc_kwh)
    rhs = np.zeros((len(load), structure.n_rows))
    rhs[:, row.balance] = load - pv
    rhs[:, row.dynamics.start] = soc_kwh
    rhs[:, row.terminal] = (config.soc_target * homes.capacity_kwh)[:, None]
    cost = build_cost(structure, window.tariff, config=config)
    return Problems(structure, cost, lo, hi, rhs, np.array(soc_kwh))


def build_cost(structure: Structure, tariff: Tariff, *, config: HemsConfig) -> Floats:
    """Return the coefficients of (1a), $ per kW or kWh.

    rho_g = 10 rho: a home would rather miss its target than overload its service.
    """
    col, dt_h = structure.col, structure.dt_h
    rho = shortfall_price(tariff, eta_charge=structure.eta_charge, config=config)
    cost = np.zeros(structure.n_cols)
    cost[col.p_import_kw] = dt_h * tariff.import_price_per_kwh
    cost[col.p_over_import_kw] = dt_h * (tariff.import_price_per_kwh + 10.0 * rho)
    cost[col.p_export_kw] = -dt_h * tariff.export_price_per_kwh
    cost[col.p_charge_kw] = cost[col.p_discharge_kw] = dt_h * config.wear_price_per_kwh
    cost[col.shortfall_kwh] = rho
    cost[col.surplus_kwh] = rho if config.terminal == "equality" else 0.0
    return cost


def shortfall_price(tariff: Tariff, *, eta_charge: float, config: HemsConfig) -> float:
    """Return rho, $/kWh: 10 max(pi + kappa) / eta_c, at least 1, unless the configuration sets it.

    Anything above max(pi + kappa) / eta_c is exact: energy is then never left short to save money.
    """
    if config.shortfall_price_per_kwh is not None:
        return config.shortfall_price_per_kwh
    dearest = float(tariff.import_price_per_kwh.max()) + config.wear_price_per_kwh
    return max(1.0, 10.0 * dearest / eta_charge)


def recovery_band(
    structure: Structure, homes: HomeArrays, *, window: Window, soc_kwh: Floats
) -> tuple[Floats, Floats]:
    """Return bounds (n, T) on e_1 .. e_T: the band, widened for homes that start outside it.

    Such a home never moves further out, and comes back at least as fast as is possible whatever the other
    limits: from below by charging from PV and the service, from above into its own net load.
    """
    lo = np.repeat(homes.soc_lo_kwh[:, None], structure.n_ticks, axis=1)
    hi = np.repeat(homes.soc_hi_kwh[:, None], structure.n_ticks, axis=1)
    if ((soc_kwh >= homes.soc_lo_kwh) & (soc_kwh <= homes.soc_hi_kwh)).all():
        return lo, hi
    net_kw = window.load_kw - window.pv_kw
    p_in = np.clip(homes.import_limit_kw[:, None] - net_kw, 0.0, homes.p_charge_kw[:, None])
    p_out = np.clip(net_kw, 0.0, homes.p_discharge_kw[:, None])
    rise = np.cumsum(structure.dt_h * structure.eta_charge * p_in, axis=1)
    fall = np.cumsum(structure.dt_h / structure.eta_discharge * p_out, axis=1)
    return np.minimum(lo, soc_kwh[:, None] + rise), np.maximum(hi, soc_kwh[:, None] - fall)
