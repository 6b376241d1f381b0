"""Matrix square roots against SciPy's, and their gradients against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import solve_sylvester, sqrtm

from nstjax.ops import matrix_square_root, trace_of_square_root


def matrix_of(rng, eigenvalues):
    """A symmetric matrix of these eigenvalues, in float64."""
    turn, _ = np.linalg.qr(rng.standard_normal((len(eigenvalues), len(eigenvalues))))
    return (turn * eigenvalues) @ turn.T


def test_roots_are_scipys(rng):
    matrices = np.stack([matrix_of(rng, scale * np.linspace(0.1, 9, 7)) for scale in (1, 1e-4, 50)])
    expected = np.stack([sqrtm(matrix) for matrix in matrices])
    with jax.enable_x64(True):
        exact = matrix_square_root(jnp.asarray(matrices))
        np.testing.assert_allclose(exact, expected, rtol=1e-12, atol=1e-13)
    rough = matrix_square_root(jnp.asarray(matrices, jnp.float32))
    assert rough.dtype == jnp.float32
    for found, root in zip(rough, expected, strict=True):
        np.testing.assert_allclose(found, root, rtol=0, atol=1e-6 * root.max())


def test_the_gradient_is_the_finite_difference(rng):
    matrices = np.stack([matrix_of(rng, np.linspace(0.2, 3, 6)) for _ in range(2)])
    factors = rng.standard_normal(matrices.shape)  # not symmetric
    with jax.enable_x64(True):
        loss = jax.jit(lambda a: jnp.sum(factors * matrix_square_root(a, steps=16) ** 2))
        gradient = jax.grad(loss)(jnp.asarray(matrices))
        for _ in range(3):
            direction = rng.standard_normal(matrices.shape)
            direction = 1e-6 * (direction + direction.swapaxes(1, 2))
            slope = (loss(matrices + direction) - loss(matrices - direction)) / 2
            np.testing.assert_allclose(np.sum(gradient * direction), slope, rtol=1e-7)


def test_the_gradient_solves_sylvesters_equation(rng):
    matrix, gradient = matrix_of(rng, np.linspace(0.2, 3, 6)), rng.standard_normal((6, 6))
    root = sqrtm(matrix)
    with jax.enable_x64(True):
        _, vjp = jax.vjp(matrix_square_root, jnp.asarray(matrix)[None])
        (found,) = vjp(jnp.asarray(gradient)[None])
    np.testing.assert_allclose(found[0], solve_sylvester(root, root, gradient), rtol=1e-8)


@pytest.mark.parametrize("smallest", [0.0, 1e-7, -1e-7])
def test_low_rank_in_float32(rng, smallest):
    """Also where rounding has made an eigenvalue of 0 negative. The large ones are right."""
    eigenvalues = np.concatenate([[100.0, 3.0, 0.5], np.full(61, 100 * smallest)])
    matrix = matrix_of(rng, eigenvalues)
    root, vjp = jax.vjp(matrix_square_root, jnp.asarray(matrix, jnp.float32)[None])
    (gradient,) = vjp(jnp.broadcast_to(jnp.eye(64), root.shape))
    expected = np.sqrt(np.maximum(eigenvalues, 0))
    found = np.linalg.eigvalsh(np.asarray(root[0], np.float64))[::-1]
    np.testing.assert_allclose(found[:3], expected[:3], rtol=1e-4)
    assert np.abs(found[3:]).max() < 1e-2
    slopes = np.linalg.eigvalsh(np.asarray(gradient[0], np.float64))
    np.testing.assert_allclose(slopes[:3], 1 / (2 * expected[:3]), rtol=1e-3)
    assert 1 < slopes[-1] < 1.5**12 / 2 / np.linalg.norm(expected) * 1.01


def test_too_few_steps_underestimate(rng):
    """An eigenvalue so small that it only grows: its root is 1.5 times as large a step."""
    matrix = jnp.asarray(np.diag([1.0, 1e-12])[None], jnp.float32)
    two, three = (matrix_square_root(matrix, steps=steps)[0, 1, 1] for steps in (2, 3))
    np.testing.assert_allclose(two, 1e-12 * 1.5**2, rtol=1e-5)
    np.testing.assert_allclose(three, 1e-12 * 1.5**3, rtol=1e-5)


def test_traces_are_those_of_the_roots(rng):
    """And their gradients too, also where the steps are too few."""
    eigenvalues = [np.linspace(0.1, 9, 7), np.geomspace(1e-9, 1, 7)]
    matrices = np.stack([matrix_of(rng, values) for values in eigenvalues])
    weights = np.array([2.0, -3.0])

    def of_roots(a):
        return weights @ jnp.trace(matrix_square_root(a), axis1=1, axis2=2)

    def of_traces(a):
        return weights @ trace_of_square_root(a)

    with jax.enable_x64(True):
        value, gradient = jax.value_and_grad(of_roots)(jnp.asarray(matrices))
        found, slopes = jax.value_and_grad(of_traces)(jnp.asarray(matrices))
    np.testing.assert_allclose(found, value, rtol=1e-12)
    np.testing.assert_allclose(slopes, gradient, rtol=0, atol=1e-10 * np.abs(gradient).max())
