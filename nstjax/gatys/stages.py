"""The sizes that a run goes through, from coarse to fine, and its steps at each."""

import math
from itertools import count, pairwise, takewhile
from typing import NamedTuple

import numpy as np

from nstjax.errors import NstjaxError
from nstjax.images import fit_size
from nstjax.settings import MOST_PIXELS, Recipe
from nstjax.targets import check_sizes

Shape = tuple[int, int]


class Stage(NamedTuple):
    """One size of a run.

    Attributes:
        content: height and width of the content image, and of the picture, in pixels.
        styles: height and width of each style image.
        steps: how many.
    """

    content: Shape
    styles: tuple[Shape, ...]
    steps: int

    @property
    def sizes(self) -> tuple[Shape, tuple[Shape, ...]]:
        """Those of the content and of the style images, which decide the objective."""
        return self.content, self.styles

    @property
    def style(self) -> Shape:
        """The largest style image's: they are measured one by one, so its memory counts."""
        return max(self.styles, key=math.prod)


def stages_of(recipe: Recipe, content: Shape, *styles: Shape) -> list[Stage]:
    """Lists the sizes that a run goes through.

    They are those of `recipe.schedule`; or they begin at `recipe.min_size`, each √2 times the one
    before, as in crowsonkb/style-transfer-pytorch. The last is the result's. If an earlier size is
    a share of the last, as in recipes, and too small for the network, it is left out. The next
    size then gets the steps that a schedule has for it, so that a run has as many steps as its
    settings say. A schedule in pixels is kept exactly.

    Args:
        recipe: the settings.
        content: the photograph's height and width in pixels.
        styles: each painting's; the same rules decide their sizes.

    Returns:
        The stages, at least one.

    Raises:
        NstjaxError: if a picture is too small for a layer at the last size or at one of a schedule
            in pixels, or too large for any machine at one of them.
    """
    if recipe.min_size is None:
        planned = _scheduled(recipe)
    else:
        planned = [(share, recipe.steps) for share in _pyramid(recipe, content, recipe.min_size)]
    stages: list[Stage] = []
    waiting = 0
    for number, (share, steps) in enumerate(planned, start=1):
        shape = _content_shape(recipe, content, share)
        style_shapes = tuple(_style_shape(recipe, style, shape, share) for style in styles)
        stage = Stage(shape, style_shapes, steps + waiting)
        _check_not_huge(stage)
        try:
            check_sizes(recipe, stage.content, *stage.styles)
        except NstjaxError as error:
            if number == len(planned):
                raise
            if _is_in_pixels(recipe):
                raise NstjaxError(
                    f"at size {round(share * recipe.size)} of the schedule {error}, or give "
                    "--schedule larger sizes"
                ) from error
            waiting = stage.steps if recipe.min_size is None else 0
            continue
        stages.append(stage)
        waiting = 0
    if recipe.initial_steps is not None:
        stages[0] = stages[0]._replace(steps=recipe.initial_steps)
    return stages


def _is_in_pixels(recipe: Recipe) -> bool:
    """Whether somebody gave the sizes in pixels; the last share of a recipe's schedule is 1."""
    return recipe.min_size is None and recipe.schedule[-1][0] != 1


def _check_not_huge(stage: Stage) -> None:
    shapes = {"picture": stage.content, "style image": stage.style}
    settings = {"picture": "--size or --schedule", "style image": "--style-size or --style-scale"}
    for name, (height, width) in shapes.items():
        if max(height, width) > MOST_PIXELS:
            raise NstjaxError(
                f"the {name} would have {width}×{height}, more than {MOST_PIXELS} pixels a side: "
                f"use a smaller {settings[name]}"
            )


def _scheduled(recipe: Recipe) -> list[tuple[float, int]]:
    """Shares of the last size, with steps that add up to `recipe.steps`."""
    sizes, shares = zip(*recipe.schedule, strict=True)
    ends = np.round(np.cumsum(shares) / sum(shares) * recipe.steps).astype(int).tolist()
    steps = [after - before for before, after in pairwise([0, *ends])]
    return [(size / sizes[-1], count) for size, count in zip(sizes, steps, strict=True)]


def _pyramid(recipe: Recipe, content: Shape, smallest: int) -> list[float]:
    """Shares of the last size, each √2 of the one before, in whole pixels."""
    last = recipe.size if recipe.upscale else min(recipe.size, _side(recipe, content))
    halvings = (round(last / 2 ** (i / 2)) for i in count())
    sizes = {last, *takewhile(lambda size: size >= smallest, halvings)}
    return [size / last for size in sorted(sizes)]


def _side(recipe: Recipe, shape: Shape) -> int:
    """The side of a picture that `recipe.size` means."""
    return {"longest": max(shape), "shortest": min(shape), "height": shape[0]}[recipe.side]


def _longest_side(recipe: Recipe, shape: Shape, size: int) -> int:
    """The longest side of a picture whose `recipe.side` is to be `size`."""
    return max(1, round(size * max(shape) / _side(recipe, shape)))


def _content_shape(recipe: Recipe, content: Shape, share: float) -> Shape:
    longest = _longest_side(recipe, content, recipe.size)
    if not recipe.upscale:
        longest = min(longest, max(content))
    return fit_size(*content, max(1, round(longest * share)), upscale=True)


def _style_shape(recipe: Recipe, style: Shape, content: Shape, share: float) -> Shape:
    """The size of the style image beside a content image of this size."""
    if recipe.style_fit == "aspect":
        size = (recipe.style_size or recipe.size) * recipe.style_scale * share
        shape = fit_size(*style, _longest_side(recipe, style, max(1, round(size))), upscale=True)
    else:
        height, width = content
        if recipe.style_fit == "width":
            height = style[0] * width / style[1]
        height, width = height * recipe.style_scale, width * recipe.style_scale
        shape = max(1, round(height)), max(1, round(width))
    return shape if recipe.style_upscale or max(shape) <= max(style) else style
