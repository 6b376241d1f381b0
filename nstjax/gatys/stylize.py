"""The pixel route from pictures to a picture: `stylize`."""

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nstjax.errors import NstjaxError
from nstjax.fields import checked_number
from nstjax.gatys.history import Callback, History, Recorder
from nstjax.gatys.memory import Tiling
from nstjax.gatys.run import run_stages
from nstjax.gatys.snapshot import EVERY_S, Snapshot, Snapshots, identity_of
from nstjax.gatys.sources import Sources, load_sources
from nstjax.gatys.stages import stages_of
from nstjax.gatys.strength import is_steered, rounds_of
from nstjax.images import (
    MadePicture,
    describe_input,
    public_name,
    resize_image,
    short_name,
)
from nstjax.provenance import made_with
from nstjax.recipes import DEFAULT_RECIPE, get_recipe
from nstjax.settings import Recipe, override
from nstjax.vgg import Weights, load_weights


@dataclass(frozen=True, kw_only=True, eq=False)
class StylizeResult(MadePicture):
    """A stylised picture and how it came about.

    Attributes:
        image: RGB in [0, 1], float32, shape (1, H, W, 3).
        settings: everything that makes the picture again: the recipe's values, the versions of
            what computed it, and which weights.
        alpha: the content picture's transparency at the result's size, or None.
        history: one entry a step, the start first; see `nstjax.gatys.Recorder`.
        stopped: why the run ended before its last step; empty if it did not.
    """

    history: History = field(repr=False)
    stopped: str = ""


def stylize(
    content: Any,
    style: Any,
    *,
    style_weights: Sequence[float | int] | None = None,
    recipe: str | Recipe = DEFAULT_RECIPE,
    weights: Weights | str | Path | None = None,
    callback: Callback | None = None,
    callback_every: int = 0,
    snapshot: str | Path | None = None,
    snapshot_every: float = EVERY_S,
    resume: bool = False,
    tell: Callable[[str], object] = lambda message: None,
    **settings: Any,
) -> StylizeResult:
    """Paints a photograph in the style of a painting by optimising its pixels.

    Pictures of one size share one compiled program, also over several calls.

    Args:
        content: the photograph: a path, an http(s) URL, a Pillow image, an array, or a `Picture`.
        style: the painting, likewise; or a list of several, of which Gram matrices, or means and
            covariances, are averaged. `init="style"` starts from the first.
        style_weights: of several paintings, relative to each other; equal if None.
        recipe: a name from `nstjax.RECIPES`, or a `Recipe`.
        weights: as `nstjax.load_weights` returns them, which saves loading them again for each of
            several pictures; or the path of a weights file.
        callback: called about once a second with a `Progress`; if it returns True the run ends
            with the picture so far, enlarged if the recipe has not come to its full size. With the
            last one, when nothing is left to do, it does not count as stopped.
        callback_every: also calls at all multiples of this number of steps.
        snapshot: a file that is written every so often, and when the callback ends the run. It is
            not removed: do that once the picture is saved.
        snapshot_every: seconds between two, or more if writing takes long; 0: none is written.
        resume: go on from that file, on the same machine to the same bits as without interruption;
            if there is none, start from the beginning. With `lbfgs-b`, whose state cannot be
            saved, the run goes on from the start of the size that it was at.
        tell: called with messages: where the run goes on, or that no snapshot can be written.
        **settings: any setting of `Recipe`, such as `size=512`, `steps=500`, `style_weight=1e-2`.

    Returns:
        The picture, the history of the objective, and the settings.

    Raises:
        NstjaxError: if a picture cannot be read or is too small, a setting, another argument or the
            paintings' weights are not valid, there are no weights of the network, or the snapshot
            is damaged, of another run, or not named.

    Example:
        result = nstjax.stylize("photo.jpg", "painting.jpg", size=512, steps=500)
        result.save("out.png")
    """
    recipe = override(get_recipe(recipe) if isinstance(recipe, str) else recipe, **settings)
    _check_options(callback_every, snapshot, snapshot_every, resume=resume)
    sources = load_sources(recipe, content, style, style_weights=style_weights)
    if not isinstance(weights, Weights):
        weights = load_weights(recipe.network, path=weights)
    return stylize_sources(
        sources,
        recipe,
        weights,
        callback=callback,
        callback_every=callback_every,
        snapshot=snapshot,
        snapshot_every=snapshot_every,
        resume=resume,
        tell=tell,
    )


