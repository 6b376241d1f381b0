"""Times whole processes: with nothing compiled yet, and with what the first one compiled.

Usage: python benchmarks/startup.py [--commands styles …] [--rounds 5] [--json FILE]

In each round a command runs twice: with an empty cache, and then with what that run left there.
"first step begins" times a run until its first step could be launched, "first objective" until the
objective of the starting picture is computed. The pixel route is left out if the weights of VGG19
are not at hand.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import save_json

from nstjax.assets import find_weights, sample_path
from nstjax.errors import NstjaxError
from nstjax.images import load_image, save_image

PROGRAM = "import sys; from nstjax.launch import launch; sys.exit(launch())"
# What that does with these settings, up to the first thing it can show.
FIRST_OBJECTIVE = """
import os, sys
from nstjax.cli.compiled import keep_compiled
keep_compiled()
import nstjax
how = {"recipe": "tensorflow", "size": 512, "callback": lambda progress: os._exit(0)}
nstjax.stylize(sys.argv[1], sys.argv[1], **how)
"""
# The same up to where it would begin to compute that.
FIRST_STEP = FIRST_OBJECTIVE.replace(
    "import nstjax\n",
    "import nstjax\nfrom nstjax.gatys import loop\n"
    "assert loop._run_chunk\nloop._run_chunk = lambda *_: os._exit(0)\n",
)
# Programs and their arguments by what they do; PHOTO and OUT stand for files.
COMMANDS = {
    "version": (PROGRAM, ["--version"]),
    "styles": (PROGRAM, ["styles"]),
    "one pass, 512": (PROGRAM, ["stylize", "PHOTO", "--style", "starry", "--size", "512"]),
    "one pass, 1024": (PROGRAM, ["stylize", "PHOTO", "--style", "starry", "--size", "1024"]),
    "pixels, 512, first step begins": (FIRST_STEP, ["PHOTO"]),
    "pixels, 512, first objective": (FIRST_OBJECTIVE, ["PHOTO"]),
    "pixels, 512, 1 step": (PROGRAM, ["stylize", "PHOTO", "--style", "PHOTO", "--size", "512"]),
}
PIXEL_OPTIONS = ["--recipe", "tensorflow", "--steps", "1"]


def main() -> None:
    """Reads the command line, runs every command and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--rounds", type=int, default=5, help="of each command (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    results = []
    print("| command | cold | warm |\n|---|---|---|")
    for name, (program, words) in commands(options.commands).items():
        rounds = [cold_and_warm(program, words) for _ in range(options.rounds)]
        cold, warm = (statistics.median(seconds) for seconds in zip(*rounds, strict=True))
        results.append({"command": name, "cold_s": cold, "warm_s": warm})
        print(f"| {name} | {cold:.1f} s | {warm:.1f} s |", flush=True)
    if options.json:
        save_json(options.json, rounds=options.rounds, results=results)


def commands(names: list[str]) -> dict[str, tuple[str, list[str]]]:
    """Those of the commands that can run here, complete; the weights are then found anywhere."""
    os.environ["NSTJAX_OFFLINE"] = "1"
    found = {}
    for name in names:
        (program, words), pixel = COMMANDS[name], name.startswith("pixels")
        if pixel:
            try:
                os.environ["NSTJAX_ASSETS"] = str(find_weights("vgg19").parent)
            except NstjaxError:
                continue
        stylize = [*(PIXEL_OPTIONS if pixel else []), "--output", "OUT", "--quiet"]
        found[name] = program, words + (stylize if words[0] == "stylize" else [])
    return found


def cold_and_warm(program: str, words: list[str]) -> tuple[float, float]:
    """Runs a command with an empty cache and again; returns the seconds of both."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.png"
        save_image(photo, load_image(sample_path(), size=1024).pixels)
        places = {"PHOTO": str(photo), "OUT": str(Path(folder) / "out.png")}
        arguments = [places.get(word, word) for word in words]
        return run(program, arguments, folder), run(program, arguments, folder)


def run(code: str, arguments: list[str], cache: str) -> float:
    """Runs a program once, with its cache in a folder; returns the seconds."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("JAX_COMP")}
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env=own | {"NSTJAX_CACHE": cache},
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
