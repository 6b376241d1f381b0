"""Enlargement by repeating pixels, then a 3×3 convolution, computed on the small picture.

In one direction, of the kernel (p, q, r) and the pixels … a b c …, all of them doubled, the two
results at b are p a + (q + r) b and (p + q) b + r c: each sees two pixels. In two directions the
four results of a pixel, as four times the channels, are convolutions of the small picture with
kernels of 2×2, on 16 products for four results where a direct convolution takes 36. Reflected
borders of the enlarged picture are repeated borders of the small one.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.ops.direct import direct
from nstjax.ops.padding import reflect_pad
from nstjax.ops.strips import faster_on_cpu

# What the even and the odd result take of the kernel, for each of the two pixels that they see.
_PHASES = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)


def upsample_conv3x3(
    x: Float[Array, "n h w i"], kernel: Float[Array, "3 3 i o"]
) -> Float[Array, "n a b o"]:
    """Doubles height and width by repeating pixels, then convolves, borders reflected.

    Args:
        x: shape (N, H, W, I).
        kernel: shape (3, 3, I, O).

    Returns:
        Shape (N, 2 H, 2 W, O), in float32 also for bfloat16.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.arange(2.0).reshape(1, 1, 2, 1)
        >>> upsample_conv3x3(x, jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
        [[0.0, 3.0, 6.0, 9.0], [0.0, 3.0, 6.0, 9.0]]
    """
    return _CONVOLVE(x, kernel)


def _plain(x: Array, kernel: Array, dtype: Any) -> Array:
    return direct(reflect_pad(jnp.repeat(jnp.repeat(x, 2, 1), 2, 2), 1), kernel, dtype)


def _forward(x: Array, kernel: Array) -> Array:
    n, h, w, i = x.shape
    o = kernel.shape[3]
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    phases = jnp.einsum("pua,qvb,abio->uvipqo", _PHASES, _PHASES, kernel)
    y = direct(x, phases.reshape(2, 2, i, 4 * o)).reshape(n, h + 1, w + 1, 2, 2, o)
    # The odd results see the pixel itself and the next one.
    rows = [jnp.stack([y[:, p : p + h, q : q + w, p, q] for q in (0, 1)], 3) for p in (0, 1)]
    return jnp.stack(rows, 2).reshape(n, 2 * h, 2 * w, o)


def _x_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
    return jax.vjp(lambda x: _forward(x, kernel), x)[1](gradient)[0]


def _kernel_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
    return jax.vjp(lambda kernel: _forward(x, kernel), kernel)[1](gradient)[0]


_CONVOLVE = faster_on_cpu(_plain, _forward, _x_gradient, _kernel_gradient)
