"""The planner: what fits is chosen by made-up numbers; estimates against measured ones."""

import numpy as np
import pytest

from nstjax import memory
from nstjax.errors import NstjaxError
from nstjax.memory import choose_tile, parse_size, parse_tile, room
from nstjax.recipes import get_recipe
from nstjax.settings import override
from nstjax.vgg.memory import forward_bytes, gradient_bytes

# 1 GB and 10 MB a row; 5 GB untiled.
MADE_UP = {None: 5_000_000_000, 128: 2_280_000_000, 64: 1_640_000_000, 32: 1_320_000_000}


def choose(tile, limit):
    return choose_tile(MADE_UP.__getitem__, tile, candidates=(128, 64, 32), limit=limit)


@pytest.mark.parametrize(
    ("limit", "tile"), [("5GB", None), ("4999MB", 128), ("2GB", 64), ("1.32GB", 32)]
)
def test_the_largest_that_fits(limit, tile):
    plan = choose("auto", limit)
    assert (plan.tile, plan.estimate) == (tile, MADE_UP[tile])
    assert plan.estimate <= plan.room == parse_size(limit)


def test_what_is_asked_for_is_kept_to():
    assert choose(64, "5GB").tile == 64
    assert choose(None, "6GB").tile is None


@pytest.mark.parametrize(
    ("tile", "least"), [("auto", r"1\.4GB"), (64, r"1\.7GB, or use --tile auto"), (None, r"5\.0GB")]
)
def test_a_limit_that_nothing_fits_into_names_the_smallest(tile, least):
    with pytest.raises(NstjaxError, match=rf"memory limit is 1GB.*set --memory-limit {least}"):
        choose(tile, "1GB")
    smallest = least.split("GB")[0].replace("\\", "") + "GB"
    assert choose(tile, smallest).estimate <= parse_size(smallest)


def test_without_a_limit_what_is_free_decides(monkeypatch):
    monkeypatch.setattr(memory, "room", lambda: 2 * 10**9)
    assert choose("auto", None).tile == 64
    monkeypatch.setattr(memory, "room", lambda: 10**9)
    assert choose("auto", None).tile == 32  # it may do


def test_it_says_so():
    assert str(choose("auto", "2GB")) == "in tiles of 64 rows: about 1.6 GB of 2.0 GB"
    assert str(choose("auto", "6GB")) == "untiled: about 5.0 GB of 6.0 GB"


@pytest.mark.parametrize(
    ("text", "size"),
    [("4GB", 4e9), ("4 gb", 4e9), ("1.5GiB", 1.5 * 2**30), ("512M", 512e6), ("1000", 1000)],
)
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "4 apples", "GB", "-4GB", "0GB", "4iB", "1e9", "9" * 400])
def test_what_is_no_size(text):
    with pytest.raises(NstjaxError, match=r"no size of memory: write a number and a unit, as in"):
        parse_size(text)
    with pytest.raises(NstjaxError, match="no size of memory"):
        override(get_recipe("tensorflow"), memory_limit=text)


@pytest.mark.parametrize(("tile", "parsed"), [("auto", "auto"), ("off", None), (None, None)])
def test_words_for_tiles(tile, parsed):
    assert parse_tile(tile) == parsed


def test_numbers_of_rows():
    assert parse_tile(" 64 ") == parse_tile(np.int64(64)) == 64
    assert type(parse_tile(np.int64(64))) is int


@pytest.mark.parametrize("tile", ["big", "6.5", 6.5, True, [16], "--64", "9" * 5000])
def test_what_is_no_tile(tile):
    with pytest.raises(NstjaxError, match="it must be auto, off, or an even number of rows"):
        parse_tile(tile)


@pytest.mark.parametrize(
    ("tile", "message"), [(17, "must be even"), ("8", "must be 16 to"), (-2, "must be 16 to")]
)
def test_tiles_that_would_not_do(tile, message):
    with pytest.raises(NstjaxError, match=message):
        override(get_recipe("tensorflow"), tile=tile)


def test_a_containers_limit(monkeypatch, tmp_path):
    """A control group of 3 GB, 1 GB of it taken; and one without a limit."""
    for number, limit in enumerate(("3000000000\n", "max\n")):
        (tmp_path / f"max{number}").write_text(limit)
        (tmp_path / f"now{number}").write_text("1000000000\n")
    groups = [(tmp_path / f"max{number}", tmp_path / f"now{number}") for number in (0, 1)]
    monkeypatch.setattr(memory, "_GROUPS", groups)
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory, "device_memory", lambda: None)
    own = memory.psutil.Process().memory_info().rss
    assert room() == pytest.approx(0.9 * (own + 2e9), rel=0.02)
    monkeypatch.setattr(memory, "device_memory", lambda: 16 * 10**9)
    assert room() == 0.9 * 16e9


# Width, height, tile and GB of temporary memory of a step of the tutorial's recipe on VGG19, as
# XLA's analysis of the compiled program has it (jax 0.10.2 on a CPU).
MEASURED = [
    (256, 256, None, 0.121),
    (512, 512, None, 0.463),
    (1024, 768, None, 1.369),
    (2048, 1536, None, 5.375),
    (1024, 768, 16, 0.276),
    (1024, 768, 64, 0.493),
    (2048, 1536, 16, 0.804),
    (2048, 1536, 32, 1.003),
    (2048, 1536, 64, 1.438),
    (2048, 1536, 128, 1.891),
    (4096, 3072, 16, 2.489),
    (4096, 3072, 32, 3.075),
]


@pytest.mark.parametrize(("width", "height", "tile", "measured"), MEASURED)
def test_the_gradients_estimate(width, height, tile, measured):
    """Within 5 % below and 25 % above, and 40 MB."""
    recipe = get_recipe("tensorflow")
    layers = tuple(name for name, _ in recipe.content_layers + recipe.style_layers)
    estimate = gradient_bytes(recipe.network, layers, height, width, tile) / 1e9
    assert 0.95 * measured < estimate < 1.25 * measured + 0.04


# Side, tile and GB of temporary memory of measuring a style image for the default recipe, likewise.
MEASURED_FORWARD = [
    (512, None, 0.204),
    (1024, None, 0.808),
    (1024, 16, 0.129),
    (1024, 64, 0.204),
    (2048, 16, 0.457),
]


@pytest.mark.parametrize(("side", "tile", "measured"), MEASURED_FORWARD)
def test_the_estimate_of_measuring_a_style(side, tile, measured):
    recipe = get_recipe("nstjax")
    layers = tuple(name for name, _ in recipe.style_layers)
    estimate = forward_bytes(recipe.network, layers, side, side, tile) / 1e9
    assert 0.95 * measured < estimate < 1.25 * measured + 0.04
