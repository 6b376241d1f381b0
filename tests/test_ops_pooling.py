"""Max pooling and its gradient against XLA's own, to the bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from nstjax.ops import max_pool2x2


def xla_pool(x):
    return nn.max_pool(x, (2, 2), strides=(2, 2))


@pytest.mark.parametrize("shape", [(1, 2, 2, 1), (2, 8, 6, 3), (1, 7, 5, 4), (1, 2, 3, 2)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_as_xla(rng, shape, dtype):
    # Few different values, zeros among them: many of four are equal.
    x = jnp.asarray(rng.integers(0, 3, shape), dtype)
    y, vjp = jax.vjp(max_pool2x2, x)
    expected, expected_vjp = jax.vjp(xla_pool, x)
    gradient = jnp.asarray(rng.standard_normal(y.shape), dtype)
    assert y.dtype == dtype
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(vjp(gradient)[0], expected_vjp(gradient)[0])


def test_the_gradient_goes_to_the_first_of_equals():
    x = jnp.asarray([[1.0, 2.0, 3.0, 3.0], [2.0, 2.0, 0.0, 3.0]]).reshape(1, 2, 4, 1)
    gradient = jax.grad(lambda x: (jnp.asarray([5.0, 7.0]) * max_pool2x2(x).ravel()).sum())(x)
    assert gradient[0, :, :, 0].tolist() == [[0, 5, 7, 0], [0, 0, 0, 0]]


def test_a_value_that_is_no_number_stays_one():
    x = jnp.zeros((1, 2, 2, 1)).at[0, 1, 0, 0].set(jnp.nan)
    assert jnp.isnan(max_pool2x2(x)).all()


@pytest.mark.parametrize("side", [4, 5])
def test_the_gradient_is_the_finite_difference(rng, side):
    with jax.enable_x64():
        x, direction = (jnp.asarray(a) for a in rng.standard_normal((2, 1, side, side, 2)))
        step = 1e-6
        loss = lambda x: (max_pool2x2(x) ** 2).sum()  # noqa: E731
        change = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
        assert np.isclose(jnp.vdot(jax.grad(loss)(x), direction), change, rtol=1e-7)
