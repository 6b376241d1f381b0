"""Finds the pictures in a list of paths."""

import os
from collections.abc import Iterable
from pathlib import Path

from nstjax.errors import NstjaxError
from nstjax.images.decode import picture_suffixes
from nstjax.images.fetch import is_url


def find_images(paths: Iterable[str | os.PathLike[str]]) -> list[Path | str]:
    """Expands folders to the pictures in them.

    A batch that goes on after a bad entry calls this with one path at a time.

    Args:
        paths: files, folders and http(s) addresses.

    Returns:
        The files and addresses as given, and in place of each folder its pictures by name:
        those whose suffix Pillow can open, without sub-folders and hidden files.

    Raises:
        NstjaxError: a path is empty or does not exist, or a folder holds no picture.
    """
    found: list[Path | str] = []
    for entry in paths:
        if is_url(entry):
            found.append(str(entry))
            continue
        if not os.fspath(entry):  # probably an unset shell variable, not the current folder
            raise NstjaxError("a picture's name is empty: give a file, a folder or an address")
        path = Path(entry)
        try:
            found += _in_folder(path) if path.is_dir() else [_existing(path)]
        except OSError as error:
            raise NstjaxError(f"{path} may not be read ({error.strerror}): check it") from error
    return found


def _in_folder(folder: Path) -> list[Path]:
    suffixes = picture_suffixes()
    files = sorted(
        path
        for path in folder.iterdir()
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    )
    if not files:
        raise NstjaxError(f"{folder} holds no pictures: give a folder with PNG or JPEG files")
    return files


def _existing(path: Path) -> Path:
    if not path.exists():
        raise NstjaxError(f"{path} does not exist: check the path")
    return path
