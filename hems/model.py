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

A home may depart from this text: self-discharge (keep < 1 in (1c)), a target at tick t < T-1, rules that
forbid its battery to export or to charge from the grid, and devices, whose own variables and equations follow
those above and whose draw is added to the right of (1b), see `hems.devices.device`. `Extras` says which.
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
from hems.devices.device import Block, Numbers, Seen
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


@dataclass(frozen=True)
class Extras:
    """How the problem of a home differs from the text of (1); equal extras share one structure.

    self_discharge_per_h   share of the stored energy lost in an hour: keep = (1 - this)^dt
    target_tick            e* is wanted at the end of this tick; None: of the last
    battery_export, grid_charging   False: no discharge while exporting; no charge while importing
    devices                what the devices of the home add
    """

    self_discharge_per_h: float = 0.0
    target_tick: int | None = None
    battery_export: bool = True
    grid_charging: bool = True
    devices: tuple[Block, ...] = ()


PLAIN = Extras()


class Placed(NamedTuple):
    """A block of a device, and where it sits among all columns and rows."""

    block: Block
    cols: slice
    rows: slice

    def at(self, part: str) -> slice:
        """Return the columns of a named part."""
        own = self.block.col[part]
        return slice(self.cols.start + own.start, self.cols.start + own.stop)


@dataclass(frozen=True, eq=False)
class Structure:
    """What all homes of a kind share: the coefficients of (1b)-(1d) and of devices; compared by identity.

    matrix   (n_rows, n_cols) sparse by columns
    keep     share of the stored energy left after a tick
    """

    n_ticks: int
    dt_h: float
    eta_charge: float
    eta_discharge: float
    col: Columns
    row: Rows
    matrix: sp.csc_array
    extras: Extras = PLAIN
    placed: tuple[Placed, ...] = ()

    @property
    def one_battery(self) -> bool:
        """Whether (1) is the text above alone, but for losses at rest: one SOC, no rules, no devices."""
        return replace(self.extras, self_discharge_per_h=0.0) == PLAIN

    @property
    def keep(self) -> float:
        """Share of the stored energy left after a tick."""
        return float((1.0 - self.extras.self_discharge_per_h) ** self.dt_h)

    @property
    def target_tick(self) -> int:
        """Tick at whose end e* is wanted."""
        return self.n_ticks - 1 if self.extras.target_tick is None else self.extras.target_tick

    @property
    def without_devices(self) -> Structure:
        """The same home without its devices: the first columns and rows of this one."""
        return build_structure(
            self.n_ticks,
            self.dt_h,
            eta_charge=self.eta_charge,
            eta_discharge=self.eta_discharge,
            extras=replace(self.extras, devices=()),
        )

    @property
    def n_cols(self) -> int:
        """Number of variables."""
        return int(self.matrix.shape[1])

    @property
    def n_rows(self) -> int:
        """Number of equations."""
        return int(self.matrix.shape[0])


@lru_cache(maxsize=1024)
def build_structure(
    n_ticks: int, dt_h: float, *, eta_charge: float, eta_discharge: float, extras: Extras = PLAIN
) -> Structure:
    """Return the coefficients of (1b), (1c), (1d) and of the devices; built once per distinct arguments."""
    ends = np.cumsum([0] + [n_ticks] * 7 + [1, 1]).tolist()
    col = Columns(*itertools.starmap(slice, itertools.pairwise(ends)))
    row = Rows(*itertools.starmap(slice, itertools.pairwise([0, n_ticks, 2 * n_ticks, 2 * n_ticks + 1])))
    k = np.arange(n_ticks)
    keep = (1.0 - extras.self_discharge_per_h) ** dt_h
    wanted = k[-1:] if extras.target_tick is None else k[extras.target_tick : extras.target_tick + 1]
    terms = [
        (row.balance.start + k, col.p_import_kw.start + k, 1.0),  # (1b)
        (row.balance.start + k, col.p_over_import_kw.start + k, 1.0),
        (row.balance.start + k, col.p_export_kw.start + k, -1.0),
        (row.balance.start + k, col.p_discharge_kw.start + k, 1.0),
        (row.balance.start + k, col.p_charge_kw.start + k, -1.0),
        (row.balance.start + k, col.p_spill_kw.start + k, -1.0),
        (row.dynamics.start + k, col.soc_kwh.start + k, 1.0),  # (1c); e_0 is a number, on the right
        (row.dynamics.start + k[1:], col.soc_kwh.start + k[:-1], -keep),
        (row.dynamics.start + k, col.p_charge_kw.start + k, -dt_h * eta_charge),
        (row.dynamics.start + k, col.p_discharge_kw.start + k, dt_h / eta_discharge),
        (row.terminal.start + k[:1], col.soc_kwh.start + wanted, 1.0),  # (1d)
        (row.terminal.start + k[:1], col.shortfall_kwh.start + k[:1], 1.0),
        (row.terminal.start + k[:1], col.surplus_kwh.start + k[:1], -1.0),
    ]
    rows, cols = (np.concatenate([term[i] for term in terms]) for i in (0, 1))
    values = np.concatenate([np.full(len(at), value) for at, _, value in terms])
    matrix = sp.csc_array((values, (rows, cols)), shape=(row.terminal.stop, col.surplus_kwh.stop))
    structure = Structure(
        n_ticks, dt_h, eta_charge, eta_discharge, col, row, matrix, replace(extras, devices=())
    )
    return _with_devices(structure, extras) if extras.devices else structure


