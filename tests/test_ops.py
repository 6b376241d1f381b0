"""The convolution and both its gradients, against SciPy and XLA's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import convolve2d, correlate2d

from nstjax.ops import conv3x3

SHAPES = [(1, 8, 8), (2, 7, 5), (1, 1, 1), (1, 1, 6), (3, 9, 1), (1, 2, 3)]


@pytest.fixture(params=SHAPES, ids=str)
def arrays(request, rng):
    """Pictures with 3 channels, kernels to 4, and a gradient of the result."""
    n, h, w = request.param
    x = rng.standard_normal((n, h, w, 3), dtype=np.float32)
    kernel = rng.standard_normal((3, 3, 3, 4), dtype=np.float32)
    gradient = rng.standard_normal((n, h, w, 4), dtype=np.float32)
    return jnp.asarray(x), jnp.asarray(kernel), jnp.asarray(gradient)


def scipy_conv(x, kernel):
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    out = np.zeros((*x.shape[:3], kernel.shape[3]))
    for n, i, o in np.ndindex(x.shape[0], *kernel.shape[2:]):
        # "same" follows the larger array, and the kernel may be larger than the picture.
        full = correlate2d(x[n, ..., i], kernel[..., i, o], mode="full")
        out[n, ..., o] += full[1:-1, 1:-1]
    return out


def direct(x, kernel):
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def test_forward_is_a_correlation_padded_with_zeros(arrays):
    x, kernel, _ = arrays
    y = conv3x3(x, kernel)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y, scipy_conv(x, kernel), atol=1e-5)


def test_gradients_are_those_of_the_plain_convolution(arrays):
    x, kernel, gradient = arrays
    ours = jax.vjp(conv3x3, x, kernel)[1](gradient)
    theirs = jax.vjp(direct, x, kernel)[1](gradient)
    for our, their in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(our, their, atol=1e-5)


def test_gradients_against_scipy(arrays):
    x, kernel, gradient = arrays
    for_x, for_kernel = jax.vjp(conv3x3, x, kernel)[1](gradient)
    expected_x, padded = np.zeros(x.shape), np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected_kernel = np.zeros(kernel.shape)
    for n, i, o in np.ndindex(len(x), 3, 4):
        full = convolve2d(gradient[n, ..., o], kernel[..., i, o], mode="full")
        expected_x[n, ..., i] += full[1:-1, 1:-1]
        expected_kernel[..., i, o] += correlate2d(padded[n, ..., i], gradient[n, ..., o], "valid")
    np.testing.assert_allclose(for_x, expected_x, atol=1e-5)
    np.testing.assert_allclose(for_kernel, expected_kernel, atol=2e-5)


def test_inside_scan(rng):
    """Where it is used: gradient descent on a picture, in a compiled loop."""
    x = jnp.asarray(rng.standard_normal((1, 6, 5, 3), dtype=np.float32))
    kernel = jnp.asarray(rng.standard_normal((3, 3, 3, 3), dtype=np.float32) / 10)

    def descend(convolution):
        def step(x, _):
            loss, gradient = jax.value_and_grad(lambda x: jnp.sum(convolution(x, kernel) ** 2))(x)
            return x - 0.1 * gradient, loss

        return jax.jit(lambda x: jax.lax.scan(step, x, length=5))(x)

    (moved, losses), (expected, expected_losses) = descend(conv3x3), descend(direct)
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_sums_in_float32_and_keeps_the_gradients_dtype(dtype):
    x, kernel = jnp.ones((1, 3, 3, 1), dtype), jnp.ones((3, 3, 1, 2), dtype)
    assert conv3x3(x, kernel).dtype == jnp.float32
    gradients = jax.vjp(conv3x3, x, kernel)[1](jnp.ones((1, 3, 3, 2)))
    assert [g.dtype for g in gradients] == [jnp.dtype(dtype)] * 2


def test_in_float64(rng):
    with jax.enable_x64(True):
        x, kernel, gradient = (
            jnp.asarray(rng.random(shape)) for shape in ((1, 4, 5, 2), (3, 3, 2, 3), (1, 4, 5, 3))
        )
        ours, theirs = (jax.vjp(f, x, kernel)[1](gradient) for f in (conv3x3, direct))
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == jnp.float64
        np.testing.assert_allclose(our, their, rtol=1e-12)
