"""Problem (1) as Pyomo text, solved by HiGHS: slow and obvious; test oracle and `backend="pyomo"`.

The formulas of (1) are missing from the copy of the paper used here. *Sure* below means: follows from its
text and symbols; *likely*: the usual form of what its text describes; *added*: not in the paper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hems.certificate import RawPlans, Solutions, complete
from hems.config import HemsConfig, TieBreak
from hems.devices.device import Seen
from hems.devices.reference import Prices, add
from hems.model import Problems

if TYPE_CHECKING:
    import pyomo.environ as pyo

Floats = NDArray[np.float64]

_COST_SLACK = 1e-9  # in units of max(1 $, |cost|): what a tie-break may cost, being no more than rounding


@dataclass(frozen=True, kw_only=True)
class HomeNumbers:
    """The data of (1) for one home, in the words of the paper where it has any; (T,) arrays and scalars.

    net_load_kw             L - PV
    export_lo_kw            0, or the AES where one is in force
    over_import_max_kw      import above the limit, where the load alone exceeds it
    keep                    share of the stored energy left after a tick      target_tick  -1: the last
    battery_export, grid_charging   rules, see `hems.Home`                    devices      as they are now
    device_shortfall_price_per_kwh   rho of the devices, None: the default
    """

    dt_h: float
    net_load_kw: Floats
    import_price_per_kwh: Floats
    export_price_per_kwh: Floats
    over_import_price_per_kwh: Floats
    wear_price_per_kwh: float
    shortfall_price_per_kwh: float
    surplus_price_per_kwh: float
    import_max_kw: Floats
    over_import_max_kw: Floats
    export_lo_kw: Floats
    export_max_kw: Floats
    charge_max_kw: Floats
    discharge_max_kw: Floats
    spill_max_kw: Floats
    eta_charge: float
    eta_discharge: float
    soc_kwh: float
    soc_lo_kwh: Floats
    soc_hi_kwh: Floats
    target_kwh: float
    keep: float = 1.0
    target_tick: int = -1
    battery_export: bool = True
    grid_charging: bool = True
    devices: tuple[Seen, ...] = ()
    device_shortfall_price_per_kwh: float | None = None

    @property
    def device_prices(self) -> Prices:
        """What the devices need of the tariff."""
        return Prices(
            import_price_per_kwh=self.import_price_per_kwh,
            wear_price_per_kwh=self.wear_price_per_kwh,
            shortfall_price_per_kwh=self.device_shortfall_price_per_kwh,
        )


def build_model(n: HomeNumbers) -> pyo.ConcreteModel:
    """Return (1) of one home, binaries included.

    (1a), (1b), (1c) sure    (1d)-(1g) likely    (1h) likely, its binary zg added
    added too: spill s, wear, import `over` the limit, `shortfall` and `surplus` at the end, and all of
    self-discharge, other target ticks, rules for batteries, devices (`hems.devices.reference`)

    gi, over, ge, c, d, s  kW over tick k      e  kWh at the start of tick k
    """
    import pyomo.environ as pyo

    T, dt = len(n.net_load_kw), n.dt_h

    def power(most: Floats, least: Floats | None = None) -> Any:
        low = np.zeros(T) if least is None else least
        return pyo.Var(m.k, bounds=lambda _, k: (low[k], most[k] if np.isfinite(most[k]) else None))

    m = pyo.ConcreteModel()
    m.k = pyo.RangeSet(0, T - 1)
    m.gi, m.over = power(n.import_max_kw), power(n.over_import_max_kw)
    m.ge = power(n.export_max_kw, n.export_lo_kw)
    m.c, m.d, m.s = power(n.charge_max_kw), power(n.discharge_max_kw), power(n.spill_max_kw)
    m.e = pyo.Var(pyo.RangeSet(0, T))
    m.shortfall, m.surplus = pyo.Var(within=pyo.NonNegativeReals), pyo.Var(within=pyo.NonNegativeReals)
    m.z, m.zg = pyo.Var(m.k, within=pyo.Binary), pyo.Var(m.k, within=pyo.Binary)
    m.texts = [add(seen.device, m, seen, dt, n.device_prices) for seen in n.devices]

    pi, pe, over = n.import_price_per_kwh, n.export_price_per_kwh, n.over_import_price_per_kwh
    m.cost = pyo.Objective(  # (1a)
        expr=sum(dt * (pi[k] * m.gi[k] - pe[k] * m.ge[k]) for k in m.k)
        + sum(dt * (n.wear_price_per_kwh * (m.c[k] + m.d[k]) + over[k] * m.over[k]) for k in m.k)
        + n.shortfall_price_per_kwh * m.shortfall
        + n.surplus_price_per_kwh * m.surplus
        + sum(text.cost for text in m.texts)
    )

    @m.Constraint(m.k)
    def balance(m: Any, k: int) -> Any:  # (1b)
        drawn = sum(text.draw[k] for text in m.texts)
        return m.gi[k] + m.over[k] + m.d[k] == m.ge[k] + n.net_load_kw[k] + m.s[k] + m.c[k] + drawn

    @m.Constraint(m.k)
    def dynamics(m: Any, k: int) -> Any:  # (1c)
        return m.e[k + 1] == n.keep * m.e[k] + dt * (n.eta_charge * m.c[k] - m.d[k] / n.eta_discharge)

    m.start = pyo.Constraint(expr=m.e[0] == n.soc_kwh)  # (1d)
    target = T if n.target_tick < 0 else n.target_tick + 1
    m.end = pyo.Constraint(expr=m.e[target] + m.shortfall - m.surplus == n.target_kwh)  # (1d)
    m.charge = pyo.Constraint(m.k, rule=lambda m, k: m.c[k] <= n.charge_max_kw[k] * m.z[k])  # (1e)
    m.discharge = pyo.Constraint(
        m.k, rule=lambda m, k: m.d[k] <= n.discharge_max_kw[k] * (1 - m.z[k])
    )  # (1f)
    m.band = pyo.Constraint(m.k, rule=lambda m, k: (n.soc_lo_kwh[k], m.e[k + 1], n.soc_hi_kwh[k]))  # (1g)
    # What the other powers of a tick can add up to stands in for an infinite limit.
    devices = sum(text.most_kw for text in m.texts)
    most = np.abs(n.net_load_kw) + n.spill_max_kw + n.charge_max_kw + n.discharge_max_kw + devices
    m.inward = pyo.Constraint(m.k, rule=lambda m, k: m.gi[k] + m.over[k] <= most[k] * m.zg[k])  # (1h)
    m.outward = pyo.Constraint(m.k, rule=lambda m, k: m.ge[k] <= most[k] * (1 - m.zg[k]))  # (1h)
    _add_rules(m, n, most)
    return m


def _add_rules(m: pyo.ConcreteModel, n: HomeNumbers, most: Floats) -> None:
    """Add, where a home has them, the rules in the words of their definition, z_r saying which side is 0.

    d_k <= max(L_k - u_k, 0),    c_k <= max(u_k - L_k, 0),    L what else is drawn, u what else is given
    """
    import pyomo.environ as pyo

    def battery(k: int, name: str) -> tuple[Any, Any]:
        """All ruled batteries of the home in one direction, and L - u (+ c - d) without that."""
        own = m.c[k] if name == "charge" else m.d[k]
        ruled = own + sum(getattr(text, name)[k] for text in m.texts if getattr(text, name) is not None)
        net = n.net_load_kw[k] + m.s[k] + m.c[k] - m.d[k] + sum(text.draw[k] for text in m.texts)
        return ruled, net

    m.rules = pyo.ConstraintList()
    m.zr = pyo.Var(["discharge", "charge"], m.k, within=pyo.Binary)
    for name, allowed, sign in (("discharge", n.battery_export, 1), ("charge", n.grid_charging, -1)):
        for k in m.k if not allowed else []:
            ruled, net = battery(k, name)
            m.rules.add(ruled <= most[k] * m.zr[name, k])
            m.rules.add(ruled <= sign * net + ruled + 2 * most[k] * (1 - m.zr[name, k]))


def solve_model(m: pyo.ConcreteModel) -> float | None:
    """Minimise the active objective of `m` to a zero gap; return its lower bound, None without a solution."""
    from pyomo.contrib.appsi.solvers.highs import Highs

    solver = Highs()
    solver.config.load_solution = False
    solver.highs_options = {
        "mip_rel_gap": 0.0,
        "mip_abs_gap": 1e-9,
        "mip_feasibility_tolerance": 1e-9,
        "primal_feasibility_tolerance": 1e-9,
        "dual_feasibility_tolerance": 1e-9,
    }
    results = solver.solve(m)
    if results.best_feasible_objective is None:
        return None
    results.solution_loader.load_vars()
    return float(results.best_objective_bound)


def break_ties(m: pyo.ConcreteModel, tie_break: TieBreak) -> None:
    """Move a solved model to the plan that `tie_break` chooses among the equally cheap ones."""
    import pyomo.environ as pyo

    first: dict[TieBreak, Sequence[Any]] = {
        "least_battery": [],
        "defer_export": [m.ge[0]],
        "export_early": [-m.ge[0]],
    }
    m.kept = pyo.ConstraintList()
    goal = m.cost
    devices = [text.size_kw for text in m.texts]
    for index, expression in enumerate([*first[tie_break], m.c[0] + m.d[0], *devices, m.s[0]]):
        value = pyo.value(goal.expr)
        m.kept.add(goal.expr <= value + _COST_SLACK * max(1.0, abs(value)))
        goal.deactivate()
        goal = pyo.Objective(expr=expression)
        m.add_component(f"tie_{index}", goal)
        if solve_model(m) is None:
            return


def numbers_of(problems: Problems, i: int, config: HemsConfig) -> HomeNumbers:
    """Read the data of home `i` back out of the arrays that the other backends use; devices as they are."""
    structure, cost = problems.structure, problems.cost
    col, row, dt = structure.col, structure.row, structure.dt_h
    lo, hi, rhs = problems.col_lo[i], problems.col_hi[i], problems.rhs[i]
    devices = problems.devices[i] if problems.devices else ()
    return HomeNumbers(
        dt_h=dt,
        net_load_kw=rhs[row.balance],
        import_price_per_kwh=cost[col.p_import_kw] / dt,
        export_price_per_kwh=-cost[col.p_export_kw] / dt,
        over_import_price_per_kwh=cost[col.p_over_import_kw] / dt,
        wear_price_per_kwh=float(cost[col.p_charge_kw.start] / dt),
        shortfall_price_per_kwh=float(cost[col.shortfall_kwh.start]),
        surplus_price_per_kwh=float(cost[col.surplus_kwh.start]),
        import_max_kw=hi[col.p_import_kw],
        over_import_max_kw=hi[col.p_over_import_kw],
        export_lo_kw=lo[col.p_export_kw],
        export_max_kw=hi[col.p_export_kw],
        charge_max_kw=hi[col.p_charge_kw],
        discharge_max_kw=hi[col.p_discharge_kw],
        spill_max_kw=hi[col.p_spill_kw],
        eta_charge=structure.eta_charge,
        eta_discharge=structure.eta_discharge,
        soc_kwh=float(problems.soc_kwh[i]),
        soc_lo_kwh=lo[col.soc_kwh],
        soc_hi_kwh=hi[col.soc_kwh],
        target_kwh=float(rhs[row.terminal.start]),
        keep=structure.keep,
        target_tick=structure.target_tick,
        battery_export=structure.extras.battery_export,
        grid_charging=structure.extras.grid_charging,
        devices=devices,
        device_shortfall_price_per_kwh=config.shortfall_price_per_kwh,
    )


class PyomoBackend:
    """Solve every home through the text above; about a hundred times slower than `hems.lp`.

    Its ties are broken within a cost slack of 1e-9, so that its OES may differ from the exact one where
    prices differ very little.
    """

    def __init__(self, config: HemsConfig) -> None:
        self._config = config

    def solve(self, problems: Problems) -> Solutions:
        """Return the canonical plan of each home with the bound that HiGHS reports for its cost."""
        raw = RawPlans.empty(problems, path="pyomo")
        col = problems.structure.col
        for i in range(len(problems)):
            m = build_model(numbers_of(problems, i, self._config))
            bound = solve_model(m)
            if bound is None:
                continue
            raw.lower_bound[i] = bound
            break_ties(m, self._config.tie_break)
            raw.x[i] = 0.0
            for block, variable in ((col.p_charge_kw, m.c), (col.p_discharge_kw, m.d), (col.p_spill_kw, m.s)):
                raw.x[i, block] = [variable[k].value for k in m.k]
            for placed, text in zip(problems.structure.placed, m.texts, strict=True):
                raw.x[i, placed.cols] = text.point(placed.block)
        return complete(problems, raw)
