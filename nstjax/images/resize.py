"""Sizes that keep the aspect, and antialiased resampling in float32."""

import numpy as np
from jaxtyping import Float32
from PIL import Image

from nstjax.errors import NstjaxError


def fit_size(height: int, width: int, size: int, *, upscale: bool = False) -> tuple[int, int]:
    """Returns the height and width whose longer side is `size`, with the aspect kept.

    Args:
        height: the present height in pixels.
        width: the present width in pixels.
        size: the wanted length of the longer side in pixels.
        upscale: whether a picture smaller than `size` is enlarged.

    Returns:
        The height and the width in pixels; the shorter side is rounded to nearest, at least 1.

    Raises:
        NstjaxError: a length below 1.

    Example:
        >>> fit_size(3000, 4000, 512)
        (384, 512)
    """
    if min(height, width, size) < 1:
        raise NstjaxError(f"{height}x{width} to size {size}: every length must be at least 1")
    longest = max(height, width)
    if size >= longest and not upscale:
        return height, width

    def scaled(side: int) -> int:
        return max(1, (2 * side * size + longest) // (2 * longest))

    return scaled(height), scaled(width)


def resize_image(
    pixels: Float32[np.ndarray, "1 _ _ c"], height: int, width: int
) -> Float32[np.ndarray, "1 _ _ c"]:
    """Resamples an image with a Lanczos filter as wide as the reduction needs.

    Each channel goes through Pillow as float32, so nothing is rounded to 8 bits on the way.

    Args:
        pixels: the image, (1, H, W, C) in [0, 1].
        height: the new height in pixels.
        width: the new width in pixels.

    Returns:
        The image, (1, height, width, C), with the filter's overshoot clipped to [0, 1].

    Raises:
        NstjaxError: a length below 1.
    """
    return resize_box(pixels, height, width, None)


def resize_box(
    pixels: Float32[np.ndarray, "1 _ _ c"],
    height: int,
    width: int,
    box: tuple[float, float, float, float] | None,
) -> Float32[np.ndarray, "1 _ _ c"]:
    """Resamples a part of an image as `resize_image` does the whole.

    Args:
        pixels: the image, (1, H, W, C) in [0, 1].
        height: the new height in pixels.
        width: the new width in pixels.
        box: the part's left, top, right and bottom in fractional pixels; None is the whole.

    Returns:
        The image, (1, height, width, C).

    Raises:
        NstjaxError: a length below 1.
    """
    if min(height, width) < 1:
        raise NstjaxError(f"cannot resize to {height}x{width}: every length must be at least 1")
    if box is None and pixels.shape[1:3] == (height, width):
        return pixels
    channels = [
        Image.fromarray(np.ascontiguousarray(channel)).resize(
            (width, height), Image.Resampling.LANCZOS, box
        )
        for channel in np.moveaxis(pixels[0], 2, 0)
    ]
    return np.clip(np.stack([np.asarray(channel) for channel in channels], axis=2), 0, 1)[None]
