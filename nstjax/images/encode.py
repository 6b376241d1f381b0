"""The formats that pictures are saved in."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, PngImagePlugin

from nstjax.errors import unknown_choice
from nstjax.images.colour import srgb_profile
from nstjax.images.metadata import PNG_KEYWORD, SOFTWARE, exif_with
from nstjax.images.png16 import encode_png16

_JPEG_QUALITY = 95
_WEBP_QUALITY = 95


@dataclass(frozen=True)
class Format:
    """A file format.

    Attributes:
        encode: levels (H, W, 3 or 4) of uint8 or uint16 and the settings' text -> the file.
        bits: the bits per channel that it can hold.
        alpha: whether it can hold transparency.
        max_side: the largest height and width in pixels.
        max_text: the longest text in characters.
    """

    encode: Callable[[np.ndarray, str | None], bytes]
    bits: tuple[int, ...] = (8,)
    alpha: bool = True
    max_side: int = 2**31 - 1
    max_text: int = 2**31 - 1


def format_of(path: Path) -> Format:
    """Returns the format that a path's suffix stands for.

    Args:
        path: the path.

    Returns:
        The format.

    Raises:
        NstjaxError: no known suffix.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise unknown_choice(f"file type of {path}", suffix, FORMATS)
    return FORMATS[suffix]


def _encode_png(levels: np.ndarray, text: str | None) -> bytes:
    entries = {"Software": SOFTWARE} | ({} if text is None else {PNG_KEYWORD: text})
    if levels.dtype == np.uint16:
        return encode_png16(levels, icc_profile=srgb_profile(), text=entries)
    info = PngImagePlugin.PngInfo()
    for keyword, value in entries.items():
        info.add_text(keyword, value)
    return _encode_pillow(levels, "PNG", pnginfo=info)


def _encode_jpeg(levels: np.ndarray, text: str | None) -> bytes:
    return _encode_pillow(
        levels, "JPEG", quality=_JPEG_QUALITY, subsampling="4:4:4", exif=exif_with(text)
    )


def _encode_webp(levels: np.ndarray, text: str | None) -> bytes:
    return _encode_pillow(levels, "WEBP", quality=_WEBP_QUALITY, exif=exif_with(text))


def _encode_pillow(levels: UInt8[np.ndarray, "h w c"], kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(levels).save(stream, kind, icc_profile=srgb_profile(), **options)
    return stream.getvalue()


def _encode_tiff(levels: np.ndarray, text: str | None) -> bytes:
    import tifffile

    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        levels,
        photometric="rgb",
        extrasamples=["unassalpha"] if levels.shape[2] == 4 else None,
        compression="zlib",
        iccprofile=srgb_profile(),
        software=SOFTWARE,
        description=text,
        metadata=None,  # otherwise tifffile writes its own description
    )
    return stream.getvalue()


_PNG = Format(_encode_png, bits=(8, 16))
# An EXIF block is one JPEG segment, of less than 64 KiB.
_JPEG = Format(_encode_jpeg, alpha=False, max_side=65_500, max_text=65_000)
_WEBP = Format(_encode_webp, max_side=16_383)
_TIFF = Format(_encode_tiff, bits=(8, 16))

FORMATS = {
    ".png": _PNG,
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
    ".webp": _WEBP,
    ".tif": _TIFF,
    ".tiff": _TIFF,
}
