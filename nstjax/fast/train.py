"""Training with its effects: photographs in; checkpoints, a log and the trained style out."""

import dataclasses
import hashlib
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nstjax.errors import NstjaxError
from nstjax.fast.calibrate import losses_of_photographs
from nstjax.fast.changes import changed_settings, refuse_changes
from nstjax.fast.checkpoints import Checkpoints
from nstjax.fast.data import Batches, Dataset
from nstjax.fast.log import MetricsLog
from nstjax.fast.loop import Ended, Files, Run, TrainingCallback
from nstjax.fast.network import Params, auto_precision
from nstjax.fast.parallel import check_batch_size, make_parallel_step, replicate
from nstjax.fast.settings import TrainingRecipe
from nstjax.fast.sources import identity_of
from nstjax.fast.trainer import State, init_state
from nstjax.fields import checked_number
from nstjax.images import Picture, fit_size, load_image, resize_picture, short_name
from nstjax.objective import network_params
from nstjax.settings import override
from nstjax.structure import Inputs, Structure, Targets, TermWeights, structure_of, weights_of
from nstjax.targets import check_sizes, style_targets
from nstjax.vgg import Weights

Pixels = Float[np.ndarray, "1 _ _ 3"]
_CALIBRATION_BATCH, _CALIBRATION_BATCHES = 4, 4
_SHORT_DIGEST = 16  # hexadecimal digits: it is to tell photographs apart, and nobody forges them
_NAME = re.compile(r"\w([\w .-]{0,98}\w)?")  # what any file system takes
_ALWAYS_ALLOWED = ("steps", "epochs", "precision", "tile")  # changes of these cannot spoil a run
# Changes of these do not change what is measured of photographs: it comes before all weights.
_NOT_MEASURED = (
    *("content_weight", "style_weight", "tv_weight", "architecture", "batch_size"),
    *("learning_rate", "warmup_steps", "decay", "clip_norm", "average"),
)


@dataclass(frozen=True)
class TrainingResult:
    """How a training ended.

    Attributes:
        path: the trained style's file, as of the last checkpoint.
        step: steps done.
        metrics: of the last of them.
        stopped: why it ended before its last step, for people; empty where it did not.
        ended: the same in a word: `"done"`, `"asked"` to stop, `"data"`, of which another process
            had no more, or `"diverged"`.
    """

    path: Path
    step: int
    metrics: dict[str, float]
    stopped: str = ""
    ended: Ended = "done"


