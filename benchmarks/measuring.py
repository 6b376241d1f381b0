"""What the benchmarks share: weights, clocks, counts, and where and with what they measured."""

import json
import math
import os
import platform
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from sides.work import RSS_UNIT, process_peak

import nstjax
from nstjax.errors import NstjaxError
from nstjax.files import write_whole
from nstjax.images import resize_image
from nstjax.ops import Program
from nstjax.vgg import Weights, load_weights
from nstjax.vgg.layers import kernel_shapes

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")
_PEAK_SIDE = {"cpu": 2048}  # of the matrices; enough for all cores to be busy


def save_json(path: Path, **found: Any) -> None:
    """Writes results beside the machine, the versions and the commit that gave them."""
    machine = {
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
    }
    when = {"date": f"{datetime.now(UTC):%Y-%m-%d}", "commit": commit()}
    data = {"machine": machine, "versions": versions(), **when, **found}
    write_whole(path, json.dumps(data, indent=2).encode())


def commit() -> str | None:
    """The commit that is measured, with a word where files differ from it; None of no checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def versions() -> dict[str, str]:
    """What is measured, and with what."""
    found = {"python": platform.python_version(), "nstjax": nstjax.__version__}
    return found | {name: version(name) for name in LIBRARIES}


def processor() -> str:
    """The processor's name, and its widest vectors where the system tells."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    about = {}
    for line in lines:
        name, _, value = line.partition(":")
        about[name.strip()] = value.strip()
    vectors = [name for name in ("avx512f", "avx2") if name in about.get("flags", "").split()]
    return " ".join([about.get("model name", platform.processor()), *vectors[:1]])


def run_program(arguments: list[str]) -> tuple[int, float, int]:
    """Runs the command line in a process of its own, which ends with this one's interruption.

    Returns its exit code, its seconds, and the most bytes that it had in memory.
    """
    code = "import sys; from nstjax.launch import launch; sys.exit(launch())"
    began = time.perf_counter()
    process = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-c", code, *arguments])
    try:
        _, status, usage = os.wait4(process, 0)
    except BaseException:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        raise
    seconds = time.perf_counter() - began
    return os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss * RSS_UNIT


def find_weights(network: str) -> Weights:
    """Real weights if they are on this machine, seeded random ones, and a word, otherwise."""
    os.environ["NSTJAX_OFFLINE"] = "1"
    try:
        return load_weights(network)
    except NstjaxError:
        print(f"the weights of {network} are not at hand: random ones", file=sys.stderr)
        rng = np.random.default_rng(0)
        params = {
            layer: {
                "kernel": rng.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape).astype("float32"),
                "bias": np.zeros(shape[-1], np.float32),
            }
            for layer, shape in kernel_shapes(network).items()
        }
        return Weights(network, "caffe", params, top=False, sha256="random")


def pair_of(text: str) -> tuple[str, str]:
    """The photograph and the painting of PHOTO:PAINTING."""
    photo, _, painting = text.partition(":")
    if not (photo and painting):
        raise NstjaxError(f"{text} is no pair: give PHOTO:PAINTING")
    return photo, painting


def in_8_bits(image: np.ndarray) -> np.ndarray:
    """A picture as it is read again after it was saved."""
    return np.round(255 * image) / np.float32(255)


def smooth_pictures(count: int, height: int, width: int) -> np.ndarray:
    """Smooth pictures of seeded noise: how long work takes does not depend on what they show."""
    coarse = np.random.default_rng(0).random((count, 1, 8, 8, 3), np.float32)
    return np.concatenate([resize_image(picture, height, width) for picture in coarse])


def clock(run: Callable[[], Any]) -> float:
    """Seconds until what a call returns is there."""
    begin = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - begin


def peak_gflops(dtype: str, repeats: int = 7) -> float:
    """What the device reaches in a product of two large matrices: 1e9 operations a second."""
    side = _PEAK_SIDE.get(jax.default_backend(), 8192)
    matrix = jnp.ones((side, side), dtype)
    product = Program(jnp.matmul)  # compiled as what is measured against it
    product(matrix, matrix).block_until_ready()
    seconds = [clock(lambda: product(matrix, matrix)) for _ in range(repeats)]
    return 2 * side**3 / statistics.median(seconds) / 1e9


def direct_gflop(function: Callable, *arguments: Any) -> float:
    """1e9 operations that a function's convolutions and products take by direct algorithms."""
    before = os.environ.get("NSTJAX_CONV")
    os.environ["NSTJAX_CONV"] = "direct"
    try:
        return 2 * _multiplications(jax.make_jaxpr(function)(*arguments).jaxpr) / 1e9
    finally:
        del os.environ["NSTJAX_CONV"]
        if before is not None:
            os.environ["NSTJAX_CONV"] = before


def _multiplications(program: Any) -> int:
    total = 0
    for equation in program.eqns:
        shapes = [variable.aval for variable in equation.invars]
        if equation.primitive.name == "conv_general_dilated":
            kernel, result = shapes[1], equation.outvars[0].aval
            outputs = kernel.shape[equation.params["dimension_numbers"].rhs_spec[0]]
            # Zeros between the pixels cost a good algorithm nothing.
            dilation = math.prod(equation.params["lhs_dilation"])
            total += result.size * kernel.size // outputs // dilation
        elif equation.primitive.name == "dot_general":
            (contracted, _), _ = equation.params["dimension_numbers"]
            total += equation.outvars[0].aval.size * math.prod(
                shapes[0].shape[axis] for axis in contracted
            )
        total += sum(map(_multiplications, _inner(equation.params)))
    return total


def _inner(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else [value]:
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield part


def peak_memory() -> dict[str, Any]:
    """The peak memory of this process so far, in MiB, and whose memory that is."""
    stats = jax.devices()[0].memory_stats()
    if stats and "peak_bytes_in_use" in stats:
        return {"peak_mib": stats["peak_bytes_in_use"] / 2**20, "peak_of": "device"}
    return {"peak_mib": process_peak() / 2**20, "peak_of": "process"}
