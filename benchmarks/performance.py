"""Writes the tables of the READMEs from the files that the benchmarks wrote.

Usage: python benchmarks/performance.py [--results benchmarks/results] [--readme FILE …]

Reads what `peers.py`, `step.py` and the others in `MAKERS` wrote to files named after them
(`peers*.json` and so on), those that are there, and replaces what stands between each pair of
markers. The first names the benchmarks whose tables go there; without a name, all do:

    <!-- made by benchmarks/performance.py: peers startup -->
    <!-- end of what is made -->

Numbers there are never typed.
"""

import argparse
import json
import re
import statistics
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from nstjax.files import write_whole

_END = "<!-- end of what is made -->"
_MADE = re.compile(
    rf"(<!-- made by benchmarks/performance\.py(?:: ([\w ]+))? -->\n).*?{_END}", re.DOTALL
)
ROOT = Path(__file__).parents[1]
READMES = (ROOT / "README.md", ROOT / "benchmarks" / "README.md")
Result = dict[str, Any]


def main() -> None:
    """Reads the command line and the results, and writes the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--results", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--readme", type=Path, nargs="+", default=READMES, metavar="FILE")
    options = parser.parse_args()
    for path in options.readme:
        text = path.read_text(encoding="utf-8")
        if not _MADE.search(text):
            raise SystemExit(f"{path} has no markers: see the docstring of this script")
        write_whole(path, filled(text, options.results).encode())


def filled(text: str, folder: Path) -> str:
    """Puts the tables between the markers of a text."""

    def fill(match: re.Match[str]) -> str:
        section = "\n\n".join(sections(folder, match[2].split() if match[2] else MAKERS))
        return f"{match[1]}\n{section}\n\n{_END}"

    return _MADE.sub(fill, text)


def sections(folder: Path, names: Iterable[str]) -> Iterator[str]:
    """The tables of some benchmarks, one for each machine that there are files of."""
    for name in names:
        parts: dict[str, list[dict[str, Any]]] = {}
        for path in sorted(folder.glob(f"{name}*.json")):
            part = json.loads(path.read_text())
            parts.setdefault(about(part), []).append(part)
        for note, alike in parts.items():
            results = [
                {**part.get("settings", {}), **result}
                for part in alike
                for result in part["results"]
            ]
            days = [part["date"] for part in alike]
            when = " to ".join(sorted({min(days), max(days)}))
            yield f"{MAKERS[name](results)}\n\n*{note}; {when}: `benchmarks/{name}.py`.*"


def about(data: dict[str, Any]) -> str:
    """With what, and on what, the numbers were measured."""
    machine, versions = data["machine"], {**data["versions"], **data.get("peers", {})}
    shown = [f"{name} {v}" for name, v in versions.items() if name in SHOWN_VERSIONS]
    weights = "; random weights" if "random" in data.get("weights", ()) else ""
    place = f"{machine['cores']} cores, {machine['processor']}"
    if machine["device"] != "cpu":
        place = f"{machine['device']}, {place}"
    return f"{place}; {', '.join(shown)}{weights}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def peers(results: list[Result]) -> str:
    """Each piece of work: this package beside the faster of the others."""
    rows = []
    for name, group in groupby(sorted(results, key=by_work), key=lambda result: result["work"]):
        sides = list(group)
        others = [side for side in sides if not side["side"].startswith("nstjax")]
        best = min(others, key=lambda side: side["median_s"])
        leanest = min(others, key=lambda side: side["peak_mib"])
        for side in (s for s in sides if s["side"].startswith("nstjax")):
            ratios = [a / b for a, b in zip(side["seconds"], best["seconds"], strict=True)]
            rounds = f"{len(ratios)} round{'s' * (len(ratios) > 1)}"
            spread = f"({min(ratios):.2f}–{max(ratios):.2f}, {rounds})"
            rows.append(
                [
                    f"{name}{side['side'].removeprefix('nstjax')}",
                    seconds(side["median_s"]),
                    f"{seconds(best['median_s'])} ({best['side']})",
                    f"**{statistics.median(ratios):.2f}** {spread}",
                    f"{side['peak_mib']:.0f} MiB",
                    f"{leanest['peak_mib']:.0f} MiB ({leanest['side']})",
                ]
            )
    head = ["work", "nstjax", "fastest peer", "ratio (spread)", "memory", "leanest peer"]
    return table(head, rows)


def by_work(result: Result) -> tuple[str, int]:
    """Sorts by the kind of work and then by the size of the picture, as in `pixels-512`."""
    kind, _, size = result["work"].partition("-")
    return kind, int(size.partition("x")[0])


def step(results: list[Result]) -> str:
    """Each configuration, and how the time grows with the picture."""
    rows = []
    # Measured by each process; noise can only make it smaller.
    peak = {
        precision: max(r["peak_gflops"] for r in results if r["precision"] == precision)
        for precision in {result["precision"] for result in results}
    }
    for result in sorted(results, key=lambda result: (*kind(result), result["size"])):
        smaller = {r["size"]: r for r in results if kind(r) == kind(result)}.get(
            result["size"] // 2
        )
        tile = f", tiles of {result['tile']} rows" if result["tile"] else ""
        rows.append(
            [
                f"{result['work']}, {result['variant']}{tile}",
                f"{result['batch']} × {result['size']}²",
                seconds(result["median_s"]),
                f"× {result['median_s'] / smaller['median_s']:.2f}" if smaller else "",
                f"{result['compile_s']:.1f} s",
                f"{result['peak_mib']:.0f} MiB",
                f"{result['gflop'] / result['median_s'] / peak[result['precision']]:.2f}",
            ]
        )
    growth = "time ÷ half"
    head = ["step", "pictures", "time", growth, "compilation", "peak memory", "share of peak"]
    return table(head, rows)


def kind(result: Result) -> tuple[Any, ...]:
    """What is the same at every size."""
    return tuple(result[name] for name in KIND)


def startup(results: list[Result]) -> str:
    """Whole processes."""
    rows = [
        [result["command"], f"{result['cold_s']:.1f} s", f"{result['warm_s']:.1f} s"]
        for result in results
    ]
    return table(["whole process", "nothing compiled yet", "compiled before"], rows)


def time_to_quality(results: list[Result]) -> str:
    """Each pair: until the objective that TensorFlow's tutorial ends with."""
    rows = [
        [
            f"{result['content']} × {result['style']}, {result['size']:.0f}",
            f"{result['target']:.4g}",
            f"{result['tensorflow_s']:.0f} s ({result['tensorflow_steps']} steps)",
            f"{result['nstjax_s']:.0f} s ({result['evaluations']:.0f} evaluations)",
            f"**{result['ratio']:.2f}**",
        ]
        for result in results
    ]
    head = ["whole process", "objective", "TensorFlow", "nstjax", "ratio"]
    return table(head, rows)


