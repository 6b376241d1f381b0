"""The user's cache folder, and files that appear in it complete or not at all."""

import os
from collections.abc import Callable
from pathlib import Path

import platformdirs

from nstjax.errors import NstjaxError
from nstjax.files import replacing


def cache_path() -> Path:
    """Returns the cache folder, which need not exist: `$NSTJAX_CACHE`, or the system's own."""
    chosen = os.environ.get("NSTJAX_CACHE")
    return (
        Path(os.path.expanduser(chosen)).absolute()
        if chosen
        else platformdirs.user_cache_path("nstjax")
    )


def assets_path() -> Path | None:
    """Returns the folder that `$NSTJAX_ASSETS` names, None where it names none.

    Raises:
        NstjaxError: it is no folder.
    """
    chosen = os.environ.get("NSTJAX_ASSETS")
    if not chosen:
        return None
    folder = Path(os.path.expanduser(chosen))
    if not folder.is_dir():
        raise NstjaxError(
            f"NSTJAX_ASSETS names {folder}, which is not a folder: correct or unset it"
        )
    return folder


def is_offline() -> bool:
    """Tells whether downloading is forbidden.

    Returns:
        True where `$NSTJAX_OFFLINE` is set, and not to `0`.
    """
    return os.environ.get("NSTJAX_OFFLINE", "0") not in ("", "0")


def cache_dir() -> Path:
    """Returns the cache folder, creating it where it is missing.

    Returns:
        `$NSTJAX_CACHE` where that is set, and the system's cache folder for `nstjax` otherwise.

    Raises:
        NstjaxError: the folder cannot be created.
    """
    folder = cache_path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NstjaxError(
            f"cannot create the cache folder {folder} ({error.strerror}): "
            "set NSTJAX_CACHE to a folder that can be written"
        ) from error
    return folder


def cached_file(name: str, make: Callable[[Path], object]) -> Path | None:
    """Returns a file of the cache, making it first if it is missing.

    Two processes may make the same file at once: each writes its own, and both see a whole one.

    Args:
        name: the file's name within the cache; one name must always mean the same content, so it
            carries whatever the content depends on.
        make: writes the file to the temporary path it is given, which has the same name.

    Returns:
        The file's path, or None where the cache cannot be written (`OSError` from `make`
        included): the caller then does without. Other errors of `make` pass through.

    Example:
        >>> path = cached_file("two.txt", lambda temporary: temporary.write_text("2"))
        >>> path.name
        'two.txt'
    """
    target = cache_path() / name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # If the machine crashes, a file can be left empty.
        if not target.is_file() or target.stat().st_size == 0:
            with replacing(target) as temporary:
                make(temporary)
    except OSError:
        return None
    return target
