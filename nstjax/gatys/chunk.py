"""The compiled programs of the pixel route.

A chunk runs up to `CHUNK` steps in one program, without a word to the host. How many is an
argument, as are all numbers, so that each structure and size of picture compiles once.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from nstjax.gatys.steps import Rates, State, averaged, step_function
from nstjax.objective import TERMS, Inputs, Structure, Terms, total_of
from nstjax.ops import Program

CHUNK = 64


class Records(NamedTuple):
    """What a chunk reports of each of its steps; entries from the number of steps on are unused."""

    total: Float[Array, " steps"]
    terms: dict[str, Float[Array, " steps"]]
    evaluations: Int[Array, " steps"]


@partial(
    Program, static_argnames=("structure", "optimizer", "history_size"), donate_argnames=("state",)
)
def run_chunk(
    structure: Structure,
    optimizer: str,
    history_size: int,
    inputs: Inputs,
    rates: Rates,
    state: State,
    count: Int[Array, ""],
) -> tuple[State, Records]:
    """Runs up to `count` steps on the device.

    The first step of a run only evaluates the start. A step that makes the objective non-finite
    ends the chunk: its total is reported, and the state keeps the picture before it, and the
    average.

    Args:
        structure: of the objective.
        optimizer: `"adam"`, `"sgd"` or `"lbfgs"`.
        history_size: of L-BFGS.
        inputs: the numbers of the objective.
        rates: the numbers of the optimiser.
        state: where to go on from; its memory is reused.
        count: how many steps, at most `CHUNK`.

    Returns:
        The state after the last step, and the record of each step.
    """
    weights = inputs.weights.terms

    def total_of_variables(variables: tuple[Array, Terms]) -> Array:
        image, weights = variables
        return total_of(structure, inputs, (image / structure.pixel_range, weights))

    step = step_function(optimizer, history_size, total_of_variables, weights, rates)

    def body(carry: tuple[Array, State, Records]) -> tuple[Array, State, Records]:
        i, state, records = carry
        after = step(state)
        after = averaged(rates, state, after)
        image, average = jax.tree.map(
            partial(jnp.where, jnp.isfinite(after.total)),
            (after.image, after.average),
            (state.image, state.average),
        )
        after = after._replace(image=image, average=average)
        report = Records(after.total, after.terms, after.evaluations)
        records = jax.tree.map(lambda column, entry: column.at[i].set(entry), records, report)
        return i + 1, after, records

    def more(carry: tuple[Array, State, Records]) -> Bool[Array, ""]:
        i, state, _ = carry
        return (i < count) & jnp.isfinite(state.total)

    empty = jnp.zeros(CHUNK, jnp.float32)
    records = Records(empty, dict.fromkeys(TERMS, empty), jnp.zeros(CHUNK, jnp.int32))
    _, state, records = jax.lax.while_loop(more, body, (jnp.int32(0), state, records))
    return state, records


@partial(Program, static_argnames=("structure",))
def evaluate_once(
    structure: Structure, inputs: Inputs, image: Float[Array, "1 h w 3"]
) -> tuple[Float[Array, ""], Float[Array, "1 h w 3"], Terms]:
    """Evaluates the objective, its gradient and its terms at one picture in [0, 1].

    Args:
        structure: of the objective.
        inputs: its numbers.
        image: RGB, shape (1, H, W, 3).

    Returns:
        The total, its gradient with respect to `image`, and the terms before their weights.
    """
    variables = (image, inputs.weights.terms)
    total, (gradient, terms) = jax.value_and_grad(partial(total_of, structure, inputs))(variables)
    return total, gradient, terms
