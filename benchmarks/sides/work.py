"""What the sides of a comparison share: the work they are given, and how they are asked to do it.

A side is a program of its own, so that nothing of another is in its way. It reads the work from a
folder, does it once, and says what came out, how long that took, compilation included, and which
version of its library did it; then it does it again for every line it reads, and says how long that
took. At the end it says how much memory it took. One line of JSON each.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
# Does the work once and returns a number by which sides can be compared.
Run = Callable[[], float]
# Of `ru_maxrss`, in bytes: kilobytes, but for macOS, which counts bytes.
RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True)
class Work:
    """One piece of work.

    Attributes:
        kind: `"pixels"` (steps of Adam on a picture), `"paint"` (a style network's forward pass)
            or `"train"` (steps of Adam on a style network).
        steps: how many steps make one run.
        settings: of the objective and of the network, as their sources write them.
        arrays: float32; `vgg/LAYER/…` and `network/LAYER/…`, kernels HWIO; `content` and `style`,
            NHWC in [0, 1].
    """

    kind: str
    steps: int
    settings: dict[str, Any]
    arrays: Arrays

    def save(self, folder: Path) -> None:
        """Writes the work where a side finds it."""
        np.savez(folder / "arrays.npz", allow_pickle=False, **self.arrays)
        words = {"kind": self.kind, "steps": self.steps, "settings": self.settings}
        (folder / "work.json").write_text(json.dumps(words))

    @classmethod
    def load(cls, folder: Path) -> "Work":
        """Reads it."""
        with np.load(folder / "arrays.npz") as arrays:
            loaded = {name: arrays[name] for name in arrays.files}
        return cls(**json.loads((folder / "work.json").read_text()), arrays=loaded)

    def group(self, prefix: str) -> dict[str, Arrays]:
        """The arrays of a network, by layer and name."""
        found: dict[str, Arrays] = {}
        for path, array in self.arrays.items():
            head, *rest = path.split("/")
            if head == prefix:
                layer, name = rest
                found.setdefault(layer, {})[name] = array
        return found


def serve(
    version: str,
    makers: dict[str, Callable[[Work], Run]],
    device_peak: Callable[[], int | None] = lambda: None,
) -> None:
    """Does the work that the first argument names, as often as it is asked to.

    Args:
        version: of the side's library, as it tells it itself, with the build.
        makers: what makes each kind of work.
        device_peak: the most bytes that were taken of a GPU; None where the process is what counts.
    """
    work = Work.load(Path(sys.argv[1]))
    begin = time.perf_counter()
    run = makers[work.kind](work)
    value = run()
    say(value=value, first_s=time.perf_counter() - begin, version=version)
    for _ in sys.stdin:
        if work.kind == "train":
            run()  # the first after another process' turn is slower, and a training has no such
        begin = time.perf_counter()
        run()
        say(seconds=(time.perf_counter() - begin) / work.steps)
    peak = device_peak()
    say(peak_mib=(process_peak() if peak is None else peak) / 2**20)


def process_peak() -> int:
    """The most bytes that this process has had in memory.

    On Linux not `ru_maxrss`, which is at least what the process had that started this one.
    """
    if sys.platform == "linux":
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 2**10
    import resource  # absent on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * RSS_UNIT


def say(**words: Any) -> None:
    """Answers."""
    print(json.dumps(words), flush=True)
