"""The loop with effects: runs chunks of steps, reports, and stops when it should."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.gatys.chunk import CHUNK, run_chunk
from nstjax.gatys.history import TOLERANCE_STEPS, Recorder, to_picture
from nstjax.gatys.memory import going_on_from
from nstjax.gatys.scipy_lbfgsb import run_scipy
from nstjax.gatys.steps import first_state, rates_of
from nstjax.objective import Inputs, Structure
from nstjax.settings import Recipe

_CHUNK_SECONDS = 0.5  # how often a run reports, where one step takes less


def optimize(
    recipe: Recipe,
    structure: Structure,
    inputs: Inputs,
    image: Float[Array, "1 h w 3"],
    *,
    steps: int,
    recorder: Recorder,
    every: int = 0,
) -> Float[Array, "1 h w 3"]:
    """Minimises the objective.

    Args:
        recipe: the settings.
        structure: of the objective.
        inputs: its numbers.
        image: the start, RGB in [0, 1], shape (1, H, W, 3).
        steps: how many.
        recorder: what gets an entry for the start and for each step, is reported to after every
            few steps, and can end the run.
        every: reports also at all multiples of this number of steps; 0: at none in particular.

    Returns:
        The picture after the last step with a finite objective, not clipped.

    Raises:
        OutOfMemory: if there is too little memory for a step.
    """
    recorder.begin_stage()
    if recipe.optimizer == "lbfgs-b":
        return run_scipy(recipe, structure, inputs, image, steps, recorder)
    return _run_chunks(recipe, structure, inputs, image, steps, recorder, every)


def _run_chunks(
    recipe: Recipe,
    structure: Structure,
    inputs: Inputs,
    image: Array,
    steps: int,
    recorder: Recorder,
    every: int,
) -> Array:
    rates = rates_of(recipe)
    white = recipe.pixel_range
    state = first_state(recipe, image * white, rates)
    left = steps + 1  # the first only evaluates the start
    count = 1
    while left and not recorder.ended:
        boundaries = [every, TOLERANCE_STEPS if recipe.tolerance else 0]
        count = min(count, left, *(_until_multiple(recorder.step, b) for b in boundaries))
        before = recorder.elapsed()
        with going_on_from(np.asarray(state.image / white)):
            state, records = run_chunk(
                structure,
                recipe.optimizer,
                recipe.history_size,
                inputs,
                rates,
                state,
                jnp.int32(count),
            )
            records = jax.device_get(records)
        per_step = (recorder.elapsed() - before) / count
        for i in range(count):
            raw = {name: float(column[i]) for name, column in records.terms.items()}
            seconds = before + per_step * (i + 1)
            recorder.add(float(records.total[i]), raw, int(records.evaluations[i]), seconds)
            if recorder.ended:
                break
        recorder.report(partial(to_picture, state.image / white))
        # The first chunk also waits for compilation and says nothing of the speed.
        compiled = left <= steps
        left -= count
        count = int(np.clip(_CHUNK_SECONDS / per_step, 1, CHUNK)) if compiled else 1
    return state.image / white


def _until_multiple(step: int, every: int) -> int:
    """The steps from `step` to the next multiple of `every`; many where it is 0."""
    return every - step % every if every else CHUNK
