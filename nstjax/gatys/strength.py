"""One knob for the terms' weights, which means the same at every size and for every painting.

Each term is measured in a unit that follows from the photograph, the style and the size. That alone
leaves pictures of different sizes at different distances from the style, as small ones have fewer
pixels for as many correlations. So each size is run in rounds. After each round the content's
weight is changed according to how far the distance from the style is from the one that is wanted.
"""

from itertools import pairwise

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nstjax.gatys.stages import Stage
from nstjax.losses import content_loss, total_variation
from nstjax.objective import evaluate
from nstjax.ops import Program
from nstjax.settings import Recipe
from nstjax.structure import TERMS, Inputs, Structure, Terms

_ROUNDS, _LEAST_STEPS = 6, 5  # of a size, and in each
_TV_SHARE = 0.02  # beside the style's 1; makes checkered noise dear, and little else
_ROUGHNESS = 0.03  # of the chequerboard below
_GAIN = 2.0  # of the logarithms; the distance answers to about half a change, and late
_MOST_CHANGE = 4.0  # of the content's weight from a round to the next


def is_steered(recipe: Recipe) -> bool:
    """Returns whether the content's weight changes on the way."""
    return recipe.strength is not None and 0 < recipe.strength < 1


def wanted_distance(strength: float) -> float:
    """Returns the distance from the style that a strength asks for; the photograph's is 1.

    Args:
        strength: from 0 to 1.

    Returns:
        1 for 0, a tenth for a half, a hundredth for 1.

    Example:
        >>> round(wanted_distance(0.5), 3)
        0.1
    """
    return 100.0**-strength


def rounds_of(stages: list[Stage]) -> list[Stage]:
    """Splits each stage into rounds of about equally many steps.

    Args:
        stages: the sizes of a run.

    Returns:
        The rounds as stages, each of which starts from the picture of the one before.
    """
    rounds = []
    for stage in stages:
        count = max(1, min(_ROUNDS, stage.steps // _LEAST_STEPS))
        ends = [stage.steps * number // count for number in range(count + 1)]
        rounds += [stage._replace(steps=after - before) for before, after in pairwise(ends)]
    return rounds


def _references(
    structure: Structure, inputs: Inputs, content: Float[Array, "1 h w 3"]
) -> dict[str, Float[Array, ""]]:
    lost = sum(
        inputs.weights.content_layers[layer]
        * content_loss(jnp.zeros_like(features), features, reduction=structure.content_reduction)
        for layer, features in inputs.targets.content.items()
    )
    _, height, width, _ = content.shape
    checks = jnp.indices((height, width)).sum(axis=0)[None, :, :, None] % 2
    rough = jnp.broadcast_to(_ROUGHNESS * structure.pixel_range * checks, content.shape)
    return {
        "content": jnp.asarray(lost),
        "style": evaluate(structure, inputs, content)[1]["style"],
        "tv": total_variation(rough, form=structure.tv_form),
    }


references = Program(_references, static_argnames=("structure",))
"""The unit of each term, from the arguments of `evaluate` with the photograph as the picture.

The content's is the loss of a picture without any features, the style's is the photograph's own
loss, and the total variation's is that of a chequerboard whose fields differ as much as neighbours
in photographs do."""


def steered(balance: float, recipe: Recipe, distance: float) -> float:
    """Changes the content's weight by how far the distance from the style is from the wanted one.

    Args:
        balance: the content's weight over the style's, both in units of `references`.
        recipe: the settings, with a strength.
        distance: from the style; the photograph's is 1.

    Returns:
        The balance of the next round.
    """
    change = _MOST_CHANGE
    if distance and recipe.strength is not None:
        change = (wanted_distance(recipe.strength) / distance) ** _GAIN
    return balance * min(max(change, 1 / _MOST_CHANGE), _MOST_CHANGE)


def first_balance(strength: float) -> float:
    """Returns the balance that a run begins with: 1 for a half."""
    return (1 - strength) / strength if strength else 1.0


def calibrated(recipe: Recipe, units: dict[str, float], balance: float) -> dict[str, float]:
    """Returns the terms' weights. The style's is the recipe's, to which its learning rates suit.

    Args:
        recipe: the settings, with a strength.
        units: of `references`.
        balance: see `steered`.

    Returns:
        The weights by term; 0 for a term without a unit.
    """
    painted = float(recipe.strength != 0)
    shares = {
        "content": balance,
        "style": painted,
        "tv": painted * _TV_SHARE * (recipe.tv_weight > 0),
    }
    scale = recipe.style_weight * units["style"] or 1.0
    return {name: scale * shares[name] / units[name] if units[name] else 0.0 for name in TERMS}


def with_weights(inputs: Inputs, weights: dict[str, float]) -> Inputs:
    """Replaces the weights of an objective's terms."""
    terms: Terms = {name: jnp.float32(weight) for name, weight in weights.items()}
    return inputs._replace(weights=inputs.weights._replace(terms=terms))


def units_of(
    structure: Structure, inputs: Inputs, content: Float[Array, "1 h w 3"]
) -> dict[str, float]:
    """Returns `references` as numbers."""
    found = jax.device_get(references(structure, inputs, content))
    return {name: float(value) for name, value in found.items()}
