"""The laws of loads and generators by regime, against the whole laws that the power flow uses."""

import numpy as np
import pytest

from dms.devices import generator, load
from dms.devices.voltage_law import Law
from feeders import Generators, Loads
from feeders.elements import generators, loads
from feeders.elements.generators import GENERATOR_MODELS
from feeders.elements.loads import LOAD_MODELS

N = 4000


def _factors(law: Law, w: np.ndarray, exponents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return tuple(
        (coef * np.stack([np.ones(N), w, w**2, w ** exponents[:, k]], axis=1)).sum(axis=1)
        for k, coef in enumerate((law.p, law.q))
    )


def _names(n: int) -> np.ndarray:
    return np.array([f"row {k}" for k in range(n)], dtype=object)


@pytest.mark.parametrize("model", LOAD_MODELS)
def test_every_load_model_in_every_regime(model: str) -> None:
    rng = np.random.default_rng(LOAD_MODELS.index(model))
    low = rng.choice([0.0, 0.5, 0.7], N)
    table = Loads(
        name=_names(N),
        pair=np.tile([1, 0], (N, 1)),
        p_kw=rng.normal(size=N),
        q_kvar=rng.normal(size=N),
        model=np.array([model] * N, dtype=object),
        v_nom_kv=np.full(N, 0.24),
        zip=rng.dirichlet([1, 1, 1, 1, 1, 1], N) * 2,
        cvr_p=rng.choice([0.0, 0.4, 1.0, 2.0, 3.1], N),
        cvr_q=rng.choice([0.0, 0.6, 1.0, 2.0, 4.5], N),
        v_low_pu=low,
        v_min_pu=low + rng.choice([0.0, 0.2, 0.3], N),
        v_max_pu=rng.choice([1.02, 1.05, 1.3, np.inf], N),
        v_cutoff_pu=rng.choice([0.0, 0.8], N),
    )
    w = rng.uniform(0.3, 1.4, N)
    exponents = np.stack([table.cvr_p, table.cvr_q], axis=1)
    p, q = _factors(load.regime_law(table, w), w, exponents)
    whole = loads.power_va(table, w * 240.0)
    np.testing.assert_allclose(p * table.p_kw * 1e3, whole.real, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(q * table.q_kvar * 1e3, whole.imag, rtol=1e-9, atol=1e-9)
    assert np.unique(np.round(p, 6)).size > 1


@pytest.mark.parametrize("model", GENERATOR_MODELS)
def test_every_generator_model_in_every_regime(model: str) -> None:
    rng = np.random.default_rng(7)
    table = Generators(
        name=_names(N),
        unit=_names(N),
        pair=np.tile([1, 0], (N, 1)),
        p_kw=rng.normal(size=N),
        q_kvar=rng.normal(size=N),
        model=np.array([model] * N, dtype=object),
        v_nom_kv=np.full(N, 0.24),
        v_min_pu=rng.choice([0.0, 0.9], N),
        v_max_pu=rng.choice([1.1, np.inf], N),
    )
    w = rng.uniform(0.3, 1.4, N)
    p, q = _factors(generator.regime_law(table, w), w, np.zeros((N, 2)))
    whole = generators.power_va(table, w * 240.0)
    np.testing.assert_allclose(p * table.p_kw * 1e3, whole.real, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(q * table.q_kvar * 1e3, whole.imag, rtol=1e-9, atol=1e-9)
