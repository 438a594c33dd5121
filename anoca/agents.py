"""Algorithm 1 as two agents: the homes, who ask and obey, and the utility, which answers.

`prosumer` and `utility` are the SimPy processes; what they know and decide is in `Homes` and
`Utility`, which know nothing of SimPy. All homes plan in one batch per tick, each from its own
state and forecasts only.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import simpy

from anoca.bidding import Bids, least_regret
from anoca.config import Scenario
from anoca.config_dms import DmsSection
from anoca.devices import managed_homes
from anoca.errors import InputError
from anoca.messages import AES, OES, Bid, GrantedPower, RequestedPower
from anoca.placement import Placement
from anoca.series import Series, forecaster
from anoca.transport import UTILITY, Transport
from dms import DmsProblem, DmsRequest, DmsSolution, IpoptOptions, solve, solve_guarded
from dms.weights import MAX_WEIGHT_RATIO, cumulative
from feeders import Connections, Loads
from feeders.table import Array
from hems import (
    BidError,
    DispatchBatch,
    ForecastView,
    HemsError,
    HemsFleet,
    PlanBatch,
    RealisedBatch,
    SeriesError,
    believed,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Clock:
    """Ticks of a run in simulated seconds from the start."""

    ticks: int
    step_s: float

    def start_s(self, tick: int) -> float:
        """Start of a tick; OES and AES are exchanged here."""
        return tick * self.step_s

    def meter_s(self, tick: int) -> float:
        """The meter is read one second before the tick ends."""
        return (tick + 1) * self.step_s - 1.0


@dataclass(frozen=True)
class HomesTick:
    """All homes over one tick."""

    plan: PlanBatch
    dispatch: DispatchBatch
    realised: RealisedBatch
    load_kw: Array
    pv_kw: Array
    aes_kw: Array
    q_set_kvar: Array
    import_price_per_kwh: float
    export_price_per_kwh: float
    seconds: dict[str, float]


class Homes:
    """The HEMS of all prosumers behind one desk."""

    def __init__(self, scenario: Scenario, placement: Placement, series: Series) -> None:
        self.placement, self.series = placement, series
        self.horizon = scenario.hems.horizon
        step = scenario.clock.step_minutes
        soc = scenario.hems.soc_start
        end: Literal["error", "shrink"] = "shrink" if scenario.series.end == "shrink" else "error"
        homes = managed_homes(scenario, placement, series.times)
        self.fleet = HemsFleet(homes, scenario.hems.config(step, end=end), soc_start=soc)
        self.forecaster = forecaster(scenario)
        self._times = pd.DatetimeIndex(series.past_times.append(series.times))
        self._whole = {
            "load": np.hstack([series.past_load_kw, series.load_kw]),
            "pv": np.hstack([series.past_pv_kw, series.pv_kw]),
        }
        self.number = {name: k for k, name in enumerate(placement.name)}
        connections = placement.feeder[Connections]
        self._home = np.array([self.number[name] for name in connections.prosumer])
        self._connections: list[list[int]] = [[] for _ in placement.name]
        for c, k in enumerate(self._home):
            self._connections[k].append(c)
        self._share = connections.share
        self._shares = [self._share[at].tolist() for at in self._connections]
        self._step = pd.Timedelta(minutes=step)
        self._bidding = scenario.dms.weight_by == "bid"
        self._planned, self._plan_s = -1, 0.0
        self.plan: PlanBatch
        self._requests: list[OES] = []
        self._aes_kw = np.zeros(len(placement.name))
        self._q_set_kvar = np.zeros(len(connections))

    def request(self, home: str, tick: int) -> OES:
        """The home's OES for a tick; the first to ask makes all of them plan."""
        if tick != self._planned:
            self._make_plans(tick)
        return self._requests[self.number[home]]

    def _make_requests(self, tick: int) -> list[OES]:
        """The OES of all homes, each with its power at every connection."""
        plan, of, share = self.plan, self._home, self._share
        q_kvar = self.placement.q_kvar(self.series.load_scale[:, tick])
        powers = [(x[of] * share).tolist() for x in (plan.p_export_kw, plan.p_import_kw, q_kvar)]
        asked = [RequestedPower(*power) for power in zip(*powers, strict=True)]
        start = self.series.times[tick]
        span = start, start + self._step
        flex = zip(plan.oes_lo_kw.tolist(), plan.oes_hi_kw.tolist(), strict=True)
        each = zip(self.number, self._connections, flex, self._bids(), strict=True)
        return [
            OES(home, tick, tick, *span, tuple(asked[c] for c in at), *band, bid)
            for home, at, band, bid in each
        ]

    def _bids(self) -> list[Bid | None]:
        """What less export costs each home, where the utility asks; None of one that cannot tell."""
        export = self.plan.p_export_kw
        if not self._bidding:
            return [None] * len(export)
        return [self._bid(k) if export[k] > 0 else None for k in range(len(export))]

    def _bid(self, home: int) -> Bid | None:
        try:
            curve = self.fleet.bid_curve(home)
        except BidError:  # planned by LP or MILP
            return None
        return Bid(tuple(curve.aes_kw.tolist()), tuple(curve.regret_usd.tolist()))

    def _make_plans(self, tick: int) -> None:
        began = time.perf_counter()
        load, pv = self._believed("load", tick), self._believed("pv", tick)
        prices = self.series.tariff.window(tick, load.shape[1])
        try:
            self.plan = self.fleet.plan(load, pv, prices)
        except HemsError as exc:
            raise InputError(f"tick {tick}: {exc}") from exc
        self._planned, self._plan_s = tick, time.perf_counter() - began
        self._requests = self._make_requests(tick)
        self._aes_kw = np.full(len(self.placement.name), np.nan)

    def _believed(self, kind: Literal["load", "pv"], tick: int) -> Array:
        """Loads or available PV of the horizon as the homes see them.

        Raises  InputError  the forecaster gave something that no home could plan with
        """
        times, whole = self._times, self._whole[kind]
        now = len(times) - len(self.series.times) + tick
        view = ForecastView(
            kind=kind,
            names=list(self.placement.name),
            tick=tick,
            times_past=times[:now],
            past_kw=whole[:, :now],
            times_ahead=times[now : now + self.horizon],
            true_kw=whole[:, now : now + self.horizon],
        )
        try:
            return believed(self.forecaster, view)
        except SeriesError as exc:
            raise InputError(f"forecast.method: {exc}") from exc

    def accept(self, home: str, aes: AES) -> None:
        """Take the utility's answer; the fleet refuses one that is above the request."""
        k = self.number[home]
        self._aes_kw[k] = aes.cap_kw(self._shares[k])
        for at, granted in zip(self._connections[k], aes.connections, strict=True):
            self._q_set_kvar[at] = 0.0 if math.isnan(granted.q_kvar) else granted.q_kvar

    def live_granted(self, tick: int) -> HomesTick:
        """Plan, and live through the tick as if everything that is asked for were granted."""
        self._make_plans(tick)
        self._aes_kw = self.plan.p_export_kw.copy()
        return self.live(tick)

    def live(self, tick: int) -> HomesTick:
        """Obey, store or spill what was cut, and live through the tick as it really is."""
        began = time.perf_counter()
        dispatch = self.fleet.respond(np.minimum(self._aes_kw, self.plan.p_export_kw))
        load, pv = self.series.load_kw[:, tick], self.series.pv_kw[:, tick]
        realised = self.fleet.realise(load, pv)
        seconds = {"hems_s": self._plan_s, "respond_s": time.perf_counter() - began}
        told = self._aes_kw.copy(), self._q_set_kvar.copy()
        tariff = self.series.tariff
        prices = float(tariff.import_price_per_kwh[tick]), float(tariff.export_price_per_kwh[tick])
        return HomesTick(self.plan, dispatch, realised, load, pv, *told, *prices, seconds)


