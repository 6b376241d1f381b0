"""The mean and the variance of a picture's channels, and instance norm.

On CPUs, sums over pixels are computed as products with ones, strip by strip: this takes a fifth of
the time of XLA's sums over all but the last dimension.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.ops.choice import own_algorithms_allowed
from nstjax.ops.strips import rows_of, sum_rows


def channel_moments(
    x: Float[Array, "n h w c"],
) -> tuple[Float[Array, "n 1 1 c"], Float[Array, "n 1 1 c"]]:
    """Computes mean and variance of each picture's channels over its pixels.

    In two passes: the difference of mean square and squared mean loses all digits where the mean is
    large.

    Args:
        x: shape (N, H, W, C).

    Returns:
        The two, each of shape (N, 1, 1, C), the variance being the mean squared deviation.

    Example:
        >>> import jax.numpy as jnp
        >>> mean, variance = channel_moments(jnp.array([[[[1.0], [5.0]]]]))
        >>> float(mean[0, 0, 0, 0]), float(variance[0, 0, 0, 0])
        (3.0, 4.0)
    """
    pixels = x.shape[1] * x.shape[2]
    mean = _sums(_values, x)[0] / pixels
    return mean, _sums(_squared_deviations, x, mean)[0] / pixels


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalize_channels(
    x: Array, scale: Array | np.ndarray, bias: Array | np.ndarray, epsilon: float
) -> Array:
    """`nstjax.ops.normalize` of an array; its gradient is written out, as two sums over pixels."""
    return _forward(x, scale, bias, epsilon)[0]


def normalized(
    x: Array,
    mean: Array,
    variance: Array,
    scale: Array | np.ndarray,
    bias: Array | np.ndarray,
    epsilon: float,
) -> Array:
    """What `normalize_channels` computes for some pixels, given the moments of all."""
    return (x - mean) * (jax.lax.rsqrt(variance + epsilon) * scale) + bias


def _forward(
    x: Array, scale: Array | np.ndarray, bias: Array | np.ndarray, epsilon: float
) -> tuple[Array, tuple[Any, ...]]:
    mean, variance = channel_moments(x)
    y = normalized(x, mean, variance, scale, bias, epsilon)
    return y, (x, mean, variance, scale, bias)


def _backward(
    epsilon: float, residuals: tuple[Any, ...], gradient: Array
) -> tuple[Array, Array, Array]:
    x, mean, variance, scale, bias = residuals
    inverse = jax.lax.rsqrt(variance + epsilon)
    summed, aligned = _sums(_with_deviations, gradient, x, mean)
    pixels = x.shape[1] * x.shape[2]
    # How far the gradient would move mean and spread: the norm undoes both.
    along_mean, along_spread = summed / pixels, aligned * inverse**2 / pixels
    for_x = (inverse * scale) * (gradient - along_mean - (x - mean) * along_spread)
    for_scale, for_bias = (jnp.sum(part, (0, 1, 2)) for part in (aligned * inverse, summed))
    return for_x.astype(x.dtype), for_scale.astype(scale.dtype), for_bias.astype(bias.dtype)


normalize_channels.defvjp(_forward, _backward)

Terms = Callable[..., tuple[Array, ...]]


def _values(x: Array) -> tuple[Array, ...]:
    return (x,)


def _squared_deviations(x: Array, mean: Array) -> tuple[Array, ...]:
    return (jnp.square(x - mean),)


def _with_deviations(gradient: Array, x: Array, mean: Array) -> tuple[Array, ...]:
    return gradient, gradient * (x - mean)


def _sums(terms: Terms, *arrays: Array) -> list[Array]:
    """Sums terms over the pixels.

    Args:
        terms: `terms(*arrays)` computes pictures to be summed; it is given some rows at a time.
        arrays: pictures, shape (N, H, W, C), the first one included, and means, (N, 1, 1, C).

    Returns:
        A sum for each term, shape (N, 1, 1, C), float32 or wider.
    """
    if own_algorithms_allowed(*arrays):
        return _sums_by_strips(terms, *arrays)
    dtype = jnp.promote_types(arrays[0].dtype, jnp.float32)
    return [jnp.sum(term, (1, 2), keepdims=True, dtype=dtype) for term in terms(*arrays)]


# Compiled, so that each shape is traced once.
@partial(jax.jit, static_argnums=0)
def _sums_by_strips(terms: Terms, *arrays: Array) -> list[Array]:
    n, h, w, c = shape = arrays[0].shape
    count = len(jax.eval_shape(terms, *arrays))

    def strip(first: Array, rows: int, new: Array) -> Array:
        ones = jnp.broadcast_to(new, (n, rows, w, 1)).reshape(n, 1, rows * w)
        parts = terms(*(rows_of(x, first, rows) if x.shape == shape else x for x in arrays))
        products = [
            jax.lax.dot_general(ones, part.reshape(n, -1, c), (((2,), (1,)), ((0,), (0,))))
            for part in parts
        ]
        return jnp.stack(products)

    total = sum_rows(strip, h, 4 * n * w * c * count, (count, n, 1, c))
    return [part[:, None] for part in total]
