"""The work in this package, by the programs that its two routes run.

In float32 or bfloat16; forward passes of Johnson's network or of this package's own; with the heap
tidied after compilations, as `nstjax.ops.heap` has it, or not.
"""

import dataclasses
import sys

import jax
import jax.numpy as jnp
import numpy as np
from work import Run, Work, serve

from nstjax import __version__, objective
from nstjax.fast.network import init_params, paint_clipped
from nstjax.fast.parallel import make_parallel_step, replicate, shard, unreplicate
from nstjax.fast.recipes import get_training_recipe
from nstjax.fast.settings import Architecture
from nstjax.fast.train import objective_of
from nstjax.fast.trainer import init_state
from nstjax.gatys.chunk import run_chunk
from nstjax.gatys.steps import first_state as first_pixels
from nstjax.gatys.steps import rates_of
from nstjax.ops import heap
from nstjax.recipes import get_recipe
from nstjax.settings import override
from nstjax.vgg import Weights

VARIANT = set(sys.argv[2:])  # of "subpixel", "bfloat16" and "untidied"
PRECISION = "bfloat16" if "bfloat16" in VARIANT else "float32"
if "untidied" in VARIANT:
    heap._LONG_COMPILATION = float("inf")


def weights_of(work: Work) -> Weights:
    """VGG19's weights."""
    return Weights("vgg19", "caffe", work.group("vgg"), top=False, sha256="0" * 64)


def params_of(work: Work) -> dict:
    """The style network's parameters."""
    return {name: arrays.get("value", arrays) for name, arrays in work.group("network").items()}


def pixels(work: Work) -> Run:
    """Steps of Adam on the picture, in one chunk."""
    recipe = override(get_recipe(work.settings["recipe"]), precision=PRECISION)
    weights = weights_of(work)
    content, style = (jnp.asarray(work.arrays[name]) for name in ("content", "style"))
    params = objective.network_params(recipe, weights)
    structure, inputs = objective.prepare(recipe, weights.preprocessing, params, content, style)
    rates, count = rates_of(recipe), jnp.int32(work.steps)
    state = first_pixels(recipe, content * recipe.pixel_range, rates)

    def chunk(steps: jax.Array) -> jax.Array:
        nonlocal state
        state, records = run_chunk(structure, recipe.optimizer, inputs, rates, state, steps)
        return records.total

    chunk(jnp.int32(1))  # a run begins by evaluating its start, which is no step

    # The others report the objective before a step, a chunk that after it.
    def run() -> float:
        before = float(state.total)
        totals = [before, *np.asarray(chunk(count))[: work.steps]]
        return float(totals[-2])

    return run


def paint(work: Work) -> Run:
    """Forward passes."""
    if "subpixel" in VARIANT:
        architecture = Architecture(design="subpixel")
        params = init_params(architecture, jax.random.key(0))
    else:
        architecture = Architecture(**work.settings["architecture"])
        params = jax.tree.map(jnp.asarray, params_of(work))
    image = jnp.asarray(work.arrays["content"])

    def run() -> float:
        pictures = [
            np.asarray(paint_clipped(architecture, PRECISION, params, image))
            for _ in range(work.steps)
        ]
        return float(pictures[-1].mean())

    return run


def train(work: Work) -> Run:
    """Steps of Adam on the network, on all devices."""
    batch = work.arrays["content"]
    recipe = dataclasses.replace(
        get_training_recipe(work.settings["recipe"]),
        architecture=Architecture(**work.settings["architecture"]),
        batch_size=len(batch),
        precision=PRECISION,
    )
    structure, inputs = objective_of(recipe, weights_of(work), work.arrays["style"])
    step = make_parallel_step(recipe, structure)
    state = replicate(init_state(recipe, params_of(work)))
    inputs, go_on = replicate(inputs), np.zeros(jax.local_device_count(), np.float32)

    def run() -> float:
        nonlocal state
        metrics = {}
        for _ in range(work.steps):
            state, metrics = step(state, shard(batch), inputs, go_on)
        return float(unreplicate(metrics)["total"])

    return run


def device_peak() -> int | None:
    """The most bytes that were taken of the device, where it counts them."""
    stats = jax.devices()[0].memory_stats()
    return stats["peak_bytes_in_use"] if stats else None


if __name__ == "__main__":
    serve(__version__, {"pixels": pixels, "paint": paint, "train": train}, device_peak)
