"""Measures the peak memory of whole processes, by route, size and tile.

Usage: python benchmarks/memory.py [--routes fast pixels default] [--sizes 1024 2048 …]
       [--tiles auto 64 …] [--limit 4GB] [--photo FILE] [--json FILE]

Each picture is painted by the command line in a process of its own: with a bundled style, by one
step of Adam with the tutorial's recipe, or by a step at each size of the default recipe. Pictures
are 4:3; a size is their longer side. The pixel route is left out where the weights of VGG19 are not
at hand.
"""

import argparse
import os
import tempfile
from pathlib import Path
from typing import Any

from measuring import run_program, save_json

from nstjax.assets import find_weights, sample_path
from nstjax.errors import NstjaxError
from nstjax.images import load_image, read_settings, resize_image, save_image

ROUTES = {
    "fast": ["--style", "starry"],
    "pixels": ["--style", "STYLE", "--recipe", "tensorflow", "--steps", "1"],
    "default": ["--style", "STYLE", "--steps", "3"],
}


def main() -> None:
    """Reads the command line, paints every picture and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--routes", nargs="+", default=list(ROUTES), choices=list(ROUTES))
    parser.add_argument("--sizes", nargs="+", type=int, default=[512, 1024, 2048, 4096])
    parser.add_argument("--tiles", nargs="+", default=["off", "auto"], help="auto, off or rows")
    parser.add_argument("--limit", metavar="SIZE", help="as --memory-limit of the command line")
    parser.add_argument("--photo", type=Path, default=sample_path(), help="what is enlarged")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    os.environ["NSTJAX_OFFLINE"] = "1"
    results = []
    print("| route | size | tile | peak memory | time |\n|---|---|---|---|---|")
    for route in options.routes:
        if route != "fast" and not _weights_at_hand():
            continue
        for size in options.sizes:
            for tile in options.tiles:
                results.append(measure(route, size, tile, options.limit, options.photo))
                print(_row(results[-1]), flush=True)
    if options.json:
        save_json(options.json, results=results)


def measure(route: str, size: int, tile: str, limit: str | None, photo: Path) -> dict[str, Any]:
    """Paints one picture in a process of its own, and returns what that took."""
    with tempfile.TemporaryDirectory() as folder:
        content, out = Path(folder) / "photo.jpg", Path(folder) / "out.png"
        save_image(content, resize_image(load_image(photo).pixels, size * 3 // 4, size))
        words = [str(photo) if word == "STYLE" else word for word in ROUTES[route]]
        words += ["--tile", tile, "--size", str(size), "--output", str(out), "--quiet"]
        words += [] if limit is None else ["--memory-limit", limit]
        status, seconds, peak = run_program(["stylize", str(content), *words])
        found = {"route": route, "width": size, "height": size * 3 // 4, "asked": tile}
        found |= {"limit": limit, "status": status, "peak_gb": peak / 1e9}
        found |= {"seconds": seconds}
        settings = read_settings(out) if out.exists() else None
    return found | {"tile": (settings or {}).get("tile")}


def _row(found: dict[str, Any]) -> str:
    tile = "failed" if found["status"] else found["tile"] or "off"
    chosen = f"{tile} (auto)" if found["asked"] == "auto" else tile
    return (
        f"| {found['route']} | {found['width']}×{found['height']} | {chosen} "
        f"| {found['peak_gb']:.2f} GB | {found['seconds']:.0f} s |"
    )


def _weights_at_hand() -> bool:
    try:
        find_weights("vgg19")
    except NstjaxError:
        return False
    return True


if __name__ == "__main__":
    main()
