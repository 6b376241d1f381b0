"""Times one step of either route, and one forward pass.

Usage: python benchmarks/step.py [--works pixels paint train] [--sizes 256 512] [--networks vgg19]
       [--optimizers adam lbfgs] [--tiles 0] [--batches 4] [--devices 1] [--precisions float32]
       [--steps 20] [--json FILE]

    pixels  a step of the pixel route on an N×N picture, by optimiser, loss network and rows of
            a tile (0: untiled)
    paint   a forward pass of each design of style network
    train   a training step of the default recipe, by batch and number of devices

Each configuration runs in a process of its own, so that its peak memory is its own: the device's
where the device counts it, the process's resident memory otherwise. A step of L-BFGS evaluates the
objective several times; the table says how often on average. Steps on pixels run in chunks of five,
in a real run of up to 64, and each time is the mean over a chunk. `gflop` is what the convolutions
and products of a step, or of one evaluation, take by direct algorithms, and `share` that over the
time, as a share of what the device reaches in a product of two large matrices: algorithms that
need fewer operations can take it over 1. More devices than one are made of the same cores on a CPU;
elsewhere they must be there.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from inspect import unwrap
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from measuring import (
    clock,
    direct_gflop,
    find_weights,
    peak_gflops,
    peak_memory,
    save_json,
    smooth_pictures,
)

from nstjax import objective
from nstjax.errors import NstjaxError
from nstjax.fast import Architecture, get_training_recipe
from nstjax.fast.network import init_params, paint_clipped
from nstjax.fast.parallel import make_parallel_step, replicate, shard
from nstjax.fast.settings import DESIGNS
from nstjax.fast.train import objective_of
from nstjax.fast.trainer import init_state as first_training_state
from nstjax.fast.trainer import make_step
from nstjax.gatys.chunk import evaluate_picture, run_chunk
from nstjax.gatys.steps import first_state, rates_of
from nstjax.recipes import get_recipe
from nstjax.settings import OPTIMIZERS, PRECISIONS, override
from nstjax.vgg.layers import CONVOLUTIONS

RECIPES = {"pixels": "tensorflow", "train": "nstjax"}
CHUNK_STEPS = 5
ARCHITECTURES = {name: Architecture(design=name) for name in DESIGNS}
COLUMNS = (
    *("work", "variant", "size", "tile", "batch", "devices", "precision", "compile_s", "median_s"),
    *("min_s", "max_s", "evaluations", "gflop", "share", "peak_mib"),
)


class Job(NamedTuple):
    """Something to time.

    Attributes:
        run: does `steps` of it; may return anything.
        steps: of one run.
        compile_s: what compiling it took.
        gflop: of one step, or one evaluation.
        evaluations: how often a step evaluates the objective, asked for at the end.
    """

    run: Callable[[], Any]
    steps: int
    compile_s: float
    gflop: float
    evaluations: Callable[[], float] = lambda: 1.0


def main() -> None:
    """Reads the command line, measures every combination and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--works", nargs="+", default=list(MAKERS), choices=list(MAKERS))
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512], help="pixels a side")
    parser.add_argument("--networks", nargs="+", default=["vgg19"], choices=list(CONVOLUTIONS))
    # SciPy drives L-BFGS-B from the host, one evaluation at a time: it has no step to time.
    choices = [name for name in OPTIMIZERS if name != "lbfgs-b"]
    parser.add_argument("--optimizers", nargs="+", default=["adam", "lbfgs"], choices=choices)
    parser.add_argument("--tiles", type=int, nargs="+", default=[0], help="rows; 0: untiled")
    parser.add_argument("--batches", type=int, nargs="+", default=[4], help="of training")
    parser.add_argument("--devices", type=int, nargs="+", default=[1], help="for training")
    parser.add_argument("--precisions", nargs="+", default=["float32"], choices=PRECISIONS)
    parser.add_argument("--steps", type=int, default=20, help="timed steps (default: 20)")
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
    os.environ.pop("JAX_COMPILATION_CACHE_DIR", None)  # each compiles what it measures
    results = []
    print_row(COLUMNS)
    for setting in settings_of(options):
        result = in_own_process(setting)
        results.append(result)
        print_row([result[name] for name in COLUMNS])
    if options.json:
        save_json(options.json, recipes=RECIPES, results=results)


