"""What the scripts that make golden values share: reading the assets and writing the JSON files."""

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image

GOLDEN_DIR = Path(__file__).parent


def asset(relative_path: str) -> Path:
    """Returns the path of a file in the folder that NSTJAX_ASSETS names."""
    folder = os.environ.get("NSTJAX_ASSETS")
    if not folder:
        raise SystemExit("set NSTJAX_ASSETS to the folder that holds vgg19_notop.h5 and content/")
    return Path(folder, relative_path)


def load_resized(relative_path: str, longest_side: int) -> np.ndarray:
    """Decodes an asset with Pillow and resizes it with Pillow's 8-bit Lanczos filter.

    Returns:
        uint8 [height, width, 3], RGB, no colour management; the other side is
        round(side * longest_side / longest).
    """
    with Image.open(asset(relative_path)) as opened:
        image = opened.convert("RGB")
    scale = longest_side / max(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))


def sha256(data: bytes | np.ndarray) -> str:
    """Returns the SHA-256 of bytes, or of an array's values in C order."""
    return hashlib.sha256(data.tobytes() if isinstance(data, np.ndarray) else data).hexdigest()


def floats(values: Iterable[Any]) -> list[float]:
    """Lists float32 values with no more digits than float32 holds."""
    return [float(str(np.float32(value))) for value in values]


def write_json(name: str, script: str, modules: Iterable[ModuleType], content: dict) -> None:
    """Writes a golden file beside this module, headed by `made_by`: script and versions."""
    made_by = {"script": Path(script).name}
    made_by |= {module.__name__: module.__version__ for module in modules}
    text = json.dumps({"made_by": made_by} | content, indent=1)
    # A list of plain values on one line: files stay short and their differences readable.
    text = re.sub(r"\[([^][{}]*)\]", lambda match: f"[{' '.join(match[1].split())}]", text)
    (GOLDEN_DIR / name).write_text(text + "\n")
