"""One step of each optimiser, as a pure function of the state; compiled by `nstjax.gatys.chunk`."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from nstjax.gatys.lbfgs import Pairs, direction, dot, no_pairs, remember
from nstjax.gatys.line_search import MOST_EVALUATIONS, Search, advance, begin, next_step
from nstjax.settings import Recipe
from nstjax.structure import TERMS, Terms

# A share of white. Others begin with a step of length 1, which is so short that each size of the
# default recipe spent five to eight more evaluations on lengthening it; half or twice as much as
# this is as good.
_FIRST_CHANGE = 0.002


class Rates(NamedTuple):
    """The numbers of an optimiser, all traced. See `Recipe` for their meaning.

    `begun` of the whole run's steps are planned before this size. With decay by a cosine the rate
    has fallen to 0 after `cosine_steps`, which are infinite without. `first_change` is how much
    pixels change in L-BFGS' first step, see `nstjax.gatys.lbfgs.direction`.
    """

    learning_rate: Array
    beta1: Array
    beta2: Array
    epsilon: Array
    epsilon_inside: Array
    decay_rate: Array
    decay_steps: Array
    cosine_steps: Array
    begun: Array
    lower: Array
    upper: Array
    average: Array
    first_change: Array


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
        pictures: in the average.
        average: of the pictures so far, see `averaged`; None if the recipe has none.
    """

    image: Float[Array, "1 h w 3"]
    total: Float[Array, ""]
    terms: Terms
    gradient: Float[Array, "1 h w 3"]
    opt_state: optax.OptState | Pairs
    step: Int[Array, ""]
    evaluations: Int[Array, ""]
    pictures: Int[Array, ""]
    average: Float[Array, "1 h w 3"] | None = None


# From a picture, white being `Recipe.pixel_range`, to the objective, its gradient and its terms.
Evaluate = Callable[[Array], tuple[Array, Array, Terms]]
_Found = tuple[Search, Array, Terms]  # a line search so far, its last gradient and terms


def rates_of(recipe: Recipe, *, begun: int = 0, steps: int | None = None) -> Rates:
    """Picks an optimiser's numbers out of a recipe.

    Args:
        recipe: the settings.
        begun: steps of the run that are planned before this size.
        steps: of the whole run; None for the recipe's.

    Returns:
        The numbers.
    """
    clip = recipe.clip
    steps = recipe.steps if steps is None else steps
    values = {name: getattr(recipe, name) for name in Rates._fields if hasattr(recipe, name)}
    values["begun"] = begun
    values["first_change"] = _FIRST_CHANGE * recipe.pixel_range
    values["cosine_steps"] = max(1, steps) if recipe.decay == "cosine" else jnp.inf
    values |= {"lower": 0.0 if clip else -jnp.inf, "upper": recipe.pixel_range if clip else jnp.inf}
    return Rates(**{name: jnp.float32(value) for name, value in values.items()})


def _adam(rates: Rates, count: Array) -> optax.GradientTransformation:
    # With the correction sqrt(1 - beta2^t) outside, Keras' sqrt(v) + epsilon is optax' form with a
    # larger epsilon.
    correction = jnp.sqrt(1 - rates.beta2 ** (count + 1.0))
    epsilon = rates.epsilon / jnp.where(rates.epsilon_inside > 0, correction, 1.0)
    return optax.scale_by_adam(rates.beta1, rates.beta2, epsilon)  # pyright: ignore[reportArgumentType]


def _descend(rates: Rates, step: Array) -> optax.GradientTransformation:
    done = rates.begun + step
    exponential = rates.decay_rate ** (done / rates.decay_steps)
    cosine = (1 + jnp.cos(jnp.pi * jnp.minimum(done / rates.cosine_steps, 1))) / 2
    decay = exponential * cosine
    return optax.scale(-rates.learning_rate * decay)  # pyright: ignore[reportArgumentType]


def _first_order(
    optimizer: str, rates: Rates, step: Array, count: Array
) -> optax.GradientTransformation:
    """Adam or SGD at a step of a size; `count` is Adam's own, which goes on over sizes."""
    direction = optax.identity() if optimizer == "sgd" else _adam(rates, count)
    return optax.chain(direction, _descend(rates, step))


def _first_order_step(
    optimizer: optax.GradientTransformation, evaluate: Evaluate, rates: Rates, state: State
) -> State:
    def update(image: Array, opt_state: optax.OptState) -> tuple[Array, optax.OptState]:
        updates, opt_state = optimizer.update(state.gradient, opt_state)
        moved = optax.apply_updates(image, updates)
        return jnp.clip(jnp.asarray(moved), rates.lower, rates.upper), opt_state

    image, opt_state = jax.lax.cond(
        state.step >= 0, update, lambda *same: same, state.image, state.opt_state
    )
    total, gradient, terms = evaluate(image)
    return state._replace(
        image=image,
        total=total,
        terms=terms,
        gradient=gradient,
        opt_state=opt_state,
        step=state.step + 1,
        evaluations=state.evaluations + 1,
    )


