"""The loop with effects: runs chunks of steps, reports, and stops when it should."""

import contextlib
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from nstjax.gatys.history import TOLERANCE_STEPS, Recorder
from nstjax.gatys.steps import CHUNK, evaluate_once, first_state, rates_of, run_chunk
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
    """
    recorder.begin_stage()
    run = _run_scipy if recipe.optimizer == "lbfgs-b" else _run_chunks
    return run(recipe, structure, inputs, image, steps, recorder, every)


def to_picture(image: Float[Array, "1 h w 3"]) -> Float[np.ndarray, "1 h w 3"]:
    """Copies a picture to the host, clipped to [0, 1]."""
    return np.clip(np.asarray(image, np.float32), 0, 1)


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
    while left and not recorder.stopped:
        boundaries = [every, TOLERANCE_STEPS if recipe.tolerance else 0]
        count = min(count, left, *(_until_multiple(recorder.step, b) for b in boundaries))
        before = recorder.elapsed()
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
            if recorder.stopped:
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


class _Stop(Exception):
    """Ends SciPy's minimisation from within."""


def _run_scipy(
    recipe: Recipe,
    structure: Structure,
    inputs: Inputs,
    image: Array,
    steps: int,
    recorder: Recorder,
    every: int,
) -> Array:
    """SciPy's L-BFGS-B within [0, 1]; it keeps its own state on the host, in float64."""
    from scipy.optimize import minimize

    del every  # each step is reported
    good = to_picture(image)
    seen: dict[bytes, tuple[float, np.ndarray, dict[str, float]]] = {}
    count = 0

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal count
        key = flat.tobytes()
        if key not in seen:
            picture = jnp.asarray(flat.reshape(image.shape), jnp.float32)
            total, gradient, terms = jax.device_get(evaluate_once(structure, inputs, picture))
            count += 1
            raw = {name: float(term) for name, term in terms.items()}
            seen[key] = float(total), gradient.astype(np.float64).ravel(), raw
            if not np.isfinite(total):
                recorder.add(float(total), raw, count, recorder.elapsed())
                raise _Stop
        return seen[key][:2]

    def accept(flat: np.ndarray) -> None:
        nonlocal good
        value_and_gradient(flat)  # as a rule the newest, and remembered
        total, gradient, raw = seen[flat.tobytes()]
        seen.clear()
        seen[flat.tobytes()] = total, gradient, raw
        good = flat.reshape(image.shape).astype(np.float32)
        recorder.add(total, raw, count, recorder.elapsed())
        recorder.report(lambda: good)
        if recorder.stopped:
            raise _Stop

    start = good.astype(np.float64).ravel()
    options = {
        "maxiter": steps,
        "maxfun": int(np.ceil(steps * recipe.evaluations_per_step)),
        "maxcor": recipe.history_size,
    }
    with contextlib.suppress(_Stop):
        accept(start)
        if steps:
            minimize(
                value_and_gradient,
                start,
                jac=True,
                method="L-BFGS-B",
                bounds=np.tile([0.0, 1.0], (start.size, 1)),
                callback=accept,
                options=options,
            )
    return jnp.asarray(good)
