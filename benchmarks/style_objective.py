"""What the benchmarks of trained styles share: what a style was trained for, and not trained on."""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

import nstjax
from nstjax.fast import Style
from nstjax.fast.data import Dataset
from nstjax.objective import Objective
from nstjax.settings import ObjectiveSettings, Recipe
from nstjax.vgg import Weights


def held_out(dataset: Dataset, size: int) -> list[np.ndarray]:
    """The squares of the photographs that are kept out of trainings on a dataset."""
    kept = dataset.held_out
    assert kept is not None
    return [kept.picture(number, size=size) for number in range(len(kept))]


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
