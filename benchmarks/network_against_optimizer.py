"""After how many iterations does an optimiser reach what a trained network reaches in one pass?

Usage: python benchmarks/network_against_optimizer.py FOLDER PAINTINGS [--styles starry …]
       [--inits content noise] [--json FILE]

FOLDER holds the photographs that the styles were trained on; of these the ones that `nstjax train`
holds out first are taken, so that no network has seen them. PAINTINGS holds the paintings,
named as the styles. For each style and photograph L-BFGS minimises the objective that the network
was trained for, from the photograph, from noise or from each, until it is as low as the network's
picture.

Johnson et al., 2016, section 4.1, report 50 to 100 iterations, from noise.
"""

import argparse
from pathlib import Path

import numpy as np
from measuring import save_json
from performance import STARTS
from performance import network_against_optimizer as network_against_optimizer_table
from style_objective import held_out, objectives, pixel_recipe

import nstjax
from nstjax.assets import BUNDLED_STYLES
from nstjax.fast import load_style, paint_pixels
from nstjax.fast.data import open_dataset


def iterations(
    recipe: nstjax.Recipe, content: np.ndarray, style: np.ndarray, weights, goal: float
) -> int | None:
    """Returns the first step with an objective of at most `goal`; None where none has one."""
    result = nstjax.stylize(
        content,
        style,
        recipe=recipe,
        weights=weights,
        callback=lambda progress: progress.entry["total"] <= goal,
    )
    reached = (int(entry["step"]) for entry in result.history if entry["total"] <= goal)
    return next(reached, None)


def compare(name: str, options: argparse.Namespace, photographs: list, weights) -> list[dict]:
    """Runs one style on all photographs; a row for each."""
    style = load_style(name)
    painting = nstjax.load_image(next(options.paintings.glob(f"{style.name}.*"))).pixels
    rows = []
    recipes = {
        init: pixel_recipe(style, size=options.size, steps=options.steps, init=init)
        for init in options.inits
    }
    recipe = recipes[options.inits[0]]  # they differ in nothing but the start
    found = objectives(recipe, weights, painting, photographs)
    for number, (objective, content) in enumerate(zip(found, photographs, strict=True)):
        goal = float(objective(paint_pixels(style, content))[0])
        row = {"style": style.name, "photograph": number}
        row |= {
            "photograph's objective": float(objective(content)[0]),
            "network's objective": goal,
        }
        for init in options.inits:
            row[init] = iterations(recipes[init], content, painting, weights, goal)
        print(row, flush=True)
        rows.append(row)
    return rows


def main() -> None:
    """Reads the command line, runs, and prints the table and, if asked for, JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", metavar="FOLDER")
    parser.add_argument("paintings", metavar="PAINTINGS", type=Path)
    parser.add_argument("--styles", nargs="+", default=list(BUNDLED_STYLES), metavar="STYLE")
    parser.add_argument("--inits", nargs="+", default=list(STARTS), choices=list(STARTS))
    parser.add_argument("--count", type=int, default=20, help="photographs held out of training")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=200, help="iterations at most")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()

    dataset = open_dataset(f"folder:{options.photographs}", holdout=options.count)
    photographs = held_out(dataset, options.size)
    weights = nstjax.load_weights()
    rows = [row for name in options.styles for row in compare(name, options, photographs, weights)]
    settings = {name: getattr(options, name) for name in ("size", "steps", "count", "inits")}
    print(network_against_optimizer_table([{**settings, **row} for row in rows]))
    if options.json:
        save_json(options.json, weights=weights.sha256, settings=settings, results=rows)


if __name__ == "__main__":
    main()
