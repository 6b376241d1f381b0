"""Enlargement by repeating pixels, then a 3×3 convolution, computed on the small picture.

In one direction, of the kernel (p, q, r) and the pixels … a b c …, all of them doubled, the two
results at b are p a + q b + r b and p b + q b + r c, or

    p (a - b) + (p + q + r) b    and    (p + q + r) b + r (c - b):

three products for two results. In two directions nine for four, where a direct convolution takes
36. Reflected borders of the enlarged picture are repeated borders of the small one.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.ops.direct import direct
from nstjax.ops.padding import reflect_pad
from nstjax.ops.strips import faster_on_cpu, map_rows, rows_of, sum_rows

# The kernels' parts p, p + q + r and r.
_PARTS = np.array([[1, 0, 0], [1, 1, 1], [0, 0, 1]], np.float32)


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


def _parts(kernel: Array) -> Array:
    return jnp.einsum("ua,vb,abio->uvio", _PARTS, _PARTS, kernel).reshape(9, *kernel.shape[2:])


def _differences(x: Array, first: Array, rows: int) -> Array:
    """What the kernels' nine parts are multiplied with, for some rows: (9, pixels, I)."""
    h, w = x.shape[1:3]
    x = x[:, jnp.clip(first + jnp.arange(-1, rows + 1), 0, h - 1)]
    x = x[:, :, np.clip(np.arange(-1, w + 1), 0, w - 1)]
    a, b, c = (x[:, k : k + rows] for k in range(3))
    x = jnp.stack([a - b, b, c - b])
    a, b, c = (x[:, :, :, k : k + w] for k in range(3))
    return jnp.stack([a - b, b, c - b], 1).reshape(9, -1, x.shape[-1])


def _forward(x: Array, kernel: Array) -> Array:
    n, h, w, _ = x.shape
    o = kernel.shape[3]
    parts = _parts(kernel)

    def strip(x: Array, first: Array, rows: int) -> Array:
        pixels = _differences(x, first, rows)
        y = jax.lax.dot_general(pixels, parts, (((2,), (1,)), ((0,), (0,))))
        y = y.reshape(3, 3, n, rows, w, o)
        y = jnp.stack([y[0] + y[1], y[1] + y[2]], 3)
        y = jnp.stack([y[0] + y[1], y[1] + y[2]], 4)
        return y.reshape(n, 2 * rows, 2 * w, o)

    return map_rows(strip, x, h, _row_bytes(x, kernel), (n, 2 * h, 2 * w, o))


def _kernel_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
    n, h, w, i = x.shape
    o = kernel.shape[3]

    def strip(first: Array, rows: int, new: Array) -> Array:
        g = rows_of(gradient, 2 * first, 2 * rows).reshape(n, rows, 2, w, 2, o)
        g = g * new[..., None, None]
        even, odd = g[:, :, 0], g[:, :, 1]
        g = jnp.stack([even, even + odd, odd])
        even, odd = g[..., 0, :], g[..., 1, :]
        g = jnp.stack([even, even + odd, odd], 1).reshape(9, -1, o)
        pixels = _differences(x, first, rows)
        return jax.lax.dot_general(pixels, g, (((1,), (1,)), ((0,), (0,))))

    total = sum_rows(strip, h, _row_bytes(x, kernel), (9, i, o)).reshape(3, 3, i, o)
    return jnp.einsum("ua,vb,uvio->abio", _PARTS, _PARTS, total)


def _x_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
    n, h, w, i = x.shape
    o = kernel.shape[3]
    matrix = _parts(kernel).swapaxes(1, 2).reshape(9 * o, i)
    gradient = jnp.pad(gradient, ((0, 0), (2, 2), (2, 2), (0, 0)))

    def strip(gradient: Array, first: Array, rows: int) -> Array:
        g = rows_of(gradient, 2 * first, 2 * rows + 4).reshape(n, rows + 2, 2, w + 2, 2, o)
        down = (first - 1 + jnp.arange(rows + 2)).reshape(1, -1, 1, 1, 1)
        g = _collect(g[:, :, 0], g[:, :, 1], down, h, axis=1)
        across = jnp.arange(-1, w + 1).reshape(1, 1, -1, 1)
        g = [_collect(part[..., 0, :], part[..., 1, :], across, w, axis=2) for part in g]
        return jnp.concatenate([part for parts in g for part in parts], -1) @ matrix

    return map_rows(strip, gradient, h, _row_bytes(x, kernel), (n, h, w, i))


def _collect(even: Array, odd: Array, place: Array, size: int, axis: int) -> list[Array]:
    """What reaches a pixel through each part, from the gradients at even and odd places.

    Where a border pixel is its own neighbour, their difference is none of the pixel's doing.
    """
    before, after = even * (place > 0), odd * (place < size - 1)

    def at(g: Array, offset: int) -> Array:
        return jax.lax.slice_in_dim(g, 1 + offset, g.shape[axis] - 1 + offset, axis=axis)

    return [at(before, 1) - at(before, 0), at(even, 0) + at(odd, 0), at(after, -1) - at(after, 0)]


def _row_bytes(x: Array, kernel: Array) -> int:
    return 4 * x.shape[0] * x.shape[2] * 9 * sum(kernel.shape[2:])


_CONVOLVE = faster_on_cpu(_plain, _forward, _x_gradient, _kernel_gradient)
