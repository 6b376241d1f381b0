"""The planner: what fits is chosen by made-up numbers; estimates against measured ones."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from nstjax import memory
from nstjax.errors import NstjaxError
from nstjax.memory import choose_tile, free_memory, parse_size, parse_tile
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
    monkeypatch.setattr(memory, "free_memory", lambda: 2 * 10**9)
    assert choose("auto", None).tile == 64
    monkeypatch.setattr(memory, "free_memory", lambda: 10**9)
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


V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
V2 = ("memory.max", "memory.current", "inactive_file")


@pytest.fixture
def groups(monkeypatch, tmp_path):
    """Control groups that are made up: how to add one, and what is told of the process's own."""
    own = tmp_path / "own"
    monkeypatch.setattr(memory, "_OWN_GROUPS", own)
    monkeypatch.setattr(memory, "_GROUPS", tmp_path / "groups")
    monkeypatch.setattr(memory.sys, "platform", "linux")
    monkeypatch.setattr(memory, "device_memory", lambda: None)
    rss = memory.psutil.Process().memory_info().rss
    monkeypatch.setattr(
        memory.psutil.Process, "memory_info", lambda _self: SimpleNamespace(rss=rss)
    )
    free = SimpleNamespace(available=50 * 10**9)
    monkeypatch.setattr(memory.psutil, "virtual_memory", lambda: free)

    def add(group, names, limit, used, cache=0):
        folder = tmp_path / "groups" / group
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in zip(names, (limit, used), strict=False):
            (folder / name).write_text(f"{value}\n")
        text = f"anon 1\n{names[2]} {cache}\n{names[2]}_else 7\n"
        (folder / "memory.stat").write_text(text)

    return SimpleNamespace(add=add, own=own, left=lambda: free_memory() / 0.9 - rss)


@pytest.mark.parametrize(("names", "root"), [(V2, "."), (V1, "memory")])
def test_a_containers_limit(groups, names, root):
    """Of 3 GB 1 GB is taken, a part of it by the cache of files; nobody says the own group."""
    groups.add(root, names, 3 * 10**9, 10**9)
    assert groups.left() == pytest.approx(2e9)
    groups.add(root, names, 3 * 10**9, 10**9, cache=400 * 10**6)
    assert groups.left() == pytest.approx(2.4e9)
    groups.add(root, names, 3 * 10**9, 4 * 10**9)
    assert groups.left() == pytest.approx(0, abs=1)


@pytest.mark.parametrize(
    ("names", "root", "own"),
    [
        (V2, ".", "0::/job/step/task\n"),
        (V1, "memory", "4:cpu,cpuacct:/other\n3:devices,memory:/job/step/task\n0::/\n"),
    ],
)
def test_the_least_of_the_groups_around_the_process(groups, names, root, own):
    """As of SLURM and systemd, whose limits are of groups somewhere below the root."""
    groups.own.write_text(own)
    groups.add(f"{root}/other", names, 10**6, 0)
    groups.add(f"{root}/job/step/task", names, "max", 10**9)
    assert groups.left() == pytest.approx(50e9)
    groups.add(f"{root}/job/step", names, 4 * 10**9, 10**9)
    assert groups.left() == pytest.approx(3e9)
    groups.add(f"{root}/job", names, 2 * 10**9, 10**9)
    assert groups.left() == pytest.approx(1e9)
    groups.add(root, names, 30 * 10**9, 10**9)
    assert groups.left() == pytest.approx(1e9)
    groups.own.write_text(own.replace("job/step/task", "in/another/namespace"))
    assert groups.left() == pytest.approx(29e9)
    groups.own.write_text(own.replace("/job/step/task", "/../other"))
    assert groups.left() == pytest.approx(29e9)


@pytest.mark.parametrize("own", ["", "what is this", "0:/", ":::::", "0::\0", "1:name=systemd:/a"])
def test_odd_files_of_control_groups(groups, own):
    groups.own.write_text(own)
    groups.add(".", V2, "many", 10**9)
    assert groups.left() == pytest.approx(50e9)
    groups.add(".", V2, 3 * 10**9, "")
    assert groups.left() == pytest.approx(50e9)
    groups.add(".", V2, 3 * 10**9, 10**9, cache="")
    assert groups.left() == pytest.approx(2e9)
    statistics = memory._GROUPS / "memory.stat"
    for odd in (b"", b"\xff\xfe", b"inactive_file", b"inactive_file 1 2"):
        statistics.write_bytes(odd)
        assert groups.left() == pytest.approx(2e9)
    (memory._GROUPS / "memory.max").unlink()
    (memory._GROUPS / "memory.max").mkdir()
    assert groups.left() == pytest.approx(50e9)


@pytest.mark.parametrize(
    ("stats", "free"),
    [
        ({"bytes_limit": 16 * 10**9, "bytes_in_use": 4 * 10**9}, 12 * 10**9),
        ({"bytes_limit": 16 * 10**9}, 16 * 10**9),
        ({"bytes_limit": 10**9, "bytes_in_use": 2 * 10**9}, 0),
    ],
)
def test_a_gpus_memory_that_is_free(monkeypatch, stats, free):
    device = SimpleNamespace(memory_stats=lambda: stats)
    monkeypatch.setattr(jax, "local_devices", lambda: [device])
    assert free_memory() == int(0.9 * free)


# Width, height, tile and GB of temporary memory of a step of the tutorial's recipe on VGG19, as
# XLA's analysis of the compiled program has it (jax 0.10.2 on a CPU).
MEASURED = [
    (256, 256, None, 0.120),
    (512, 512, None, 0.467),
    (1024, 768, None, 1.353),
    (2048, 1536, None, 5.375),
    (1024, 768, 32, 0.164),
    (1024, 768, 128, 0.258),
    (2048, 1536, 32, 0.433),
    (2048, 1536, 64, 0.542),
    (2048, 1536, 128, 0.760),
    (2048, 1536, 256, 0.978),
    (4096, 3072, 32, 1.443),
    (4096, 3072, 64, 1.662),
    (4096, 3072, 256, 2.971),
]


@pytest.mark.parametrize(("width", "height", "tile", "measured"), MEASURED)
def test_the_gradients_estimate(width, height, tile, measured):
    """Within 5 % below and 25 % above, and 15 MB."""
    recipe = get_recipe("tensorflow")
    layers = tuple(name for name, _ in recipe.content_layers + recipe.style_layers)
    estimate = gradient_bytes(recipe.network, layers, height, width, tile) / 1e9
    assert 0.95 * measured < estimate < 1.25 * measured + 0.015


# Side, tile and GB of temporary memory of measuring a style image for the default recipe, likewise.
MEASURED_FORWARD = [
    (512, None, 0.204),
    (1024, None, 0.808),
    (1024, 32, 0.081),
    (1024, 64, 0.106),
    (2048, 64, 0.312),
]


@pytest.mark.parametrize(("side", "tile", "measured"), MEASURED_FORWARD)
def test_the_estimate_of_measuring_a_style(side, tile, measured):
    recipe = get_recipe("nstjax")
    layers = tuple(name for name, _ in recipe.style_layers)
    estimate = forward_bytes(recipe.network, layers, side, side, tile) / 1e9
    assert 0.95 * measured < estimate < 1.25 * measured + 0.015
