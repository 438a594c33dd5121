"""Plans of all homes of a fleet: sorted by structure, chunk by chunk, and what is kept of them.

Chunks of a few hundred homes keep the arrays of a problem in the processor's cache, and memory bounded: what
grows with the fleet is the plans, nine numbers a tick, and V_1. Problems are built again where they are
needed once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hems.answers import TickPlans, answer
from hems.backends import Backend, Keeping, make_backend
from hems.bids import BidCurve, exact_bids, spilling_bids
from hems.certificate import Solutions
from hems.closed_form import ClosedFormBackend
from hems.config import HemsConfig
from hems.cost_to_go import CostToGo, FirstTick
from hems.devices.device import Seen
from hems.devices.equipment import Equipment
from hems.household import HomeArrays
from hems.model import Extras, Problems, Structure, Window, build_problems, build_structure

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

CHUNK = 512
"""Homes planned together."""


@dataclass(frozen=True)
class _Group:
    """Homes that share a structure: the rows they have in the fleet, and who plans for them."""

    rows: Rows
    eta_charge: float
    eta_discharge: float
    extras: Extras
    backend: Backend


@dataclass(frozen=True, eq=False)
class _Tick:
    """What a plan was made from, and what is kept of it beside the plans themselves."""

    window: Window
    target_tick: int | None
    soc_kwh: Floats
    seen: dict[int, tuple[Seen, ...]]
    to_go: list[CostToGo]


class Planner:
    """Plans the homes of a fleet, and answers for them.

    homes, equipment   of the fleet, in its order
    """

    def __init__(self, homes: HomeArrays, equipment: Equipment, config: HemsConfig) -> None:
        self._homes, self._equipment, self._config = homes, equipment, config
        self._groups = self._make_groups()
        self._tick: _Tick | None = None
        self._replanned: dict[int, Solutions] = {}

    def _make_groups(self) -> list[_Group]:
        """Sort the homes by what makes a structure: efficiencies, and `Extras` of a horizon of one tick."""
        homes = self._homes
        planner, closed_form = make_backend(self._config), ClosedFormBackend(self._config)
        kinds: dict[tuple[bool, float, float, Extras], list[int]] = {}
        for i in range(len(homes.stores)):
            extras = Extras(
                self_discharge_per_h=float(homes.self_discharge_per_h[i]),
                battery_export=bool(homes.battery_export[i]) or not homes.stores[i],
                grid_charging=bool(homes.grid_charging[i]) or not homes.stores[i],
                devices=self._equipment.blocks(i, 1),
            )
            etas = float(homes.eta_charge[i]), float(homes.eta_discharge[i])
            kinds.setdefault((bool(homes.stores[i]), *etas, extras), []).append(i)
        return [
            _Group(np.array(rows), eta_c, eta_d, extras, planner if stores else closed_form)
            for (stores, eta_c, eta_d, extras), rows in kinds.items()
        ]

    # Plan ---------------------------------------------------------------------------------------

    def plan(self, window: Window, soc_kwh: Floats, target_tick: int | None) -> Solutions:
        """Return the plans of all homes from `soc_kwh`, (n,)."""
        self._tick, self._replanned = _Tick(window, target_tick, soc_kwh.copy(), {}, []), {}
        tick = self._tick
        plans: Solutions | None = None
        for group in self._groups:
            structure = self._structure(group, tick)
            parts = []
            for rows in _chunks(group.rows):
                problems = self._problems(structure, rows, tick)
                tick.seen.update(zip(rows.tolist(), problems.devices, strict=False))
                if isinstance(group.backend, Keeping):
                    part, to_go = group.backend.solve_and_keep(problems)
                    parts.append(to_go)
                else:
                    part = group.backend.solve(problems)
                    parts.append(CostToGo.unknown(len(rows)))
                if len(rows) == len(window.load_kw):
                    plans = part
                else:
                    plans = Solutions.room(window.load_kw.shape) if plans is None else plans
                    plans.put(rows, part, devices=bool(structure.placed))
            tick.to_go.append(CostToGo.join(parts))
        assert plans is not None
        return plans

    def _structure(self, group: _Group, tick: _Tick) -> Structure:
        n_ticks, extras = tick.window.tariff.n_ticks, group.extras
        if extras.devices or tick.target_tick is not None:
            blocks = self._equipment.blocks(int(group.rows[0]), n_ticks)
            extras = replace(extras, target_tick=tick.target_tick, devices=blocks)
        return build_structure(
            n_ticks,
            self._config.dt_h,
            eta_charge=group.eta_charge,
            eta_discharge=group.eta_discharge,
            extras=extras,
        )

    def _problems(self, structure: Structure, rows: Rows, tick: _Tick) -> Problems:
        return build_problems(
            structure,
            self._homes.take(rows),
            window=tick.window.take(rows),
            soc_kwh=tick.soc_kwh[rows],
            config=self._config,
            devices=self._equipment.seen(rows),
        )

    def problems(self, window: Window, target_tick: int | None, soc_kwh: Floats) -> list[Problems]:
        """Return the problems (1) that `plan` would solve, those of homes of one structure together."""
        tick = _Tick(window, target_tick, soc_kwh.copy(), {}, [])
        return [self._problems(self._structure(group, tick), group.rows, tick) for group in self._groups]

    # Answers ------------------------------------------------------------------------------------

    def answers(
        self, curtailed: Rows, aes_kw: Floats, planned: Solutions
    ) -> Iterator[tuple[Rows, TickPlans]]:
        """Yield what the homes numbered `curtailed` do that may export `aes_kw`, (n,) of all homes."""
        assert self._tick is not None
        tick, self._replanned = self._tick, {}
        for group, to_go in zip(self._groups, tick.to_go, strict=True):
            local = np.flatnonzero(np.isin(group.rows, curtailed, assume_unique=True))
            kept = to_go.known[local] & (self._repeat == 0)
            if kept.any():
                rows = group.rows[local[kept]]
                yield rows, self._answer(group, rows, to_go.take(local[kept]), aes_kw[rows], planned)
            for rows in _chunks(group.rows[local[~kept]]):
                again = self._again(group, rows, aes_kw[rows])
                self._replanned.update({int(i): again.take(np.array([k])) for k, i in enumerate(rows)})
                yield rows, TickPlans.of(again)

    @property
    def _repeat(self) -> int:
        assert self._tick is not None
        return min(self._config.expect_repeat, self._tick.window.tariff.n_ticks - 1)

    def _answer(
        self, group: _Group, rows: Rows, to_go: CostToGo, aes_kw: Floats, planned: Solutions
    ) -> TickPlans:
        before = TickPlans.of(planned, rows)
        return answer(
            self._first_tick(group, rows, planned.soc_kwh[rows, 0]),
            to_go,
            aes_kw,
            planned=before,
            export_price=self._export_price,
            compiled=bool(before.path[0] == "dp_compiled"),
        )

    def _again(self, group: _Group, rows: Rows, aes_kw: Floats) -> Solutions:
        """Return plans made anew with the export of tick 0 fixed."""
        assert self._tick is not None
        tick, repeat = self._tick, self._repeat
        problems = self._problems(self._structure(group, tick), rows, tick)
        pv = tick.window.pv_kw[rows]
        fixed = problems.export_fixed(aes_kw, pv_kw=pv if repeat else pv[:, 0], repeat=repeat)
        return group.backend.solve(fixed)

    def _first_tick(self, group: _Group, rows: Rows, next_kwh: Floats) -> FirstTick:
        assert self._tick is not None
        tick, wear, homes = self._tick, self._config.wear_price_per_kwh, self._homes
        pv = tick.window.pv_kw[rows, 0]
        return FirstTick(
            dt_h=self._config.dt_h,
            eta_c=group.eta_charge,
            eta_d=group.eta_discharge,
            wear_c=wear,
            wear_d=wear,
            net_load_kw=tick.window.load_kw[rows, 0] - pv,
            pv_kw=pv,
            charge_kw=homes.p_charge_kw[rows],
            discharge_kw=homes.p_discharge_kw[rows],
            soc_kwh=self._structure(group, tick).keep * tick.soc_kwh[rows],
            next_kwh=next_kwh,
        )

    # One home -----------------------------------------------------------------------------------

    def seen(self, home: int) -> tuple[Seen, ...]:
        """Return the devices of a home as they were when it planned."""
        return self._tick.seen.get(home, ()) if self._tick else ()

    def whole(self, home: int, aes_kw: float) -> Solutions:
        """Return the whole plan of one home that exports `aes_kw` in tick 0."""
        if home in self._replanned:
            return self._replanned[home]
        group, _ = self._of(home)
        return self._again(group, np.array([home]), np.array([aes_kw]))

    def bids(self, home: int, planned: TickPlans, next_kwh: float) -> BidCurve | None:
        """Return what each export below the planned one costs a home; None where V_1 is not known.

        planned, next_kwh   plan of this home alone, and the SOC that it leads to
        """
        assert self._tick is not None
        if self._repeat:
            return None
        group, to_go = self._of(home)
        if isinstance(group.backend, ClosedFormBackend):
            return spilling_bids(float(planned.p_export_kw[0]), self._export_price * self._config.dt_h)
        rows = np.array([home])
        local = np.flatnonzero(group.rows == home)
        if not to_go.known[local].all():
            return None
        tick = self._first_tick(group, rows, np.array([next_kwh]))
        return exact_bids(tick, to_go.take(local), planned, export_price=self._export_price)

    def _of(self, home: int) -> tuple[_Group, CostToGo]:
        assert self._tick is not None
        return next(
            (group, to_go)
            for group, to_go in zip(self._groups, self._tick.to_go, strict=True)
            if home in group.rows
        )

    @property
    def _export_price(self) -> float:
        assert self._tick is not None
        return float(self._tick.window.tariff.export_price_per_kwh[0])


def _chunks(rows: Rows) -> Iterator[Rows]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK]
