"""`compile`: the table of contents of the DMS problem (2).

Structure (which variables, which rows, which coefficients) is compiled once per feeder, norm,
weights and limits; `DmsProblem.at` gives the numbers of a tick.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from dms import devices
from dms.builder import Builder
from dms.certificate import measure, run
from dms.controls import Controls, ControlValues, add_move_cost, add_positions, set_position_numbers
from dms.devices.inverter import add_q_cost, require_rated_voltage
from dms.limits import Limits, LimitValues, apply_limits, set_limit_numbers
from dms.network import Network
from dms.norms import MAX_ALPHA, NORMS, UNWEIGHTED, follow, needs_request, reweighted
from dms.norms import set_numbers as set_norm_numbers
from dms.powerflow import PowerFlow
from dms.program import Numbers, Program
from dms.regimes import Regimes
from dms.request import CurtailUnit, DmsRequest, Units
from dms.scaling import KW_PER_PU
from dms.weights import checked, resolve
from feeders import Connections, Feeder
from feeders.checks import require_ok
from feeders.elements.connections import follows_voltage, has_volt_watt
from feeders.table import Array

PEAK_TOL = 0.01
"""Default of peak_tol: 1 % more peak than the least."""
ALPHA = 1.0
"""Default of alpha: proportional fairness."""
TRIFLE = 1e-5
"""Share of the tick's largest export below which one is granted."""


