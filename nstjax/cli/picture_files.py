"""The files of a finished picture: itself, its history, its report; and a line about it."""

import json
import math
import tempfile
from contextlib import suppress
from pathlib import Path

import numpy as np

from nstjax.cli.outputs import Outputs
from nstjax.errors import NstjaxError
from nstjax.files import write_whole
from nstjax.gatys import History, Sources, StylizeResult
from nstjax.images import MadePicture, resize_picture, short_name
from nstjax.report import save_report


def save(result: MadePicture, path: Path, bits: int) -> tuple[Path, str]:
    """Saves a picture, in a new temporary folder if it cannot be saved where it should go.

    Args:
        result: the picture.
        path: where it should go.
        bits: per channel.

    Returns:
        Where it is, and what went wrong, which is usually empty.

    Raises:
        NstjaxError: if it could not be saved at all.
    """
    try:
        result.save(path, bits=bits)
    except NstjaxError as error:
        with suppress(NstjaxError, OSError):
            # A folder of its own, so that nothing is overwritten; a name and a format that cannot
            # have been the reason.
            rescued = Path(tempfile.mkdtemp(prefix="nstjax-")) / "picture.png"
            result.save(rescued, bits=bits)
            return rescued, f"{error}; the picture is in {rescued}"
        raise
    return path, ""


def write_others(
    outputs: Outputs,
    sources: Sources,
    pictures: list[tuple[int, np.ndarray]],
    resumed_at: int,
    result: StylizeResult,
) -> list[str]:
    """Writes the history and the report, as far as they were asked for and can be written.

    Args:
        outputs: what to write where.
        sources: the pictures that the run was given.
        pictures: for the report: steps, each with the picture after it.
        resumed_at: the step that the run went on from, before which there are no pictures; 0 for
            a run from the beginning.
        result: of the run.

    Returns:
        What went wrong: a message for each file that could not be written.
    """
    problems = []
    for path, write in (
        (outputs.history, lambda path: write_whole(path, _json_lines(result.history))),
        (outputs.report, lambda path: _save_report(path, sources, pictures, resumed_at, result)),
    ):
        try:
            if path is not None:
                write(path)
        except NstjaxError as error:  # the picture is saved, and the other file may well be
            problems.append(str(error))
    return problems


def _json_lines(history: History) -> bytes:
    # JSON has no NaN and no infinity.
    finite = ({k: v if math.isfinite(v) else None for k, v in entry.items()} for entry in history)
    return "".join(json.dumps(entry) + "\n" for entry in finite).encode()


def _save_report(
    path: Path,
    sources: Sources,
    pictures: list[tuple[int, np.ndarray]],
    resumed_at: int,
    result: StylizeResult,
) -> None:
    height, width = result.image.shape[1:3]
    names = [short_name(style.name) for style in sources.styles]
    title = f"{result.settings['content']} in the style of {' and '.join(names)}"
    save_report(
        path,
        content=resize_picture(sources.content, height, width).pixels,
        styles=[style.pixels for style in sources.styles],
        snapshots=pictures,
        result=result.image,
        history=result.history,
        title=f"{title}, resumed at step {resumed_at}" if resumed_at else title,
    )


def summary(saved: Path, result: StylizeResult) -> str:
    """Returns a line about how a run went and where its picture is."""
    first, last = result.history[0], result.history[-1]
    height, width = result.image.shape[1:3]
    stopped = f" ({result.stopped})" if result.stopped else ""
    return (
        f"{saved}: {width}×{height}, {last['step']} steps{stopped} in {last['seconds']:.0f} s, "
        f"{tiles_of(result)}, objective {first['total']:.3g} → {last['total']:.3g}"
    )


def tiles_of(result: MadePicture) -> str:
    """Returns how a picture was computed, in words."""
    tile = result.settings["tile"]
    return f"in tiles of {tile} rows" if tile else "untiled"
