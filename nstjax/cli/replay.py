"""`nstjax replay`: a stylised picture in, the same picture made again from its own settings."""

import argparse
import dataclasses
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nstjax.cli.exits import BAD_INPUT, DONE, INTERRUPTED, fail
from nstjax.cli.outputs import Outputs, replay_path
from nstjax.cli.overwriting import refuse_overwriting
from nstjax.cli.picture_record import (
    FoundInput,
    Recorded,
    find_picture,
    find_style,
    read_recorded,
    short,
)
from nstjax.cli.run import Ended, paint_one, stylize_one
from nstjax.errors import NstjaxError
from nstjax.fast import Style, painted_shape
from nstjax.fast.memory import estimate_bytes
from nstjax.gatys import Tiling, load_sources, stages_of
from nstjax.gatys.stages import Stage
from nstjax.images import Picture, is_url, load_made_image, read_size
from nstjax.memory import parse_limit, parse_tile, room, size_text
from nstjax.provenance import made_with
from nstjax.settings import MEMORY_LIMIT_HELP, TILE_HELP, Recipe
from nstjax.vgg import load_weights

_ROLES = ("content", "style", "init")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("picture", metavar="PICTURE", help="what nstjax stylize made")
    for role, what in (
        ("content", "the photograph"),
        ("style", "the painting or the trained style (for several paintings again for each)"),
        ("init", "the picture it starts from"),
    ):
        parser.add_argument(
            f"--{role}",
            action="append",
            metavar="FILE",
            help=f"{what}, if it is neither beside PICTURE nor in the current folder",
        )
    parser.add_argument("--vgg-weights", metavar="FILE", help="Keras .h5 or .safetensors")
    parser.add_argument("--tile", metavar="TILE", help=f"{TILE_HELP} (default: as before)")
    parser.add_argument(
        "--memory-limit",
        metavar="LIMIT",
        help=MEMORY_LIMIT_HELP,
    )
    parser.add_argument(
        "--output", metavar="PATH", help="a file, or a folder (default: PICTURE-replay.SUFFIX)"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(options: argparse.Namespace) -> int:
    """Makes the picture again, and says what has changed."""
    parse_tile(options.tile)
    parse_limit(options.memory_limit)
    recorded = read_recorded(Path(options.picture))
    inputs = _find_inputs(recorded, options)
    bits = 16 if recorded.settings.get("bits") == 16 else 8
    path = replay_path(recorded.path, options.output, bits=bits)
    outputs = Outputs(picture=path, bits=bits)
    weights = [] if options.vgg_weights is None else [options.vgg_weights]
    read = [recorded.path, *(found.source for found in inputs.values()), *weights]
    refuse_overwriting([outputs], read)
    paint = _paint_pixels if recorded.recipe is not None else _paint_fast
    ended = paint(recorded, inputs, options, outputs)
    if ended.interrupted:
        return fail(ended.message, INTERRUPTED)
    if ended.problem:
        return fail(ended.message, BAD_INPUT)
    if not options.quiet:
        print(compare(recorded.path, path))
    return DONE


def _find_inputs(recorded: Recorded, options: argparse.Namespace) -> dict[str, FoundInput]:
    found, missing = {}, []
    given = _given_sources(recorded, options)
    for role in recorded.roles:
        try:
            if role == "style" and recorded.recipe is None:
                found[role] = find_style(recorded, given.get(role))
            else:
                found[role] = find_picture(recorded, role, given.get(role))
        except NstjaxError as error:
            missing.append(str(error))
    if missing:
        raise NstjaxError("; ".join(missing))
    return found


def _given_sources(recorded: Recorded, options: argparse.Namespace) -> dict[str, str]:
    """The sources that the options name, by their roles in the settings."""
    given = {}
    for option in _ROLES:
        sources = getattr(options, option) or []
        roles = [role for role in recorded.roles if role.split()[0] == option]
        if sources and not roles:
            raise NstjaxError(f"{recorded.path} was made without --{option}: leave it out")
        if sources and len(sources) != len(roles):
            raise NstjaxError(
                f"--{option} is given {len(sources)} times, and {recorded.path} was made with "
                f"{len(roles)}: give none or {len(roles)}"
            )
        given |= dict(zip(roles, sources, strict=False))
    return given


def _paint_pixels(
    recorded: Recorded,
    inputs: dict[str, FoundInput],
    options: argparse.Namespace,
    outputs: Outputs,
) -> Ended:
    recipe = recorded.recipe
    assert recipe is not None
    if "init" in inputs:
        source = inputs["init"].source  # a file may be called noise
        source = source if is_url(source) else os.path.abspath(source)
        recipe = dataclasses.replace(recipe, init=source)
    weights = load_weights(recipe.network, path=options.vgg_weights, progress=not options.quiet)
    differs = _differences(recorded, inputs)
    before = recorded.settings.get("weights_sha256")
    if before != weights.sha256:
        differs.append(f"weights: sha256 was {short(before)}, is {short(weights.sha256)}")
    _tell(recorded, differs, quiet=options.quiet)
    content, *styles = (_picture(inputs[role]) for role in ("content", *recorded.styles))
    init = _picture(inputs["init"]) if "init" in inputs else None
    sources = load_sources(recipe, content, styles, style_weights=recorded.style_weights, init=init)
    stages = stages_of(recipe, *sources.shapes)
    estimate = partial(_estimate, recipe, stages, sources.nbytes)
    recipe = dataclasses.replace(recipe, **_memory(recorded, options, estimate))
    steps = sum(stage.steps for stage in stages)
    done = recorded.settings.get("steps_done", steps)
    complete = recorded.settings.get("complete", done >= steps)  # older pictures do not say
    return stylize_one(
        sources,
        recipe,
        weights,
        outputs,
        quiet=options.quiet,
        # A run that was interrupted ends after the same step again.
        last_step=None if complete else done,
        kept=bool(recorded.settings.get("kept")),
    )


def _estimate(recipe: Recipe, stages: list[Stage], held: int, tile: int | None) -> int:
    """The bytes that a run of the pixel route takes on this machine; see `Tiling`."""
    recipe = dataclasses.replace(recipe, tile=tile, memory_limit=None)
    return Tiling(recipe, stages, held=held, pairs=recipe.history_size).plan.estimate


def _paint_fast(
    recorded: Recorded,
    inputs: dict[str, FoundInput],
    options: argparse.Namespace,
    outputs: Outputs,
) -> Ended:
    _tell(recorded, _differences(recorded, inputs), quiet=options.quiet)
    content, style = _picture(inputs["content"]), inputs["style"].loaded
    assert isinstance(style, Style)
    size = recorded.settings.get("size")
    estimate = partial(estimate_bytes, style.architecture, *painted_shape(content, size))
    return paint_one(
        content,
        style,
        outputs.picture,
        {"size": size, **_memory(recorded, options, estimate)},
        bits=outputs.bits,
        quiet=options.quiet,
    )


def _memory(
    recorded: Recorded, options: argparse.Namespace, estimate: Callable[[int | None], int]
) -> dict[str, Any]:
    """The tile and the limit of memory: as before if there is room, unless others are given.

    Args:
        recorded: the settings.
        options: as parsed.
        estimate: returns the bytes that the picture takes on this machine, given a tile.

    Returns:
        `tile` and `memory_limit`.
    """
    if options.tile is not None:
        return {"tile": options.tile, "memory_limit": options.memory_limit}
    tile = parse_tile(recorded.settings.get("tile", "auto"))
    if isinstance(tile, str):
        return {"tile": tile, "memory_limit": options.memory_limit}
    needed, limit = estimate(tile), options.memory_limit
    if limit is None and (before := recorded.settings.get("memory_limit")) is not None:
        # It is part of the file's bytes, but may have been meant for another machine.
        limit = before if needed <= min(room(before), room(None)) else None
    there = room(limit)
    if needed <= there:
        return {"tile": tile, "memory_limit": limit}
    if not options.quiet:
        print(
            f"{recorded.path} was computed with --tile {tile or 'off'}, which takes about "
            f"{size_text(needed)} of {size_text(there)} here: --tile auto is used"
        )
    return {"tile": "auto", "memory_limit": limit}


def _picture(found: FoundInput) -> Picture:
    assert isinstance(found.loaded, Picture)
    return found.loaded


def _differences(recorded: Recorded, inputs: dict[str, FoundInput]) -> list[str]:
    differs = [found.differs for found in inputs.values() if found.differs]
    now = made_with()
    for name, before in recorded.made_with.items():
        if before != now[name]:
            differs.append(f"{name}: was {before}, is {now[name]}")
    return differs


def _tell(recorded: Recorded, differs: list[str], *, quiet: bool) -> None:
    if quiet:
        return
    for line in differs:
        print(line)
    if not differs:
        print(f"{recorded.path}: all inputs and versions are what they were")


def compare(before: Path, after: Path) -> str:
    """Says how a picture differs from another.

    Args:
        before: the one that was replayed.
        after: the one that the replay made.

    Returns:
        One line: the same bytes, the same pixels, or the largest difference in 8-bit levels.

    Raises:
        NstjaxError: one of them cannot be read.
    """
    if before.read_bytes() == after.read_bytes():
        return f"{after} is {before}, byte for byte"
    # By the headers: a file that claims another size need not be loaded, however large it is.
    sizes = [f"{width}×{height}" for height, width in map(read_size, (before, after))]
    if sizes[0] != sizes[1]:
        return f"{after} has {sizes[1]} pixels, and {before} has {sizes[0]}"
    first, second = (_channels(load_made_image(path)) for path in (before, after))
    if first.shape != second.shape:
        return f"of {after} and {before} only one has transparency"
    levels = np.rint(np.abs(first - second) * 255)
    if not levels.any():
        return f"{after} has the pixels of {before}, though not its bytes"
    share = np.mean(levels > 0)
    return (
        f"{after} differs from {before} by up to {levels.max():.0f} of 255 levels, "
        f"in {share:.2%} of the values"
    )


def _channels(picture: Picture) -> np.ndarray:
    parts = [picture.pixels] + ([] if picture.alpha is None else [picture.alpha])
    return np.concatenate(parts, axis=3)