def optimizers(results: list[Result]) -> str:
    """The objective by number of evaluations; the least of a pair and recipe stands out."""
    counts = list(results[0]["reached"])
    rows = []
    for case, group in groupby(results, key=lambda r: (r["pair"], r["recipe"], r["size"])):
        sides = list(group)
        least = {count: min(side["reached"][count] for side in sides) for count in counts}
        for side in sides:
            values = [f"{side['reached'][count]:.3g}" for count in counts]
            best = [side["reached"][count] == least[count] for count in counts]
            cells = [f"**{value}**" if b else value for value, b in zip(values, best, strict=True)]
            rows.append([f"{case[0]}, {case[2]}", f"`{case[1]}`", side["optimizer"], *cells])
    return table(["pair", "objective of", "optimiser", *(f"after {n}" for n in counts)], rows)


def memory(results: list[Result]) -> str:
    """Peaks of whole processes."""
    rows = []
    for result in results:
        # A run that failed has left no picture that says in which tiles.
        tile = result["asked"] if result["status"] else result["tile"]
        limit = f", limit {result['limit']}" if result["limit"] else ""
        rows.append(
            [
                MEMORY_ROUTES[result["route"]],
                f"{result['width']}×{result['height']}",
                f"{tile or 'off'}{limit}",
                "failed" if result["status"] else f"{result['peak_gb']:.2f} GB",
            ]
        )
    return table(["route", "picture", "tile", "peak memory"], rows)


