"""Whether a picture is there already, complete or begun, of the same pictures and settings."""

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

# What a picture's settings say that may be other: memory, as in the snapshot of a run that is
# resumed, with what L-BFGS remembers where it is short, and the step at which a run that was
# complete ended by its tolerance.
_FREE = ("tile", "memory_limit", "history_size", "steps_done")


def find_finished(before: Iterable[Outputs], settings: dict[str, Any], bits: int) -> Path | None:
    """Finds the picture that a run would make.

    Args:
        before: what runs before it may have written.
        settings: what would be stored with the picture, complete.
        bits: per channel.

    Returns:
        The first picture with these settings whose run ended, and wrote all that it was to write;
        None where there is none.
    """
    wanted = {"bits": bits} | _compared(json.loads(json.dumps(settings)))
    for outputs in before:
        paths = [outputs.picture, outputs.history, outputs.report]
        there = all(os.path.exists(path) for path in paths if path is not None)
        if there and not os.path.exists(resume_file(outputs.picture)):
            with suppress(NstjaxError):  # a file that is no picture is none of a run
                stored = read_settings(outputs.picture) or {}
                if {"bits": 8} | _compared(stored) == wanted:
                    return outputs.picture
    return None


def find_begun(
    names: Iterable[Path], recipe: Recipe, weights: Weights, sources: Sources
) -> tuple[Path | None, Path | None]:
    """Finds the picture that a run goes on with.

    Args:
        names: of pictures that may have been begun.
        recipe: the settings of the run.
        weights: of the loss network.
        sources: the pictures.

    Returns:
        The first picture that this run has begun; and the first whose snapshot would be refused for
        it, as it cannot be read or is of the same photograph with other settings. None where there
        is none.
    """
    begun = [name for name in names if os.path.exists(resume_file(name))]
    if not begun:  # as a rule, and to hash all pictures takes time
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
