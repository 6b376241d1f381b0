"""A recipe and its targets as one pure function of the picture.

The structure of an objective (which layers, which divisors) is static, and the numbers (weights,
targets, the network's parameters) are an argument, so that changing a number compiles nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.errors import NstjaxError
from nstjax.losses import content_loss, gram_matrix, style_loss, total_variation
from nstjax.settings import ObjectiveSettings
from nstjax.vgg import (
    Weights,
    bundled_means,
    check_size,
    freeze,
    layer_names,
    minimum_size,
    rescale,
    summarize_features,
)
from nstjax.vgg.network import Params
from nstjax.vgg.tiles import Summary

Pixels = Float[Array | np.ndarray, "n h w 3"]
StylePixels = Float[Array | np.ndarray, "1 _ _ 3"]
Terms = dict[str, Float[Array, ""]]
TERMS = ("content", "style", "tv")


@dataclass(frozen=True)
class Structure:
    """What of a recipe decides the compiled program. Hashable, so that `jax.jit` can key on it."""

    network: str
    preprocessing: str
    pooling: str
    input_range: float
    precision: str
    content_layers: tuple[str, ...]
    content_reduction: str
    style_layers: tuple[str, ...]
    gram_divisor: str
    style_reduction: str
    tv_form: str
    pixel_range: float
    tile: int | None


class Targets(NamedTuple):
    """What the picture's features are compared with.

    Attributes:
        content: activations of the content image by layer, shape (N, H, W, C).
        style: Gram matrices of the style image by layer, shape (1, C, C); divided by H·W where
            the recipe divides by nothing, see `_style_term`.
    """

    content: dict[str, Array]
    style: dict[str, Array]


class TermWeights(NamedTuple):
    """The weights of the terms, and within two of them of the layers."""

    terms: Terms
    content_layers: Terms
    style_layers: Terms


class Inputs(NamedTuple):
    """The numbers of an objective."""

    params: Params
    targets: Targets
    weights: TermWeights


def structure_of(recipe: ObjectiveSettings, preprocessing: str) -> Structure:
    """Picks out of a recipe what decides the compiled program.

    Args:
        recipe: the settings.
        preprocessing: which the network's weights need.

    Returns:
        The structure.
    """
    return Structure(
        network=recipe.network,
        preprocessing=preprocessing,
        pooling=recipe.pooling,
        input_range=recipe.input_range,
        precision=recipe.precision,
        content_layers=tuple(name for name, _ in recipe.content_layers),
        content_reduction=recipe.content_reduction,
        style_layers=tuple(name for name, _ in recipe.style_layers),
        gram_divisor=recipe.gram_divisor,
        style_reduction=recipe.style_reduction,
        tv_form=recipe.tv_form,
        pixel_range=recipe.pixel_range,
        tile=recipe.tile if isinstance(recipe.tile, int) else None,  # its route settles "auto"
    )


def weights_of(recipe: ObjectiveSettings) -> TermWeights:
    """Picks out of a recipe the weights of its terms, as arrays.

    Args:
        recipe: the settings.

    Returns:
        The weights, float32.
    """

    def arrays(weights: dict[str, float]) -> Terms:
        return {name: jnp.float32(weight) for name, weight in weights.items()}

    terms = {name: getattr(recipe, f"{name}_weight") for name in TERMS}
    return TermWeights(
        arrays(terms), arrays(dict(recipe.content_layers)), arrays(dict(recipe.style_layers))
    )


def summaries(
    structure: Structure,
    params: Params,
    image: Float[Array, "n h w 3"],
    layers: tuple[str, ...],
    summarize: Summary,
    targets: dict[str, Array] | None = None,
) -> dict[str, tuple[Any, Any]]:
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
        dtype=str(dtype),
        rows=structure.tile,
    )


@partial(jax.jit, static_argnums=0)
def content_targets(
    structure: Structure, params: Params, content: Float[Array, "n h w 3"]
) -> dict[str, Array]:
    """Computes the features that the content loss compares with."""

    def whole(_layer: str, features: Array, _target: None) -> tuple[Array, tuple[()]]:
        return features, ()

    found = summaries(structure, params, content, structure.content_layers, whole)
    return {layer: features for layer, (features, _) in found.items()}


@partial(jax.jit, static_argnums=0)
def style_targets(
    structure: Structure, params: Params, style: Float[Array, "1 h w 3"]
) -> dict[str, Array]:
    """Computes the Gram matrices that the style loss compares with, for pictures of any size."""
    divisor = "hw" if structure.gram_divisor == "1" else structure.gram_divisor

    def gram(layer: str, features: Array, _target: None) -> tuple[tuple[()], Array]:
        return (), gram_matrix(features, divisor=divisor, positions=_positions(layer, style))

    found = summaries(structure, params, style, structure.style_layers, gram)
    return {layer: matrix for layer, (_, matrix) in found.items()}


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

    def losses(
        layer: str, features: Array, target: Array | None
    ) -> tuple[tuple[()], dict[str, Array]]:
        positions, found = _positions(layer, image), {}
        if target is not None:
            found["content"] = content_loss(
                features, target, reduction=structure.content_reduction, positions=positions
            )
        if layer in style:
            found["gram"] = gram_matrix(
                features, divisor=structure.gram_divisor, positions=positions
            )
        return (), found

    found = {
        layer: sums
        for layer, (_, sums) in summaries(
            structure, inputs.params, image, (*content, *style), losses, inputs.targets.content
        ).items()
    }
    weights, grams = inputs.weights, inputs.targets.style
    terms = {
        "content": sum(weights.content_layers[name] * found[name]["content"] for name in content),
        "style": sum(
            weights.style_layers[name]
            * _style_term(structure, name, found[name]["gram"], grams[name], image)
            for name in style
        ),
        "tv": total_variation(image * structure.pixel_range, form=structure.tv_form),
    }
    total = sum(weights.terms[name] * terms[name] for name in TERMS)
    return jnp.asarray(total), {name: jnp.asarray(term) for name, term in terms.items()}


def _style_term(
    structure: Structure, layer: str, gram: Array, target: Array, image: Array
) -> Array:
    positions = _positions(layer, image)
    # An undivided Gram matrix grows with the picture. The sources that use it give the style image
    # the picture's size; scaling its target is the same there, and right for other sizes too.
    if structure.gram_divisor == "1":
        target = target * positions
    pixels = image[0, ..., 0].size
    return style_loss(
        gram,
        target,
        reduction=structure.style_reduction,
        positions=pixels if structure.style_reduction == "keras" else positions,
    )


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
    names = layer_names(recipe.network)
    deepest = max(names.index(layer) for layer, _ in recipe.content_layers + recipe.style_layers)
    return freeze({name: params[name] for name in names[: deepest + 1] if name in params})


def prepare(
    recipe: ObjectiveSettings,
    preprocessing: str,
    params: Params,
    content: Pixels,
    style: StylePixels,
) -> tuple[Structure, Inputs]:
    """Computes everything of an objective but the picture.

    Args:
        recipe: the settings.
        preprocessing: which the network's weights need.
        params: as `network_params` returns them.
        content: RGB in [0, 1], shape (N, H, W, 3).
        style: RGB in [0, 1], shape (1, H, W, 3), of any size.

    Returns:
        The structure and the numbers that `evaluate` takes.

    Raises:
        NstjaxError: if a picture is too small for a layer.
    """
    structure = structure_of(recipe, preprocessing)
    check_pictures(recipe, content, style)
    targets = Targets(
        content_targets(structure, params, jnp.asarray(content)),
        style_targets(structure, params, jnp.asarray(style)),
    )
    return structure, Inputs(params, targets, weights_of(recipe))


def make_objective(
    recipe: ObjectiveSettings, weights: Weights, content: Pixels, style: StylePixels
) -> Callable[[Pixels], tuple[Float[Array, ""], Terms]]:
    """Turns a recipe and two pictures into a function of the picture between them.

    Args:
        recipe: the settings.
        weights: of the loss network.
        content: RGB in [0, 1], shape (N, H, W, 3).
        style: RGB in [0, 1], shape (1, H, W, 3), of any size.

    Returns:
        A pure function: picture to `(total, terms)`, where the terms are by name (`content`,
        `style`, `tv`), weighted so that they add up to the total, and also as they were before
        (`content_raw`, …).

    Raises:
        NstjaxError: if a picture is too small for a layer.
    """
    params = network_params(recipe, weights)
    structure, inputs = prepare(recipe, weights.preprocessing, params, content, style)

    def objective(image: Pixels) -> tuple[Float[Array, ""], Terms]:
        total, raw = evaluate(structure, inputs, jnp.asarray(image))
        return total, report_terms(raw, inputs.weights.terms)

    return objective


def report_terms(raw: dict, weights: dict) -> dict:
    """Lists terms weighted, under their names, and unweighted, under their names and `_raw`."""
    weighted = {name: weights[name] * raw[name] for name in raw}
    return weighted | {f"{name}_raw": value for name, value in raw.items()}


def check_pictures(recipe: ObjectiveSettings, content: Pixels, style: StylePixels) -> None:
    """Checks that two pictures are large enough for the layers that a recipe takes from them.

    Args:
        recipe: the settings.
        content: shape (N, H, W, 3).
        style: shape (1, H, W, 3), of any size.

    Raises:
        NstjaxError: if one is too small.
    """
    for layer, _ in recipe.content_layers + recipe.style_layers:
        check_size(content.shape[1], content.shape[2], layer)
    for layer, _ in recipe.style_layers:
        check_size(style.shape[1], style.shape[2], layer)


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
