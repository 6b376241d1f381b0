"""One step of each optimiser, and the compiled chunk of steps that the loop runs.

Everything here is pure. A chunk runs up to `CHUNK` steps in one compiled program, without a word
to the host; how many is an argument, as are all numbers, so that each structure compiles once.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from nstjax.objective import TERMS, Inputs, Structure, Terms, total_of
from nstjax.settings import Recipe

CHUNK = 64


class Rates(NamedTuple):
    """The numbers of an optimiser, all traced. See `Recipe` for their meaning."""

    learning_rate: Array
    beta1: Array
    beta2: Array
    epsilon: Array
    epsilon_inside: Array
    decay_rate: Array
    decay_steps: Array
    lower: Array
    upper: Array


class State(NamedTuple):
    """What a step turns into the next.

    Attributes:
        image: the picture, white being `Recipe.pixel_range`.
        total: the objective there.
        terms: its terms before their weights.
        gradient: of the total with respect to `image`.
        opt_state: the optimiser's.
        step: steps done; -1 before the start has been evaluated.
        evaluations: of the objective and its gradient, so far.
    """

    image: Float[Array, "1 h w 3"]
    total: Float[Array, ""]
    terms: Terms
    gradient: Float[Array, "1 h w 3"]
    opt_state: optax.OptState
    step: Int[Array, ""]
    evaluations: Int[Array, ""]


class Records(NamedTuple):
    """What a chunk reports of each of its steps; entries from the number of steps on are unused."""

    total: Float[Array, " steps"]
    terms: dict[str, Float[Array, " steps"]]
    evaluations: Int[Array, " steps"]


# (image in [0, pixel_range], term weights) -> total
Total = Callable[[tuple[Array, Terms]], Array]


def rates_of(recipe: Recipe) -> Rates:
    """Picks an optimiser's numbers out of a recipe."""
    clip = recipe.clip
    values = {name: getattr(recipe, name) for name in Rates._fields if hasattr(recipe, name)}
    values |= {"lower": 0.0 if clip else -jnp.inf, "upper": recipe.pixel_range if clip else jnp.inf}
    return Rates(**{name: jnp.float32(value) for name, value in values.items()})


def _adam(rates: Rates, count: Array) -> optax.GradientTransformation:
    # With the correction sqrt(1 - beta2^t) outside, Keras' sqrt(v) + epsilon is optax' form with a
    # larger epsilon.
    correction = jnp.sqrt(1 - rates.beta2 ** (count + 1.0))
    epsilon = rates.epsilon / jnp.where(rates.epsilon_inside > 0, correction, 1.0)
    return optax.chain(
        optax.scale_by_adam(rates.beta1, rates.beta2, epsilon),  # pyright: ignore[reportArgumentType]
        _descend(rates, count),
    )


def _sgd(rates: Rates, count: Array) -> optax.GradientTransformation:
    return optax.chain(optax.identity(), _descend(rates, count))


def _descend(rates: Rates, count: Array) -> optax.GradientTransformation:
    decay = rates.decay_rate ** (count / rates.decay_steps)
    return optax.scale(-rates.learning_rate * decay)  # pyright: ignore[reportArgumentType]


_FIRST_ORDER = {"adam": _adam, "sgd": _sgd}


def _first_order_step(
    optimizer: optax.GradientTransformation,
    total_of_variables: Total,
    weights: Terms,
    rates: Rates,
    state: State,
) -> State:
    def update(image: Array, opt_state: optax.OptState) -> tuple[Array, optax.OptState]:
        updates, opt_state = optimizer.update(state.gradient, opt_state)
        moved = optax.apply_updates(image, updates)
        return jnp.clip(jnp.asarray(moved), rates.lower, rates.upper), opt_state

    image, opt_state = jax.lax.cond(
        state.step >= 0, update, lambda *same: same, state.image, state.opt_state
    )
    total, (gradient, terms) = jax.value_and_grad(total_of_variables)((image, weights))
    return State(image, total, terms, gradient, opt_state, state.step + 1, state.evaluations + 1)


