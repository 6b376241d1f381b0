"""Times whole processes: with nothing compiled yet, and with what the first one compiled.

Usage: python benchmarks/startup.py [--commands styles …] [--rounds 5] [--json FILE]

Each command runs once with an empty cache, and then again and again with what that left there. The
pixel route's are left out where the weights of VGG19 are not at hand.
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

# Arguments by what they do; PHOTO and OUT stand for files.
COMMANDS = {
    "version": ["--version"],
    "styles": ["styles"],
    "one pass, 512": ["stylize", "PHOTO", "--style", "starry", "--size", "512"],
    "one pass, 1024": ["stylize", "PHOTO", "--style", "starry", "--size", "1024"],
    "pixels, 512, 1 step": ["stylize", "PHOTO", "--style", "PHOTO", "--size", "512"],
}
PIXEL_OPTIONS = ["--recipe", "tensorflow", "--steps", "1"]


def main() -> None:
    """Reads the command line, runs every command and prints the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--commands", nargs="+", default=list(COMMANDS), choices=list(COMMANDS))
    parser.add_argument("--rounds", type=int, default=5, help="warm runs of each (default: 5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results here")
    options = parser.parse_args()
    results = []
    print("| command | cold | warm |\n|---|---|---|")
    for name, words in commands(options.commands).items():
        with tempfile.TemporaryDirectory() as folder:
            photo = Path(folder) / "photo.png"
            save_image(photo, load_image(sample_path(), size=1024).pixels)
            places = {"PHOTO": str(photo), "OUT": str(Path(folder) / "out.png")}
            arguments = [places.get(word, word) for word in words]
            cold, *warm = [run(arguments, folder) for _ in range(1 + options.rounds)]
        results.append({"command": name, "cold_s": cold, "warm_s": statistics.median(warm)})
        print(f"| {name} | {cold:.1f} s | {results[-1]['warm_s']:.1f} s |", flush=True)
    if options.json:
        save_json(options.json, rounds=options.rounds, results=results)


def commands(names: list[str]) -> dict[str, list[str]]:
    """Those of the commands that can run here, complete."""
    os.environ["NSTJAX_OFFLINE"] = "1"
    found = {}
    for name in names:
        words, pixel = COMMANDS[name], name.startswith("pixels")
        if pixel:
            try:
                find_weights("vgg19")
            except NstjaxError:
                continue
        stylize = [*(PIXEL_OPTIONS if pixel else []), "--output", "OUT", "--quiet"]
        found[name] = words + (stylize if words[0] == "stylize" else [])
    return found


def run(arguments: list[str], cache: str) -> float:
    """Runs the program once, its compiled programs in a folder; returns the seconds."""
    code = "import sys; from nstjax.cli import main; sys.exit(main(sys.argv[1:]))"
    kept = {"JAX_COMPILATION_CACHE_DIR": f"{cache}/compiled"}
    kept["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", code, *arguments],
        check=True,
        stdout=subprocess.DEVNULL,
        env=os.environ | kept,
    )
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
