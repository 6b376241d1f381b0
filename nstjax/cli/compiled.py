"""Compiled programs, kept from one run of the command line to the next."""

import os
import sys
import warnings
from pathlib import Path

from nstjax.assets import cache_dir
from nstjax.errors import NstjaxError

_MOST_BYTES = 2**30  # beyond this the least recently used are removed


def keep_compiled() -> None:
    """Lets JAX keep compiled programs in the user's cache, unless the user has decided otherwise.

    `JAX_COMPILATION_CACHE_DIR` names another folder; if it is empty, nothing is kept. Nor is
    anything if the cache cannot be written, or if the program has imported jax already.
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
        # JAX compiles what it cannot read there, and goes on if it cannot write.
        warnings.filterwarnings("ignore", "Error .* persistent compilation cache", UserWarning)


def _remove_unfinished(folder: Path) -> None:
    """Removes what a full disk or a killed process left, which JAX would not write again."""
    for program in folder.glob("*-cache"):
        if not program.with_name(program.name.removesuffix("-cache") + "-atime").exists():
            program.unlink(missing_ok=True)
