"""Fetches a picture from the web, within limits of size and of time."""

import re
import threading
from concurrent.futures import Future

from nstjax import __version__
from nstjax.errors import NstjaxError

MAX_BYTES = 64 * 2**20
MAX_SECONDS = 30.0

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://", re.IGNORECASE)
_BY_HAND = "download it yourself and give the file"


def is_url(source: object) -> bool:
    """Tells whether a source is a web address and not a path.

    Args:
        source: a path, an address, or anything else that `load_image` takes.

    Returns:
        True for text that begins with a scheme, such as `https://`.
    """
    return isinstance(source, str) and _SCHEME.match(source) is not None


def fetch(url: str, *, max_bytes: int = MAX_BYTES, max_seconds: float = MAX_SECONDS) -> bytes:
    """Downloads the content of an http(s) address.

    Args:
        url: the address.
        max_bytes: the largest body accepted, in bytes after decompression.
        max_seconds: the time for everything, name look-up and redirects included.

    Returns:
        The body.

    Raises:
        NstjaxError: no http(s) address, no answer, an answer other than success, or past a limit.
    """
    match = _SCHEME.match(url)
    if match is None or match[1].lower() not in ("http", "https"):
        raise NstjaxError(f"{url!r} is not an http or https address: {_BY_HAND}")
    body: Future[bytes] = Future()

    def work() -> None:
        try:
            body.set_result(_download(url, max_bytes, max_seconds))
        except BaseException as error:
            body.set_exception(error)

    # A socket's timeout bounds one read, not their sum, and no timeout bounds a name look-up.
    threading.Thread(target=work, daemon=True).start()
    try:
        return body.result(timeout=max_seconds)
    except TimeoutError as error:
        raise NstjaxError(f"{url!r} took more than {max_seconds:g} s: {_BY_HAND}") from error


def _download(url: str, max_bytes: int, max_seconds: float) -> bytes:
    import requests

    body = bytearray()
    try:
        # Wikimedia, for one, refuses clients that do not identify themselves.
        with requests.get(
            url,
            headers={"User-Agent": f"nstjax/{__version__}"},
            stream=True,
            timeout=max_seconds,
        ) as response:
            if not response.ok:
                status = f"{response.status_code} {response.reason}".strip()
                raise NstjaxError(f"{url!r} answered {status}: check the address")
            for chunk in response.iter_content(chunk_size=2**16):
                body += chunk
                if len(body) > max_bytes:
                    limit = f"{max_bytes / 2**20:g} MiB"
                    raise NstjaxError(f"{url!r} holds more than {limit}: {_BY_HAND}")
    except NstjaxError:
        raise
    except requests.Timeout as error:
        raise TimeoutError from error
    except (requests.RequestException, ValueError) as error:  # ValueError: a malformed host
        raise NstjaxError(
            f"cannot fetch {url!r} ({type(error).__name__}): check the address and the network"
        ) from error
    return bytes(body)
