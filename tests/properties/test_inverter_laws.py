"""Modes of inverters on seeded random feeders: certified answers on the exact curves, and what they cost.

Limits are put between the state at zero export and the state at the requests with inverters at unity.
"""

from dataclasses import dataclass, field

import numpy as np
import pytest

from dms import DmsProblem, DmsRequest, DmsSolution, Limits, LimitValues, Network, Status, compile, solve
from dms.certificate import measure, run
from feeders import Connections, Feeder, Inverters, library
from feeders.elements.loads import per_unit

SEEDS = (0, 6, 8, 11, 15, 20)
"""Those whose highest voltage is out on the feeder, and rises by 0.01 at a few times the PV."""
NORMS = ("l1", "l2")
OF_S = 1e-6
NEIGHBOURS = 5e-3
"""Relative: a local optimum against another mode's."""


@dataclass
class Case:
    """A feeder whose inverters are rated 1.03 times the request, and a limit that unity breaks."""

    feeder: Feeder
    export_kw: np.ndarray
    limits: Limits
    v_rest: float
    v_full: float
    _solved: dict[tuple[str, str], tuple[DmsProblem, DmsRequest, DmsSolution]] = field(default_factory=dict)

    @staticmethod
    def of(seed: int) -> "Case":
        rng = np.random.default_rng(seed)
        phases = ("mixed", "three")[seed % 2]
        feeder = library.synthetic(12, seed, meshed=0.2, phases=phases, delta_share=0.4, prosumers=0.6)
        export_kw = feeder[Connections].p_pv_max_kw * rng.uniform(0.8, 1.2, len(feeder[Connections]))
        network, values = Network(feeder), LimitValues.resolve(feeder, Limits(v_min_pu=0.5, v_max_pu=2.0))
        rest = measure(network, run(network, DmsRequest.of(feeder, 0 * export_kw)), values)
        for _ in range(6):
            full = measure(network, run(network, DmsRequest.of(feeder, export_kw)), values)
            if full.v_pu.max() > rest.v_pu.max() + 0.01:
                break
            export_kw = 1.3 * export_kw
        low, high = rest.v_pu.max(), full.v_pu.max()
        rated = feeder[Connections].replace(s_inverter_kva=1.03 * export_kw)
        limits = Limits(v_min_pu=0.5, v_max_pu=low + 0.15 * (high - low), current=False)
        return Case(feeder.with_tables(rated), export_kw, limits, low, high)

    def rules(self, mode: str) -> Inverters:
        """Curves that fall between the voltages at zero and at full export."""
        low, rise = self.v_rest, self.v_full - self.v_rest
        corners = low + rise * np.array([-3.0, 0.0, 0.2, 2.0])
        var = tuple(zip(corners, (0.1, 0.0, 0.0, -0.3), strict=True))
        watt = ((low + 0.2 * rise, 1.0), (low + 2.0 * rise, 0.2)) if mode == "volt_watt" else None
        name = "volt_var" if mode == "volt_watt" else mode
        return Inverters(name, power_factor=-0.98, volt_var=var, volt_watt=watt)

    def solved(self, mode: str, norm: str) -> tuple[DmsProblem, DmsRequest, DmsSolution]:
        if (mode, norm) not in self._solved:
            problem = compile(self.rules(mode).on(self.feeder), norm=norm, limits=self.limits)
            request = problem.request(self.export_kw)
            self._solved[mode, norm] = problem, request, solve(problem, request).raise_for_status()
        return self._solved[mode, norm]


@pytest.fixture(scope="module", params=SEEDS)
def case(request: pytest.FixtureRequest) -> Case:
    return Case.of(request.param)


MODES = ("unity", "constant", "power_factor", "volt_var", "volt_watt", "free")


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("mode", MODES)
def test_certified_and_inside_the_rating(case: Case, mode: str, norm: str) -> None:
    problem, request, solution = case.solved(mode, norm)
    assert solution.status in (Status.CURTAILED, Status.GO_AHEAD)
    assert solution.certificate.safe == "yes"
    assert solution.certificate.worst_s <= OF_S
    t = problem.feeder[Connections]
    s = np.hypot(solution.p_adjusted_kw, solution.q_kvar)
    assert (s <= t.s_inverter_kva * (1 + OF_S)).all()
    held = request.holding(solution.q_set_kvar)
    flow = run(problem.network, held, solution.p_curtail_kw)
    assert measure(problem.network, flow, problem.values).within(1e-6, 1e-6)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("mode", ["volt_var", "volt_watt", "power_factor"])
def test_reactive_power_is_on_its_curve_in_the_power_flow(case: Case, mode: str, norm: str) -> None:
    """Voltages of the independent power flow, the curve interpolated anew, and the optimiser's own Q."""
    problem, _, solution = case.solved(mode, norm)
    t, s = problem.feeder[Connections], problem.feeder[Connections].s_inverter_kva
    v = solution.state.flow.v
    w = per_unit(t.v_nom_kv, v[t.pair[:, 0]] - v[t.pair[:, 1]])
    if mode == "power_factor":
        expected = -np.sqrt(1 / 0.98**2 - 1) * solution.p_adjusted_kw
    else:
        expected = s * np.array([np.interp(x, *points.T) for x, points in zip(w, t.volt_var, strict=True)])
    assert np.abs(solution.q_kvar - expected).max() <= OF_S * s.max()
    if mode == "volt_watt":
        cap = s * np.array([np.interp(x, *points.T) for x, points in zip(w, t.volt_watt, strict=True)])
        assert (solution.p_adjusted_kw <= cap + OF_S * s).all()
    if solution.point is not None and mode != "power_factor":
        own = solution.point.x[problem.program.variables["q_inverter"].span] * 1e3
        assert np.abs(own - expected).max() <= OF_S * s.max()


@pytest.mark.parametrize("norm", NORMS)
def test_free_reactive_power_never_curtails_more(case: Case, norm: str) -> None:
    """It may do what unity and constant do; a curve, too, stays inside the same circle."""
    power = 2 if norm == "l2" else 1
    cut = {mode: float((case.solved(mode, norm)[2].p_curtail_kw ** power).sum()) for mode in MODES}
    assert cut["unity"] > 1.0
    for mode in ("unity", "constant", "power_factor", "volt_var"):
        assert cut["free"] <= cut[mode] * (1 + NEIGHBOURS) + (1e-5 * case.export_kw.sum()) ** power


def test_zero_export_asks_for_nothing(case: Case) -> None:
    for mode in MODES:
        problem, request, _ = case.solved(mode, "l2")
        solution = solve(problem, request.without_export())
        assert (solution.status, solution.total_curtailed_kw) == (Status.GO_AHEAD, 0.0)
