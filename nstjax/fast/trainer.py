"""One training step as a pure function, and the state that it updates."""

from collections.abc import Callable
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from nstjax.fast.network import Params, init_params, paint
from nstjax.fast.settings import TrainingRecipe
from nstjax.objective import evaluate, report_terms
from nstjax.ops.choice import own_algorithms_allowed
from nstjax.structure import TERMS, Inputs, Structure, Targets, Terms
from nstjax.targets import content_targets

Metrics = dict[str, Float[Array, ""]]
ValueAndGrad = tuple[tuple[Float[Array, ""], Terms], Params]

# How many pictures a CPU computes the gradient of at a time. Few pictures fit the cache better, and
# all parts of a batch use the same memory; but with one alone, matrix products are slower.
_PICTURES_AT_A_TIME = 2


class State(NamedTuple):
    """The state of a training between two steps.

    Attributes:
        step: steps done.
        params: of the style network.
        average: their exponential moving average.
        opt_state: of Adam.
    """

    step: Array
    params: Params
    average: Params
    opt_state: optax.OptState


def make_optimizer(recipe: TrainingRecipe) -> optax.GradientTransformation:
    """Makes Adam with the recipe's schedule and clipping.

    Args:
        recipe: the settings; its `steps` are where a decaying rate ends.

    Returns:
        The optimiser.
    """
    peak, warmup = recipe.learning_rate, recipe.warmup_steps
    after = (
        optax.constant_schedule(peak)
        if recipe.decay == "constant"
        else optax.cosine_decay_schedule(peak, max(1, recipe.steps - warmup))
    )
    rate = optax.join_schedules([optax.linear_schedule(0, peak, warmup), after], [warmup])
    clip = [] if recipe.clip_norm is None else [optax.clip_by_global_norm(recipe.clip_norm)]
    return optax.chain(*clip, optax.adam(rate))


def init_state(recipe: TrainingRecipe, params: Params | None = None) -> State:
    """Makes the state before the first step.

    Args:
        recipe: the settings.
        params: the initial ones; None draws them with the recipe's seed.

    Returns:
        The state.
    """
    if params is None:
        params = init_params(recipe.architecture, jax.random.key(recipe.seed))
    start = jax.tree.map(jnp.asarray, params)
    opt_state = make_optimizer(recipe).init(start)
    # A copy: the two are donated together.
    return State(jnp.int32(0), start, jax.tree.map(jnp.copy, start), opt_state)


def loss_fn(
    recipe: TrainingRecipe,
    structure: Structure,
    inputs: Inputs,
    params: Params,
    batch: Float[Array, "n h w 3"],
) -> tuple[Float[Array, ""], Terms]:
    """Evaluates the objective on a network's paintings.

    Args:
        recipe: the settings.
        structure: of the objective.
        inputs: its numbers, without content targets: those are computed from `batch`.
        params: of the style network.
        batch: photographs, RGB in [0, 1], shape (N, H, W, 3).

    Returns:
        The total, and its terms before their weights.
    """
    painted = paint(recipe.architecture, params, batch, dtype=structure.precision)
    content = content_targets(structure, inputs.params, batch)
    targets = Targets(content, inputs.targets.style)
    return evaluate(structure, inputs._replace(targets=targets), painted)


def value_and_grad(
    recipe: TrainingRecipe,
    structure: Structure,
    inputs: Inputs,
    params: Params,
    batch: Float[Array, "n h w 3"],
) -> ValueAndGrad:
    """Evaluates the objective and its gradient.

    On CPUs, in float32 and for even batches, it does so for two pictures at a time.

    Args:
        recipe: the settings.
        structure: of the objective.
        inputs: its numbers.
        params: of the style network.
        batch: photographs, RGB in [0, 1], shape (N, H, W, 3).

    Returns:
        What `loss_fn` returns, and the gradient of its total with respect to the parameters.
    """

    def of_part(part: Float[Array, "n h w 3"]) -> ValueAndGrad:
        def loss(params: Params) -> tuple[Float[Array, ""], Terms]:
            return loss_fn(recipe, structure, inputs, params, part)

        return jax.value_and_grad(loss, has_aux=True)(params)

    count, rest = divmod(len(batch), _PICTURES_AT_A_TIME)
    # Otherwise XLA derives the gradients, which a CPU computes slowly in loops.
    fast_in_loops = own_algorithms_allowed(batch) and structure.precision == "float32"
    if rest or count < 2 or not fast_in_loops:
        return of_part(batch)

    def add(so_far: ValueAndGrad, part: Float[Array, "n h w 3"]) -> tuple[ValueAndGrad, None]:
        return jax.tree.map(jnp.add, so_far, of_part(part)), None

    no_terms: Terms = {name: jnp.zeros(()) for name in TERMS}
    nothing = (jnp.zeros(()), no_terms), jax.tree.map(jnp.zeros_like, params)
    parts = batch.reshape(count, _PICTURES_AT_A_TIME, *batch.shape[1:])
    total, _ = jax.lax.scan(add, nothing, parts)
    # Terms are means over pictures, and the parts have equal sizes: their mean is the batch's.
    return jax.tree.map(lambda values: values / count, total)


def make_step(
    recipe: TrainingRecipe, structure: Structure, *, axis_name: str | None = None
) -> Callable[[State, Float[Array, "n h w 3"], Inputs], tuple[State, Metrics]]:
    """Makes the step.

    Args:
        recipe: the settings.
        structure: of the objective.
        axis_name: of the devices to average gradients over; None on one device.

    Returns:
        A pure function from state, batch and the objective's numbers to the next state and the
        step's metrics: `total`, each term weighted and before its weight, and `gradient_norm`.
    """
    optimizer = make_optimizer(recipe)

    def step(state: State, batch: Float[Array, "n h w 3"], inputs: Inputs) -> tuple[State, Metrics]:
        (total, raw), gradient = value_and_grad(recipe, structure, inputs, state.params, batch)
        if axis_name is not None:
            total, raw, gradient = jax.lax.pmean((total, raw, gradient), axis_name)
        updates, opt_state = optimizer.update(gradient, state.opt_state, state.params)
        params = cast(Params, optax.apply_updates(state.params, updates))
        # A short memory at first: otherwise the average would hold on to the random start.
        keep = jnp.minimum(recipe.average, (1 + state.step) / (10 + state.step))
        average = cast(Params, optax.incremental_update(params, state.average, 1 - keep))
        metrics = {"total": total, **report_terms(raw, inputs.weights.terms)}
        metrics["gradient_norm"] = optax.tree.norm(gradient)
        return State(state.step + 1, params, average, opt_state), metrics

    return step
