"""Loads a picture from a file, an address, Pillow or an array."""

import hashlib
import os
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import ExifTags, Image

from nstjax.errors import NstjaxError
from nstjax.images.decode import decoding, open_picture, open_source
from nstjax.images.modes import to_arrays, unit_range
from nstjax.images.resize import fit_size, resize_box

_Box = tuple[float, float, float, float]

# EXIF orientation: whether to transpose, then the step along rows and along columns.
_ORIENTATIONS = {
    2: (False, 1, -1),
    3: (False, -1, -1),
    4: (False, -1, 1),
    5: (True, 1, 1),
    6: (True, 1, -1),
    7: (True, -1, -1),
    8: (True, -1, 1),
}

# Colours under an alpha below this are not worth recovering.
_INVISIBLE = 1 / 255


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture in memory.

    Attributes:
        pixels: sRGB in [0, 1], (1, H, W, 3), not multiplied by alpha.
        alpha: opacity in [0, 1], (1, H, W, 1), or None where the source has none.
        name: the path or address it came from, for messages.
        sha256: of the file that `load_image` read; None for a picture from elsewhere.
    """

    pixels: Float32[np.ndarray, "1 h w 3"]
    alpha: Float32[np.ndarray, "1 h w 1"] | None
    name: str
    sha256: str | None = None


def load_image(source: Any, *, size: int | None = None, upscale: bool = False) -> Picture:
    """Loads a picture as sRGB in float32.

    EXIF orientation and ICC profile are applied; of an animation, the first frame is taken.
    Pillow reads colour with 8 bits per channel, whatever the file has, and grey with up to 16.
    Threads may call it; they decode one after the other.

    Args:
        source: a path, an http(s) address, a Pillow image, or an array of shape (H, W, 3) or
            (1, H, W, 3) that is uint8 or holds floats in [0, 1].
        size: the wanted length of the longer side in pixels; None keeps the source's size.
        upscale: whether a picture smaller than `size` is enlarged.

    Returns:
        The picture.

    Raises:
        NstjaxError: the source cannot be read or is not a picture.

    Example:
        >>> load_image(np.zeros((30, 40, 3), np.uint8), size=20).pixels.shape
        (1, 15, 20, 3)
    """
    if isinstance(source, Image.Image):
        decoded = _from_pillow(source)
    elif isinstance(source, str | os.PathLike):
        decoded = _from_file(source, size)
    else:
        decoded = _from_array(source)
    return _picture(decoded, size, upscale=upscale)


def load_made_image(path: str | os.PathLike[str]) -> Picture:
    """Loads a picture that this package made, as `load_image` does, but of any size.

    Args:
        path: the picture.

    Returns:
        The picture.

    Raises:
        NstjaxError: the file cannot be read or is not a picture.
    """
    return _picture(_from_file(path, None, limited=False), None, upscale=False)


def resize_picture(picture: Picture, height: int, width: int) -> Picture:
    """Resamples a picture as `load_image` does, colours hidden under transparency kept out.

    Args:
        picture: the picture.
        height: the new height in pixels.
        width: the new width in pixels.

    Returns:
        The picture in the new size; its alpha is what `resize_image` makes of it.

    Raises:
        NstjaxError: a length below 1.

    Example:
        >>> resize_picture(load_image(np.zeros((40, 60, 3))), 20, 30).pixels.shape
        (1, 20, 30, 3)
    """
    pixels, alpha = _resized(picture.pixels, picture.alpha, (height, width), None)
    return replace(picture, pixels=pixels, alpha=alpha)


def _picture(decoded: "_Decoded", size: int | None, *, upscale: bool) -> Picture:
    target = decoded.full if size is None else fit_size(*decoded.full, size, upscale=upscale)
    pixels, alpha = _resized(decoded.pixels, decoded.alpha, target, decoded.box)
    return Picture(
        oriented(pixels, decoded.orientation),
        None if alpha is None else oriented(alpha, decoded.orientation),
        decoded.name,
        decoded.sha256,
    )


@dataclass(frozen=True)
class _Decoded:
    """A picture as it is stored: neither oriented nor resized.

    `full` is its height and width at full scale. A picture decoded at reduced scale has those in
    `box`: left, top, right and bottom in pixels, as its last row and column may reach beyond.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None
    name: str
    full: tuple[int, int]
    orientation: int = 1
    box: _Box | None = None
    sha256: str | None = None


