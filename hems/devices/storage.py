"""Storages beside the home's first battery: what a further battery and an electric vehicle have in common.

    e_{k+1} = keep e_k + dt (eta_c c_k - d_k / eta_d) - sigma_k + surplus_k + j_k       rows 0 .. T-1
    e_T + sigma_T - surplus_T = e*                                                      row T

sigma and surplus are zero but where a target stands: at T, and for a vehicle at the ticks k when it leaves.
There the row reads  e_k + sigma_k - surplus_k = departure energy,  since e_{k+1} is then fixed at the energy
it will come back with, and j_k = e_{k+1} - departure energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from hems.devices.device import Block, Floats, Numbers, at_ticks

if TYPE_CHECKING:
    from hems.config import HemsConfig
    from hems.tariff import Tariff


@dataclass(frozen=True)
class StorageBlock(Block):
    """A storage with its targets; `ruled`: the home's rules for batteries hold for it.

    keep   share of the stored energy that is left after a tick
    """

    eta_charge: float
    eta_discharge: float
    keep: float = 1.0
    ruled: tuple[bool, bool] = (False, False)

    def sizes(self) -> dict[str, int]:
        """c, d, e_1 .. e_T; sigma_0 .. sigma_T and the surplus likewise."""
        T = self.n_ticks
        powers = {"p_charge_kw": T, "p_discharge_kw": T, "energy_kwh": T}
        return {**powers, "shortfall_kwh": T + 1, "surplus_kwh": T + 1}

    def equations(self) -> sp.csr_array:
        """Return the T rows of the dynamics and the row of the target."""
        T, col, dt = self.n_ticks, self.col, self.dt_h
        charge, energy = col["p_charge_kw"].start, col["energy_kwh"].start
        one = np.ones(1)
        return at_ticks(
            self,
            (0, energy, 1.0),
            (1, energy, np.full(T - 1, -self.keep)),
            (0, charge, -dt * self.eta_charge),
            (0, col["p_discharge_kw"].start, dt / self.eta_discharge),
            (0, col["shortfall_kwh"].start, np.full(T, -1.0)),
            (0, col["surplus_kwh"].start, np.full(T, 1.0)),
            (T, energy + T - 1, one),
            (T, col["shortfall_kwh"].stop - 1, one),
            (T, col["surplus_kwh"].stop - 1, -one),
            n_rows=T + 1,
        )

    def draw(self) -> sp.csr_array:
        """Return charging less discharging."""
        col = self.col
        return at_ticks(
            self,
            (0, col["p_charge_kw"].start, 1.0),
            (0, col["p_discharge_kw"].start, -1.0),
            n_rows=self.n_ticks,
        )

    def cost(self, tariff: Tariff, config: HemsConfig) -> Floats:
        """Return wear, and rho for what misses a target."""
        from hems.model import shortfall_price

        cost, col = np.zeros(self.n_cols), self.col
        cost[col["p_charge_kw"]] = cost[col["p_discharge_kw"]] = self.dt_h * config.wear_price_per_kwh
        kept = self.keep**self.n_ticks
        cost[col["shortfall_kwh"]] = shortfall_price(
            tariff, eta_charge=self.eta_charge, kept=kept, config=config
        )
        return cost

    def settle(self, y: Floats, numbers: Numbers) -> Floats:
        """Return net powers, cut where they would pass e_max, and the energies that follow from them."""
        col, T, dt = self.col, self.n_ticks, self.dt_h
        most_in, most_out = numbers.hi[col["p_charge_kw"]], numbers.hi[col["p_discharge_kw"]]
        net = np.clip(y[col["p_charge_kw"]] - y[col["p_discharge_kw"]], -most_out, most_in)
        lo, hi = numbers.lo[col["energy_kwh"]], numbers.hi[col["energy_kwh"]]
        target = numbers.hi[col["shortfall_kwh"]] > 0.0
        energy, deviation = np.zeros(T), np.zeros(T + 1)
        before = 0.0  # rhs of row 0 holds e_0
        for k in range(T):
            kept = self.keep * before + numbers.rhs[k]
            if target[k]:  # it leaves: the energy is the one it will bring
                energy[k] = before = lo[k]
                deviation[k], net[k] = lo[k] - kept, 0.0
                continue
            stored = dt * net[k] * (self.eta_charge if net[k] > 0.0 else 1.0 / self.eta_discharge)
            if kept + stored > hi[k] and net[k] > 0.0:
                net[k] = max(hi[k] - kept, 0.0) / (dt * self.eta_charge)
                stored = dt * net[k] * self.eta_charge
            energy[k] = before = kept + stored
        deviation[T] = numbers.rhs[T] - before if target[T] else 0.0
        found = np.zeros(self.n_cols)
        found[col["p_charge_kw"]], found[col["p_discharge_kw"]] = np.maximum(net, 0.0), np.maximum(-net, 0.0)
        found[col["energy_kwh"]] = energy
        found[col["shortfall_kwh"]] = np.maximum(deviation, 0.0)
        found[col["surplus_kwh"]] = np.maximum(-deviation, 0.0)
        return found

    def table(self, y: Floats, numbers: Numbers) -> dict[str, Floats]:
        """Return powers, and energy at the *end* of the tick."""
        return {name: y[self.col[name]] for name in ("p_charge_kw", "p_discharge_kw", "energy_kwh")}

    def missed(self) -> tuple[str, ...]:
        """Return sigma."""
        return ("shortfall_kwh",)

    def exclusive(self) -> tuple[str, str]:
        """Return charging and discharging."""
        return "p_charge_kw", "p_discharge_kw"

    def battery_powers(self) -> tuple[str | None, str | None]:
        """Return charging and discharging where the rules hold for them."""
        charge, discharge = self.ruled
        return "p_charge_kw" if charge else None, "p_discharge_kw" if discharge else None

    def after(self, energy_kwh: float, power_kw: float) -> float:
        """Return the energy after a tick of charging with power_kw (negative: discharging), kWh."""
        stored_kw = power_kw * (self.eta_charge if power_kw > 0.0 else 1.0 / self.eta_discharge)
        return max(self.keep * energy_kwh + self.dt_h * stored_kw, 0.0)
