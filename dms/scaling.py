"""Per unit: the only place where SI meets the scaled variables of the optimisation.

One power base for the whole feeder and one voltage base per node (phase to earth):

    S_base = 1 MVA,   V_base(node) = feeders' `v_base_kv`,   I_base = S_base / V_base
"""

from __future__ import annotations

S_BASE_VA = 1e6
"""Power base, volt-ampere, of one node."""

KW_PER_PU = S_BASE_VA / 1e3
"""Kilowatt per unit of power."""
