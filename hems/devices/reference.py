"""The devices as Pyomo text, from the numbers a user gives and the state, without `hems.devices.*Block`.

Each function adds variables and constraints to the model `m` of a home and returns what the home has to know.
All of it is added here: the paper has no devices.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from hems.devices.appliance import Appliance, Progress
from hems.devices.battery import ExtraBattery
from hems.devices.device import Block, Floats, Seen
from hems.devices.thermal import HeatPump
from hems.devices.vehicle import Charge, ElectricVehicle

if TYPE_CHECKING:
    import pyomo.environ as pyo


@dataclass(frozen=True, kw_only=True)
class Prices:
    """What the text of a device needs of the tariff and the configuration; rho None: the default."""

    import_price_per_kwh: Floats
    wear_price_per_kwh: float
    shortfall_price_per_kwh: float | None = None

    def rho(self, eta_charge: float, keep_to_end: float = 1.0) -> float:
        """Return the price of a missing kWh; keep_to_end: what is left at the end of a kWh stored at once."""
        if self.shortfall_price_per_kwh is not None:
            return self.shortfall_price_per_kwh
        return (
            max(1.0, 10 * (self.import_price_per_kwh.max() + self.wear_price_per_kwh) / eta_charge)
            / keep_to_end
        )


@dataclass
class Text:
    """A device in the model of its home.

    draw            what it draws less what it gives, an expression for each tick
    size_kw         its power at tick 0 whichever way it flows; ties are broken by it
    most_kw         the most that it can draw or give
    cost            $
    charge, discharge   powers that the home's rules for batteries are for, or None
    decisions       parts of `Block.sizes` and the expressions that decide them
    """

    draw: list[Any]
    size_kw: Any
    most_kw: float
    cost: Any = 0.0
    charge: list[Any] | None = None
    discharge: list[Any] | None = None
    decisions: dict[str, list[Any]] = field(default_factory=dict)

    def point(self, block: Block) -> Floats:
        """Return the solved decisions in the columns of `block`; the states are left at 0."""
        import pyomo.environ as pyo

        y = np.zeros(block.n_cols)
        for part, expressions in self.decisions.items():
            y[block.col[part]] = [pyo.value(expression) for expression in expressions]
        return y


@functools.singledispatch
def add(device: Any, m: pyo.ConcreteModel, seen: Seen, dt: float, prices: Prices) -> Text:
    """Add a device to the model `m`, inside a block of its own.

    Raises  NotImplementedError  nobody has written the text of this kind of device
    """
    raise NotImplementedError(f"no Pyomo text for a device of type {type(device).__name__}")


def _own(m: pyo.ConcreteModel, seen: Seen) -> Any:
    import pyomo.environ as pyo

    own = pyo.Block(concrete=True)
    m.add_component(f"device_{seen.device.name}", own)
    return own


def _powers(own: Any, ticks: range, charge_kw: list[float], discharge_kw: list[float]) -> None:
    """Charge c and discharge d, not both at once."""
    import pyomo.environ as pyo

    own.c = pyo.Var(ticks, within=pyo.NonNegativeReals)
    own.d = pyo.Var(ticks, within=pyo.NonNegativeReals)
    own.z = pyo.Var(ticks, within=pyo.Binary)
    own.charge = pyo.Constraint(ticks, rule=lambda o, k: o.c[k] <= charge_kw[k] * o.z[k])
    own.discharge = pyo.Constraint(ticks, rule=lambda o, k: o.d[k] <= discharge_kw[k] * (1 - o.z[k]))


@add.register(ExtraBattery)
def _battery(device: ExtraBattery, m: pyo.ConcreteModel, seen: Seen, dt: float, prices: Prices) -> Text:
    import pyomo.environ as pyo

    b, own, T = device.battery, _own(m, seen), len(prices.import_price_per_kwh)
    start, keep = cast(float, seen.state), (1 - b.self_discharge_per_h) ** dt
    in_kw, out_kw = b.p_charge_kw * b.n_units, b.p_discharge_kw * b.n_units
    _powers(own, range(T), [in_kw] * T, [out_kw] * T)
    own.e = pyo.Var(range(T + 1))
    own.missing = pyo.Var(within=pyo.NonNegativeReals)
    own.start = pyo.Constraint(expr=own.e[0] == start)
    own.target = pyo.Constraint(expr=own.e[T] + own.missing >= device.soc_target * b.capacity_kwh)

    @own.Constraint(range(T))
    def dynamics(o: Any, k: int) -> Any:
        return o.e[k + 1] == keep * o.e[k] + dt * (b.eta_charge * o.c[k] - o.d[k] / b.eta_discharge)

    @own.Constraint(range(T))
    def band(o: Any, k: int) -> Any:
        lo = min(b.soc_min * b.capacity_kwh, start * keep ** (k + 1))
        return (lo, o.e[k + 1], max(b.soc_max * b.capacity_kwh, start))

    c, d = [own.c[k] for k in range(T)], [own.d[k] for k in range(T)]
    return Text(
        draw=[own.c[k] - own.d[k] for k in range(T)],
        size_kw=own.c[0] + own.d[0],
        most_kw=max(in_kw, out_kw),
        cost=prices.rho(b.eta_charge, keep**T) * own.missing + dt * prices.wear_price_per_kwh * sum(c + d),
        charge=c,
        discharge=d,
        decisions={"p_charge_kw": c, "p_discharge_kw": d},
    )


@add.register(ElectricVehicle)
def _vehicle(device: ElectricVehicle, m: pyo.ConcreteModel, seen: Seen, dt: float, prices: Prices) -> Text:
    import pyomo.environ as pyo

    own, T, now = _own(m, seen), len(prices.import_price_per_kwh), seen.tick
    there = [any(s.arrive_tick <= now + k < s.depart_tick for s in device.stays) for k in range(T)]
    out_kw = device.p_discharge_kw if device.v2g else 0.0
    _powers(own, range(T), [device.p_charge_kw * h for h in there], [out_kw * h for h in there])
    own.e = pyo.Var(range(T + 1))  # of no meaning while it is away
    own.missing = pyo.Var(range(len(device.stays)), within=pyo.NonNegativeReals)
    own.rows = pyo.ConstraintList()
    for i, stay in enumerate(device.stays):
        ticks = [k for k in range(T) if stay.arrive_tick <= now + k < stay.depart_tick]
        if not ticks:
            continue
        first, end = ticks[0], ticks[-1] + 1
        begin = cast(Charge, seen.state).energy_kwh if first == 0 else stay.arrival_kwh
        own.rows.add(own.e[first] == begin)
        for k in ticks:
            stored = dt * (device.eta_charge * own.c[k] - own.d[k] / device.eta_discharge)
            own.rows.add(own.e[k + 1] == own.e[k] + stored)
            own.rows.add(own.e[k + 1] >= min(device.soc_min * device.capacity_kwh, begin))
            own.rows.add(own.e[k + 1] <= device.capacity_kwh)
        left_h = (stay.depart_tick - now - end) * dt  # 0 where it departs within the horizon
        wanted = stay.departure_kwh - device.eta_charge * device.p_charge_kw * left_h
        own.rows.add(own.e[end] + own.missing[i] >= wanted)
    c, d = [own.c[k] for k in range(T)], [own.d[k] for k in range(T)]
    missing = sum(own.missing[i] for i in range(len(device.stays)))
    return Text(
        draw=[own.c[k] - own.d[k] for k in range(T)],
        size_kw=own.c[0] + own.d[0],
        most_kw=max(device.p_charge_kw, out_kw),
        cost=prices.rho(device.eta_charge) * missing + dt * prices.wear_price_per_kwh * sum(c + d),
        discharge=d if device.v2g else None,
        decisions={"p_charge_kw": c, "p_discharge_kw": d},
    )


@add.register(HeatPump)
def _heat_pump(device: HeatPump, m: pyo.ConcreteModel, seen: Seen, dt: float, prices: Prices) -> Text:
    import pyomo.environ as pyo

    own, T = _own(m, seen), len(prices.import_price_per_kwh)
    C, U = device.capacity_kwh_per_k, device.loss_kw_per_k
    a = np.exp(-dt * U / C)
    g = (1 - a) / U if U > 0 else dt / C

    def at(values: Any, k: int) -> float:
        return float(values[seen.tick + k] if np.ndim(values) else values)

    own.p = pyo.Var(range(T), bounds=(0, device.p_max_kw))
    own.theta = pyo.Var(range(T + 1))
    own.outside = pyo.Var(range(T), within=pyo.NonNegativeReals)  # kelvins, either way
    own.start = pyo.Constraint(expr=own.theta[0] == cast(float, seen.state))

    @own.Constraint(range(T))
    def dynamics(o: Any, k: int) -> Any:
        heat = device.cop * o.p[k] - at(device.heat_kw, k)
        return o.theta[k + 1] == a * o.theta[k] + (1 - a) * at(device.ambient_c, k) + g * heat

    own.cold = pyo.Constraint(
        range(T), rule=lambda o, k: o.outside[k] >= device.comfort_lo_c - o.theta[k + 1]
    )
    own.hot = pyo.Constraint(range(T), rule=lambda o, k: o.outside[k] >= o.theta[k + 1] - device.comfort_hi_c)
    p = [own.p[k] for k in range(T)]
    price = dt * device.comfort_price_per_kh
    return Text(
        draw=p,
        size_kw=p[0],
        most_kw=device.p_max_kw,
        cost=price * sum(own.outside[k] for k in range(T)),
        decisions={"p_kw": p},
    )


@add.register(Appliance)
def _appliance(device: Appliance, m: pyo.ConcreteModel, seen: Seen, dt: float, prices: Prices) -> Text:
    import pyomo.environ as pyo

    own, T, n = _own(m, seen), len(prices.import_price_per_kwh), device.run_ticks
    state, price = cast(Progress, seen.state), prices.import_price_per_kwh
    own.y = pyo.Var(range(T), within=pyo.Binary)
    own.later, own.missed = pyo.Var(within=pyo.Binary), pyo.Var(within=pyo.Binary)
    run = device.runs[state.run] if state.run < len(device.runs) and not state.left else None
    latest = run.end_tick - n - seen.tick if run else -1
    for k in range(T):
        if run is None or not run.earliest_tick - seen.tick <= k <= latest:
            own.y[k].fix(0)
    if latest < T:
        own.later.fix(0)
    if run is None:
        own.missed.fix(0)
    else:
        own.once = pyo.Constraint(expr=sum(own.y[k] for k in range(T)) + own.later + own.missed == 1)
    on = [sum(own.y[j] for j in range(T) if j <= k < j + n) + int(k < state.left) for k in range(T)]
    worst = 10 * n * max(0.1, float(np.abs(price).max()))
    behind = sum(max(0, k + n - T) * own.y[k] for k in range(T)) + n * own.later
    drawn = [device.p_kw * expression for expression in on]
    return Text(
        draw=drawn,
        size_kw=drawn[0],
        most_kw=device.p_kw,
        cost=dt * device.p_kw * (float(price.mean()) * behind + worst * own.missed),
        decisions={"start": [own.y[k] for k in range(T)], "later": [own.later], "missed": [own.missed]},
    )