@dataclass(frozen=True)
class DmsProblem:
    """A compiled problem: read-only structure, shared by all ticks.

    weights  (n_units,)  w of the norm, > 0
    values   limits as compiled, before any pre-existing violation is taken into account
    controls taps and capacitor steps that may be moved
    added    blocks of variables and rows that a user added to the text (`dms.reference.compile`)
    peak_tol relative, by which the two-stage norms may exceed the least peak
    alpha    of the norm alpha_fair
    """

    feeder: Feeder
    norm: str
    limits: Limits
    weights: Array
    units: Units
    values: LimitValues
    controls: ControlValues
    program: Program
    added: tuple[str, ...] = ()
    peak_tol: float = PEAK_TOL
    alpha: float = ALPHA

    def at(
        self,
        request: DmsRequest,
        values: LimitValues | None = None,
        regimes: Regimes | None = None,
        *,
        base: Array | None = None,
        position: Array | None = None,
        free: Array | bool = False,
    ) -> Numbers:
        """Numbers of one tick: bounds from the request and the limits in force.

        regimes   which of its laws a load obeys; default: that inside its band
        base      (n_controls,) where the controls come from; None: as the feeder has them
        position  (n_controls,) where they are held; None: at the base
        free      (n_controls,) bool, those that may move within a tick's reach of the base
        """
        numbers = self.program.numbers.copy()
        for device in devices.in_feeder(self.feeder):
            device.set_numbers(self.feeder, self.program, request, numbers, regimes or Regimes())
        set_limit_numbers(self.program, values or self.limits_at(request), numbers)
        if len(self.controls):
            base = self.controls.present(self.feeder) if base is None else base
            position, free = base if position is None else position, np.broadcast_to(free, base.shape)
            set_position_numbers(self.controls, self.program, base, position, free, numbers)
        set_norm_numbers(self.program, _most(request), numbers)
        if not needs_request(self.program):
            _grant_trifles(self.program, numbers)
        return numbers

    def limits_at(self, request: DmsRequest, network: Network | None = None) -> LimitValues:
        """Limits of a tick before any is widened: a band around the base state is put there.

        network  the circuit that the base state is found in; default: controls as the feeder has them.
                 Where it has no power flow at zero export, limits around it are never kept
        """
        if not self.values.unresolved:
            return self.values
        network = network or self.network
        base = run(network, request, request.p_export_kw)
        return (
            self.values.around(measure(network, base, self.values).found) if base.converged else self.values
        )

    def objective(self, unit_curtail_kw: Array, request: DmsRequest | None = None) -> float:
        """(2a): the norm of a curtailment (n_units,), of MW (squared for l2).

        Of a norm with several stages, the last one's: the weighted total of linf_l1, the squares of linf_l2.
        proportional: the share of the requests; alpha_fair: the utility lost.
        Raises  ValueError  proportional and alpha_fair count against the request, and there is none
        """
        return self.objectives(unit_curtail_kw, request)[-1]

    def objectives(self, unit_curtail_kw: Array, request: DmsRequest | None = None) -> tuple[float, ...]:
        """The objective of every stage at a curtailment (n_units,), of MW (squared where it has squares)."""
        program = self.program
        if request is None and needs_request(program):
            raise ValueError(f"norm {self.norm} counts against what was asked; give the request")
        x = np.zeros(program.n)
        x[program.variables["p_curtail"].span] = unit_curtail_kw / KW_PER_PU
        follow(program, x, self.weights, np.zeros(len(self.weights)) if request is None else _most(request))
        return tuple(program.for_stage(k).objective(x) for k in range(program.stages))

    def weighted(self, weights: Array) -> DmsProblem:
        """The same problem with other weights (n_units,); solutions of one are warm starts of the other.

        Raises  ValueError  a norm that takes no weights, one that is not positive, or more than 1e4 apart
        """
        if self.norm in UNWEIGHTED:
            raise ValueError(f"norm {self.norm} takes no weights")
        w = checked(self.units, weights)
        other = replace(self, weights=w, program=reweighted(self.program, self.weights, w))
        # The circuit is the same: what was prepared of it serves both.
        vars(other).update({k: v for k, v in vars(self).items() if k in ("network", "power_flow")})
        return other

    def voltages_v(self, x: Array) -> Array:
        """Complex voltages (n_nodes + 1,) at a point of the programme, volt, earth first."""
        blocks, base = self.program.variables, self.feeder.v_base_v
        v = np.zeros(len(base), dtype=complex)
        v[1:] = (x[blocks["v_re"].span] + 1j * x[blocks["v_im"].span]) * base[1:]
        return v

    def laws(self, numbers: Numbers) -> bytes:
        """The laws that loads and injections follow under a tick's numbers, to tell them apart."""
        given, rows = self.program.columns("given"), self.law_rows
        return numbers.x_lo[given].tobytes() + numbers.row_lo[rows].tobytes()

    @cached_property
    def law_rows(self) -> Array:
        """Rows that hold the laws of loads and injections: those with a regime are among them."""
        rows = self.program.row_indices("power")
        caps = self.program.rows.get("volt_watt")
        return rows if caps is None else np.concatenate([rows, caps.index])

    def moved_inverters(self, gap: Array) -> Array:
        """(n_connections,) largest entry of a `law_gap` in the curves of every inverter."""
        worst, t = np.zeros(len(self.units.of_connection)), self.feeder[Connections]
        for row, mine in (("volt_var", t.q_mode == "volt_var"), ("volt_watt", has_volt_watt(t))):
            if row in self.program.rows:
                worst[mine] = np.maximum(worst[mine], gap[self.program.rows[row].span])
        return worst

    def q_set_kvar(self, x: Array) -> Array:
        """(n_connections,) reactive power at a point of the programme where it is free, 0 elsewhere."""
        q = np.zeros(len(self.units.of_connection))
        if "q_free" in self.program.variables:
            free = self.feeder[Connections].q_mode == "free"
            q[free] = x[self.program.variables["q_free"].span] * KW_PER_PU
        return q

    def law_gap(self, x: Array, one: Numbers, other: Numbers) -> Array:
        """Difference at x, per unit, of every row of `Program` between two sets of numbers."""
        given = self.program.columns("given")
        gaps = []
        for numbers in (one, other):
            x = x.copy()
            x[given] = numbers.x_lo[given]
            gaps.append(self.program.constraints(x) - numbers.row_lo)
        with np.errstate(invalid="ignore"):
            return np.abs(gaps[0] - gaps[1])

    def request(self, p_export_kw: Array, **given: Array) -> DmsRequest:
        """A tick's request with this problem's curtailment units; see `DmsRequest.of`."""
        return DmsRequest.of(self.feeder, p_export_kw, units=self.units, **given)

    @cached_property
    def network(self) -> Network:
        """The independent circuit for screens and certificates, controls as the feeder has them."""
        network = Network(self.feeder)
        for rated in self.values.rated:  # no tick's work
            network.terminals(rated.of, rated.place)
        return network

    def network_at(self, position: Array) -> Network:
        """The independent circuit with the controls at a position (n_controls,)."""
        if np.array_equal(position, self.controls.present(self.feeder)):
            return self.network
        return Network(self.controls.apply(self.feeder, position))

    @cached_property
    def power_flow(self) -> PowerFlow:
        """Newton power flow on the programme's own equality rows, for start points."""
        return self.program.once("power_flow", lambda: PowerFlow(self.program))


