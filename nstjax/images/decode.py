"""Opens picture sources and words what can be wrong with them."""

import contextlib
import io
import os
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from nstjax.errors import NstjaxError
from nstjax.images.fetch import fetch, is_url

MAX_PIXELS = 180_000_000

Stream = io.BufferedReader | io.BytesIO

# Registered with Pillow for opening, yet not decoded by it: EPS and WMF run other programs, the
# rest are only recognised.
_NOT_DECODED = frozenset({"BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF"})

_PILLOW_STATE = threading.Lock()


def picture_suffixes() -> set[str]:
    """Returns the lower-case file suffixes that Pillow can decode, such as `.png`."""
    return {
        suffix
        for suffix, kind in Image.registered_extensions().items()
        if kind in Image.OPEN and kind not in _NOT_DECODED
    }


def open_source(source: str | os.PathLike[str]) -> Stream:
    """Opens a path or fetches an http(s) address.

    Args:
        source: a path or an address.

    Returns:
        A stream of at least one byte, positioned at its start.

    Raises:
        NstjaxError: it cannot be read, or it is empty.
    """
    if is_url(source):
        stream: Stream = io.BytesIO(fetch(str(source)))
    else:
        stream = _open_file(Path(source))
    if not stream.read(1):
        stream.close()
        raise NstjaxError(f"{source} is empty: copy or download it again")
    stream.seek(0)
    return stream


def _open_file(path: Path) -> Stream:
    if os.path.isdir(path):
        raise NstjaxError(f"{path} is a folder: give a picture file")
    try:
        return path.open("rb")
    except FileNotFoundError as error:
        raise NstjaxError(f"{path} does not exist: check the path") from error
    except PermissionError as error:
        raise NstjaxError(f"{path} may not be read: check its permissions") from error
    except (OSError, ValueError) as error:  # ValueError: a null character in the path
        reason = getattr(error, "strerror", None) or error
        raise NstjaxError(f"{path} cannot be opened ({reason}): check the path") from error


@contextlib.contextmanager
def decoding(name: str, *, limited: bool = True) -> Iterator[None]:
    """Runs Pillow quietly, under this package's limit of pixels, with its errors reworded.

    Args:
        name: the picture's name in messages.
        limited: whether there is that limit: not for a header, nor for what is known to be small
            enough.

    Raises:
        NstjaxError: Pillow could not decode the picture.
    """
    try:
        with _pillow_state(MAX_PIXELS if limited else None):
            yield
    except NstjaxError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        limit = MAX_PIXELS // 1_000_000
        raise NstjaxError(
            f"{name} has more than {limit} megapixels: scale it down first"
        ) from error
    except UnidentifiedImageError as error:
        raise _unreadable(name) from error
    except MemoryError as error:
        raise NstjaxError(f"{name} does not fit into memory: scale it down first") from error
    except Exception as error:  # a decoder that meets damaged bytes may raise anything
        reason = " ".join(str(error).split()) or type(error).__name__
        raise NstjaxError(
            f"{name} is damaged or cut short ({reason}): copy or download it again"
        ) from error


def open_picture(stream: Stream, name: str) -> Image.Image:
    """Reads a picture's header; to be called within `decoding`.

    Args:
        stream: the picture's bytes.
        name: the picture's name in messages.

    Returns:
        The picture, not yet decoded; the first frame of an animation.
    """
    image = Image.open(stream)
    if image.format in _NOT_DECODED:
        raise _unreadable(name)
    return image


def _unreadable(name: str) -> NstjaxError:
    return NstjaxError(f"{name} is not a picture of a readable kind: convert it to PNG or JPEG")


@contextlib.contextmanager
def _pillow_state(most_pixels: int | None) -> Iterator[None]:
    """Holds Pillow's pixel limit and Python's warning filters, both global, for one decoding."""
    with _PILLOW_STATE, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Pillow warns past the limit and refuses past twice the limit: one limit is enough.
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        before = Image.MAX_IMAGE_PIXELS
        Image.MAX_IMAGE_PIXELS = most_pixels
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before