def train(
    name: str,
    style: Any,
    dataset: Dataset,
    *,
    recipe: TrainingRecipe,
    weights: Weights,
    workdir: str | Path = "runs",
    checkpoint_every: int = 500,
    keep: int = 3,
    init: Params | None = None,
    allow_change: Iterable[str] = (),
    callback: TrainingCallback | None = None,
    warn: Callable[[str], object] = lambda message: None,
) -> TrainingResult:
    """Trains a network for a style, on all devices; continues where an earlier run stopped.

    In `workdir`/`name` it keeps `checkpoints/`, `metrics.jsonl` and, as of the newest checkpoint,
    `name.safetensors`. If `nstjax.fast.parallel.connect` has joined several processes, all of them
    make the same call; the first one writes.

    Args:
        name: of the style, and of its folder.
        style: the style image: a path, an http(s) URL, a Pillow image, an array, or a `Picture`.
        dataset: the photographs.
        recipe: the settings.
        weights: of the loss network.
        workdir: the folder of all runs.
        checkpoint_every: steps from one checkpoint to the next.
        keep: how many checkpoints to keep.
        init: parameters to start from instead of random ones; ignored if there is a checkpoint.
        allow_change: settings that may differ from those of the run that is resumed.
        callback: called after every step with a `TrainingProgress`. Returning True ends the run
            with a checkpoint, once the devices have done the steps that they have already begun.
        warn: called with a message about anything that goes wrong without ending the run.

    Returns:
        The trained style's file, and how the run ended. If the loss is no longer finite, the newest
        checkpoint stays as it was. If the data of one of several processes fail, that process
        raises an error and the others return.

    Raises:
        NstjaxError: if an argument is out of range, the style image cannot be read, the settings
            cannot be used with these pictures, weights or devices, or differ from those of the run
            that is resumed, or if the data fail.
    """
    check_run(name, checkpoint_every, keep)
    style = style if isinstance(style, Picture) else load_image(style)
    recipe = resolve(recipe, len(dataset))
    check_batch_size(recipe.batch_size)
    style_pixels = _style_at(recipe, style)
    check_sizes(recipe, (recipe.image_size, recipe.image_size), style_pixels.shape[1:3])
    structure, inputs = objective_of(recipe, weights, style_pixels)
    config = run_config(recipe, style, dataset, weights)
    folder = Path(workdir) / name
    with (
        _batches(recipe, dataset) as batches,
        Checkpoints(folder / "checkpoints", keep=keep, warn=warn) as checkpoints,
    ):
        losses = _earlier_losses(checkpoints, config, allow_change)
        state, seconds = _newest_state(checkpoints, partial(init_state, recipe, init), batches)
        if recipe.weighting == "relative":
            losses = losses or measure_losses(recipe, structure, inputs, dataset)
            inputs = inputs._replace(weights=_relative(inputs.weights, losses))
        # Under the same name, so that the first copy goes: the loss network is hundreds of MB.
        inputs = replicate(inputs)
        files = Files(
            checkpoints,
            MetricsLog(folder / "metrics.jsonl", int(state.step), warn=warn),
            folder / f"{name}.safetensors",
            warn,
        )
        run = Run(
            recipe,
            {**config, "losses": losses},
            files,
            batches,
            replicate(state),
            seconds=seconds,
            callback=callback,
            checkpoint_every=checkpoint_every,
        )
        ended, stopped = run.train(make_parallel_step(recipe, structure), inputs)
    return TrainingResult(files.style, run.step, run.metrics, stopped, ended)


def check_run(name: str, checkpoint_every: int, keep: int) -> None:
    """Checks what `train` takes, before there are pictures and weights.

    Args:
        name: as there.
        checkpoint_every: likewise.
        keep: likewise.

    Raises:
        NstjaxError: if one of them is out of range.
    """
    if not _NAME.fullmatch(name):
        raise NstjaxError(
            f"style {name!r} makes no name of a folder: use up to 100 letters, digits, spaces, "
            "dots, - and _, and give the picture apart from it, as --style-image"
        )
    checked_number("checkpoint every", checkpoint_every, int, least=1)
    checked_number("keep", keep, int, least=1)


def _earlier_losses(
    checkpoints: Checkpoints, config: dict[str, Any], allow_change: Iterable[str]
) -> dict[str, Any] | None:
    """Refuses changed settings; returns the losses of photographs that the earlier run measured."""
    before = checkpoints.latest_config()
    if before is None:
        return None
    losses = before.pop("losses")
    if config["dataset"].startswith(f"{before['dataset']} "):
        before["dataset"] = config["dataset"]  # an earlier version saved it, without the digest
    refuse_changes(before, config, [*_ALWAYS_ALLOWED, *allow_change])
    # They hold for its style image, its layers and its photographs.
    others = changed_settings(before, config, [*_ALWAYS_ALLOWED, *_NOT_MEASURED])
    return None if others else losses


def _newest_state(
    checkpoints: Checkpoints, start: Callable[[], State], batches: Batches
) -> tuple[State, float]:
    """Restores the run that is resumed; returns its state and the seconds it took."""
    restored = checkpoints.restore(jax.eval_shape(start))  # drawing parameters takes seconds
    if restored is None:
        return start(), 0.0
    batches.set_state(restored.position["data"])
    return restored.state, restored.position["seconds"]


