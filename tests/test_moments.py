"""Mean and variance of channels, and the norm made of them, against NumPy and Flax's."""

from typing import cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from nstjax.fast.layers import InstanceNorm
from nstjax.ops import channel_moments, normalize, strips


@pytest.fixture(params=["auto", "direct"])
def _algorithm(request, monkeypatch):
    monkeypatch.setenv("NSTJAX_CONV", request.param)
    monkeypatch.setattr(strips, "STRIP_BYTES", 2000)  # several strips, the last one not whole


@pytest.mark.usefixtures("_algorithm")
@pytest.mark.parametrize("shape", [(1, 1, 1, 3), (2, 7, 9, 5), (1, 41, 13, 8)], ids=str)
def test_moments(rng, shape):
    """Of values whose mean is a thousand times their spread."""
    x = (rng.random(shape) + 1000).astype(np.float32)
    mean, variance = channel_moments(jnp.asarray(x))
    exact = x.astype(np.float64)
    assert mean.shape == variance.shape == (shape[0], 1, 1, shape[3])
    np.testing.assert_allclose(mean, exact.mean((1, 2), keepdims=True), rtol=1e-6)
    np.testing.assert_allclose(variance, exact.var((1, 2), keepdims=True), rtol=1e-4, atol=1e-7)


@pytest.mark.usefixtures("_algorithm")
def test_the_norm_is_flax_own(rng):
    """Its result, and its gradients with respect to the picture and the parameters."""
    x, weights = (jnp.asarray(rng.standard_normal((2, 11, 13, 4)), jnp.float32) for _ in range(2))
    params = {"params": {"scale": jnp.arange(1.0, 5), "bias": jnp.arange(4.0)}}

    def values(norm):
        def total(params, x):
            y = norm.apply(params, x)
            return jnp.sum(y * weights), y

        return jax.value_and_grad(total, argnums=(0, 1), has_aux=True)(params, x)

    ours = values(InstanceNorm(1e-3))
    theirs = values(nn.InstanceNorm(epsilon=1e-3, use_fast_variance=False))
    for a, b in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


@pytest.mark.usefixtures("_algorithm")
def test_float32_stays_float32_where_float64_is_allowed(rng):
    x = jnp.asarray(rng.random((2, 5, 6, 3), np.float32))
    expected = channel_moments(x)
    with jax.enable_x64(True):
        found = channel_moments(x)
    assert {moment.dtype for moment in found} == {jnp.dtype("float32")}
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_gradients_have_the_dtypes_of_what_they_are_of(rng):
    """Of a float64 picture far from 0, with float32 parameters, against Flax's norm."""
    with jax.enable_x64(True):
        x, weights = (jnp.asarray(100 + rng.standard_normal((2, 11, 13, 4))) for _ in range(2))
        scale, bias = jnp.arange(1, 5, dtype="float32"), jnp.zeros(4, "float32")

        def ours(x, scale, bias):
            return jnp.vdot(cast(jax.Array, normalize(x, scale, bias, 1e-3)), weights)

        def theirs(x, scale, bias):
            norm = nn.InstanceNorm(epsilon=1e-3, use_fast_variance=False)
            y = norm.apply({"params": {"scale": scale, "bias": bias}}, x)
            return jnp.vdot(cast(jax.Array, y), weights)

        found, exact = (
            jax.grad(loss, argnums=(0, 1, 2))(x, scale, bias) for loss in (ours, theirs)
        )
        for a, b, of in zip(found, exact, (x, scale, bias), strict=True):
            assert a.dtype == of.dtype
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * float(jnp.abs(b).max()))
