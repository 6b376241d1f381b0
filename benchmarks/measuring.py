"""What the benchmarks share: where and with what they measured."""

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nstjax
from nstjax.files import write_whole

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "numpy")


def save_json(path: Path, **found: Any) -> None:
    """Writes results beside the machine and the versions that gave them."""
    machine = {"platform": platform.platform(), "cores": os.cpu_count()}
    versions = {"python": platform.python_version(), "nstjax": nstjax.__version__}
    versions |= {name: version(name) for name in LIBRARIES}
    data = {"machine": machine, "versions": versions, **found}
    write_whole(path, json.dumps(data, indent=2).encode())
