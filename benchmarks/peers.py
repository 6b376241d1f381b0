"""Times the same work here, in PyTorch and in TensorFlow, in turn on the same machine.

Usage: python benchmarks/peers.py [--works pixels-256 …] [--sides nstjax torch …] [--rounds 7]
       [--together] [--json FILE]

    pixels-N    a step of Adam on an N×N picture, the TensorFlow tutorial's objective on VGG19
    paint-WxH   a forward pass of Johnson's network, and here of the subpixel design too
    train-N     a step of Adam on Johnson's network, a batch of four N×N, recipe `vgg19`

The peers are written from the published recipes, in `benchmarks/sides`, and get the same weights
and pictures; that they compute the same is checked by the value each reports. Each side is a
process of its own. All are started, compiled and warm before the rounds; in a round each works
once (of training after a step that is not timed: what the others left in caches and memory is not
a training's), and a ratio is the median over the rounds of this package's time (of its first side)
over the other's in the same round, with the smallest and the largest. The peers come with
`pip install ".[bench]"`; those that are not there are left out. Memory is the peak of the whole
process, or of what it took of the GPU. On a GPU, which PyTorch and this package use where they find
one, float32's products are of TF32 in both; `--sides` also has sides that compute in bfloat16,
which is for GPUs; "nstjax, untidied", which leaves the heap as compilations leave it; and sides
with and without the huge pages of memory that this package's trainings ask for on Linux, and no
peer does. Where Linux gives them to all programs, or to none, these are the same.
`--together` starts all sides at once, for machines with cores enough: their first times then mean
little.
"""

import argparse
import dataclasses
import importlib.util
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from measuring import find_weights, save_json, smooth_pictures
from sides.work import Work

from nstjax.fast import Architecture, get_training_recipe
from nstjax.fast.network import init_params
from nstjax.launch import with_huge_pages
from nstjax.recipes import get_recipe
from nstjax.settings import ObjectiveSettings
from nstjax.vgg import Weights

OTHER_DESIGN = "nstjax, subpixel"  # does other work than the rest, and only paints
SIDES = {
    "nstjax": ("side_nstjax.py",),
    "nstjax, bfloat16": ("side_nstjax.py", "bfloat16"),
    "nstjax, untidied": ("side_nstjax.py", "untidied"),
    "nstjax, small pages": ("side_nstjax.py",),
    OTHER_DESIGN: ("side_nstjax.py", "subpixel"),
    "torch": ("side_torch.py",),
    "torch, channels last": ("side_torch.py", "channels_last"),
    "torch, channels last, huge pages": ("side_torch.py", "channels_last"),
    "torch, compiled": ("side_torch.py", "compile"),
    "torch, compiled, channels last": ("side_torch.py", "compile", "channels_last"),
    "torch, bfloat16": ("side_torch.py", "channels_last", "bfloat16"),
    "torch, compiled, bfloat16": ("side_torch.py", "compile", "channels_last", "bfloat16"),
    "tensorflow": ("side_tensorflow.py",),
    "tensorflow, huge pages": ("side_tensorflow.py",),
    "tensorflow, XLA": ("side_tensorflow.py", "compile"),
}
# This package's, and those of the others that may be the fastest.
DEFAULT_SIDES = (
    *("nstjax", OTHER_DESIGN),
    *("torch", "torch, channels last", "torch, compiled", "torch, compiled, channels last"),
    *("tensorflow", "tensorflow, XLA"),
)
WORKS = ("pixels-256", "pixels-512", "paint-512x512", "paint-1024x768", "train-256", "pixels-1024")
STEPS = {"pixels": 8, "paint": 2, "train": 1}  # in a round
# Of the values: what rounding makes of some steps, and far less than a mistake.
TOLERANCES = {"float32": 0.02, "bfloat16": 0.1}


class Side(NamedTuple):
    """A side at work, and what it said of the first time."""

    name: str
    process: subprocess.Popen
    first: dict[str, Any]

    @property
    def precision(self) -> str:
        """What it computes in."""
        return "bfloat16" if "bfloat16" in SIDES[self.name] else "float32"

    def ask(self) -> float:
        """Has it work once; the seconds of a step."""
        assert self.process.stdin
        self.process.stdin.write("again\n")
        self.process.stdin.flush()
        return answer(self.process, self.name)["seconds"]


