"""`Limits`: what a solution must keep, as a user states it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

Band = Literal["absolute", "relative", "both"]
Across = Literal["phase_to_ground", "phase_to_phase", "both"]
Pair = tuple[float, float]

UNBALANCE_MAX = 0.02
"""Voltage unbalance factor |V2| / |V1| allowed where nothing else is said: the 2 % of EN 50160."""
V_STEP_PU = 0.03
"""Rise and fall allowed from the base state where nothing else is said: the 3 % of VDE-AR-N 4105."""
HIGHEST_PU = 3.0
"""A band that ends higher was meant in volts."""


@dataclass(frozen=True)
class Limits:
    """What a solution must keep, as a user states it.

    v_min_pu, v_max_pu  absolute band of a voltage, per unit of its nominal value
    band                "absolute": that band; "relative": at most v_fall_pu below and v_rise_pu above
                        the base state, in which every prosumer stands at zero export; "both"
    band_across         voltages that the band holds for: "phase_to_ground", "phase_to_phase" (per unit
                        of the nominal line-to-line voltage) or "both"
    band_up_to_kv       voltage limits hold at buses of at most this nominal line-to-line voltage
    buses               by bus: an absolute band of its own, or None: no voltage limit there at all
    unbalance           limit |V2| / |V1| to unbalance_max at buses with three phases
    negative_sequence_max_pu  most |V2| at those buses, per unit; None = no limit
    current             enforce ratings at all
    i_scale             every rating times this (0.8 makes a demonstration bind)
    line_scale, transformer_scale  further factor for lines and switches, and for transformers
    elements            by element ("l1", or "line l1"): a further factor, or None: not limited
    i_max_default_a     rating of unrated line conductors, None = they stay unlimited
    reverse_power_max_kw  most real power that may flow back into the sources, all phases and sources
                        summed; positive out of the feeder, so 0 allows none and a negative value asks
                        for an import; None = no limit
    preexisting         "relax": a limit broken at zero export is widened to that value and listed;
                        "strict": limits stay as they are; infeasible where no export keeps them

    Raises  ValueError  an empty band, a number that is out of range or would not be used, another word
    """

    v_min_pu: float = 0.90
    v_max_pu: float = 1.05
    band_up_to_kv: float = np.inf
    current: bool = True
    i_scale: float = 1.0
    i_max_default_a: float | None = None
    preexisting: Literal["relax", "strict"] = "relax"
    band: Band = "absolute"
    v_fall_pu: float = V_STEP_PU
    v_rise_pu: float = V_STEP_PU
    band_across: Across = "phase_to_ground"
    buses: Mapping[str, Pair | None] = field(default_factory=dict)
    unbalance: bool = False
    unbalance_max: float = UNBALANCE_MAX
    negative_sequence_max_pu: float | None = None
    line_scale: float = 1.0
    transformer_scale: float = 1.0
    elements: Mapping[str, float | None] = field(default_factory=dict)
    reverse_power_max_kw: float | None = None

    def __post_init__(self) -> None:
        self._check_words()
        _check_band("voltage band", (self.v_min_pu, self.v_max_pu))
        for bus, own in self.buses.items():
            if own is not None:
                _check_band(f"band of bus {bus!r},", own)
        if not self.band_up_to_kv > 0:
            raise ValueError(f"band_up_to_kv = {self.band_up_to_kv} must be positive")
        names = ("i_scale", "line_scale", "transformer_scale", "i_max_default_a")
        for name in (*names, "v_fall_pu", "v_rise_pu", "negative_sequence_max_pu"):
            _check_positive(name, getattr(self, name))
        for name in ("v_fall_pu", "v_rise_pu"):
            if getattr(self, name) > 1:
                raise ValueError(
                    f"{name} = {getattr(self, name)}: give a value per unit, such as {V_STEP_PU}"
                )
        for element, factor in self.elements.items():
            _check_positive(f"elements[{element!r}]", factor)
        if not 0 < self.unbalance_max < 1:
            raise ValueError(f"unbalance_max = {self.unbalance_max} must lie between 0 and 1 (0.02 is 2 %)")
        most = self.reverse_power_max_kw
        if most is not None and not np.isfinite(most):
            raise ValueError(f"reverse_power_max_kw = {most} must be finite; leave it out for no limit")
        self._check_used()

    def _check_words(self) -> None:
        words = {
            "preexisting": ("relax", "strict"),
            "band": ("absolute", "relative", "both"),
            "band_across": ("phase_to_ground", "phase_to_phase", "both"),
        }
        for name, known in words.items():
            if (given := getattr(self, name)) not in known:
                *most, last = map(repr, known)
                raise ValueError(f"{name} = {given!r} is not {', '.join(most)} or {last}")

    def _check_used(self) -> None:
        """A number that another setting leaves without effect is a mistake, and no silent one."""
        idle = {
            ("v_fall_pu", "v_rise_pu"): (self.band == "absolute", "band = 'relative' or 'both'"),
            ("v_min_pu", "v_max_pu"): (self.band == "relative", "band = 'absolute' or 'both'"),
            ("unbalance_max",): (not self.unbalance, "unbalance = True"),
        }
        for names, (unused, needed) in idle.items():
            for name in names:
                if unused and getattr(self, name) != getattr(type(self), name):
                    raise ValueError(f"{name} = {getattr(self, name)} has no effect without {needed}")

    def describe(self) -> str:
        """One line for tables and plots."""
        parts = [*self._voltages(), self._ratings()]
        if self.reverse_power_max_kw is not None:
            parts.append(f"at most {self.reverse_power_max_kw:g} kW back into the sources")
        return "; ".join(parts)

    def _voltages(self) -> list[str]:
        where = "" if np.isinf(self.band_up_to_kv) else f" up to {self.band_up_to_kv:g} kV"
        symbol = {"phase_to_ground": "|v|", "phase_to_phase": "|v_ll|", "both": "|v|, |v_ll|"}
        absolute = f"{self.v_min_pu:g}-{self.v_max_pu:g} pu"
        relative = f"-{self.v_fall_pu:g}/+{self.v_rise_pu:g} pu of zero export"
        band = {"absolute": absolute, "relative": relative, "both": f"{absolute} and {relative}"}
        own = f", own or none at {len(self.buses)} {'bus' if len(self.buses) == 1 else 'buses'}"
        own = own if self.buses else ""
        parts = [f"{symbol[self.band_across]} {band[self.band]}{where}{own}"]
        parts += [f"|V2|/|V1| up to {self.unbalance_max:g}"] if self.unbalance else []
        if self.negative_sequence_max_pu is not None:
            parts.append(f"|V2| up to {self.negative_sequence_max_pu:g} pu")
        return parts

    def _ratings(self) -> str:
        if not self.current:
            return "no current limit"
        more = [
            f"{what} x {factor:g}"
            for what, factor in (("lines", self.line_scale), ("transformers", self.transformer_scale))
            if factor != 1
        ]
        count = len(self.elements)
        more += [f"own or none at {count} element{'s' * (count > 1)}"] if count else []
        further = f" ({', '.join(more)})" if more else ""
        return f"ratings x {self.i_scale:g}{further} at both ends"


def _check_band(what: str, band: Pair) -> None:
    if len(band) == 2 and band[0] < 0:
        raise ValueError(f"{what} {band[0]} to {band[1]} pu: its lower end must not be negative")
    if len(band) != 2 or not 0 <= band[0] < band[1]:
        raise ValueError(f"{what} {' to '.join(map(str, band))} pu is empty")
    if band[1] > HIGHEST_PU:
        raise ValueError(f"{what} {band[0]} to {band[1]} pu: give values per unit, such as 1.05")


def _check_positive(name: str, value: float | None) -> None:
    if value is not None and not 0 < value < np.inf:
        raise ValueError(f"{name} = {value} must be positive and finite")
