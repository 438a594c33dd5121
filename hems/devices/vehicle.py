"""An electric vehicle: a storage that is there at times, and wants to leave with enough energy."""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable
from dataclasses import dataclass
from typing import cast

import numpy as np

from hems.checks import not_a_sequence, not_numbers
from hems.devices.device import Block, Device, Floats, Numbers, Seen
from hems.devices.storage import StorageBlock


@dataclass(frozen=True, kw_only=True)
class Stay:
    """The vehicle is plugged in during the ticks arrive_tick ... depart_tick - 1.

    arrival_kwh    energy that it comes back with (at tick 0 if it has been there from before)
    departure_kwh  energy that it should leave with; soft, what is missing is priced and reported
    """

    arrive_tick: int
    depart_tick: int
    arrival_kwh: float
    departure_kwh: float


@dataclass(frozen=True)
class Charge:
    """State: energy in the vehicle (while it is away: what it will come back with), and what it has missed.

    missed_kwh   summed over all departures until now
    """

    energy_kwh: float
    missed_kwh: float = 0.0


@dataclass(frozen=True, kw_only=True)
class ElectricVehicle(Device):
    """A vehicle with its timetable; limits are on the AC side.

    stays   in order of time and apart by at least a tick; outside them c = d = 0
    v2g     it may discharge, with `p_discharge_kw`. The rule `battery_export` of the home holds for it then;
            it may always charge from the grid

    A departure beyond the horizon asks for as much at its end as still lets the vehicle make it:
    e_T >= departure_kwh - eta_charge p_charge_kw x the time left.
    """

    name: str
    capacity_kwh: float
    p_charge_kw: float
    stays: tuple[Stay, ...]
    v2g: bool = False
    p_discharge_kw: float = 0.0
    eta_charge: float = 0.95
    eta_discharge: float = 0.95
    soc_min: float = 0.0

    def faults(self) -> list[str]:
        """Return what is wrong with the numbers and the timetable."""
        wrong = not_numbers(self, "capacity_kwh", "p_charge_kw", "p_discharge_kw", "eta_charge")
        wrong += not_numbers(self, "eta_discharge", "soc_min") + not_a_sequence(self, "stays", Stay)
        if wrong:
            return wrong
        found = [
            f"{field}={getattr(self, field)!r} must be positive and finite"
            for field in ("capacity_kwh", "p_charge_kw")
            if not 0 < getattr(self, field) < math.inf
        ]
        if not (0 < self.p_discharge_kw < math.inf if self.v2g else self.p_discharge_kw == 0):
            found.append(
                f"p_discharge_kw={self.p_discharge_kw!r} must be positive with v2g=True, and 0 without"
            )
        for field in ("eta_charge", "eta_discharge"):
            if not 0 < getattr(self, field) <= 1:
                found.append(f"{field}={getattr(self, field)!r} must be in (0, 1]")
        if not 0 <= self.soc_min <= 1:
            found.append(f"soc_min={self.soc_min!r} must be between 0 and 1")
        return found + self._timetable_faults()

    def _timetable_faults(self) -> list[str]:
        found = []
        for i, stay in enumerate(self.stays):
            if wrong := not_numbers(stay, "arrive_tick", "depart_tick", "arrival_kwh", "departure_kwh"):
                found += [f"stays[{i}].{fault}" for fault in wrong]
                continue
            if not all(float(t).is_integer() for t in (stay.arrive_tick, stay.depart_tick)):
                found.append(f"stays[{i}] must begin and end at whole ticks")
            elif not stay.arrive_tick < stay.depart_tick:
                found.append(f"stays[{i}] must depart after it arrives, at {stay.arrive_tick}")
            for field in ("arrival_kwh", "departure_kwh"):
                if not 0 <= getattr(stay, field) <= self.capacity_kwh:
                    found.append(f"stays[{i}].{field}={getattr(stay, field)!r} must be within the capacity")
        for i, (a, b) in enumerate(itertools.pairwise(self.stays)):
            if not a.depart_tick < b.arrive_tick:
                found.append(
                    f"stays[{i + 1}] must arrive after tick {a.depart_tick}, when stays[{i}] departs"
                )
        return found

    def block(self, n_ticks: int, dt_h: float) -> StorageBlock:
        """Return a storage whose discharge the home's rule for export holds for."""
        return StorageBlock(n_ticks, dt_h, self.eta_charge, self.eta_discharge, ruled=(False, self.v2g))

    def start(self) -> Hashable:
        """Return the charge at tick 0."""
        return Charge(self._arrival_kwh(0))

    def _present(self, tick: int) -> Stay | None:
        return next((s for s in self.stays if s.arrive_tick <= tick < s.depart_tick), None)

    def _arrival_kwh(self, tick: int) -> float:
        """Energy of the stay that holds `tick`, or of the next one; 0 after the last."""
        return next((s.arrival_kwh for s in self.stays if s.depart_tick > tick), 0.0)

    def numbers(self, seen: Seen, block: Block) -> Numbers:
        """Return the horizon: the mask of availability, and a target at each departure."""
        col, T, charge = block.col, block.n_ticks, cast(Charge, seen.state)
        lo, hi, rhs = np.zeros(block.n_cols), np.zeros(block.n_cols), np.zeros(T + 1)
        rhs[0] = floor = charge.energy_kwh
        before = self._present(seen.tick)
        for k in range(T):
            stay, energy = self._present(seen.tick + k), col["energy_kwh"].start + k
            if stay is None:
                lo[energy] = hi[energy] = floor = self._arrival_kwh(seen.tick + k)
                if before is not None:  # it leaves
                    self._open_target(hi, block, k)
                    rhs[k] = floor - before.departure_kwh
            else:
                hi[col["p_charge_kw"].start + k] = self.p_charge_kw
                hi[col["p_discharge_kw"].start + k] = self.p_discharge_kw if self.v2g else 0.0
                lo[energy] = min(self.soc_min * self.capacity_kwh, floor)
                hi[energy] = self.capacity_kwh
            before = stay
        self._open_target(hi, block, T)
        rhs[T] = self._wanted_at_end(before, seen.tick + T, block)
        return Numbers(lo, hi, rhs, np.zeros(T))

    @staticmethod
    def _open_target(hi: Floats, block: Block, k: int) -> None:
        hi[[block.col["shortfall_kwh"].start + k, block.col["surplus_kwh"].start + k]] = np.inf

    def _wanted_at_end(self, stay: Stay | None, tick: int, block: Block) -> float:
        if stay is None:
            return 0.0
        still = (stay.depart_tick - tick) * block.dt_h * self.eta_charge * self.p_charge_kw
        return max(0.0, stay.departure_kwh - still)

    def live(self, seen: Seen, y: Floats, *, power_kw: float, block: Block) -> Hashable:
        """Return the charge after the tick; at a departure what is missing is booked."""
        charge, stay = cast(Charge, seen.state), self._present(seen.tick)
        if stay is None:
            return Charge(self._arrival_kwh(seen.tick + 1), charge.missed_kwh)
        energy = cast(StorageBlock, block).after(charge.energy_kwh, power_kw)
        if seen.tick + 1 < stay.depart_tick:
            return Charge(energy, charge.missed_kwh)
        missing = max(stay.departure_kwh - energy, 0.0)
        return Charge(self._arrival_kwh(seen.tick + 1), charge.missed_kwh + missing)
