"""Compares optimisers by the objective they reach for the same number of evaluations.

Usage: python benchmarks/optimizers.py CONTENT:STYLE [CONTENT:STYLE …] [--evaluations 50 100 200]

Runs `nstjax stylize --history` once per pair and optimiser, and reads the table off those files: an
evaluation is one of the objective with its gradient, wherever an optimiser makes it.
"""

import argparse
import json
import tempfile
from pathlib import Path

from nstjax.cli import main as nstjax

OPTIMIZERS = ("adam", "lbfgs", "lbfgs-b")


def run(content: str, style: str, optimizer: str, steps: int, options: argparse.Namespace) -> list:
    """Stylises one pair and returns its history."""
    with tempfile.TemporaryDirectory() as folder:
        history = Path(folder) / "history.jsonl"
        arguments = ["stylize", content, "--style", style, "--optimizer", optimizer]
        arguments += ["--recipe", options.recipe, "--size", str(options.size)]
        arguments += ["--steps", str(steps), "--history", str(history)]
        if code := nstjax([*arguments, "--output", f"{folder}/out.png"]):
            raise SystemExit(code)
        return [json.loads(line) for line in history.read_text().splitlines()]


def main() -> None:
    """Reads the command line, runs, and prints the table and, if asked for, JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="+", metavar="CONTENT:STYLE")
    parser.add_argument("--recipe", default="tensorflow")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[25, 50, 100, 200])
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()

    rows = []
    for pair in options.pairs:
        content, style = pair.split(":")
        for optimizer in OPTIMIZERS:
            history = run(content, style, optimizer, max(options.evaluations), options)
            reached = {
                count: min(e["total"] for e in history if e["evaluations"] <= count)
                for count in options.evaluations
            }
            seconds = history[-1]["seconds"] / history[-1]["evaluations"]
            row = {"pair": f"{Path(content).stem} × {Path(style).stem}", "optimizer": optimizer}
            rows.append(row | {"objective": reached, "seconds_per_evaluation": seconds})

    print("| pair | optimiser | " + " | ".join(f"after {n}" for n in options.evaluations) + " |")
    print("|---|---|" + "---|" * len(options.evaluations))
    for row in rows:
        values = " | ".join(f"{value:.3g}" for value in row["objective"].values())
        print(f"| {row['pair']} | `{row['optimizer']}` | {values} |")
    if options.json:
        settings = {"recipe": options.recipe, "size": options.size}
        options.json.write_text(json.dumps({"settings": settings, "rows": rows}, indent=1))


if __name__ == "__main__":
    main()
