"""Controls: the taps and capacitor steps that the optimisation may move, and what moving them means.

A position is a tap ratio or a number of capacitor steps. In the programme it is a variable, `position`,
between its bounds; `dms.discrete` brings it back to whole steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dms.builder import Builder
from dms.phasor import Terms
from dms.program import Numbers, Program
from feeders import Feeder, Transformers, Windings
from feeders.elements import Capacitors, Regulators
from feeders.table import Array, Table

REGULATED = "regulated"
"""As a tap's name: every transformer that has a regulator, each on its own."""
MOVE_COST = {1: 1e-7, 2: 1e-10}
"""Cost of one step against curtailment in MW, to the objective's degree: a tenth of a watt, for ties."""


@dataclass(frozen=True)
class Controls:
    """What may be moved, as a user states it.

    taps            transformers whose tap is free; a tuple of names moves together (ganged); the name
                    "regulated" stands for every transformer with a regulator, each on its own
    winding         winding whose tap moves, by transformer; default: that of its regulator, else 1
    capacitors      banks whose number of steps is free
    steps_per_tick  most steps that any one of them moves in a tick, None = all it has
    tries           most positions that are solved or screened in a tick

    Raises  ValueError  a bound that is not a positive whole number
    """

    taps: tuple[str | tuple[str, ...], ...] = ()
    winding: Mapping[str, int] = field(default_factory=dict)
    capacitors: tuple[str, ...] = ()
    steps_per_tick: int | None = None
    tries: int = 40

    def __post_init__(self) -> None:
        for name in ("taps", "capacitors"):
            if isinstance(getattr(self, name), str):
                object.__setattr__(self, name, (getattr(self, name),))
        named = {n for tap in self.taps for n in ((tap,) if isinstance(tap, str) else tap)}
        if (unused := set(self.winding) - named) and REGULATED not in named:
            raise ValueError(f"controls.winding names {', '.join(sorted(unused))}, whose tap is not free")
        if any(not tap for tap in self.taps):
            raise ValueError("controls.taps has an empty name or gang")
        for name in ("tries", "steps_per_tick"):
            value = getattr(self, name)
            if value is None and name == "steps_per_tick":
                continue
            if not isinstance(value, int) or not value >= 1:
                raise ValueError(f"{name} = {value!r} must be a whole number, at least 1")

    def describe(self) -> str:
        """One phrase for tables and plots."""
        if not (self.taps or self.capacitors):
            return "taps fixed"
        names = [" + ".join(t) if isinstance(t, tuple) else t for t in self.taps]
        parts = [f"taps free: {', '.join(names)}"] if names else []
        parts += [f"capacitor steps free: {', '.join(self.capacitors)}"] if self.capacitors else []
        bound = "" if self.steps_per_tick is None else f", {self.steps_per_tick} steps a tick"
        return f"{'; '.join(parts)}{bound}"


