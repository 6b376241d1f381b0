"""Times 3×3 convolutions by algorithm: what `nstjax.ops.convolution` chooses from.

Usage: python benchmarks/convolutions.py [--grid] [--passes forward picture kernel] [--repeats 9]
       [--json FILE]

Without options, the layers of VGG on a picture of 256×192 and on a batch of four of 256×256, and
the residual blocks of a feed-forward network that trains on the latter; with --grid, each pair of
channels at a range of sizes, from which the table of choices is made. Each cell of the table is
milliseconds of direct, whole Winograd (all tiles at once) and Winograd by strips, the median of
calls in turn, and the ratio of direct to strips. `forward` is a convolution and `picture` one with
the gradient with respect to its input, both in compiled loops, as they are used; `kernel` is the
gradient with respect to the kernel alone.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from measuring import save_json

from nstjax.ops import winograd
from nstjax.ops.direct import direct, direct_kernel_gradient, turned

Shape = tuple[int, int, int, int, int]  # N, H, W, I, O
# VGG's layers by the halvings of the picture before them, and their channels.
LAYERS = (
    *((0, 3, 64), (0, 64, 64), (1, 64, 128), (1, 128, 128), (2, 128, 256), (2, 256, 256)),
    *((3, 256, 512), (3, 512, 512), (4, 512, 512)),
)
PICTURES = ((1, 256, 192), (4, 256, 256))
RESIDUAL = (4, 64, 64, 128, 128)
ALGORITHMS = ("direct", "whole", "strips")
LOOP = 4


def main() -> None:
    """Reads the command line, measures every shape and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="timed calls (default: 9)")
    parser.add_argument("--grid", action="store_true", help="channels by sizes, for the choices")
    parser.add_argument("--passes", nargs="+", default=list(PASS), choices=list(PASS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    heads = [f"{name} (ms: {', '.join(ALGORITHMS)}; ratio)" for name in options.passes]
    print(f"{'shape':20}", *(f"{head:>46}" for head in heads), f"{'compile_s':>20}")
    results = []
    for shape in grid() if options.grid else layers():
        result = measure(shape, options.passes, options.repeats)
        results.append(result)
        print_row(result)
    if options.json:
        save_json(options.json, results=results)


def layers() -> list[Shape]:
    """The convolutions of VGG and of the residual blocks."""
    vgg = [(n, h >> k, w >> k, i, o) for n, h, w in PICTURES for k, i, o in LAYERS]
    return [*vgg, RESIDUAL]


def grid() -> list[Shape]:
    """Each pair of channels from few positions to many."""
    pairs = ((16, 16), (32, 32), *(layer[1:] for layer in LAYERS[1:-1]))
    return [(1, side, side, i, o) for i, o in pairs for side in (8, 12, 16, 24, 32, 64)]


def measure(shape: Shape, passes: list[str], repeats: int) -> dict[str, Any]:
    """Median seconds by pass and algorithm, and how long both take to compile."""
    n, h, w, i, o = shape
    rng = np.random.default_rng(0)
    sizes = ((n, h, w, i), (3, 3, i, o), (n, h, w, o))
    arrays = [jnp.asarray(rng.standard_normal(size, np.float32)) for size in sizes]
    compiled, result = {}, {"shape": shape, "compile_s": dict.fromkeys(ALGORITHMS, 0.0)}
    for name in passes:
        for algorithm in ALGORITHMS:
            begin = time.perf_counter()
            compiled[name, algorithm] = compile_pass(name, algorithm, arrays)
            result["compile_s"][algorithm] += time.perf_counter() - begin
    seconds = {key: [] for key in compiled}
    for repeat in range(repeats + 1):
        for key, run in compiled.items():
            begin = time.perf_counter()
            jax.block_until_ready(run(*arrays))
            if repeat:  # the first is to warm up
                seconds[key].append(
                    (time.perf_counter() - begin) / (1 if key[0] == "kernel" else LOOP)
                )
    for name in passes:
        medians = {a: statistics.median(seconds[name, a]) for a in ALGORITHMS}
        pairs = zip(seconds[name, "direct"], seconds[name, "strips"], strict=True)
        result[name] = {**medians, "ratio": statistics.median(a / b for a, b in pairs)}
    return result


def compile_pass(name: str, algorithm: str, arrays: list[Array]) -> Callable[..., Any]:
    """A pass, or several in a loop, each waiting for the one before."""

    def loop(x: Array, kernel: Array, gradient: Array) -> Any:
        def body(_: int, before: list[Array]) -> list[Array]:
            # As good as nothing, but compilation cannot know.
            wait = sum(array.ravel()[0] for array in before) * 1e-30
            return PASS[name](algorithm, x + wait, kernel, gradient + wait)

        shapes = jax.eval_shape(body, 0, [])
        zeros = [jnp.zeros(shape.shape, shape.dtype) for shape in shapes]
        return jax.lax.fori_loop(0, LOOP, body, zeros)

    size = winograd.STRIP_BYTES
    try:
        winograd.STRIP_BYTES = 2**60 if algorithm == "whole" else size
        # Steps on a picture run in a compiled loop, steps of training do not.
        function = partial(PASS[name], algorithm) if name == "kernel" else loop
        return jax.jit(function).lower(*arrays).compile()
    finally:
        winograd.STRIP_BYTES = size


def forward(algorithm: str, x: Array, kernel: Array, gradient: Array) -> list[Array]:
    """The convolution."""
    if algorithm == "direct":
        return [direct(x, kernel, pad=1)]
    return [winograd.convolve(x, winograd.transform_kernel(kernel), 1)]


def picture(algorithm: str, x: Array, kernel: Array, gradient: Array) -> list[Array]:
    """The convolution, and its gradient with respect to the picture."""
    if algorithm == "direct":
        return [direct(x, kernel, pad=1), direct(gradient, turned(kernel), pad=1)]
    transformed = winograd.transform_kernel(kernel)
    back = winograd.convolve(gradient, transformed, 1, turned=True)
    return [winograd.convolve(x, transformed, 1), back]


def kernel_alone(algorithm: str, x: Array, kernel: Array, gradient: Array) -> list[Array]:
    """The gradient with respect to the kernel."""
    if algorithm == "direct":
        return [direct_kernel_gradient(x, gradient, pad=1)]
    return [winograd.kernel_gradient(x, gradient, 1)]


PASS = {"forward": forward, "picture": picture, "kernel": kernel_alone}


def print_row(result: dict[str, Any]) -> None:
    """Prints one line of the table, at once."""
    cells = [f"{'×'.join(map(str, result['shape'])):20}"]
    for name in (name for name in PASS if name in result):
        times = "".join(f"{result[name][a] * 1e3:10.2f}" for a in ALGORITHMS)
        cells.append(f"{times + format(result[name]['ratio'], '10.2f'):>46}")
    compile_s = "".join(f"{result['compile_s'][a]:6.2f}" for a in ALGORITHMS)
    print(*cells, f"{compile_s:>20}", flush=True)


if __name__ == "__main__":
    main()