def stylize_sources(
    sources: Sources,
    recipe: Recipe,
    weights: Weights,
    *,
    callback: Callback | None = None,
    callback_every: int = 0,
    snapshot: str | Path | None = None,
    snapshot_every: float = EVERY_S,
    resume: bool = False,
    tell: Callable[[str], object] = lambda message: None,
) -> StylizeResult:
    """Does what `stylize` does, with pictures and weights that are loaded.

    Args:
        sources: the pictures.
        recipe: the settings.
        weights: of the loss network.
        callback: as for `stylize`, and so are the others.
        callback_every: steps.
        snapshot: a file.
        snapshot_every: seconds.
        resume: go on from that file.
        tell: called with messages.

    Returns:
        The picture, the history of the objective, and the settings.

    Raises:
        NstjaxError: if a picture is too small, an argument is not valid, or the snapshot is
            damaged, of another run, or not named.
    """
    _check_options(callback_every, snapshot, snapshot_every, resume=resume)
    stages = stages_of(recipe, *sources.shapes)
    stages = rounds_of(stages) if is_steered(recipe) else stages
    recorder = Recorder(recipe, sum(stage.steps for stage in stages), callback)
    snapshots = resumed = None
    if snapshot is not None:
        identity = identity_of(recipe, weights, sources)
        snapshots = Snapshots(Path(snapshot), identity, recipe.tile, snapshot_every, tell)
        resumed = _resumed(snapshots, Path(snapshot), recorder, tell) if resume else None
    pairs = resumed and resumed.history_size
    tiling = Tiling(recipe, stages, tell, held=sources.nbytes, pairs=pairs)
    picture = run_stages(
        tiling,
        weights,
        sources,
        stages,
        recorder,
        tell=tell,
        every=callback_every,
        snapshots=snapshots,
        resumed=resumed,
    )
    recipe, complete, alpha = tiling.recipe, not recorder.stopped, sources.content.alpha
    return StylizeResult(
        image=picture,
        history=recorder.history,
        settings=run_settings(recipe, weights, sources, recorder.step, complete=complete),
        alpha=None if alpha is None else resize_image(alpha, *picture.shape[1:3]),
        stopped=recorder.stopped or recorder.note,
    )


def _check_options(
    callback_every: Any, snapshot: str | Path | None, snapshot_every: Any, *, resume: bool
) -> None:
    """Reports what is wrong with a call before anything is loaded or computed."""
    checked_number("callback_every", callback_every, int, least=0)
    checked_number("snapshot_every", snapshot_every, float, least=0)
    if resume and snapshot is None:
        raise NstjaxError("there is nothing to resume from: give snapshot=FILE")


def _resumed(
    snapshots: Snapshots, path: Path, recorder: Recorder, tell: Callable[[str], object]
) -> Snapshot | None:
    """The snapshot to go on from, to whose step the recorder is brought."""
    resumed = snapshots.load()
    if resumed is None:
        tell(f"there is no snapshot {path}: starting from the beginning")
    else:
        recorder.restore(resumed.recorder)
        tell(f"going on from step {recorder.step} of {path}")
    return resumed


def run_settings(
    recipe: Recipe, weights: Weights, sources: Sources, step: int, *, complete: bool
) -> dict[str, Any]:
    """Lists everything that is needed to make a picture of the pixel route again.

    Args:
        recipe: the settings of the run.
        weights: of the loss network.
        sources: the pictures.
        step: the steps that were done.
        complete: whether the run ended by itself, even if before its last step.

    Returns:
        What JSON can hold.
    """
    values = dataclasses.asdict(recipe)
    content, init = sources.content, sources.init
    names = [short_name(style.name) for style in sources.styles]
    described = [describe_input(style) for style in sources.styles]
    one = len(names) == 1  # a single one is stored without list and weight
    inputs = {"content": describe_input(content), "style": described[0] if one else described}
    inputs |= {} if init is None else {"init": describe_input(init)}
    return {
        "method": "gatys",
        "recipe": values.pop("name"),
        **values,
        "init": recipe.init if init is None else public_name(recipe.init),
        "content": short_name(content.name),
        "style": names[0] if one else names,
        **({} if one else {"style_weights": list(sources.style_weights)}),
        "inputs": inputs,
        "steps_done": step,
        "complete": complete,
        "weights_sha256": weights.sha256,
        **made_with(),
    }