@dataclass(frozen=True)
class ControlValues:
    """Controls resolved on a feeder.

    name, lo, hi, step  (n,)  bounds and size of a step, in positions
    of_winding          (n_windings,) int    control that moves the winding's tap, -1 none
    of_capacitor        (n_capacitors,) int  control that moves the row's steps, -1 none
    """

    name: Array
    lo: Array
    hi: Array
    step: Array
    of_winding: Array
    of_capacitor: Array
    steps_per_tick: int | None
    tries: int

    @staticmethod
    def resolve(feeder: Feeder, controls: Controls) -> ControlValues:
        """Look every name up.

        Raises  KeyError    an unknown transformer, winding or bank
                ValueError  one that is named twice, has no steps, or differs from its gang
        """
        windings, capacitors = feeder[Windings], feeder[Capacitors]
        of_winding = np.full(len(windings), -1)
        of_capacitor = np.full(len(capacitors), -1)
        found: list[tuple[str, float, float, float]] = []
        for gang in _gangs(feeder, controls.taps):
            rows = [_tap_winding(feeder, name, controls.winding) for name in gang]
            _claim(of_winding, rows, len(found), " + ".join(gang))
            found.append((" + ".join(gang), *_tap_range(windings, rows, gang)))
        for bank in controls.capacitors:
            rows = np.flatnonzero((capacitors.bank == bank) | (capacitors.name == bank)).tolist()
            if not rows:
                known = ", ".join(sorted(set(capacitors.bank))) or "none"
                raise KeyError(f"controls: no capacitor bank {bank!r}; known: {known}")
            _claim(of_capacitor, rows, len(found), bank)
            steps = {int(n) for n in capacitors.steps[rows]}
            if len(steps) > 1 or len({int(n) for n in capacitors.steps_on[rows]}) > 1:
                raise ValueError(f"controls: the rows of bank {bank!r} differ in their steps")
            found.append((bank, 0.0, float(steps.pop()), 1.0))
        name, lo, hi, step = (np.array(c) for c in zip(*found, strict=True)) if found else (np.zeros(0),) * 4
        text = name.astype(object)
        bounds = controls.steps_per_tick, controls.tries
        return ControlValues(text, lo, hi, step, of_winding, of_capacitor, *bounds)

    def check(self, position: Array) -> None:
        """Positions (n,) that can be: inside the bounds, capacitor steps whole.

        Raises  ValueError  naming the first that cannot
        """
        banks = np.zeros(len(self), dtype=bool)
        banks[self.of_capacitor[self.of_capacitor >= 0]] = True
        outside = (position < self.lo - 1e-9) | (position > self.hi + 1e-9)
        broken = banks & (np.abs(position - np.rint(position)) > 1e-9)
        for k in np.flatnonzero(outside | broken):
            what = "whole steps " if banks[k] else ""
            raise ValueError(
                f"position {position[k]:g} of {self.name[k]}: give {what}{self.lo[k]:g} to {self.hi[k]:g}"
            )

    def __len__(self) -> int:
        return len(self.name)

    def present(self, feeder: Feeder) -> Array:
        """Positions (n,) as the feeder has them."""
        position = np.zeros(len(self))
        for of, values in (
            (self.of_winding, feeder[Windings].tap),
            (self.of_capacitor, feeder[Capacitors].steps_on),
        ):
            moved = of >= 0
            position[of[moved]] = values[moved]
        return position

    def apply(self, feeder: Feeder, position: Array) -> Feeder:
        """The feeder with its controls at other positions (n,)."""
        windings, capacitors = feeder[Windings], feeder[Capacitors]
        tap, on = windings.tap.copy(), capacitors.steps_on.copy()
        tap[self.of_winding >= 0] = position[self.of_winding[self.of_winding >= 0]]
        on[self.of_capacitor >= 0] = np.rint(position[self.of_capacitor[self.of_capacitor >= 0]])
        changed: list[Table] = [windings.replace(tap=tap)] if len(windings) else []
        changed += [capacitors.replace(steps_on=on)] if len(capacitors) else []
        return feeder.with_tables(*changed)

    def reach(self, base: Array) -> tuple[Array, Array]:
        """Lowest and highest position (n,) that may be reached from `base` in one tick."""
        most = np.inf if self.steps_per_tick is None else self.steps_per_tick * self.step
        # A tick may start outside the bounds: then staying where it is remains allowed.
        lo, hi = np.maximum(self.lo, base - most), np.minimum(self.hi, base + most)
        return np.minimum(lo, base), np.maximum(hi, base)

    def rounded(self, position: Array, base: Array) -> Array:
        """The nearest whole steps from the lower bound in reach, or `base` where that is nearest."""
        lo, hi = self.reach(base)
        grid = self.lo + np.rint((position - self.lo) / self.step) * self.step
        outside = (grid < lo - 1e-9) | (grid > hi + 1e-9)
        grid = np.where(outside, base, grid)
        return np.where(np.abs(position - base) <= np.abs(position - grid) + 1e-9, base, grid)

    def choices(self, base: Array, k: int) -> list[float]:
        """Every position of control k within a tick's reach: whole steps, and where it is."""
        lo, hi = (bound[k] for bound in self.reach(base))
        steps = int(np.rint((self.hi[k] - self.lo[k]) / self.step[k])) + 1
        grid = self.lo[k] + np.arange(steps) * self.step[k]
        grid = grid[(grid >= lo - 1e-9) & (grid <= hi + 1e-9) & (np.abs(grid - base[k]) > 1e-9)]
        return [float(base[k]), *grid.tolist()]

    def stepped(self, here: float, way: float, base: float, k: int) -> float:
        """The next whole step of control k up (way = 1) or down (-1); `base` where that lies on the way."""
        there = self.lo[k] + np.rint((here + way * self.step[k] - self.lo[k]) / self.step[k]) * self.step[k]
        return base if (base - here) * way > 1e-9 and (there - base) * way > -1e-9 else float(there)

    def steps_moved(self, position: Array, base: Array) -> Array:
        """Steps (n,) between two positions."""
        return np.asarray(np.abs(position - base) / self.step)


