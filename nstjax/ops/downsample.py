"""3×3 convolution at stride 2, with gradients as products with gathered neighbourhoods."""

from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from nstjax.ops.choice import faster_on_cpu
from nstjax.ops.direct import direct
from nstjax.ops.strips import map_rows, rows_of, sum_rows

# For even and for odd rows (or columns) of the picture: which results reach them, from the row
# before (0) or the same row (1), and by which row of the kernel.
_REACHED = (((1, 0), (0, 2)), ((1, 1),))


def conv3x3_stride2(
    x: Float[Array, "n h w i"], kernel: Float[Array, "3 3 i o"]
) -> Float[Array, "n a b o"]:
    """Convolves with a 3×3 kernel at stride 2, without padding.

    Args:
        x: shape (N, H, W, I), at least 3×3.
        kernel: shape (3, 3, I, O).

    Returns:
        Shape (N, (H - 1) // 2, (W - 1) // 2, O), in float32 also for bfloat16.

    Example:
        >>> import jax.numpy as jnp
        >>> conv3x3_stride2(jnp.ones((1, 5, 6, 1)), jnp.ones((3, 3, 1, 1)))[0, :, :, 0].tolist()
        [[9.0, 9.0], [9.0, 9.0]]
    """
    return _CONVOLVE(x, kernel)


def _neighbourhoods(x: Array) -> Array:
    """The 3×3 pixels around every second one: (N, A, B, 9·C)."""
    h, w = x.shape[1:3]
    return jnp.concatenate(
        [x[:, a : h - 2 + a : 2, b : w - 2 + b : 2] for a in range(3) for b in range(3)], -1
    )


def _kernel_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
    n, height, width, o = gradient.shape
    i = x.shape[3]

    def strip(first: Array, rows: int, new: Array) -> Array:
        around = _neighbourhoods(rows_of(x, 2 * first, 2 * rows + 1))
        part = rows_of(gradient, first, rows) * new
        return around.reshape(-1, 9 * i).T @ part.reshape(-1, o)

    total = sum_rows(strip, height, 4 * n * width * 9 * i, (9 * i, o))
    return total.reshape(3, 3, i, o)


def _x_gradient(x: Array, kernel: Array, gradient: Array) -> Array:
    """Pixels in even and odd rows and columns are of four kinds; each kind is one product."""
    n, h, w, i = x.shape
    _, height, width, o = gradient.shape
    half_h, half_w = -(-h // 2), -(-w // 2)
    around = (1, half_h - height), (1, half_w - width)
    gradient = jnp.pad(gradient, ((0, 0), *around, (0, 0)))
    swapped = kernel.swapaxes(2, 3)

    def strip(gradient: Array, first: Array, rows: int) -> Array:
        part = rows_of(gradient, first, rows + 1)

        def pixels(odd_row: int, odd_column: int) -> Array:
            reached = [(*a, *b) for a in _REACHED[odd_row] for b in _REACHED[odd_column]]
            results = [part[:, a : a + rows, b : b + half_w] for a, _, b, _ in reached]
            matrix = jnp.concatenate([swapped[row, column] for _, row, _, column in reached])
            return jnp.concatenate(results, -1) @ matrix

        sorts = [jnp.stack([pixels(odd, 0), pixels(odd, 1)], 3) for odd in (0, 1)]
        return jnp.stack(sorts, 2).reshape(n, 2 * rows, 2 * half_w, i)

    row_bytes = 4 * n * half_w * (9 * o + 4 * i)
    return map_rows(strip, gradient, half_h, row_bytes, (n, 2 * half_h, 2 * half_w, i))[:, :h, :w]


_CONVOLVE = faster_on_cpu(partial(direct, stride=2), None, _x_gradient, _kernel_gradient)
