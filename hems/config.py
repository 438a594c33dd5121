"""`HemsConfig`: the options of the home energy problem, with the paper's profile by name."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal, Self, get_args

from hems.checks import is_flag, is_number
from hems.errors import ConfigError

Terminal = Literal["soft", "equality"]
TieBreak = Literal["least_battery", "defer_export", "export_early"]
End = Literal["error", "shrink"]
BackendName = Literal["auto", "dp", "dp_compiled", "lp", "milp", "pyomo"]


def check_choice(field: str, value: str, valid: Sequence[str]) -> None:
    """Raise `ConfigError`, with the nearest valid name, when `value` is not one of `valid`."""
    if value in valid:
        return
    if not isinstance(value, str):
        raise ConfigError(f"{field}={value!r} must be one of {', '.join(map(repr, valid))}.")
    near = difflib.get_close_matches(value, valid, n=1, cutoff=0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise ConfigError(f"{field}={value!r} is unknown: {hint}Valid are {', '.join(map(repr, valid))}.")


@dataclass(frozen=True, kw_only=True)
class HemsConfig:
    """Options of problem (1), shared by all homes of a fleet.

    step_minutes            length dt of a tick, minutes
    horizon                 T, ticks looked ahead (paper V-A: 96, that is 8 h)
    soc_target              e*, fraction of the capacity, wanted at the end of the horizon
    terminal                "soft": e_T >= e*, a shortfall is priced and reported.
                            "equality": e_T = e* (paper IV-A); a deviation in either direction is priced,
                            so that a home which cannot reach e* is reported and never infeasible
    pv_spill                PV may be left unused. False (the paper) needs homes without export limit
    tie_break               which of the equally cheap plans is *the* plan, see `hems.lp`
    backend                 "auto" (dynamic programme, else LP, else MILP, as the certificate asks), "dp"
                            (plain Python), "dp_compiled" (numba), "lp", "milp" or "pyomo"
    wear_price_per_kwh      kappa >= 0, cost of one kWh through the battery, either way, AC side
    shortfall_price_per_kwh rho, price of a kWh missing at the end; None: 10 max(pi + kappa) / eta_charge,
                            at least 1 $/kWh, which is more than any plan can gain by missing it
    compute_band            also compute [OES_lo, OES_hi], the equally cheap exports, where that takes two
                            more LPs; the dynamic programme has them anyway
    milp_max_nodes          branch-and-bound nodes per MILP; a home that needs more is reported uncertified
                            with its gap, or keeps the best tie-break found
    cap_when_uncurtailed    AES = OES is a set-point too: realised export stays below it
    end                     of the data: "error": a plan needs `horizon` ticks; "shrink": it takes as many as
                            there are, down to one
    target_time             local clock time "HH:MM" at which e* is wanted, so that the target does not
                            recede with the horizon; None: at its end. While the time lies behind it, the
                            end asks for what still makes it possible. Needs a tariff with `times`
    salvage_value_per_kwh   v, energy left at the end earns v a kWh, and there is no e*; None: e*
    expect_repeat           ticks after a curtailment in which a home expects to be capped at the same AES
    """

    step_minutes: float = 5.0
    horizon: int = 96
    soc_target: float = 0.5
    terminal: Terminal = "soft"
    pv_spill: bool = True
    tie_break: TieBreak = "least_battery"
    backend: BackendName = "auto"
    wear_price_per_kwh: float = 0.0
    shortfall_price_per_kwh: float | None = None
    compute_band: bool = False
    milp_max_nodes: int = 10_000
    cap_when_uncurtailed: bool = True
    end: End = "error"
    target_time: str | None = None
    salvage_value_per_kwh: float | None = None
    expect_repeat: int = 0

    def __post_init__(self) -> None:
        check_choice("terminal", self.terminal, get_args(Terminal))
        check_choice("tie_break", self.tie_break, get_args(TieBreak))
        check_choice("backend", self.backend, get_args(BackendName))
        check_choice("end", self.end, get_args(End))
        self._check_types()
        rho, salvage = self.shortfall_price_per_kwh, self.salvage_value_per_kwh
        for field in ("horizon", "milp_max_nodes", "expect_repeat"):
            if not float(getattr(self, field)).is_integer():
                raise ConfigError(f"{field}={getattr(self, field)!r} must be a whole number.")
        bounds = {
            "step_minutes": (self.step_minutes, 0.0 < self.step_minutes < math.inf, "positive and finite"),
            "horizon": (self.horizon, self.horizon >= 1, "at least 1"),
            "milp_max_nodes": (self.milp_max_nodes, self.milp_max_nodes >= 1, "at least 1"),
            "soc_target": (self.soc_target, 0.0 <= self.soc_target <= 1.0, "between 0 and 1"),
            "wear_price_per_kwh": (
                self.wear_price_per_kwh,
                0.0 <= self.wear_price_per_kwh < math.inf,
                "finite and not negative",
            ),
            "shortfall_price_per_kwh": (rho, rho is None or 0.0 < rho < math.inf, "positive and finite"),
            "expect_repeat": (
                self.expect_repeat,
                0 <= self.expect_repeat < self.horizon,
                "at least 0 and within the horizon",
            ),
            "salvage_value_per_kwh": (
                salvage,
                salvage is None or 0.0 <= salvage < math.inf,
                "finite and not negative",
            ),
        }
        for field, (value, healthy, wanted) in bounds.items():
            if not healthy:
                raise ConfigError(f"{field}={value!r} must be {wanted}.")
        self._check_target()

    def _check_types(self) -> None:
        for field in ("pv_spill", "compute_band", "cap_when_uncurtailed"):
            if not is_flag(getattr(self, field)):
                raise ConfigError(f"{field}={getattr(self, field)!r} must be True or False.")
        optional = ("shortfall_price_per_kwh", "salvage_value_per_kwh")
        counts = ("horizon", "milp_max_nodes", "expect_repeat")
        for field in (*counts, "step_minutes", "soc_target", "wear_price_per_kwh", *optional):
            value = getattr(self, field)
            if not (is_number(value) or (value is None and field in optional)):
                what = "whole number" if field in counts else "number"
                raise ConfigError(f"{field}={value!r} must be a {what}.")
        if not isinstance(self.target_time, str | None):
            raise ConfigError(f"target_time={self.target_time!r} must be a clock time, HH:MM, or None.")

    def _check_target(self) -> None:
        if self.target_time is not None:
            clock = re.fullmatch(r"([01]\d|2[0-3]):([0-5]\d)", self.target_time)
            if clock is None:
                raise ConfigError(f"target_time={self.target_time!r} must be a clock time, HH:MM.")
        if self.salvage_value_per_kwh is None:
            return
        if self.target_time is not None or self.terminal == "equality":
            raise ConfigError(
                f"salvage_value_per_kwh={self.salvage_value_per_kwh!r} needs terminal='soft' and no "
                "target_time: energy at the end has either a value or a target."
            )

    @property
    def dt_h(self) -> float:
        """Length of a tick, hours."""
        return self.step_minutes / 60.0

    @classmethod
    def paper(cls, **changes: object) -> Self:
        """Return the paper's profile: end at exactly 50 %, no PV spill, no wear; `changes` win.

        Raises ConfigError for an unknown option.
        """
        known = [field.name for field in fields(cls)]
        for name in changes:
            check_choice("option", name, known)
        return cls(**{"terminal": "equality", "pv_spill": False, **changes})  # type: ignore[arg-type]
