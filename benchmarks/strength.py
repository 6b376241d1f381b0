"""Does `--strength` mean the same at every size and for every pair?

Usage: python benchmarks/strength.py PHOTO:PAINTING … [--sizes 256 512 1024] [--strength 0.5]
       [--steps 60] [--recipe nstjax] [--json FILE]

Each pair is painted at each size, at that size alone: coarse to fine, where a recipe does that, is
left out. The figure is what the style loss of the finished picture, in 8 bits as it is saved, is of
the photograph's own at that size: for a strength of a half it should be a tenth. The spread is each
pair's largest figure over its smallest, less 1.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
from measuring import find_weights, save_json

import nstjax
from nstjax.errors import NstjaxError
from nstjax.gatys.strength import wanted_distance
from nstjax.vgg import Weights


def main() -> None:
    """Reads the command line, paints, and prints a line for each pair."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="PHOTO:PAINTING", help="files")
    parser.add_argument("--sizes", nargs="+", type=int, default=[256, 512, 1024])
    parser.add_argument("--strength", type=float, default=0.5)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--recipe", default="nstjax")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    results = []
    print(f"| pair | {' | '.join(map(str, options.sizes))} | spread |")
    print(f"|---|{'---|' * len(options.sizes)}---|")
    try:
        for pair in options.pairs:
            results.append(measure(pair, options))
            print_row(results[-1])
    except NstjaxError as error:
        sys.exit(str(error))
    print(f"\nwanted: {wanted_distance(options.strength):.3f}")
    if options.json:
        settings = {name: getattr(options, name) for name in ("strength", "steps", "recipe")}
        save_json(options.json, settings=settings, results=results)


def measure(pair: str, options: argparse.Namespace) -> dict[str, Any]:
    """Paints a pair at each size; the distances by size."""
    photo, _, painting = pair.partition(":")
    recipe = nstjax.get_recipe(options.recipe)
    weights = find_weights(recipe.network)
    distances = {}
    for size in options.sizes:
        sized = nstjax.override(recipe, size=size, steps=options.steps, schedule=str(size))
        result = nstjax.stylize(
            photo, painting, recipe=sized, weights=weights, strength=options.strength
        )
        distances[str(size)] = distance(sized, weights, (photo, painting), result.image)
    return {"pair": f"{Path(photo).stem} × {Path(painting).stem}", "distances": distances}


def distance(
    recipe: nstjax.Recipe, weights: Weights, pair: tuple[str, str], image: np.ndarray
) -> float:
    """A picture's style loss as a share of the photograph's."""
    content, style = (nstjax.load_image(path, size=recipe.size).pixels for path in pair)
    objective = jax.jit(nstjax.make_objective(recipe, weights, content, style))
    saved = np.round(255 * image) / np.float32(255)
    found = [objective(pixels)[1]["style_raw"] for pixels in (saved, content)]
    return float(found[0] / found[1])


def print_row(result: dict[str, Any]) -> None:
    """Prints a pair's line, at once."""
    values = list(result["distances"].values())
    cells = [result["pair"], *(f"{value:.4f}" for value in values)]
    print(f"| {' | '.join(cells)} | {max(values) / min(values) - 1:.1%} |", flush=True)


if __name__ == "__main__":
    main()
