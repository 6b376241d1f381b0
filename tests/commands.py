"""What the tests of the command line share."""

from pathlib import Path

import numpy as np
from PIL import Image

SHALLOW = ["--content-layers", "block2_conv1", "--style-layers", "block1_conv1,block2_conv1"]


def picture(name: str, width: int, height: int, *, seed: int = 0, mode: str = "RGB") -> Path:
    smooth = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), np.uint8)
    Image.fromarray(smooth).resize((width, height), Image.Resampling.BICUBIC).convert(mode).save(
        name
    )
    return Path(name)


def expect_failure(capsys, code: int, *words: str) -> None:
    """Checks the exit code, and that stderr is one line with these words."""
    assert code == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]
