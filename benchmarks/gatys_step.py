"""Times one step of the pixel route.

Usage: python benchmarks/gatys_step.py [--sizes 128 256] [--networks vgg19] [--precisions float32]
       [--optimizers adam lbfgs] [--steps 25] [--json FILE]

Each configuration runs in a process of its own, so that its peak memory is its own: the device's
where the device counts it, the process's resident memory otherwise. A step of L-BFGS evaluates the
objective several times; the table says how often on average. Steps run in chunks of five, in a real
run of up to 64, and each time is the mean over a chunk. The pictures are square, of seeded noise:
how long an evaluation takes does not depend on what they show.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from measuring import save_json

from nstjax import objective
from nstjax.errors import NstjaxError
from nstjax.gatys.chunk import run_chunk
from nstjax.gatys.steps import State, first_state, rates_of
from nstjax.images import resize_image
from nstjax.recipes import get_recipe
from nstjax.settings import OPTIMIZERS, PRECISIONS, Recipe, override
from nstjax.vgg import Weights, load_weights
from nstjax.vgg.layers import CONVOLUTIONS, kernel_shapes

RECIPE = "tensorflow"
CHUNK_STEPS = 5
COLUMNS = (
    *("network", "size", "precision", "optimizer", "weights", "compile_s"),
    *("median_s", "min_s", "max_s", "evaluations_per_step", "peak_mib"),
)


def main() -> None:
    """Reads the command line, measures every combination and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256], help="pixels a side")
    parser.add_argument("--networks", nargs="+", default=["vgg19"], choices=list(CONVOLUTIONS))
    parser.add_argument("--precisions", nargs="+", default=["float32"], choices=PRECISIONS)
    # SciPy drives L-BFGS-B from the host, one evaluation at a time: it has no step to time.
    choices = [name for name in OPTIMIZERS if name != "lbfgs-b"]
    parser.add_argument("--optimizers", nargs="+", default=["adam", "lbfgs"], choices=choices)
    parser.add_argument("--steps", type=int, default=25, help="timed steps (default: 25)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        try:
            print(json.dumps(measure(json.loads(options.one))))
        except NstjaxError as error:
            sys.exit(str(error))
        return
    if options.steps < 1:
        parser.error("--steps must be at least 1")
    settings = [
        {"network": n, "size": s, "precision": p, "optimizer": o, "steps": options.steps}
        for n in options.networks
        for s in options.sizes
        for p in options.precisions
        for o in options.optimizers
    ]
    results = []
    print_row(COLUMNS)
    for setting in settings:
        result = in_own_process(setting)
        results.append(result)
        print_row([result[name] for name in COLUMNS])
    if options.json:
        save_json(options.json, recipe=RECIPE, results=results)


def print_row(cells: Sequence[str | float]) -> None:
    """Prints one line of the table, at once."""
    texts = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells]
    widths = [max(9, len(name)) for name in COLUMNS]
    print(*(f"{t:>{w}}" for t, w in zip(texts, widths, strict=True)), flush=True)


def in_own_process(setting: dict[str, Any]) -> dict[str, Any]:
    """Measures one configuration in a new process."""
    command = [sys.executable, __file__, "--one", json.dumps(setting)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        sys.exit(f"failed with {setting}")
    return json.loads(run.stdout)


def measure(setting: dict[str, Any]) -> dict[str, Any]:
    """Compiles one configuration and times its steps, chunk by chunk."""
    recipe = override(get_recipe(RECIPE), **setting)
    weights = find_weights(recipe.network)
    structure = objective.structure_of(recipe, weights.preprocessing)
    inputs, content = inputs_of(recipe, weights)
    rates, count = rates_of(recipe), min(recipe.steps, CHUNK_STEPS)
    state = first_state(recipe, content * recipe.pixel_range, rates)
    begin = time.perf_counter()
    lowered = run_chunk.lower(
        structure, recipe.optimizer, recipe.history_size, inputs, rates, state, jnp.int32(count)
    )
    compiled = lowered.compile()
    compile_s = time.perf_counter() - begin

    def chunk(state: State) -> State:
        return jax.block_until_ready(compiled(inputs, rates, state, jnp.int32(count))[0])

    state = chunk(state)  # the start's evaluation, and to warm up
    before = int(state.evaluations)
    seconds = []
    for _ in range(recipe.steps // count):
        begin = time.perf_counter()
        state = chunk(state)
        seconds.append((time.perf_counter() - begin) / count)
    if not jnp.isfinite(state.total):
        raise NstjaxError("the objective became infinite or NaN: time fewer steps")
    timed = len(seconds) * count
    return {
        **setting,
        "steps": timed,
        "weights": weights.sha256[:8],
        "device": jax.devices()[0].device_kind,
        "compile_s": compile_s,
        "median_s": statistics.median(seconds),
        "min_s": min(seconds),
        "max_s": max(seconds),
        "evaluations_per_step": (int(state.evaluations) - before) / timed,
        **peak_memory(),
    }


def find_weights(network: str) -> Weights:
    """Real weights if they are on this machine, seeded random ones otherwise."""
    os.environ["NSTJAX_OFFLINE"] = "1"
    try:
        return load_weights(network)
    except NstjaxError:
        rng = np.random.default_rng(0)
        params = {
            layer: {
                "kernel": rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype("float32"),
                "bias": np.zeros(shape[-1], np.float32),
            }
            for layer, shape in kernel_shapes(network).items()
        }
        return Weights(network, "caffe", params, top=False, sha256="random")


def inputs_of(recipe: Recipe, weights: Weights) -> tuple[objective.Inputs, jax.Array]:
    """The numbers of an objective between two smooth pictures of noise, and the first of them."""
    noise = np.random.default_rng(0).random((2, 1, 8, 8, 3), np.float32)
    content, style = (
        jnp.asarray(resize_image(coarse, recipe.size, recipe.size)) for coarse in noise
    )
    structure = objective.structure_of(recipe, weights.preprocessing)
    params = objective.network_params(recipe, weights)
    targets = objective.Targets(
        objective.content_targets(structure, params, content),
        objective.style_targets(structure, params, style),
    )
    return objective.Inputs(params, targets, objective.weights_of(recipe)), content


def peak_memory() -> dict[str, Any]:
    """The peak memory of this process so far, in MiB, and whose memory that is."""
    stats = jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return {"peak_mib": stats["peak_bytes_in_use"] / 2**20, "peak_of": "device"}
    import resource  # absent on Windows

    unit = 1 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"peak_mib": peak / 2**20, "peak_of": "process"}


if __name__ == "__main__":
    main()
