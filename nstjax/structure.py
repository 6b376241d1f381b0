"""What decides an objective's compiled program, and the numbers that it takes.

The structure of an objective (which layers, which divisors) is static, and the numbers (weights,
targets, the network's parameters) are an argument, so that changing a number compiles nothing.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from nstjax.losses.comparison import GramForm, StyleForm, Wasserstein2Form
from nstjax.settings import ObjectiveSettings
from nstjax.vgg.network import Params

Terms = dict[str, Float[Array, ""]]
TERMS = ("content", "style", "tv")


@dataclass(frozen=True)
class Structure:
    """What of a recipe decides the compiled program. Hashable, so that `jax.jit` can key on it."""

    network: str
    preprocessing: str
    pooling: str
    first_padding: str
    input_range: float
    precision: str
    content_layers: tuple[str, ...]
    content_reduction: str
    style_layers: tuple[str, ...]
    style: StyleForm
    tv_form: str
    pixel_range: float
    tile: int | None


class Targets(NamedTuple):
    """What the picture's features are compared with.

    Attributes:
        content: activations of the content image by layer, shape (N, H, W, C).
        style: of the style image by layer, as `Structure.style` makes them: Gram matrices of
            shape (1, C, C), divided by H·W where the recipe divides by nothing; or Gaussians.
    """

    content: dict[str, Array]
    style: dict[str, Any]


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
    gram = GramForm(recipe.gram_divisor, recipe.style_reduction)
    return Structure(
        network=recipe.network,
        preprocessing=preprocessing,
        pooling=recipe.pooling,
        first_padding=recipe.first_padding,
        input_range=recipe.input_range,
        precision=recipe.precision,
        content_layers=tuple(name for name, _ in recipe.content_layers),
        content_reduction=recipe.content_reduction,
        style_layers=tuple(name for name, _ in recipe.style_layers),
        style=gram if recipe.style_loss == "gram" else Wasserstein2Form(),
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
