"""Colour management: what an ICC profile means, in sRGB."""

import functools
import io
from typing import Any

import numpy as np
from jaxtyping import Float32
from PIL import Image, ImageCms

_MODE_OF_SPACE = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab ": "LAB"}
_PROFILE_DATE = slice(24, 36)


@functools.cache
def srgb_profile() -> bytes:
    """Returns an sRGB ICC profile, the same bytes on every call and in every process."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    # LittleCMS enters the time of the call; ICC.1 dates are six big-endian 16-bit numbers.
    profile[_PROFILE_DATE] = np.array([2000, 1, 1, 0, 0, 0], ">u2").tobytes()
    return bytes(profile)


def to_srgb(image: Image.Image, icc_profile: object) -> Image.Image:
    """Converts a picture to sRGB.

    Args:
        image: a picture of mode L, RGB, CMYK or LAB.
        icc_profile: the profile's bytes, or None; what is no profile for this picture is ignored,
            as viewers do.

    Returns:
        The picture in mode RGB.
    """
    if isinstance(icc_profile, bytes):
        try:
            return _apply_profile(image, icc_profile)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
            pass
    if image.mode == "LAB":
        return _convert(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")))
    return image.convert("RGB")


def grey_to_srgb(
    grey: Float32[np.ndarray, "h w"], icc_profile: object
) -> Float32[np.ndarray, "h w 3"]:
    """Converts grey levels of more than 8 bits, which Pillow does not hand to LittleCMS, to sRGB.

    Args:
        grey: the levels in [0, 1].
        icc_profile: as for `to_srgb`.

    Returns:
        The RGB image: the profile's curve, known to 8 bits at 256 levels, interpolated linearly.
    """
    ramp = np.arange(256, dtype=np.uint8)[None]
    curve = np.asarray(to_srgb(Image.fromarray(ramp), icc_profile))[0]
    if _near(curve, ramp[0][:, None]):
        return np.repeat(grey[..., None], 3, axis=2)
    levels = np.linspace(0, 1, 256)
    channels = [np.interp(grey, levels, curve[:, channel] / 255) for channel in range(3)]
    return np.stack(channels, axis=2).astype(np.float32)


def _apply_profile(image: Image.Image, icc_profile: bytes) -> Image.Image:
    profile = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
    opened: Any = profile.profile  # typed too widely in Pillow
    mode = _MODE_OF_SPACE.get(opened.xcolor_space)
    if mode == "RGB" and image.mode == "L":
        image = image.convert("RGB")
    if mode != image.mode:
        raise ValueError(f"a profile for {opened.xcolor_space}, a picture in {image.mode}")
    if mode == "RGB" and _is_srgb(profile):
        return image
    return _convert(image, profile)


def _is_srgb(profile: ImageCms.ImageCmsProfile) -> bool:
    """Tells whether a profile moves no colour by more than one level in 255."""
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    colours = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    return _near(np.asarray(_convert(Image.fromarray(colours), profile)), colours)


def _near(levels: np.ndarray, others: np.ndarray) -> bool:
    return bool(np.abs(levels.astype(np.int16) - others).max() <= 1)


def _convert(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    srgb = ImageCms.ImageCmsProfile(io.BytesIO(srgb_profile()))
    transform = ImageCms.buildTransform(profile, srgb, image.mode, "RGB")
    converted = ImageCms.applyTransform(image, transform)
    assert converted is not None  # None is for conversions in place
    return converted
