"""Pictures worked on a few rows at a time, so that megapixels need little memory.

The gradient computes each tile again: nothing of a tile is kept but what it was computed from.
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
        tile: from rows of `x`, which of them lie inside it, those rows of `aligned`, and
            `operands`, to rows of pictures and sums. The rows of `x` begin `halo` above the tile
            and end `halo` below; outside of `x` they are zeros, and whatever the tile makes of
            those must add nothing to the sums. `aligned` and the pictures are any trees of arrays
            (N, H, …), of `rows` rows to a tile, or fewer by a whole factor.
        rows: of a tile; even.
        halo: how many more a tile needs on either side.
        x: shape (N, H, W, C).
        aligned: cut into rows as `x` is, without a halo.
        operands: given whole to every tile.

    Returns:
        The pictures, of as many rows as the tiles have together, which can be more than `x` has;
        and the sums.
    """
    return cast(tuple[Any, Any], _map_tiles(tile, rows, halo, x, aligned, operands))


@partial(jax.custom_vjp, nondiff_argnums=(0, 1, 2))
def _map_tiles(
    tile: Tile, rows: int, halo: int, x: Array, aligned: Any, operands: Any
) -> tuple[Any, Any]:
    tiles, padded, aligned = _cut(rows, halo, x, aligned)

    def compute(i: Array) -> tuple[Any, Any]:
        return tile(*_tile_of(rows, halo, x, padded, aligned, i), operands)

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
    tiles, padded, aligned = _cut(rows, halo, x, aligned)

    def step(i: Array, gradient: Array) -> Array:
        part, inside, own = _tile_of(rows, halo, x, padded, aligned, i)
        _, vjp = jax.vjp(lambda part: tile(part, inside, own, operands), part)
        for_tile = jax.tree.map(partial(_part, i, tiles), for_pictures)
        (for_part,) = vjp((for_tile, for_sums))
        so_far = rows_of(gradient, i * rows, rows + 2 * halo)
        return jax.lax.dynamic_update_slice_in_dim(gradient, so_far + for_part, i * rows, 1)

    gradient = jax.lax.fori_loop(0, tiles, step, 0 * blank(padded.shape, x))
    return gradient[:, halo : halo + x.shape[1]], None, None


_map_tiles.defvjp(_forward, _backward)


def _cut(rows: int, halo: int, x: Array, aligned: Any) -> tuple[int, Array, Any]:
    """The number of tiles, and the pictures with zeros around and below, to be whole tiles."""
    height = x.shape[1]
    tiles = -(-height // rows)

    def pad(array: Array, above: int, height: int) -> Array:
        below = height - above - array.shape[1]
        return jnp.pad(array, ((0, 0), (above, below), *[(0, 0)] * (array.ndim - 2)))

    aligned = jax.tree.map(
        lambda array: pad(array, 0, tiles * (rows // round(height / array.shape[1]))), aligned
    )
    return tiles, pad(x, halo, tiles * rows + 2 * halo), aligned


def _tile_of(
    rows: int, halo: int, x: Array, padded: Array, aligned: Any, i: Array
) -> tuple[Array, Array, Any]:
    height = x.shape[1]
    numbers = i * rows - halo + jnp.arange(rows + 2 * halo)
    return (
        rows_of(padded, i * rows, rows + 2 * halo),
        (numbers >= 0) & (numbers < height),
        jax.tree.map(partial(_part, i, -(-height // rows)), aligned),
    )


def _part(i: Array, parts: int, array: Array) -> Array:
    rows = array.shape[1] // parts
    return rows_of(array, i * rows, rows)


def _put(i: Array, picture: Array, part: Array) -> Array:
    return jax.lax.dynamic_update_slice_in_dim(picture, part, i * part.shape[1], 1)
