"""Pillow's modes as RGB in [0, 1], with transparency kept aside."""

import numpy as np
from jaxtyping import Float32
from PIL import Image

from nstjax.errors import NstjaxError
from nstjax.images.colour import grey_to_srgb, to_srgb

# Colour is managed in these modes; every other mode is RGB in another notation.
_MANAGED_AS = {"1": "L", "L": "L", "LA": "L", "CMYK": "CMYK", "LAB": "LAB"}
_GREYS = frozenset({"1", "L", "LA", "La"})

# How far float arithmetic may leave [0, 1] before the range counts as another.
_SLACK = 1e-3


def to_arrays(
    image: Image.Image, name: str
) -> tuple[Float32[np.ndarray, "1 h w 3"], Float32[np.ndarray, "1 h w 1"] | None]:
    """Converts a picture of any Pillow mode to sRGB.

    Args:
        image: the decoded picture; its ICC profile, if any, is applied.
        name: the picture's name in messages.

    Returns:
        The pixels, not multiplied by alpha, and the alpha, None where the picture has none.

    Raises:
        NstjaxError: wide grey levels that are outside the range of their mode.
    """
    profile = image.info.get("icc_profile")
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        return grey_to_srgb(_wide_grey(image, name), profile)[None], None
    alpha = None
    if image.has_transparency_data:
        image = image.convert("LA" if image.mode in _GREYS else "RGBA")
        alpha = _unit(image.getchannel("A"))[..., None]
    managed = image.convert(_MANAGED_AS.get(image.mode, "RGB"))
    return _unit(to_srgb(managed, profile)), alpha


def unit_range(values: np.ndarray, name: str) -> Float32[np.ndarray, "..."]:
    """Returns values as float32, refusing those that are not meant to be in [0, 1].

    Args:
        values: numbers of any type and shape.
        name: the picture's name in messages.

    Returns:
        The values, rounding errors clipped.

    Raises:
        NstjaxError: a value is not finite or is outside the range.
    """
    values = np.asarray(values, np.float32)
    low, high = values.min(), values.max()
    if not np.isfinite(low + high):
        raise NstjaxError(f"{name} holds NaN or infinite values: replace them first")
    if low < -_SLACK or high > 1 + _SLACK:
        raise NstjaxError(f"{name} holds values from {low:g} to {high:g}: scale them to 0..1 first")
    return np.clip(values, 0, 1)


def _wide_grey(image: Image.Image, name: str) -> np.ndarray:
    levels = np.asarray(image)
    if image.mode == "F":
        return unit_range(levels, name)
    # Mode I is 32 bits wide, but what Pillow reads into it from pictures spans 16.
    low, high = levels.min(), levels.max()
    if low < 0 or high > 65535:
        raise NstjaxError(f"{name} holds levels from {low} to {high}: scale them to 0..65535 first")
    return (levels / 65535).astype(np.float32)


def _unit(image: Image.Image) -> np.ndarray:
    levels = np.array(image, np.float32)[None]
    levels /= 255  # in place: a scan of 100 megapixels is 1.2 GB
    return levels
