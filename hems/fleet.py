"""`HemsFleet`: the energy management of many homes, one call for all of them per step of a tick.

plan     forecasts and prices          -> OES, OIS                       Algorithm 1, prosumer side
respond  AES from the utility          -> what each home will do
realise  load and PV as they came      -> what happened; the SOC moves on
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from hems.answers import POWERS, TickPlans
from hems.batches import DispatchBatch, PlanBatch, PlanStatus, RealisedBatch
from hems.bids import BidCurve
from hems.certificate import Solutions
from hems.checks import check_series, check_step, real_array
from hems.config import HemsConfig
from hems.devices.equipment import Equipment, Powers, table
from hems.errors import (
    BidError,
    ConfigError,
    HomeError,
    SequenceError,
    SeriesError,
    SetpointError,
    TariffError,
)
from hems.household import Home, HomeArrays
from hems.model import Problems, Window
from hems.planner import Planner
from hems.realise import SetPoints, live_through
from hems.target import target_of
from hems.tariff import Tariff

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

AES_TOLERANCE_KW = 1e-6
"""An AES may pass the OES by this much (it is then the OES), and a cut below it is no curtailment."""

FULLEST = 2.0
"""Of the capacity: a SOC beyond it is no drift of a meter, but another unit or another battery."""

_SHOWN = 1e-6  # kW or kWh; smaller shortfalls and overloads are rounding
_log = logging.getLogger(__name__)


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
        self.homes = _homes(homes)
        self.names = tuple(home.name for home in self.homes)
        _check_homes(self.homes, self.config)
        self._arrays = HomeArrays.of(self.homes)
        try:
            start = real_array(self.config.soc_target if soc_start is None else soc_start)
        except (TypeError, ValueError) as exc:
            raise SeriesError(f"soc_start is no number, and no array of them: {exc}.") from exc
        if start.shape not in ((), (len(self.homes),)):
            raise SeriesError(f"soc_start has shape {start.shape}; needed is one value, or one per home.")
        if (outside := start[(start < 0) | (start > 1)]).size:
            raise SeriesError(f"soc_start is {outside[0]}; it is a fraction of the capacity, from 0 to 1.")
        self.soc_kwh = start * self._arrays.capacity_kwh
        self._equipment = Equipment(self.homes, self.config.dt_h)
        self._planner = Planner(self._arrays, self._equipment, self.config)
        self._window: Window | None = None
        self._plans: Solutions | None = None
        self._planned: TickPlans | None = None  # None once the tick is lived through
        self._in_force: TickPlans | None = None
        self._curtailed = np.zeros(len(self.homes), dtype=bool)
        self._dispatch: DispatchBatch | None = None

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
        full = soc > FULLEST * homes.capacity_kwh
        if full.any():
            first = int(np.argmax(full))
            raise SeriesError(
                f"soc_kwh of home {self.names[first]!r} is {soc[first]}; its battery holds "
                f"{homes.capacity_kwh[first]} kWh."
            )
        for i in np.flatnonzero(outside > 0.01 * np.maximum(homes.capacity_kwh, 1e-9)):
            _log.warning(
                "home %s: SOC %.3f kWh is outside its band of %.3f to %.3f kWh; it will be brought back",
                *(self.names[i], soc[i], homes.soc_lo_kwh[i], homes.soc_hi_kwh[i]),
            )
        self._soc_kwh = np.array(soc)

    # Plan ---------------------------------------------------------------------------------------

    def plan(
        self,
        load_kw: ArrayLike | pd.DataFrame,
        pv_kw: ArrayLike | pd.DataFrame,
        tariff: Tariff,
        *,
        export_cap_kw: ArrayLike | None = None,
    ) -> PlanBatch:
        """Solve (1) for every home from its present SOC; return the current tick of the plans.

        load_kw, pv_kw  (n, T) kW, forecasts of load and of *available* PV; tick 0 is the current one. Or
                        DataFrames with a column per home, on the times of the tariff
        tariff          T ticks: the horizon, or fewer with `end="shrink"`
        export_cap_kw   (n, T) kW X_k beside the static limits, such as an operating envelope; inf: none
        Raises          SeriesError, TariffError naming home, column, tick and time
        """
        window, target = self._see(load_kw, pv_kw, tariff, export_cap_kw)
        self._plans = plans = self._planner.plan(window, self._soc_kwh, target)
        self._window, self._dispatch = window, None
        self._planned = self._in_force = TickPlans.of(plans)
        self._curtailed = np.zeros(len(self.names), dtype=bool)
        return PlanBatch.of(self.names, plans, status=self._status(plans))

    def problems(
        self, load_kw: ArrayLike | pd.DataFrame, pv_kw: ArrayLike | pd.DataFrame, tariff: Tariff
    ) -> list[Problems]:
        """Return the numbers of (1) that `plan` would solve, homes of one structure together; for studies.

        Arguments and errors as of `plan`. Nothing changes.
        """
        return self._planner.problems(*self._see(load_kw, pv_kw, tariff, None), self._soc_kwh)

    def _see(
        self,
        load_kw: ArrayLike | pd.DataFrame,
        pv_kw: ArrayLike | pd.DataFrame,
        tariff: Tariff,
        export_cap_kw: ArrayLike | None,
    ) -> tuple[Window, int | None]:
        """Return what a plan looks at, and the tick at whose end e* is wanted."""
        self._check_tariff(tariff)
        shape, times = (len(self.homes), tariff.n_ticks), tariff.times
        load = check_series("load_kw", load_kw, names=self.names, shape=shape, times=times)
        pv = check_series("pv_kw", pv_kw, names=self.names, shape=shape, times=times)
        self._check_pv(pv)
        cap = self._check_cap(export_cap_kw, shape, times)
        target, beyond = target_of(self.config, tariff)
        pv = np.minimum(pv, self._arrays.pv_limit_kw[:, None])
        return Window(load, pv, tariff, export_cap_kw=cap, ticks_to_target=beyond), target

    def _check_pv(self, pv_kw: Floats) -> None:
        wrong = ~self._arrays.has_pv & (pv_kw > 0.0).reshape(len(self.names), -1).any(axis=1)
        if wrong.any():
            name = self.names[int(np.argmax(wrong))]
            raise SeriesError(f"pv_kw of home {name!r} is not zero, but the home has has_pv=False.")

    def _check_cap(
        self, cap_kw: ArrayLike | None, shape: tuple[int, int], times: pd.DatetimeIndex | None
    ) -> Floats | None:
        if cap_kw is None:
            return None
        try:
            cap = real_array(cap_kw)
        except (TypeError, ValueError) as exc:
            raise SeriesError(f"export_cap_kw is no array of numbers of shape {shape}: {exc}.") from exc
        endless = np.isposinf(cap)
        check_series("export_cap_kw", np.where(endless, 0.0, cap), names=self.names, shape=shape, times=times)
        if not self.config.pv_spill and not endless.all():
            raise ConfigError(
                "pv_spill=False, but an export_cap_kw is given: allow PV spill, or lift the cap."
            )
        return cap

    def _check_tariff(self, tariff: Tariff) -> None:
        if not isinstance(tariff, Tariff):
            raise TariffError(f"the tariff is of type {type(tariff).__name__}; give a Tariff.")
        horizon = self.config.horizon
        short = 1 <= tariff.n_ticks <= horizon and self.config.end == "shrink"
        if tariff.n_ticks != horizon and not short:
            fewer = " (or take end='shrink')" if tariff.n_ticks < horizon else ""
            raise TariffError(f"the tariff has {tariff.n_ticks} ticks; the horizon is {horizon}{fewer}.")
        if tariff.times is not None:
            check_step(tariff.times, pd.Timedelta(minutes=self.config.step_minutes))
        homes = self._arrays
        endless = homes.stores & ~np.isfinite(homes.import_limit_kw + homes.export_limit_kw)
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
            PlanStatus.TARGET_MISSED: (plans.shortfall_kwh > _SHOWN) | plans.device_missed,
        }
        return np.select(list(cases.values()), list(cases), PlanStatus.OPTIMAL)

    # Respond ------------------------------------------------------------------------------------

    def respond(self, aes_kw: ArrayLike) -> DispatchBatch:
        """Take the utility's answer: homes with AES < OES plan again with exactly that export.

        aes_kw   (n,) kW, 0 <= AES <= OES; AES = OES is the go-ahead, and changes nothing
        Raises   SetpointError naming the home (nothing has changed then); SequenceError before `plan`
        """
        if self._planned is None or self._window is None or self._plans is None:
            raise SequenceError("respond() needs the plan of this tick: call plan() first.")
        planned = self._planned
        aes = self._check_aes(aes_kw, planned.p_export_kw)
        curtailed = planned.p_export_kw - aes > AES_TOLERANCE_KW
        in_force = TickPlans.of(self._plans)
        for rows, plans in self._planner.answers(np.flatnonzero(curtailed), aes, self._plans):
            in_force.put(rows, plans)
        _hold_export(in_force, aes, pv_kw=self._window.pv_kw[:, 0])
        self._in_force, self._curtailed = in_force, curtailed
        self._dispatch = DispatchBatch.of(self.names, in_force, planned=planned, curtailed=curtailed)
        return self._dispatch

    def _check_aes(self, aes_kw: ArrayLike, oes: Floats) -> Floats:
        try:
            aes = real_array(aes_kw)
        except (TypeError, ValueError) as exc:
            raise SetpointError(f"aes_kw is no array of numbers, one per home: {exc}.") from exc
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
        if self._dispatch is None or self._window is None or self._in_force is None:
            raise SequenceError(
                "realise() needs the set-points of this tick: call plan() and respond() first."
            )
        names, shape = self.names, (len(self.homes),)
        load = check_series("load_kw", load_kw, names=names, shape=shape)
        pv = check_series("pv_kw", pv_kw, names=names, shape=shape)
        self._check_pv(pv)
        tariff, dt_h, n_ticks = self._window.tariff, self.config.dt_h, self._window.tariff.n_ticks
        usable = np.minimum(pv, self._arrays.pv_limit_kw)
        devices = self._equipment.powers_kw(self._in_force.devices, n_ticks)
        hold = self._set_points(devices)
        start = self._soc_kwh
        flows = live_through(self._arrays, hold, load_kw=load, pv_kw=usable, soc_kwh=start, dt_h=dt_h)
        lived = devices._replace(ruled_draw_kw=flows.ruled_draw_kw, give_kw=flows.give_kw)
        self._equipment.live(self._in_force.devices, devices, n_ticks, lived=lived)
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
            p_spill_plan_kw=flows.p_spill_plan_kw + (pv - usable),
            p_spill_curtail_kw=flows.p_spill_curtail_kw,
            p_spill_tracking_kw=flows.p_spill_tracking_kw,
            soc_start_kwh=start.copy(),
            soc_end_kwh=flows.soc_end_kwh.copy(),
            p_devices_kw=devices.draw_kw - devices.ruled_draw_kw + flows.ruled_draw_kw - flows.give_kw,
            cost_usd=dt_h * (paid - earned),
        )

    def _set_points(self, devices: Powers) -> SetPoints:
        """Return what the homes hold on to in this tick; export stays below the AES, or the limits."""
        assert self._dispatch is not None
        assert self._window is not None
        dispatch, limit = self._dispatch, self._arrays.export_limit_kw
        if self._window.export_cap_kw is not None:
            limit = np.minimum(limit, self._window.export_cap_kw[:, 0])
        bound = dispatch.curtailed | self.config.cap_when_uncurtailed
        return SetPoints(
            battery_kw=dispatch.p_charge_kw - dispatch.p_discharge_kw,
            spill_kw=dispatch.p_spill_kw,
            spill_curtail_kw=np.maximum(dispatch.p_spill_curtail_kw, 0.0),
            p_export_kw=dispatch.p_export_kw,
            p_export_cap_kw=np.where(bound, dispatch.p_export_kw, limit),
            draw_kw=devices.draw_kw,
            ruled_draw_kw=devices.ruled_draw_kw,
            give_kw=devices.give_kw,
        )

    @property
    def tick(self) -> int:
        """Ticks lived through; the timetables of devices count from 0 at the start."""
        return self._equipment.tick

    def device_states(self, home: int | str) -> dict[str, Hashable]:
        """Return the states of the devices of a home by their names: energy, temperature, progress.

        home     its number or its name
        Raises   KeyError for an unknown home
        """
        return self._equipment.states(self._number(home))

    # Explain ------------------------------------------------------------------------------------

    def explain(self, home: int | str) -> pd.DataFrame:
        """Return the latest plan of one home over the whole horizon, one row per tick.

        home     its number or its name
        Returns  powers kW, soc_kwh at the *end* of the tick, prices $/kWh; indexed by the tz-aware starts of
                 the ticks if the tariff has `times`, else by tick number. Columns of its devices follow, with
                 their names before them: car_energy_kwh. `attrs` has path, objective, lower bound, gap,
                 shortfall, and the regret of a curtailment
        Raises   SequenceError before the first `plan`; KeyError for an unknown home
        """
        if self._in_force is None or self._window is None or self._plans is None:
            raise SequenceError("explain() needs a plan: call plan() first.")
        i = self._number(home)
        window, tariff, now = self._window, self._window.tariff, self._in_force
        cut = self._curtailed[i]
        plan = self._planner.whole(i, now.p_export_kw[i]) if cut else self._plans.take(np.array([i]))
        index = pd.RangeIndex(tariff.n_ticks, name="tick") if tariff.times is None else tariff.times
        explained = pd.DataFrame(
            {
                "p_load_kw": window.load_kw[i],
                "p_pv_kw": window.pv_kw[i],
                **{name: np.append(getattr(now, name)[i], getattr(plan, name)[0, 1:]) for name in POWERS},
                "soc_kwh": plan.soc_kwh[0],
                "import_price_per_kwh": tariff.import_price_per_kwh,
                "export_price_per_kwh": tariff.export_price_per_kwh,
                **self._devices_explained(i, plan.devices[0]),
            },
            index=index,
        )
        explained.attrs = {
            "home": self.names[i],
            "path": str(now.path[i]),
            "objective_usd": float(now.objective[i]),
            "lower_bound_usd": float(now.lower_bound[i]),
            "gap": float(now.gap[i]),
            "certified": bool(now.certified[i]),
            "shortfall_kwh": float(plan.shortfall_kwh[0]),
            "regret_usd": max(0.0, float(now.objective[i] - self._plans.objective[i])),
        }
        return explained

    def _devices_explained(self, home: int, y: Floats | None) -> dict[str, Floats]:
        seen = self._planner.seen(home)
        if y is None or self._window is None:
            return {}
        n_ticks = self._window.tariff.n_ticks
        return table(seen, [one.device.block(n_ticks, self.config.dt_h) for one in seen], y)

    def bid_curve(self, home: int | str) -> BidCurve:
        """Return what every export below the planned one costs a home over the horizon, exactly.

        home     its number or its name
        Raises   SequenceError before the first `plan`; KeyError for an unknown home
                 BidError  the home was planned by LP or MILP, or expects its cap again: no cost-to-go is
                 kept for it, and its cost need not be convex. `respond` tells the regret at one AES
        """
        if self._plans is None:
            raise SequenceError("bid_curve() needs a plan: call plan() first.")
        i = self._number(home)
        row = np.array([i])
        planned = TickPlans.of(self._plans, row)
        curve = self._planner.bids(i, planned, float(self._plans.soc_kwh[i, 0]))
        if curve is None:
            again = ", and expects its cap again" if self.config.expect_repeat else ""
            raise BidError(
                f"home {self.names[i]!r} has no cost-to-go to bid from: its plan is by "
                f"{str(planned.path[0])!r}{again}. "
                "Use respond() at an AES."
            )
        return curve

    def _number(self, home: int | str) -> int:
        whole = isinstance(home, int | np.integer) and not isinstance(home, bool)
        if whole and 0 <= int(home) < len(self.names):
            return int(home)
        if isinstance(home, str) and home in self.names:
            return self.names.index(home)
        some = ", ".join(map(repr, self.names[:5])) + (", ..." if len(self.names) > 5 else "")
        raise KeyError(f"there is no home {home!r}; the {len(self.names)} names are {some}")


def _homes(given: Iterable[Home]) -> tuple[Home, ...]:
    homes = tuple(given) if isinstance(given, Iterable) else (given,)
    wrong = [one for one in homes if not isinstance(one, Home)]
    if wrong:
        raise HomeError(f"a fleet is made of a list of Home; {wrong[0]!r} is none.")
    return homes


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


def _hold_export(plan: TickPlans, aes_kw: Floats, *, pv_kw: Floats) -> None:
    """Make the export the AES to the last bit, in place; spill, then battery, take the rounding."""
    above = plan.p_export_kw - aes_kw
    spill = np.clip(plan.p_spill_kw + above, 0.0, pv_kw)
    battery = plan.p_charge_kw - plan.p_discharge_kw + above - (spill - plan.p_spill_kw)
    plan.p_export_kw[:], plan.p_spill_kw[:] = aes_kw, spill
    plan.p_charge_kw[:], plan.p_discharge_kw[:] = np.maximum(battery, 0.0), np.maximum(-battery, 0.0)
