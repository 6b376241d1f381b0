"""Compares optimisers by the objective that they reach for the same number of evaluations.

Usage: python benchmarks/optimizers.py PHOTO:PAINTING … [--recipes tensorflow nstjax] [--size 256]
       [--evaluations 25 50 100 200] [--json FILE]

An evaluation is one of the objective with its gradient, wherever an optimiser makes it. Each pair
is painted at one size, also where the recipe goes coarse to fine, with the recipe's objective and
start; `adam` takes the rate and the momenta of TensorFlow's tutorial, `adam, cosine` those of
`tensorflow-fast`, whose rate falls to 0 by the last evaluation: it runs once for each number.
`lbfgs-b` keeps to pictures in [0, 1], the others where the recipe clips. `lbfgs, trained start`
begins with the picture of the bundled network of the painting's name, where there is one; its pass
counts as no evaluation.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from measuring import find_weights, pair_of, save_json
from performance import optimizers as optimizers_table
from tqdm import tqdm

import nstjax
from nstjax.assets import BUNDLED_STYLES
from nstjax.errors import NstjaxError
from nstjax.fast import stylize_fast
from nstjax.gatys import Progress, load_sources, stylize_sources
from nstjax.settings import Recipe
from nstjax.vgg import Weights

_ADAM = (
    *("learning_rate", "beta1", "beta2", "epsilon", "epsilon_inside"),
    *("decay", "decay_rate", "decay_steps"),
)
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "adam": {name: getattr(nstjax.get_recipe("tensorflow"), name) for name in _ADAM},
    "adam, cosine": {name: getattr(nstjax.get_recipe("tensorflow-fast"), name) for name in _ADAM},
    "lbfgs": {},
    "lbfgs-b": {},
    "lbfgs, trained start": {"init": "content", "noise_ratio": 0.0},
}


def main() -> None:
    """Reads the command line, paints, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="PHOTO:PAINTING", help="files")
    parser.add_argument("--recipes", nargs="+", default=["tensorflow", "nstjax"], metavar="RECIPE")
    parser.add_argument("--size", type=int, default=256, help="of the longest side, in pixels")
    parser.add_argument("--evaluations", type=int, nargs="+", default=[25, 50, 100, 200])
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    results = []
    try:
        weights = {name: find_weights(nstjax.get_recipe(name).network) for name in options.recipes}
        for pair in options.pairs:
            for name in options.recipes:
                results += [
                    measure(pair, name, optimizer, weights[name], options)
                    for optimizer in OPTIMIZERS
                    if "trained" not in optimizer or style_of(pair) in BUNDLED_STYLES
                ]
    except NstjaxError as error:
        sys.exit(str(error))
    print(optimizers_table(results))
    if options.json:
        found = sorted({each.sha256 for each in weights.values()})
        save_json(options.json, weights=found, results=results)


def style_of(pair: str) -> str:
    """The style that a pair's painting is named after."""
    return Path(pair_of(pair)[1]).stem


def measure(
    pair: str, name: str, optimizer: str, weights: Weights, options: argparse.Namespace
) -> dict[str, Any]:
    """The least objective of a pair by number of evaluations."""
    photo, painting = pair_of(pair)
    recipe = nstjax.get_recipe(name)
    settings = dict(OPTIMIZERS[optimizer])
    if "learning_rate" in settings:  # a gradient's unit is 1 / white's
        settings["learning_rate"] *= recipe.pixel_range
        settings["epsilon"] /= recipe.pixel_range
    recipe = nstjax.override(
        recipe,
        optimizer=optimizer.partition(",")[0],
        size=options.size,
        schedule=str(options.size),
        average=0.0,
        evaluations_per_step=20.0,
        **settings,
    )
    counts = sorted(options.evaluations)
    runs = [[count] for count in counts] if recipe.decay == "cosine" else [counts]
    init = None
    if "trained" in optimizer:
        made = stylize_fast(photo, style_of(pair), size=options.size)
        init = nstjax.Picture(made.image, None, "the network's picture")
    reached = {}
    for run in runs:
        in_time = nstjax.override(recipe, steps=run[-1])
        reached |= paint(in_time, (photo, painting), weights, run, init)
    return {
        "pair": f"{Path(photo).stem} × {Path(painting).stem}",
        "recipe": name,
        "size": options.size,
        "optimizer": optimizer,
        "reached": reached,
    }


def paint(
    recipe: Recipe,
    pair: tuple[str, str],
    weights: Weights,
    counts: list[int],
    init: nstjax.Picture | None,
) -> dict[str, float]:
    """Paints once, from `init` or as the recipe says, until the greatest number of evaluations."""
    with tqdm(total=counts[-1], desc=f"{recipe.name}, {recipe.optimizer}", leave=False) as bar:

        def look(progress: Progress) -> bool:
            bar.update(int(progress.entry["evaluations"]) - bar.n)
            return progress.entry["evaluations"] >= counts[-1]

        sources = load_sources(recipe, *pair, init=init)
        made = stylize_sources(sources, recipe, weights, callback=look)
    return {
        str(count): min(entry["total"] for entry in made.history if entry["evaluations"] <= count)
        for count in counts
    }


if __name__ == "__main__":
    main()
