"""L-BFGS: a step from what the last few steps and gradients say about the objective's curvature.

It takes the same steps as `optax.lbfgs`, whose line search has the objective's gradient in its
program twice and holds more pictures: see `nstjax.gatys.line_search`. The names are those of
Nocedal and Wright, 'Numerical Optimization', chapter 7.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int


class Pairs(NamedTuple):
    """The memory of L-BFGS: the last steps s, each with the change y of the gradient along it.

    A ring: the newest pair is at `made - 1`, modulo the number of slots, and takes the place of
    the oldest.

    Attributes:
        s: the steps, pictures.
        y: the changes of the gradient, likewise.
        rho: 1 / sᵀy of each pair.
        made: how many pairs there were since the memory was empty; the newest of them are here.
    """

    s: Float[Array, "pairs 1 h w 3"]
    y: Float[Array, "pairs 1 h w 3"]
    rho: Float[Array, " pairs"]
    made: Int[Array, ""]


def no_pairs(number: int, image: Float[Array, "1 h w 3"]) -> Pairs:
    """Makes an empty memory for a number of pairs, each of the size of a picture."""
    zeros = jnp.zeros((number, *image.shape), image.dtype)
    return Pairs(zeros, zeros, jnp.zeros(number, image.dtype), jnp.int32(0))


def remember(
    pairs: Pairs,
    s: Float[Array, "1 h w 3"],
    y: Float[Array, "1 h w 3"],
    good: Bool[Array, ""],
) -> Pairs:
    """Puts a pair in the place of the oldest.

    Skips a pair with sᵀy ≤ 0, which can only happen if bounds cut the step short or its line
    search failed. After a good step the earlier pairs are kept all the same; otherwise the memory
    is cleared.

    Args:
        pairs: the memory.
        s: the newest step.
        y: the change of the gradient.
        good: whether the step was a success, whatever the gradient did.

    Returns:
        The memory with the pair.
    """
    slot = pairs.made % pairs.rho.size
    product = dot(s, y)
    curved = (product > 0) & jnp.isfinite(product)
    keep = curved | (good & jnp.isfinite(product))

    def put(column: Array, entry: Array) -> Array:
        return column.at[slot].set(jnp.where(curved, entry, column[slot]))

    made = jnp.where(keep, pairs.made + curved, 0)
    return Pairs(put(pairs.s, s), put(pairs.y, y), put(pairs.rho, 1 / product), made)


def direction(
    pairs: Pairs, gradient: Float[Array, "1 h w 3"], first: Float[Array, ""]
) -> Float[Array, "1 h w 3"]:
    """Returns the direction -H·gradient by the two-loop recursion: algorithm 7.4.

    H approximates the inverse Hessian. It starts from gamma times the identity, with gamma = sᵀy /
    yᵀy of the newest pair.

    Args:
        pairs: the memory.
        gradient: of the objective.
        first: the length of the direction while there are no pairs, when it points down the
            gradient: the root mean square of what pixels change by.

    Returns:
        The step to the minimum of the quadratic that the pairs describe.
    """
    size = pairs.rho.size
    known = jnp.minimum(pairs.made, size)

    def from_newest(i: Array, found: tuple[Array, Array]) -> tuple[Array, Array]:
        q, alpha = found
        slot = (pairs.made - 1 - i) % size
        alpha_i = pairs.rho[slot] * dot(pairs.s[slot], q)
        return q - alpha_i * pairs.y[slot], alpha.at[slot].set(alpha_i)

    def from_oldest(i: Array, r: Array) -> Array:
        slot = (pairs.made - known + i) % size
        beta = pairs.rho[slot] * dot(pairs.y[slot], r)
        return r + (alpha[slot] - beta) * pairs.s[slot]

    q, alpha = jax.lax.fori_loop(0, known, from_newest, (gradient, jnp.zeros_like(pairs.rho)))
    newest = (pairs.made - 1) % size
    y = pairs.y[newest]
    gamma = 1 / (pairs.rho[newest] * dot(y, y))
    steepness = jnp.sqrt(dot(gradient, gradient) / gradient.size)
    short = jnp.where(steepness > 0, first / steepness, 1)
    return -jax.lax.fori_loop(0, known, from_oldest, jnp.where(known > 0, gamma, short) * q)


def dot(x: Float[Array, "1 h w 3"], y: Float[Array, "1 h w 3"]) -> Float[Array, ""]:
    """The inner product of two pictures, in full float32 precision on every device."""
    return jnp.vdot(x, y, precision=jax.lax.Precision.HIGHEST)
