"""Finds the pictures that need no path: paintings by their name, and the bundled sample."""

import os
from collections.abc import Callable
from pathlib import Path

from nstjax.assets.cache import assets_path, cache_dir, cache_path, is_offline
from nstjax.assets.download import fetch_checked
from nstjax.assets.table import PAINTINGS, Painting
from nstjax.errors import NstjaxError, unknown_choice

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def sample_path() -> Path:
    """Returns the bundled sample picture, a rendered landscape to try styles on.

    Returns:
        A JPEG file, 768 pixels wide. `examples/render_sample.py` makes it.

    Example:
        >>> sample_path().name
        'sample.jpg'
    """
    return Path(__file__).with_name("sample.jpg")


def find_painting(name: str, *, check: Callable[[Path], object], progress: bool = False) -> Path:
    """Finds the picture of a painting, downloading it as the last resort.

    The first of these that there is: `NAME.jpg`, `.jpeg`, `.png` or `.webp` in the folder `styles`
    of `$NSTJAX_ASSETS`; the same in the folder `styles` of the cache; the rendition on Wikimedia
    Commons, downloaded into the cache unless `$NSTJAX_OFFLINE` is `1`.

    Args:
        name: one of `PAINTINGS`.
        check: raises `NstjaxError` where the file at a path is no picture to work with. What is
            downloaded has no known size or digest, so it is kept only if this passes it.
        progress: show a progress bar on stderr while downloading.

    Returns:
        The file.

    Raises:
        NstjaxError: the name is unknown, `$NSTJAX_ASSETS` is no folder, or the picture is nowhere
            to be found and cannot be downloaded.

    Example:
        >>> find_painting("starry", check=nstjax.load_image).name  # doctest: +SKIP
        'starry.jpg'
    """
    if name not in PAINTINGS:
        raise unknown_choice("style", name, PAINTINGS)
    found = local_painting(name)
    return found or _downloaded(PAINTINGS[name], check, progress=progress)


def local_painting(name: str) -> Path | None:
    """Finds the picture of a painting where `find_painting` looks before it downloads.

    Args:
        name: of a painting.

    Returns:
        The file, None where there is none on this machine.

    Raises:
        NstjaxError: `$NSTJAX_ASSETS` is no folder.
    """
    return _among_assets(name) or _in_cache(name)


def _among_assets(name: str) -> Path | None:
    folder = assets_path()
    if folder is None:
        return None
    return next(filter(os.path.exists, _candidates(folder, name)), None)


def _in_cache(name: str) -> Path | None:
    # A crash of the machine can leave a file without its content.
    candidates = filter(os.path.isfile, _candidates(cache_path(), name))
    return next((path for path in candidates if os.path.getsize(path) > 0), None)


def _candidates(folder: Path, name: str) -> list[Path]:
    return [folder / "styles" / f"{name}{suffix}" for suffix in SUFFIXES]


def _downloaded(painting: Painting, check: Callable[[Path], object], *, progress: bool) -> Path:
    target = cache_path() / "styles" / f"{painting.name}.jpg"
    by_hand = (
        f"get it from {painting.source} and save it as {target}, or as styles/{target.name} in the "
        "folder that NSTJAX_ASSETS names, or pass its path (--style-image to train, --style to "
        "stylize)"
    )
    if not is_offline():
        return fetch_checked(
            painting.url,
            cache_dir() / "styles" / target.name,
            fault=lambda path: _fault(path, check),
            by_hand=by_hand,
            progress=progress,
        )
    raise NstjaxError(
        f"{target.name} ({painting.title} by {painting.painter}) is not on this machine and "
        f"NSTJAX_OFFLINE forbids downloading it: {by_hand}"
    )


def _fault(path: Path, check: Callable[[Path], object]) -> str | None:
    """Says what is wrong with a downloaded picture."""
    try:
        check(path)
    except NstjaxError as error:
        # Only the part that says what is wrong: the path is temporary, and the advice does not fit.
        message = str(error).replace(str(path), "it")
        return message.rpartition(": ")[0] or message
    return None
