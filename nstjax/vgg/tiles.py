"""Activations of pictures whose activations are too many to keep, a few rows at a time."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from jaxtyping import Array, Float

from nstjax.ops import map_tiles
from nstjax.vgg.layers import layer_names
from nstjax.vgg.network import VGG, Features, Params
from nstjax.vgg.preprocess import preprocess

# Tiles of the later blocks have more rows, by this factor. Their halos are wider, computing them
# again costs more, and they need less memory: at 1024² and 32 rows a step of the pixel route takes
# 1.3 times as long as untiled if they are left untiled, and 1.8 times if they get 32 rows, too.
_ROWS = {"block1": 1, "block2": 1, "block3": 4, "block4": 4, "block5": 4}


class Summary(NamedTuple):
    """What is kept of a layer's activations: trees of arrays, None for nothing.

    Attributes:
        whole: pictures, of some rows or of all.
        sums: over those rows.
    """

    whole: Any = None
    sums: Any = None


# Of a layer: its name, rows of activations and of their target.
Summarize = Callable[[str, Array, Any], Summary]


def summarize_features(
    summarize: Summarize,
    params: Params,
    images: Float[Array | np.ndarray, "n h w 3"],
    targets: Mapping[str, Array],
    *,
    network: str,
    layers: tuple[str, ...],
    preprocessing: str,
    pooling: str,
    first_padding: str,
    dtype: str,
    rows: int | None,
) -> dict[str, Summary]:
    """Computes what is wanted of a network's activations, without keeping all of them.

    Block by block, each on a few rows of its input at a time, as long as that has more. Between
    the blocks the activations are whole. Rows at a tile's border are computed twice, and the tiled
    blocks once more for the gradient.

    Args:
        summarize: from a layer's name, activations of some rows, and those rows of its target, or
            None, to what is kept of them. To the sums, zeros must add nothing. Where there is a
            target, its zeros lie where those of the activations do.
        params: of the network, as for `extract_features`; they have no gradient here.
        images: RGB in [0, 1], shape (N, H, W, 3).
        targets: by layer, of the shape of its activations; not for every layer. They have no
            gradient either.
        network: `"vgg16"` or `"vgg19"`.
        layers: names of the activations, as `layer_names` has them.
        preprocessing: as `Weights.preprocessing`.
        pooling: as `VGG.pooling`.
        first_padding: as `VGG.first_padding`.
        dtype: what to compute in.
        rows: of a tile, even, in the first two blocks; None keeps everything.

    Returns:
        Whole pictures and their sums, by layer.

    Raises:
        NstjaxError: if a name is unknown, or a picture is too small for a layer.
    """
    x = preprocess(images, preprocessing)
    blocks = blocks_of(network, layers)
    found: dict[str, Summary] = {}
    while blocks:
        own_rows = rows_of_block(blocks[0][0], rows)
        tiled = 0 < own_rows < x.shape[1]
        names = blocks.pop(0) if tiled else [name for block in blocks for name in block]
        last = not tiled or not blocks
        wanted = tuple(name for name in names if name in layers)
        after = () if last else (names[-1],)
        needed = tuple(dict.fromkeys((*wanted, *after)))
        vgg = VGG(network, needed, pooling, dtype, names[0], first_padding)
        if not tiled:
            features = cast(Features, vgg.apply({"params": params}, x))
            return found | {n: summarize(n, features[n], targets.get(n)) for n in wanted}
        tile = partial(_summarize_tile, summarize, vgg, wanted, after, own_rows)
        convolutions = sum("conv" in name for name in names)
        # Even, so that the squares of the pool lie as they do in the whole.
        halo = convolutions + convolutions % 2
        own_params = {name: params[name] for name in names if name in params}
        own_targets = {name: targets[name] for name in wanted if name in targets}
        (whole, pictures), sums = map_tiles(tile, own_rows, halo, x, own_targets, own_params)
        for name in wanted:
            height = x.shape[1] // _scale(name)
            picture = jax.tree.map(lambda y, height=height: y[:, :height], pictures[name])
            found[name] = Summary(picture, sums[name])
        if not last:
            x = whole[names[-1]][:, : x.shape[1] // 2]
    return found


def _summarize_tile(
    summarize: Summarize,
    vgg: VGG,
    wanted: tuple[str, ...],
    after: tuple[str, ...],
    rows: int,
    x: Array,
    inside: Array,
    targets: Features,
    params: Params,
) -> tuple[Any, Any]:
    """A tile of a block: what the next one is given, and pictures; and sums."""
    features = cast(Features, vgg.apply({"params": params}, x, inside))
    for name, y in features.items():
        halo = (x.shape[1] - rows) // 2 // _scale(name)
        features[name] = y[:, halo : halo + rows // _scale(name)]
    parts = {name: summarize(name, features[name], targets.get(name)) for name in wanted}
    pictures = {name: part.whole for name, part in parts.items()}
    sums = {name: part.sums for name, part in parts.items()}
    return ({name: features[name] for name in after}, pictures), sums


def rows_of_block(layer: str, rows: int | None) -> int:
    """The rows of a tile of the block that a layer is in, at the block's own scale; 0: untiled."""
    return (rows or 0) * _ROWS[layer[: len("block1")]]


def blocks_of(network: str, layers: tuple[str, ...]) -> list[list[str]]:
    """The names of the layers up to the last of some, by block."""
    names = layer_names(network)
    names = names[: 1 + max(names.index(name) for name in layers)]
    return [list(block) for _, block in groupby(names, key=lambda name: name[: len("block1")])]


def _scale(name: str) -> int:
    """How many rows that a block is given make one of a layer's."""
    return 2 if name.endswith("pool") else 1