def _with_devices(structure: Structure, extras: Extras) -> Structure:
    """Append the columns and rows of each device; its draw goes with the minus sign into (1b)."""
    placed, parts, draws = [], [], []
    col, row = structure.n_cols, structure.n_rows
    for block in extras.devices:
        equations = block.equations()
        rows = int(equations.shape[0])
        placed.append(Placed(block, slice(col, col + block.n_cols), slice(row, row + rows)))
        parts.append(equations)
        draws.append(-block.draw())
        col, row = col + block.n_cols, row + rows
    below_balance = sp.csr_array((structure.n_rows - structure.n_ticks, col - structure.n_cols))
    into_balance = sp.vstack([sp.hstack(draws), below_balance])
    matrix = sp.block_array([[structure.matrix, into_balance], [None, sp.block_diag(parts)]])
    return replace(structure, matrix=sp.csc_array(matrix), extras=extras, placed=tuple(placed))


@dataclass(frozen=True)
class Problems:
    """The numbers of (1) for n homes that share a structure and a tariff.

    cost            (n_cols,) $ per unit of each variable
    col_lo, col_hi  (n, n_cols) bounds
    rhs             (n, n_rows) right-hand sides: L - PV, keep e_0 in the first dynamics row, e*
    soc_kwh         (n,) e_0
    devices         (n,) tuples, the devices of each home as they are now; empty where there are none
    """

    structure: Structure
    cost: Floats
    col_lo: Floats
    col_hi: Floats
    rhs: Floats
    soc_kwh: Floats
    devices: tuple[tuple[Seen, ...], ...] = ()

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
            devices=tuple(self.devices[int(i)] for i in rows) if self.devices else (),
        )

    def export_fixed(self, aes_kw: Floats, *, pv_kw: Floats, repeat: int = 0) -> Problems:
        """Return the problems of the homes after an AES below their OES.

        At tick 0: ge_0 = AES, gi_0 = 0, and PV may be spilled whatever the profile says, since nothing else
        always obeys. With ge_0 <= AES instead the optimum is the same: cost is convex in ge_0 and least at
        OES. Where it is not convex (pi < 0, pe > pi) AES it is all the same: the network was certified there.

        aes_kw   (n,) kW, the AES of tick 0
        pv_kw    (n,) kW available at tick 0, or (n, 1 + repeat) with the ticks after it
        repeat   ticks after this one in which the export is expected to be capped at the AES again
        """
        col = self.structure.col
        lo, hi = self.col_lo.copy(), self.col_hi.copy()
        if repeat:
            again = slice(1, 1 + repeat)
            export, spill = hi[:, col.p_export_kw], hi[:, col.p_spill_kw]  # views
            export[:, again] = np.minimum(export[:, again], aes_kw[:, None])
            spill[:, again] = pv_kw[:, again]
            pv_kw = pv_kw[:, 0]
        lo[:, col.p_export_kw.start] = hi[:, col.p_export_kw.start] = aes_kw
        hi[:, [col.p_import_kw.start, col.p_over_import_kw.start]] = 0.0
        hi[:, col.p_spill_kw.start] = pv_kw
        return replace(self, col_lo=lo, col_hi=hi)


