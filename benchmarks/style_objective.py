"""What the benchmarks of trained styles share: the objective that a style was trained for."""

import dataclasses

from nstjax.fast import Style
from nstjax.settings import ObjectiveSettings, Recipe


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
