"""Padding by reflection, in one pass over the memory, and its gradient likewise."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def reflect_pad(x: Float[Array, "n h w c"], amount: int) -> Float[Array, "n a b c"]:
    """Pads pictures by reflection about their outermost pixels, which are not repeated.

    `jnp.pad` does the same, but one side after the other, and copies the picture four times.

    Args:
        x: shape (N, H, W, C), H and W more than `amount`.
        amount: how many pixels on each side.

    Returns:
        Shape (N, H + 2 amount, W + 2 amount, C).

    Example:
        >>> import jax.numpy as jnp
        >>> reflect_pad(jnp.arange(3.0).reshape(1, 1, 3, 1).repeat(3, 1), 2)[0, 0, :, 0].tolist()
        [2.0, 1.0, 0.0, 1.0, 2.0, 1.0, 0.0]
    """
    return _reflect_pad(x, amount)


def mirrored(place: Any, size: int) -> Any:
    """Maps places outside of 0 to `size` - 1 back inside, by reflection about both ends."""
    return size - 1 - abs(size - 1 - abs(place))


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def _reflect_pad(x: Array, amount: int) -> Array:
    for axis in (1, 2):
        size = x.shape[axis]
        x = jnp.take(x, mirrored(np.arange(-amount, size + amount), size), axis=axis)
    return x


def _forward(x: Array, amount: int) -> tuple[Array, None]:
    return _reflect_pad(x, amount), None


def _backward(amount: int, _: None, gradient: Array) -> tuple[Array]:
    """Sums the gradients of everything each pixel was copied to: itself and its reflections."""
    for axis in (1, 2):
        size = gradient.shape[axis] - 2 * amount
        place = np.arange(size)
        low = np.where((place >= 1) & (place <= amount), amount - place, -1)
        high = np.where(
            (place >= size - 1 - amount) & (place <= size - 2), amount + 2 * (size - 1) - place, -1
        )
        total = jnp.take(gradient, place + amount, axis=axis)
        for source in (low, high):
            copied = jnp.take(gradient, np.maximum(source, 0), axis=axis)
            exists = np.expand_dims(source >= 0, [a for a in range(4) if a != axis])
            total = total + jnp.where(exists, copied, 0)
        gradient = total
    return (gradient,)


_reflect_pad.defvjp(_forward, _backward)
