"""Pictures for training: many squares of one size, decoded fast."""

import io
import math
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from nstjax.errors import NstjaxError
from nstjax.images.colour import to_srgb
from nstjax.images.decode import open_picture, open_source
from nstjax.images.load import orientation_of, oriented
from nstjax.images.modes import to_arrays

# Modes that are resampled as they are, and whose colours are managed afterwards.
_PLAIN = ("L", "RGB", "CMYK")


def decode_square(
    source: bytes | Path,
    name: str,
    *,
    size: int,
    zoom: float = 1.0,
    place: tuple[float, float] = (0.5, 0.5),
    squash: bool = False,
) -> UInt8[np.ndarray, "size size 3"]:
    """Decodes a square of a picture as sRGB, at no larger scale than its size needs.

    EXIF orientation and ICC profile are applied; transparency is dropped. Unlike with `load_image`,
    threads can decode in parallel: nothing that is global to Pillow or Python is changed, and the
    limit of pixels is Pillow's own.

    Args:
        source: the file's bytes, or its path.
        name: the picture's name in messages.
        size: the square's side in pixels.
        zoom: the picture's shorter side divided by the square's side, 1 or more. The square never
            has fewer than `size` pixels of the picture a side, so that a picture is enlarged only
            if its shorter side is less than `size`.
        place: where the square is, along the width and the height of the picture as it is stored:
            0 is at the start, 1 at the end.
        squash: whether to take the whole picture, changing its aspect, instead of a square of it.

    Returns:
        The levels, (size, size, 3).

    Raises:
        NstjaxError: the source cannot be read or is not a picture.

    Example:
        >>> stream = io.BytesIO()
        >>> Image.new("RGB", (640, 480), "red").save(stream, "JPEG")
        >>> decode_square(stream.getvalue(), "red.jpg", size=256, zoom=1.2).shape
        (256, 256, 3)
    """
    try:
        with io.BytesIO(source) if isinstance(source, bytes) else open_source(source) as stream:
            image = open_picture(stream, name)
            side = _load(image, size, zoom)
            orientation = orientation_of(image)
            profile = image.info.get("icc_profile")
            if image.mode not in _PLAIN or image.has_transparency_data:
                pixels, _ = to_arrays(image, name)
                image, profile = Image.fromarray(np.rint(pixels[0] * 255).astype(np.uint8)), None
            box = None if squash else _square(image.size, side, place)
            square = image.resize((size, size), Image.Resampling.BICUBIC, box)
            # Colours last, since the square has fewer pixels than the picture.
            return oriented(np.asarray(to_srgb(square, profile))[None], orientation)[0]
    except NstjaxError:
        raise
    except UnidentifiedImageError as error:
        raise NstjaxError(
            f"{name} is not a picture of a readable kind: replace or remove it"
        ) from error
    except Exception as error:  # a decoder that meets damaged bytes may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NstjaxError(f"{name} cannot be decoded ({reason}): replace or remove it") from error


def _load(image: Image.Image, size: int, zoom: float) -> float:
    """Decodes a picture, a JPEG at 1/2, 1/4 or 1/8 if possible; returns the square's side in it."""
    shorter = min(image.size)
    side = max(shorter / zoom, min(shorter, size))
    wanted = math.ceil(size * shorter / side)
    image.draft(None, (wanted, wanted))
    image.load()
    return side * min(image.size) / shorter


def _square(
    size: tuple[int, int], side: float, place: tuple[float, float]
) -> tuple[float, float, float, float]:
    left, top = (at * (length - side) for at, length in zip(place, size, strict=True))
    return left, top, min(left + side, size[0]), min(top + side, size[1])
