"""How to recognise the pictures that a result was made from."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
from jaxtyping import Float

from nstjax.images.fetch import is_url
from nstjax.images.load import Picture


def describe_input(picture: Picture) -> dict[str, Any]:
    """Describes a picture for the settings of what is made from it.

    The description holds nothing private: of a path only the file's name, of an address neither the
    user nor the query.

    Args:
        picture: as it was given, before any resizing.

    Returns:
        `name`; `sha256`, of the file's bytes if the picture is from a file or an address, else of
        its pixels; `of`, which of the two, `"file"` or `"pixels"`; `width` and `height` in pixels.

    Example:
        >>> picture = Picture(np.zeros((1, 2, 3, 3), np.float32), None, "pictures/black.png")
        >>> [describe_input(picture)[key] for key in ("name", "of", "width", "height")]
        ['black.png', 'pixels', 3, 2]
    """
    height, width = picture.pixels.shape[1:3]
    return {
        "name": public_name(picture.name),
        "sha256": picture.sha256 or sha256_of_pixels(picture.pixels, picture.alpha),
        "of": "file" if picture.sha256 else "pixels",
        "width": width,
        "height": height,
    }


def public_name(name: str) -> str:
    """Returns where a picture came from, without anything private.

    Args:
        name: a path or an address.

    Returns:
        The file's name, or the address without user, password, query and fragment.

    Example:
        >>> public_name("/home/me/photo.jpg"), public_name("https://me:key@host/a.jpg?token=1")
        ('photo.jpg', 'https://host/a.jpg')
    """
    if not is_url(name):
        return Path(name).name
    parts = urlsplit(name)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def short_name(name: str) -> str:
    """Returns the name of a picture's file, without anything private.

    Args:
        name: a path or an address.

    Returns:
        The file's name, also of an address.

    Example:
        >>> short_name("/home/me/photo.jpg"), short_name("https://me:key@host/a.jpg?token=1")
        ('photo.jpg', 'a.jpg')
    """
    return Path(public_name(name)).name


def sha256_of_pixels(*arrays: Float[np.ndarray, "..."] | None) -> str:
    """Computes the SHA-256 of arrays in float32, and of their shapes.

    Args:
        arrays: pictures, of any shape; None is left out.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> sha256_of_pixels(np.zeros((1, 1, 2, 3)))[:8]
        'dff112ff'
    """
    digest = hashlib.sha256()
    for array in arrays:
        if array is not None:
            digest.update(repr(array.shape).encode())
            digest.update(np.ascontiguousarray(array, "<f4").data)
    return digest.hexdigest()