def settings_of(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Every combination that the command line asks for."""
    variants = {
        "pixels": [f"{n} {o}" for n, o in product(options.networks, options.optimizers)],
        "paint": list(ARCHITECTURES),
        "train": ["nstjax"],
    }
    found = []
    for work in options.works:
        training = work == "train"
        for variant, size, tile, batch, devices, precision in product(
            variants[work],
            options.sizes,
            options.tiles if work == "pixels" else [0],
            options.batches if training else [1],
            options.devices if training else [1],
            options.precisions,
        ):
            values = (work, variant, size, tile, batch, devices, precision)
            found.append(dict(zip(COLUMNS, values, strict=False)) | {"steps": options.steps})
    return found


def print_row(cells: Sequence[str | float]) -> None:
    """Prints one line of the table, at once."""
    texts = [f"{cell:.4g}" if isinstance(cell, float) else str(cell) for cell in cells]
    widths = [max(9, len(name)) for name in COLUMNS]
    widths[1] = 12
    print(*(f"{t:>{w}}" for t, w in zip(texts, widths, strict=True)), flush=True)


def in_own_process(setting: dict[str, Any]) -> dict[str, Any]:
    """Measures one configuration in a new process."""
    command = [sys.executable, __file__, "--one", json.dumps(setting)]
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if run.returncode:
        sys.exit(f"failed with {setting}")
    return json.loads(run.stdout)


def measure(setting: dict[str, Any]) -> dict[str, Any]:
    """Compiles one configuration and times its steps, run by run."""
    if setting["devices"] > 1:
        jax.config.update("jax_num_cpu_devices", setting["devices"])  # of no effect elsewhere
    if setting["work"] == "train" and jax.device_count() != setting["devices"]:
        raise NstjaxError(f"there are {jax.device_count()} devices, not {setting['devices']}")
    job = MAKERS[setting["work"]](setting)
    clock(job.run)  # to warm up
    seconds = [clock(job.run) / job.steps for _ in range(max(1, setting["steps"] // job.steps))]
    memory = peak_memory()
    median = statistics.median(seconds)
    evaluations, peak = job.evaluations(), peak_gflops(setting["precision"])
    if jax.default_backend() != "cpu":  # whose devices share the cores
        peak *= setting["devices"]
    return {
        **setting,
        "steps": len(seconds) * job.steps,
        "compile_s": job.compile_s,
        "median_s": median,
        "min_s": min(seconds),
        "max_s": max(seconds),
        "evaluations": evaluations,
        "gflop": job.gflop,
        "peak_gflops": peak,
        "share": job.gflop * evaluations / median / peak,
        **memory,
    }


def compiled(function: Any, *arguments: Any) -> tuple[Any, float]:
    """A program for these arguments, and the seconds its compilation took."""
    begin = time.perf_counter()
    return function.lower(*arguments).compile(), time.perf_counter() - begin


def pixels(setting: dict[str, Any]) -> Job:
    """Chunks of steps on a picture."""
    network, optimizer = setting["variant"].split()
    recipe = override(
        get_recipe(RECIPES["pixels"]),
        network=network,
        optimizer=optimizer,
        precision=setting["precision"],
        tile=setting["tile"] or None,
    )
    content, style = jnp.asarray(smooth_pictures(2, setting["size"], setting["size"]))[:, None]
    weights = find_weights(recipe.network)
    params = objective.network_params(recipe, weights)
    structure, inputs = objective.prepare(recipe, weights.preprocessing, params, content, style)
    rates, count = rates_of(recipe), min(setting["steps"], CHUNK_STEPS)
    state = first_state(recipe, content * recipe.pixel_range, rates)
    program, compile_s = compiled(
        run_chunk,
        *(structure, recipe.optimizer, inputs, rates, state, jnp.int32(count)),
    )
    # What tiles compute again is no work that anybody asked for.
    untiled = dataclasses.replace(structure, tile=None)
    gflop = direct_gflop(partial(unwrap(evaluate_picture), untiled), inputs, content)
    state, _ = program(inputs, rates, state, jnp.int32(1))  # the start's evaluation
    steps = 0

    def run() -> jax.Array:
        nonlocal state, steps
        state, _ = program(inputs, rates, state, jnp.int32(count))
        steps += count
        return state.total

    def evaluations() -> float:
        if not jnp.isfinite(state.total):
            raise NstjaxError("the objective became infinite or NaN: time fewer steps")
        return (int(state.evaluations) - 1) / steps

    return Job(run, count, compile_s, gflop, evaluations)


def paint(setting: dict[str, Any]) -> Job:
    """Forward passes, there and back to the host."""
    architecture = ARCHITECTURES[setting["variant"]]
    params = init_params(architecture, jax.random.key(0))
    picture = smooth_pictures(1, setting["size"], setting["size"])
    program, compile_s = compiled(
        paint_clipped, architecture, setting["precision"], params, picture
    )
    gflop = direct_gflop(
        partial(unwrap(paint_clipped), architecture, setting["precision"]), params, picture
    )
    return Job(lambda: np.asarray(program(params, picture)), 1, compile_s, gflop)


def train(setting: dict[str, Any]) -> Job:
    """Training steps on one batch of pictures."""
    recipe = override(
        get_training_recipe(RECIPES["train"]),
        batch_size=setting["batch"],
        precision=setting["precision"],
    )
    size, batch = setting["size"], setting["batch"]
    *photographs, style = smooth_pictures(batch + 1, size, size)
    photographs = np.stack(photographs)
    structure, inputs = objective_of(recipe, find_weights(recipe.network), style[None])
    step, state = make_parallel_step(recipe, structure), first_training_state(recipe)
    gflop = direct_gflop(make_step(recipe, structure), state, photographs, inputs)
    copies, go_on = replicate(inputs), np.zeros(setting["devices"], np.float32)
    state = replicate(state)

    def run() -> jax.Array:
        nonlocal state
        state, metrics = step(state, shard(photographs), copies, go_on)
        return metrics["total"]

    first, second = clock(run), clock(run)
    return Job(run, 1, first - second, gflop)


MAKERS = {"pixels": pixels, "paint": paint, "train": train}

if __name__ == "__main__":
    main()
