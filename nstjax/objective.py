"""A recipe and its targets as one pure function of the picture."""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.errors import NstjaxError
from nstjax.losses import content_loss, total_variation
from nstjax.losses.comparison import average
from nstjax.settings import ObjectiveSettings
from nstjax.structure import TERMS, Inputs, Structure, Targets, Terms, structure_of, weights_of
from nstjax.vgg import (
    INPUT_SPREAD,
    Summary,
    Weights,
    bundled_means,
    check_size,
    divide_activations,
    freeze,
    layer_names,
    minimum_size,
    rescale,
    summarize_features,
)
from nstjax.vgg.network import Params
from nstjax.vgg.tiles import Summarize

Pixels = Float[Array | np.ndarray, "n h w 3"]
StylePixels = Float[Array | np.ndarray, "1 _ _ 3"]


def summaries(
    structure: Structure,
    params: Params,
    image: Float[Array, "n h w 3"],
    layers: tuple[str, ...],
    summarize: Summarize,
    targets: dict[str, Array] | None = None,
) -> dict[str, Summary]:
    """Computes what is wanted of the loss network's activations of a picture.

    Args:
        structure: of the objective.
        params: of the network.
        image: RGB in [0, 1], shape (N, H, W, 3).
        layers: which activations.
        summarize: see `nstjax.vgg.summarize_features`.
        targets: by layer, to be compared with.

    Returns:
        Whole pictures and sums by layer.
    """
    dtype = image.dtype if structure.precision == "float32" else structure.precision
    return summarize_features(
        summarize,
        params,
        image * (structure.input_range / 255.0),
        targets or {},
        network=structure.network,
        layers=tuple(sorted(set(layers))),
        preprocessing=structure.preprocessing,
        pooling=structure.pooling,
        first_padding=structure.first_padding,
        dtype=str(dtype),
        rows=structure.tile,
    )


@partial(jax.jit, static_argnums=0)
def content_targets(
    structure: Structure, params: Params, content: Float[Array, "n h w 3"]
) -> dict[str, Array]:
    """Computes the features that the content loss compares with."""

    def whole(_layer: str, features: Array, _target: None) -> Summary:
        return Summary(whole=features)

    found = summaries(structure, params, content, structure.content_layers, whole)
    return {layer: summary.whole for layer, summary in found.items()}


@partial(jax.jit, static_argnums=0)
def style_measures(
    structure: Structure, params: Params, style: Float[Array, "1 h w 3"]
) -> dict[str, Any]:
    """Computes what is measured of one style image, by layer."""

    def measure(layer: str, features: Array, _target: None) -> Summary:
        return Summary(sums=structure.style.measure(features, _positions(layer, style)))

    found = summaries(structure, params, style, structure.style_layers, measure)
    return {layer: summary.sums for layer, summary in found.items()}


def style_targets(
    structure: Structure,
    params: Params,
    style: Float[Array, "1 h w 3"] | Sequence[Float[Array, "1 _ _ 3"]],
    weights: Sequence[float | int] | None = None,
) -> dict[str, Any]:
    """Computes what the style loss compares with, for pictures of any size.

    Args:
        structure: of the objective.
        params: of the network.
        style: a picture, RGB in [0, 1], shape (1, H, W, 3), or several, of which Gram matrices or
            moments are averaged.
        weights: of several pictures in the average, relative to each other; equal if None.

    Returns:
        The targets by layer, see `Targets`.

    Raises:
        NstjaxError: if the weights are not as many as the pictures, or none is above 0.
    """
    styles = several(style)
    shares = np.asarray(style_shares(len(styles), weights), np.float32)
    measures = [style_measures(structure, params, picture) for picture in styles]
    return targets_of_measures(structure, measures, shares)


@partial(jax.jit, static_argnums=0)
def targets_of_measures(
    structure: Structure, measures: list[dict[str, Any]], shares: Float[Array, " styles"]
) -> dict[str, Any]:
    """Computes the targets from what was measured of each style image, and its share."""
    mean = average(measures, shares)
    return {layer: structure.style.target(measure) for layer, measure in mean.items()}


