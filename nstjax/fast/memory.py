"""How much memory a pass of a style network takes."""

from nstjax.fast.settings import Architecture
from nstjax.memory import device_memory

# Tile heights, all even. Smaller ones save little: the stored middle layers dominate.
TILES = (256, 64)
# Of the host: Python, JAX, and what compiling leaves behind. Measured with jax 0.10.2 on two cores
# of x86-64 Linux, for subpixel at 1024, 2048 (also in tiles of 64 rows) and 4096 pixels.
_PROCESS = 0.43e9
# Copies of the picture on the host: as read, as the network takes and returns it, and to be saved.
_HOST_PICTURES = 4
# For each design at width 1: bytes per pixel of the picture, all at once and in tiles, and, in
# addition to the latter, bytes per pixel of a tile. By the fit in tests/test_memory.py.
_PER_PIXEL = {"johnson": (260, 98, 150), "subpixel": (106, 49, 110)}


def estimate_bytes(architecture: Architecture, height: int, width: int, tile: int | None) -> int:
    """Estimates the peak memory of a pass: of the device or, on a CPU, of the process.

    Args:
        architecture: of the network.
        height: of the picture, in pixels.
        width: likewise.
        tile: rows at a time; None: all at once.

    Returns:
        Bytes.
    """
    untiled, kept, in_tile = (architecture.width * size for size in _PER_PIXEL[architecture.design])
    pixels = height * width
    network = untiled * pixels if tile is None else kept * pixels + in_tile * tile * width
    if device_memory() is not None:
        return int(network + 2 * 12 * pixels)
    return int(_PROCESS + network + _HOST_PICTURES * 12 * pixels)
