"""L-BFGS: a step from what the last few steps and gradients say of the objective's curvature.

The steps of `optax.lbfgs`, whose line search has the objective's gradient in its program twice and
holds more pictures: see `nstjax.gatys.line_search`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Pairs(NamedTuple):
    """The last steps, each with what the gradient changed by. The newest is at `made - 1`.

    The slots go round: the newest takes the oldest one's.

    Attributes:
        steps: pictures.
        changes: likewise.
        inverses: of the inner product of the two.
        made: pairs since the last fresh start, of which the newest are here.
    """

    steps: Float[Array, "pairs 1 h w 3"]
    changes: Float[Array, "pairs 1 h w 3"]
    inverses: Float[Array, " pairs"]
    made: Int[Array, ""]


def no_pairs(number: int, image: Float[Array, "1 h w 3"]) -> Pairs:
    """Makes room for some pairs of pictures of one size."""
    zeros = jnp.zeros((number, *image.shape), image.dtype)
    return Pairs(zeros, zeros, jnp.zeros(number, image.dtype), jnp.int32(0))


def remember(
    pairs: Pairs,
    step: Float[Array, "1 h w 3"],
    change: Float[Array, "1 h w 3"],
    good: Bool[Array, ""],
) -> Pairs:
    """Puts a pair in the oldest one's place.

    One along which the gradient does not grow, as it does wherever a line search without bounds
    succeeded, says nothing. If the step was good all the same, it is left out; else the pairs
    before it led astray, and all are forgotten.

    Args:
        pairs: the last steps.
        step: the newest.
        change: of the gradient.
        good: whether the step was, whatever the gradient does.

    Returns:
        The pairs after it.
    """
    slot = pairs.made % pairs.inverses.size
    product = dot(step, change)
    grows = (product > 0) & jnp.isfinite(product)
    keep = grows | (good & jnp.isfinite(product))

    def put(column: Array, entry: Array) -> Array:
        return column.at[slot].set(jnp.where(grows, entry, column[slot]))

    made = jnp.where(keep, pairs.made + grows, 0)
    return Pairs(
        put(pairs.steps, step), put(pairs.changes, change), put(pairs.inverses, 1 / product), made
    )


def direction(
    pairs: Pairs, gradient: Float[Array, "1 h w 3"], first: Float[Array, ""]
) -> Float[Array, "1 h w 3"]:
    """Returns where to go: algorithm 7.4 of Nocedal and Wright, 'Numerical Optimization'.

    Args:
        pairs: the last steps.
        gradient: of the objective.
        first: the length where there are no pairs, down the gradient: the root mean square of what
            pixels change by.

    Returns:
        The step that would be right if the objective were as the pairs say.
    """
    size = pairs.inverses.size
    known = jnp.minimum(pairs.made, size)

    def newer(i: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        left, shares = found
        slot = (pairs.made - 1 - i) % size
        share = pairs.inverses[slot] * dot(pairs.steps[slot], left)
        return left - share * pairs.changes[slot], shares.at[slot].set(share)

    def older(i: Array, found: Array) -> Array:
        slot = (pairs.made - known + i) % size
        share = pairs.inverses[slot] * dot(pairs.changes[slot], found)
        return found + (shares[slot] - share) * pairs.steps[slot]

    left, shares = jax.lax.fori_loop(0, known, newer, (gradient, jnp.zeros_like(pairs.inverses)))
    newest = (pairs.made - 1) % size
    change = pairs.changes[newest]
    curvature = 1 / (pairs.inverses[newest] * dot(change, change))
    steepness = jnp.sqrt(dot(gradient, gradient) / gradient.size)
    short = jnp.where(steepness > 0, first / steepness, 1)
    return -jax.lax.fori_loop(0, known, older, jnp.where(known > 0, curvature, short) * left)


def dot(x: Float[Array, "1 h w 3"], y: Float[Array, "1 h w 3"]) -> Float[Array, ""]:
    """The inner product of two pictures, in their full precision on every device."""
    return jnp.vdot(x, y, precision=jax.lax.Precision.HIGHEST)
