"""Style networks on a few rows at a time: the same picture as of the whole, in less memory."""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nstjax.errors import NstjaxError
from nstjax.fast import Architecture, Style, load_style, paint_pixels, stylize_fast
from nstjax.fast.memory import TILES, estimate_bytes
from nstjax.fast.network import init_params, paint, paint_clipped
from nstjax.images import load_image, resize_image

pytestmark = pytest.mark.usefixtures("quick_compilation")

# Every variant that has an operation of its own, at a quarter of the channels.
VARIANTS = {
    "johnson": Architecture(width=0.25),
    "transpose": Architecture(width=0.25, upsampling="transpose", output="linear", norm_last=True),
    "subpixel": Architecture(design="subpixel", width=0.25, output="sigmoid"),
}


def lively_params(architecture):
    """First parameters, but for residual blocks and an output that do something."""
    params = init_params(architecture, jax.random.key(0))

    def enliven(path, value):
        if path[-1].key == "scale":
            return jax.random.uniform(jax.random.key(len(str(path))), value.shape, minval=0.5)
        return value * (8 if path[0].key == "output" else 1)

    return jax.tree_util.tree_map_with_path(enliven, params)


# Sizes that the tile does not divide, and a tile near the height.
CASES = {"johnson": ((61, 38), 16), "transpose": ((45, 50), 44), "subpixel": ((61, 38), 16)}


@pytest.mark.parametrize("variant", VARIANTS)
def test_pictures_are_those_of_the_whole(variant, rng):
    """In float64, where nothing but an error makes a difference."""
    architecture, (size, tile) = VARIANTS[variant], CASES[variant]
    with jax.enable_x64(True):
        params = jax.tree.map(lambda p: jnp.asarray(p, jnp.float64), lively_params(architecture))
        image = jnp.asarray(rng.random((2, *size, 3)))
        compiled = jax.jit(paint, static_argnums=0, static_argnames=("dtype", "tile"))
        whole = compiled(architecture, params, image, dtype="float64")
        tiled = compiled(architecture, params, image, dtype="float64", tile=tile)
        assert whole.std() > 0.05
        np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-12)


def test_bundled_style_within_a_level(rng):
    """The algorithms that are used, in float32."""
    style = load_style("starry")
    pixels = resize_image(rng.random((1, 12, 9, 3), np.float32), 150, 111)
    whole, tiled = (paint_pixels(style, pixels, tile=tile) for tile in (None, 32))
    assert whole.std() > 0.05
    assert np.abs(np.round(255 * whole) - np.round(255 * tiled)).max() <= 1
    np.testing.assert_allclose(tiled, whole, rtol=0, atol=1e-4)


@pytest.mark.long
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("design", ["johnson", "subpixel"])
def test_a_large_photograph_within_a_level(assets, design, tile):
    """12.6 million pixels: up to 5.8 GB of memory with johnson, 2.3 GB with subpixel."""
    style = load_style("starry")
    if design == "johnson":
        architecture = Architecture()
        style = Style("first", architecture, lively_params(architecture), {})
    assert style.architecture.design == design
    pixels = load_image(assets / "content" / "tubingen.jpg").pixels
    pixels = resize_image(pixels, 3072, 4096)
    whole, tiled = (paint_pixels(style, pixels, tile=rows) for rows in (None, tile))
    assert whole.std() > 0.05
    levels = np.abs(np.round(255 * whole) - np.round(255 * tiled)).max()
    assert levels <= 1


@pytest.mark.parametrize("design", ["johnson", "subpixel"])
def test_tiles_need_less_memory(design):
    architecture = Architecture(design=design, width=0.5)
    params = jax.eval_shape(lambda: init_params(architecture, jax.random.key(0)))
    image = jax.ShapeDtypeStruct((1, 1024, 512, 3), jnp.float32)

    def temporary_bytes(tile):
        program = paint_clipped.lower(architecture, "float32", params, image, tile).compile()
        memory = program.memory_analysis()
        assert memory
        return memory.temp_size_in_bytes

    assert temporary_bytes(64) < 0.6 * temporary_bytes(None)


@pytest.mark.parametrize("tile", ["auto", 64])
def test_smaller_tiles_where_memory_is_short(monkeypatch, tile):
    """The program's error is made up: it comes until the tile is the smallest."""
    module = sys.modules["nstjax.fast.stylize"]
    tried = []

    def paint_pixels(_style, pixels, *, tile):
        tried.append(tile)
        if tile != 64:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory")
        return pixels

    monkeypatch.setattr(module, "paint_pixels", paint_pixels)
    pixels, told = np.full((40, 50, 3), 0.5, np.float32), []
    result = module.stylize_fast(pixels, "starry", tile=tile, tell=told.append)
    assert [message.partition(": about")[0] for message in told] == [
        f"there was too little memory: going on in tiles of {rows} rows" for rows in tried[1:]
    ]
    assert tried == ([None, 256, 64] if tile == "auto" else [64])
    assert result.settings["tile"] == 64


def test_the_smallest_tile_is_too_much(monkeypatch):
    module = sys.modules["nstjax.fast.stylize"]

    def paint_pixels(*_args, **_options):
        raise MemoryError

    monkeypatch.setattr(module, "paint_pixels", paint_pixels)
    with pytest.raises(MemoryError):
        module.stylize_fast(np.zeros((40, 50, 3), np.float32), "starry")


def test_a_limit(rng):
    """Between what a picture takes untiled and in tiles, and below both."""
    architecture, size = load_style("starry").architecture, (4096, 3072)
    untiled, tiled = (estimate_bytes(architecture, *size, tile) for tile in (None, TILES[-1]))
    assert tiled < 0.75 * untiled
    with pytest.raises(NstjaxError, match=r"memory limit is 100MB.* set --memory-limit 0\.[0-9]GB"):
        stylize_fast(np.zeros((40, 50, 3), np.float32), "starry", memory_limit="100MB")
