"""What a prosumer has: PV, a battery, an inverter and further devices (or not), and a service connection."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hems.checks import is_flag, not_numbers, read_only
from hems.devices.device import Device
from hems.errors import HomeError

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Battery:
    """A battery bank of `n_units` equal units; limits are on the AC side.

    energy_kwh                   usable energy of one unit, kWh
    p_charge_kw, p_discharge_kw  largest AC power of one unit in each direction, kW
    eta_charge, eta_discharge    efficiency of each direction, in (0, 1]
    soc_min, soc_max             band of the state of charge, fractions of the usable energy
    self_discharge_per_h         share of the stored energy lost in an hour, in [0, 1)
    n_units                      how many; a node that stands for many homes has many

    Raises HomeError naming every field that is wrong.
    """

    energy_kwh: float
    p_charge_kw: float
    p_discharge_kw: float
    eta_charge: float
    eta_discharge: float
    soc_min: float = 0.0
    soc_max: float = 1.0
    self_discharge_per_h: float = 0.0
    n_units: int = 1

    def __post_init__(self) -> None:
        if found := self.faults():
            raise HomeError(f"Battery: {'; '.join(found)}.")

    @classmethod
    def powerwall2(cls, n_units: int = 1) -> Self:
        """Return Tesla Powerwall 2 units (paper IV-A): 13.5 kWh usable, 5 kW, 90 % round trip.

        The data sheet gives the round trip only; it is split evenly, sqrt(0.9) each way.
        """
        eta = math.sqrt(0.9)
        return cls(
            energy_kwh=13.5,
            p_charge_kw=5.0,
            p_discharge_kw=5.0,
            eta_charge=eta,
            eta_discharge=eta,
            n_units=n_units,
        )

    @property
    def capacity_kwh(self) -> float:
        """Usable energy of the bank, kWh."""
        return self.energy_kwh * self.n_units

    def faults(self) -> list[str]:
        """Return what is wrong with the numbers, one sentence per field, none when all is well."""
        fields = ("energy_kwh", "p_charge_kw", "p_discharge_kw", "eta_charge", "eta_discharge", "soc_min")
        if wrong := not_numbers(self, *fields, "soc_max", "self_discharge_per_h", "n_units"):
            return wrong
        powers = {"p_charge_kw": self.p_charge_kw, "p_discharge_kw": self.p_discharge_kw}
        etas = {"eta_charge": self.eta_charge, "eta_discharge": self.eta_discharge}
        found = []
        if not 0 < self.energy_kwh < math.inf:
            found.append(f"energy_kwh={self.energy_kwh!r} must be positive and finite")
        found += [
            f"{k}={v!r} must be finite and not negative" for k, v in powers.items() if not 0 <= v < math.inf
        ]
        found += [f"{k}={v!r} must be in (0, 1]" for k, v in etas.items() if not 0 < v <= 1]
        if not 0 <= self.soc_min <= self.soc_max <= 1:
            found.append(
                f"soc_min={self.soc_min!r}, soc_max={self.soc_max!r} must satisfy 0 <= min <= max <= 1"
            )
        if not 0 <= self.self_discharge_per_h < 1:
            found.append(f"self_discharge_per_h={self.self_discharge_per_h!r} must be in [0, 1)")
        if not (self.n_units >= 1 and float(self.n_units).is_integer()):
            found.append(f"n_units={self.n_units!r} must be a whole number, at least 1")
        return found


@dataclass(frozen=True, kw_only=True)
class Inverter:
    """The inverter of the PV: reactive power comes first, and leaves room for so much real power.

    PV_k <- min(PV_k, sqrt(S^2 - q^2)),  or  min(PV_k, S pf)  where the power factor is fixed

    s_kva         rating S of all units together
    q_kvar        reactive power that it must give or take, either sign
    power_factor  fixed |P| / S, in (0, 1], instead of `q_kvar`
    """

    s_kva: float
    q_kvar: float = 0.0
    power_factor: float | None = None

    @property
    def p_limit_kw(self) -> float:
        """Largest real power, kW."""
        if self.power_factor is not None:
            return self.s_kva * self.power_factor
        return math.sqrt(self.s_kva**2 - self.q_kvar**2)

    def faults(self) -> list[str]:
        """Return what is wrong with the numbers, one sentence per field, none when all is well."""
        fixed = ("power_factor",) if self.power_factor is not None else ()
        if wrong := not_numbers(self, "s_kva", "q_kvar", *fixed):
            return wrong
        found = []
        if not 0 < self.s_kva < math.inf:
            found.append(f"s_kva={self.s_kva!r} must be positive and finite")
        if not abs(self.q_kvar) <= self.s_kva:
            found.append(f"q_kvar={self.q_kvar!r} must not be larger than s_kva={self.s_kva!r}")
        if self.power_factor is not None and (not 0 < self.power_factor <= 1 or self.q_kvar):
            found.append(f"power_factor={self.power_factor!r} must be in (0, 1], and stand without q_kvar")
        return found


@dataclass(frozen=True)
class Home:
    """One prosumer as its energy management system sees it.

    name             unique in a fleet; random draws hang on it
    battery          or None: a home with PV only
    import_limit_kw  G, service limit; soft, since the load is what it is
    export_limit_kw  X, static export limit; hard; 0 is legal
    has_pv           False: its PV series must be zero; without battery and devices it is then no prosumer
    inverter         of the PV, or None: no limit to what it can use
    battery_export   False: d_k <= max(L_k - u_k, 0) with u the PV used and L the load and what devices draw;
                     that is, no battery discharges while the home exports. Needs binaries
    grid_charging    False: c_k <= max(u_k - L_k, 0); no battery charges while the home imports (an electric
                     vehicle may). Needs binaries
    devices          further storages and appliances, see `hems.devices`

    Raises HomeError naming the home and the field.
    """

    name: str
    battery: Battery | None = None
    import_limit_kw: float = math.inf
    export_limit_kw: float = math.inf
    has_pv: bool = True
    inverter: Inverter | None = None
    battery_export: bool = True
    grid_charging: bool = True
    devices: tuple[Device, ...] = ()

    def __post_init__(self) -> None:
        wrong = self._wrong_types()
        if wrong:
            raise HomeError(f"Home {self.name!r}: {'; '.join(wrong)}.")
        found = [f"inverter.{fault}" for fault in self.inverter.faults()] if self.inverter else []
        found += [f"device {d.name!r}: {fault}" for d in self.devices for fault in d.faults()]
        names = [d.name for d in self.devices]
        found += [f"device {n!r} is there twice" for n in dict.fromkeys(names) if names.count(n) > 1]
        if not (self.has_pv or self.battery or self.devices):
            found.append("neither PV nor battery nor device: a plain load, which nobody can manage")
        if not self.name:
            found.append("name must not be empty")
        if not self.import_limit_kw > 0:
            found.append(f"import_limit_kw={self.import_limit_kw!r} must be positive (inf: no limit)")
        if not self.export_limit_kw >= 0:
            found.append(f"export_limit_kw={self.export_limit_kw!r} must not be negative (inf: no limit)")
        if found:
            raise HomeError(f"Home {self.name!r}: {'; '.join(found)}.")

    def _wrong_types(self) -> list[str]:
        parts, limits = {"battery": Battery, "inverter": Inverter}, ("import_limit_kw", "export_limit_kw")
        found = [] if isinstance(self.name, str) else [f"name={self.name!r} must be a text"]
        for field, kind in parts.items():
            if not isinstance(getattr(self, field), kind | None):
                found.append(f"{field}={getattr(self, field)!r} must be of type {kind.__name__}, or None")
        for field in ("has_pv", "battery_export", "grid_charging"):
            if not is_flag(getattr(self, field)):
                found.append(f"{field}={getattr(self, field)!r} must be True or False")
        found += not_numbers(self, *limits)
        if not isinstance(self.devices, tuple | list):
            return [*found, f"devices={self.devices!r} must be a tuple of devices"]
        wrong = [device for device in self.devices if not isinstance(device, Device)]
        return found + [f"devices: {one!r} is no Device, see hems.devices" for one in wrong]


@dataclass(frozen=True)
class HomeArrays:
    """The homes of a fleet as read-only arrays of shape (n,); a home without battery has zeros there.

    stores        it has a battery or devices, and is more than PV and a load
    pv_limit_kw   what the inverter leaves room for, inf without one
    """

    has_battery: NDArray[np.bool_]
    stores: NDArray[np.bool_]
    has_pv: NDArray[np.bool_]
    p_charge_kw: Floats
    p_discharge_kw: Floats
    eta_charge: Floats
    eta_discharge: Floats
    capacity_kwh: Floats
    soc_lo_kwh: Floats
    soc_hi_kwh: Floats
    self_discharge_per_h: Floats
    pv_limit_kw: Floats
    battery_export: NDArray[np.bool_]
    grid_charging: NDArray[np.bool_]
    import_limit_kw: Floats
    export_limit_kw: Floats

    @classmethod
    def of(cls, homes: Sequence[Home]) -> Self:
        """Collect the numbers of `homes`, powers and energies of all units together."""
        absent = Battery(
            energy_kwh=1.0, p_charge_kw=0.0, p_discharge_kw=0.0, eta_charge=1.0, eta_discharge=1.0
        )
        banks = [home.battery or absent for home in homes]
        capacity = [home.battery.capacity_kwh if home.battery else 0.0 for home in homes]

        def column(values: list[float]) -> Floats:
            return read_only(np.array(values, dtype=float))

        def flags(values: list[bool]) -> NDArray[np.bool_]:
            return read_only(np.array(values, dtype=bool))

        return cls(
            has_battery=flags([home.battery is not None for home in homes]),
            stores=flags([home.battery is not None or bool(home.devices) for home in homes]),
            has_pv=flags([home.has_pv for home in homes]),
            p_charge_kw=column([b.p_charge_kw * b.n_units for b in banks]),
            p_discharge_kw=column([b.p_discharge_kw * b.n_units for b in banks]),
            eta_charge=column([b.eta_charge for b in banks]),
            eta_discharge=column([b.eta_discharge for b in banks]),
            capacity_kwh=column(capacity),
            soc_lo_kwh=column([b.soc_min * kwh for b, kwh in zip(banks, capacity, strict=True)]),
            soc_hi_kwh=column([b.soc_max * kwh for b, kwh in zip(banks, capacity, strict=True)]),
            self_discharge_per_h=column([b.self_discharge_per_h for b in banks]),
            pv_limit_kw=column([home.inverter.p_limit_kw if home.inverter else math.inf for home in homes]),
            battery_export=flags([home.battery_export for home in homes]),
            grid_charging=flags([home.grid_charging for home in homes]),
            import_limit_kw=column([home.import_limit_kw for home in homes]),
            export_limit_kw=column([home.export_limit_kw for home in homes]),
        )

    def take(self, rows: NDArray[np.intp]) -> HomeArrays:
        """Return the homes numbered `rows`."""
        return HomeArrays(**{name: read_only(values[rows]) for name, values in vars(self).items()})
