"""`HemsFleet`: the energy management of many homes, one call for all of them per step of a tick.

plan     forecasts and prices          -> OES, OIS                       Algorithm 1, prosumer side
respond  AES from the utility          -> what each home will do
realise  load and PV as they came      -> what happened; the SOC moves on
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from hems.backends import Backend, make_backend
from hems.batches import DispatchBatch, PlanBatch, PlanStatus, RealisedBatch
from hems.certificate import Solutions
from hems.checks import check_series
from hems.closed_form import ClosedFormBackend
from hems.config import HemsConfig
from hems.errors import ConfigError, HomeError, SequenceError, SeriesError, SetpointError, TariffError
from hems.household import Home, HomeArrays
from hems.model import Problems, Structure, Window, build_problems, build_structure
from hems.realise import SetPoints, live_through
from hems.tariff import Tariff

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

AES_TOLERANCE_KW = 1e-6
"""An AES may pass the OES by this much (it is then the OES), and a cut below it is no curtailment."""

_SHOWN = 1e-6  # kW or kWh; smaller shortfalls and overloads are rounding
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Group:
    """Homes that share a structure: the rows they have in the fleet, and who plans for them."""

    rows: Rows
    structure: Structure
    backend: Backend


class HemsFleet:
    """The homes of a feeder: their SOC, and the plan of the current tick.

    homes      with distinct names; results keep their order
    config     options of (1) for all of them
    soc_start  SOC at the start as a fraction of the capacity, one for all or (n,); None: `soc_target`
    Raises     HomeError, ConfigError, SeriesError naming the home
    """

    def __init__(
        self, homes: Sequence[Home], config: HemsConfig | None = None, *, soc_start: ArrayLike | None = None
    ) -> None:
        self.config = config or HemsConfig()
        self.homes = tuple(homes)
        self.names = tuple(home.name for home in homes)
        _check_homes(self.homes, self.config)
        self._arrays = HomeArrays.of(self.homes)
        start = np.asarray(self.config.soc_target if soc_start is None else soc_start, dtype=float)
        if start.shape not in ((), (len(homes),)):
            raise SeriesError(f"soc_start has shape {start.shape}; needed is one value, or one per home.")
        self.soc_kwh = start * self._arrays.capacity_kwh
        self._groups = self._make_groups()
        self._window: Window | None = None
        self._problems: list[Problems] = []
        self._planned: Solutions | None = None
        self._in_force: Solutions | None = None
        self._dispatch: DispatchBatch | None = None

    def _make_groups(self) -> list[_Group]:
        homes, config = self._arrays, self.config
        planner = make_backend(config)
        kinds = np.stack([homes.has_battery, homes.eta_charge, homes.eta_discharge], axis=1)
        groups = []
        for kind in np.unique(kinds, axis=0):
            has_battery, eta_charge, eta_discharge = kind.tolist()
            structure = build_structure(
                config.horizon, config.dt_h, eta_charge=eta_charge, eta_discharge=eta_discharge
            )
            rows = np.flatnonzero((kinds == kind).all(axis=1))
            groups.append(_Group(rows, structure, planner if has_battery else ClosedFormBackend(config)))
        return groups

    @property
    def soc_kwh(self) -> Floats:
        """(n,) state of charge, kWh; a copy. Setting it overrides what `realise` computed."""
        return self._soc_kwh.copy()

    @soc_kwh.setter
    def soc_kwh(self, value: ArrayLike) -> None:
        soc = check_series("soc_kwh", value, names=self.names, shape=(len(self.names),))
        homes = self._arrays
        outside = np.maximum(homes.soc_lo_kwh - soc, soc - homes.soc_hi_kwh)
        if soc[~homes.has_battery].any():
            raise SeriesError("soc_kwh of a home without battery must be 0.")
        for i in np.flatnonzero(outside > 0.01 * np.maximum(homes.capacity_kwh, 1e-9)):
            _log.warning(
                "home %s: SOC %.3f kWh is outside its band of %.3f to %.3f kWh; it will be brought back",
                *(self.names[i], soc[i], homes.soc_lo_kwh[i], homes.soc_hi_kwh[i]),
            )
        self._soc_kwh = np.array(soc)

    # Plan ---------------------------------------------------------------------------------------

    def plan(self, load_kw: ArrayLike, pv_kw: ArrayLike, tariff: Tariff) -> PlanBatch:
        """Solve (1) for every home from its present SOC; return the current tick of the plans.

        load_kw, pv_kw  (n, T) kW, forecasts of load and of *available* PV; tick 0 is the current one
        tariff          T ticks
        Raises          SeriesError, TariffError naming home, column and tick
        """
        shape = (len(self.homes), self.config.horizon)
        load = check_series("load_kw", load_kw, names=self.names, shape=shape)
        pv = check_series("pv_kw", pv_kw, names=self.names, shape=shape)
        self._check_tariff(tariff)
        self._window = window = Window(load, pv, tariff)
        self._dispatch = None
        self._problems = []
        parts = []
        for group in self._groups:
            problems = build_problems(
                group.structure,
                self._arrays.take(group.rows),
                window=window.take(group.rows),
                soc_kwh=self._soc_kwh[group.rows],
                config=self.config,
            )
            self._problems.append(problems)
            parts.append((group.rows, group.backend.solve(problems)))
        self._planned = self._in_force = Solutions.gather(parts)
        return PlanBatch.of(self.names, self._planned, status=self._status(self._planned))

    def _check_tariff(self, tariff: Tariff) -> None:
        if tariff.n_ticks != self.config.horizon:
            raise TariffError(f"the tariff has {tariff.n_ticks} ticks; the horizon is {self.config.horizon}.")
        homes = self._arrays
        endless = homes.has_battery & ~np.isfinite(homes.import_limit_kw + homes.export_limit_kw)
        if tariff.arbitrage.any() and endless.any():
            first, tick = self.names[int(np.argmax(endless))], int(np.argmax(tariff.arbitrage))
            raise TariffError(
                f"export pays more than import costs at tick {tick}: home {first!r} (one of "
                f"{int(endless.sum())}) needs a finite import_limit_kw and export_limit_kw."
            )

    def _status(self, plans: Solutions) -> NDArray[np.str_]:
        homes, soc = self._arrays, self._soc_kwh
        outside = (soc < homes.soc_lo_kwh - _SHOWN) | (soc > homes.soc_hi_kwh + _SHOWN)
        overloaded = (plans.p_over_import_kw > _SHOWN).any(axis=1)
        cases = {
            PlanStatus.UNCERTIFIED: ~plans.certified,
            PlanStatus.RECOVERING: outside,
            PlanStatus.IMPORT_LIMIT: overloaded,
            PlanStatus.TARGET_MISSED: plans.shortfall_kwh > _SHOWN,
        }
        return np.select(list(cases.values()), list(cases), PlanStatus.OPTIMAL)

    # Respond ------------------------------------------------------------------------------------

    def respond(self, aes_kw: ArrayLike) -> DispatchBatch:
        """Take the utility's answer: homes with AES < OES plan again with exactly that export.

        aes_kw   (n,) kW, 0 <= AES <= OES; AES = OES is the go-ahead, and changes nothing
        Raises   SetpointError naming the home (nothing has changed then); SequenceError before `plan`
        """
        if self._planned is None or self._window is None:
            raise SequenceError("respond() needs the plan of this tick: call plan() first.")
        planned, pv_kw = self._planned, self._window.pv_kw[:, 0]
        oes = planned.p_export_kw[:, 0]
        aes = self._check_aes(aes_kw, oes)
        curtailed = oes - aes > AES_TOLERANCE_KW
        in_force = planned.copy()
        for group, problems in zip(self._groups, self._problems, strict=True):
            local = np.flatnonzero(curtailed[group.rows])
            if local.size:
                rows = group.rows[local]
                cut = problems.take(local).export_fixed(aes[rows], pv_kw=pv_kw[rows])
                in_force.put(rows, group.backend.solve(cut))
        _hold_export(in_force, aes, pv_kw=pv_kw)
        self._in_force = in_force
        self._dispatch = DispatchBatch.of(self.names, in_force, planned=planned, curtailed=curtailed)
        return self._dispatch

    def _check_aes(self, aes_kw: ArrayLike, oes: Floats) -> Floats:
        aes = np.array(aes_kw, dtype=float)
        if aes.shape != oes.shape:
            raise SetpointError(f"aes_kw has shape {aes.shape}; needed is one value per home, {oes.shape}.")
        wrong = ~((aes >= 0.0) & (aes <= oes + AES_TOLERANCE_KW))  # catches NaN
        if wrong.any():
            i = int(np.argmax(wrong))
            raise SetpointError(
                f"AES of home {self.names[i]!r} is {aes[i]} kW; it must be between 0 and its OES of "
                f"{oes[i]} kW ({int(wrong.sum())} such home(s))."
            )
        return np.minimum(aes, oes)

    # Realise ------------------------------------------------------------------------------------

    def realise(self, load_kw: ArrayLike, pv_kw: ArrayLike) -> RealisedBatch:
        """Live through the tick with the load and available PV as they came; the SOC moves on.

        load_kw, pv_kw  (n,) kW, true means over the tick
        Raises          SeriesError naming home and column; SequenceError before `respond`
        """
        if self._dispatch is None or self._window is None:
            raise SequenceError(
                "realise() needs the set-points of this tick: call plan() and respond() first."
            )
        names, shape = self.names, (len(self.homes),)
        load = check_series("load_kw", load_kw, names=names, shape=shape)
        pv = check_series("pv_kw", pv_kw, names=names, shape=shape)
        dispatch, tariff, dt_h = self._dispatch, self._window.tariff, self.config.dt_h
        bound = dispatch.curtailed | self.config.cap_when_uncurtailed
        hold = SetPoints(
            battery_kw=dispatch.p_charge_kw - dispatch.p_discharge_kw,
            spill_kw=dispatch.p_spill_kw,
            spill_curtail_kw=np.maximum(dispatch.p_spill_curtail_kw, 0.0),
            p_export_kw=dispatch.p_export_kw,
            p_export_cap_kw=np.where(bound, dispatch.p_export_kw, self._arrays.export_limit_kw),
        )
        start = self._soc_kwh
        flows = live_through(self._arrays, hold, load_kw=load, pv_kw=pv, soc_kwh=start, dt_h=dt_h)
        self._soc_kwh = flows.soc_end_kwh
        self._planned = self._dispatch = None
        paid = tariff.import_price_per_kwh[0] * flows.p_import_kw
        earned = tariff.export_price_per_kwh[0] * flows.p_export_kw
        return RealisedBatch(
            names=names,
            p_export_kw=flows.p_export_kw,
            p_import_kw=flows.p_import_kw,
            p_charge_kw=np.maximum(flows.battery_kw, 0.0),
            p_discharge_kw=np.maximum(-flows.battery_kw, 0.0),
            p_spill_plan_kw=flows.p_spill_plan_kw,
            p_spill_curtail_kw=flows.p_spill_curtail_kw,
            p_spill_tracking_kw=flows.p_spill_tracking_kw,
            soc_start_kwh=start.copy(),
            soc_end_kwh=flows.soc_end_kwh.copy(),
            cost_usd=dt_h * (paid - earned),
        )

    # Explain ------------------------------------------------------------------------------------

    def explain(self, home: int | str) -> pd.DataFrame:
        """Return the latest plan of one home over the whole horizon, one row per tick.

        home     its number or its name
        Returns  powers kW, soc_kwh at the *end* of the tick, prices $/kWh; indexed by the tz-aware starts of
                 the ticks if the tariff has `times`, else by tick number
        Raises   SequenceError before the first `plan`; KeyError for an unknown home
        """
        if self._in_force is None or self._window is None:
            raise SequenceError("explain() needs a plan: call plan() first.")
        if isinstance(home, str) and home not in self.names:
            raise KeyError(home)
        i = self.names.index(home) if isinstance(home, str) else home
        window, plan = self._window, self._in_force
        tariff = window.tariff
        index = pd.RangeIndex(tariff.n_ticks, name="tick") if tariff.times is None else tariff.times
        return pd.DataFrame(
            {
                "p_load_kw": window.load_kw[i],
                "p_pv_kw": window.pv_kw[i],
                "p_import_kw": plan.p_import_kw[i],
                "p_export_kw": plan.p_export_kw[i],
                "p_charge_kw": plan.p_charge_kw[i],
                "p_discharge_kw": plan.p_discharge_kw[i],
                "p_spill_kw": plan.p_spill_kw[i],
                "soc_kwh": plan.soc_kwh[i],
                "import_price_per_kwh": tariff.import_price_per_kwh,
                "export_price_per_kwh": tariff.export_price_per_kwh,
            },
            index=index,
        )


def _check_homes(homes: Sequence[Home], config: HemsConfig) -> None:
    if not homes:
        raise HomeError("a fleet needs at least one home.")
    twice = [name for name, count in Counter(home.name for home in homes).items() if count > 1]
    if twice:
        raise HomeError(f"names must be distinct; used more than once: {', '.join(map(repr, twice[:10]))}.")
    for home in homes:
        battery = home.battery
        if battery and not battery.soc_min <= config.soc_target <= battery.soc_max:
            raise ConfigError(
                f"soc_target={config.soc_target} is outside the band of home {home.name!r}: "
                f"{battery.soc_min} to {battery.soc_max}."
            )
        if not config.pv_spill and np.isfinite(home.export_limit_kw):
            raise ConfigError(
                f"pv_spill=False, but home {home.name!r} has export_limit_kw={home.export_limit_kw}: "
                "its surplus could have nowhere to go. Allow PV spill or lift the limit."
            )


def _hold_export(plan: Solutions, aes_kw: Floats, *, pv_kw: Floats) -> None:
    """Make the export of tick 0 the AES to the last bit, in place; spill, then battery, take the rounding."""
    above = plan.p_export_kw[:, 0] - aes_kw
    spill = np.clip(plan.p_spill_kw[:, 0] + above, 0.0, pv_kw)
    battery = plan.p_charge_kw[:, 0] - plan.p_discharge_kw[:, 0] + above - (spill - plan.p_spill_kw[:, 0])
    plan.p_export_kw[:, 0], plan.p_spill_kw[:, 0] = aes_kw, spill
    plan.p_charge_kw[:, 0], plan.p_discharge_kw[:, 0] = np.maximum(battery, 0.0), np.maximum(-battery, 0.0)
