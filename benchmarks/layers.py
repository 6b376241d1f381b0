"""Times the algorithms of each layer: XLA's own beside this package's.

Usage: python benchmarks/layers.py [--grid] [--passes forward picture kernel] [--repeats 9]
       [--json FILE]

Without options, the convolutions of VGG19 on a picture of 256×256, and the layers of
Johnson's network on one of 512×512; with --grid, 3×3 convolutions of each pair of channels at a
range of sizes, from which the table of choices in `nstjax/ops/convolution.py` is made. Of each pass
the milliseconds of XLA's algorithm, of this package's with XLA's options (defaults), and of
this package's with the options it compiles with (own, see `nstjax.ops.compiler_options`), medians
of calls in turn; and the ratio of the first to the last: over 1, this package's is faster.
`forward` is the layer and `picture` also its gradient with respect to its input, both in compiled
loops, as steps on a picture use them; `kernel` is the gradient with respect to the kernel, where
one is trained. What is chosen is marked: where XLA's is, this package's is timed all the same.
"""

import argparse
import os
import statistics
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from measuring import clock, save_json

from nstjax.ops import (
    compiler_options,
    conv3x3,
    conv3x3_stride2,
    conv_few_inputs,
    conv_few_outputs,
    convolution,
    transform_frozen,
    transposed_conv3x3,
    upsample_conv3x3,
)
from nstjax.ops.convolution import Transformed
from nstjax.vgg.layers import kernel_shapes

# How often a program does a pass. The gradient with respect to kernels is timed outside loops, in
# which XLA's own is many times slower.
LOOPS = {"forward": 4, "picture": 4, "kernel": 1}
ALGORITHMS = ("direct", "defaults", "own")


class Layer(NamedTuple):
    """A layer at work: a function of a picture and a kernel, and their shapes.

    Attributes:
        name: in its network.
        function: of the picture, the kernel, and what `transform_frozen` makes of that.
        x: the picture's shape.
        kernel: the kernel's.
        trained: whether the kernel is.
    """

    name: str
    function: Callable[[Array, Array, Any], Array]
    x: tuple[int, ...]
    kernel: tuple[int, ...]
    trained: bool = True


def plain(function: Callable[[Array, Array], Array]) -> Callable[[Array, Array, Any], Array]:
    """A layer's function that has no use for a transformed kernel."""
    return lambda x, kernel, transformed: function(x, kernel)


def same(x: Array, kernel: Array, transformed: Transformed | None) -> Array:
    """VGG's convolution."""
    return conv3x3(x, kernel, transformed=transformed)


def valid(x: Array, kernel: Array, transformed: Transformed | None) -> Array:
    """The style networks'."""
    return conv3x3(x, kernel, padding="VALID", transformed=transformed)


def main() -> None:
    """Reads the command line, measures every layer and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeats", type=int, default=9, help="timed calls (default: 9)")
    parser.add_argument("--grid", action="store_true", help="channels by sizes, for the choices")
    parser.add_argument("--passes", nargs="+", default=list(LOOPS), choices=list(LOOPS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    if options.repeats < 1:
        parser.error("--repeats must be at least 1")
    heads = "".join(
        f"{f'{name}: direct, defaults, own (ms), ratio':>46}" for name in options.passes
    )
    print(f"{'layer':16}{'input':>20}{'chosen':>8}{heads}")
    results = []
    for layer in grid() if options.grid else layers():
        result = measure(layer, options.passes, options.repeats)
        results.append(result)
        print_row(result, options.passes)
    if options.json:
        save_json(options.json, results=results)


def layers() -> Iterator[Layer]:
    """The layers of VGG19 and of Johnson's network."""
    for name, kernel in kernel_shapes("vgg19").items():
        block = int(name[len("block")])
        if name <= "block5_conv1" and (name <= "block3_conv2" or name.endswith(("1", "2"))):
            side = 256 >> (block - 1)
            yield Layer(name, same, (1, side, side, kernel[2]), kernel, False)
    yield Layer("conv1", plain(conv_few_inputs), (1, 520, 520, 3), (9, 9, 3, 32))
    yield Layer("conv2", plain(conv3x3_stride2), (1, 514, 514, 32), (3, 3, 32, 64))
    yield Layer("conv3", plain(conv3x3_stride2), (1, 258, 258, 64), (3, 3, 64, 128))
    yield Layer("residual", valid, (1, 130, 130, 128), (3, 3, 128, 128))
    yield Layer("up1", plain(upsample_conv3x3), (1, 128, 128, 128), (3, 3, 128, 64))
    yield Layer("up2", plain(upsample_conv3x3), (1, 256, 256, 64), (3, 3, 64, 32))
    yield Layer("up1, transpose", plain(transposed_conv3x3), (1, 128, 128, 128), (3, 3, 128, 64))
    yield Layer("up2, transpose", plain(transposed_conv3x3), (1, 256, 256, 64), (3, 3, 64, 32))
    yield Layer("output", plain(conv_few_outputs), (1, 520, 520, 32), (9, 9, 32, 3))