def compile(
    feeder: Feeder,
    *,
    norm: str = "l2",
    limits: Limits | None = None,
    weights: Mapping[str, float] | None = None,
    curtail_unit: CurtailUnit = "prosumer",
    controls: Controls | None = None,
    peak_tol: float = PEAK_TOL,
    alpha: float = ALPHA,
) -> DmsProblem:
    """(2): minimise the norm of the curtailment subject to the three-phase AC model and limits.

    weights       by name of a prosumer, or (curtail_unit "connection") of a connection, pv#2; default 1
    curtail_unit  "prosumer": one curtailment split by the shares; "connection": one each
    controls      taps and capacitor steps that may be moved; default none
    peak_tol      how much the two-stage norms may exceed the least peak, relative
    alpha         of alpha_fair: 0 least total, 1 proportional fairness, large: nearly max-min

    Raises  KeyError    unknown norm, a weight for an unknown unit, an unknown control
            ValueError  a control that cannot move or is named twice, a weight that is not positive,
                        weights more than 1e4 apart (no optimiser serves both ends) or for a norm that
                        takes none, a peak_tol not from 0 to 1, an alpha not from 0 to 4, or no connection
            FeederError the feeder has errors, all of them named
            UnsupportedError  an element that has no law here yet
    """
    _check_norm(norm, peak_tol, alpha)
    limits = limits or Limits()
    units = Units.of(feeder[Connections], curtail_unit)
    w = resolve(feeder[Connections], units, weights or {})
    if norm in UNWEIGHTED and np.ptp(w) > 0:
        raise ValueError(f"norm {norm} cuts the same share for all and takes no weights; use linf with them")
    require_ok(feeder)
    devices.check_supported(feeder)
    values = LimitValues.resolve(feeder, limits)
    if not len(units.name):
        raise ValueError(f"feeder {feeder.name} has no connection, so there is nothing to curtail")

    moved = ControlValues.resolve(feeder, controls or Controls())
    b = Builder(feeder, units, moved, alpha)
    b.add_voltages()
    if len(moved):
        add_positions(moved, b)  # (2k)
    for device in devices.in_feeder(feeder):
        device.build(feeder, b)
    b.close_kcl()  # (2b)-(2e)
    apply_limits(values, b)  # (2j), (2m)
    NORMS[norm](b, b.variables("p_curtail"), w)  # (2a) by (4), (5) or (6)
    if len(moved):
        add_move_cost(b)
    add_q_cost(b, feeder[Connections])
    problem = DmsProblem(
        feeder, norm, limits, w, units, values, moved, b.finish(), peak_tol=peak_tol, alpha=alpha
    )
    if follows_voltage(feeder[Connections]).any():
        idle = problem.network.solve(np.zeros((0, 2), dtype=int), np.zeros(0))
        require_rated_voltage(feeder[Connections], idle.v)
    return problem


def _check_norm(norm: str, peak_tol: float, alpha: float) -> None:
    if norm not in NORMS:
        raise KeyError(f"unknown norm {norm!r}; known: {', '.join(NORMS)}")
    if not 0 <= peak_tol <= 1:
        raise ValueError(f"peak_tol = {peak_tol:g}: give a number from 0 to 1, such as {PEAK_TOL:g}")
    if not 0 <= alpha <= MAX_ALPHA:
        raise ValueError(f"alpha = {alpha:g}: give a number from 0 to {MAX_ALPHA:g}")


def _grant_trifles(program: Program, numbers: Numbers) -> None:
    """Exports that are nothing beside the largest are not cut: boxes of all sizes stop every optimiser."""
    span = program.variables["p_curtail"].span
    most = numbers.x_hi[span]
    numbers.x_hi[span] = np.where(most < TRIFLE * most.max(initial=0.0), 0.0, most)


def _most(request: DmsRequest) -> Array:
    """Largest curtailment (n_units,), per unit."""
    most: Array = request.units.unit_export_kw(request.p_export_kw) / KW_PER_PU
    return most
