"""The bundled sample picture, and the script that makes it."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nstjax.assets import sample_path
from nstjax.images import load_image

SCRIPT = Path(__file__).parents[1] / "examples" / "render_sample.py"


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("render_sample", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def small(script) -> np.ndarray:
    return script.render(48)


def pixels(path: Path) -> np.ndarray:
    return load_image(path).pixels[0]


def test_the_bundled_picture_is_small_and_wide():
    assert sample_path().stat().st_size < 200_000
    assert pixels(sample_path()).shape == (512, 768, 3)


def test_the_script_makes_the_bundled_picture(tmp_path):
    made = tmp_path / "made.jpg"
    run = subprocess.run(
        [sys.executable, "-W", "error", SCRIPT, made], capture_output=True, text=True, check=False
    )
    assert (run.stdout, run.stderr, run.returncode) == ("", "", 0)
    # Equal, but for what another machine's rounding and JPEG encoder may do.
    assert np.abs(pixels(made) - pixels(sample_path())).mean() < 0.005


def test_the_picture_is_the_same_every_time(script, small):
    np.testing.assert_array_equal(script.render(48), small)


def test_the_picture_has_range_contrast_and_colour(small):
    assert small.shape == (32, 48, 3)
    assert small.min() >= 0
    assert small.max() <= 1
    low, high = np.quantile(small.mean(axis=2), [0.05, 0.95])
    assert high - low > 0.4
    (sky_red, _, sky_blue), (red, _, blue) = small[:6, 22:30].mean((0, 1)), small[28:].mean((0, 1))
    assert sky_blue > sky_red + 0.1  # a blue sky over autumn grass
    assert red > blue + 0.2