def _lbfgs_step(evaluate: Evaluate, rates: Rates, state: State) -> State:
    pairs = cast(Pairs, state.opt_state)
    starting = state.step < 0  # there is no gradient yet: the one point to look at is the start
    # Values that a bound holds stay there, and those that reach one on the way stop: Bertsekas,
    # 'Projected Newton Methods for Optimization Problems with Simple Constraints', 1982, but
    # without his margin within which values count as held.
    held = _held(rates, state.image, -state.gradient)
    along = direction(pairs, jnp.where(held, 0, state.gradient), rates.first_change)
    along = jnp.where(held | _held(rates, state.image, along), 0, along)

    def at(step: Array) -> Array:
        return jnp.clip(state.image + step * along, rates.lower, rates.upper)

    def slope(image: Array, gradient: Array) -> Array:
        return dot(gradient, jnp.where(_held(rates, image, along), 0, along))

    def more(found: _Found) -> Bool[Array, ""]:
        search, *_ = found
        return (search.evaluations == 0) | ~(search.done | starting)

    def look(found: _Found) -> _Found:
        search, *_ = found
        image = at(next_step(search))
        total, gradient, terms = evaluate(image)
        return advance(search, total, slope(image, gradient)), gradient, terms

    search = begin(state.total, dot(state.gradient, along))
    search, gradient, terms = jax.lax.while_loop(more, look, (search, state.gradient, state.terms))
    image = at(search.last.step)
    # Clipping the start to the bounds is no step.
    step = jnp.where(starting, 0, image - state.image)
    # Within bounds the slope need not increase along a good step.
    bounded, fell = jnp.isfinite(rates.upper), search.last.value < state.total
    good = bounded & fell & (search.evaluations < MOST_EVALUATIONS)
    return state._replace(
        image=image,
        total=search.last.value,
        terms=terms,
        gradient=gradient,
        opt_state=remember(pairs, step, gradient - state.gradient, good),
        step=state.step + 1,
        evaluations=state.evaluations + search.evaluations,
    )


def _held(rates: Rates, image: Array, along: Array) -> Bool[Array, "1 h w 3"]:
    """Which values are at a bound and would cross it if they went along."""
    return ((image <= rates.lower) & (along < 0)) | ((image >= rates.upper) & (along > 0))


def step_function(optimizer: str, evaluate: Evaluate, rates: Rates) -> Callable[[State], State]:
    """Builds an optimiser's step.

    The first step of a run only evaluates the start.

    Args:
        optimizer: `"adam"`, `"sgd"` or `"lbfgs"`.
        evaluate: the objective.
        rates: the numbers of the optimiser.

    Returns:
        A pure function from one state to the next.
    """
    if optimizer == "lbfgs":
        return partial(_lbfgs_step, evaluate, rates)

    def step(state: State) -> State:
        count = state.step if optimizer == "sgd" else cast(Any, state.opt_state)[0].count
        transformation = _first_order(optimizer, rates, state.step, count)
        return _first_order_step(transformation, evaluate, rates, state)

    return step


def averaged(rates: Rates, before: State, after: State) -> State:
    """Takes the picture after a step into the moving average.

    With decay d, after n pictures, the start being the first, Adam's bias-corrected average
    (1 - d) Σ dⁿ⁻ⁱ xᵢ / (1 - dⁿ). The average itself is updated, not the sum, so that nothing is
    divided by a small number, and every average lies between the pictures.

    Args:
        rates: of which `average` is the decay.
        before: the state before the step.
        after: the one after it.

    Returns:
        `after` with its average; unchanged if there is none.
    """
    if before.average is None:
        return after
    # A round starts from the picture that the one before ended with, which is in the average.
    is_new = (after.step > 0) | (before.pictures == 0)
    pictures = before.pictures + is_new
    share = is_new * (1 - rates.average) / -jnp.expm1(pictures * jnp.log(rates.average))
    average = before.average + share * (after.image - before.average)
    return after._replace(average=average, pictures=pictures)


def first_state(recipe: Recipe, image: Float[Array, "1 h w 3"], rates: Rates) -> State:
    """Makes the state before the first step, the start not yet evaluated.

    Args:
        recipe: the settings.
        image: the start, white being `recipe.pixel_range`.
        rates: of the optimiser.

    Returns:
        The state.
    """
    return _first_state(recipe.optimizer, recipe.history_size, recipe.average > 0, image, rates)


def shapes_of_state(recipe: Recipe, height: int, width: int) -> State:
    """Returns the shapes of a state, without making one.

    Args:
        recipe: the settings.
        height: of the picture, in pixels.
        width: likewise.

    Returns:
        A state of shapes and types.
    """
    image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
    return jax.eval_shape(partial(first_state, recipe, rates=rates_of(recipe)), image)


# Compiled as a whole: one by one, its many small operations would compile in every process.
@partial(jax.jit, static_argnums=(0, 1, 2))
def _first_state(
    optimizer: str, history_size: int, averages: bool, image: Array, rates: Rates
) -> State:
    zeros: Terms = {name: jnp.float32(0) for name in TERMS}
    if optimizer == "lbfgs":
        opt_state = no_pairs(history_size, image)
    else:
        opt_state = _first_order(optimizer, rates, jnp.int32(0), jnp.int32(0)).init(image)
    state = State(
        image=image,
        total=jnp.float32(0),
        terms=zeros,
        gradient=jnp.zeros_like(image),
        opt_state=opt_state,
        step=jnp.int32(-1),
        evaluations=jnp.int32(0),
        pictures=jnp.int32(0),
        average=image if averages else None,
    )
    # Copies: a chunk reuses its state's memory, which must not be shared with the caller.
    return jax.tree.map(lambda array: jnp.array(array, copy=True), state)
