"""Weights that mean the same for every painting: losses counted in those of photographs."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from nstjax.objective import evaluate
from nstjax.ops import Program
from nstjax.structure import Inputs, Structure, Targets, TermWeights
from nstjax.targets import content_targets


@partial(Program, static_argnames=("structure",))
def losses_of_photographs(
    structure: Structure, inputs: Inputs, batch: Float[Array, "n h w 3"]
) -> TermWeights:
    """Measures what each layer's loss is before any painting is done.

    Args:
        structure: of the objective.
        inputs: its numbers; the weights and the content targets are not used.
        batch: at least two photographs, RGB in [0, 1], shape (N, H, W, 3).

    Returns:
        In the place of each layer's weight: its content loss between each photograph and the next,
        its style loss between photographs and the style image. In the place of the terms': 1, but
        for the total variation's, which is the photographs'.
    """
    others = content_targets(structure, inputs.params, jnp.roll(batch, 1, axis=0))
    inputs = inputs._replace(targets=Targets(others, inputs.targets.style))

    # The total is linear in each weight while the others stand still: a derivative is a loss.
    def total(weights: TermWeights) -> Array:
        return evaluate(structure, inputs._replace(weights=weights), batch)[0]

    ones = jax.tree.map(jnp.ones_like, inputs.weights)
    losses = jax.grad(total)(ones)
    return losses._replace(terms={**ones.terms, "tv": losses.terms["tv"]})
