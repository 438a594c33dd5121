"""Power flow with loads that follow the voltage: laws over random loads on a small feeder."""

from typing import Any

import numpy as np
import pytest

from dms.network import Network, _slopes
from dms.pairs import injected_current
from feeders import Feeder, Generators, Loads, Reactors, library
from feeders.elements import LOAD_MODELS, loads

SEEDS = range(6)


@pytest.fixture(scope="module")
def feeder() -> Feeder:
    return library.load("ieee4")


def random_loads(feeder: Feeder, seed: int, models: tuple[str, ...] = LOAD_MODELS, **more: Any) -> Loads:
    """One load per node of the low side, wye or delta in turn, with random laws."""
    rng = np.random.default_rng(seed)
    base = feeder.v_base_v
    low = np.flatnonzero((np.arange(len(base)) > 0) & (base < base.max() * 0.9))
    pair = np.array([[low[k], low[k - 1] if k % 2 and len(low) > 1 else 0] for k in range(len(low))])
    n, delta = len(pair), pair[:, 1] > 0
    columns: dict[str, Any] = {
        "v_nom_kv": base[pair[:, 0]] / 1e3 * np.where(delta, 3**0.5, 1.0),
        "zip": rng.uniform(0, 0.6, (n, 6)),
        "cvr_p": rng.uniform(0.2, 2, n),
        "cvr_q": rng.uniform(0.2, 4, n),
        **more,
    }
    return Loads(
        name=np.array([f"load{k}" for k in range(n)]),
        pair=pair,
        p_kw=rng.uniform(5, 60, n),
        q_kvar=rng.uniform(-10, 30, n),
        model=rng.choice(np.array(models, dtype=object), n),
        **columns,
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_solution_draws_what_the_law_says(feeder: Feeder, seed: int) -> None:
    """The power that the loads draw at the solution, as constant power, gives the same solution."""
    table = random_loads(feeder, seed, v_min_pu=np.full(6, 0.97), v_low_pu=np.full(6, 0.4))
    network = Network(feeder.with_tables(table))
    flow = network.solve_loads()
    assert flow.converged
    s = loads.power_va(table, flow.v[table.pair[:, 0]] - flow.v[table.pair[:, 1]])
    again = network.solve(table.pair, -s)
    assert again.v == pytest.approx(flow.v, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_constant_power_is_the_old_solution(feeder: Feeder, seed: int) -> None:
    table = random_loads(feeder, seed, ("constant_power",))
    network = Network(feeder.with_tables(table))
    s = (table.p_kw + 1j * table.q_kvar) * 1e3
    assert (network.solve_loads().v == network.solve(table.pair, -s).v).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_constant_impedance_is_a_reactor(feeder: Feeder, seed: int) -> None:
    table = random_loads(feeder, seed, ("constant_impedance",))
    z = (table.v_nom_kv * 1e3) ** 2 / np.conj((table.p_kw + 1j * table.q_kvar) * 1e3)
    as_reactors = Reactors(name=table.name, pair=table.pair, z_ohm=z)
    none = Loads.empty()
    a = Network(feeder.with_tables(table)).solve_loads()
    b = Network(feeder.with_tables(none, as_reactors)).solve_loads()
    assert a.v == pytest.approx(b.v, rel=1e-9, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_generator_is_a_negative_load(feeder: Feeder, seed: int) -> None:
    table = random_loads(feeder, seed, ("constant_power", "constant_current", "constant_impedance"))
    kept = {"name": table.name, "unit": table.name, "pair": table.pair, "model": table.model}
    made = Generators(p_kw=-table.p_kw, q_kvar=-table.q_kvar, v_nom_kv=table.v_nom_kv, **kept)
    a = Network(feeder.with_tables(table)).solve_loads()
    b = Network(feeder.with_tables(Loads.empty(), made)).solve_loads()
    assert a.v == pytest.approx(b.v, rel=1e-10, abs=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_slopes_of_the_injected_current(feeder: Feeder, seed: int) -> None:
    """dJ = a du + b conj(du), against central differences in both directions."""
    table = random_loads(feeder, seed)
    rng = np.random.default_rng(seed)
    u = table.v_nom_kv * 1e3 * rng.uniform(0.9, 1.1, len(table)) * np.exp(1j * rng.uniform(0, 6, len(table)))

    def power(u: np.ndarray) -> np.ndarray:
        return -loads.power_va(table, u)

    a, b = _slopes(power, u)
    for step in (1e-4, 1e-4j):
        change = (injected_current(power, u + step) - injected_current(power, u - step)) / 2
        assert a * step + b * np.conj(step) == pytest.approx(change, rel=1e-5, abs=1e-12)
