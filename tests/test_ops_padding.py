"""Reflection, against NumPy's, and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nstjax.ops.padding import reflect_pad

CASES = [((2, 5, 7, 3), 1), ((1, 16, 9, 2), 4), ((1, 5, 5, 1), 4), ((1, 2, 3, 1), 1)]


@pytest.mark.parametrize(("shape", "amount"), CASES)
def test_reflects(shape, amount, rng):
    x = rng.standard_normal(shape, dtype=np.float32)
    around = (amount, amount)
    expected = np.pad(x, ((0, 0), around, around, (0, 0)), mode="reflect")
    np.testing.assert_array_equal(reflect_pad(jnp.asarray(x), amount), expected)


@pytest.mark.parametrize(("shape", "amount"), CASES)
def test_gradient_adds_up_all_copies(shape, amount, rng):
    n, h, w, c = shape
    gradient = rng.standard_normal((n, h + 2 * amount, w + 2 * amount, c), dtype=np.float32)
    numbers = np.arange(np.prod(shape)).reshape(shape)
    around = (amount, amount)
    copied_from = np.pad(numbers, ((0, 0), around, around, (0, 0)), mode="reflect")
    expected = np.zeros(shape)
    np.add.at(expected.reshape(-1), copied_from, gradient)
    _, vjp = jax.vjp(lambda x: reflect_pad(x, amount), jnp.zeros(shape))
    np.testing.assert_allclose(vjp(jnp.asarray(gradient))[0], expected, atol=1e-5)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_keeps_the_dtype(dtype):
    x = jnp.ones((1, 3, 3, 1), dtype)
    assert reflect_pad(x, 1).dtype == jnp.dtype(dtype)
    assert jax.grad(lambda x: reflect_pad(x, 1).sum())(x).dtype == jnp.dtype(dtype)
