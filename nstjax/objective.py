"""A recipe and its targets as one pure function of the picture."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.errors import NstjaxError
from nstjax.images.modes import unit_range
from nstjax.losses import content_loss, total_variation
from nstjax.ops import Program
from nstjax.settings import ObjectiveSettings, Recipe
from nstjax.structure import Inputs, Structure, Targets, Terms, structure_of, weights_of
from nstjax.targets import (
    StylePixels,
    check_sizes,
    content_targets,
    positions_of,
    several,
    style_targets,
    summaries,
)
from nstjax.vgg import (
    INPUT_SPREAD,
    Summary,
    Weights,
    bundled_means,
    divide_activations,
    freeze,
    layer_names,
    rescale,
)
from nstjax.vgg.network import Params

Pixels = Float[Array | np.ndarray, "n h w 3"]


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
    terms = {**_network_terms(structure, inputs, image), "tv": _roughness(structure, image)}
    return _weighted(inputs, terms), terms


_evaluate_compiled = Program(evaluate, static_argnames=("structure",))


def evaluate_with_gradient(
    structure: Structure, inputs: Inputs, image: Float[Array, "n h w 3"]
) -> tuple[Float[Array, ""], Float[Array, "n h w 3"], Terms]:
    """Evaluates the objective, its gradient and its terms.

    Args:
        structure: of the objective.
        inputs: its numbers.
        image: RGB in [0, 1], shape (N, H, W, 3).

    Returns:
        The total, its gradient with respect to `image`, and the terms before their weights.
    """

    def network_total(image: Array) -> tuple[Array, Terms]:
        terms = _network_terms(structure, inputs, image)
        return _weighted(inputs, terms), terms

    (_, terms), gradient = jax.value_and_grad(network_total, has_aux=True)(image)
    # XLA begins with whatever waits for nothing, and would hold up to four pictures of the total
    # variation's gradient while the network's needs most memory. So let it wait for that. (Where
    # that is not finite, nothing here needs to be.)
    image = image + 0 * gradient[0, 0, 0, 0]
    roughness, slope = jax.value_and_grad(partial(_roughness, structure))(image)
    terms = {**terms, "tv": roughness}
    return _weighted(inputs, terms), gradient + inputs.weights.terms["tv"] * slope, terms


def _network_terms(structure: Structure, inputs: Inputs, image: Array) -> Terms:
    """The content and the style, before their weights."""
    content, style = structure.content_layers, structure.style_layers

    def losses(layer: str, features: Array, target: Array | None) -> Summary:
        positions, found = positions_of(layer, image), {}
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
    return {
        "content": jnp.asarray(
            sum(weights.content_layers[name] * found[name]["content"] for name in content)
        ),
        "style": jnp.asarray(
            sum(
                weights.style_layers[name]
                * structure.style.compare(
                    found[name]["style"],
                    inputs.targets.style[name],
                    positions_of(name, image),
                    pixels,
                )
                for name in style
            )
        ),
    }


def _roughness(structure: Structure, image: Array) -> Float[Array, ""]:
    return total_variation(image * structure.pixel_range, form=structure.tv_form)


def _weighted(inputs: Inputs, terms: Terms) -> Float[Array, ""]:
    return jnp.asarray(sum(inputs.weights.terms[name] * term for name, term in terms.items()))


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
    targets = Targets(
        content_targets(structure, params, jnp.asarray(content)),
        style_targets(structure, params, style, style_weights),
    )
    return structure, Inputs(params, targets, weights_of(recipe))


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Objective:
    """A pure function of a picture, as `make_objective` makes it.

    It is a pytree, too: hand it to compiled functions as an argument. What they only refer to
    becomes part of the program, which takes twice the time to compile and as much memory again as
    the network's parameters, more than a gigabyte for VGG19. It can be differentiated once, and in
    reverse mode alone.

    Attributes:
        structure: what decides the compiled program.
        inputs: the numbers.

    Example:
        step = jax.jit(lambda objective, image: jax.grad(objective, has_aux=True)(image))
        gradient, terms = step(objective, image)
    """

    structure: Structure = field(metadata={"static": True})
    inputs: Inputs

    def __call__(self, image: Pixels) -> tuple[Float[Array, ""], Terms]:
        """Evaluates the objective, in one compiled program for all of the same structure.

        Args:
            image: RGB in [0, 1], of the content's shape (N, H, W, 3).

        Returns:
            The total and its terms by name (`content`, `style`, `tv`), weighted so that they add up
            to it, and also as they were before (`content_raw`, …).
        """
        total, raw = _evaluate_compiled(self.structure, self.inputs, jnp.asarray(image))
        return total, report_terms(raw, self.inputs.weights.terms)


def make_objective(
    recipe: Recipe,
    weights: Weights,
    content: Pixels,
    style: StylePixels | Sequence[StylePixels],
    *,
    style_weights: Sequence[float | int] | None = None,
) -> Objective:
    """Turns a recipe and two or more pictures into a function of the picture between them.

    Args:
        recipe: the settings.
        weights: of the loss network.
        content: RGB in [0, 1], shape (N, H, W, 3).
        style: RGB in [0, 1], shape (1, H, W, 3), of any size; or several such pictures, of which
            Gram matrices, or means and covariances, are averaged.
        style_weights: of several style pictures, relative to each other; equal if None.

    Returns:
        The function.

    Raises:
        NstjaxError: if a picture is no such array or too small for a layer, the weights do not fit
            the pictures, or the recipe is one for training.
    """
    if not isinstance(recipe, Recipe):
        raise NstjaxError(
            f"{recipe.name} is a recipe for training: take one of the pixel route, nstjax.RECIPES"
        )
    _check_pixels(content, "the content image")
    for picture in several(style):
        _check_pixels(picture, "the style image", batch=False)
    params = network_params(recipe, weights)
    return Objective(*prepare(recipe, weights.preprocessing, params, content, style, style_weights))


def _check_pixels(pixels: Any, name: str, *, batch: bool = True) -> None:
    """Checks an array of the caller's, which would otherwise count for something else."""
    array = np.asarray(pixels)
    shape, dtype = array.shape, array.dtype
    if len(shape) != 4 or shape[3] != 3 or not jnp.issubdtype(dtype, jnp.floating):
        raise NstjaxError(
            f"{name} is an array of shape {shape} of {dtype}: pass floats of shape (1, H, W, 3), "
            "such as nstjax.load_image(path).pixels"
        )
    if shape[0] != 1 and not batch:
        raise NstjaxError(f"{name} is a batch of {shape[0]}: pass a list of single pictures")
    unit_range(array, name)


def report_terms(raw: dict, weights: dict) -> dict:
    """Lists terms weighted, under their names, and unweighted, under their names and `_raw`."""
    weighted = {name: weights[name] * raw[name] for name in raw}
    return weighted | {f"{name}_raw": value for name, value in raw.items()}
