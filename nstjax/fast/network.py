"""The style networks: they turn a photograph into a painting, in one pass."""

from collections.abc import Mapping
from functools import cache, partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.errors import NstjaxError
from nstjax.fast.johnson import Johnson
from nstjax.fast.layers import StyleModule, WrongParams
from nstjax.fast.settings import Architecture
from nstjax.fast.subpixel import SubPixel
from nstjax.fast.tree import named_leaves
from nstjax.ops import Program, by_rows, materialize
from nstjax.ops.rowwise import Picture

Params = Mapping[str, Any]

NETWORKS: dict[str, type[StyleModule]] = {"johnson": Johnson, "subpixel": SubPixel}
MINIMUM_SIZE = 16  # pixels a side; smaller pictures are too small for the padding by reflection


def _network(architecture: Architecture, dtype: str = "float32") -> StyleModule:
    return NETWORKS[architecture.design](architecture, dtype)


def check_side(height: int, width: int) -> None:
    """Raises an error for people if a picture is too small for a style network.

    Args:
        height: of the picture, in pixels.
        width: likewise.

    Raises:
        NstjaxError: if it is.
    """
    if min(height, width) < MINIMUM_SIZE:
        raise NstjaxError(
            f"a picture of {width}×{height} pixels is too small for a style network, which "
            f"needs {MINIMUM_SIZE} pixels a side: use a larger picture or --size"
        )


def init_params(architecture: Architecture, key: Array) -> Params:
    """Draws a network's first parameters.

    Args:
        architecture: of the network.
        key: from `jax.random.key`.

    Returns:
        The parameters, float32, by layer name.
    """
    image = jnp.zeros((1, MINIMUM_SIZE, MINIMUM_SIZE, 3))
    # Compiled, it only draws parameters; step by step, it would also paint the picture.
    return jax.jit(_network(architecture).init)(key, image)["params"]


def check_params(architecture: Architecture, params: Params, *, whose: str = "of a style") -> None:
    """Raises an error for people if parameters are not those of a network.

    Args:
        architecture: of the network.
        params: by layer name.
        whose: what the message says of them.

    Raises:
        NstjaxError: if an array is missing, of another shape, or one too many.
    """
    expected, found = _shapes_of(architecture), _shapes(params)
    for name in sorted(expected.keys() | found.keys()):
        shapes = [shapes.get(name, "no array") for shapes in (expected, found)]
        if shapes[0] != shapes[1]:
            raise NstjaxError(
                f"the parameters {whose} are not those of its network, {architecture.design!r}, as "
                f"this version knows it: {name} should be {shapes[0]} and is {shapes[1]}; update "
                "nstjax, or train the style anew"
            )


@cache
def _shapes_of(architecture: Architecture) -> dict[str, tuple[int, ...]]:
    network = _network(architecture)
    image = jnp.zeros((1, MINIMUM_SIZE, MINIMUM_SIZE, 3))
    return _shapes(jax.eval_shape(lambda: network.init(jax.random.key(0), image))["params"])


def _shapes(params: Params) -> dict[str, tuple[int, ...]]:
    return {name: leaf.shape for name, leaf in named_leaves(params).items()}


def paint(
    architecture: Architecture,
    params: Params,
    image: Float[Array, "n h w 3"],
    *,
    dtype: str = "float32",
    tile: int | None = None,
) -> Float[Array, "n h w 3"]:
    """Paints pictures in the style that a network was trained for.

    Args:
        architecture: of the network.
        params: its parameters.
        image: RGB in [0, 1], shape (N, H, W, 3), from 16 pixels a side.
        dtype: what convolutions compute in.
        tile: how many rows to compute at a time: less memory, more time, and the same picture but
            for rounding. None computes every layer as a whole.

    Returns:
        The pictures, same shape, float32, not clipped.

    Raises:
        NstjaxError: if a side is too short, or the parameters are not those of the network.
    """
    check_side(*image.shape[1:3])
    try:
        # Without mutable collections, apply returns just what the module does.
        picture = image if tile is None else by_rows(image, tile)
        return materialize(
            cast(Picture, _network(architecture, dtype).apply({"params": params}, picture))
        )
    except WrongParams:
        check_params(architecture, params)  # says which
        raise


@partial(Program, static_argnames=("architecture", "dtype", "tile"))
def paint_clipped(
    architecture: Architecture,
    dtype: str,
    params: Params,
    image: Float[Array | np.ndarray, "n h w 3"],
    tile: int | None = None,
) -> Float[Array, "n h w 3"]:
    """Like `paint`, but compiled, and clipped to [0, 1]."""
    return jnp.clip(paint(architecture, params, jnp.asarray(image), dtype=dtype, tile=tile), 0, 1)


def auto_precision() -> str:
    """Returns the dtype that is best for convolutions on the devices at hand."""
    return "float32" if jax.default_backend() == "cpu" else "bfloat16"
