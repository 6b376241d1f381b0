"""Convolutions with large kernels between a few channels and many.

With few channels on one side a direct convolution leaves most of a vector unit idle. Here all
products with a kernel, of 9×9 pixels say, are one product of matrices: of a pixel's whole
neighbourhood where the inputs are few; where the outputs are few, of the column of pixels around it
with the nine columns of the kernel, whose results are then added side by side. Turned by 180°, the
one is the other's gradient. Only with few inputs, and compiled with `compiler_options`, is the
result itself had sooner directly: in 33 in place of 68 ms, 3 to 32 channels of 512² pixels, 9×9.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from nstjax.ops.direct import direct, turned
from nstjax.ops.strips import faster_on_cpu, map_rows, rows_of, sum_rows


def conv_few_inputs(
    x: Float[Array, "n h w i"], kernel: Float[Array, "a b i o"]
) -> Float[Array, "n p q o"]:
    """Convolves a picture of few channels with a large kernel, at stride 1 and without padding.

    Args:
        x: shape (N, H, W, I).
        kernel: shape (A, B, I, O).

    Returns:
        Shape (N, H - A + 1, W - B + 1, O), in float32 also for bfloat16.

    Example:
        >>> import jax.numpy as jnp
        >>> conv_few_inputs(jnp.ones((1, 9, 10, 3)), jnp.ones((9, 9, 3, 32))).shape
        (1, 1, 2, 32)
    """
    return _FEW_INPUTS(x, kernel)


def conv_few_outputs(
    x: Float[Array, "n h w i"], kernel: Float[Array, "a b i o"]
) -> Float[Array, "n p q o"]:
    """Convolves a picture to few channels with a large kernel, at stride 1 and without padding.

    Args:
        x: shape (N, H, W, I).
        kernel: shape (A, B, I, O).

    Returns:
        Shape (N, H - A + 1, W - B + 1, O), in float32 also for bfloat16.

    Example:
        >>> import jax.numpy as jnp
        >>> conv_few_outputs(jnp.ones((1, 9, 10, 32)), jnp.ones((9, 9, 32, 3))).shape
        (1, 1, 2, 3)
    """
    return _FEW_OUTPUTS(x, kernel)


def _neighbourhoods(x: Array, height: int, width: int) -> Array:
    """Of each pixel with those below and right of it, in a row: (N, P, Q, height · width · C)."""
    rows, columns = x.shape[1] - height + 1, x.shape[2] - width + 1
    x = jnp.concatenate([x[:, :, b : b + columns] for b in range(width)], -1)
    return jnp.concatenate([x[:, a : a + rows] for a in range(height)], -1)


def _few_inputs(x: Array, kernel: Array) -> Array:
    n, h, w, _ = x.shape
    a, b, i, o = kernel.shape
    matrix = kernel.reshape(-1, o)
    height, width = h - a + 1, w - b + 1

    def strip(x: Array, first: Array, rows: int) -> Array:
        return _neighbourhoods(rows_of(x, first, rows + a - 1), a, b) @ matrix

    return map_rows(strip, x, height, 4 * n * width * a * b * i, (n, height, width, o))


def _few_outputs(x: Array, kernel: Array) -> Array:
    n, h, w, _ = x.shape
    a, b, i, o = kernel.shape
    matrix = kernel.transpose(0, 2, 1, 3).reshape(a * i, b * o)
    height, width = h - a + 1, w - b + 1

    def strip(x: Array, first: Array, rows: int) -> Array:
        y = _neighbourhoods(rows_of(x, first, rows + a - 1), a, 1) @ matrix
        total = y[:, :, :width, :o]
        for k in range(1, b):
            total = total + y[:, :, k : k + width, k * o : (k + 1) * o]
        return total

    return map_rows(strip, x, height, 4 * n * w * a * i, (n, height, width, o))


def _correlate(x: Array, y: Array) -> Array:
    """Sums over the pixels of y: each times the pixels of x around, (A, B, x' channels, y's)."""
    n, height, width, o = y.shape
    a, b, i = x.shape[1] - height + 1, x.shape[2] - width + 1, x.shape[3]

    def strip(first: Array, rows: int, new: Array) -> Array:
        around = _neighbourhoods(rows_of(x, first, rows + a - 1), a, b)
        part = rows_of(y, first, rows) * new
        return around.reshape(-1, a * b * i).T @ part.reshape(-1, o)

    total = sum_rows(strip, height, 4 * n * width * a * b * i, (a * b * i, o))
    return total.reshape(a, b, i, o)


def _surround(gradient: Array, kernel: Array) -> Array:
    """Zeros for all pixels that a turned kernel reaches."""
    around = [(size - 1, size - 1) for size in kernel.shape[:2]]
    return jnp.pad(gradient, ((0, 0), *around, (0, 0)))


_FEW_INPUTS = faster_on_cpu(
    direct,
    None,
    lambda x, kernel, gradient: _few_outputs(_surround(gradient, kernel), turned(kernel)),
    lambda x, kernel, gradient: _correlate(x, gradient),
)
_FEW_OUTPUTS = faster_on_cpu(
    direct,
    _few_outputs,
    lambda x, kernel, gradient: _few_inputs(_surround(gradient, kernel), turned(kernel)),
    lambda x, kernel, gradient: turned(_correlate(_surround(gradient, kernel), x)),
)
