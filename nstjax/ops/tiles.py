"""Pictures worked on a few rows at a time, so that megapixels need little memory.

A tile depends on its own rows of the picture and on a halo of some rows above and below. What of
these lies in the picture is its window; zeros stand for the rest:

     picture     first tile   one between   last tile
                      0
    ┌────────┐        t
    │        │        t            h
    │        │        h            t
    │        │                     t            h
    │        │                     h            t
    └────────┘                                  0
                                                0

    t: rows of the tile, h: of its halos, 0: zeros in place of either

The gradient computes each tile again: of a tile, only its inputs are kept.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from nstjax.ops.strips import blank, rows_of

Tile = Callable[[Array, Bool[Array, " rows"], Any, Any], tuple[Any, Any]]
Residuals = tuple[Array, Any, Any]


def map_tiles(
    tile: Tile, rows: int, halo: int, x: Float[Array, "n h w c"], aligned: Any, operands: Any
) -> tuple[Any, Any]:
    """Computes pictures, and sums over their rows, from tiles of another picture.

    It can be differentiated with respect to `x`, once.

    Args:
        tile: `tile(part, inside, aligned, operands) -> (pictures, sums)`. `part` is rows of `x`,
            from `halo` above the tile to `halo` below; outside of `x` they are zeros, which must
            add nothing to the sums. `inside` says which rows lie in `x`. `aligned` and the pictures
            are any trees of arrays (N, H, …), with `rows` rows a tile, or a whole factor fewer.
        rows: of a tile.
        halo: how many more rows a tile needs on either side.
        x: shape (N, H, W, C).
        aligned: cut into rows as `x` is, without a halo.
        operands: passed whole to every tile.

    Returns:
        The pictures, with as many rows as all tiles together, which can be more than `x` has; and
        the sums.
    """
    return cast(tuple[Any, Any], _map_tiles(tile, rows, halo, x, aligned, operands))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _map_tiles(
    tile: Tile, rows: int, halo: int, x: Array, aligned: Any, operands: Any
) -> tuple[Any, Any]:
    tiles, aligned = _cut(rows, x, aligned)

    def compute(i: Array) -> tuple[Any, Any]:
        window, _ = _window(rows, halo, x, i)
        part = _with_zeros(rows, halo, x, i, window)
        return tile(part, *_about_tile(rows, halo, x, aligned, i), operands)

    def step(i: Array, done: tuple[Any, Any]) -> tuple[Any, Any]:
        pictures, sums = done
        part, terms = compute(i)
        return jax.tree.map(partial(_put, i), pictures, part), jax.tree.map(jnp.add, sums, terms)

    part, terms = jax.eval_shape(compute, jnp.int32(0))
    pictures = jax.tree.map(
        lambda p: blank((p.shape[0], tiles * p.shape[1], *p.shape[2:]), x).astype(p.dtype), part
    )
    sums = jax.tree.map(lambda term: jnp.zeros(term.shape, term.dtype), terms)
    return jax.lax.fori_loop(0, tiles, step, (pictures, sums))


def _forward(
    tile: Tile, rows: int, halo: int, x: Array, aligned: Any, operands: Any
) -> tuple[tuple[Any, Any], Residuals]:
    return _map_tiles(tile, rows, halo, x, aligned, operands), (x, aligned, operands)


def _backward(
    tile: Tile, rows: int, halo: int, residuals: Residuals, gradients: tuple[Any, Any]
) -> tuple[Array, None, None]:
    x, aligned, operands = residuals
    for_pictures, for_sums = gradients
    tiles, aligned = _cut(rows, x, aligned)

    def step(i: Array, gradient: Array) -> Array:
        window, first = _window(rows, halo, x, i)
        inside, own = _about_tile(rows, halo, x, aligned, i)

        def compute(window: Array) -> tuple[Any, Any]:
            return tile(_with_zeros(rows, halo, x, i, window), inside, own, operands)

        _, vjp = jax.vjp(compute, window)
        for_tile = jax.tree.map(partial(_part, i, tiles), for_pictures)
        (for_window,) = vjp((for_tile, for_sums))
        so_far = rows_of(gradient, first, window.shape[1])
        return jax.lax.dynamic_update_slice_in_dim(gradient, so_far + for_window, first, 1)

    # The buffer depends on the gradients: XLA would allocate a constant, or one that depends on
    # `x`, long before it is needed, while the later layers are still at work.
    late = sum(jnp.ravel(leaf)[0].astype(x.dtype) for leaf in jax.tree.leaves(gradients))
    return jax.lax.fori_loop(0, tiles, step, jnp.full(x.shape, 0 * late)), None, None


_map_tiles.defvjp(_forward, _backward)


def _cut(rows: int, x: Array, aligned: Any) -> tuple[int, Any]:
    """The number of tiles, and the aligned pictures padded below to whole tiles."""
    height = x.shape[1]
    tiles = -(-height // rows)

    def pad(array: Array) -> Array:
        below = tiles * (rows // (height // array.shape[1])) - array.shape[1]
        return jnp.pad(array, ((0, 0), (0, below), *[(0, 0)] * (array.ndim - 2)))

    return tiles, jax.tree.map(pad, aligned)


def _window(rows: int, halo: int, x: Array, i: Array) -> tuple[Array, Array]:
    """The rows of `x` nearest to a tile, as many as it has with its halos; and the first one."""
    window = min(rows + 2 * halo, x.shape[1])
    first = jnp.clip(i * rows - halo, 0, x.shape[1] - window)
    return rows_of(x, first, window), first


def _with_zeros(rows: int, halo: int, x: Array, i: Array, window: Array) -> Array:
    """A tile with its halos, from its window, with zeros outside of `x`.

    The window is padded: padding all of `x` would copy it.
    """
    around = (0, 0), (halo, rows + halo), *[(0, 0)] * (x.ndim - 2)
    first = jnp.clip(i * rows - halo, 0, x.shape[1] - window.shape[1])
    return rows_of(jnp.pad(window, around), i * rows - first, rows + 2 * halo)


def _about_tile(rows: int, halo: int, x: Array, aligned: Any, i: Array) -> tuple[Array, Any]:
    height = x.shape[1]
    numbers = i * rows - halo + jnp.arange(rows + 2 * halo)
    inside = (numbers >= 0) & (numbers < height)
    return inside, jax.tree.map(partial(_part, i, -(-height // rows)), aligned)


def _part(i: Array, parts: int, array: Array) -> Array:
    rows = array.shape[1] // parts
    return rows_of(array, i * rows, rows)


def _put(i: Array, picture: Array, part: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(picture, part, i * part.shape[1], 1)
