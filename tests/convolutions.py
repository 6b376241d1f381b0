"""What the tests of convolutions share: XLA's own, and results with gradients in all dtypes."""

import jax
import jax.numpy as jnp
import numpy as np


def direct(x, kernel, stride=1):
    """XLA's own convolution."""
    return jax.lax.conv_general_dilated(
        x, kernel, (stride, stride), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def result_and_gradients(convolve, x, kernel):
    """A convolution, and the gradients of something of its result, compiled."""

    @jax.jit
    def compute(x, kernel):
        y, vjp = jax.vjp(convolve, x, kernel)
        return y, *vjp(jnp.cos(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape))

    return compute(x, kernel)


def check_in_float32(ours, theirs, x, kernel):
    """Holds a convolution of float32 to another one."""
    results = result_and_gradients(ours, x, kernel)
    for our, their in zip(results, result_and_gradients(theirs, x, kernel), strict=True):
        assert our.dtype == jnp.float32
        assert our.shape == their.shape
        assert jnp.abs(our - their).max() <= 1e-5 * jnp.abs(their).max()


def check_in_other_dtypes(ours, theirs, x, kernel):
    """Holds a convolution to another one in float64, and in bfloat16 to that one's float64."""
    with jax.enable_x64(True):
        exact = result_and_gradients(ours, jnp.asarray(x), jnp.asarray(kernel))
        expected = result_and_gradients(theirs, jnp.asarray(x), jnp.asarray(kernel))
    expected = [np.asarray(array) for array in expected]
    for our, their in zip(exact, expected, strict=True):
        assert our.dtype == jnp.float64
        np.testing.assert_allclose(our, their, atol=1e-12)
    narrow = result_and_gradients(ours, jnp.bfloat16(x), jnp.bfloat16(kernel))
    assert [a.dtype for a in narrow] == [jnp.float32, jnp.bfloat16, jnp.bfloat16]
    for our, their in zip(narrow, expected, strict=True):
        difference = np.abs(np.asarray(our, np.float64) - their)
        assert difference.max() <= 0.02 * np.abs(their).max()