def style_shares(count: int, weights: Sequence[float | int] | None = None) -> list[float]:
    """Turns the weights of several style images into shares of 1.

    Args:
        count: how many images there are.
        weights: at least 0; equal if None.

    Returns:
        The shares.

    Raises:
        NstjaxError: if there are no images, not as many weights, or none above 0.
    """
    given = checked_style_weights(count, weights)
    return [weight / sum(given) for weight in given]


def checked_style_weights(count: int, weights: Sequence[float | int] | None = None) -> list[float]:
    """Checks the weights of several style images.

    Args:
        count: how many images there are.
        weights: at least 0, relative to each other; equal if None.

    Returns:
        One for each image.

    Raises:
        NstjaxError: if there are no images, not as many weights, or none above 0.
    """
    given = [1.0] * count if weights is None else [float(weight) for weight in weights]
    if not count:
        raise NstjaxError("no style image is given: give at least one")
    if len(given) != count:
        raise NstjaxError(
            f"there are {count} style images and {len(given)} weights of them: give one for each"
        )
    if not all(weight >= 0 for weight in given) or not 0 < sum(given) < math.inf:
        raise NstjaxError(
            f"the weights of the style images are {given}: they must be at least 0, and one above"
        )
    return given


def evaluate(
    structure: Structure, inputs: Inputs, image: Float[Array, "n h w 3"]
) -> tuple[Float[Array, ""], Terms]:
    """Evaluates the objective.

    Args:
        structure: of the objective.
        inputs: its numbers.
        image: RGB in [0, 1], shape (N, H, W, 3).

    Returns:
        The total, and its terms by name before their weights: `total` is the sum of
        `inputs.weights.terms[name] * terms[name]`.
    """
    content, style = structure.content_layers, structure.style_layers

    def losses(layer: str, features: Array, target: Array | None) -> Summary:
        positions, found = _positions(layer, image), {}
        if target is not None:
            found["content"] = content_loss(
                features, target, reduction=structure.content_reduction, positions=positions
            )
        if layer in style:
            found["style"] = structure.style.measure(features, positions)
        return Summary(sums=found)

    found = {
        layer: summary.sums
        for layer, summary in summaries(
            structure, inputs.params, image, (*content, *style), losses, inputs.targets.content
        ).items()
    }
    weights, pixels = inputs.weights, image[0, ..., 0].size
    terms = {
        "content": sum(weights.content_layers[name] * found[name]["content"] for name in content),
        "style": sum(
            weights.style_layers[name]
            * structure.style.compare(
                found[name]["style"],
                inputs.targets.style[name],
                _positions(name, image),
                pixels,
            )
            for name in style
        ),
        "tv": total_variation(image * structure.pixel_range, form=structure.tv_form),
    }
    total = sum(weights.terms[name] * terms[name] for name in TERMS)
    return jnp.asarray(total), {name: jnp.asarray(term) for name, term in terms.items()}


def several(style: Any) -> list[Any]:
    """Lists a style's pictures, of which there are one or more."""
    return list(style) if isinstance(style, list | tuple) else [style]


