"""Max pooling that remembers where the largest value was, for its gradient."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int8


@jax.custom_vjp
def max_pool2x2(x: Float[Array, "n h w c"]) -> Float[Array, "n p q c"]:
    """Takes the largest value of each 2×2 square; an odd last row or column is left out.

    The gradient goes to the first of equal values. XLA's pooling gives the same to the bit, but its
    gradient looks for the largest values again.

    Args:
        x: shape (N, H, W, C).

    Returns:
        Shape (N, H // 2, W // 2, C).

    Example:
        >>> import jax.numpy as jnp
        >>> max_pool2x2(jnp.arange(9.0).reshape(1, 3, 3, 1)).ravel().tolist()
        [4.0]
    """
    return _largest(x)[0]


def _largest(x: Array) -> tuple[Array, Int8[Array, "n p q c"]]:
    """The largest values, and which of the four each one is, counted row by row."""
    n, h, w, c = x.shape
    squares = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c)
    left, right = squares[:, :, :, :, 0], squares[:, :, :, :, 1]
    in_row = jnp.maximum(left, right)
    column = (left < right).astype(jnp.int8)
    upper, lower = in_row[:, :, 0], in_row[:, :, 1]
    place = jnp.where(upper >= lower, column[:, :, 0], 2 + column[:, :, 1])
    return jnp.maximum(upper, lower), place


def _forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    y, place = _largest(x)
    return y, (place, jnp.zeros((0, *x.shape[1:3])))  # the latter for its shape


def _backward(residuals: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    place, like = residuals
    h, w = like.shape[1:]
    n, rows, columns, c = gradient.shape
    places = jnp.arange(4, dtype=jnp.int8).reshape(2, 1, 2, 1)
    squares = jnp.where(
        place[:, :, None, :, None] == places, gradient[:, :, None, :, None], 0
    ).reshape(n, 2 * rows, 2 * columns, c)
    return (jnp.pad(squares, ((0, 0), (0, h - 2 * rows), (0, w - 2 * columns), (0, 0))),)


max_pool2x2.defvjp(_forward, _backward)
