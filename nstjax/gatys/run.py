"""A run through all its sizes."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.gatys.ahead import CompileAhead
from nstjax.gatys.history import Recorder, to_picture
from nstjax.gatys.loop import optimize
from nstjax.gatys.snapshot import Snapshot, Snapshots
from nstjax.gatys.stages import Stage
from nstjax.gatys.start import start_image
from nstjax.images import Picture, resize_image
from nstjax.objective import network_params, prepare
from nstjax.settings import Recipe
from nstjax.vgg import Weights

Pixels = Float[np.ndarray, "1 _ _ 3"]


def run_stages(
    recipe: Recipe,
    weights: Weights,
    content: Pixels,
    style: Pixels,
    stages: list[Stage],
    recorder: Recorder,
    *,
    init: Picture | None = None,
    every: int = 0,
    snapshots: Snapshots | None = None,
    resumed: Snapshot | None = None,
) -> Pixels:
    """Optimises a picture at one size after the other, each from the result of the one before.

    Args:
        recipe: the settings.
        weights: of the loss network.
        content: the photograph, RGB in [0, 1], of its own size.
        style: the painting, likewise.
        stages: the sizes, from the first to the last.
        recorder: see `nstjax.gatys.loop.optimize`.
        init: what `load_init` returned.
        every: see `nstjax.gatys.loop.optimize`.
        snapshots: likewise.
        resumed: where to go on from, as the recorder does already.

    Returns:
        The picture, RGB in [0, 1], shape (1, H, W, 3): of the last size, also if the recorder
        ended the run before.
    """
    params = network_params(recipe, weights)
    first, image, state = _where(recipe, resumed)
    carried = None
    with CompileAhead(recipe, weights.preprocessing, params) as compiling:
        compiling.start(stages[first])
        for number, stage in enumerate(stages[first:], start=first):
            pictures = resize_image(content, *stage.content), resize_image(style, *stage.style)
            compiling.wait()
            structure, inputs = prepare(recipe, weights.preprocessing, params, *pictures)
            if number + 1 < len(stages):
                compiling.start(stages[number + 1])
            if snapshots is not None:
                snapshots.stage = number
                if recipe.optimizer == "lbfgs-b" and image is not None:
                    # SciPy keeps its state to itself, of which none is left between two sizes.
                    snapshots.offer(image, recorder)
            if image is None:
                start = start_image(recipe, *pictures, weights.preprocessing, init)
            else:
                start = resize_image(to_picture(image), *stage.content)
            image, carried = optimize(
                recipe,
                structure,
                inputs,
                jnp.asarray(start, jnp.float32),
                steps=stage.steps,
                recorder=recorder,
                every=every,
                carried=carried,
                snapshots=snapshots,
                resumed=state,
            )
            state = None
            if recorder.stopped:
                break
    assert image is not None  # there is at least one stage
    return resize_image(to_picture(image), *stages[-1].content)


def _where(
    recipe: Recipe, resumed: Snapshot | None
) -> tuple[int, Pixels | Array | None, list[np.ndarray] | None]:
    """The stage to begin with, the picture of the one before, and the optimiser's state."""
    if resumed is None:
        return 0, None, None
    if recipe.optimizer == "lbfgs-b":
        return resumed.stage, resumed.state[0], None
    return resumed.stage, None, resumed.state