@dataclass(frozen=True)
class Window:
    """What a plan looks at: forecasts (n, T) kW of load and available PV, and prices.

    export_cap_kw    (n, T) X_k beside the static limit, or None
    ticks_to_target  ticks behind the horizon until e* is wanted; 0: it is wanted inside
    """

    load_kw: Floats
    pv_kw: Floats
    tariff: Tariff
    export_cap_kw: Floats | None = None
    ticks_to_target: int = 0

    def take(self, rows: NDArray[np.intp]) -> Window:
        """Return the window of the homes numbered `rows`."""
        cap = None if self.export_cap_kw is None else self.export_cap_kw[rows]
        return replace(self, load_kw=self.load_kw[rows], pv_kw=self.pv_kw[rows], export_cap_kw=cap)


def build_problems(
    structure: Structure,
    homes: HomeArrays,
    *,
    window: Window,
    soc_kwh: Floats,
    config: HemsConfig,
    devices: tuple[tuple[Seen, ...], ...] = (),
) -> Problems:
    """Fill in bounds, costs and right-hand sides for homes that share `structure`.

    soc_kwh   (n,) measured e_0; outside the band it widens the band, see `recovery_band`
    devices   (n,) the devices of each home as they are now, in the order of the structure
    """
    numbers = device_numbers(structure, devices)
    if numbers:
        fixed = np.array([sum(part.fixed_kw for part in parts) for parts in numbers])
        window = replace(window, load_kw=window.load_kw + fixed)
    col, row = structure.col, structure.row
    load, pv = window.load_kw, window.pv_kw
    lo = np.zeros((len(load), structure.n_cols))
    hi = np.full_like(lo, np.inf)
    hi[:, col.p_import_kw] = homes.import_limit_kw[:, None]
    # With the battery idle a home needs no more than this, so (1) stays feasible and x is never free energy.
    hi[:, col.p_over_import_kw] = np.maximum(load - homes.import_limit_kw[:, None], 0.0)
    static = np.broadcast_to(homes.export_limit_kw[:, None], load.shape)
    hi[:, col.p_export_kw] = (
        static if window.export_cap_kw is None else np.minimum(static, window.export_cap_kw)
    )
    hi[:, col.p_charge_kw] = homes.p_charge_kw[:, None]
    hi[:, col.p_discharge_kw] = homes.p_discharge_kw[:, None]
    hi[:, col.p_spill_kw] = pv if config.pv_spill else 0.0
    lo[:, col.soc_kwh], hi[:, col.soc_kwh] = recovery_band(structure, homes, window=window, soc_kwh=soc_kwh)
    rhs = np.zeros((len(load), structure.n_rows))
    rhs[:, row.balance] = load - pv
    rhs[:, row.dynamics.start] = structure.keep * soc_kwh
    rhs[:, row.terminal] = wanted_kwh(structure, homes, window=window, config=config)[:, None]
    for i, parts in enumerate(numbers):
        for placed, part in zip(structure.placed, parts, strict=True):
            lo[i, placed.cols], hi[i, placed.cols], rhs[i, placed.rows] = part.lo, part.hi, part.rhs
    cost = build_cost(structure, window.tariff, config=config)
    return Problems(structure, cost, lo, hi, rhs, np.array(soc_kwh), devices)


def device_numbers(structure: Structure, devices: tuple[tuple[Seen, ...], ...]) -> list[tuple[Numbers, ...]]:
    """Return what each device of each home puts into the horizon."""
    blocks = [placed.block for placed in structure.placed]
    return [
        tuple(seen.device.numbers(seen, block) for seen, block in zip(of_home, blocks, strict=True))
        for of_home in devices
    ]