def decide(
    how: DmsSection,
    problem: DmsProblem,
    request: DmsRequest,
    *,
    warm: DmsSolution | None = None,
    position: Array | None = None,
) -> DmsSolution:
    """The DMS's answer to a tick, within its budget and behind its guard; see `dms.solve` and `dms.guard`."""
    method = solve_guarded if how.guard else solve
    options = IpoptOptions(max_iter=how.max_iter)
    return method(problem, request, warm=warm, options=options, position=position, budget_s=how.budget_s)


class Utility:
    """The DMS: collects all requests of a tick and answers each.

    It remembers where taps and steps stand and, where fairness is cumulative, what every unit asked for and
    lost since midnight; `problem` has the weights of the last tick answered.
    """

    def __init__(self, scenario: Scenario, problem: DmsProblem, series: Series) -> None:
        self.problem, self.series = problem, series
        self._as_stated, self._strength = problem, scenario.dms.cumulative_fairness
        _check_strength(problem, self._strength)
        self._asked_kwh, self._lost_kwh = np.zeros((2, len(problem.units.name)))
        self._hours = scenario.clock.step_minutes / 60
        self.how = scenario.dms
        prosumer = problem.feeder[Connections].prosumer
        self._rows: dict[str, list[int]] = {}
        for row, name in enumerate(prosumer):
            self._rows.setdefault(name, []).append(row)
        self.last: DmsSolution | None = None
        self._told = False
        self.request: DmsRequest
        self.position = problem.controls.present(problem.feeder)

    def plain_loads(self, tick: int) -> tuple[Array, Array]:
        """kW and kvar of the plain loads at a tick, constant power factor."""
        loads, scale = self.problem.feeder[Loads], self.series.plain_scale[:, tick]
        return loads.p_kw * scale, loads.q_kvar * scale

    def answer(self, tick: int, inbox: Sequence[OES]) -> list[AES]:
        """Solve (2) for all requests of a tick and address one AES to each prosumer."""
        asked = [(0.0, 0.0, 0.0)] * len(self.problem.feeder[Connections])
        for oes in inbox:
            for row, c in zip(self._rows[oes.prosumer], oes.connections, strict=True):
                asked[row] = c.p_export_kw, c.p_import_kw, c.q_kvar
        p_export, p_import, q = np.array(asked).T.copy()
        p_load, q_load = self.plain_loads(tick)
        self.request = DmsRequest(p_export, p_import, q, p_load, q_load, self.problem.units)
        if self.how.weight_by == "bid":
            bids = Bids(inbox, self._as_stated, self._rows)
            self._tell_who_bids(bids)
            self.problem, self.last = least_regret(bids, self._as_stated, self._solve, self.last)
        else:
            self._weigh(tick)
            self.last = self._solve(self.problem, self.last)
        if self.last.certificate.ok:
            self.position = self.last.position
        self._asked_kwh += self.last.unit_export_kw * self._hours
        self._lost_kwh += self.last.unit_curtail_kw * self._hours
        granted = self._granted(self.last)
        certified = self.last.certificate.safe
        return [self._reply(oes, granted, certified) for oes in inbox]

    def _tell_who_bids(self, bids: Bids) -> None:
        """Once: those who cannot tell what less export costs them keep their weights."""
        if len(bids) < bids.asking and not self._told:
            self._told = True
            log.warning(
                "%d of %d prosumers that export send a bid; the others keep their weights (homes with "
                "devices, say, are planned by LP or MILP, which leave no bid)",
                *(len(bids), bids.asking),
            )

    def _weigh(self, tick: int) -> None:
        """Weights of a tick from what was lost since midnight, `dms.weights.cumulative`."""
        if not self._strength:
            return
        times = self.series.times
        if tick and times[tick].date() != times[tick - 1].date():
            self._asked_kwh[:], self._lost_kwh[:] = 0.0, 0.0
        stated = self._as_stated
        weights = cumulative(stated.weights, self._lost_kwh, self._asked_kwh, self._strength)
        self.problem = stated if np.array_equal(weights, stated.weights) else stated.weighted(weights)

    def _solve(self, problem: DmsProblem, warm: DmsSolution | None) -> DmsSolution:
        return decide(self.how, problem, self.request, warm=warm, position=self.position)

    def _granted(self, solution: DmsSolution) -> list[GrantedPower]:
        """What every connection is granted."""
        free = self.problem.feeder[Connections].q_mode == "free"
        q_set = np.where(free, solution.q_set_kvar, np.nan)
        powers = solution.p_adjusted_kw.tolist(), solution.p_curtail_kw.tolist(), q_set.tolist()
        return [GrantedPower(*power) for power in zip(*powers, strict=True)]

    def _reply(self, oes: OES, granted: Sequence[GrantedPower], certified: str) -> AES:
        return AES(
            prosumer=oes.prosumer,
            tick=oes.tick,
            seq=oes.seq,
            mrid=oes.mrid,
            valid_from=oes.valid_from,
            valid_until=oes.valid_until,
            connections=tuple(granted[r] for r in self._rows[oes.prosumer]),
            certified=certified,
        )


