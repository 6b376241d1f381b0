"""PNG with 16 bits per channel, which Pillow does not write in colour.

After the PNG specification, third edition: https://www.w3.org/TR/png-3/
"""

import struct
import zlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import UInt16

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_COLOUR_TYPES = {3: 2, 4: 6}
_UP_FILTER = 2


def encode_png16(
    levels: UInt16[np.ndarray, "h w c"], *, icc_profile: bytes, text: Mapping[str, str]
) -> bytes:
    """Encodes an image as PNG with 16 bits per channel.

    Args:
        levels: RGB or RGBA, (H, W, 3 or 4).
        icc_profile: the profile to embed.
        text: what to embed as text chunks: Latin-1 values by keyword.

    Returns:
        The file's bytes.
    """
    height, width, channels = levels.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)
    rows = levels.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.full((height, 1 + rows.shape[1]), _UP_FILTER, np.uint8)
    filtered[:, 1:] = np.diff(rows, axis=0, prepend=np.uint8(0))  # wraps, as the filter wants
    chunks = [
        _chunk(b"IHDR", header),
        _chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(icc_profile)),
        *(_chunk(b"tEXt", f"{key}\0{value}".encode("latin-1")) for key, value in text.items()),
        _chunk(b"IDAT", zlib.compress(filtered.tobytes())),
        _chunk(b"IEND", b""),
    ]
    return _SIGNATURE + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
