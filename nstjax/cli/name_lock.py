"""Names that nobody chose, held against runs that begin at the same time."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import chain
from pathlib import Path

from filelock import FileLock, Timeout

from nstjax.cli.outputs import is_taken, numbered
from nstjax.files import hidden_prefix


@contextmanager
def reserved(path: Path, name: Path | None) -> Iterator[Path]:
    """Holds a picture's name by a lock beside it, which the system frees if the process dies.

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
    with ExitStack() as held:
        yield _hold(path, name, held)


def _hold(path: Path, name: Path, held: ExitStack) -> Path:
    for candidate in chain([path], numbered(name)):
        if is_taken(candidate):
            continue
        file = candidate.with_name(f"{hidden_prefix(candidate)}lock")
        lock = FileLock(file, timeout=0)
        try:
            lock.acquire()
        except Timeout:
            continue
        except PermissionError:
            if file.exists():  # another user's
                continue
            return candidate  # which cannot be saved, either: saving it says so
        except (OSError, NotImplementedError):  # a file system without locks
            return candidate
        held.callback(_free, lock, file)
        if not is_taken(candidate):  # since a moment ago
            return candidate
    raise AssertionError  # there are always more numbers


def _free(lock: FileLock, file: Path) -> None:
    lock.release()
    with suppress(OSError):
        file.unlink(missing_ok=True)
