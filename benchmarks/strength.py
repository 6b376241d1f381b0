"""Does `--strength` mean the same at every size and for every pair?

Usage: python benchmarks/strength.py PHOTO:PAINTING … [--sizes 256 512 1024] [--strength 0.5]
       [--steps N] [--recipe nstjax] [--json FILE]

Each pair is painted at each size, at that size alone: coarse to fine, where a recipe does that, is
left out. The figure is what the style loss of the finished picture, in 8 bits as it is saved, is of
the photograph's own at that size: for a strength of a half it should be a tenth. The spread is each
pair's largest figure over its smallest, less 1.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
from measuring import find_weights, in_8_bits, pair_of, save_json
from performance import strength as strength_table
from tqdm import tqdm

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
    parser.add_argument("--steps", type=int, help="default: the recipe's")
    parser.add_argument("--recipe", default="nstjax")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    try:
        recipe = nstjax.get_recipe(options.recipe)
        if options.steps is not None:
            recipe = nstjax.override(recipe, steps=options.steps)
        weights = find_weights(recipe.network)
        with tqdm(total=len(options.pairs) * len(options.sizes), unit="picture") as bar:
            results = [measure(pair, options, recipe, weights, bar) for pair in options.pairs]
    except NstjaxError as error:
        sys.exit(str(error))
    print(f"{strength_table(results)}\n\nwanted: {wanted_distance(options.strength):.3f}")
    if options.json:
        settings = {"steps": recipe.steps, "recipe": recipe.name}
        save_json(options.json, weights=weights.sha256, settings=settings, results=results)


def measure(
    pair: str, options: argparse.Namespace, recipe: nstjax.Recipe, weights: Weights, bar: tqdm
) -> dict[str, Any]:
    """Paints a pair at each size; the distances by size."""
    photo, painting = pair_of(pair)
    distances = {}
    for size in options.sizes:
        sized = nstjax.override(recipe, size=size, schedule=str(size))
        result = nstjax.stylize(
            photo, painting, recipe=sized, weights=weights, strength=options.strength
        )
        distances[str(size)] = distance(sized, weights, (photo, painting), result.image)
        bar.update()
    names = f"{Path(photo).stem} × {Path(painting).stem}"
    return {"pair": names, "strength": options.strength, "distances": distances}


def distance(
    recipe: nstjax.Recipe, weights: Weights, pair: tuple[str, str], image: np.ndarray
) -> float:
    """A picture's style loss as a share of the photograph's."""
    content, style = (
        nstjax.load_image(path, size=recipe.size, upscale=True).pixels for path in pair
    )
    objective = nstjax.make_objective(recipe, weights, content, style)
    found = [objective(pixels)[1]["style_raw"] for pixels in (in_8_bits(image), content)]
    return float(found[0] / found[1])


if __name__ == "__main__":
    main()
