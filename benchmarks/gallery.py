"""Paints pairs of a photograph and a painting by several recipes, side by side on one sheet.

Usage: python benchmarks/gallery.py PHOTO:PAINTING … [--recipes nstjax tensorflow …] [--size 256]
       [--steps N] [--folder gallery] [--sheet FILE.jpg] [--json FILE]

Each picture is painted by `nstjax stylize` in a process of its own, with its recipe's own settings
but for the size, and for the steps where they are given. Nothing is compiled before, so that no
picture gains by an earlier one. The seconds and the peak memory of the whole process stand in a
file beside the picture. All recipes of a pair come before the next pair.

It can be stopped at any time, and the same command goes on with the pictures that are missing.
Ctrl-C and SIGTERM end the painting: sheet, table and JSON are made of the rows that are complete.
How near the pictures are to painting and photograph is measured as by `quality.py`, at their size.
"""

import argparse
import io
import json
import os
import signal
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from measuring import pair_of, processor, run_program, save_json, versions
from performance import gallery as table
from PIL import Image
from quality import DISTANCES, measure

from nstjax.assets import find_weights
from nstjax.errors import NstjaxError
from nstjax.files import check_writable, replacing, sha256_of, write_whole
from nstjax.images import load_image, to_pillow
from nstjax.recipes import RECIPES, get_recipe
from nstjax.report import check_report, contact_sheet
from nstjax.vgg import load_weights

RECIPES_SHOWN = ("nstjax", "tensorflow", "neural-style", "crowsonkb")
MEASURES = (*DISTANCES, "content")  # at a size
MOST_BYTES = 10**6  # of a sheet that is a JPEG
INSET = 0.4  # the painting's longer side, as a share of the photograph's shorter one
FRAME = 3  # pixels of white between the two


class Work:
    """A picture to paint: where it goes, and what it must have been made of and with."""

    def __init__(self, pair: tuple[Path, Path], recipe: str, options: argparse.Namespace):
        self.photo, self.painting = pair
        self.recipe, self.size, self.steps = recipe, options.size, options.steps
        self.pair = f"{self.photo.stem} × {self.painting.stem}"
        name = f"{self.photo.stem}-{self.painting.stem}-{recipe}"
        # Not by `with_suffix`: a name may have dots.
        self.picture = options.folder / f"{name}.png"
        self.record = options.folder / f"{name}.json"
        self.took: dict[str, float] = {}  # once it is painted
        # What a picture on the disk must agree in to be this one.
        self.request: dict[str, Any] = {
            "photo": [self.photo.name, sha256_of(self.photo)],
            "painting": [self.painting.name, sha256_of(self.painting)],
            "recipe": recipe,
            "size": self.size,
            "steps": self.steps,
            "machine": [processor(), os.cpu_count()],
            "versions": versions(),
        }

    def find(self) -> bool:
        """Whether it is there; raises an error where another one is in its place."""
        if not (self.picture.exists() and self.record.exists()):
            return False
        record = json.loads(self.record.read_text(encoding="utf-8"))
        other = [name for name, value in self.request.items() if record["request"][name] != value]
        if other:
            raise NstjaxError(
                f"{self.picture} was painted with other {' and '.join(other)}: "
                "choose another --folder, or delete it"
            )
        self.took = record["took"]
        return True

    def paint(self) -> None:
        """Paints it, and keeps what that took."""
        words = ["stylize", str(self.photo), "--style", str(self.painting), "--method", "gatys"]
        words += ["--recipe", self.recipe, "--size", str(self.size), "--quiet"]
        if self.steps is not None:
            words += ["--steps", str(self.steps)]
            # Those of the first size, which --steps leaves as they are.
            if get_recipe(self.recipe).initial_steps is not None:
                words += ["--initial-steps", str(self.steps)]
        with replacing(self.picture) as temporary:
            status, seconds, peak = run_program([*words, "--output", str(temporary)])
            if status:
                raise NstjaxError(f"{self.pair} by {self.recipe} failed with code {status}")
        self.took = {"seconds": seconds, "peak_gb": peak / 1e9}
        record = {"request": self.request, "took": self.took}
        # After the picture: where there is a record, all is done.
        write_whole(self.record, json.dumps(record, indent=2).encode())

    @property
    def caption(self) -> str:
        """What stands under it."""
        return f"{self.took['seconds']:.0f} s · {self.took['peak_gb']:.1f} GB"


