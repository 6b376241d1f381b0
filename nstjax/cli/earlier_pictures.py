"""Finds pictures that were finished or begun before, from the same inputs and settings."""

import json
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from nstjax.cli.outputs import Outputs, resume_file
from nstjax.errors import NstjaxError
from nstjax.gatys import Sources, identity_of, read_identity
from nstjax.images import read_settings
from nstjax.settings import Recipe
from nstjax.vgg import Weights

# Settings in which a finished picture may differ: those of memory, as if the run was resumed; how
# many pairs L-BFGS remembered, if memory was short; and at which step its tolerance ended the run.
_FREE = ("tile", "memory_limit", "history_size", "steps_done")


def find_finished(before: Iterable[Outputs], settings: dict[str, Any], bits: int) -> Path | None:
    """Finds the picture that a run would make.

    Args:
        before: what earlier runs may have written.
        settings: what would be stored with the finished picture.
        bits: per channel.

    Returns:
        The first picture with these settings whose run ended and wrote everything; None if there is
        none.
    """
    wanted = {"bits": bits} | _compared(json.loads(json.dumps(settings)))
    for outputs in before:
        paths = [outputs.picture, outputs.history, outputs.report]
        there = all(os.path.exists(path) for path in paths if path is not None)
        if there and not os.path.exists(resume_file(outputs.picture)):
            with suppress(NstjaxError):  # a file that is no picture
                stored = read_settings(outputs.picture) or {}
                if {"bits": 8} | _compared(stored) == wanted:
                    return outputs.picture
    return None


def find_begun(
    names: Iterable[Path], recipe: Recipe, weights: Weights, sources: Sources
) -> tuple[Path | None, Path | None]:
    """Finds the unfinished picture that a run goes on with.

    Args:
        names: pictures that may have been begun.
        recipe: the settings of the run.
        weights: of the loss network.
        sources: the pictures.

    Returns:
        The first picture that this run has begun, and the first whose snapshot it would refuse:
        one that cannot be read, or is of the same photograph with other settings. Each is None if
        there is none.
    """
    begun = [name for name in names if os.path.exists(resume_file(name))]
    if not begun:  # usually; and hashing all pictures takes time
        return None, None
    identity, refused = identity_of(recipe, weights, sources), []
    for name in begun:
        try:
            found = read_identity(resume_file(name))
        except NstjaxError:
            refused.append(name)
            continue
        if found == identity:
            return name, None
        if found is not None and found["content image"] == identity["content image"]:
            refused.append(name)
    return None, next(iter(refused), None)


def _compared(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _FREE}