def resolve(recipe: TrainingRecipe, photographs: int) -> TrainingRecipe:
    """Fills in what a recipe leaves to the data and the devices.

    Args:
        recipe: the settings.
        photographs: how many there are.

    Returns:
        The recipe with epochs converted to steps, and the precision chosen.
    """
    steps = recipe.steps
    if recipe.epochs is not None:
        steps = max(1, round(recipe.epochs * (photographs // recipe.batch_size)))
    precision = recipe.precision
    if precision == "auto":
        precision = auto_precision()
    # The epochs stay in the run's record: they say where its steps come from.
    return override(recipe, steps=steps, epochs=recipe.epochs, precision=precision)


def run_config(
    recipe: TrainingRecipe, style: Picture, dataset: Dataset, weights: Weights
) -> dict[str, Any]:
    """Lists everything that a run's result depends on: a resumed run must agree with it.

    Args:
        recipe: the settings.
        style: the style image.
        dataset: the photographs.
        weights: of the loss network.

    Returns:
        The recipe's values, and digests of the rest.
    """
    values = dataclasses.asdict(recipe)
    values["recipe"] = values.pop("name")
    values.pop("source")
    digest = hashlib.sha256(style.pixels.tobytes()).hexdigest()
    kind, colon, place = dataset.name.partition(":")
    # Trained styles are shared, and should not tell where somebody keeps their photographs.
    photographs = f"{kind}{colon}{Path(place).name}"
    which = hashlib.sha256(identity_of(dataset.source)).hexdigest()[:_SHORT_DIGEST]
    return values | {
        "style_image": f"{short_name(style.name)} {digest}",
        "dataset": f"{photographs}, {len(dataset)} pictures {which}",
        "weights_sha256": weights.sha256,
    }


def measure_losses(
    recipe: TrainingRecipe, structure: Structure, inputs: Inputs, dataset: Dataset
) -> dict[str, dict[str, float]]:
    """Measures what each layer's loss is for photographs; see `losses_of_photographs`.

    Args:
        recipe: the settings.
        structure: of the objective.
        inputs: its numbers.
        dataset: the photographs, of which a few batches are used.

    Returns:
        As `TermWeights`, but of numbers: means over the batches.

    Raises:
        NstjaxError: if one is 0 or not finite.
    """
    size = min(_CALIBRATION_BATCH, len(dataset))
    with _batches(override(recipe, batch_size=size), dataset, alone=True) as batches:
        found = [
            losses_of_photographs(structure, inputs, jnp.asarray(next(batches)))
            for _ in range(_CALIBRATION_BATCHES)
        ]
    losses = jax.tree.map(lambda *values: float(np.mean(values)), *found)
    if not all(0 < loss < math.inf for loss in jax.tree.leaves(losses)):
        raise NstjaxError(
            f"the photographs of {dataset.name} are all alike, or like the style image: "
            "train on a variety of photographs"
        )
    return losses._asdict()


def _relative(weights: TermWeights, losses: dict[str, Any]) -> TermWeights:
    return jax.tree.map(lambda weight, loss: weight / loss, weights, TermWeights(**losses))


def _batches(recipe: TrainingRecipe, dataset: Dataset, *, alone: bool = False) -> Batches:
    return Batches(
        dataset,
        batch_size=recipe.batch_size,
        image_size=recipe.image_size,
        crop=recipe.crop,
        seed=recipe.seed,
        process_index=0 if alone else jax.process_index(),
        process_count=1 if alone else jax.process_count(),
    )


def _style_at(recipe: TrainingRecipe, style: Picture) -> Pixels:
    height, width = style.pixels.shape[1:3]
    return resize_picture(style, *fit_size(height, width, recipe.style_size)).pixels


def objective_of(
    recipe: TrainingRecipe, weights: Weights, style: Pixels
) -> tuple[Structure, Inputs]:
    """Makes the objective of a painted batch. Its content targets are computed in each step.

    Args:
        recipe: the settings.
        weights: of the loss network.
        style: RGB in [0, 1], shape (1, H, W, 3).

    Returns:
        The structure, and the numbers without content targets.

    Raises:
        NstjaxError: if the recipe is not for these weights.
    """
    if weights.preprocessing != recipe.preprocessing:
        raise NstjaxError(
            f"recipe {recipe.name} is written for {recipe.network}'s {recipe.preprocessing} "
            f"weights and these are {weights.preprocessing}'s: name the others' file with "
            "--vgg-weights, or use another recipe"
        )
    params = network_params(recipe, weights)
    structure = structure_of(recipe, weights.preprocessing)
    style_grams = style_targets(structure, params, jnp.asarray(style))
    return structure, Inputs(params, Targets({}, style_grams), weights_of(recipe))
