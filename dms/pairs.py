"""`Pairs`: node pairs that power is injected across, and the currents that this brings into the nodes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp

from dms.scaling import S_BASE_VA
from feeders import EARTH
from feeders.table import Array

Power = Callable[[Array], Array]
"""Complex power injected across each pair, volt-ampere, at the complex voltages across them."""


@dataclass(frozen=True)
class Pairs:
    """Node pairs (m, 2) as incidence, per unit of the nodes' voltage bases.

    across  (m, n): u = across @ v, volt     into  (n, m): into @ j, scaled, of currents j (m,) in ampere
    """

    across: sp.csr_matrix
    into: sp.csr_matrix

    @staticmethod
    def of(pair: Array, v_base_v: Array) -> Pairs:
        """Of node indices (m, 2), earth 0, and the bases (n,) of the other nodes, volt."""
        rows, cols, sign = [], [], []
        for end, value in ((0, 1.0), (1, -1.0)):
            here = pair[:, end] > EARTH
            rows.append(np.flatnonzero(here))
            cols.append(pair[here, end] - 1)
            sign.append(np.full(int(here.sum()), value))
        row, col, one = np.concatenate(rows), np.concatenate(cols), np.concatenate(sign)
        shape = (len(pair), len(v_base_v))
        across = sp.coo_matrix((one * v_base_v[col], (row, col)), shape=shape).tocsr()
        # Complex, as what they are multiplied with: each product would convert them.
        return Pairs(across.astype(complex), (across.T / S_BASE_VA).tocsr().astype(complex))

    def at(self, nodes: Array) -> Pairs | None:
        """The same with only these nodes (k,) as columns; None where a pair has another one."""
        across = self.across[:, nodes]
        return Pairs(across, self.into[nodes]) if across.nnz == self.across.nnz else None

    def injected(self, power: Power, v: Array) -> Array:
        """Currents into the nodes (n,), scaled, at voltages (n,) per unit.  incidence' j(v) / S_base"""
        return np.asarray(self.into @ injected_current(power, self.across @ v))


def injected_current(power: Power, u: Array) -> Array:
    """conj(s(u) / u), ampere; none where nothing is injected."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        s = power(u)
        j = np.conj(s / u)
    j[s == 0] = 0.0
    return np.asarray(j)
