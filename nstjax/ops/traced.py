"""Traced functions, kept on disk beside what JAX compiles from them.

JAX traces a function before it can look up what it has compiled. For this package's functions that
takes longer than loading the result.
"""

import contextlib
import hashlib
import os
import pickle
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax import export

from nstjax.errors import NstjaxError
from nstjax.files import write_whole

_MOST_FILES = 300  # of some 0.1 MB; then the least recently used go
_PACKAGE = Path(__file__).parents[1]
_LIBRARIES = ("jax", "jaxlib", "flax", "optax")  # whose code a trace contains
_DIGEST_BYTES = hashlib.sha256().digest_size
# JAX's settings of where things are kept; they do not change what is computed.
_PLACES = ("jax_compilation_cache_dir", "jax_compilation_cache_max_size")


class Traced(NamedTuple):
    """A function of arrays, traced for their shapes.

    Attributes:
        program: from arrays to the arrays of the result.
        result: the structure of the result.
    """

    program: export.Exported
    result: Any  # a `PyTreeDef`


def _versions() -> tuple[str, ...] | None:
    """The versions of what traces depend on; of this package a digest, as its sources change.

    None where there are no sources, or where a library does not say its version.
    """
    sources = sorted(_PACKAGE.rglob("*.py"))
    if not sources:
        return None
    digest = hashlib.sha256()
    for path in sources:  # with their folders, as several have the same name
        digest.update(f"{path.relative_to(_PACKAGE)} ".encode() + path.read_bytes())
    try:
        return digest.hexdigest(), *map(version, _LIBRARIES)
    except PackageNotFoundError:
        return None


# At import: sources that are changed later are not the ones that run.
_VERSIONS = _versions()


def _settings() -> dict[str, Any]:
    """JAX's settings by name; empty where they cannot be listed: then nothing is kept."""
    return getattr(jax.config, "values", {})


def traces_folder() -> Path | None:
    """Returns where traced functions are kept; None where JAX keeps nothing on this machine.

    Only programs for a single CPU are kept. Others may have parts that cannot be saved, or may be
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
        identity: what it depends on besides this package, JAX and the settings of both.

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
    """What a file holds; None if it is missing or damaged."""
    try:
        content = path.read_bytes()
        digest, data = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(data).digest() != digest:
            return None
        program, result = pickle.loads(data)  # trusted like the compiled programs beside it
        found = Traced(export.deserialize(bytearray(program)), result)
    except Exception:  # a file may hold anything
        return None
    with contextlib.suppress(OSError):
        os.utime(path)
    return found


def _keep_newest(folder: Path) -> None:
    files = sorted(folder.glob("*.bin"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in files[_MOST_FILES:]:
        file.unlink(missing_ok=True)
