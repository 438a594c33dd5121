"""From a solver's point to a plan that satisfies (1), binaries included, and to proof that none is better.

A plan is decided by the net battery power b = c - d and the spill s of each tick. `complete` rebuilds all
else from them: one of c, d and one of gi, ge is zero, SOC and power balance hold to rounding. What it returns
is therefore feasible for the MILP, and its cost, counted again from (1a), is an upper bound. The relaxation's
dual value is a lower bound. Where both agree the plan is a global optimum of the MILP: this is the
certificate, and no solver's status enters it.

Rebuilding is free of charge whenever the relaxation is exact (pi >= pe, pi >= 0, PV may be spilled, one-sided
terminal): netting gi and ge saves (pi - pe) >= 0 per kWh; netting c and d can only leave more energy in the
battery; should that exceed e_max, charging is cut by the excess and what it took is not imported (saves pi)
or spilled (it was PV). Outside these conditions the cost may rise, the certificate fails, and `hems.milp`
has to decide.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from hems.devices.device import Numbers
from hems.model import Problems, device_numbers

Floats = NDArray[np.float64]
Path = Literal["closed_form", "dp", "dp_compiled", "lp", "milp", "pyomo", "idle"]

GAP_TOLERANCE = 1e-6
"""Largest gap of a certified plan; HiGHS's own MILP runs have been seen to stop 1e-7 short."""
_BOUND_TOLERANCE = 1e-9  # kWh by which the SOC may pass its bounds before it is repaired
_FEASIBILITY_TOLERANCE = 1e-7  # kW or kWh by which a certified plan may pass any bound
_RESIDUAL_TOLERANCE = 1e-9  # kWh or K by which a device may miss an equation of its own
_PATH_DTYPE = "<U11"
_SHOWN = 1e-6  # kWh, K or runs; what a device misses less than this is rounding
_NOTHING_KW = 1e-6  # a milliwatt: an exchange with the grid below it is no set-point
_NOTHING_USD = 5e-9  # what a battery may cost that takes such an exchange upon itself
_DECIMALS = 9  # of the battery power and spill of tick 0, kW: takes the solver's rounding out of the OES


class _Values(NamedTuple):
    """The variables of (1) by block, in the order of `hems.model.Columns`."""

    p_import_kw: Floats
    p_over_import_kw: Floats
    p_export_kw: Floats
    p_charge_kw: Floats
    p_discharge_kw: Floats
    p_spill_kw: Floats
    soc_kwh: Floats
    shortfall_kwh: Floats
    surplus_kwh: Floats


