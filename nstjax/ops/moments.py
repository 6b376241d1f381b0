"""The mean and the variance of a picture's channels, and the norm made of them.

On CPUs sums over pixels are products with ones, strip by strip, which takes a fifth of the time of
XLA's sums over all but the last dimension.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nstjax.ops.choice import own_algorithms_allowed
from nstjax.ops.strips import rows_of, sum_rows


def channel_moments(
    x: Float[Array, "n h w c"],
) -> tuple[Float[Array, "n 1 1 c"], Float[Array, "n 1 1 c"]]:
    """Computes mean and variance of each picture's channels over its pixels.

    In two passes, as the difference of mean square and squared mean loses all digits where the mean
    is large.

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
    mean = _sums(lambda x: (x,), x)[0] / pixels
    return mean, _sums(lambda x, mean: (jnp.square(x - mean),), x, fixed=(mean,))[0] / pixels


@partial(jax.custom_vjp, nondiff_argnums=(3,))
def normalize_channels(
    x: Float[Array, "n h w c"], scale: Float[Array, " c"], bias: Float[Array, " c"], epsilon: float
) -> Float[Array, "n h w c"]:
    """Brings each picture's channels to a mean of `bias` and a spread of `scale`.

    The gradient is written as what it is, in two sums over the pixels. It can be differentiated
    once.

    Args:
        x: shape (N, H, W, C).
        scale: by channel.
        bias: by channel.
        epsilon: added to the variances.

    Returns:
        Shape (N, H, W, C).

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.array([[[[1.0], [5.0]]]])
        >>> normalize_channels(x, jnp.array([3.0]), jnp.array([7.0]), 0.0).ravel().tolist()
        [4.0, 10.0]
    """
    return _normalize(x, scale, bias, epsilon)[0]


def _normalize(
    x: Array, scale: Array, bias: Array, epsilon: float
) -> tuple[Array, tuple[Array, ...]]:
    mean, variance = channel_moments(x)
    inverse = jax.lax.rsqrt(variance + epsilon)
    return (x - mean) * (inverse * scale) + bias, (x, mean, inverse, scale)


def _backward(
    _epsilon: float, residuals: tuple[Array, ...], gradient: Array
) -> tuple[Array, Array, Array]:
    x, mean, inverse, scale = residuals
    summed, aligned = _sums(
        lambda gradient, x, mean: (gradient, gradient * (x - mean)), gradient, x, fixed=(mean,)
    )
    pixels = x.shape[1] * x.shape[2]
    # How far the gradient would move mean and spread, which the norm takes away again.
    along_mean, along_spread = summed / pixels, aligned * inverse**2 / pixels
    for_x = (inverse * scale) * (gradient - along_mean - (x - mean) * along_spread)
    return for_x, jnp.sum(aligned * inverse, (0, 1, 2)), jnp.sum(summed, (0, 1, 2))


normalize_channels.defvjp(_normalize, _backward)


def _sums(
    terms: Callable[..., tuple[Array, ...]], *pictures: Array, fixed: tuple[Array, ...] = ()
) -> list[Array]:
    """Sums over the pixels of what is made of each of them.

    Args:
        terms: of some rows of the pictures and of what is fixed, to pictures of those rows.
        pictures: each of shape (N, H, W, C).
        fixed: what is the same for all pixels.

    Returns:
        A sum for each of the terms, of shape (N, 1, 1, C).
    """
    if not own_algorithms_allowed(*pictures):
        return [jnp.sum(term, (1, 2), keepdims=True) for term in terms(*pictures, *fixed)]
    n, h, w, c = pictures[0].shape
    count = len(jax.eval_shape(terms, *pictures, *fixed))

    def strip(first: Array, rows: int, new: Array) -> Array:
        ones = jnp.broadcast_to(new, (n, rows, w, 1)).reshape(n, 1, rows * w)
        parts = terms(*(rows_of(x, first, rows) for x in pictures), *fixed)
        products = [
            jax.lax.dot_general(ones, part.reshape(n, -1, c), (((2,), (1,)), ((0,), (0,))))
            for part in parts
        ]
        return jnp.stack(products)

    total = sum_rows(strip, h, 4 * n * w * c * count, (count, n, 1, c))
    return [part[:, None] for part in total]