def _lbfgs(history_size: int) -> optax.GradientTransformationExtraArgs:
    """`optax.lbfgs` on the first of two variables; the second stays where it is."""

    def first(variables: tuple[Array, Terms]) -> tuple[bool, dict[str, bool]]:
        return True, dict.fromkeys(variables[1], False)

    def second(variables: tuple[Array, Terms]) -> tuple[bool, dict[str, bool]]:
        return False, dict.fromkeys(variables[1], True)

    return optax.chain(
        optax.masked(optax.scale_by_lbfgs(history_size), first),
        optax.masked(optax.set_to_zero(), second),
        optax.scale(-1.0),
        optax.scale_by_zoom_linesearch(max_linesearch_steps=20, initial_guess_strategy="one"),
    )


def _lbfgs_step(
    optimizer: optax.GradientTransformationExtraArgs,
    total_of_variables: Total,
    weights: Terms,
    state: State,
) -> State:
    def start(state: State) -> State:
        total, (gradient, terms) = jax.value_and_grad(total_of_variables)((state.image, weights))
        evaluations = state.evaluations + 1
        return state._replace(total=total, gradient=gradient, terms=terms, evaluations=evaluations)

    def search(state: State) -> State:
        variables, gradients = (state.image, weights), (state.gradient, state.terms)
        updates, opt_state = optimizer.update(
            gradients,
            state.opt_state,
            variables,
            value=state.total,
            grad=gradients,
            value_fn=total_of_variables,
        )
        moved: Any = optax.apply_updates(variables, updates)
        found: Any = cast(tuple, opt_state)[-1]
        (image, _), (gradient, terms) = moved, found.grad
        evaluations = state.evaluations + found.info.num_linesearch_steps
        return State(image, found.value, terms, gradient, opt_state, state.step, evaluations)

    moved = jax.lax.cond(state.step >= 0, search, start, state)
    return moved._replace(step=state.step + 1)


def first_state(recipe: Recipe, image: Float[Array, "1 h w 3"], rates: Rates) -> State:
    """Makes the state before the first step, the start not yet evaluated.

    Args:
        recipe: the settings.
        image: the start, white being `recipe.pixel_range`.
        rates: of the optimiser.

    Returns:
        The state.
    """
    zeros: Terms = {name: jnp.float32(0) for name in TERMS}
    if recipe.optimizer == "lbfgs":
        opt_state = _lbfgs(recipe.history_size).init((image, zeros))
    else:
        opt_state = _FIRST_ORDER[recipe.optimizer](rates, jnp.int32(0)).init(image)
    state = State(
        image=image,
        total=jnp.float32(0),
        terms=zeros,
        gradient=jnp.zeros_like(image),
        opt_state=opt_state,
        step=jnp.int32(-1),
        evaluations=jnp.int32(0),
    )
    # Copies: a chunk takes its state's memory, which must be neither the caller's nor shared.
    return jax.tree.map(lambda array: jnp.array(array, copy=True), state)


@partial(
    jax.jit, static_argnames=("structure", "optimizer", "history_size"), donate_argnames=("state",)
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
    ends the chunk: its total is reported, and the state keeps the picture before it.

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

    def step(state: State) -> State:
        if optimizer == "lbfgs":
            return _lbfgs_step(_lbfgs(history_size), total_of_variables, weights, state)
        first_order = _FIRST_ORDER[optimizer](rates, state.step)
        return _first_order_step(first_order, total_of_variables, weights, rates, state)

    def body(carry: tuple[Array, State, Records]) -> tuple[Array, State, Records]:
        i, state, records = carry
        after = step(state)
        finite = jnp.isfinite(after.total)
        after = after._replace(image=jnp.where(finite, after.image, state.image))
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


@partial(jax.jit, static_argnames=("structure",))
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
