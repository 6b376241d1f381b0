"""Downloads a published file, checks it, and only then gives it its name."""

import hashlib
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

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
    import requests

    target = folder / asset.filename
    try:
        _check_space(asset, folder)
        with replacing(target) as temporary:
            _fetch(asset, temporary, progress=progress)
            if fault := _fault(asset, temporary):
                raise NstjaxError(
                    f"{asset.filename} as downloaded is not the published file ({fault}): "
                    f"try again on another network, or {by_hand}"
                )
    except requests.RequestException as error:
        raise NstjaxError(
            f"cannot download {asset.filename} ({_reason(error)}): {by_hand}"
        ) from error
    except OSError as error:
        raise NstjaxError(f"cannot write {target} ({error.strerror}): {_MAKE_ROOM}") from error
    return target


def _check_space(asset: Asset, folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < asset.size:
        raise NstjaxError(
            f"{folder} has {free / 1e6:.0f} MB free and {asset.filename} needs "
            f"{asset.size / 1e6:.0f} MB: {_MAKE_ROOM}"
        )


def _fetch(asset: Asset, path: Path, *, progress: bool) -> None:
    from requests.exceptions import ChunkedEncodingError, ConnectionError, Timeout
    from tqdm import tqdm

    with tqdm(
        desc=asset.filename, total=asset.size, unit="B", unit_scale=True, disable=not progress
    ) as bar:
        for wait in (*RETRY_WAITS_S, None):
            try:
                _fetch_once(asset.url, path, bar)
                break
            except (ConnectionError, ChunkedEncodingError) as error:
                # A server that kept silent for the whole timeout is not worth another one.
                if wait is None or isinstance(error, Timeout):
                    raise
                bar.reset()
                time.sleep(wait)


def _fetch_once(url: str, path: Path, bar: "tqdm") -> None:
    import requests

    with requests.get(url, stream=True, timeout=TIMEOUT_S) as response, path.open("wb") as file:
        response.raise_for_status()
        for chunk in response.iter_content(_CHUNK_BYTES):
            file.write(chunk)
            bar.update(len(chunk))


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
    """Words a failed request for someone who did not write it."""
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    # A silence in mid-file arrives as a plain ConnectionError.
    if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
        return f"no answer within {TIMEOUT_S:g} s"
    if isinstance(error, exceptions.SSLError):
        return "the secure connection failed"
    if isinstance(error, exceptions.ChunkedEncodingError):
        return "the connection broke off"
    if isinstance(error, exceptions.ConnectionError):
        return "no connection"
    return type(error).__name__
