"""Which objective do the designs of style networks reach, trained alike?

Usage: python benchmarks/designs.py FOLDER PAINTING [--designs johnson subpixel] [--steps 400]
       [--size 128] [--batch 2] [--count 8] [--json FILE]

FOLDER holds photographs, of which `--count` are kept out of training. Each design is trained with
the default recipe on the rest, all with the same seed, so on the same squares in the same order.
The table gives the mean over the photographs kept out of the objective of what each design paints,
of its terms, and how many times the first design's objective that is; and how many parameters a
design has. For how long it takes to paint, see step.py.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
from measuring import save_json
from style_objective import held_out, objectives, pixel_recipe
from tqdm import tqdm

import nstjax
from nstjax.fast import get_training_recipe, load_style, paint_pixels, train
from nstjax.fast.data import Dataset, open_dataset
from nstjax.fast.recipes import DEFAULT_TRAINING_RECIPE
from nstjax.fast.settings import DESIGNS
from nstjax.settings import override
from nstjax.structure import TERMS


def main() -> None:
    """Reads the command line, trains and evaluates each design, and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photographs", metavar="FOLDER")
    parser.add_argument("painting", metavar="PAINTING")
    parser.add_argument("--designs", nargs="+", default=list(DESIGNS), choices=list(DESIGNS))
    parser.add_argument("--steps", type=int, default=400, help="training steps (default: 400)")
    parser.add_argument("--size", type=int, default=128, help="side of the squares (default: 128)")
    parser.add_argument("--batch", type=int, default=2, help="pictures a step (default: 2)")
    parser.add_argument("--count", type=int, default=8, help="photographs kept out (default: 8)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    dataset = open_dataset(f"folder:{options.photographs}", holdout=options.count)
    print(f"| design | parameters | objective | ratio | {' | '.join(TERMS)} |")
    print("|---|---|---|---|" + "---|" * len(TERMS))
    results = []
    for design in options.designs:
        result = learn(design, dataset, options)
        results.append(result)
        result["ratio"] = result["total"] / results[0]["total"]
        cells = (f"{result[name]:.3f}" for name in ("total", "ratio", *TERMS))
        print(f"| {design} | {result['parameters']} | {' | '.join(cells)} |", flush=True)
    if options.json:
        settings = {name: getattr(options, name) for name in ("steps", "size", "batch", "count")}
        settings["painting"] = Path(options.painting).name
        save_json(options.json, settings=settings, results=results)


def learn(design: str, dataset: Dataset, options: argparse.Namespace) -> dict[str, Any]:
    """Trains one design; means over the photographs kept out."""
    recipe = get_training_recipe(DEFAULT_TRAINING_RECIPE)
    recipe = override(
        recipe,
        architecture=dataclasses.replace(recipe.architecture, design=design),
        steps=options.steps,
        image_size=options.size,
        batch_size=options.batch,
        # The default is for many more steps: after so few it would hold on to the first of them.
        average=0.99,
    )
    painting, weights = nstjax.load_image(options.painting), nstjax.load_weights()
    with tempfile.TemporaryDirectory() as folder, tqdm(total=options.steps, desc=design) as bar:
        result = train(
            design,
            painting,
            dataset,
            recipe=recipe,
            weights=weights,
            workdir=folder,
            checkpoint_every=options.steps,
            callback=lambda progress: (bar.update(progress.step - bar.n), False)[1],
        )
        style = load_style(result.path)
    pixel = pixel_recipe(style, size=options.size, steps=1)
    photographs = held_out(dataset, options.size)
    rows = []
    found = objectives(pixel, weights, painting.pixels, photographs)
    for objective, content in zip(found, photographs, strict=True):
        total, terms = objective(paint_pixels(style, content))
        rows.append({"total": float(total), **{name: float(terms[name]) for name in TERMS}})
    means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    count = sum(leaf.size for leaf in jax.tree.leaves(style.params))
    return {"design": design, "parameters": count, **means}


if __name__ == "__main__":
    main()
