"""Downloads a published file, checks it, and only then gives it its name."""

import hashlib
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from nstjax import __version__
from nstjax.assets.table import Asset
from nstjax.errors import NstjaxError
from nstjax.files import replacing

if TYPE_CHECKING:
    import requests
    from tqdm import tqdm

TIMEOUT_S = 30.0
"""How long to wait for a connection, and for each next piece of the file."""

RETRY_WAITS_S = (1.0, 2.0)
"""The pauses before a broken connection is tried again."""

MAX_BYTES = 64 * 2**20
"""The most that is taken of a file whose size is not known."""

_CHUNK_BYTES = 1 << 16
_MAKE_ROOM = "free some space there, or set NSTJAX_CACHE to a folder elsewhere"


def download(asset: Asset, folder: Path, *, by_hand: str, progress: bool = False) -> Path:
    """Downloads `asset` into `folder` and verifies its size and digests.

    Args:
        asset: what to download.
        folder: an existing folder; the file appears in it whole or not at all.
        by_hand: how to get the file without this function, to end the messages with.
        progress: show a progress bar on stderr.

    Returns:
        The downloaded file.

    Raises:
        NstjaxError: no connection, an HTTP error, another file than the published one, or a disk
            that is full or cannot be written.
    """
    return fetch_checked(
        asset.url,
        folder / asset.filename,
        fault=partial(_fault, asset),
        by_hand=by_hand,
        size=asset.size,
        progress=progress,
    )


def fetch_checked(
    url: str,
    target: Path,
    *,
    fault: Callable[[Path], str | None],
    by_hand: str,
    size: int | None = None,
    progress: bool = False,
) -> Path:
    """Downloads a file, which gets its name once nothing is wrong with it.

    Args:
        url: where it is.
        target: what it becomes, whole or not at all; missing folders are created.
        fault: says what is wrong with the file at a path, None where nothing is.
        by_hand: how to get the file without this function, to end the messages with.
        size: its length in bytes, where that is known.
        progress: show a progress bar on stderr.

    Returns:
        `target`.

    Raises:
        NstjaxError: no connection, an HTTP error, a file with a fault, or a disk that is full or
            cannot be written.
    """
    import requests

    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _check_space(target, size or 0)
        with replacing(target) as temporary:
            _fetch(url, temporary, size, progress=progress)
            if found := _too_long(temporary, size) or fault(temporary):
                raise NstjaxError(
                    f"{target.name} as downloaded is not the published file ({found}): "
                    f"try again on another network, or {by_hand}"
                )
    except requests.RequestException as error:
        raise NstjaxError(f"cannot download {target.name} ({_reason(error)}): {by_hand}") from error
    except OSError as error:
        raise NstjaxError(f"cannot write {target} ({error.strerror}): {_MAKE_ROOM}") from error
    return target


def _check_space(target: Path, size: int) -> None:
    free = shutil.disk_usage(target.parent).free
    if free < size:
        raise NstjaxError(
            f"{target.parent} has {free / 1e6:.0f} MB free and {target.name} needs "
            f"{size / 1e6:.0f} MB: {_MAKE_ROOM}"
        )


def _fetch(url: str, path: Path, size: int | None, *, progress: bool) -> None:
    from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout
    from tqdm import tqdm

    with tqdm(desc=path.name, total=size, unit="B", unit_scale=True, disable=not progress) as bar:
        for wait in (*RETRY_WAITS_S, None):
            try:
                _fetch_once(url, path, size or MAX_BYTES, bar)
                break
            except (ConnectionError, ChunkedEncodingError) as error:
                # If a server is silent for the whole timeout, do not wait for another.
                if wait is None or isinstance(error, Timeout):
                    raise
                bar.reset()
                time.sleep(wait)


def _fetch_once(url: str, path: Path, enough: int, bar: "tqdm") -> None:
    import requests

    # Wikimedia, for one, refuses clients that do not identify themselves.
    headers = {"User-Agent": f"nstjax/{__version__}"}
    with (
        requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as response,
        path.open("wb") as file,
    ):
        response.raise_for_status()
        for chunk in response.iter_content(_CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))
            if file.tell() > enough:  # it is another file, and may be endless
                break


def _too_long(path: Path, size: int | None) -> str | None:
    if size is None and path.stat().st_size > MAX_BYTES:
        return f"more than {MAX_BYTES / 2**20:g} MiB"
    return None


def _fault(asset: Asset, path: Path) -> str | None:
    """Says how the file differs from the published one."""
    size = path.stat().st_size
    if size != asset.size:
        return f"{size:,} bytes instead of {asset.size:,}"
    for algorithm, expected in (("md5", asset.md5), ("sha256", asset.sha256)):
        if expected is None:
            continue
        with path.open("rb") as file:
            found = hashlib.file_digest(file, algorithm).hexdigest()
        if found != expected:
            return f"{algorithm.upper()} {found} instead of {expected}"
    return None


def _reason(error: "requests.RequestException") -> str:
    """Describes a failed request for people."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    # A read timeout in the middle of a file arrives as a plain ConnectionError.
    if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(error, exceptions.SSLError):
        return "the secure connection failed"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, exceptions.ConnectionError):
        return "no connection"
    return type(error).__name__
