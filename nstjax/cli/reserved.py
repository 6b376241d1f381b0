"""Names that nobody chose, held against other runs."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from nstjax.cli.outputs import is_taken, numbered


@contextmanager
def reserved(path: Path, name: Path | None) -> Iterator[Path]:
    """Holds a picture's name by an empty file, which the picture replaces.

    Otherwise two runs that begin at the same time would choose the same name, and the second
    picture would replace the first.

    Args:
        path: a name that was free.
        name: the one that it numbers; None if somebody chose the path, which is then left alone.

    Yields:
        The path, or the next free number of the name.
    """
    if name is None:
        yield path
        return
    held = _hold(path, name)
    try:
        yield held
    finally:
        with suppress(OSError):  # if nothing was painted, nothing stays
            if held.stat().st_size == 0:
                held.unlink()


def _hold(path: Path, name: Path) -> Path:
    for candidate in chain([path], numbered(name)):
        if is_taken(candidate):
            continue
        try:
            candidate.open("xb").close()
        except FileExistsError:  # since a moment ago
            continue
        except OSError:  # which saving the picture reports, too
            pass
        return candidate
    raise AssertionError  # there are always more numbers