def main(arguments: list[str] | None = None) -> int:
    """Reads the command line, paints, and writes what was asked for; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="PHOTO:PAINTING", help="files")
    parser.add_argument(
        "--recipes", nargs="+", default=list(RECIPES_SHOWN), choices=list(RECIPES), metavar="RECIPE"
    )
    parser.add_argument("--size", type=int, default=256, help="of the longest side, in pixels")
    parser.add_argument("--steps", type=int, metavar="N", help="in place of the recipes' own")
    parser.add_argument("--folder", type=Path, default=Path("gallery"), help="for the pictures")
    parser.add_argument("--sheet", type=Path, metavar="FILE", help="draw all pictures here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args(arguments)
    # Every process starts alike: nothing to download, nothing compiled.
    os.environ |= {"NSTJAX_OFFLINE": "1", "JAX_COMPILATION_CACHE_DIR": ""}
    try:
        return paint_all(plan(options), options)
    except NstjaxError as error:
        parser.error(str(error))


def plan(options: argparse.Namespace) -> list[list[Work]]:
    """A row of pictures for each pair; raises an error before anything is painted."""
    rows = []
    for pair in options.pairs:
        photo, painting = pair_of(pair)
        files = Path(photo), Path(painting)
        rows.append([Work(files, recipe, options) for recipe in options.recipes])
    works = [work for row in rows for work in row]
    if len({work.picture for work in works}) < len(works):
        raise NstjaxError("two pictures would have one name: give each pair and each recipe once")
    for network in {get_recipe(name).network for name in options.recipes} | {"vgg19"}:
        find_weights(network)
    if options.sheet:
        check_report(options.sheet)
    if options.json:
        check_writable(options.json)
    for work in works:
        work.find()
    return rows


def paint_all(rows: list[list[Work]], options: argparse.Namespace) -> int:
    """Paints what is missing, until it is interrupted; sums up the rows that are complete."""
    options.folder.mkdir(parents=True, exist_ok=True)
    complete: list[list[Work]] = []
    stopped = False
    print("| pair | recipe | time | peak memory |\n|---|---|---|---|")
    try:
        for row in rows:
            for work in row:
                if not work.find():
                    work.paint()
                cells = work.pair, work.recipe, *work.caption.split(" · ")
                print(f"| {' | '.join(cells)} |", flush=True)
            complete.append(row)
    except KeyboardInterrupt:
        stopped = True
        print(f"\nstopped: {len(complete)} of {len(rows)} rows are complete")
    if complete and options.sheet:
        draw(options.sheet, complete)
    if complete:
        sum_up(complete, options.json)
    return 130 if stopped else 0


def sum_up(rows: list[list[Work]], path: Path | None) -> None:
    """Measures the pictures, prints a line for each recipe, and writes all to a file."""
    weights = load_weights("vgg19")
    results = []
    for work in (work for row in rows for work in row):
        pictures = [load_image(x).pixels for x in (work.picture, work.photo, work.painting)]
        found = measure(weights, pictures, [work.size])
        results.append(
            {
                **{name: work.request[name] for name in ("recipe", "size", "steps")},
                "photo": work.photo.name,
                "painting": work.painting.name,
                **work.took,
                **{name: found[f"{name} {work.size}"] for name in MEASURES},
                **{name: found[name] for name in ("SSIM", "variation")},
            }
        )
    print(f"\n{table(results)}")
    if path:
        save_json(path, weights=weights.sha256, results=results)


def draw(path: Path, rows: list[list[Work]]) -> None:
    """Draws a row for each pair."""
    grid, captions = [], []
    for row in rows:
        grid.append([both(row[0]), *(load_image(work.picture).pixels for work in row)])
        captions.append([row[0].pair, *(work.caption for work in row)])
    texts = {
        "column_labels": ["photograph, painting", *(work.recipe for work in rows[0])],
        "captions": captions,
    }
    size = rows[0][0].size
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        contact_sheet(path, grid, size=size, **texts)
        return
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "sheet.png"
        contact_sheet(whole, grid, size=size, **texts)
        write_whole(path, jpeg(to_pillow(load_image(whole).pixels)))


def jpeg(sheet: Image.Image) -> bytes:
    """A file as good as it can be in `MOST_BYTES`, but not worse than quality 50."""
    quality, data = 100, b""
    while quality > 50 and not 0 < len(data) <= MOST_BYTES:
        quality -= 5
        stream = io.BytesIO()
        sheet.save(stream, format="JPEG", quality=quality, subsampling=0, optimize=True)
        data = stream.getvalue()
    return data


def both(work: Work) -> np.ndarray:
    """The photograph, with the painting in its lower right corner."""
    picture = load_image(work.photo, size=work.size).pixels.copy()
    side = max(1, round(INSET * min(picture.shape[1:3])))
    painting = load_image(work.painting, size=side).pixels
    height, width = painting.shape[1:3]
    picture[:, -height - FRAME :, -width - FRAME :] = 1
    picture[:, -height:, -width:] = painting
    return picture


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    raise SystemExit(main())
