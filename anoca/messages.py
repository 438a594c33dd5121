"""OES and AES: what travels between prosumers and the utility, one value per connection.

Only this module knows both stages. Powers are >= 0 and the name says the direction; q > 0 is
injected. Everything that a fail-safe needs later (validity, sequence, default) is on the wire.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd

_ROUNDING = 1e-12  # of a power: shares of a go-ahead add up to the request again


@dataclass(frozen=True)
class RequestedPower:
    """What a prosumer wants at one connection."""

    p_export_kw: float
    p_import_kw: float
    q_kvar: float


@dataclass(frozen=True)
class GrantedPower:
    """What the utility grants at one connection: p_export_kw = requested - p_curtail_kw.

    q_kvar  set-point of the inverter's reactive power where the utility decides it; NaN: it has its own law
    """

    p_export_kw: float
    p_curtail_kw: float
    q_kvar: float = math.nan


@dataclass(frozen=True)
class Bid:
    """What exporting less than requested costs a prosumer over its horizon: convex, straight between kinks.

    p_export_kw   from 0 to the request, increasing      loss_usd   at these exports; 0 at the last
    """

    p_export_kw: tuple[float, ...]
    loss_usd: tuple[float, ...]

    def loss_at(self, cut_kw: float) -> float:
        """$ that a curtailment costs, at most that of all of the request."""
        return float(np.interp(self.p_export_kw[-1] - cut_kw, self.p_export_kw, self.loss_usd))

    def price_per_kw(self, cut_kw: float) -> float:
        """Mean $/kW over the first `cut_kw` of curtailment, at most all of the request; NaN of no request."""
        cut = min(cut_kw, self.p_export_kw[-1])
        return self.loss_at(cut) / cut if cut > 0 else math.nan


@dataclass(frozen=True)
class OES:
    """Optimal export setpoint: a prosumer's request for [valid_from, valid_until).

    flex_lo_kw, flex_hi_kw  exports that would cost the prosumer the same, NaN if not computed
    bid                     what less export costs it; none unless the utility weighs by bids
    """

    prosumer: str
    tick: int
    seq: int
    valid_from: pd.Timestamp
    valid_until: pd.Timestamp
    connections: tuple[RequestedPower, ...]
    flex_lo_kw: float = math.nan
    flex_hi_kw: float = math.nan
    bid: Bid | None = None

    @property
    def mrid(self) -> str:
        """Identity of the message; the answer repeats it."""
        return f"{self.prosumer}/{self.tick}/{self.seq}"

    @property
    def p_export_kw(self) -> float:
        """Export over all connections."""
        return sum(c.p_export_kw for c in self.connections)


@dataclass(frozen=True)
class AES:
    """Adjusted export setpoint: the utility's answer to one OES.

    certified   "yes"; "relaxed": limits that zero export breaks already were widened; "no": the
                safe fallback without certificate
    default_kw  export allowed per connection once this message has expired
    """

    prosumer: str
    tick: int
    seq: int
    mrid: str
    valid_from: pd.Timestamp
    valid_until: pd.Timestamp
    connections: tuple[GrantedPower, ...]
    certified: str
    default_kw: float = 0.0

    @property
    def p_export_kw(self) -> float:
        """Export granted over all connections."""
        return sum(c.p_export_kw for c in self.connections)

    def cap_kw(self, shares: Iterable[float], *, balanced: bool = True) -> float:
        """Most export of the home that keeps every connection at or below its own AES.

        min_phi AES_phi / w_phi  of an inverter that splits its power by fixed shares w; the sum of one that
        can split it at will

        shares  w of the connections, which sum to 1
        """
        total = self.p_export_kw
        if not balanced:
            return total
        pairs = zip(self.connections, shares, strict=True)
        least = min((c.p_export_kw / w for c, w in pairs if w > 0), default=total)
        return total if least >= total * (1 - _ROUNDING) else least

    @property
    def p_curtail_kw(self) -> float:
        """Export refused over all connections."""
        return sum(c.p_curtail_kw for c in self.connections)
