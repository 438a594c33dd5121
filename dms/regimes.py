"""Regimes: which of its laws a load, generator or inverter obeys while a tick is solved.

A law that follows the voltage is written by pieces: inside its band, below, above. A solve takes one
piece for each load; what the solution says about the voltage decides the piece for the next solve.

Some laws step at the ends of their band (cvr, fixed_q): near an end such a load has two states that are
both consistent, and which of them a power flow finds is chance. It is then pinned to its law outside the
band, where it stands the further from the limit's good side (it draws less when the voltage is high, more
when it is low): a state that keeps the limits so keeps them in the other state too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from feeders import Connections, Generators, Loads
from feeders.elements.loads import per_unit, steps_at
from feeders.table import Array

EDGE = 1e-4
"""Distance of w = |u| / v_nom from the end of a band within which a stepping load has two states."""
WIDE_EDGE = 0.02
"""The same for a load that has been seen to go back and forth."""


@dataclass(frozen=True)
class Regimes:
    """Voltages at which the pieces are read, and the loads that are pinned.

    v         (n_nodes + 1,) complex volt, earth first; None: everything is inside its band
    pinned_w  (n_loads,) w at which a pinned load reads its piece, NaN for the others; None: none is
    held_w    (n_connections,) the same for inverters held in a piece
    """

    v: Array | None = None
    pinned_w: Array | None = None
    held_w: Array | None = None

    @property
    def known(self) -> bool:
        """Voltages are given."""
        return self.v is not None

    @property
    def pins(self) -> int:
        """Number of pinned loads."""
        return 0 if self.pinned_w is None else int(np.count_nonzero(~np.isnan(self.pinned_w)))

    def w(self, t: Loads | Generators | Connections) -> Array:
        """|u| / v_nom (n,) across every pair, one without voltages."""
        if self.v is None:
            return np.ones(len(t))
        return per_unit(t.v_nom_kv, self.v[t.pair[:, 0]] - self.v[t.pair[:, 1]])

    def load_w(self, t: Loads) -> Array:
        """w of the loads (n,), at the pins where there are any."""
        w = self.w(t)
        return w if self.pinned_w is None else np.where(np.isnan(self.pinned_w), w, self.pinned_w)

    def held(self, n: int) -> Array:
        """(n_connections,) bool: inverters that are held in a piece."""
        return np.zeros(n, dtype=bool) if self.held_w is None else ~np.isnan(self.held_w)

    def connection_w(self, t: Connections) -> Array:
        """w of the connections (n,), where they are held if they are."""
        w = self.w(t)
        return w if self.held_w is None else np.where(np.isnan(self.held_w), w, self.held_w)

    def hold(self, t: Connections, moving: Array) -> Regimes:
        """Also hold some inverters, (n_connections,) bool, in the piece that they are in now."""
        return replace(self, held_w=np.where(moving | self.held(len(t)), self.connection_w(t), np.nan))

    def pin(self, t: Loads, at: Array, moving: Array | None = None) -> Regimes:
        """Also pin stepping loads that stand at the end of their band at voltages `at`.

        moving  (n_loads,) bool, loads that have gone back and forth: pinned further from the end, too
        """
        w = Regimes(at).w(t)
        edge = np.full(len(t), EDGE) if moving is None else np.where(moving, WIDE_EDGE, EDGE)
        pinned = np.full(len(t), np.nan) if self.pinned_w is None else self.pinned_w.copy()
        for end, outside in ((t.v_max_pu, 1 + 1e-9), (t.v_min_pu, 1.0)):
            near = np.isnan(pinned) & np.isfinite(end) & (end > 0) & (np.abs(w - end) <= edge)
            near[near] = steps_at(t.take(np.flatnonzero(near)), end[near])
            pinned[near] = end[near] * outside
        return replace(self, pinned_w=pinned)
