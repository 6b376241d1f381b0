"""Paintings as the command line takes them."""

from pathlib import Path

from nstjax.errors import NstjaxError
from nstjax.images import Picture, load_image

LEAST_SIDE = 128  # pixels


def load_style_image(source: Path | str) -> Picture:
    """Loads a painting that a style can be learned from.

    Args:
        source: its file or address.

    Returns:
        The picture.

    Raises:
        NstjaxError: if it is no picture, or a very small one.
    """
    picture = load_image(source)
    height, width = picture.pixels.shape[1:3]
    if min(height, width) < LEAST_SIDE:
        raise NstjaxError(
            f"{source} is {width}×{height} pixels, too small to learn a style from: use a picture "
            f"of at least {LEAST_SIDE} pixels a side, and better of 512"
        )
    return picture
