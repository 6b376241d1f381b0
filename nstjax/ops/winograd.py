"""3×3 convolution with 2.25 multiplications per sum of nine: Winograd's F(4×4, 3×3).

Each 4×4 square of the result comes from a 6×6 tile of the picture. Tile and kernel are taken as
polynomials and evaluated at six points in each direction; products of values replace the products
of the polynomials, and the square is interpolated from them. The products over the channels are 36
matrix multiplications.

The points are 0, ∞, ±√½ and ±√2. The errors are a quarter of those with the usual 0, ∞, ±1 and ±2,
since the powers of the points stay smaller.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", 2015; on the choice of
points Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd Convolution for Deep
Neural Networks", 2018.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.ops.strips import blank

# Bytes of transformed tiles in a strip, so that they stay in the cache.
STRIP_BYTES = 6 * 2**20
# But a strip has at least this many tiles, if there are as many: matrices with fewer rows are
# multiplied so much more slowly that the cache does not make up for it.
LEAST_TILES = 128

_LOW, _HIGH = 2**-0.5, 2**0.5
# A kernel's values at the points, in this module's order: 0, ±√½, ±√2, ∞. They are divided by p
# where possible, so that none is much larger than another.
_AT_POINTS = np.array(
    [[1, 0, 0], *([1 / p, 1, p] for p in (_LOW, -_LOW, _HIGH, -_HIGH)), [0, 0, 1]]
)
_KERNEL = np.kron(_AT_POINTS, _AT_POINTS)
# What interpolation divides by: M'(p) / p, where M(x) = x (x² - ½)(x² - 2).
_DIVISOR_LOW, _DIVISOR_HIGH = -1.5 / _LOW, 6 / _HIGH


def transform_kernel(kernel: Float[Array, "3 3 i o"]) -> Float[Array, "36 i o"]:
    """Evaluates kernels at the points, for `convolve`."""
    flat = kernel.reshape(9, -1)
    return (jnp.asarray(_KERNEL, kernel.dtype) @ flat).reshape(36, *kernel.shape[2:])


def convolve(
    x: Float[Array, "n h w i"], transformed: Float[Array, "36 i o"], pad: int
) -> Float[Array, "n a b o"]:
    """Convolves a picture, with `pad` rows and columns of zeros around it.

    Args:
        x: shape (N, H, W, I).
        transformed: kernels from `transform_kernel`.
        pad: how many zeros on each side.

    Returns:
        Shape (N, H + 2 pad - 2, W + 2 pad - 2, O).
    """
    channels = transformed.shape[2]
    n, h, w = x.shape[0], x.shape[1] + 2 * pad - 2, x.shape[2] + 2 * pad - 2
    strips, rows, columns = _split(n, h, w, sum(transformed.shape[1:]))
    x = jax.lax.optimization_barrier(_pad_to_tiles(x, pad, strips * rows, columns))

    def strip(i: int | Array) -> Array:
        tiles = _tiles(_rows_of(x, i, rows, 2), rows, columns)
        products = jax.lax.dot_general(tiles, transformed, (((2,), (1,)), ((0,), (0,))))
        return _squares(products.reshape(6, 6, n, rows, columns, channels))

    if strips == 1:
        y = strip(0)
    else:
        empty = blank((n, 4 * strips * rows, 4 * columns, channels), x)
        y = jax.lax.fori_loop(
            0,
            strips,
            lambda i, y: jax.lax.dynamic_update_slice_in_dim(y, strip(i), 4 * rows * i, 1),
            empty,
        )
    return y[:, :h, :w]


def kernel_gradient(
    x: Float[Array, "n h w i"], gradient: Float[Array, "n a b o"], pad: int
) -> Float[Array, "3 3 i o"]:
    """The gradient with respect to the kernel, before its transformation.

    Args:
        x: the picture that was convolved.
        gradient: with respect to the result.
        pad: of the convolution.

    Returns:
        Shape (3, 3, I, O).
    """
    n, h, w, _ = gradient.shape
    channels = x.shape[3], gradient.shape[3]
    strips, rows, columns = _split(n, h, w, sum(channels))
    x = _pad_to_tiles(x, pad, strips * rows, columns)
    rest = (0, 4 * strips * rows - h), (0, 4 * columns - w)
    gradient = jnp.pad(gradient, ((0, 0), *rest, (0, 0)))

    def strip(i: int | Array) -> Array:
        tiles = _tiles(_rows_of(x, i, rows, 2), rows, columns)
        squares = _squares_transposed(_rows_of(gradient, i, rows, 0), rows, columns)
        return jax.lax.dot_general(tiles, squares, (((1,), (1,)), ((0,), (0,))))

    if strips == 1:
        total = strip(0)
    else:
        zero = jnp.zeros((36, *channels), x.dtype)
        total = jax.lax.fori_loop(0, strips, lambda i, total: total + strip(i), zero)
    return (jnp.asarray(_KERNEL.T, x.dtype) @ total.reshape(36, -1)).reshape(3, 3, *channels)


def _split(n: int, h: int, w: int, channels: int) -> tuple[int, int, int]:
    """How many strips of how many rows of how many tiles cover `n` results of h by w pixels."""
    rows, columns = max(1, -(-h // 4)), max(1, -(-w // 4))
    row_bytes = 36 * n * columns * channels * 4
    strips = min(rows, max(1, round(rows * row_bytes / STRIP_BYTES)))
    least_rows = -(-LEAST_TILES // (n * columns))
    rows_each = max(-(-rows // strips), min(rows, least_rows))
    return -(-rows // rows_each), rows_each, columns


def _pad_to_tiles(x: Array, pad: int, rows: int, columns: int) -> Array:
    h, w = x.shape[1:3]
    around = (pad, 4 * rows + 2 - h - pad), (pad, 4 * columns + 2 - w - pad)
    return jnp.pad(x, ((0, 0), *around, (0, 0)))


def _rows_of(x: Array, strip: int | Array, rows: int, overlap: int) -> Array:
    if x.shape[1] == 4 * rows + overlap:
        return x
    return jax.lax.dynamic_slice_in_dim(x, 4 * rows * strip, 4 * rows + overlap, 1)


def _every_fourth(x: Array, first: int, count: int, axis: int) -> Array:
    return jax.lax.slice_in_dim(x, first, first + 4 * count - 3, 4, axis)


# All three transformations stack the rows before transforming the columns: otherwise compilation
# takes four times as long, and the sums of rows are computed again for each column.


def _tiles(x: Array, rows: int, columns: int) -> Array:
    """Tiles of a picture at the points: (N, 4 rows + 2, 4 columns + 2, C) to (36, tiles, C)."""
    x = jnp.stack(_transform_tile([_every_fourth(x, k, rows, 1) for k in range(6)]))
    x = jnp.stack(_transform_tile([_every_fourth(x, k, columns, 3) for k in range(6)]), 1)
    return x.reshape(36, -1, x.shape[-1])


def _squares(products: Array) -> Array:
    """Values at the points to 4×4 squares, side by side: (N, 4 rows, 4 columns, C)."""
    y = jnp.stack(_interpolate([products[k] for k in range(6)]), 3)
    y = jnp.stack(_interpolate([y[k] for k in range(6)]), 4)
    n, rows, _, columns, _, channels = y.shape
    return y.reshape(n, 4 * rows, 4 * columns, channels)


def _squares_transposed(gradient: Array, rows: int, columns: int) -> Array:
    """The transpose of `_squares`: to (36, tiles, C)."""
    g = jnp.stack(_interpolate_transposed([_every_fourth(gradient, k, rows, 1) for k in range(4)]))
    g = jnp.stack(_interpolate_transposed([_every_fourth(g, k, columns, 3) for k in range(4)]), 1)
    return g.reshape(36, -1, g.shape[-1])


def _transform_tile(d: Sequence[Array]) -> list[Array]:
    """From six values in a row to six points: sums by powers of p, even and odd ones separately."""
    even_low, odd_low = d[4] - 2 * d[2], _LOW * d[3] - _HIGH * d[1]
    even_high, odd_high = d[4] - 0.5 * d[2], _HIGH * d[3] - _LOW * d[1]
    return [
        d[0] - 2.5 * d[2] + d[4],
        (odd_low + even_low) / _DIVISOR_LOW,
        (odd_low - even_low) / _DIVISOR_LOW,
        (odd_high + even_high) / _DIVISOR_HIGH,
        (odd_high - even_high) / _DIVISOR_HIGH,
        d[1] - 2.5 * d[3] + d[5],
    ]


def _interpolate(m: Sequence[Array]) -> list[Array]:
    """From values at six points to four in a row: sums of m p^k, and m at ∞ in the last."""
    zero, low, minus_low, high, minus_high, infinite = m
    even_low, odd_low = low + minus_low, low - minus_low
    even_high, odd_high = high + minus_high, high - minus_high
    return [
        zero + even_low + even_high,
        _LOW * odd_low + _HIGH * odd_high,
        _LOW**2 * even_low + _HIGH**2 * even_high,
        _LOW**3 * odd_low + _HIGH**3 * odd_high + infinite,
    ]


def _interpolate_transposed(g: Sequence[Array]) -> list[Array]:
    """The transpose of `_interpolate`: four values in a row to six points."""
    even_low, odd_low = g[0] + _LOW**2 * g[2], _LOW * g[1] + _LOW**3 * g[3]
    even_high, odd_high = g[0] + _HIGH**2 * g[2], _HIGH * g[1] + _HIGH**3 * g[3]
    return [
        g[0],
        even_low + odd_low,
        even_low - odd_low,
        even_high + odd_high,
        even_high - odd_high,
        g[3],
    ]
