"""The devices of all homes of a fleet: where they stand, what they draw, and how they go on."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hems.devices.device import Block, Device, Floats, Seen

if TYPE_CHECKING:
    from hems.household import Home

Objects = NDArray[np.object_]


class Powers(NamedTuple):
    """What the devices of each home draw (of which: to charge ruled batteries) and give, (n,) kW."""

    draw_kw: Floats
    ruled_draw_kw: Floats
    give_kw: Floats


class Equipment:
    """The states of all devices; homes without any cost nothing.

    tick    ticks lived through since the start
    """

    def __init__(self, homes: Sequence[Home], dt_h: float) -> None:
        self.tick = 0
        self._dt_h = dt_h
        self._devices: dict[int, tuple[Device, ...]] = {
            i: home.devices for i, home in enumerate(homes) if home.devices
        }
        self._states: dict[int, list[Hashable]] = {
            i: [device.start() for device in devices] for i, devices in self._devices.items()
        }

    def blocks(self, home: int, n_ticks: int) -> tuple[Block, ...]:
        """Return what the devices of a home add to its structure."""
        return tuple(device.block(n_ticks, self._dt_h) for device in self._devices.get(home, ()))

    def seen(self, homes: NDArray[np.intp]) -> tuple[tuple[Seen, ...], ...]:
        """Return the devices of some homes as they are now; empty when none of them has any."""
        if not any(int(i) in self._devices for i in homes):
            return ()
        return tuple(self._of(int(i)) for i in homes)

    def _of(self, home: int) -> tuple[Seen, ...]:
        devices, states = self._devices.get(home, ()), self._states.get(home, [])
        return tuple(Seen(d, self.tick, s) for d, s in zip(devices, states, strict=True))

    def states(self, home: int) -> dict[str, Hashable]:
        """Return the states of the devices of a home by name."""
        return {seen.device.name: seen.state for seen in self._of(home)}

    def powers_kw(self, plans: Objects, n_ticks: int) -> Powers:
        """Return what the devices of each home do in the first tick of `plans`."""
        draw, ruled, give = np.zeros((3, len(plans)))
        for home, y in plans_by_home(plans):
            for power, charges in self._first_tick(home, y, n_ticks):
                draw[home] += max(power, 0.0)
                ruled[home] += max(power, 0.0) * charges
                give[home] += max(-power, 0.0)
        return Powers(draw, ruled, give)

    def _first_tick(self, home: int, y: Floats, n_ticks: int) -> list[tuple[float, bool]]:
        """Return the power of each device, and whether `grid_charging` is for it."""
        found = []
        for seen, (block, own) in zip(self._of(home), self._split(home, y, n_ticks), strict=True):
            fixed = seen.device.numbers(seen, block).fixed_kw[0]
            found.append((float((block.draw() @ own)[0] + fixed), block.battery_powers()[0] is not None))
        return found

    def live(self, plans: Objects, planned: Powers, n_ticks: int, *, lived: Powers) -> None:
        """Carry out the first tick of `plans`, cut from `planned` to what was `lived`; all states move on."""
        give = _share(lived.give_kw, planned.give_kw)
        draw = _share(lived.ruled_draw_kw, planned.ruled_draw_kw)
        for home, y in plans_by_home(plans):
            parts = self._split(home, y, n_ticks)
            states = []
            for seen, (block, own), (power, charges) in zip(
                self._of(home), parts, self._first_tick(home, y, n_ticks), strict=True
            ):
                left = give[home] if power < 0.0 else draw[home] if charges else 1.0
                states.append(seen.device.live(seen, own, power_kw=power * left, block=block))
            self._states[home] = states
        self.tick += 1

    def _split(self, home: int, y: Floats, n_ticks: int) -> list[tuple[Block, Floats]]:
        return split(self.blocks(home, n_ticks), y)


def split(blocks: Sequence[Block], y: Floats) -> list[tuple[Block, Floats]]:
    """Return each block with its part of y, the variables of all devices of a home."""
    ends = np.cumsum([block.n_cols for block in blocks])
    return list(zip(blocks, np.split(y, ends[:-1]), strict=True))


def table(seen: Sequence[Seen], blocks: Sequence[Block], y: Floats) -> dict[str, Floats]:
    """Return the columns of the devices of a home, (T,) each, named <device>_<column>."""
    columns: dict[str, Floats] = {}
    for one, (block, own) in zip(seen, split(blocks, y), strict=True):
        named = block.table(own, one.device.numbers(one, block))
        columns |= {f"{one.device.name}_{name}": values for name, values in named.items()}
    return columns


def plans_by_home(plans: Objects) -> list[tuple[int, Floats]]:
    """Return the homes that have devices, with the variables of these."""
    return [(i, y) for i, y in enumerate(plans) if y is not None]


def _share(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.ones_like(whole), where=whole > 0.0)
