"""A further battery, with an SOC of its own: losses, power and target may differ from the first."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from hems.checks import not_numbers
from hems.devices.device import Block, Device, Floats, Numbers, Seen
from hems.devices.storage import StorageBlock

if TYPE_CHECKING:
    from hems.household import Battery


@dataclass(frozen=True, kw_only=True)
class ExtraBattery(Device):
    """A second, third ... battery. Equal batteries are cheaper as one with more `n_units`.

    soc_start, soc_target  fractions of its capacity; the target stands at the end of the horizon, soft

    The rules `battery_export` and `grid_charging` of the home hold for it too.
    """

    name: str
    battery: Battery
    soc_start: float = 0.5
    soc_target: float = 0.5

    def faults(self) -> list[str]:
        """Return what is wrong with the numbers."""
        if wrong := not_numbers(self, "soc_start", "soc_target"):
            return wrong
        found = []
        for field in ("soc_start", "soc_target"):
            if not 0 <= getattr(self, field) <= 1:
                found.append(f"{field}={getattr(self, field)!r} must be between 0 and 1")
        return found

    def block(self, n_ticks: int, dt_h: float) -> StorageBlock:
        """Return a storage that the home's rules hold for."""
        b = self.battery
        keep = (1.0 - b.self_discharge_per_h) ** dt_h
        return StorageBlock(n_ticks, dt_h, b.eta_charge, b.eta_discharge, keep=keep, ruled=(True, True))

    def start(self) -> Hashable:
        """Return the energy at the start, kWh."""
        return self.soc_start * self.battery.capacity_kwh

    def numbers(self, seen: Seen, block: Block) -> Numbers:
        """Return the horizon; an energy outside the band widens it, and never moves further out."""
        b, col, T = self.battery, block.col, block.n_ticks
        energy, keep = cast(float, seen.state), cast(StorageBlock, block).keep
        lo, hi = np.zeros(block.n_cols), np.zeros(block.n_cols)
        hi[col["p_charge_kw"]] = b.p_charge_kw * b.n_units
        hi[col["p_discharge_kw"]] = b.p_discharge_kw * b.n_units
        lo[col["energy_kwh"]] = np.minimum(b.soc_min * b.capacity_kwh, energy * keep ** np.arange(1, T + 1))
        hi[col["energy_kwh"]] = max(b.soc_max * b.capacity_kwh, energy)
        hi[[col["shortfall_kwh"].stop - 1, col["surplus_kwh"].stop - 1]] = np.inf
        rhs = np.zeros(T + 1)
        rhs[0], rhs[T] = keep * energy, self.soc_target * b.capacity_kwh
        return Numbers(lo, hi, rhs, np.zeros(T))

    def live(self, seen: Seen, y: Floats, *, power_kw: float, block: Block) -> Hashable:
        """Return the energy at the end of the tick, kWh."""
        return cast(StorageBlock, block).after(cast(float, seen.state), power_kw)