def main() -> None:
    """Reads the command line, measures every piece of work and prints the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--works", nargs="+", default=list(WORKS), metavar="WORK")
    parser.add_argument("--sides", nargs="+", default=list(DEFAULT_SIDES), choices=list(SIDES))
    parser.add_argument("--rounds", type=int, default=7, help="timed rounds (default: 7)")
    parser.add_argument("--together", action="store_true", help="start all sides at once")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # the sides share a GPU's memory
    os.environ.setdefault("CUDA_VISIBLE_DEVICES", "0")  # one for all, as PyTorch's side takes one
    sides = present(sorted(options.sides, key=list(SIDES).index))  # this package's first
    if not sides or not sides[0].startswith("nstjax"):
        parser.error("--sides needs one of this package, which the others are compared with")
    results = []
    print("| work | side | step | ratio (spread) | first, with compilation | peak memory |")
    print("|---|---|---|---|---|---|")
    for name in options.works:
        for result in compare(name, sides, options):
            results.append(result)
            print_row(result)
    if options.json:
        peers = {row["side"].split(",")[0]: row["version"] for row in results}
        peers.pop("nstjax", None)  # its version is there already
        save_json(options.json, rounds=options.rounds, peers=peers, results=results)


def present(names: list[str]) -> list[str]:
    """Lists the sides that can run here; a word about the others."""
    found = []
    for name in names:
        library = name.split(",")[0]
        if not importlib.util.find_spec(library):
            print(f'{name} is left out: pip install ".[bench]"', file=sys.stderr)
        elif name.startswith("torch, compiled") and not shutil.which("g++"):
            print(f"{name} is left out: torch.compile needs g++", file=sys.stderr)
        else:
            found.append(name)
    return found


def compare(name: str, sides: list[str], options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measures one piece of work on all sides."""
    work = make_work(name)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        work.save(Path(folder))
        able = [side for side in sides if side != OTHER_DESIGN or work.kind == "paint"]
        started = ((side, start(side, work.kind, folder, stack)) for side in able)
        if options.together:
            started = list(started)
        running = [Side(side, process, answer(process, side)) for side, process in started]
        check_values(name, running)
        for side in running:  # the first turn after compiling is slower, most of all on a GPU
            side.ask()
        times = [[side.ask() for side in running] for _ in range(options.rounds)]
        peaks = [finish(side) for side in running]
    results = []
    for index, (side, peak) in enumerate(zip(running, peaks, strict=True)):
        ratios = [row[0] / row[index] for row in times]
        results.append(
            {
                "work": name,
                "side": side.name,
                "peak_mib": peak,
                **side.first,
                "seconds": [row[index] for row in times],
                "median_s": statistics.median(row[index] for row in times),
                "ratio": statistics.median(ratios),
                "ratios": [min(ratios), max(ratios)],
            }
        )
    return results


