"""Training on several devices, of one or more processes: all code that knows of them.

What is replicated, or sharded, has one leading axis: this process's devices.
"""

from collections import Counter
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeVar

import jax
import numpy as np
from jaxtyping import Float

from nstjax.errors import NstjaxError
from nstjax.fast.settings import TrainingRecipe
from nstjax.fast.trainer import Metrics, State, make_step
from nstjax.objective import Inputs, Structure
from nstjax.ops import compiler_options, tidy_after_compilations
from nstjax.ops.choice import own_algorithms_allowed
from nstjax.settings import override

_AXIS = "devices"
Tree = TypeVar("Tree")
ParallelMetrics = dict[str, Float[jax.Array, "..."]]
ParallelStep = Callable[[State, Any, Inputs, Any], tuple[State, ParallelMetrics]]


def connect(coordinator: str | None, num_processes: int | None, process_id: int | None) -> None:
    """Joins the processes that train together; to be called before anything else of JAX.

    Args:
        coordinator: HOST:PORT of process 0; None on a cluster whose environment tells.
        num_processes: how many there are, likewise.
        process_id: which one this is, from 0, likewise.

    Raises:
        NstjaxError: if they cannot connect.
    """
    try:
        jax.distributed.initialize(coordinator, num_processes, process_id)
    except (RuntimeError, ValueError) as error:
        raise NstjaxError(
            f"the processes did not find together ({error}): give each the same --coordinator "
            "HOST:PORT and --num-processes N, and its own --process-id from 0 to N - 1"
        ) from error


def check_batch_size(batch_size: int) -> None:
    """Checks that a batch can be divided evenly among the processes, and among their devices.

    Args:
        batch_size: over all devices.

    Raises:
        NstjaxError: if it cannot.
    """
    # Of all processes, in each of them: where only some refused, the others would wait for them.
    counts = Counter(device.process_index for device in jax.devices())
    if len(set(counts.values())) > 1:
        listed = ", ".join(str(counts[process]) for process in sorted(counts))
        raise NstjaxError(
            f"the processes have {listed} devices, and train on equal shares of each batch: start "
            "them with as many devices each"
        )
    devices = counts.total()
    if batch_size % devices:
        more = -(-batch_size // devices) * devices
        raise NstjaxError(
            f"a batch of {batch_size} cannot be shared by {devices} devices: "
            f"use --batch-size {more}"
        )


def replicate(tree: Tree) -> Tree:
    """Copies arrays to every device of this process."""
    return _copies(np.zeros(jax.local_device_count()), tree)


@partial(jax.pmap, axis_name=_AXIS, in_axes=(0, None))
def _copies(_: Any, tree: Tree) -> Tree:
    return tree


def shard(batch: Float[np.ndarray, "n h w c"]) -> Any:
    """Divides a process's part of a batch among its devices, and sends it there."""
    count = jax.local_device_count()
    mesh = jax.sharding.Mesh(jax.local_devices(), _AXIS)
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(_AXIS))
    return jax.device_put(batch.reshape(count, -1, *batch.shape[1:]), sharding)


def unreplicate(tree: Tree) -> Tree:
    """Copies a replicated tree to the host, once."""
    ours = jax.tree.map(lambda leaf: leaf.addressable_shards[0].data, tree)
    # All leaves at once: one by one, each would wait for the device.
    return jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[1:]), jax.device_get(ours))


def make_parallel_step(recipe: TrainingRecipe, structure: Structure) -> ParallelStep:
    """Makes the step that all devices do together.

    Args:
        recipe: the settings.
        structure: of the objective.

    Returns:
        As `make_step`, of replicated state and numbers and a sharded batch; and of a number per
        device, 0 unless its process wants to stop, of which the metrics hold the greatest as
        `stop`, so that all processes stop after the same step.
    """
    # So that a run that goes on for longer, or with other data, reuses the compiled program.
    steps = recipe.steps if recipe.decay == "cosine" else 1
    recipe = override(recipe, steps=steps, epochs=None, seed=0)
    return _compiled_once(recipe, structure, own_algorithms_allowed())


@lru_cache(maxsize=4)
def _compiled_once(
    recipe: TrainingRecipe,
    structure: Structure,
    _own_algorithms: bool,  # as the program is traced, and the loss network's kernels prepared
) -> ParallelStep:
    tidy_after_compilations()
    step = make_step(recipe, structure, axis_name=_AXIS)

    @partial(jax.pmap, axis_name=_AXIS, donate_argnums=0)
    def parallel_step(state: State, batch: Any, inputs: Inputs, stop: Any) -> tuple[State, Metrics]:
        state, metrics = step(state, batch, inputs)
        return state, {**metrics, "stop": jax.lax.pmax(stop, _AXIS)}

    # A function from `pmap` handles each of some 300 arrays in Python, and has no compiler options.
    # Compiling ahead of time avoids both, but several processes cannot call the result: it expects
    # the arrays of all of them.
    if jax.process_count() > 1:
        return parallel_step
    program = None

    def compiled_step(*arguments: Any) -> tuple[State, ParallelMetrics]:
        nonlocal program
        if program is None:  # all steps have arguments of the same shapes
            program = parallel_step.lower(*arguments).compile(compiler_options())
        return program(*arguments)

    return compiled_step
