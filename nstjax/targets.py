"""What a recipe compares a picture with: targets made from photograph and paintings."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.errors import NstjaxError
from nstjax.losses.comparison import average
from nstjax.ops import Program
from nstjax.settings import ObjectiveSettings
from nstjax.structure import Structure
from nstjax.vgg import Summary, check_size, summarize_features
from nstjax.vgg.layers import activation_shape
from nstjax.vgg.network import Params
from nstjax.vgg.tiles import Summarize

StylePixels = Float[Array | np.ndarray, "1 _ _ 3"]


def summaries(
    structure: Structure,
    params: Params,
    image: Float[Array, "n h w 3"],
    layers: tuple[str, ...],
    summarize: Summarize,
    targets: dict[str, Array] | None = None,
) -> dict[str, Summary]:
    """Runs the loss network on a picture and summarises the activations of some layers.

    Args:
        structure: of the objective.
        params: of the network.
        image: RGB in [0, 1], shape (N, H, W, 3).
        layers: which activations.
        summarize: see `nstjax.vgg.summarize_features`.
        targets: what the activations are compared with, by layer.

    Returns:
        By layer, the activations of the whole picture, or sums over its positions.
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


@partial(Program, static_argnames=("structure",))
def content_targets(
    structure: Structure, params: Params, content: Float[Array, "n h w 3"]
) -> dict[str, Array]:
    """Computes the features that the content loss compares with."""

    def whole(_layer: str, features: Array, _target: None) -> Summary:
        return Summary(whole=features)

    found = summaries(structure, params, content, structure.content_layers, whole)
    return {layer: summary.whole for layer, summary in found.items()}


def style_targets(
    structure: Structure,
    params: Params,
    style: StylePixels | Sequence[StylePixels],
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
    # One after the other on the device: paintings may be large.
    measures = [style_measures(structure, params, jnp.asarray(picture)) for picture in styles]
    return targets_of_measures(structure, measures, shares)


@partial(Program, static_argnames=("structure",))
def style_measures(
    structure: Structure, params: Params, style: Float[Array, "1 h w 3"]
) -> dict[str, Any]:
    """Computes the style statistics of one style image, by layer."""

    def measure(layer: str, features: Array, _target: None) -> Summary:
        return Summary(sums=structure.style.measure(features, positions_of(layer, style)))

    found = summaries(structure, params, style, structure.style_layers, measure)
    return {layer: summary.sums for layer, summary in found.items()}


@partial(Program, static_argnames=("structure",))
def targets_of_measures(
    structure: Structure, measures: list[dict[str, Any]], shares: Float[Array, " styles"]
) -> dict[str, Any]:
    """Computes the targets from the statistics of each style image and its share."""
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


def several(style: Any) -> list[Any]:
    """Lists the pictures of a style, which may be a single one."""
    return list(style) if isinstance(style, list | tuple) else [style]


def positions_of(layer: str, image: Array) -> int:
    """Counts the positions of a layer's activations of a picture."""
    rows, columns, _ = activation_shape(layer, *image.shape[1:3])
    return rows * columns


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
            settings = "--style-scale, --style-size or --size"
            check_size(height, width, layer, what="a style image", settings=settings)