def wanted_kwh(structure: Structure, homes: HomeArrays, *, window: Window, config: HemsConfig) -> Floats:
    """Return e* (n,), or what still lets a home reach it in the ticks between the horizon and its target.

    With a salvage value there is no target: 0.
    """
    if config.salvage_value_per_kwh is not None:
        return np.zeros(len(homes.capacity_kwh))
    wanted = config.soc_target * homes.capacity_kwh
    if not window.ticks_to_target:
        return wanted
    still = window.ticks_to_target * structure.dt_h * structure.eta_charge * homes.p_charge_kw
    return np.maximum(wanted - still, 0.0)


def build_cost(structure: Structure, tariff: Tariff, *, config: HemsConfig) -> Floats:
    """Return the coefficients of (1a), $ per kW or kWh.

    rho_g = 10 rho: a home would rather miss its target than overload its service.
    """
    col, dt_h = structure.col, structure.dt_h
    rho = shortfall_price(
        tariff, eta_charge=structure.eta_charge, kept=structure.keep**structure.n_ticks, config=config
    )
    cost = np.zeros(structure.n_cols)
    cost[col.p_import_kw] = dt_h * tariff.import_price_per_kwh
    cost[col.p_over_import_kw] = dt_h * (tariff.import_price_per_kwh + 10.0 * rho)
    cost[col.p_export_kw] = -dt_h * tariff.export_price_per_kwh
    cost[col.p_charge_kw] = cost[col.p_discharge_kw] = dt_h * config.wear_price_per_kwh
    cost[col.shortfall_kwh] = rho
    cost[col.surplus_kwh] = rho if config.terminal == "equality" else -(config.salvage_value_per_kwh or 0.0)
    for placed in structure.placed:
        cost[placed.cols] = placed.block.cost(tariff, config)
    return cost


LEAST_KEPT = 1e-3
"""Least share of a kWh that self-discharge leaves, for which the price of a missed target makes up."""


def shortfall_price(tariff: Tariff, *, eta_charge: float, kept: float, config: HemsConfig) -> float:
    """Return rho, $/kWh: max(1, 10 max(pi + kappa) / eta_c) / kept, unless the configuration sets it.

    Anything above max(pi + kappa) / (eta_c kept) is exact: energy is then never left short to save money.

    kept  share of a kWh bought at the start that self-discharge leaves at the end, keep^T. Of one that leaves
          less than `LEAST_KEPT` the target may be missed: no price that high is worth its own rounding
    """
    if config.shortfall_price_per_kwh is not None:
        return config.shortfall_price_per_kwh
    dearest = float(tariff.import_price_per_kwh.max()) + config.wear_price_per_kwh
    return max(1.0, 10.0 * dearest / eta_charge) / max(kept, LEAST_KEPT)


def recovery_band(
    structure: Structure, homes: HomeArrays, *, window: Window, soc_kwh: Floats
) -> tuple[Floats, Floats]:
    """Return bounds (n, T) on e_1 .. e_T: the band, widened for homes that start outside it.

    Such a home never moves further out, and comes back at least as fast as is possible whatever the other
    limits: from below by charging from PV and the service, from above into its own net load. A battery that
    discharges itself can leave its band by that alone, and is treated likewise.
    """
    lo = np.repeat(homes.soc_lo_kwh[:, None], structure.n_ticks, axis=1)
    hi = np.repeat(homes.soc_hi_kwh[:, None], structure.n_ticks, axis=1)
    keep = structure.keep
    if keep == 1.0 and ((soc_kwh >= homes.soc_lo_kwh) & (soc_kwh <= homes.soc_hi_kwh)).all():
        return lo, hi
    net_kw = window.load_kw - window.pv_kw
    service_kw = homes.import_limit_kw[:, None] if structure.extras.grid_charging else 0.0
    p_in = np.clip(service_kw - net_kw, 0.0, homes.p_charge_kw[:, None])
    p_out = np.clip(net_kw, 0.0, homes.p_discharge_kw[:, None])
    rise = structure.dt_h * structure.eta_charge * p_in
    fall = structure.dt_h / structure.eta_discharge * p_out
    most, least = soc_kwh, soc_kwh  # with all the charging there can be, with all the discharging
    for k in range(structure.n_ticks):
        least = keep * least - fall[:, k]
        hi[:, k] = np.maximum(hi[:, k], least)
        most = np.minimum(keep * most + rise[:, k], hi[:, k])
        lo[:, k] = np.minimum(lo[:, k], most)
    return lo, hi
