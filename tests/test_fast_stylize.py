"""Trained styles, applied: from names, files and folders, at any size."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from nstjax.assets import BUNDLED_STYLES, DEFAULT_STYLE, PAINTINGS
from nstjax.errors import NstjaxError
from nstjax.fast import TRAINING_RECIPES, Architecture, load_style, paint_pixels, stylize_fast
from nstjax.fast.network import check_params, init_params, paint
from nstjax.fast.style_file import save_style
from nstjax.images import Picture, load_image

pytestmark = pytest.mark.usefixtures("quick_compilation")

TINY = Architecture(width=0.125)


@pytest.fixture(scope="module")
def style_file(tmp_path_factory) -> Path:
    """A style with random parameters."""
    path = tmp_path_factory.mktemp("styles") / "tiny.safetensors"
    params = jax.tree.map(np.asarray, init_params(TINY, jax.random.key(0)))
    # Blocks and output start at almost nothing; here they are to show.
    params["output"]["kernel"] = params["output"]["kernel"] * 30
    config = dataclasses.asdict(TINY)
    save_style(path, params, config=config, provenance={"name": "tiny", "steps": 3})
    return path


def test_a_file(style_file):
    style = load_style(style_file)
    assert (style.name, style.architecture) == ("tiny", TINY)
    assert style.provenance["steps"] == 3


def test_a_folder(style_file):
    assert load_style(style_file.parent).name == "tiny"
    assert load_style(str(style_file.parent)).name == "tiny"


def test_a_folder_without_a_style(tmp_path):
    with pytest.raises(NstjaxError, match="none yet"):
        load_style(tmp_path)


def test_a_folder_with_two(tmp_path, style_file):
    for name in ("a", "b"):
        (tmp_path / f"{name}.safetensors").write_bytes(style_file.read_bytes())
    with pytest.raises(NstjaxError, match=r"several \(a\.safetensors, b\.safetensors\)"):
        load_style(tmp_path)


def test_an_unknown_name():
    with pytest.raises(NstjaxError, match=r"'stary'.*did you mean 'starry'"):
        load_style("stary")


def test_another_networks_parameters(tmp_path):
    path = tmp_path / "wrong.safetensors"
    params = jax.tree.map(np.asarray, init_params(TINY, jax.random.key(0)))
    save_style(path, params, config=dataclasses.asdict(Architecture()), provenance={})
    told = r"in .*wrong\.safetensors are not those of its network, 'johnson'"
    wrong = r"conv1/kernel should be \(9, 9, 3, 32\) and is \(9, 9, 3, 4\); update nstjax"
    with pytest.raises(NstjaxError, match=f"{told}.*{wrong}"):
        load_style(path)
    block = params.pop("residual3_conv1")
    save_style(path, params, config=dataclasses.asdict(TINY), provenance={})
    with pytest.raises(NstjaxError, match=rf"{told}.*residual3_conv1/kernel .* is no array"):
        load_style(path)
    params |= {"residual3_conv1": block, "residual9_conv1": block}
    save_style(path, params, config=dataclasses.asdict(TINY), provenance={})
    with pytest.raises(NstjaxError, match=rf"{told}.*residual9_conv1/kernel should be no array"):
        load_style(path)


def test_parameters_that_come_from_elsewhere(style_file):
    """Those of no file are told of when they paint."""
    style = load_style(style_file)
    params = {name: value for name, value in style.params.items() if name != "conv2"}
    wrong = r"of a style are not those of its network, 'johnson', .*: conv2/kernel .* no array"
    with pytest.raises(NstjaxError, match=wrong):
        paint_pixels(dataclasses.replace(style, params=params), np.zeros((1, 16, 16, 3)))


@pytest.mark.parametrize("name", TRAINING_RECIPES)
def test_every_networks_own_parameters_pass(name):
    architecture = TRAINING_RECIPES[name].architecture
    check_params(architecture, init_params(architecture, jax.random.key(0)))


def test_a_network_of_another_version(tmp_path):
    path = tmp_path / "newer.safetensors"
    params = {"conv": {"kernel": np.zeros(3, np.float32)}}
    save_style(path, params, config={"depth": 3}, provenance={})
    with pytest.raises(NstjaxError, match=r"of a network that this version.*depth.*update nstjax"):
        load_style(path)


@pytest.mark.parametrize(("height", "width"), [(16, 16), (31, 33), (45, 20)])
def test_the_picture_keeps_its_size(style_file, rng, height, width):
    pixels = rng.random((1, height, width, 3), np.float32)
    result = stylize_fast(pixels, style_file)
    assert result.image.shape == pixels.shape
    assert result.image.dtype == np.float32
    assert 0 <= result.image.min() < result.image.max() <= 1
    assert result.settings["method"] == "fast"
    assert result.settings["style"] == "tiny"


def test_a_full_multiple_is_painted_as_it_is(style_file, rng):
    style = load_style(style_file)
    pixels = rng.random((2, 32, 64, 3), np.float32)
    expected = np.clip(paint(style.architecture, style.params, jnp.asarray(pixels)), 0, 1)
    np.testing.assert_allclose(paint_pixels(style, pixels), expected, atol=1e-5)


@pytest.mark.parametrize("size", [0, -3, True])
def test_a_size_that_is_none(style_file, size):
    with pytest.raises(NstjaxError, match=f"^size is {size!r}: it must be a"):
        stylize_fast(np.zeros((20, 30, 3)), style_file, size=size)


def test_colours_hidden_under_transparency_leave_no_fringe(style_file):
    levels = np.zeros((64, 64, 4), np.uint8)
    levels[:, 21:] = (255, 0, 0, 255)  # red beside transparent black
    cut_out = Image.fromarray(levels)
    result = stylize_fast(cut_out, style_file, size=16)
    expected = stylize_fast(load_image(cut_out, size=16), style_file)
    np.testing.assert_array_equal(result.image, expected.image)
    np.testing.assert_array_equal(result.alpha, expected.alpha)


def test_a_size_and_transparency(style_file, rng):
    pixels = rng.random((1, 40, 30, 3), np.float32)
    alpha = rng.random((1, 40, 30, 1), np.float32)
    result = stylize_fast(Picture(pixels, alpha, "photo.png"), load_style(style_file), size=64)
    assert result.image.shape == (1, 64, 48, 3)
    assert result.alpha is not None
    assert result.alpha.shape == (1, 64, 48, 1)
    assert result.settings["content"] == "photo.png"


def test_too_small(style_file):
    with pytest.raises(NstjaxError, match="15×40 pixels is too small for a style network"):
        stylize_fast(np.zeros((40, 15, 3), np.float32), style_file)


def test_a_size_that_does_not_fit_is_refused_before_it_is_made(style_file):
    """As nothing of it is there yet, within no time, and whatever the machine has."""
    pixels = np.zeros((16, 16, 3), np.float32)
    with pytest.raises(NstjaxError, match="20001×20001 pixels, more than 400 million: use a sma"):
        stylize_fast(pixels, style_file, size=20_001)
    with pytest.raises(NstjaxError, match="memory limit is 1GB, and a picture of this size needs"):
        stylize_fast(pixels, style_file, size=20_000, memory_limit="1GB")


def test_a_panorama_may_be_long(style_file):
    """However its size is said."""
    pixels = np.zeros((16, 20_001, 3), np.float32)
    for size in (None, 20_001):
        assert stylize_fast(pixels, style_file, size=size).image.shape == (1, 16, 20_001, 3)


def test_nearly_the_same_size_compiles_nothing(style_file, rng, compilations):
    style = load_style(style_file)
    paint_pixels(style, rng.random((1, 90, 70, 3), np.float32))
    before = len(compilations)
    paint_pixels(style, rng.random((1, 81, 66, 3), np.float32))
    assert len(compilations) == before


def test_bundled_styles_are_known_paintings():
    assert DEFAULT_STYLE in BUNDLED_STYLES
    assert set(BUNDLED_STYLES) <= set(PAINTINGS)


@pytest.mark.parametrize("name", BUNDLED_STYLES)
def test_bundled_style(name, rng):
    style = load_style(name)
    assert style.name == name
    assert BUNDLED_STYLES[name].stat().st_size < 4e6
    readme = BUNDLED_STYLES[name].with_name("README.md").read_text("utf-8")
    (row,) = (line for line in readme.splitlines() if line.startswith(f"| `{name}` |"))
    assert row.endswith(f"| {style.provenance['steps']} |")  # of the last training
    pixels = rng.random((1, 32, 32, 3), np.float32)
    image = paint_pixels(style, pixels)
    assert np.isfinite(image).all()
    assert image.std() > 0.02
