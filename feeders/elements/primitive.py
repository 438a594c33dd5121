"""`Primitive`: the exact linear law of an element, in SI, straight from its table.

Every series element of a feeder obeys one law, branch by branch (bus-admittance entries of
1e6 siemens next to 1 are what ruins power flows, so impedances stay impedances):

    turns v - z i = e        sum of turns x node voltages = drop + electromotive force
    current out of node k    = sum_m turns[m, k] i_m  +  sum_l y_shunt[k, l] v_l

This is what the independent power flow (`dms.certificate`, the plant) is built from. The
optimiser states the same physics again in `dms/devices/`, so that the two can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from feeders.table import ABSENT, Array


@dataclass(frozen=True)
class Primitive:
    """The law of n elements of one kind, each with k node slots and m branches.

    kind      "line", "switch", "source", "transformer", "capacitor", "reactor", "admittance"
    row       (n,) int           rows of the element's table
    element   (n,) str           names, for messages
    node      (n, k) int         node index, 0 earth, -1 absent
    turns     (n, m, k) float    branch-to-node incidence, with turns ratios
    z_ohm     (n, m, m) complex  series impedance
    e_v       (n, m) complex     electromotive force
    y_s       (n, k, k) complex  shunt admittance between node slots and earth
    branch    (n, m) bool        which branches are there
    """

    kind: str
    row: Array
    element: Array
    node: Array
    turns: Array
    z_ohm: Array
    e_v: Array
    y_s: Array
    branch: Array

    def yprim_s(self) -> Array:
        """Primitive admittance turns' z^-1 turns + y, (n, k, k) siemens; absent slots are zero.

        For comparison with other engines; the power flow itself never forms it.
        Raises  numpy.linalg.LinAlgError  a singular series impedance
        """
        z = self.z_ohm.copy()
        n, m = self.branch.shape
        off = ~self.branch
        z[off[:, :, None] | off[:, None, :]] = 0
        z[:, np.arange(m), np.arange(m)] += off
        turns = self.turns * self.branch[:, :, None]
        series = np.swapaxes(turns, 1, 2) @ np.linalg.solve(z, turns.astype(complex)) if n else self.y_s
        return series + self.y_s

    def conductor(self) -> Array:
        """(n, k) bool: node slots that are conductors (not absent)."""
        return self.node != ABSENT


def series_pair(m: int) -> Array:
    """Incidence [I, -I] of m conductors from one end to the other, (m, 2 m)."""
    return np.hstack([np.eye(m), -np.eye(m)])