def add_positions(values: ControlValues, b: Builder) -> None:
    """One variable per control, and the steps it moves: tau in [tau_min, tau_max]  (2k).

    moved >= +-(position - base) / step       rows `moved_up`, `moved_down`
    """
    n = np.arange(len(values))
    one = np.ones(len(n))
    bounds = {"lo": values.lo, "hi": values.hi, "start": values.present(b.feeder)}
    position = b.add_variables("position", values.name, **bounds, role="control")
    moved = b.add_variables("moved", values.name, lo=0.0, role="control")
    for name, sign in (("moved_up", -1.0), ("moved_down", 1.0)):
        row = Terms(
            np.concatenate([n, n]),
            np.concatenate([moved.index, position.index]),
            np.concatenate([one, sign / values.step]),
        )
        b.add_rows(name, values.name, linear=row, lo=0.0, hi=np.inf, role="limit")


def add_move_cost(b: Builder) -> None:
    """A trifle for every step moved, in every stage of the objective: call it after the norm."""
    b.add_trifle(b.variables("moved").index, MOVE_COST)


def set_position_numbers(
    values: ControlValues, program: Program, base: Array, position: Array, free: Array, numbers: Numbers
) -> None:
    """Positions held (n,), or free (n,) bool to move within a tick's reach of where they came from."""
    span = program.variables["position"].span
    lo, hi = values.reach(base)
    numbers.x_lo[span], numbers.x_hi[span] = np.where(free, lo, position), np.where(free, hi, position)
    numbers.x0[span] = position
    numbers.row_lo[program.rows["moved_up"].span] = -base / values.step
    numbers.row_lo[program.rows["moved_down"].span] = base / values.step


def _gangs(feeder: Feeder, taps: tuple[str | tuple[str, ...], ...]) -> list[tuple[str, ...]]:
    gangs: list[tuple[str, ...]] = []
    for tap in taps:
        if tap == REGULATED:
            rows = list(dict.fromkeys(feeder[Regulators].transformer.tolist()))
            if not rows:
                raise KeyError(f"controls: feeder {feeder.name} has no regulators")
            gangs += [(str(feeder[Transformers].name[row]),) for row in rows]
        else:
            gangs.append((tap,) if isinstance(tap, str) else tuple(tap))
    return gangs


def _tap_winding(feeder: Feeder, name: str, winding: Mapping[str, int]) -> int:
    """Row of `Windings` whose tap a transformer's control moves."""
    units, windings, regulators = feeder[Transformers], feeder[Windings], feeder[Regulators]
    row = np.flatnonzero(units.name == name)
    if not len(row):
        known = ", ".join(str(n) for n in units.name[:8])
        raise KeyError(f"controls: no transformer {name!r}; known: {known}")
    mine = np.flatnonzero(regulators.transformer == row[0])
    default = int(regulators.tap_winding[mine[0]]) if len(mine) else 1
    wanted = winding.get(name, default)
    found = np.flatnonzero((windings.transformer == row[0]) & (windings.winding == wanted))
    if not len(found):
        raise KeyError(f"controls: transformer {name!r} has no winding {wanted}")
    return int(found[0])


def _tap_range(windings: Windings, rows: list[int], gang: tuple[str, ...]) -> tuple[float, float, float]:
    """Lowest and highest tap and the size of a step, the same for a whole gang."""
    kinds = {
        (float(windings.tap_min[r]), float(windings.tap_max[r]), int(windings.tap_steps[r])) for r in rows
    }
    if len(kinds) > 1 or len({float(windings.tap[r]) for r in rows}) > 1:
        raise ValueError(
            f"controls: {', '.join(gang)} move together but differ in their taps; free them one by one, "
            "or give them one tap and one range in the feeder's windings"
        )
    lo, hi, steps = kinds.pop()
    if not (steps > 0 and hi > lo):
        raise ValueError(f"controls: {', '.join(gang)} cannot move: {steps} steps from {lo:g} to {hi:g}")
    return lo, hi, (hi - lo) / steps


def _claim(of: Array, rows: list[int], control: int, name: str) -> None:
    if (of[rows] >= 0).any() or len(set(rows)) < len(rows):
        raise ValueError(f"controls: {name!r} is named twice")
    of[rows] = control
