"""Files that appear whole or not at all."""

import contextlib
import errno
import glob
import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from nstjax.errors import NstjaxError

_ABANDONED_AFTER_S = 24 * 3600.0
# Bytes of a target's name in that of its temporary folder, which must fit where the target does.
_NAMED_AFTER = 80


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Lends a temporary path that becomes `target` in one step when the block ends well.

    Where the block raises, `target` is as it was and the temporary file is gone. There is no lock
    between processes: some network file systems have none, and the last whole file to arrive is
    as good as the first.

    Args:
        target: the file to create or replace; its folder exists.

    Yields:
        A path with the same name, in a folder of its own on the same file system.
    """
    target = Path(os.path.realpath(target))  # through a link, instead of replacing it
    # A killed process cannot tidy up after itself, so the next one does.
    for left in target.parent.glob(f"{glob.escape(hidden_prefix(target))}*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_AFTER_S:
                shutil.rmtree(left)
    with _beside(target) as temporary:
        yield temporary
        os.replace(temporary, target)


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Lends a path of the target's name in a temporary folder beside it."""
    # A folder, not a file: those are private to the user (0600) and would stay so.
    prefix = hidden_prefix(target)
    with tempfile.TemporaryDirectory(prefix=prefix, dir=target.parent) as folder:
        yield Path(folder) / target.name


def hidden_prefix(target: Path) -> str:
    """Returns how the names of hidden files begin that this package keeps beside a file.

    Args:
        target: the file.

    Returns:
        A prefix that is nobody else's, of a length that fits wherever the file's name does.
    """
    return f".{shortened(target.name, _NAMED_AFTER)}.nstjax-"


def shortened(name: str, most: int) -> str:
    """Cuts a name to what a file system takes, which counts bytes, between two characters.

    Args:
        name: of a file, or a part of one.
        most: its bytes in UTF-8.

    Returns:
        The name, or its beginning.

    Example:
        >>> shortened("Tübingen", 2), shortened("Tübingen", 3)
        ('T', 'Tü')
    """
    encoded = name.encode(errors="surrogatepass")
    return name if len(encoded) <= most else encoded[:most].decode(errors="ignore")


def write_whole(path: Path, data: bytes) -> None:
    """Writes a file; until all of it is on the disk, an older one stays intact.

    Args:
        path: where to; missing folders are created.
        data: the file's bytes.

    Raises:
        NstjaxError: the system refuses, a full disk included.
    """
    with writing(path) as stream:
        stream.write(data)


@contextlib.contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Opens a file to be written, as `write_whole` does, piece by piece.

    Args:
        path: where to; missing folders are created.

    Yields:
        What to write to.

    Raises:
        NstjaxError: the system refuses, a full disk included.
    """
    try:
        with contextlib.ExitStack() as opened:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = opened.enter_context(replacing(path))
                stream = opened.enter_context(temporary.open("xb"))
            except ValueError as error:  # a null character in the path
                raise _not_writable(path, error) from error
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise _not_writable(path, error) from error


def sha256_of(path: Path) -> str:
    """Computes the SHA-256 of a file.

    Args:
        path: the file.

    Returns:
        64 hexadecimal digits.

    Raises:
        NstjaxError: it cannot be read.
    """
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise NstjaxError(f"{path} cannot be read: {error.strerror}") from error


def check_writable(path: Path) -> None:
    """Tries whether a file could be written, creating the folder it is to stand in.

    Args:
        path: where to.

    Raises:
        NstjaxError: the path is a folder, or its folder cannot be created or written in.
    """
    try:
        if path.is_dir():
            raise NstjaxError(f"{path} is a folder: give the name of a file")
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        with _beside(target) as temporary, temporary.open("xb") as stream:
            stream.write(b"\0")
    except (OSError, ValueError) as error:
        if isinstance(error, NstjaxError):
            raise
        raise _not_writable(path, error) from error


def _not_writable(path: Path, error: Exception) -> NstjaxError:
    reason = getattr(error, "strerror", None) or error
    too_long = getattr(error, "errno", None) == errno.ENAMETOOLONG
    what = "choose a shorter name" if too_long else "choose a place that can be written"
    return NstjaxError(f"cannot write {path} ({reason}): {what}")