def strength(results: list[Result]) -> str:
    """What the style loss is of the photograph's at each size, and how much that differs."""
    sizes = sorted({size for result in results for size in result["distances"]}, key=int)
    rows = []
    for result in results:
        found = result["distances"]
        cells = [f"{found[size]:.4f}" if size in found else "" for size in sizes]
        spread = max(found.values()) / min(found.values()) - 1
        rows.append([result["pair"], f"{result['strength']:g}", *cells, f"{spread:.1%}"])
    return table(["pair", "strength", *(f"at {size}" for size in sizes), "spread"], rows)


def network_against_optimizer(results: list[Result]) -> str:
    """Each style: after how many iterations L-BFGS is as good as its network, median and range."""
    starts = [start for start in STARTS if start in results[0]]
    rows = []
    for style, group in groupby(results, key=lambda result: result["style"]):
        own = list(group)
        cells = [iterations([row[start] for row in own], own[0]["steps"]) for start in starts]
        rows.append([f"`{style}`", str(len(own)), *cells])
    return table(["style", "photographs", *(f"L-BFGS from {STARTS[s]}" for s in starts)], rows)


def iterations(counts: list[int | None], most: int) -> str:
    """Median and range; those that were not enough count as more than all."""
    ordered = sorted(most + 1 if count is None else count for count in counts)
    words = [str(count) if count <= most else f"over {most}" for count in ordered]
    low, median, high = words[0], words[len(words) // 2], words[-1]
    return median if low == high else f"{median} ({low} to {high})"


def gallery(results: list[Result]) -> str:
    """Each recipe: medians over its pictures."""
    rows = []
    pairs = len({(result["photo"], result["painting"]) for result in results})
    sizes = ", ".join(str(size) for size in sorted({result["size"] for result in results}))
    for recipe in dict.fromkeys(result["recipe"] for result in results):
        own = [result for result in results if result["recipe"] == recipe]
        median = {
            name: statistics.median(result[name] for result in own)
            for name in ("seconds", "peak_gb", *GALLERY_MEASURES)
        }
        cells = [f"`{recipe}`", f"{median['seconds']:.0f} s", f"{median['peak_gb']:.1f} GB"]
        rows.append(cells + [f"{median[name]:.3f}" for name in GALLERY_MEASURES])
    head = ["recipe", "whole process", "peak memory", *GALLERY_MEASURES.values()]
    note = (
        f"Medians over {pairs} pair{'s' * (pairs > 1)} at {sizes} pixels, nothing compiled before. "
        "Style: distance to the painting as a share of the photograph's; content: distance to the "
        "photograph; SSIM: likeness to it."
    )
    return f"{table(head, rows)}\n\n{note}"


def seconds(value: float) -> str:
    """Three digits."""
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s"


KIND = ("work", "variant", "tile", "precision", "batch", "devices")
MAKERS: dict[str, Callable[[list[Result]], str]] = {
    "peers": peers,
    "step": step,
    "startup": startup,
    "optimizers": optimizers,
    "time_to_quality": time_to_quality,
    "memory": memory,
    "strength": strength,
    "network_against_optimizer": network_against_optimizer,
    "gallery": gallery,
}
MEMORY_ROUTES = {
    "fast": "one pass, `subpixel`",
    "pixels": "pixel route, `tensorflow`",
    "default": "pixel route, `nstjax`",
}
STARTS = {"content": "the photograph", "noise": "noise"}
GALLERY_MEASURES = {
    "gram": "style, Gram",
    "wasserstein": "style, Wasserstein",
    "content": "content",
    "SSIM": "SSIM",
}
SHOWN_VERSIONS = ("python", "jax", "torch", "tensorflow")

if __name__ == "__main__":
    main()
