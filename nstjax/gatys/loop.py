"""The loop with effects: runs chunks of steps, reports, and stops when it should."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.gatys.carry_over import NOTHING, Carried, resize_adam_state
from nstjax.gatys.chunk import CHUNK, Records, evaluate_picture, run_chunk
from nstjax.gatys.history import TOLERANCE_STEPS, Recorder, to_picture
from nstjax.gatys.memory import GetObjective, Tiling
from nstjax.gatys.scipy_lbfgsb import run_scipy
from nstjax.gatys.snapshot import Snapshots
from nstjax.gatys.steps import Rates, State, first_state, rates_of, shapes_of_state
from nstjax.settings import Recipe
from nstjax.structure import Inputs, Structure

# How often a run reports if its steps take less than that. Every half second made a run at 256
# pixels 13 to 15 % slower on two cores, because each chunk's memory is new to the process.
_CHUNK_SECONDS = 1.0


def optimize(
    tiling: Tiling,
    objective: GetObjective,
    start: Float[Array, "1 h w 3"] | State,
    *,
    steps: int,
    rates: Rates,
    recorder: Recorder,
    every: int = 0,
    carried: Carried = NOTHING,
    snapshots: Snapshots | None = None,
) -> tuple[Float[Array, "1 h w 3"], Carried]:
    """Minimises the objective, in smaller tiles once memory runs out.

    Args:
        tiling: of the run, with its settings.
        objective: returns the objective; called before every few steps.
        start: a picture, RGB in [0, 1], shape (1, H, W, 3); or a snapshot's state, from which the
            stage goes on, with the recorder of that run.
        steps: how many to do.
        rates: the optimiser's numbers.
        recorder: gets an entry for the start and for each step, reports every few steps, and can
            end the run.
        every: also report at every multiple of this number of steps; 0: at none in particular.
        carried: what the size or the round before returned for this one.
        snapshots: may save the state, every few steps.

    Returns:
        The picture after the last step with a finite objective, or the average up to there, not
        clipped; and what the next size or round takes over.
    """
    recipe = tiling.recipe
    if isinstance(start, State):
        state = start
    else:
        recorder.begin_attempt()
        if recipe.optimizer == "lbfgs-b":
            return run_scipy(tiling, objective, start, steps, recorder), NOTHING
        state = first_state(recipe, start * recipe.pixel_range, rates)
        state = _taken_over(state, carried)
    del start, carried  # with large pictures there is room for the state alone
    last = recorder.steps_done + steps
    boundaries = [every, TOLERANCE_STEPS if recipe.tolerance else 0]
    count, first = 1, True  # the first only evaluates the start
    while (left := last - recorder.step) and not recorder.ended:
        count = min(count, left, *(_until_multiple(recorder.step, b) for b in boundaries))
        before = recorder.elapsed()
        state, records = _run_chunk(tiling, objective, rates, state, count, recorder)
        per_step = (recorder.elapsed() - before) / count
        _add(recorder, records, count, before, per_step)
        recorder.report(lambda state=state: to_picture(picture_of(recipe, state)))
        if snapshots is not None and (recorder.asked or not recorder.stopped):
            snapshots.offer(state, recorder, last=recorder.asked)
        # The first chunk also waits for compilation: its time says nothing about the speed.
        count = 1 if first else int(np.clip(_CHUNK_SECONDS / per_step, 1, CHUNK))
        first = False
    return picture_of(recipe, state), _left_by(recipe, state)


def compile_steps(
    recipe: Recipe, structure: Structure, inputs: Inputs, height: int, width: int
) -> None:
    """Compiles what `optimize` runs.

    Args:
        recipe: the settings.
        structure: of the objective.
        inputs: its numbers, or their shapes.
        height: of the picture, in pixels.
        width: likewise.
    """
    if recipe.optimizer == "lbfgs-b":
        image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
        evaluate_picture.compile(structure, inputs, image)
        return
    state, count = shapes_of_state(recipe, height, width), jax.ShapeDtypeStruct((), jnp.int32)
    run_chunk.compile(structure, recipe.optimizer, inputs, rates_of(recipe), state, count)


def picture_of(recipe: Recipe, state: State) -> Float[Array, "1 h w 3"]:
    """The picture of a state, white being 1: the average of pictures, if there is one."""
    image = state.image if state.average is None else state.average
    return image / recipe.pixel_range


def _taken_over(state: State, carried: Carried) -> State:
    """A first state that goes on with what the size or the round before has left."""
    if carried.opt_state is not None:
        shape = state.image.shape[1:3]
        state = state._replace(opt_state=resize_adam_state(carried.opt_state, *shape))
    if carried.average is not None and carried.pictures is not None:
        state = state._replace(average=carried.average, pictures=carried.pictures)
    return state


def _left_by(recipe: Recipe, state: State) -> Carried:
    """What the last state of a size or a round leaves to the next."""
    # L-BFGS remembers differences between pictures of this size, which are of no use at another.
    carried = Carried(state.opt_state if recipe.optimizer == "adam" else None)
    if state.average is None:
        return carried
    image = state.image / recipe.pixel_range
    return carried._replace(image=image, average=state.average, pictures=state.pictures)


def _add(recorder: Recorder, records: Records, count: int, before: float, per_step: float) -> None:
    """Adds a chunk's steps to the recorder, up to the one that ends the stage."""
    for i in range(count):
        raw = {name: float(column[i]) for name, column in records.terms.items()}
        seconds = before + per_step * (i + 1)
        recorder.add(float(records.total[i]), raw, int(records.evaluations[i]), seconds)
        if recorder.ended:
            break


def _run_chunk(
    tiling: Tiling,
    objective: GetObjective,
    rates: Rates,
    state: State,
    count: int,
    recorder: Recorder,
) -> tuple[State, Records]:
    """Runs a chunk, in smaller tiles if memory runs out.

    A chunk reuses its state's memory even if it fails, so that another attempt needs a copy.
    """
    recipe = tiling.recipe
    again = _copied(tiling, rates, state, recorder)
    attempts = 0

    def attempt() -> tuple[State, Records]:
        nonlocal attempts, state
        structure, inputs = objective()  # before there is a second state, as it takes memory
        state = again() if attempts else state
        attempts += 1
        state, records = run_chunk(
            structure,
            recipe.optimizer,
            inputs,
            rates,
            state,
            np.int32(count),
        )
        return state, jax.device_get(records)

    found = tiling.run(attempt)
    recorder.recipe = tiling.recipe
    return found


def _copied(tiling: Tiling, rates: Rates, state: State, recorder: Recorder) -> Callable[[], State]:
    """Copies a state to the host if there may be another attempt; returns how to restore it.

    For L-BFGS, which remembers many pictures, only the current one is copied. It then starts
    afresh from there.
    """
    recipe = tiling.recipe
    if not tiling.smaller:
        return lambda: state  # never called, as there is no smaller tile
    if recipe.optimizer == "lbfgs":
        image = np.array(state.image)

        def afresh() -> State:
            recorder.begin_attempt()
            return first_state(recipe, jnp.asarray(image), rates)

        return afresh
    # On a CPU this copies nothing: a chunk does not reuse memory that the host holds.
    copy = jax.device_get(state)
    return lambda: jax.tree.map(partial(jnp.array, copy=True), copy)


def _until_multiple(step: int, every: int) -> int:
    """The steps from `step` to the next multiple of `every`; a whole chunk if that is 0."""
    return every - step % every if every else CHUNK
