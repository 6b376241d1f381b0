"""The settings that made a picture, as JSON in the picture's own metadata."""

import json
import os
from collections.abc import Mapping
from typing import Any

from PIL import ExifTags, Image

from nstjax import __version__
from nstjax.errors import NstjaxError
from nstjax.images.decode import decoding, open_picture, open_source

SOFTWARE = f"nstjax {__version__}"
PNG_KEYWORD = "nstjax"


def settings_text(settings: Mapping[str, Any] | None) -> str | None:
    """Returns settings as JSON in ASCII, which every format's metadata can hold.

    Args:
        settings: strings, numbers, booleans, None, and lists and mappings of these.

    Returns:
        The JSON text, None for None.

    Raises:
        NstjaxError: a value that JSON does not know.
    """
    if settings is None:
        return None
    try:
        return json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise NstjaxError(
            f"the settings do not fit into JSON ({error}): use strings and finite numbers"
        ) from error


def exif_with(text: str | None) -> Image.Exif:
    """Returns EXIF metadata that name this software and hold a text as the description."""
    exif = Image.Exif()
    exif[ExifTags.Base.Software] = SOFTWARE
    if text is not None:
        exif[ExifTags.Base.ImageDescription] = text
    return exif


def read_settings(path: str | os.PathLike[str]) -> dict[str, Any] | None:
    """Reads back the settings that `save_image` stored in a picture.

    Args:
        path: the picture.

    Returns:
        The settings, None where the picture holds none of this package's.

    Raises:
        NstjaxError: the file cannot be read or is not a picture.
    """
    name = os.fspath(path)
    with open_source(path) as stream, decoding(name, limited=False):
        text = _stored_text(open_picture(stream, name))
    try:
        settings = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return settings if isinstance(settings, dict) else None


def read_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Reads how many pixels a picture has, as it is stored.

    Args:
        path: the picture.

    Returns:
        Its height and width in pixels.

    Raises:
        NstjaxError: the file cannot be read or is not a picture.
    """
    name = os.fspath(path)
    with open_source(path) as stream, decoding(name, limited=False):
        image = open_picture(stream, name)
        return image.height, image.width


def _stored_text(image: Image.Image) -> object:
    if image.format == "PNG":
        return image.info.get(PNG_KEYWORD)
    exif = image.getexif()
    # Other programs, too, write JSON as the description.
    if not str(exif.get(ExifTags.Base.Software, "")).startswith("nstjax "):
        return None
    return exif.get(ExifTags.Base.ImageDescription)