def start(side: str, kind: str, folder: str, stack: ExitStack) -> subprocess.Popen:
    """Starts a side with a kind of work."""
    script, *variant = SIDES[side]
    path = Path(__file__).parent / "sides" / script
    process = subprocess.Popen(
        [sys.executable, str(path), folder, *variant],
        env=environment(side, kind),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    stack.callback(process.kill)
    return process


def environment(side: str, kind: str) -> Mapping[str, str]:
    """The environment variables of a side: in huge pages, if it is to have them."""
    ours = side.startswith("nstjax") and not side.endswith("small pages") and kind == "train"
    return with_huge_pages(os.environ) if ours or side.endswith("huge pages") else os.environ


def answer(process: subprocess.Popen, name: str) -> dict[str, Any]:
    """The next line that a side says."""
    assert process.stdout
    line = process.stdout.readline()
    if not line:
        sys.exit(f"{name} ended")
    return json.loads(line)


def finish(side: Side) -> float:
    """Ends a side; returns its peak memory in MiB."""
    assert side.process.stdin
    side.process.stdin.close()
    return answer(side.process, side.name)["peak_mib"]


def check_values(name: str, sides: list[Side]) -> None:
    """Ends with a message if sides did not compute the same."""
    alike = [side for side in sides if side.name != OTHER_DESIGN]
    exact = [side for side in alike if side.precision == "float32"] or alike
    reference = [side.first["value"] for side in exact]
    for side in alike:
        value, tolerance = side.first["value"], 1 + TOLERANCES[side.precision]
        if not max(reference) / tolerance <= value <= min(reference) * tolerance:
            values = {side.name: side.first["value"] for side in alike}
            sys.exit(f"{name}: not the same work, {values}")


def make_work(name: str) -> Work:
    """Makes a piece of work from its name."""
    kind, _, size = name.partition("-")
    makers = {"pixels": pixel_work, "paint": paint_work, "train": train_work}
    if kind not in makers:
        sys.exit(f"no such work: {name}")
    return makers[kind](*map(int, size.split("x")))


def pixel_work(side: int) -> Work:
    """Steps on a picture."""
    content, style = smooth_pictures(2, side, side)
    # At a wholly smooth picture the gradient is so small that rounding decides its signs, which is
    # all that Adam's first steps follow.
    content += np.random.default_rng(1).normal(0, 0.05, content.shape).astype(np.float32)
    steps = max(2, STEPS["pixels"] * 512**2 // max(512, side) ** 2)  # no round of minutes
    return tutorial_work(content[None], style[None], steps=steps)


def tutorial_work(content: np.ndarray, style: np.ndarray, *, steps: int) -> Work:
    """Steps on a picture as in TensorFlow's tutorial."""
    recipe = get_recipe("tensorflow")
    adam = {
        "lr": recipe.learning_rate,
        "betas": (recipe.beta1, recipe.beta2),
        "eps": recipe.epsilon,
    }
    settings = {**objective_settings(recipe), "adam": adam}
    arrays = {"content": content, "style": style, **vgg_arrays(recipe)}
    return Work("pixels", steps, settings, arrays)


def paint_work(width: int, height: int) -> Work:
    """Forward passes."""
    architecture = Architecture()
    arrays = {"content": smooth_pictures(1, height, width), **network_arrays(architecture)}
    return Work("paint", STEPS["paint"], network_settings(architecture), arrays)


def train_work(side: int) -> Work:
    """Steps on a network."""
    recipe = get_training_recipe("vgg19")
    adam = {"lr": recipe.learning_rate, "betas": (0.9, 0.999), "eps": 1e-8}
    settings = {
        **objective_settings(recipe),
        "adam": adam,
        **network_settings(recipe.architecture),
    }
    pixels = smooth_pictures(5, side, side)
    arrays = {
        "content": pixels[:4],
        "style": pixels[4:],
        **vgg_arrays(recipe),
        **network_arrays(recipe.architecture),
    }
    return Work("train", STEPS["train"], settings, arrays)


def objective_settings(recipe: ObjectiveSettings) -> dict[str, Any]:
    """What of a recipe the peers need."""
    names = (
        *("content_layers", "content_weight", "style_layers", "style_weight"),
        *("gram_divisor", "tv_weight", "pixel_range"),
    )
    return {"recipe": recipe.name, **{name: getattr(recipe, name) for name in names}}


def network_settings(architecture: Architecture) -> dict[str, Any]:
    """What of a network the peers need."""
    ours = dataclasses.asdict(architecture)
    return {**ours, "architecture": ours}


def vgg_arrays(recipe: ObjectiveSettings) -> dict[str, np.ndarray]:
    """The weights of the layers up to the highest that the recipe needs."""
    weights: Weights = find_weights(recipe.network)
    last = max(name for name, _ in recipe.content_layers + recipe.style_layers)
    return {
        f"vgg/{layer}/{name}": np.asarray(array)
        for layer, arrays in weights.params.items()
        if layer <= last
        for name, array in arrays.items()
    }


def network_arrays(architecture: Architecture) -> dict[str, np.ndarray]:
    """First parameters of a network; the residual blocks do something."""
    rng, found = np.random.default_rng(0), {}
    params = init_params(architecture, jax.random.key(0))
    for path, array in jax.tree.leaves_with_path(params):
        words = [key.key for key in path]
        value = np.asarray(array)
        if words[-1] == "scale":
            value = rng.uniform(0.5, 1.5, value.shape).astype(np.float32)
        found["/".join(["network", *words, *(["value"] if len(words) == 1 else [])])] = value
    return found


def print_row(result: dict[str, Any]) -> None:
    """Prints a line of the table, at once."""
    low, high = result["ratios"]
    print(
        f"| {result['work']} | {result['side']} | {result['median_s']:.3f} s "
        f"| {result['ratio']:.2f} ({low:.2f}–{high:.2f}) | {result['first_s']:.1f} s "
        f"| {result['peak_mib']:.0f} MiB |",
        flush=True,
    )


if __name__ == "__main__":
    main()
