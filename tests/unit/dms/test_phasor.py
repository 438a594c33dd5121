"""`Phasor` algebra against dense complex matrices, at random points."""

from dataclasses import dataclass

import numpy as np
import pytest

from dms.phasor import Phasor, Products, Terms

N_X = 7
SEEDS = range(5)


@dataclass
class Dense:
    """A phasor and the matrix it stands for."""

    phasor: Phasor
    matrix: np.ndarray


def _random(rng: np.random.Generator, n: int, terms: int = 15) -> Dense:
    """Repeated (row, variable) pairs and empty rows included."""
    row, col = rng.integers(0, n, terms), rng.integers(0, N_X, terms)
    coef = rng.normal(size=terms) + 1j * rng.normal(size=terms)
    return Dense(Phasor(n, row, col, coef), _matrix(Phasor(n, row, col, coef)))


def _matrix(p: Phasor) -> np.ndarray:
    dense = np.zeros((p.n, N_X), dtype=complex)
    np.add.at(dense, (p.row, p.col), p.coef)
    return dense


def _linear(terms: Terms, n: int, x: np.ndarray) -> np.ndarray:
    return np.bincount(terms.row, terms.coef * x[terms.col], n)


def _quadratic(q: Products, n: int, x: np.ndarray) -> np.ndarray:
    return np.bincount(q.row, q.coef * x[q.i] * x[q.j], n)


@pytest.mark.parametrize("seed", SEEDS)
def test_sums_and_differences(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = _random(rng, 4), _random(rng, 4)
    np.testing.assert_allclose(_matrix(a.phasor + b.phasor), a.matrix + b.matrix, atol=1e-14)
    np.testing.assert_allclose(_matrix(a.phasor - b.phasor), a.matrix - b.matrix, atol=1e-14)
    np.testing.assert_allclose(_matrix(-a.phasor), -a.matrix, atol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_times_scales_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = _random(rng, 4)
    by_row = rng.normal(size=4) + 1j * rng.normal(size=4)
    np.testing.assert_allclose(_matrix(a.phasor.times(by_row)), by_row[:, None] * a.matrix, atol=1e-14)
    np.testing.assert_allclose(_matrix(a.phasor.times(-2.5)), -2.5 * a.matrix, atol=1e-14)


@pytest.mark.parametrize("seed", SEEDS)
def test_blocks_multiplies_by_block_diagonal_matrices(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = _random(rng, 6)
    matrices = rng.normal(size=(2, 4, 3)) + 1j * rng.normal(size=(2, 4, 3))
    matrices[rng.random(matrices.shape) < 0.3] = 0
    found = a.phasor.blocks(matrices)
    assert found.n == 8
    wanted = np.einsum("glm,gmx->glx", matrices, a.matrix.reshape(2, 3, N_X)).reshape(8, N_X)
    np.testing.assert_allclose(_matrix(found), wanted, atol=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
def test_take_by_index_and_by_mask(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a = _random(rng, 5)
    rows = np.array([3, 0, 3, 4])
    np.testing.assert_allclose(_matrix(a.phasor.take(rows)), a.matrix[rows], atol=1e-14)
    mask = np.array([True, False, True, True, False])
    np.testing.assert_allclose(_matrix(a.phasor.take(mask)), a.matrix[mask], atol=1e-14)
    assert a.phasor.take(np.zeros(5, dtype=bool)).n == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_stack_puts_one_after_the_other(seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [_random(rng, 3), _random(rng, 2), _random(rng, 4)]
    stacked = Phasor.stack([p.phasor for p in parts[:2]] + [Phasor.zero(1), parts[2].phasor])
    wanted = np.vstack([parts[0].matrix, parts[1].matrix, np.zeros((1, N_X)), parts[2].matrix])
    np.testing.assert_allclose(_matrix(stacked), wanted, atol=0)


@pytest.mark.parametrize("seed", SEEDS)
def test_real_and_imaginary_parts(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, x = _random(rng, 4), rng.normal(size=N_X)
    np.testing.assert_allclose(_linear(a.phasor.re, 4, x), (a.matrix @ x).real, atol=1e-13)
    np.testing.assert_allclose(_linear(a.phasor.im, 4, x), (a.matrix @ x).imag, atol=1e-13)


@pytest.mark.parametrize("seed", SEEDS)
def test_dot_and_cross_are_real_and_reactive_power(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b, x = _random(rng, 4), _random(rng, 4), rng.normal(size=N_X)
    power = (a.matrix @ x) * np.conj(b.matrix @ x)
    np.testing.assert_allclose(_quadratic(a.phasor.dot(b.phasor), 4, x), power.real, atol=1e-12)
    np.testing.assert_allclose(_quadratic(a.phasor.cross(b.phasor), 4, x), power.imag, atol=1e-12)
    squared = _quadratic(a.phasor.dot(a.phasor), 4, x)
    np.testing.assert_allclose(squared, np.abs(a.matrix @ x) ** 2, atol=1e-12)


def test_of_leaves_absent_rows_empty_and_keeps_their_scale() -> None:
    present = np.array([True, False, True])
    p = Phasor.of(np.array([0, 1]), np.array([2, 3]), np.array([10.0, 99.0, 20.0]), present)
    x = np.array([1.0, 2.0, 3.0, 4.0, 0, 0, 0])
    np.testing.assert_allclose(_matrix(p) @ x, [10 + 30j, 0, 40 + 80j])
    one_scale = Phasor.of(np.array([0, 1]), np.array([2, 3]), np.array(2.0), present)
    np.testing.assert_allclose(_matrix(one_scale) @ x, [2 + 6j, 0, 4 + 8j])


def test_zero_is_the_neutral_element() -> None:
    a = _random(np.random.default_rng(0), 3)
    np.testing.assert_array_equal(_matrix(a.phasor + Phasor.zero(3)), a.matrix)
    assert len(a.phasor.dot(Phasor.zero(3)).row) == 0
