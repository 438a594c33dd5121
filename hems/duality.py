"""A lower bound on the cost of (1) from multipliers of its equations, whoever found them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hems.model import Problems

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Duals:
    """Multipliers of the equations of (1), to bound its cost from below; any do, good ones do it well.

    balance (n, T) of (1b), $/kW      dynamics (n, T) of (1c), $/kWh      terminal (n,) of (1d), $/kWh
    """

    balance: Floats
    dynamics: Floats
    terminal: Floats


def dual_bound(problems: Problems, duals: Duals) -> Floats:
    """Return what no plan can cost less than, (n,) $, by weak duality of the relaxation of (1).

    y'rhs + sum_j min { r_j x_j : lo_j <= x_j <= hi_j },    r = cost - A'y

    Counted from the numbers of (1) and the multipliers alone, so that it holds whoever found them. A variable
    without limit would make the bound -inf, so the multipliers are first moved to where none of them pays.
    For homes of one battery.
    """
    cost, lo, hi, col = problems.cost, problems.col_lo, problems.col_hi, problems.structure.col
    row, rhs = problems.structure.row, problems.rhs
    y = _bounded(problems, duals)
    bound = np.einsum("ij,ij->i", y.balance, rhs[:, row.balance])
    bound += y.dynamics[:, 0] * rhs[:, row.dynamics.start]  # the others are zero
    bound += y.terminal * rhs[:, row.terminal.start]
    for block, reduced in reduced_costs(problems, y):
        at = np.where(reduced > 0.0, lo[:, block], hi[:, block])
        if block in (col.p_import_kw, col.p_export_kw, col.shortfall_kwh, col.surplus_kwh):
            at[reduced == 0.0] = 0.0  # may be inf
        bound += np.einsum("ij,ij->i", reduced, at)
    assert len(cost) == col.surplus_kwh.stop
    return bound


def _bounded(problems: Problems, duals: Duals) -> Duals:
    """Move prices to where import and export without limit, shortfall and surplus cannot pay."""
    cost, hi, col = problems.cost, problems.col_hi, problems.structure.col
    balance = duals.balance
    endless = np.isinf(hi[:, col.p_export_kw])
    if endless.any():
        balance = np.where(endless, np.maximum(balance, -cost[col.p_export_kw]), balance)
    endless = np.isinf(hi[:, col.p_import_kw])
    if endless.any():
        balance = np.where(endless, np.minimum(balance, cost[col.p_import_kw]), balance)
    terminal = np.clip(duals.terminal, -cost[col.surplus_kwh], cost[col.shortfall_kwh])
    return Duals(balance, duals.dynamics, terminal)


def reduced_costs(problems: Problems, y: Duals) -> Iterator[tuple[slice, Floats]]:
    """Yield cost - A'y block by block, (n, T) or (n, 1): columns of (1b)-(1d) written out."""
    structure, cost = problems.structure, problems.cost
    col, dt_h, last = structure.col, structure.dt_h, structure.target_tick
    power, energy, terminal = y.balance, y.dynamics, y.terminal[:, None]
    yield col.p_import_kw, cost[col.p_import_kw] - power
    yield col.p_over_import_kw, cost[col.p_over_import_kw] - power
    yield col.p_export_kw, cost[col.p_export_kw] + power
    yield col.p_spill_kw, cost[col.p_spill_kw] + power
    yield col.p_charge_kw, (cost[col.p_charge_kw] + power) + (dt_h * structure.eta_charge) * energy
    yield col.p_discharge_kw, (cost[col.p_discharge_kw] - power) - (dt_h / structure.eta_discharge) * energy
    held = cost[col.soc_kwh] - energy
    held[:, :-1] += structure.keep * energy[:, 1:]
    held[:, last : last + 1] -= terminal
    yield col.soc_kwh, held
    yield col.shortfall_kwh, cost[col.shortfall_kwh] - terminal
    yield col.surplus_kwh, cost[col.surplus_kwh] + terminal
