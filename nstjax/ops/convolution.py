"""Convolution with a gradient that stays fast inside compiled loops."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_direct = partial(
    jax.lax.conv_general_dilated,
    window_strides=(1, 1),
    padding="SAME",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
)


def _conv(x: Array, kernel: Array) -> Array:
    wide = jnp.promote_types(x.dtype, jnp.float32)
    return _direct(x, kernel, preferred_element_type=wide)


@jax.custom_vjp
def conv3x3(x: Float[Array, "n h w i"], kernel: Float[Array, "3 3 i o"]) -> Float[Array, "n h w o"]:
    """Convolves with a 3×3 kernel at stride 1, zeros around the picture.

    The gradient with respect to `x` is written as what it is, a convolution with the kernel turned
    by 180° and its channels swapped. XLA derives the same, but as a convolution with reversed
    dimensions, which its CPU backend computes five times slower inside `while`, `scan` and `cond`.

    Args:
        x: shape (N, H, W, I).
        kernel: shape (3, 3, I, O).

    Returns:
        Shape (N, H, W, O), in float32 also for bfloat16: the sums are made in it, and jax 0.12 on
        the CPU gives NaN where they are rounded before a bias is added.

    Example:
        >>> import jax.numpy as jnp
        >>> conv3x3(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
        [[4.0, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]
    """
    return _conv(x, kernel)


def _forward(x: Array, kernel: Array) -> tuple[Array, tuple[Array, Array]]:
    return _conv(x, kernel), (x, kernel)


def _backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = residuals
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3)
    # Where the kernel is frozen nothing uses its gradient, and compilation drops it.
    _, kernel_vjp = jax.vjp(lambda k: _direct(x, k), kernel)
    narrow = gradient.astype(x.dtype)
    return _conv(narrow, turned).astype(x.dtype), kernel_vjp(narrow)[0]


conv3x3.defvjp(_forward, _backward)