@dataclass(frozen=True)
class RawPlans:
    """What a backend found, one row per home, to be filled in; NaN where it found nothing.

    x                     (n, n_cols) points of the relaxation
    lower_bound           (n,) $, of the optimal cost
    oes_lo_kw, oes_hi_kw  (n,) least and largest export at tick 0 over all optimal plans
    path                  which method found them
    """

    x: Floats
    lower_bound: Floats
    oes_lo_kw: Floats
    oes_hi_kw: Floats
    path: Path

    @classmethod
    def empty(cls, problems: Problems, *, path: Path) -> Self:
        """Return room for the plans of all homes of `problems`."""
        n = len(problems)
        x = np.full((n, problems.structure.n_cols), np.nan)
        lower_bound, oes_lo, oes_hi = np.full((3, n), np.nan)
        return cls(x, lower_bound, oes_lo, oes_hi, path)


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a backend decided for homes without devices, one row per home; else as `RawPlans`.

    battery_kw, spill_kw   (n, T) net battery power, + charging, and spill
    found                  (n,) false: nothing
    """

    battery_kw: Floats
    spill_kw: Floats
    found: NDArray[np.bool_]
    lower_bound: Floats
    oes_lo_kw: Floats
    oes_hi_kw: Floats
    path: Path

    def take(self, rows: NDArray[np.intp]) -> Decisions:
        """Return a copy with the homes numbered `rows`."""
        return Decisions(**{k: v if k == "path" else v[rows] for k, v in vars(self).items()})


@dataclass(frozen=True)
class Solutions:
    """Plans of n homes over T ticks, feasible for (1) with its binaries, and how good they are.

    p_*_kw            (n, T) kW; p_import_kw includes import above the limit
    soc_kwh           (n, T) kWh at the *ends* of the ticks
    shortfall_kwh     (n,) missing at the end of the horizon; p_over_import_kw (n, T) above the limit
    objective         (n,) $, (1a) of the plan; lower_bound (n,) $, of the best plan there is
    feasible          (n,) the plan is a solver's and keeps every bound
    oes_lo_kw, oes_hi_kw   (n,) equally cheap exports of tick 0, NaN when not computed
    path              (n,) str, which method
    devices           (n,) objects: the variables (n_cols,) of the home's devices, one after the other
    p_devices_kw      (n, T) what they draw, less what they give
    device_missed     (n,) bool, a wish of a device is not met
    """

    p_import_kw: Floats
    p_export_kw: Floats
    p_charge_kw: Floats
    p_discharge_kw: Floats
    p_spill_kw: Floats
    p_over_import_kw: Floats
    soc_kwh: Floats
    shortfall_kwh: Floats
    objective: Floats
    lower_bound: Floats
    feasible: NDArray[np.bool_]
    oes_lo_kw: Floats
    oes_hi_kw: Floats
    path: NDArray[np.str_]
    devices: NDArray[np.object_]
    p_devices_kw: Floats
    device_missed: NDArray[np.bool_]

    @classmethod
    def room(cls, shape: tuple[int, int]) -> Self:
        """Return room for the plans of n homes over T ticks, to be filled by `put`."""
        powers = ("p_import_kw", "p_export_kw", "p_charge_kw", "p_discharge_kw", "p_spill_kw")
        by_tick = (*powers, "p_over_import_kw", "p_devices_kw", "soc_kwh")
        by_home = ("shortfall_kwh", "objective", "lower_bound", "oes_lo_kw", "oes_hi_kw")
        return cls(
            **{name: np.zeros(shape) for name in by_tick},  # not touched until it is written to
            **{name: np.zeros(shape[0]) for name in by_home},
            feasible=np.zeros(shape[0], dtype=bool),
            path=np.full(shape[0], "idle", dtype=_PATH_DTYPE),
            devices=np.full(shape[0], None, dtype=object),
            device_missed=np.zeros(shape[0], dtype=bool),
        )

    @property
    def gap(self) -> Floats:
        """(n,) (objective - lower bound) / max(1 $, |objective|), not below 0."""
        return np.maximum(self.objective - self.lower_bound, 0.0) / np.maximum(1.0, np.abs(self.objective))

    @property
    def certified(self) -> NDArray[np.bool_]:
        """(n,) the plan is feasible and proved to cost within GAP_TOLERANCE of the least possible."""
        return self.feasible & (self.gap <= GAP_TOLERANCE)

    def judged(self, lower_bound: Floats, *, path: Path) -> Solutions:
        """Return the same plans held against another lower bound, found by another method."""
        named = np.where(self.path == "idle", "idle", path).astype(_PATH_DTYPE)
        return replace(self, lower_bound=lower_bound, path=named)

    def put(self, rows: NDArray[np.intp], other: Solutions, *, devices: bool = True) -> None:
        """Overwrite the homes numbered `rows` by those of `other`; `devices`: some may have any."""
        together = len(rows) > 0 and int(rows[-1]) - int(rows[0]) == len(rows) - 1
        at = slice(int(rows[0]), int(rows[-1]) + 1) if together else rows
        for name, values in vars(self).items():
            if devices or name != "p_devices_kw":
                values[at] = getattr(other, name)

    def put_better(self, rows: NDArray[np.intp], other: Solutions) -> None:
        """As `put` where the plan of `other` is certified or cheaper; keep the better of the lower bounds."""
        lower_bound = np.maximum(self.lower_bound[rows], other.lower_bound)
        cheaper = ~self.feasible[rows] | (other.objective < self.objective[rows])
        better = other.certified | (other.feasible & cheaper)
        self.put(rows[better], other.take(better))
        self.lower_bound[rows] = lower_bound

    def take(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> Solutions:
        """Return a copy with the homes where `rows` is true, or of these numbers."""
        return Solutions(**{name: values[rows] for name, values in vars(self).items()})


def complete(problems: Problems, raw: RawPlans) -> Solutions:
    """Return the plans that `raw` decides, rebuilt to satisfy (1), with costs and certificates.

    A home for which the backend found nothing gets the idle plan: battery off, PV exported up to the limit.
    """
    if problems.structure.placed:
        solutions = _complete_with_devices(problems, raw)
    else:
        solutions = _complete_plain(problems, raw)
    return _ruled(problems, solutions)


def _complete_with_devices(problems: Problems, raw: RawPlans) -> Solutions:
    """Settle the devices first; what they draw is then load to the rest of the home."""
    structure = problems.structure
    plain = structure.without_devices
    rhs = problems.rhs[:, : plain.n_rows].copy()
    y = np.nan_to_num(raw.x[:, plain.n_cols :])
    kept = np.ones(len(problems), dtype=bool)
    for placed in structure.placed:
        own = slice(placed.cols.start - plain.n_cols, placed.cols.stop - plain.n_cols)
        equations, nothing = placed.block.equations(), np.zeros(structure.n_ticks)
        for i in range(len(problems)):
            lo, hi = problems.col_lo[i, placed.cols], problems.col_hi[i, placed.cols]
            numbers = Numbers(lo, hi, problems.rhs[i, placed.rows], nothing)
            y[i, own] = settled = placed.block.settle(y[i, own], numbers)
            passed = np.maximum(lo - settled, settled - hi).max()
            residual = np.abs(equations @ settled - numbers.rhs).max()
            kept[i] &= bool(passed <= _FEASIBILITY_TOLERANCE and residual <= _RESIDUAL_TOLERANCE)
    draw = -(structure.matrix[structure.row.balance, plain.n_cols :] @ y.T).T
    rhs[:, structure.row.balance] += draw
    plain_problems = replace(
        problems,
        structure=plain,
        cost=problems.cost[: plain.n_cols],
        col_lo=problems.col_lo[:, : plain.n_cols],
        col_hi=problems.col_hi[:, : plain.n_cols],
        rhs=rhs,
        devices=(),
    )
    solutions = _complete_plain(plain_problems, replace(raw, x=raw.x[:, : plain.n_cols]))
    for i in range(len(problems)):
        solutions.devices[i] = y[i]
    return replace(
        solutions,
        objective=solutions.objective + y @ problems.cost[plain.n_cols :],
        feasible=solutions.feasible & kept,
        p_devices_kw=draw + _begun_kw(problems),
        device_missed=_missed(problems, y),
    )


def _begun_kw(problems: Problems) -> Floats | float:
    """Return what devices draw whatever is decided, (n, T) kW; it is in the right-hand sides already."""
    numbers = device_numbers(problems.structure, problems.devices)
    return np.array([sum(part.fixed_kw for part in parts) for parts in numbers]) if numbers else 0.0


def _missed(problems: Problems, y: Floats) -> NDArray[np.bool_]:
    structure = problems.structure
    first = structure.placed[0].cols.start
    missed = np.zeros(len(y), dtype=bool)
    for placed in structure.placed:
        for part in placed.block.missed():
            at = placed.at(part)
            missed |= (y[:, at.start - first : at.stop - first] > _SHOWN).any(axis=1)
    return missed


def _ruled(problems: Problems, solutions: Solutions) -> Solutions:
    """Return the plans; those that break a rule of their home are no plans for it."""
    extras = problems.structure.extras
    kept = np.ones(len(problems), dtype=bool)
    for allowed, own, grid, which in (
        (extras.grid_charging, solutions.p_charge_kw, solutions.p_import_kw, 0),
        (extras.battery_export, solutions.p_discharge_kw, solutions.p_export_kw, 1),
    ):
        if not allowed:
            power = own + _battery_kw(problems, solutions, which)
            kept &= (np.minimum(power, grid) <= _FEASIBILITY_TOLERANCE).all(axis=1)
    return replace(solutions, feasible=solutions.feasible & kept)


def _battery_kw(problems: Problems, solutions: Solutions, which: int) -> Floats:
    """Return what devices charge (0) or discharge (1) as batteries that the rules hold for, (n, T) kW."""
    power = np.zeros_like(solutions.p_charge_kw)
    for placed in problems.structure.placed:
        part = placed.block.battery_powers()[which]
        if part is not None:
            at, first = placed.at(part), problems.structure.placed[0].cols.start
            power += np.array([y[at.start - first : at.stop - first] for y in solutions.devices])
    return power


def _complete_plain(problems: Problems, raw: RawPlans) -> Solutions:
    col = problems.structure.col
    found = ~np.isnan(raw.x[:, 0])
    x = raw.x if found.all() else np.where(found[:, None], raw.x, 0.0)
    battery, spill = x[:, col.p_charge_kw] - x[:, col.p_discharge_kw], x[:, col.p_spill_kw]
    decided = Decisions(battery, spill, found, raw.lower_bound, raw.oes_lo_kw, raw.oes_hi_kw, raw.path)
    return rebuilt(problems, decided)


def rebuilt(problems: Problems, decided: Decisions) -> Solutions:
    """Return as `complete` the plans of homes without devices and rules."""
    battery, spill = _inside_bounds(problems, decided)
    _respect_soc(problems, battery, spill)
    _respect_limits(problems, battery, spill)
    solutions = _solutions(problems, decided, battery=battery, spill=spill)
    _drop_negligible(problems, decided, solutions)
    return solutions


def _drop_negligible(problems: Problems, decided: Decisions, solutions: Solutions) -> None:
    """Make an exchange of tick 0 below a milliwatt exactly nothing, in place, where the plan stays as good.

    Spill takes what it was; else the battery, where that costs nothing to speak of. A home that has neither
    (or whose AES is so small) keeps it.
    """
    exchange = solutions.p_import_kw[:, 0] - solutions.p_export_kw[:, 0]
    asked = problems.col_lo[:, problems.structure.col.p_export_kw.start] > 0.0
    rows = np.flatnonzero((exchange != 0.0) & (np.abs(exchange) < _NOTHING_KW) & ~asked)
    for by_battery in (0.0, 1.0):
        if not rows.size:
            return
        part, own = problems.take(rows), decided.take(rows)
        before = solutions.take(rows)
        battery, spill = before.p_charge_kw - before.p_discharge_kw, before.p_spill_kw.copy()
        battery[:, 0] -= by_battery * exchange[rows]
        spill[:, 0] -= (1.0 - by_battery) * exchange[rows]
        after = _solutions(part, own, battery=battery, spill=spill)
        fits = (after.p_import_kw[:, 0] == 0.0) & (after.p_export_kw[:, 0] == 0.0)
        fits &= (after.feasible | ~before.feasible) & (after.certified | ~before.certified)
        col, most = part.structure.col, part.col_hi  # no tolerance here: a home without battery has none
        fits &= (spill[:, 0] >= 0.0) & (spill[:, 0] <= most[:, col.p_spill_kw.start])
        fits &= (battery[:, 0] >= -most[:, col.p_discharge_kw.start]) & (
            battery[:, 0] <= most[:, col.p_charge_kw.start]
        )
        fits &= (by_battery == 0.0) | (after.objective - before.objective <= _NOTHING_USD)
        for band in (after.oes_lo_kw, after.oes_hi_kw):
            band[band < _NOTHING_KW] = 0.0
        solutions.put(rows[fits], after.take(fits))
        rows = rows[~fits]


def _inside_bounds(problems: Problems, decided: Decisions) -> tuple[Floats, Floats]:
    """Return battery power and spill, (n, T) kW, inside their bounds; 0 where nothing was found."""
    hi, col = problems.col_hi, problems.structure.col
    battery = np.clip(decided.battery_kw, -hi[:, col.p_discharge_kw], hi[:, col.p_charge_kw])
    spill = np.clip(decided.spill_kw, 0.0, hi[:, col.p_spill_kw])
    for power, limits in ((battery, (col.p_discharge_kw, col.p_charge_kw)), (spill, (None, col.p_spill_kw))):
        least = 0.0 if limits[0] is None else -hi[:, limits[0].start]
        power[:, 0] = np.clip(power[:, 0].round(_DECIMALS), least, hi[:, limits[1].start])
    if not decided.found.all():
        battery[~decided.found] = spill[~decided.found] = 0.0
    return battery, spill


def _stored_kw(problems: Problems, battery: Floats) -> Floats:
    """Return the rate of change of stored energy, kW: eta_c b when charging, b / eta_d when discharging."""
    structure = problems.structure
    return np.where(battery > 0.0, battery * structure.eta_charge, battery / structure.eta_discharge)


def _soc(problems: Problems, battery: Floats) -> Floats:
    """Return e_1 .. e_T by (1c), (n, T) kWh."""
    stored = problems.structure.dt_h * _stored_kw(problems, battery)
    keep = problems.structure.keep
    if keep == 1.0:
        return problems.soc_kwh[:, None] + np.cumsum(stored, axis=1)
    soc = np.empty_like(stored)
    before = problems.soc_kwh
    for k in range(problems.structure.n_ticks):
        soc[:, k] = before = keep * before + stored[:, k]
    return soc


def _respect_soc(problems: Problems, battery: Floats, spill: Floats) -> None:
    """Cut charging, in place, where netting c and d has left more energy than e_max allows."""
    structure = problems.structure
    soc_hi = problems.col_hi[:, structure.col.soc_kwh]
    rows = np.flatnonzero((_soc(problems, battery) > soc_hi + _BOUND_TOLERANCE).any(axis=1))
    if not rows.size:
        return
    part = problems.take(rows)
    spill_hi, net_load = part.col_hi[:, structure.col.p_spill_kw], part.rhs[:, structure.row.balance]
    soc = part.soc_kwh.copy()
    for k in range(structure.n_ticks):
        b = battery[rows, k]
        soc = structure.keep * soc + structure.dt_h * _stored_kw(part, b)
        excess_kw = np.maximum(soc - soc_hi[rows, k], 0.0) / (structure.dt_h * structure.eta_charge)
        cut = np.minimum(excess_kw, np.maximum(b, 0.0))
        imported = np.maximum(net_load[:, k] + spill[rows, k] + b, 0.0)
        battery[rows, k] = b - cut
        spill[rows, k] += np.clip(cut - imported, 0.0, spill_hi[:, k] - spill[rows, k])
        soc -= structure.dt_h * structure.eta_charge * cut


def _respect_limits(problems: Problems, battery: Floats, spill: Floats) -> None:
    """Bring the exchange with the grid inside its bounds, in place: by spill, then by the battery.

    After a solver this moves rounding errors only; the idle plan is moved by what its export limit asks.
    """
    lo, hi, col = problems.col_lo, problems.col_hi, problems.structure.col
    p_import = problems.rhs[:, problems.structure.row.balance] + spill + battery
    # Nothing exchanged stays exactly nothing, although battery and spill have been rounded.
    rounding = np.where(np.abs(p_import[:, 0]) < 10.0**-_DECIMALS, p_import[:, 0], 0.0)
    idle, spill_hi = battery[:, 0] == 0.0, hi[:, col.p_spill_kw.start]
    battery[:, 0] -= np.where(idle, 0.0, rounding)
    spill[:, 0] = np.clip(spill[:, 0] - np.where(idle, rounding, 0.0), 0.0, spill_hi)
    p_import = problems.rhs[:, problems.structure.row.balance] + spill + battery
    least = -hi[:, col.p_export_kw]
    most = hi[:, col.p_import_kw] + hi[:, col.p_over_import_kw] - lo[:, col.p_export_kw]
    below, above = np.maximum(least - p_import, 0.0), np.maximum(p_import - most, 0.0)
    more_spill = np.minimum(below, hi[:, col.p_spill_kw] - spill)
    less_spill = np.minimum(above, spill)
    spill += more_spill - less_spill
    battery += (below - more_spill) - (above - less_spill)


def _solutions(problems: Problems, decided: Decisions, *, battery: Floats, spill: Floats) -> Solutions:
    structure, found = problems.structure, decided.found
    net_load = problems.rhs[:, structure.row.balance]
    p_import = net_load + spill + battery
    summed = np.abs(net_load[:, 0]) + spill[:, 0] + np.abs(battery[:, 0])
    p_import[np.abs(p_import[:, 0]) <= 2.0 * np.finfo(float).eps * summed, 0] = 0.0  # rounding of the sum
    soc = _soc(problems, battery)
    target = structure.target_tick
    missing = problems.rhs[:, structure.row.terminal] - soc[:, target : target + 1]
    drawn = np.maximum(p_import, 0.0)
    over = np.maximum(p_import - problems.col_hi[:, structure.col.p_import_kw], 0.0)
    x = _Values(
        p_import_kw=drawn - over,
        p_over_import_kw=over,
        p_export_kw=np.maximum(-p_import, 0.0),
        p_charge_kw=np.maximum(battery, 0.0),
        p_discharge_kw=np.maximum(-battery, 0.0),
        p_spill_kw=spill,
        soc_kwh=soc,
        shortfall_kwh=np.maximum(missing, 0.0),
        surplus_kwh=np.maximum(-missing, 0.0),
    )
    objective, passed = _judge(problems, x)
    return Solutions(
        p_import_kw=drawn,
        p_export_kw=x.p_export_kw,
        p_charge_kw=x.p_charge_kw,
        p_discharge_kw=x.p_discharge_kw,
        p_spill_kw=spill,
        p_over_import_kw=over,
        soc_kwh=soc,
        shortfall_kwh=x.shortfall_kwh[:, 0],
        objective=objective,
        lower_bound=np.where(found, decided.lower_bound, -np.inf),
        feasible=found & (passed <= _FEASIBILITY_TOLERANCE),
        oes_lo_kw=decided.oes_lo_kw,
        oes_hi_kw=decided.oes_hi_kw,
        path=np.where(found, decided.path, "idle").astype(_PATH_DTYPE),
        devices=np.full(len(found), None, dtype=object),
        p_devices_kw=np.zeros_like(p_import),
        device_missed=np.zeros(len(found), dtype=bool),
    )


def _judge(problems: Problems, x: _Values) -> tuple[Floats, Floats]:
    """Return (1a) of the point x, (n,) $, and by how much it passes a bound at most."""
    objective, passed = np.zeros(len(problems)), np.full(len(problems), -np.inf)
    for block, values in zip(problems.structure.col, x, strict=True):
        objective += values @ problems.cost[block]
        np.maximum(passed, (problems.col_lo[:, block] - values).max(axis=1), out=passed)
        np.maximum(passed, (values - problems.col_hi[:, block]).max(axis=1), out=passed)
    return objective, passed
