"""Convolutions as matrix products on CPUs, on a few rows of the picture at a time.

A product's inputs are gathered from the picture and are many times its size: row by row they
stay in the cache, and megapixels need little memory.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

# Bytes of gathered inputs and products that are worked on at a time.
STRIP_BYTES = 3 * 2**20


def map_rows(
    strip: Callable[[Array, Array, int], Array],
    x: Array,
    height: int,
    row_bytes: int,
    shape: tuple[int, ...],
) -> Array:
    """Computes a picture by strips.

    Args:
        strip: from x, a first row and a number of rows to that part of the picture.
        x: what the picture is computed from, shape (N, H, W, C).
        height: how many rows there are. For each, the result may have several.
        row_bytes: what one of them needs to be computed.
        shape: of the result.

    Returns:
        The picture.
    """
    rows = _rows_at_a_time(height, row_bytes)
    scale = shape[1] // height
    x = jax.lax.optimization_barrier(x)

    def step(i: Array, picture: Array) -> Array:
        # The last strip may repeat rows of the one before.
        first = jnp.minimum(i * rows, height - rows)
        part = strip(x, first, rows)
        return jax.lax.dynamic_update_slice_in_dim(picture, part, scale * first, 1)

    return jax.lax.fori_loop(0, -(-height // rows), step, blank(shape, x))


def sum_rows(
    strip: Callable[[Array, int, Array], Array],
    height: int,
    row_bytes: int,
    shape: tuple[int, ...],
) -> Array:
    """Sums over the rows of a picture by strips.

    Args:
        strip: from a first row, a number of rows, and for each of them 1, or 0 if it has been
            counted already, shape (1, rows, 1, 1), to their sum.
        height: how many rows there are.
        row_bytes: what one of them needs.
        shape: of the result.

    Returns:
        The sum.
    """
    rows = _rows_at_a_time(height, row_bytes)

    def step(i: Array, total: Array) -> Array:
        first = jnp.minimum(i * rows, height - rows)
        new = jnp.arange(rows) >= i * rows - first
        return total + strip(first, rows, new[None, :, None, None].astype(total.dtype))

    return jax.lax.fori_loop(0, -(-height // rows), step, jnp.zeros(shape))


def blank(shape: tuple[int, ...], x: Array) -> Array:
    """Numbers to be overwritten, of a program that goes on from `x`, shape (N, H, W, C).

    Any would do. Those that need nothing but a constant would be written early: for all layers of
    a network at its start, which keeps them all in memory.
    """
    return jnp.full(shape, x[0, 0, 0, 0])


def rows_of(x: Array, first: Array, rows: int) -> Array:
    """Some rows of pictures (N, H, W, C)."""
    return jax.lax.dynamic_slice_in_dim(x, first, rows, 1)


def _rows_at_a_time(height: int, row_bytes: int) -> int:
    strips = -(-height * row_bytes // STRIP_BYTES)
    return -(-height // min(height, max(1, strips)))
