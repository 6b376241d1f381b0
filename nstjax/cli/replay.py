"""`nstjax replay`: a stylised picture in, the same picture made again from its own settings."""

import argparse
import dataclasses
import os
from pathlib import Path

import numpy as np

from nstjax.cli.main import BAD_INPUT, DONE, INTERRUPTED, fail
from nstjax.cli.outputs import Outputs, replay_path
from nstjax.cli.recorded import (
    FoundInput,
    Recorded,
    find_picture,
    find_style,
    read_recorded,
    short,
)
from nstjax.cli.run import Ended, paint_one, stylize_one
from nstjax.errors import NstjaxError
from nstjax.fast import Style
from nstjax.gatys import stages_of
from nstjax.images import Picture, is_url, load_image
from nstjax.provenance import made_with
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
    parser.add_argument(
        "--output", metavar="PATH", help="a file, or a folder (default: PICTURE-replay.SUFFIX)"
    )
    parser.add_argument("--quiet", action="store_true", help="print nothing but errors")


def run(options: argparse.Namespace) -> int:
    """Makes the picture again, and says what is other than it was."""
    recorded = read_recorded(Path(options.picture))
    inputs = _find_inputs(recorded, options)
    bits = 16 if recorded.settings.get("bits") == 16 else 8
    taken = [found.source for found in inputs.values()]
    path = replay_path(recorded.path, options.output, [*taken, options.vgg_weights], bits=bits)
    paint = _paint_pixels if recorded.recipe is not None else _paint_fast
    ended = paint(recorded, inputs, options, Outputs(picture=path, bits=bits))
    if ended.interrupted:
        return fail(f"interrupted: {ended.interrupted}", INTERRUPTED)
    if ended.problem:
        return fail(ended.problem, BAD_INPUT)
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
    """What the options name, by the role it has in the settings."""
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
    stages = stages_of(recipe, *(picture.pixels.shape[1:3] for picture in (content, *styles)))
    steps = sum(stage.steps for stage in stages)
    done = recorded.settings.get("steps_done", steps)
    complete = recorded.settings.get("complete", done >= steps)  # older pictures do not say
    return stylize_one(
        content,
        styles,
        recipe,
        weights,
        outputs,
        style_weights=recorded.style_weights,
        quiet=options.quiet,
        # A run that was interrupted ends again where it did.
        last_step=None if complete else done,
        kept=bool(recorded.settings.get("kept")),
    )


def _paint_fast(
    recorded: Recorded,
    inputs: dict[str, FoundInput],
    options: argparse.Namespace,
    outputs: Outputs,
) -> Ended:
    _tell(recorded, _differences(recorded, inputs), quiet=options.quiet)
    style = inputs["style"].loaded
    assert isinstance(style, Style)
    return paint_one(
        _picture(inputs["content"]),
        style,
        outputs.picture,
        {"size": recorded.settings.get("size"), "tile": recorded.settings.get("tile")},
        bits=outputs.bits,
        quiet=options.quiet,
    )


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
    first, second = (_channels(load_image(path)) for path in (before, after))
    if first.shape != second.shape:
        sizes = [f"{pixels.shape[2]}×{pixels.shape[1]}" for pixels in (first, second)]
        if sizes[0] == sizes[1]:
            return f"of {after} and {before} only one has transparency"
        return f"{after} has {sizes[1]} pixels, and {before} has {sizes[0]}"
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