def _from_pillow(image: Image.Image) -> _Decoded:
    name = getattr(image, "filename", "") or "the picture"
    if 0 in image.size:
        raise NstjaxError(f"{name} is {image.width}x{image.height} pixels: give one with pixels")
    with decoding(name):
        image.load()
        pixels, alpha = to_arrays(image, name)
        return _Decoded(pixels, alpha, name, (image.height, image.width), orientation_of(image))


def _from_file(
    source: str | os.PathLike[str], size: int | None, *, limited: bool = True
) -> _Decoded:
    name = os.fspath(source)
    with open_source(source) as stream, decoding(name, limited=limited):
        sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        stream.seek(0)
        image = open_picture(stream, name)
        full, box = _load(image, size)
        pixels, alpha = to_arrays(image, name)
        return _Decoded(pixels, alpha, name, full, orientation_of(image), box, sha256)


def _load(image: Image.Image, size: int | None) -> tuple[tuple[int, int], _Box | None]:
    """Decodes a picture, a JPEG at 1/2, 1/4 or 1/8 if possible; returns its full size and box."""
    full = image.height, image.width
    if size is not None:
        # Twice the wanted size leaves enough for the resampling to do well.
        height, width = fit_size(*full, size)
        drafted = image.draft(None, (2 * width, 2 * height))
        if drafted is not None and (image.height, image.width) != full:
            image.load()
            right, bottom = drafted[1][2:]
            return full, (0.0, 0.0, float(right), float(bottom))
    image.load()
    return (image.height, image.width), None  # asked again, as loading a TIFF orients it


def _resized(
    pixels: np.ndarray, alpha: np.ndarray | None, target: tuple[int, int], box: _Box | None
) -> tuple[np.ndarray, np.ndarray | None]:
    plain = resize_box(pixels, *target, box)
    if alpha is None or pixels.shape == plain.shape:
        return plain, alpha
    # Weighted by alpha, so that colours hidden under transparency do not fringe what is visible.
    opacity = resize_box(alpha, *target, box)
    weighted = resize_box(pixels * alpha, *target, box)
    visible = np.minimum(weighted / np.maximum(opacity, _INVISIBLE), 1)
    return np.where(opacity > _INVISIBLE, visible, plain), opacity


def orientation_of(image: Image.Image) -> int:
    """Returns a picture's orientation, EXIF's number; 1 if it has none."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # for damaged metadata Pillow's parser may raise anything
        return 1


def oriented(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Turns pixels, (N, H, W, C), upright."""
    transpose, down, along = _ORIENTATIONS.get(orientation, (False, 1, 1))
    if transpose:
        pixels = pixels.swapaxes(1, 2)
    return np.ascontiguousarray(pixels[:, ::down, ::along])


def _from_array(source: Any) -> _Decoded:
    name = "the array"
    pixels = np.asarray(source)
    if pixels.ndim == 3:
        pixels = pixels[None]
    if pixels.ndim != 4 or pixels.shape[0] != 1 or pixels.shape[3] != 3 or 0 in pixels.shape:
        raise NstjaxError(
            f"{name} has shape {np.shape(source)}: give (height, width, 3) or (1, height, width, 3)"
        )
    if pixels.dtype == np.uint8:
        pixels = pixels / np.float32(255)
    elif pixels.dtype.kind in "biucOSU":
        raise NstjaxError(f"{name} holds {pixels.dtype}: give uint8, or floats in 0..1")
    else:
        pixels = unit_range(pixels, name)
    return _Decoded(pixels, None, name, (pixels.shape[1], pixels.shape[2]))
