"""The compiled programs of the pixel route.

A chunk runs up to `CHUNK` steps in one program, without returning to the host. The number of steps
is an argument, as are all numbers, so that each structure and size of picture compiles once.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from nstjax.gatys.steps import Rates, State, averaged, step_function
from nstjax.objective import evaluate_with_gradient
from nstjax.ops import Program
from nstjax.structure import TERMS, Inputs, Structure, Terms

CHUNK = 64


class Records(NamedTuple):
    """What a chunk reports for each of its steps; entries beyond the last step are unused."""

    total: Float[Array, " steps"]
    terms: dict[str, Float[Array, " steps"]]
    evaluations: Int[Array, " steps"]


@partial(Program, static_argnames=("structure", "optimizer"), donate_argnames=("state",))
def run_chunk(
    structure: Structure,
    optimizer: str,
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
        inputs: the numbers of the objective.
        rates: the numbers of the optimiser.
        state: where to go on from. Its memory is reused.
        count: how many steps, at most `CHUNK`.

    Returns:
        The state after the last step, and the record of each step.
    """
    white = structure.pixel_range

    def evaluate_scaled(image: Array) -> tuple[Array, Array, Terms]:
        total, gradient, terms = evaluate_with_gradient(structure, inputs, image / white)
        return total, gradient / white, terms

    step = step_function(optimizer, evaluate_scaled, rates)

    def body(carry: tuple[Array, State, Records]) -> tuple[Array, State, Records]:
        i, state, records = carry
        after = step(state)
        after = averaged(rates, state, after)
        image, average, pictures = jax.tree.map(
            partial(jnp.where, jnp.isfinite(after.total)),
            (after.image, after.average, after.pictures),
            (state.image, state.average, state.pictures),
        )
        after = after._replace(image=image, average=average, pictures=pictures)
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


evaluate_picture = Program(evaluate_with_gradient, static_argnames=("structure",))
"""The objective, its gradient and its terms for a picture, where the host decides on each step."""
