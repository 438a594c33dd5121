"""`Inverters`: how prosumers make their reactive power, said once for a whole feeder.

>>> feeder = Inverters("volt_var", volt_watt=CATEGORY_B_VOLT_WATT).on(feeder)
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt

import numpy as np

from feeders.elements import Connections, Loads
from feeders.elements.connections import Q_MODES
from feeders.feeder import Feeder
from feeders.table import EARTH, Array

Points = tuple[tuple[float, float], ...]

CATEGORY_B_VOLT_VAR: Points = ((0.92, 0.44), (0.98, 0.0), (1.02, 0.0), (1.08, -0.44))
"""Default points (V / V_N, Q / S) of a Category B inverter: IEEE Std 1547-2018, Table 8."""
CATEGORY_B_VOLT_WATT: Points = ((1.06, 1.0), (1.10, 0.2))
"""Default points (V / V_N, P / P_rated) of Category B: IEEE Std 1547-2018, Table 10 (P_2 = 0.2 P_rated)."""


@dataclass(frozen=True)
class Inverters:
    """The mode of every prosumer's inverter and its figures; the law is that of `Connections`.

    mode          how Q is made: constant, unity, power_factor, volt_var, free; "request": as requested,
                  without regard to the rating
    modes         exceptions, by prosumer
    power_factor  of mode power_factor: positive injects Q with its P (lagging, in generator convention),
                  negative absorbs it (leading)
    volt_var      four points (V / V_N, Q / S), Q injected
    volt_watt     two points (V / V_N, P / S), None: no Volt-Watt
    s_kva         rating of the inverters by prosumer, kVA over all its connections; default: the feeder's

    What is out of range (a curve that rises with the voltage, no rating where one is needed) is an error of
    `feeders.check`, which names the prosumer.
    Raises  ValueError  a curve with another number of points
    """

    mode: str = "constant"
    modes: Mapping[str, str] = field(default_factory=dict)
    power_factor: float = 1.0
    volt_var: Points = CATEGORY_B_VOLT_VAR
    volt_watt: Points | None = None
    s_kva: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, n in (("volt_var", 4), ("volt_watt", 2)):
            points = getattr(self, name)
            if points is not None and np.shape(points) != (n, 2):
                raise ValueError(f"{name}: give {n} points (V / V_N, part of the rating), not {points!r}")
        for name, mode in {"mode": self.mode, **self.modes}.items():
            if mode not in Q_MODES:
                near = difflib.get_close_matches(mode, Q_MODES, n=1)
                hint = f"did you mean {near[0]!r}? " if near else ""
                known = ", ".join(Q_MODES)
                raise ValueError(f"inverters: {name}: {hint}unknown mode {mode!r}; known: {known}")

    def on(self, feeder: Feeder) -> Feeder:
        """The feeder with these inverters.

        Raises  KeyError  a mode or a rating for a prosumer that is not there
        """
        t = feeder[Connections]
        for given in (self.modes, self.s_kva):
            for name in sorted(set(given) - set(t.prosumer)):
                near = difflib.get_close_matches(name, list(t.prosumer), n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {len(set(t.prosumer))}"
                raise KeyError(f"inverters: there is no prosumer {name!r}; {hint}")
        n = len(t)
        mode = np.array([self.modes.get(name, self.mode) for name in t.prosumer], dtype=object)
        rated = np.array([self.s_kva.get(name, np.nan) for name in t.prosumer], dtype=float) * t.share
        watts = self.volt_watt is not None
        limited = mode != "request"
        return feeder.with_tables(
            t.replace(
                q_mode=mode,
                power_factor=np.where(mode == "power_factor", self.power_factor, 1.0),
                v_nom_kv=np.where(np.isnan(t.v_nom_kv), _rated_kv(feeder, t), t.v_nom_kv),
                s_inverter_kva=np.where(np.isnan(rated), t.s_inverter_kva, rated),
                volt_var=_where(mode == "volt_var", self.volt_var, n, 4),
                volt_watt=_where(limited & watts, self.volt_watt or ((np.nan,) * 2,) * 2, n, 2),
            )
        )


def _where(rows: Array, points: Points, n: int, k: int) -> Array:
    return np.where(rows[:, None, None], np.broadcast_to(np.array(points, dtype=float), (n, k, 2)), np.nan)


def _rated_kv(feeder: Feeder, t: Connections) -> Array:
    """(n,) rated voltage across the pair: that of the load behind it, else by the base of its nodes."""
    loads = feeder[Loads]
    of_load = dict(zip(loads.name, loads.v_nom_kv, strict=True))
    known = np.array([of_load.get(name, np.nan) for name in t.load], dtype=float)
    base = feeder.v_base_v[np.maximum(t.pair, EARTH)].max(axis=1, initial=0.0) / 1e3
    terminal = feeder.nodes.terminal[np.maximum(t.pair, EARTH)]
    between = ((terminal >= 1) & (terminal <= 3)).all(axis=1)
    return np.where(np.isfinite(known) & (known > 0), known, base * np.where(between, sqrt(3), 1.0))
