"""Times how long a picture takes to become as good as the one of TensorFlow's tutorial.

Usage: python benchmarks/time_to_quality.py --content PHOTO --style PAINTING [--size 256]
       [--target OBJECTIVE] [--output OUT] [--steps 800] [--json FILE]

The measure is the tutorial's objective; the recipe is `tensorflow-fast`. With `--target` the
picture is optimised until its objective, in 8 bits as it is saved, is not above that, and the
seconds are counted from the start of this process. Without it the tutorial is run first, in
TensorFlow: its procedure, 1000 steps of Adam, in a process of its own; what it ends with is the
target, and both are timed from the start of their process to the finished picture, one after the
other. TensorFlow comes with `pip install ".[bench]"`.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import psutil
from measuring import in_8_bits, save_json
from peers import answer, start, tutorial_work
from tqdm import tqdm

import nstjax
from nstjax.errors import NstjaxError
from nstjax.gatys import Progress
from nstjax.settings import Recipe, override

TUTORIAL_STEPS = 1000


def main() -> None:
    """Reads the command line, and runs one side or both."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--content", required=True, metavar="PHOTO")
    parser.add_argument("--style", required=True, metavar="PAINTING")
    parser.add_argument("--size", type=int, default=256, help="longest side (default: 256)")
    parser.add_argument("--target", type=float, metavar="OBJECTIVE")
    parser.add_argument("--output", type=Path, metavar="OUT", help="where the picture goes")
    parser.add_argument("--steps", type=int, help="at most (default: the recipe's)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    if options.target is not None and options.json:
        parser.error("--json is for both sides: leave out --target")
    recipe = override(nstjax.get_recipe("tensorflow-fast"), size=options.size)
    if options.steps is not None:
        recipe = override(recipe, steps=options.steps)
    try:
        results = (compare if options.target is None else reach)(recipe, options)
    except NstjaxError as error:
        sys.exit(str(error))
    print(json.dumps(results))
    if options.json:
        peers = {"tensorflow": results["tensorflow"]}
        save_json(options.json, peers=peers, results=[results])


def reach(recipe: Recipe, options: argparse.Namespace) -> dict[str, float | str]:
    """Optimises until the target is reached."""
    weights = nstjax.load_weights(recipe.network)
    pictures = [
        nstjax.load_image(path, size=recipe.size, upscale=True).pixels
        for path in (options.content, options.style)
    ]
    objective = nstjax.make_objective(recipe, weights, *pictures)

    def reached(image: np.ndarray) -> bool:
        total, _ = objective(in_8_bits(image))
        return float(total) <= options.target

    with tqdm(unit="evaluation", leave=False) as bar:

        def look(progress: Progress) -> bool:
            bar.set_postfix_str(f"{progress.entry['total']:.4g} to {options.target:.4g}")
            bar.update(int(progress.entry["evaluations"]) - bar.n)
            # The unrounded objective tells when it is worth the evaluation.
            return progress.entry["total"] <= options.target and reached(progress.image)

        result = nstjax.stylize(
            options.content, options.style, recipe=recipe, weights=weights, callback=look
        )
    if options.output:
        result.save(options.output)
    last = result.history[-1]
    if not reached(result.image):
        sys.exit(f"not reached: {last['total']:.4g} after {last['step']} steps; add --steps")
    return {
        "objective": float(last["total"]),
        "evaluations": float(last["evaluations"]),
        "seconds": time.time() - psutil.Process().create_time(),
    }


def compare(recipe: Recipe, options: argparse.Namespace) -> dict[str, float | str]:
    """Runs the tutorial, and then this script for what it ended with."""
    content, style = (
        nstjax.load_image(path, size=recipe.size, upscale=True).pixels
        for path in (options.content, options.style)
    )
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        tutorial_work(content, style, steps=TUTORIAL_STEPS).save(Path(folder))
        print(f"TensorFlow: {TUTORIAL_STEPS} steps", file=sys.stderr)
        began = time.perf_counter()
        tutorial = answer(start("tensorflow", "pixels", folder, stack), "tensorflow")
        seconds = time.perf_counter() - began
    target = tutorial["value"]
    print(f"{target:.4g} in {seconds:.0f} s", file=sys.stderr)
    again = [sys.executable, __file__, "--target", str(target)]
    for name in ("content", "style", "size", "steps", "output"):
        value = getattr(options, name)
        again += [] if value is None else [f"--{name}", str(value)]
    began = time.perf_counter()
    child = subprocess.run(again, check=False, stdout=subprocess.PIPE, text=True)
    ours = time.perf_counter() - began
    if child.returncode:
        sys.exit(child.returncode)
    found = json.loads(child.stdout)
    return {
        "content": Path(options.content).stem,
        "style": Path(options.style).stem,
        "size": float(recipe.size),
        "steps": float(recipe.steps),
        "target": target,
        "tensorflow": tutorial["version"],
        "tensorflow_steps": TUTORIAL_STEPS,
        "evaluations": found["evaluations"],
        "tensorflow_s": seconds,
        "nstjax_s": ours,
        "ratio": ours / seconds,
    }


if __name__ == "__main__":
    main()
