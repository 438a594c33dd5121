"""The 342-node network: published and engine values, and its three forms against each other."""

from typing import Any

import numpy as np
import pytest

from dms.network import Flow, Network
from feeders import Feeder, Loads, library

FORMS = ("merged", "parallel", "expanded")


def injections(feeder: Feeder, export: bool) -> np.ndarray:
    """Power into the feeder at every load, volt-ampere; with `export`, scenario 1.

    Load number n exports 150 % of its base kW if n mod 3 is 2 and 30 % if it is 0, and stays a
    load if it is 1; reactive power stays that of the load.
    """
    loads = feeder[Loads]
    factor = np.ones(len(loads))
    if export:
        factor = np.choose(np.arange(1, len(loads) + 1) % 3, [-0.3, 1.0, -1.5])
    return np.asarray(-(loads.p_kw * factor + 1j * loads.q_kvar) * 1e3)


def solve(feeder: Feeder, export: bool = False) -> Flow:
    flow = Network(feeder).solve(feeder[Loads].pair, injections(feeder, export))
    assert flow.converged
    return flow


def per_unit(feeder: Feeder, flow: Flow) -> dict[str, complex]:
    return dict(zip(feeder.node_names[1:], (flow.v / feeder.v_base_v)[1:].tolist(), strict=True))


# Magnitude per unit and angle in degrees, phases 1 to 3, base load.
REFERENCE = {
    "P6": ([1.0264506, 1.0263359, 1.0267728], [-1.60589, -121.58144, 118.41188]),
    "S1": ([0.9955008, 0.9975621, 0.9982865], [-33.13194, -153.16639, 86.84462]),
    "S119": ([1.0068318, 1.0065953, 1.0071340], None),
    "S193": ([1.0124339, 1.0082300, 1.0071063], None),
    "S236": ([0.9962884, 0.9946006, 0.9919643], None),
}


def test_reference_values() -> None:
    feeder = library.load("ieee342")
    v = per_unit(feeder, solve(feeder))
    for bus, (magnitude, degrees) in REFERENCE.items():
        phases = np.array([v[f"{bus}.{k}"] for k in (1, 2, 3)])
        assert np.abs(phases) == pytest.approx(magnitude, abs=1e-7 if bus[0] == "S" else 5e-7)
        if degrees:
            assert np.angle(phases, deg=True) == pytest.approx(degrees, abs=1e-5)
    low = {name: abs(x) for name, x in v.items() if name[0] == "S"}
    assert min(low, key=low.__getitem__) == "S47.1"
    assert max(low, key=low.__getitem__).startswith("S234")
    assert min(low.values()) == pytest.approx(0.9909994, abs=1e-7)
    assert max(low.values()) == pytest.approx(1.0189654, abs=1e-7)


def test_source_power() -> None:
    feeder = library.load("ieee342")
    network = Network(feeder)
    flow = network.solve(feeder[Loads].pair, injections(feeder, export=False))
    ((source, current),) = [(p, i) for p, i in network.terminal_currents(flow) if p.kind == "source"]
    delivered = -(flow.v[source.node] * np.conj(current)).sum()
    assert delivered / 1e6 == pytest.approx(42.760187 + 29.045j, abs=5e-4)


@pytest.mark.parametrize("export", [False, True], ids=["base", "export"])
@pytest.mark.parametrize("form", ["parallel", "expanded"])
def test_forms_agree(form: str, export: bool) -> None:
    merged, other = library.load("ieee342"), library.load("ieee342", form=form)
    v, w = (per_unit(f, solve(f, export)) for f in (merged, other))
    assert max(abs(v[name] - w[name]) for name in v) < 1e-8


@pytest.mark.parametrize("export", [False, True], ids=["base", "export"])
def test_against_opendss(opendss: Any, feeder_folder: Any, export: bool) -> None:
    """1e-6 per unit at every node, 1e-8 at 208 V and 480 V; constant power at every voltage."""
    opendss.compile(feeder_folder("LVTestCaseNorthAmerican") / "Master.dss")
    opendss.run("batchedit load..* vminpu=.5 vmaxpu=1.5")
    feeder = library.load("ieee342")
    s = injections(feeder, export)
    for name, power in zip(feeder[Loads].name, -s / 1e3, strict=True):
        opendss.run(f"edit load.{name} kw={power.real:.12g} kvar={power.imag:.12g}")
    opendss.solve()
    theirs = opendss.voltages()
    flow = solve(feeder, export)
    v = {name.lower(): x for name, x in zip(feeder.node_names, flow.v, strict=True)}
    base = {name.lower(): x for name, x in zip(feeder.node_names, feeder.v_base_v, strict=True)}
    assert set(theirs) == set(v) - {"0"}
    gap = {name: abs(theirs[name] - v[name]) / base[name] for name in theirs}
    assert max(gap.values()) < 1e-6
    assert max(g for name, g in gap.items() if name[0] == "s") < 1e-8
