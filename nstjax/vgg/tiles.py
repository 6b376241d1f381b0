"""Activations of pictures whose activations are too many to keep, a few rows at a time."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import groupby
from typing import Any, NamedTuple, cast

import jax
import numpy as np
from jaxtyping import Array, Float

from nstjax.ops import map_tiles
from nstjax.vgg.layers import layer_names, minimum_size
from nstjax.vgg.network import VGG, Features, Params
from nstjax.vgg.preprocess import preprocess

# What one part of the network gives the next is kept whole. The first pool's would be the largest
# of them by far, five pictures of float32 and as much for its gradient, and is not kept: the first
# two blocks are one part, for tiles of which a few more rows are computed twice.
_PART = {"block1": "block2"}


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

    Part by part, each on some rows of its input at a time, as long as that has more. Between the
    parts the activations are whole. Rows at a tile's border are computed twice, and the tiled parts
    once more for the gradient.

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
        rows: of a tile's input, in every part; None keeps everything.

    Returns:
        Whole pictures and their sums, by layer.

    Raises:
        NstjaxError: if a name is unknown, or a picture is too small for a layer.
    """
    x = preprocess(images, preprocessing)
    parts = parts_of(network, layers)
    found: dict[str, Summary] = {}
    while parts:
        own_rows = rows_of_part(parts[0], x.shape[1], rows)
        names = parts.pop(0) if own_rows else [name for part in parts for name in part]
        last = not own_rows or not parts
        wanted = tuple(name for name in names if name in layers)
        after = () if last else (names[-1],)
        needed = tuple(dict.fromkeys((*wanted, *after)))
        vgg = VGG(
            network=network,
            layers=needed,
            pooling=pooling,
            dtype=dtype,
            first=names[0],
            first_padding=first_padding,
        )
        if not own_rows:
            features = cast(Features, vgg.apply({"params": params}, x))
            return found | {n: summarize(n, features[n], targets.get(n)) for n in wanted}
        tile = partial(_summarize_tile, summarize, vgg, wanted, after, own_rows)
        own_params = {name: params[name] for name in names if name in params}
        own_targets = {name: targets[name] for name in wanted if name in targets}
        (whole, pictures), sums = map_tiles(
            tile, own_rows, halo_of(names), x, own_targets, own_params
        )
        for name in wanted:
            height = x.shape[1] // _scale(names[0], name)
            picture = jax.tree.map(lambda y, height=height: y[:, :height], pictures[name])
            found[name] = Summary(picture, sums[name])
        if not last:
            x = whole[names[-1]][:, : x.shape[1] // _scale(names[0], names[-1])]
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
    """A tile of a part: what the next one is given, and pictures; and sums."""
    features = cast(Features, vgg.apply({"params": params}, x, inside))
    for name, y in features.items():
        scale = _scale(vgg.first, name)
        halo = (x.shape[1] - rows) // 2 // scale
        features[name] = y[:, halo : halo + rows // scale]
    parts = {name: summarize(name, features[name], targets.get(name)) for name in wanted}
    pictures = {name: part.whole for name, part in parts.items()}
    sums = {name: part.sums for name, part in parts.items()}
    return ({name: features[name] for name in after}, pictures), sums


def parts_of(network: str, layers: tuple[str, ...]) -> list[list[str]]:
    """The names of the layers up to the last of some, by the parts between which all is kept."""
    names = layer_names(network)
    names = names[: 1 + max(names.index(name) for name in layers)]

    def part(name: str) -> str:
        block = name[: len("block1")]
        return _PART.get(block, block)

    return [list(group) for _, group in groupby(names, key=part)]


def rows_of_part(names: list[str], height: int, rows: int | None) -> int:
    """The rows of the tiles of a part.

    Args:
        names: of its layers.
        height: of its input.
        rows: at most, or as few more as the part's pools need.

    Returns:
        Rows of its input, about the same in each tile; 0 where all of it is one.
    """
    if rows is None or rows >= height:
        return 0
    tiles, whole = -(-height // rows), _scale(names[0], names[-1])
    return -(-height // (tiles * whole)) * whole


def halo_of(names: list[str]) -> int:
    """The rows above and below that a tile's activations depend on, for a part's layers.

    Whole squares of its pools, so that these lie as they do in the whole.
    """
    reach = sum(_scale(names[0], name) for name in names if "conv" in name)
    whole = _scale(names[0], names[-1])
    return -(-reach // whole) * whole


def _scale(first: str, name: str) -> int:
    """How many rows that a part is given, by its first layer, make one of another's."""
    return minimum_size(name) // minimum_size(first)
