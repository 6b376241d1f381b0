"""Traced functions, kept on the disk beside what JAX compiles of them.

To find what it has compiled, JAX traces the function first, which takes longer for this package's
than to load the result.
"""

import contextlib
import hashlib
import os
import pickle
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import export

from nstjax.errors import NstjaxError
from nstjax.files import write_whole

_MOST_FILES = 300  # of some 0.1 MB; then the least recently used go
_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = ("jax", "jaxlib", "flax", "optax")  # what a trace has parts of
_DIGEST_BYTES = hashlib.sha256().digest_size
# Settings of JAX that say where things are kept, and not what is computed.
_PLACES = ("jax_compilation_cache_dir", "jax_compilation_cache_max_size")


class Traced(NamedTuple):
    """A function of arrays, traced for their shapes.

    Attributes:
        program: from the arrays to those of the result.
        result: how the latter lie in the result.
    """

    program: export.Exported
    result: Any  # a `PyTreeDef`


def _versions() -> tuple[str, ...] | None:
    """Of what traces, this package by its sources, which people change between two of its versions.

    None where there are no sources.
    """
    sources = sorted(_PACKAGE.rglob("*.py"))
    if not sources:
        return None
    digest = hashlib.sha256()
    for path in sources:  # by its place, as several have one name
        digest.update(f"{path.relative_to(_PACKAGE)} ".encode() + path.read_bytes())
    return digest.hexdigest(), *(version(library) for library in _LIBRARIES)


# As they are when they are imported, and not when something has been changed since.
_VERSIONS = _versions()


def _settings() -> dict[str, Any]:
    """JAX' settings by name; none where they cannot be listed, in which case nothing is kept."""
    return getattr(jax.config, "values", {})


def traces_folder() -> Path | None:
    """Returns where traced functions are kept; None where JAX keeps nothing on this machine.

    Nor is anything kept but for a CPU alone: other programs may have parts that cannot be, or be
    for several devices.
    """
    settings = _settings()
    folder = settings.get("jax_compilation_cache_dir")
    keeps = settings.get("jax_enable_compilation_cache") and not settings.get("jax_disable_jit")
    if not folder or not keeps or "://" in folder or _VERSIONS is None:
        return None
    alone = jax.default_backend() == "cpu" and jax.device_count() == 1
    return Path(folder) / "traced" if alone else None


def name_of(identity: str) -> str:
    """Returns the name under which a traced function is kept.

    Args:
        identity: what it depends on beside this package, JAX and the settings of both.

    Returns:
        64 hexadecimal digits.
    """
    settings = sorted(item for item in _settings().items() if item[0] not in _PLACES)
    depends_on = (_VERSIONS, os.environ.get("NSTJAX_CONV"), settings)
    return hashlib.sha256(f"{depends_on} {identity}".encode()).hexdigest()


def find_or_trace(folder: Path, name: str, trace: Callable[[], Traced]) -> Traced:
    """Finds a traced function on the disk, or traces it and keeps it there.

    Args:
        folder: from `traces_folder`.
        name: from `name_of`.
        trace: traces it.

    Returns:
        The traced function.
    """
    path = folder / f"{name}.bin"
    if (found := _read(path)) is not None:
        return found
    made = trace()
    data = pickle.dumps((bytes(made.program.serialize()), made.result))
    with contextlib.suppress(NstjaxError, OSError):  # the next process traces it again
        write_whole(path, hashlib.sha256(data).digest() + data)
        _keep_newest(folder)
    return made


def _read(path: Path) -> Traced | None:
    """What a whole file holds; None of any other."""
    try:
        content = path.read_bytes()
        digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != digest:
            return None
        program, result = pickle.loads(data)  # to be trusted as the compiled programs beside it
        found = Traced(export.deserialize(bytearray(program)), result)
    except Exception:  # what else a file may hold is not known
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return found


def _keep_newest(folder: Path) -> None:
    files = sorted(folder.glob("*.bin"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[_MOST_FILES:]:
        file.unlink(missing_ok=True)