def _check_strength(problem: DmsProblem, strength: float) -> None:
    """Weights stay within what an optimiser serves, whatever is lost.

    Raises  InputError  they may come to be more than 1e4 apart
    """
    apart = float(problem.weights.max() / problem.weights.min()) * (1 + strength)
    if apart > MAX_WEIGHT_RATIO:
        raise InputError(
            f"dms.cumulative_fairness = {strength:g}: with the weights given, weights may come to be "
            f"{apart:g} apart, above {MAX_WEIGHT_RATIO:g}; take less of either"
        )


# Processes --------------------------------------------------------------------------------------

Process = Generator[simpy.Event, Any, None]


def prosumer(env: simpy.Environment, name: str, homes: Homes, transport: Transport, clock: Clock) -> Process:
    """Every tick: plan, send the OES, wait for the AES, obey it."""
    for tick in range(clock.ticks):
        yield env.timeout(clock.start_s(tick) - env.now)
        transport.send(UTILITY, homes.request(name, tick))
        aes = yield transport.receive(name)
        homes.accept(name, aes)


def utility(
    env: simpy.Environment, desk: Utility, n_prosumers: int, transport: Transport, clock: Clock
) -> Process:
    """Every tick: collect all OES, optimise, send every AES."""
    for tick in range(clock.ticks):
        yield env.timeout(clock.start_s(tick) - env.now)
        inbox: list[OES] = []
        while len(inbox) < n_prosumers:
            inbox.append((yield transport.receive(UTILITY)))
        for aes in desk.answer(tick, inbox):
            transport.send(aes.prosumer, aes)
