"""Saves an image: to a file, written whole or not at all, or to Pillow."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from nstjax.errors import NstjaxError
from nstjax.files import check_writable, write_whole
from nstjax.images.encode import FORMATS, Format, format_of
from nstjax.images.metadata import settings_text


def save_image(
    path: str | os.PathLike[str],
    pixels: ArrayLike,
    *,
    alpha: ArrayLike | None = None,
    bits: int = 8,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Saves an image with an sRGB profile, in the format that the path's suffix names.

    Values outside [0, 1] are clipped, the rest rounded to the nearest level. The same arguments
    give the same bytes.

    Args:
        path: where to: PNG, JPEG, WebP or TIFF.
        pixels: the image, (1, H, W, 3) in [0, 1].
        alpha: its opacity, (1, H, W, 1) in [0, 1]; JPEG gets the image on white instead.
        bits: bits per channel, 8 or, in PNG and TIFF, 16.
        settings: what made the image, for `read_settings`.

    Raises:
        NstjaxError: an unknown suffix, arguments the format cannot hold, values that are not
            finite, or a file that cannot be written.
    """
    path = Path(path)
    kind = format_of(path)
    text = settings_text(settings)
    image = _with_alpha(pixels, alpha)
    _check_bits(path, kind, bits)
    check_shape(path, *image.shape[:2])
    _check_text(path, kind, text)
    if image.shape[2] == 4 and not kind.alpha:
        image = image[..., :3] * image[..., 3:] + (1 - image[..., 3:])
    write_whole(path, kind.encode(_levels(image, bits), text))


def check_output(path: str | os.PathLike[str], *, bits: int = 8) -> Path:
    """Checks, before a long run, that an image could be saved; creates the folder for it.

    Args:
        path: where the image is to go.
        bits: bits per channel.

    Returns:
        The path.

    Raises:
        NstjaxError: an unknown suffix, one that cannot hold so many bits, a path that is a folder,
            or one that cannot be written.
    """
    path = Path(path)
    _check_bits(path, format_of(path), bits)
    check_writable(path)
    return path


def check_shape(path: str | os.PathLike[str], height: int, width: int) -> None:
    """Checks, before a long run, that a file can hold so large an image.

    Args:
        path: where the image is to go.
        height: of the image, in pixels.
        width: likewise.

    Raises:
        NstjaxError: an unknown suffix, or one whose format cannot.
    """
    kind = format_of(Path(path))
    if max(height, width) > kind.max_side:
        raise NstjaxError(
            f"{path} cannot hold {width}x{height} pixels (at most {kind.max_side} a side): "
            "save it as .png"
        )


def to_pillow(pixels: ArrayLike, alpha: ArrayLike | None = None) -> Image.Image:
    """Converts an image to Pillow's, with 8 bits per channel.

    Args:
        pixels: the image, (1, H, W, 3) in [0, 1].
        alpha: its opacity, (1, H, W, 1) in [0, 1].

    Returns:
        A picture of mode RGB, or RGBA with an alpha.

    Raises:
        NstjaxError: another shape, or values that are not finite.
    """
    return Image.fromarray(_levels(_with_alpha(pixels, alpha), 8))


def _with_alpha(pixels: ArrayLike, alpha: ArrayLike | None) -> np.ndarray:
    """Returns (H, W, 3) or (H, W, 4) in [0, 1]."""
    parts = [np.asarray(pixels, np.float32)]
    shape = parts[0].shape
    if len(shape) != 4 or shape[0] != 1 or shape[3] != 3 or 0 in shape:
        raise NstjaxError(f"cannot save an image of shape {shape}: give (1, height, width, 3)")
    if alpha is not None:
        parts.append(np.asarray(alpha, np.float32))
        if parts[1].shape != (*shape[:3], 1):
            raise NstjaxError(
                f"an alpha of shape {parts[1].shape} does not fit an image of shape {shape}: "
                f"give {(*shape[:3], 1)}"
            )
    # Without a copy where there is one part: a picture of 50 megapixels is 0.6 GB.
    image = (parts[0] if alpha is None else np.concatenate(parts, axis=3))[0]
    if not np.isfinite(image).all():
        raise NstjaxError("the image holds NaN or infinite values: lower the step size")
    return np.clip(image, 0, 1)


def _levels(image: np.ndarray, bits: int) -> np.ndarray:
    levels = image * np.float32(2**bits - 1)
    levels += np.float32(0.5)
    return np.floor(levels, out=levels).astype(f"uint{bits}")


def _check_bits(path: Path, kind: Format, bits: int) -> None:
    if bits not in kind.bits:
        able = ", ".join(suffix for suffix, other in FORMATS.items() if bits in other.bits)
        accepted = " or ".join(str(choice) for choice in kind.bits)
        raise NstjaxError(
            f"{path} cannot hold {bits} bits per channel: "
            + (f"save it as {able}" if able else f"choose {accepted}")
        )


def _check_text(path: Path, kind: Format, text: str | None) -> None:
    if text is not None and len(text) > kind.max_text:
        raise NstjaxError(
            f"{path} cannot hold settings of {len(text)} characters (at most {kind.max_text}): "
            "save it as .png"
        )
