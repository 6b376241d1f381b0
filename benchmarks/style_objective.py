"""What the benchmarks of trained styles share: what a style was trained for, and not trained on."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

import nstjax
from nstjax.fast import Style
from nstjax.fast.data import open_dataset
from nstjax.objective import Objective
from nstjax.settings import ObjectiveSettings, Recipe
from nstjax.vgg import Weights


def held_out(folder: str, count: int, size: int) -> list[np.ndarray]:
    """The squares of photographs that `nstjax train` keeps out of a training on a folder."""
    dataset = open_dataset(f"folder:{folder}", holdout=count).held_out
    assert dataset is not None
    return [dataset.picture(number, size=size) for number in range(count)]


def objectives(
    recipe: Recipe,
    weights: Weights,
    painting: str | Path | np.ndarray,
    photographs: Iterable[np.ndarray],
) -> Iterator[Objective]:
    """The objective for each photograph, of a painting in the size of the training."""
    example = nstjax.load_image(painting, size=recipe.style_size).pixels
    for photograph in photographs:
        yield nstjax.make_objective(recipe, weights, photograph, example)


def pixel_recipe(style: Style, *, size: int, steps: int, init: str = "content") -> Recipe:
    """Returns a recipe of the pixel route with a trained style's objective, and L-BFGS."""
    about = style.provenance
    fields = {field.name for field in dataclasses.fields(ObjectiveSettings)} - {"name", "source"}
    shared = {name: about[name] for name in fields if name in about}
    # Weights relative to the losses of photographs, made absolute.
    losses = about["losses"] or {"content_layers": {}, "style_layers": {}, "terms": {}}
    for layers in ("content_layers", "style_layers"):
        shared[layers] = tuple(
            (name, weight / losses[layers].get(name, 1.0)) for name, weight in about[layers]
        )
    shared["tv_weight"] = about["tv_weight"] / losses["terms"].get("tv", 1.0)
    shared["precision"] = "float32"
    return Recipe(
        name=style.name,
        source="the objective of a trained style",
        **shared,
        optimizer="lbfgs",
        init=init,
        steps=steps,
        size=size,
        style_size=about["style_size"],
    )
