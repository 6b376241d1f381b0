"""A run through all its sizes."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nstjax.gatys.ahead import CompileAhead
from nstjax.gatys.history import Recorder, to_picture
from nstjax.gatys.loop import optimize
from nstjax.gatys.stages import Stage
from nstjax.gatys.start import start_image
from nstjax.images import resize_image
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
    every: int = 0,
) -> Pixels:
    """Optimises a picture at one size after the other, each from the result of the one before.

    Args:
        recipe: the settings.
        weights: of the loss network.
        content: the photograph, RGB in [0, 1], of its own size.
        style: the painting, likewise.
        stages: the sizes, from the first to the last.
        recorder: see `nstjax.gatys.loop.optimize`.
        every: likewise.

    Returns:
        The picture, RGB in [0, 1], shape (1, H, W, 3): of the last size, also if the recorder
        ended the run before.
    """
    params = network_params(recipe, weights)
    image = carried = None
    with CompileAhead(recipe, weights.preprocessing, params) as compiling:
        compiling.start(stages[0])
        for stage, following in zip(stages, [*stages[1:], None], strict=True):
            pictures = resize_image(content, *stage.content), resize_image(style, *stage.style)
            compiling.wait()
            structure, inputs = prepare(recipe, weights.preprocessing, params, *pictures)
            if following is not None:
                compiling.start(following)
            if image is None:
                start = start_image(recipe, *pictures, weights.preprocessing)
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
            )
            if recorder.stopped:
                break
    assert image is not None  # there is at least one stage
    return resize_image(to_picture(image), *stages[-1].content)
