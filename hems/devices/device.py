"""What a device is to its home: variables and equations of its own beside those of (1), and a state.

    min  (1a) + cost' y      s.t.   A y = r,   lo <= y <= hi,   and (1b) with the draw D y + f on its right

y are the variables of the device over the horizon. `Block` holds what does not change from tick to tick
(A, D, cost); a `Device` fills in the numbers of a horizon from its state (r, lo, hi, f) and moves the state
on. A new kind of device is a file with these two classes.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

if TYPE_CHECKING:
    from hems.config import HemsConfig
    from hems.tariff import Tariff

Floats = NDArray[np.float64]
Columns = dict[str, slice]


class Numbers(NamedTuple):
    """A horizon of one device: bounds (n_cols,), right-hand sides (n_rows,), and f, (T,) kW drawn anyway."""

    lo: Floats
    hi: Floats
    rhs: Floats
    fixed_kw: Floats


@dataclass(frozen=True)
class Block(ABC):
    """The variables and equations of a device over `n_ticks` ticks; equal blocks share one structure.

    `draw` says what a variable draws from the home per unit (negative: gives), (T, n_cols).
    """

    n_ticks: int
    dt_h: float

    @abstractmethod
    def sizes(self) -> dict[str, int]:
        """Return the named parts of y and their lengths, in order."""

    @abstractmethod
    def equations(self) -> sp.csr_array:
        """Return A, (n_rows, n_cols)."""

    @abstractmethod
    def draw(self) -> sp.csr_array:
        """Return D, (T, n_cols) kW per unit."""

    @abstractmethod
    def cost(self, tariff: Tariff, config: HemsConfig) -> Floats:
        """Return (n_cols,) $ per unit of each variable."""

    @abstractmethod
    def settle(self, y: Floats, numbers: Numbers) -> Floats:
        """Return a point with the decisions of `y`, its states recomputed from them by A y = r.

        Integers are rounded, and of two powers that exclude each other the difference is kept.
        """

    @abstractmethod
    def table(self, y: Floats, numbers: Numbers) -> dict[str, Floats]:
        """Return what a reader wants to see of `y`: named columns (T,)."""

    def missed(self) -> tuple[str, ...]:
        """Return the parts of y that are positive where a wish of the user's is not met."""
        return ()

    def exclusive(self) -> tuple[str, str] | None:
        """Return two parts of y (T,) that exclude each other at every tick, or None."""
        return None

    def integer(self) -> tuple[str, ...]:
        """Return the parts of y that are 0 or 1."""
        return ()

    def battery_powers(self) -> tuple[str | None, str | None]:
        """Return the parts of y (T,) that `grid_charging` and `battery_export` rule, in this order."""
        return None, None

    @property
    def col(self) -> Columns:
        """Where each part of y sits."""
        sizes = self.sizes()
        ends = itertools.accumulate(sizes.values(), initial=0)
        return {name: slice(*pair) for name, pair in zip(sizes, itertools.pairwise(ends), strict=True)}

    @property
    def n_cols(self) -> int:
        """Number of variables."""
        return sum(self.sizes().values())


class Device(ABC):
    """One device of a home. States are plain values: a tick, a horizon and a state determine all.

    Ticks count from the start of the fleet, 0, 1, ...
    """

    name: str

    @abstractmethod
    def faults(self) -> list[str]:
        """Return what is wrong with its numbers, one sentence per field, none when all is well."""

    @abstractmethod
    def block(self, n_ticks: int, dt_h: float) -> Block:
        """Return its variables and equations."""

    @abstractmethod
    def start(self) -> Hashable:
        """Return the state at tick 0."""

    @abstractmethod
    def numbers(self, seen: Seen, block: Block) -> Numbers:
        """Return the numbers of the horizon that starts at the tick and with the state of `seen`.

        Raises  SeriesError  a series of the device ends before the horizon does
        """

    @abstractmethod
    def live(self, seen: Seen, y: Floats, *, power_kw: float, block: Block) -> Hashable:
        """Return the state after the tick.

        y         (n_cols,) the plan in force, of which the first tick was carried out
        power_kw  what it really drew (negative: gave); a storage may have been cut short of its plan
        """


class Seen(NamedTuple):
    """A device at the start of a tick."""

    device: Device
    tick: int
    state: Hashable


def at_ticks(block: Block, *terms: tuple[int, int, Floats | float], n_rows: int) -> sp.csr_array:
    """Return the sparse (n_rows, n_cols) matrix of diagonals (first row, first column, values (T,))."""
    rows, cols, values = [], [], []
    for row, col, value in terms:
        length = min(block.n_ticks, n_rows - row) if np.isscalar(value) else len(np.asarray(value))
        k = np.arange(length)
        rows.append(row + k)
        cols.append(col + k)
        values.append(np.broadcast_to(np.asarray(value, dtype=float), (length,)))
    data = (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols)))
    return sp.csr_array(sp.coo_array(data, shape=(n_rows, block.n_cols)))
