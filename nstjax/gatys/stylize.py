"""The pixel route from pictures to a picture: `stylize`."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from nstjax.errors import NstjaxError
from nstjax.gatys.history import Callback, History, Recorder, to_picture
from nstjax.gatys.loop import optimize
from nstjax.gatys.memory import Tiling
from nstjax.gatys.start import start_image
from nstjax.images import MadePicture, Picture, fit_size, load_image, resize_image
from nstjax.objective import check_pictures, network_params, prepare
from nstjax.provenance import made_with
from nstjax.recipes import DEFAULT_RECIPE, get_recipe
from nstjax.settings import Recipe, override
from nstjax.vgg import Weights, load_weights
from nstjax.vgg.network import Params

Pixels = Float[np.ndarray, "1 _ _ 3"]


@dataclass(frozen=True, kw_only=True)
class StylizeResult(MadePicture):
    """A stylised picture and how it came about.

    Attributes:
        image: RGB in [0, 1], float32, shape (1, H, W, 3).
        settings: everything that makes the picture again: the recipe's values, the versions of
            what computed it, and which weights.
        alpha: the content picture's transparency at the result's size, or None.
        history: one entry a step, the start first; see `nstjax.gatys.Recorder`.
        stopped: why the run ended before its last step; empty where it did not.
    """

    history: History = field(repr=False)
    stopped: str = ""


def stylize(
    content: Any,
    style: Any,
    *,
    recipe: str | Recipe = DEFAULT_RECIPE,
    weights: Weights | str | Path | None = None,
    callback: Callback | None = None,
    callback_every: int = 0,
    **settings: Any,
) -> StylizeResult:
    """Paints a photograph in the style of a painting by optimising its pixels.

    Pictures of one size share one compiled program, also over several calls.

    Args:
        content: the photograph: a path, an http(s) URL, a Pillow image, an array, or a `Picture`.
        style: the painting, likewise.
        recipe: a name from `nstjax.RECIPES`, or a `Recipe`.
        weights: as `nstjax.load_weights` returns them, which saves loading them again for each of
            several pictures; or the path of a weights file.
        callback: called about twice a second with a `Progress`; returning True ends the run with
            the picture so far, enlarged where the recipe had not come to its full size.
        callback_every: also calls at all multiples of this number of steps.
        **settings: any setting of `Recipe`, such as `size=512`, `steps=500`, `style_weight=1e-2`.

    Returns:
        The picture, the history of the objective, and the settings.

    Raises:
        NstjaxError: if a picture cannot be read or is too small, a setting is not valid, or there
            are no weights.

    Example:
        result = nstjax.stylize("photo.jpg", "painting.jpg", size=512, steps=500)
        result.save("out.png")
    """
    recipe = get_recipe(recipe) if isinstance(recipe, str) else recipe
    recipe = override(recipe, **settings)
    content_picture = _load(content)
    style_picture = _load(style)
    if not isinstance(weights, Weights):
        weights = load_weights(recipe.network, path=weights)
    params = network_params(recipe, weights)
    recorder = Recorder(recipe, callback)
    image = None
    stages = _stages(recipe)
    at = partial(_pictures, recipe, content_picture.pixels, style_picture.pixels)
    final = stages[-1][0]
    pictures = at(final)
    check_pictures(recipe, *pictures)
    size = pictures[0].shape[1:3]
    tiling = Tiling(recipe)
    tiling.plan(*_sizes(pictures))  # what fits into no limit is told of before anything runs
    for size_share, steps in stages:
        pictures = at(size_share)
        try:
            check_pictures(recipe, *pictures)
        except NstjaxError:  # what is too small on the way need not be so in the end
            size_share, pictures = final, at(final)
        if image is None:
            image = start_image(recipe, *pictures, weights.preprocessing)
        else:
            image = resize_image(to_picture(image), *pictures[0].shape[1:3])
        sizes = _sizes(pictures)
        del pictures  # made again where they are needed: not kept while the optimiser runs
        make = partial(at, size_share)
        run = partial(_run_stage, weights, params, make, recorder, callback_every)
        image = tiling.run(*sizes, partial(run, recorder.steps_done + steps), image)
        if recorder.stopped:
            break
    assert image is not None  # a schedule has at least one stage
    # A run that ends in an early stage, too, gives the size that was asked for.
    picture = resize_image(to_picture(image), *size)
    alpha = content_picture.alpha
    return StylizeResult(
        image=picture,
        history=recorder.history,
        settings=_settings(tiling, weights, content_picture, style_picture, recorder.step),
        alpha=None if alpha is None else resize_image(alpha, *size),
        stopped=recorder.stopped or recorder.note,
    )


def _load(source: Any) -> Picture:
    return source if isinstance(source, Picture) else load_image(source)


def _stages(recipe: Recipe) -> list[tuple[float, int]]:
    """The share of the size and the number of steps of each stage, adding up to `steps`."""
    ends = np.cumsum([share for _, share in recipe.schedule]) / sum(s for _, s in recipe.schedule)
    steps = np.diff(np.round(ends * recipe.steps).astype(int), prepend=0)
    return [(size, int(count)) for (size, _), count in zip(recipe.schedule, steps, strict=True)]


def _longest_side(recipe: Recipe, height: int, width: int, size: int) -> int:
    """The longest side of a picture whose `recipe.side` is to be `size`."""
    sides = {"longest": max(height, width), "shortest": min(height, width), "height": height}
    return max(1, round(size * max(height, width) / sides[recipe.side]))


def _pictures(
    recipe: Recipe, content: Pixels, style: Pixels, size_share: float
) -> tuple[Pixels, Pixels]:
    """The content and the style image at the sizes of a stage."""
    content = _content_at(recipe, content, size_share)
    return content, _style_for(recipe, style, content, size_share)


def _content_at(recipe: Recipe, pixels: Pixels, size_share: float) -> Pixels:
    _, height, width, _ = pixels.shape
    longest = _longest_side(recipe, height, width, recipe.size)
    if not recipe.upscale:
        longest = min(longest, max(height, width))
    longest = max(1, round(longest * size_share))
    return resize_image(pixels, *fit_size(height, width, longest, upscale=True))


def _style_for(recipe: Recipe, style: Pixels, content: Pixels, size_share: float) -> Pixels:
    """The style image at the size that the recipe wants beside this content image."""
    _, height, width, _ = style.shape
    if recipe.style_fit == "stretch":
        return resize_image(style, *content.shape[1:3])
    if recipe.style_fit == "width":
        content_width = content.shape[2]
        return resize_image(style, max(1, round(height * content_width / width)), content_width)
    size = max(1, round((recipe.style_size or recipe.size) * size_share))
    longest = _longest_side(recipe, height, width, size)
    return resize_image(style, *fit_size(height, width, longest, upscale=True))


def _sizes(pictures: tuple[Pixels, Pixels]) -> tuple[tuple[int, int], tuple[int, int]]:
    content, style = pictures
    return (content.shape[1], content.shape[2]), (style.shape[1], style.shape[2])


def _run_stage(
    weights: Weights,
    params: Params,
    make_pictures: Callable[[], tuple[Pixels, Pixels]],
    recorder: Recorder,
    every: int,
    last_step: int,
    recipe: Recipe,
    image: Any,
) -> Any:
    structure, inputs = prepare(recipe, weights.preprocessing, params, *make_pictures())
    steps = last_step - recorder.steps_done
    image = jnp.asarray(image, jnp.float32)
    return optimize(recipe, structure, inputs, image, steps=steps, recorder=recorder, every=every)


def _settings(
    tiling: Tiling, weights: Weights, content: Picture, style: Picture, step: int
) -> dict[str, Any]:
    values = dataclasses.asdict(tiling.recipe)
    return {
        "method": "gatys",
        "recipe": values.pop("name"),
        **values,
        "content": Path(content.name).name,
        "style": Path(style.name).name,
        "steps_done": step,
        "weights_sha256": weights.sha256,
        "memory": str(tiling.plans[-1]),
        **made_with(),
    }