def grid() -> Iterator[Layer]:
    """Each pair of channels from few positions to many."""
    pairs = {shape[2:] for shape in kernel_shapes("vgg19").values()} - {(3, 64)}
    for i, o in sorted({(16, 16), (32, 32)} | pairs):
        for side in (8, 12, 16, 24, 32, 64):
            yield Layer(f"{i} to {o}", same, (1, side, side, i), (3, 3, i, o))


@contextmanager
def only(algorithm: str) -> Iterator[None]:
    """Traces nothing but one algorithm."""
    choices, setting = dict(convolution.WINOGRAD_FROM), os.environ.get("NSTJAX_CONV")
    try:
        if algorithm == "direct":
            os.environ["NSTJAX_CONV"] = "direct"
        else:
            os.environ.pop("NSTJAX_CONV", None)
            convolution.WINOGRAD_FROM.update({1: 1})
        jax.clear_caches()
        yield
    finally:
        convolution.WINOGRAD_FROM.clear()
        convolution.WINOGRAD_FROM.update(choices)
        os.environ.pop("NSTJAX_CONV", None)
        if setting is not None:
            os.environ["NSTJAX_CONV"] = setting


def measure(layer: Layer, passes: list[str], repeats: int) -> dict[str, Any]:
    """Median seconds by pass and algorithm."""
    rng = np.random.default_rng(0)
    x, kernel = (
        jnp.asarray(rng.standard_normal(size, np.float32)) for size in (layer.x, layer.kernel)
    )
    chosen = layer.function not in (same, valid) or convolution.winograd_pays(x, kernel, 1)
    programs = {}
    for name in passes:
        if name == "kernel" and not layer.trained:
            continue
        for algorithm in ALGORITHMS:
            with only(algorithm):
                options = {} if algorithm == "defaults" else compiler_options()
                programs[name, algorithm] = program(layer, name, x, kernel, options)
    seconds = {key: [] for key in programs}
    for repeat in range(repeats + 1):
        for key, run in programs.items():
            taken = clock(run) / LOOPS[key[0]]
            if repeat:  # the first is to warm up
                seconds[key].append(taken)
    result = {"layer": layer.name, "x_shape": layer.x, "kernel_shape": layer.kernel}
    result["chosen"] = "own" if chosen else "direct"
    for name in {name for name, _ in programs}:
        medians = {a: statistics.median(seconds[name, a]) for a in ALGORITHMS}
        pairs = zip(seconds[name, "direct"], seconds[name, "own"], strict=True)
        result[name] = {**medians, "ratio": statistics.median(a / b for a, b in pairs)}
    return result


def program(
    layer: Layer, name: str, x: Array, kernel: Array, options: dict[str, Any]
) -> Callable[[], Any]:
    """A pass, several times in a loop, each waiting for the one before."""
    frozen = layer.function is same and not layer.trained
    transformed = transform_frozen({name: kernel}).get(name) if frozen else None

    def once(x: Array, kernel: Array) -> Any:
        y, gradients = jax.vjp(lambda x, k: layer.function(x, k, transformed), x, kernel)
        if name == "forward":
            return (y,)
        for_x, for_kernel = gradients(y)
        return (y, for_x) if name == "picture" else (for_kernel,)

    def loop(x: Array, kernel: Array) -> Any:
        def body(_: int, before: Any) -> Any:
            # As good as nothing, but compilation cannot know.
            wait = sum(array.ravel()[0] for array in before) * 1e-30
            return once(x + wait, kernel)

        return jax.lax.fori_loop(0, LOOPS[name] - 1, body, once(x, kernel))

    compiled = jax.jit(loop).lower(x, kernel).compile(options)
    return lambda: compiled(x, kernel)


def print_row(result: dict[str, Any], passes: list[str]) -> None:
    """Prints one line of the table, at once."""
    cells = f"{result['layer']:16}{'×'.join(map(str, result['x_shape'])):>20}{result['chosen']:>8}"
    for name in passes:
        found = result.get(name)
        numbers = "–"
        if found:
            numbers = "".join(f"{found[a] * 1e3:10.2f}" for a in ALGORITHMS)
            numbers += f"{found['ratio']:8.2f}"
        cells += f"{numbers:>46}"
    print(cells, flush=True)


if __name__ == "__main__":
    main()
