"""Convolutions as matrix products on CPUs, on a few rows of the picture at a time.

A product's inputs are gathered from the picture and take many times its size. A few rows at a time,
they stay in the cache, and megapixels need little memory.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

# Bytes of gathered inputs and products in a strip.
STRIP_BYTES = 3 * 2**20


def over_strips(
    height: int, rows: int, step: Callable[[Array, Array, Any], Any], start: Any
) -> Any:
    """Goes through a picture's rows from the top, `rows` at a time.

    Args:
        height: how many rows there are.
        rows: of a strip, at most `height`.
        step: `step(first, repeated, carry) -> carry`: `first` is the index of a strip's first row;
            its first `repeated` rows were in the previous strip, which happens in the last one.
        start: the first `carry`.

    Returns:
        The last one.
    """

    def at(i: Array, carry: Any) -> Any:
        first = jnp.minimum(i * rows, height - rows)
        return step(first, i * rows - first, carry)

    return jax.lax.fori_loop(0, -(-height // rows), at, start)


def map_rows(
    strip: Callable[[Array, Array, int], Array],
    x: Array,
    height: int,
    row_bytes: int,
    shape: tuple[int, ...],
) -> Array:
    """Computes a picture by strips.

    Args:
        strip: `strip(x, first, rows)` computes that part of the picture.
        x: what the picture is computed from, shape (N, H, W, C).
        height: how many rows there are. For each, the result may have several.
        row_bytes: of memory that computing one of them takes.
        shape: of the result.

    Returns:
        The picture.
    """
    rows = _rows_at_a_time(height, row_bytes)
    scale = shape[1] // height
    x = jax.lax.optimization_barrier(x)

    def step(first: Array, _: Array, picture: Array) -> Array:
        part = strip(x, first, rows)
        return jax.lax.dynamic_update_slice_in_dim(picture, part, scale * first, 1)

    return over_strips(height, rows, step, blank(shape, x))


def sum_rows(
    strip: Callable[[Array, int, Array], Array],
    height: int,
    row_bytes: int,
    shape: tuple[int, ...],
) -> Array:
    """Sums over the rows of a picture by strips.

    Args:
        strip: `strip(first, rows, new)` sums over those rows; `new`, shape (1, rows, 1, 1), is 1
            for each of them, or 0 if it has been counted already.
        height: how many rows there are.
        row_bytes: of memory that one of them takes.
        shape: of the result.

    Returns:
        The sum.
    """
    rows = _rows_at_a_time(height, row_bytes)

    def step(first: Array, repeated: Array, total: Array) -> Array:
        new = jnp.arange(rows) >= repeated
        return total + strip(first, rows, new[None, :, None, None].astype(total.dtype))

    return over_strips(height, rows, step, jnp.zeros(shape, jnp.float32))


def blank(shape: tuple[int, ...], x: Array) -> Array:
    """An output buffer whose content does not matter.

    It depends on `x`, shape (N, H, W, C): XLA would allocate a constant at the program's start, for
    every layer at once.
    """
    return jnp.full(shape, x[0, 0, 0, 0])


def rows_of(x: Array, first: Array, rows: int) -> Array:
    """Some rows of pictures (N, H, W, C)."""
    return jax.lax.dynamic_slice_in_dim(x, first, rows, 1)


def _rows_at_a_time(height: int, row_bytes: int) -> int:
    strips = -(-height * row_bytes // STRIP_BYTES)
    return -(-height // min(height, max(1, strips)))
