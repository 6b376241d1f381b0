"""The pixel route against networks trained on 100, 400 and all photographs.

Usage: python benchmarks/compare_routes.py FOLDER PAINTING [--limits 100 400 0] [--train-steps 2000]
       [--design subpixel]

For one painting: the time to train, the time per picture, the content and style loss on
photographs held out of training, and the pictures side by side in one sheet. All methods minimise
one objective, that of the training recipe; the losses are those of its terms, before their weights
(with the default recipe in units of what they are for photographs). The number of steps is the
same for every number of photographs, so that only the variety differs; give --epochs for the
published comparison's way, where fewer photographs also mean fewer steps.
"""

import argparse
import dataclasses
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from measuring import save_json
from style_objective import held_out, objectives, pixel_recipe
from tqdm import tqdm

import nstjax
from nstjax.fast import Style, TrainingProgress, get_training_recipe, load_style, paint_pixels
from nstjax.fast.data import open_dataset
from nstjax.fast.settings import DESIGNS
from nstjax.fast.train import train
from nstjax.report import contact_sheet
from nstjax.vgg import Weights


class Row(NamedTuple):
    """A method and what it gave: seconds to train, then per photograph."""

    method: str
    training: float | None
    pictures: list[np.ndarray]
    seconds: list[float]


def train_network(
    limit: int, options: argparse.Namespace, weights: Weights, workdir: str
) -> tuple[Style, str, float]:
    """Trains on so many photographs (0: all); returns the style, the method and its seconds."""
    spec = f"folder:{options.photographs}"
    dataset = open_dataset(spec, limit=limit or None, holdout=options.count)
    changes: dict[str, Any] = {"image_size": options.size, "batch_size": options.batch_size}
    if options.epochs:
        changes["epochs"] = options.epochs
    else:
        changes["steps"] = options.train_steps
    recipe = get_training_recipe(options.recipe)
    if options.design:
        changes["architecture"] = dataclasses.replace(recipe.architecture, design=options.design)
    recipe = nstjax.override(recipe, **changes)
    name = f"{options.painting.stem}-{len(dataset)}"
    with tqdm(desc=name, unit="step") as bar:

        def progress(now: TrainingProgress) -> None:
            bar.total = now.steps
            bar.update(now.step - bar.n)

        painting = nstjax.load_image(options.painting)
        result = train(
            name, painting, dataset, recipe=recipe, weights=weights, workdir=workdir,
            callback=progress,
        )  # fmt: skip
    style = load_style(result.path)
    return style, f"network, {len(dataset)} photographs", style.provenance["seconds"]


def timed(
    paint: Callable[[np.ndarray], np.ndarray], photographs: list[np.ndarray]
) -> tuple[list[np.ndarray], list[float]]:
    """Paints each photograph; the pictures and their seconds, compilation not counted."""
    paint(photographs[0])
    pictures, seconds = [], []
    for photograph in tqdm(photographs, unit="picture"):
        began = time.perf_counter()
        pictures.append(paint(photograph))
        seconds.append(time.perf_counter() - began)
    return pictures, seconds


def compare(options: argparse.Namespace) -> tuple[list[Row], Style, list[np.ndarray]]:
    """Trains the networks and paints the photographs held out, with all methods.

    Returns what each gave, the last style, whose objective is everybody's, and the photographs.
    """
    weights = nstjax.load_weights(get_training_recipe(options.recipe).network)
    dataset = open_dataset(f"folder:{options.photographs}", holdout=options.count)
    photographs = held_out(dataset, options.size)
    rows, style = [], None
    with tempfile.TemporaryDirectory() as workdir:
        for limit in options.limits:
            style, method, training = train_network(limit, options, weights, workdir)
            pictures, seconds = timed(lambda x, s=style: paint_pixels(s, x), photographs)
            rows.append(Row(method, training, pictures, seconds))
    assert style is not None
    recipe = pixel_recipe(style, size=options.size, steps=options.steps)
    pictures, seconds = timed(
        lambda x: nstjax.stylize(x, options.painting, recipe=recipe, weights=weights).image,
        photographs,
    )
    method = f"pixel route, L-BFGS, {options.steps} steps"
    return [Row(method, None, pictures, seconds), *rows], style, photographs


def losses(
    row: Row, style: Style, options: argparse.Namespace, photographs: list[np.ndarray]
) -> dict[str, float]:
    """The medians of a method's losses over the photographs."""
    recipe = pixel_recipe(style, size=options.size, steps=0)
    weights = nstjax.load_weights(recipe.network)
    found = objectives(recipe, weights, options.painting, photographs)
    terms = [of(picture)[1] for of, picture in zip(found, row.pictures, strict=True)]
    return {name: median(float(t[f"{name}_raw"]) for t in terms) for name in ("content", "style")}


def main() -> None:
    """Reads the command line, runs, and prints the table and, if asked for, JSON and a sheet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photographs", metavar="FOLDER")
    parser.add_argument("painting", metavar="PAINTING", type=Path)
    parser.add_argument("--limits", type=int, nargs="+", default=[100, 400, 0], help="0: all")
    parser.add_argument("--recipe", default="nstjax", help="of the training")
    parser.add_argument("--design", choices=DESIGNS, help="default: the recipe's")
    parser.add_argument("--train-steps", type=int, default=2000)
    parser.add_argument("--epochs", type=float, help="in place of --train-steps")
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=100, help="of the pixel route")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--count", type=int, default=8, help="photographs held out")
    parser.add_argument("--sheet", metavar="FILE.jpg")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()

    rows, style, photographs = compare(options)
    table = []
    print("| method | training | per picture | content loss | style loss |\n|---|---|---|---|---|")
    for row in rows:
        found = losses(row, style, options, photographs)
        entry = {"method": row.method, "training_s": row.training, "s": median(row.seconds)}
        table.append(entry | found)
        training = "none" if row.training is None else f"{row.training / 60:.1f} min"
        print(
            f"| {row.method} | {training} | {entry['s']:.2f} s | {found['content']:.3f} "
            f"| {found['style']:.4f} |"
        )
    if options.sheet:
        grid = [
            list(pictures)
            for pictures in zip(photographs, *(r.pictures for r in rows), strict=True)
        ]
        labels = ["photograph", *(row.method for row in rows)]
        contact_sheet(options.sheet, grid, column_labels=labels, size=options.size)
    if options.json:
        settings = {k: v for k, v in vars(options).items() if isinstance(v, int | float | str)}
        save_json(options.json, settings=settings, results=table)


if __name__ == "__main__":
    main()
