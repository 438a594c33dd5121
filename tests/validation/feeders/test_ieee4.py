"""The 4-node feeder against published voltages and OpenDSS."""

from typing import Any

import numpy as np
import pytest

from dms.network import Flow, Network
from feeders import Feeder, Loads, library

PUBLISHED_V = [1917.76, 2061.26, 1980.76]
"""Magnitudes at the three loads that GridLAB-D gives for this feeder."""


EXPORT_KW = [-540.0, -2700.0, 1800.0]
"""Scenario of the case study: 30 % and 150 % of the load exported, the third load as it is."""


def solve(feeder: Feeder, p_kw: list[float], q_share: tuple[float, float, float] = (1, 1, 1)) -> Flow:
    """Power flow with other kW, and reactive power as a part of the base."""
    loads = feeder[Loads]
    return Network(feeder).solve(loads.pair, -(np.array(p_kw) + 1j * loads.q_kvar * q_share) * 1e3)


def test_published_voltages() -> None:
    feeder = library.load("ieee4")
    flow = solve(feeder, [1800.0] * 3)
    assert flow.converged
    assert np.abs(flow.v[feeder[Loads].pair[:, 0]]) == pytest.approx(PUBLISHED_V, rel=1e-4)


@pytest.mark.parametrize("p_kw", [[1800.0] * 3, EXPORT_KW], ids=["base", "export"])
def test_against_opendss(opendss: Any, feeder_folder: Any, p_kw: list[float]) -> None:
    """2e-8 per unit; the engine's mu0 has seven digits."""
    opendss.compile(feeder_folder("4Bus-YY-Bal") / "4Bus-YY-Bal.DSS")
    feeder = library.load("ieee4")
    opendss.run("load.load1.enabled=no")
    for k, (p, q) in enumerate(zip(p_kw, feeder[Loads].q_kvar, strict=True)):
        limits = "model=1 vminpu=0.3 vmaxpu=2"
        opendss.run(f"new load.part{k} phases=1 bus1=n4.{k + 1} kv=2.4018 kw={p} kvar={q:.14g} {limits}")
    opendss.solve()
    flow = solve(feeder, p_kw)
    assert flow.converged
    for name, theirs in opendss.voltages().items():
        node = feeder.node(name.replace("sourcebus", "n1"))
        assert abs(flow.v[node] - theirs) / feeder.v_base_v[node] < 1e-7


@pytest.mark.parametrize(
    ("q_share", "v_pu"), [((1, 1, 1), [1.158, 0.957, 0.594]), ((0, 0, 0), [1.220, 1.023, 0.769])]
)
def test_export_far_beyond_the_limits_is_still_solved(q_share: Any, v_pu: list[float]) -> None:
    feeder = library.load("ieee4")
    flow = solve(feeder, EXPORT_KW, q_share)
    assert flow.converged
    node = feeder[Loads].pair[:, 0]
    assert np.abs(flow.v / feeder.v_base_v)[node] == pytest.approx(v_pu, abs=5e-4)


def test_no_solution_is_reported_not_raised() -> None:
    """Unity power factor at the two exports only, or ten times the load: there is no power flow."""
    feeder = library.load("ieee4")
    assert not solve(feeder, EXPORT_KW, (0, 0, 1)).converged
    assert not solve(feeder, [18_000.0] * 3).converged
