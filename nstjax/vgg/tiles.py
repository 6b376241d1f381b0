"""Activations that would not fit into memory, computed a few rows at a time."""

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

# What one part of the network passes to the next is stored whole. The first pool's result would be
# by far the largest, five pictures of float32 and as much for its gradient. It is not stored: the
# first two blocks are one part, at the cost of a few more rows that are computed twice.
_PART = {"block1": "block2"}


class Summary(NamedTuple):
    """What is kept of a layer's activations, as trees of arrays; None for nothing.

    Attributes:
        whole: pictures, of some rows or of all.
        sums: over those rows.
    """

    whole: Any = None
    sums: Any = None


# Its arguments: a layer's name, and rows of its activations and of their target.
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
    """Computes a summary of a network's activations, without keeping all of them.

    It works part by part, on some rows of a part's input at a time, as long as the input has more.
    Between parts, the activations are whole. Rows at a tile's border are computed twice, and tiled
    parts once more for the gradient.

    Args:
        summarize: `summarize(layer, activations, target)`, for some rows; the target is None where
            there is none. Zeros must add nothing to the sums. Where activations are zeros because
            they lie outside of the picture, so is the target.
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
        rows: of a tile's input, in every part; None computes everything at once.

    Returns:
        Whole pictures and their sums, by layer.

    Raises:
        NstjaxError: if a name is unknown, or a picture is too small for a layer.
    """
    vgg = partial(VGG, network=network, pooling=pooling, dtype=dtype, first_padding=first_padding)
    job = _Job(summarize, vgg, params, targets, layers)
    x = preprocess(images, preprocessing)
    parts = parts_of(network, layers)
    found: dict[str, Summary] = {}
    for number, names in enumerate(parts):
        own_rows = rows_of_part(names, x.shape[1], rows)
        if not own_rows:  # nor would a later part, whose input has fewer rows, be cut
            return found | _summarize_whole(job, [n for part in parts[number:] for n in part], x)
        summaries, x = _summarize_by_tiles(job, names, own_rows, x, last=names is parts[-1])
        found |= summaries
    return found


class _Job(NamedTuple):
    """What is the same for all parts: `vgg` makes the network, given `first` and `layers`."""

    summarize: Summarize
    vgg: Callable[..., VGG]
    params: Params
    targets: Mapping[str, Array]
    layers: tuple[str, ...]

    def wanted(self, names: list[str]) -> tuple[str, ...]:
        """Those of a part's layers whose activations are summarised."""
        return tuple(name for name in names if name in self.layers)


def _summarize_whole(job: _Job, names: list[str], x: Array) -> dict[str, Summary]:
    """The summaries of a part's layers, all rows at once; `x` is the part's input."""
    wanted = job.wanted(names)
    vgg = job.vgg(first=names[0], layers=wanted)
    features = cast(Features, vgg.apply({"params": job.params}, x))
    return {name: job.summarize(name, features[name], job.targets.get(name)) for name in wanted}


def _summarize_by_tiles(
    job: _Job, names: list[str], rows: int, x: Array, *, last: bool
) -> tuple[dict[str, Summary], Array]:
    """The summaries of a part's layers, and the next part's input, where this is not the last."""
    wanted = job.wanted(names)
    after = () if last else (names[-1],)
    vgg = job.vgg(first=names[0], layers=tuple(dict.fromkeys((*wanted, *after))))
    tile = partial(_summarize_tile, job.summarize, vgg, wanted, after, rows)
    params = {name: job.params[name] for name in names if name in job.params}
    targets = {name: job.targets[name] for name in wanted if name in job.targets}
    (passed_on, pictures), sums = map_tiles(tile, rows, halo_of(names), x, targets, params)

    def without_rest(name: str, picture: Array) -> Array:
        # All tiles have as many rows, together perhaps more than there are.
        return picture[:, : x.shape[1] // _scale(names[0], name)]

    found = {
        name: Summary(jax.tree.map(partial(without_rest, name), pictures[name]), sums[name])
        for name in wanted
    }
    return found, x if last else without_rest(names[-1], passed_on[names[-1]])


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
    """A tile of a part: the next part's input and the pictures; and the sums."""
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
    """The names of the layers up to the last one needed, by the parts of the network."""
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
        rows: at most, or slightly more if the part's pools need it.

    Returns:
        Rows of its input, about the same in each tile; 0 if there is only one tile.
    """
    if rows is None or rows >= height:
        return 0
    tiles, whole = -(-height // rows), _scale(names[0], names[-1])
    return -(-height // (tiles * whole)) * whole


def halo_of(names: list[str]) -> int:
    """The rows above and below a tile that its activations depend on, for a part's layers.

    Rounded up to whole squares of its pools, so that these lie as in the whole picture.
    """
    reach = sum(_scale(names[0], name) for name in names if "conv" in name)
    whole = _scale(names[0], names[-1])
    return -(-reach // whole) * whole


def _scale(first: str, name: str) -> int:
    """How many rows of a part's input make one row of a layer, given the part's first layer."""
    return minimum_size(name) // minimum_size(first)
