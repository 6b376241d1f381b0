"""How much memory it takes to summarise a network's activations."""

import math

from nstjax.vgg.layers import activation_shape, minimum_size
from nstjax.vgg.tiles import halo_of, parts_of, rows_of_part

_FLOAT = 4
# Memory for activations with their gradients and padded copies, in multiples of the activations:
# untiled, and of a tile. By the fit in tests/test_memory.py.
_UNTILED, _TILED = 1.35, 1.6
# Without a gradient: a layer's input, the same padded, and its output. Measured at 512² to 2048².
_FORWARD = 3
# Working memory of Winograd's algorithm for a strip.
_STRIPS = 15e6


def gradient_bytes(
    network: str, layers: tuple[str, ...], height: int, width: int, rows: int | None
) -> int:
    """Estimates the memory of the gradient through `summarize_features`, without its arguments.

    Part by part: the inputs of the parts are stored. The activations of a tile, or of all parts
    that are computed as a whole, exist while their gradients are computed.

    Args:
        network: `"vgg16"` or `"vgg19"`.
        layers: names of the activations.
        height: of the picture, in pixels.
        width: likewise.
        rows: of a tile; None computes everything at once.

    Returns:
        Bytes, for float32.
    """
    parts = parts_of(network, layers)
    given = _FLOAT * 3 * height * width
    kept, most = 0, 0
    for number, names in enumerate(parts):
        scale = minimum_size(names[0])
        own_rows = rows_of_part(names, height // scale, rows)
        if not own_rows:
            whole = sum(_bytes(name, height, width) for part in parts[number:] for name in part)
            return int(max(most, kept + 2 * given + _UNTILED * whole) + _STRIPS)
        tile_height = (own_rows + 2 * halo_of(names)) * scale
        tile = sum(_bytes(name, tile_height, width) for name in names)
        made = _bytes(names[-1], height, width) if names[-1].endswith("pool") else 0
        most = max(most, kept + 2 * given + made + _TILED * tile)
        kept, given = kept + given, made
    return int(most + _STRIPS)


def forward_bytes(
    network: str, layers: tuple[str, ...], height: int, width: int, rows: int | None
) -> int:
    """Estimates the memory of `summarize_features` for sums alone, without a gradient.

    Args:
        network: `"vgg16"` or `"vgg19"`.
        layers: names of the activations.
        height: of the picture, in pixels.
        width: likewise.
        rows: of a tile; None: all at once.

    Returns:
        Bytes, for float32, the picture's own included.
    """
    given, most = _FLOAT * 3 * height * width, 0
    for names in parts_of(network, layers):
        scale = minimum_size(names[0])
        own_rows = rows_of_part(names, height // scale, rows)
        computed = (own_rows + 2 * halo_of(names)) * scale if own_rows else height
        largest = max(_bytes(name, computed, width) for name in names)
        made = _bytes(names[-1], height, width) if names[-1].endswith("pool") else 0
        most = max(most, given + bool(own_rows) * made + _FORWARD * largest)
        given = made
    return int(most + _STRIPS)


def _bytes(name: str, height: int, width: int) -> int:
    return _FLOAT * math.prod(activation_shape(name, height, width))
