"""Heat pump or hot-water store: electricity that becomes heat, and a temperature that should stay in a band.

theta_{k+1} = a theta_k + (1 - a) ambient_k + g (COP p_k - heat_k)
a = exp(-dt U / C),   g = (1 - a) / U   (dt / C without losses)      exact for powers constant in a tick
theta = comfort + over - under,   comfort_lo <= comfort <= comfort_hi,   over and under priced per K h
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np
import scipy.sparse as sp

from hems.checks import not_numbers, real_array
from hems.devices.device import Block, Device, Floats, Numbers, Seen, at_ticks
from hems.errors import SeriesError

if TYPE_CHECKING:
    from hems.config import HemsConfig
    from hems.tariff import Tariff


@dataclass(frozen=True)
class ThermalBlock(Block):
    """A store of heat: a, K/kWh g, COP, and the price of discomfort, $/(K h)."""

    keep: float
    k_per_kw: float
    cop: float
    comfort_price: float

    def sizes(self) -> dict[str, int]:
        """Power; temperature inside the band at the ends of the ticks; kelvins above and below the band."""
        T = self.n_ticks
        return {"p_kw": T, "comfort_c": T, "over_k": T, "under_k": T}

    def equations(self) -> sp.csr_array:
        """Return the T rows of the dynamics of the true temperature, comfort + over - under."""
        col = self.col
        signs = {"comfort_c": 1.0, "over_k": 1.0, "under_k": -1.0}
        kept = np.full(self.n_ticks - 1, -self.keep)
        terms: list[tuple[int, int, Floats | float]] = [(0, col["p_kw"].start, -self.k_per_kw * self.cop)]
        terms += [(0, col[name].start, sign) for name, sign in signs.items()]
        terms += [(1, col[name].start, sign * kept) for name, sign in signs.items()]
        return at_ticks(self, *terms, n_rows=self.n_ticks)

    def draw(self) -> sp.csr_array:
        """Return the electric power."""
        return at_ticks(self, (0, self.col["p_kw"].start, 1.0), n_rows=self.n_ticks)

    def cost(self, tariff: Tariff, config: HemsConfig) -> Floats:
        """Return the price of discomfort."""
        cost = np.zeros(self.n_cols)
        cost[self.col["over_k"]] = cost[self.col["under_k"]] = self.dt_h * self.comfort_price
        return cost

    def settle(self, y: Floats, numbers: Numbers) -> Floats:
        """Return powers within their limits, and the temperatures that follow from them."""
        col, found = self.col, np.zeros(self.n_cols)
        power = np.clip(y[col["p_kw"]], 0.0, numbers.hi[col["p_kw"]])
        theta, before = np.zeros(self.n_ticks), 0.0  # rhs of row 0 holds theta_0
        for k in range(self.n_ticks):
            theta[k] = before = self.keep * before + self.k_per_kw * self.cop * power[k] + numbers.rhs[k]
        comfort = np.clip(theta, numbers.lo[col["comfort_c"]], numbers.hi[col["comfort_c"]])
        found[col["p_kw"]], found[col["comfort_c"]] = power, comfort
        found[col["over_k"]] = np.maximum(theta - comfort, 0.0)
        found[col["under_k"]] = np.maximum(comfort - theta, 0.0)
        return found

    def table(self, y: Floats, numbers: Numbers) -> dict[str, Floats]:
        """Return power, and temperature at the *end* of the tick."""
        comfort, over, under = (y[self.col[name]] for name in ("comfort_c", "over_k", "under_k"))
        return {"p_kw": y[self.col["p_kw"]], "temperature_c": comfort + over - under}

    def missed(self) -> tuple[str, ...]:
        """Return kelvins outside the comfort band."""
        return "over_k", "under_k"


@dataclass(frozen=True, kw_only=True)
class HeatPump(Device):
    """A heat pump (or a heater, COP 1) with the store that it heats: a tank, or the house itself.

    p_max_kw         electric power, modulating from 0
    cop              heat per electricity
    capacity_kwh_per_k  C; water: 0.00116 kWh per litre and kelvin     loss_kw_per_k  U, to the ambient
    start_c          temperature at tick 0
    comfort_lo_c, comfort_hi_c  band of the temperature, soft: it may be left at comfort_price_per_kh, $/(K h)
    ambient_c        of the losses: the room of a tank, outdoors for a house; one value, or one per tick
    heat_kw          heat drawn from the store; one value, or one per tick. It is drawn at any temperature
    """

    name: str
    p_max_kw: float
    cop: float
    capacity_kwh_per_k: float
    loss_kw_per_k: float
    start_c: float
    comfort_lo_c: float
    comfort_hi_c: float
    comfort_price_per_kh: float = 1.0
    ambient_c: float | tuple[float, ...] = 20.0
    heat_kw: float | tuple[float, ...] = 0.0

    def faults(self) -> list[str]:
        """Return what is wrong with the numbers and series."""
        sizes = "p_max_kw", "cop", "capacity_kwh_per_k", "loss_kw_per_k"
        comfort = "start_c", "comfort_lo_c", "comfort_hi_c", "comfort_price_per_kh"
        if none := not_numbers(self, *sizes, *comfort):
            return none
        found = [
            f"{field}={getattr(self, field)!r} must be positive and finite"
            for field in ("p_max_kw", "cop", "capacity_kwh_per_k", "comfort_price_per_kh")
            if not 0 < getattr(self, field) < math.inf
        ]
        if not 0 <= self.loss_kw_per_k < math.inf:
            found.append(f"loss_kw_per_k={self.loss_kw_per_k!r} must be finite and not negative")
        if not math.isfinite(self.start_c):
            found.append(f"start_c={self.start_c!r} must be finite")
        if not -math.inf < self.comfort_lo_c <= self.comfort_hi_c < math.inf:
            found.append(
                f"comfort_lo_c={self.comfort_lo_c!r}, comfort_hi_c={self.comfort_hi_c!r} is no finite band"
            )
        for field, least in (("ambient_c", -math.inf), ("heat_kw", 0.0)):
            try:
                values = np.atleast_1d(real_array(getattr(self, field)))
            except (TypeError, ValueError) as exc:
                found.append(f"{field} must be a number, or one per tick: {exc}")
                continue
            wrong = ~np.isfinite(values) | (values < least)
            if wrong.any() or not values.size:
                k = int(np.argmax(wrong)) if values.size else 0
                given = values[k] if values.size else "empty"
                limit = "" if math.isinf(least) else " and not negative"
                found.append(f"{field} is {given} at tick {k}; it must be finite{limit}")
        return found

    def block(self, n_ticks: int, dt_h: float) -> ThermalBlock:
        """Return the store of heat."""
        lost = dt_h * self.loss_kw_per_k / self.capacity_kwh_per_k  # dt U / C
        per_kw = dt_h / self.capacity_kwh_per_k * (-math.expm1(-lost) / lost if lost > 0.0 else 1.0)
        return ThermalBlock(n_ticks, dt_h, math.exp(-lost), per_kw, self.cop, self.comfort_price_per_kh)

    def start(self) -> Hashable:
        """Return the temperature at tick 0."""
        return float(self.start_c)

    def numbers(self, seen: Seen, block: Block) -> Numbers:
        """Return the horizon."""
        col, T, b = block.col, block.n_ticks, cast(ThermalBlock, block)
        lo, hi = np.zeros(block.n_cols), np.full(block.n_cols, np.inf)
        hi[col["p_kw"]] = self.p_max_kw
        lo[col["comfort_c"]], hi[col["comfort_c"]] = self.comfort_lo_c, self.comfort_hi_c
        ambient = self._window("ambient_c", self.ambient_c, seen.tick, T)
        heat = self._window("heat_kw", self.heat_kw, seen.tick, T)
        rhs = (1.0 - b.keep) * ambient - b.k_per_kw * heat
        rhs[0] += b.keep * cast(float, seen.state)
        return Numbers(lo, hi, rhs, np.zeros(T))

    def _window(self, field: str, values: float | Sequence[float], tick: int, length: int) -> Floats:
        series = np.asarray(values, dtype=float)
        if series.ndim == 0:
            return np.full(length, float(series))
        if len(series) < tick + length:
            raise SeriesError(
                f"{field} of device {self.name!r} has {len(series)} ticks; needed are {tick + length}, the "
                "ticks until now and the horizon."
            )
        return series[tick : tick + length]

    def live(self, seen: Seen, y: Floats, *, power_kw: float, block: Block) -> Hashable:
        """Return the temperature at the end of the tick."""
        b = cast(ThermalBlock, block)
        ambient = self._window("ambient_c", self.ambient_c, seen.tick, 1)[0]
        heat = self._window("heat_kw", self.heat_kw, seen.tick, 1)[0]
        gained = b.k_per_kw * (b.cop * float(y[b.col["p_kw"].start]) - heat)
        return float(b.keep * cast(float, seen.state) + (1.0 - b.keep) * ambient + gained)
