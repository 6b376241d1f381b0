"""Compiled programs, kept from one run of the command line to the next."""

import os
import sys
import warnings
from pathlib import Path

from nstjax.assets import cache_dir
from nstjax.errors import NstjaxError

_MOST_BYTES = 2**30  # then the least recently used go


def keep_compiled() -> None:
    """Lets JAX keep what it compiles in the user's cache, where nothing is decided about that yet.

    `JAX_COMPILATION_CACHE_DIR` names another folder; empty, it keeps nothing. Nor is anything kept
    where the cache cannot be written, or for a program that has imported jax already.
    """
    if "jax" in sys.modules or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    limit = os.environ.setdefault("JAX_COMPILATION_CACHE_MAX_SIZE", str(_MOST_BYTES))
    try:
        folder = cache_dir() / "compiled"
        folder.mkdir(exist_ok=True)
        if limit != "-1":  # without a limit JAX writes no times
            _remove_unfinished(folder)
    except (NstjaxError, OSError):
        return
    if os.access(folder, os.W_OK | os.X_OK):
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.03")
        # It compiles where it cannot read, and does without where it cannot write.
        warnings.filterwarnings("ignore", "Error .* persistent compilation cache", UserWarning)


def _remove_unfinished(folder: Path) -> None:
    """Removes what a full disk or a killed process left: JAX would not write it again."""
    for program in folder.glob("*-cache"):
        if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
            program.unlink(missing_ok=True)