def _positions(layer: str, image: Array) -> int:
    """How many positions a layer's activations have."""
    scale = minimum_size(layer)
    return (image.shape[1] // scale) * (image.shape[2] // scale)


def network_params(recipe: ObjectiveSettings, weights: Weights) -> Params:
    """Puts the loss network's parameters on the device, rescaled where the recipe asks for it.

    Only those of layers that the recipe needs; they are frozen, see `nstjax.vgg.freeze`.

    Args:
        recipe: the settings.
        weights: of the loss network.

    Returns:
        The parameters.

    Raises:
        NstjaxError: if the weights are another network's, or no mean activations come with the
            package for a network to be rescaled.
    """
    if weights.network != recipe.network:
        raise NstjaxError(
            f"the recipe's network is {recipe.network} and these are the weights of "
            f"{weights.network}: load those of {recipe.network}, or set network={weights.network!r}"
        )
    params = weights.params
    if recipe.rescale_filters:
        params = rescale(params, bundled_means(recipe.network, pooling=recipe.pooling))
    if recipe.unit_input:
        params = divide_activations(params, INPUT_SPREAD[weights.preprocessing])
    names = layer_names(recipe.network)
    deepest = max(names.index(layer) for layer, _ in recipe.content_layers + recipe.style_layers)
    return freeze({name: params[name] for name in names[: deepest + 1] if name in params})


def prepare(
    recipe: ObjectiveSettings,
    preprocessing: str,
    params: Params,
    content: Pixels,
    style: StylePixels | Sequence[StylePixels],
    style_weights: Sequence[float | int] | None = None,
) -> tuple[Structure, Inputs]:
    """Computes everything of an objective but the picture.

    Args:
        recipe: the settings.
        preprocessing: which the network's weights need.
        params: as `network_params` returns them.
        content: RGB in [0, 1], shape (N, H, W, 3).
        style: RGB in [0, 1], shape (1, H, W, 3), of any size, or several of them.
        style_weights: of several, relative to each other; equal if None.

    Returns:
        The structure and the numbers that `evaluate` takes.

    Raises:
        NstjaxError: if a picture is too small for a layer, or the weights do not fit the pictures.
    """
    structure = structure_of(recipe, preprocessing)
    check_sizes(recipe, content.shape[1:3], *(picture.shape[1:3] for picture in several(style)))
    styles = [jnp.asarray(picture) for picture in several(style)]
    targets = Targets(
        content_targets(structure, params, jnp.asarray(content)),
        style_targets(structure, params, styles, style_weights),
    )
    return structure, Inputs(params, targets, weights_of(recipe))


def make_objective(
    recipe: ObjectiveSettings,
    weights: Weights,
    content: Pixels,
    style: StylePixels | Sequence[StylePixels],
    *,
    style_weights: Sequence[float | int] | None = None,
) -> Callable[[Pixels], tuple[Float[Array, ""], Terms]]:
    """Turns a recipe and two or more pictures into a function of the picture between them.

    Args:
        recipe: the settings.
        weights: of the loss network.
        content: RGB in [0, 1], shape (N, H, W, 3).
        style: RGB in [0, 1], shape (1, H, W, 3), of any size; or several such pictures, of which
            Gram matrices, or means and covariances, are averaged.
        style_weights: of several style pictures, relative to each other; equal if None.

    Returns:
        A pure function: picture to `(total, terms)`, where the terms are by name (`content`,
        `style`, `tv`), weighted so that they add up to the total, and also as they were before
        (`content_raw`, …).

    Raises:
        NstjaxError: if a picture is too small for a layer, or the weights do not fit the pictures.
    """
    params = network_params(recipe, weights)
    structure, inputs = prepare(
        recipe, weights.preprocessing, params, content, style, style_weights
    )

    def objective(image: Pixels) -> tuple[Float[Array, ""], Terms]:
        total, raw = evaluate(structure, inputs, jnp.asarray(image))
        return total, report_terms(raw, inputs.weights.terms)

    return objective


def report_terms(raw: dict, weights: dict) -> dict:
    """Lists terms weighted, under their names, and unweighted, under their names and `_raw`."""
    weighted = {name: weights[name] * raw[name] for name in raw}
    return weighted | {f"{name}_raw": value for name, value in raw.items()}


def check_sizes(
    recipe: ObjectiveSettings, content: tuple[int, ...], *styles: tuple[int, ...]
) -> None:
    """Checks that pictures are large enough for the layers that a recipe takes from them.

    Args:
        recipe: the settings.
        content: height and width of the content image in pixels.
        styles: of each style image.

    Raises:
        NstjaxError: if one is too small.
    """
    for layer, _ in recipe.content_layers + recipe.style_layers:
        check_size(content[0], content[1], layer)
    for layer, _ in recipe.style_layers:
        for height, width in styles:
            check_size(height, width, layer)


def total_of(
    structure: Structure, inputs: Inputs, variables: tuple[Float[Array, "n h w 3"], Terms]
) -> Float[Array, ""]:
    """Evaluates the objective as a function of the picture and of its terms' weights.

    The total is linear in the weights, so that its gradient with respect to a weight is that term:
    differentiating with respect to both gives everything that a run reports, also inside line
    searches, which return only values and gradients.

    Args:
        structure: of the objective.
        inputs: its numbers.
        variables: the picture, shape (N, H, W, 3), and weights in place of `inputs`' own.

    Returns:
        The total.
    """
    image, weights = variables
    inputs = inputs._replace(weights=inputs.weights._replace(terms=weights))
    return evaluate(structure, inputs, image)[0]
