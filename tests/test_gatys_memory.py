"""Runs on the pixel route that have too little memory go on in smaller tiles."""

import sys
import tracemalloc
from itertools import pairwise
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import nstjax
from nstjax.errors import NstjaxError
from nstjax.gatys import memory
from nstjax.gatys.chunk import run_chunk
from nstjax.gatys.history import Recorder
from nstjax.gatys.memory import TILES, Tiling, estimate_bytes
from nstjax.gatys.scipy_lbfgsb import run_scipy
from nstjax.gatys.stages import Stage
from nstjax.gatys.steps import rates_of, shapes_of_state
from nstjax.images import save_image
from nstjax.objective import prepare
from nstjax.settings import override

CHUNK = "nstjax.gatys.loop.run_chunk"
LOOPS = {
    "adam": CHUNK,
    "sgd": CHUNK,
    "lbfgs": CHUNK,
    "lbfgs-b": "nstjax.gatys.scipy_lbfgsb.evaluate_picture",
}
RATES = {"adam": 0.02, "sgd": 3e-3, "lbfgs": 1.0, "lbfgs-b": 1.0}


@pytest.fixture
def pictures(rng):
    return [rng.random((1, 40, 32, 3), np.float32) for _ in range(2)]


def short_of_memory(monkeypatch, optimizer, calls):
    """Lets a program fail at some of its calls; returns the tiles that it was called with.

    What it would have taken of its state is gone, as on a CPU.
    """
    module, _, name = LOOPS[optimizer].rpartition(".")
    program = getattr(sys.modules[module], name)
    tiles = []

    def fail_at_times(structure, *arguments):
        tiles.append(structure.tile)
        if len(tiles) in calls:
            if optimizer != "lbfgs-b":
                jax.tree.map(lambda array: array.delete(), arguments[3])
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating")
        return program(structure, *arguments)

    monkeypatch.setattr(sys.modules[module], name, fail_at_times)
    return tiles


@pytest.mark.parametrize("optimizer", LOOPS)
def test_a_run_goes_on_in_smaller_tiles(
    monkeypatch, pictures, shallow_vgg19, shallow_recipe, optimizer
):
    """After four evaluations, and at once: each step is made once, and the objective falls on."""
    settings = {"optimizer": optimizer, "learning_rate": RATES[optimizer], "tile": "auto"}
    recipe = override(shallow_recipe, steps=8, size=40, **settings)
    tiles = short_of_memory(monkeypatch, optimizer, {4, 5})
    every_step = {"callback_every": 1}
    result = nstjax.stylize(*pictures, recipe=recipe, weights=shallow_vgg19, **every_step)
    assert tiles[:5] == [None, None, None, None, TILES[0]]
    assert set(tiles[5:]) == {TILES[1]}
    assert [entry["step"] for entry in result.history] == list(range(9))
    totals = [entry["total"] for entry in result.history]
    overshoots = optimizer == "adam"  # with what it remembers
    assert overshoots or all(after < before for before, after in pairwise(totals))
    assert result.settings["tile"] == TILES[1]


@pytest.mark.parametrize("failing", [1, 3, 7, 10])
@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs-b"])
def test_nothing_is_lost(monkeypatch, pictures, shallow_vgg19, shallow_recipe, optimizer, failing):
    """As all tiles are higher than the picture, the run is that of another that never failed.

    It fails at the start, within either size, and at the start of the second, with Adam's moments
    of the first.
    """
    recipe = override(
        shallow_recipe,
        optimizer=optimizer,
        learning_rate=RATES[optimizer],
        average=0.9 * (optimizer != "lbfgs-b"),
        **SCHEDULE,
    )
    options = {"recipe": recipe, "weights": shallow_vgg19, "callback_every": 1}
    whole = nstjax.stylize(*pictures, **options)
    short_of_memory(monkeypatch, optimizer, {failing, failing + 1})
    failed = nstjax.stylize(*pictures, **options)
    assert (whole.settings["tile"], failed.settings["tile"]) == (None, TILES[1])
    np.testing.assert_array_equal(failed.image, whole.image)
    for one, other in zip(failed.history, whole.history, strict=True):
        assert {**one, "seconds": 0} == {**other, "seconds": 0}


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices are not the host")
@pytest.mark.parametrize(("tile", "taken"), [(TILES[-2], False), (TILES[-1], True)])
def test_a_copy_is_kept_where_there_is_a_smaller_tile(
    monkeypatch, pictures, shallow_vgg19, shallow_recipe, tile, taken
):
    """Without one a chunk works in the memory of the state that it is given."""
    pointers = []

    def watched(*arguments):
        before = arguments[4].image.unsafe_buffer_pointer()
        state, records = run_chunk(*arguments)
        pointers.append((before, state.image.unsafe_buffer_pointer()))
        return state, records

    monkeypatch.setattr(CHUNK, watched)
    options = {"weights": shallow_vgg19, "callback_every": 1, "steps": 3, "size": 40}
    nstjax.stylize(*pictures, recipe=shallow_recipe, tile=tile, **options)
    assert len(pointers) == 4
    assert {before == after for before, after in pointers} == {taken}


SCHEDULE = {"schedule": ((0.8, 5.0), (1.0, 7.0)), "steps": 12, "size": 40, "tile": "auto"}


@pytest.mark.parametrize("failing", [3, 9, 11])
@pytest.mark.parametrize("optimizer", LOOPS)
def test_every_size_has_its_steps(
    monkeypatch, pictures, shallow_vgg19, shallow_recipe, optimizer, failing
):
    """Whichever fails; the sizes after it take the smaller tile at once."""
    settings = {"optimizer": optimizer, "learning_rate": RATES[optimizer]}
    recipe = override(shallow_recipe, **settings, **SCHEDULE)
    tiles = short_of_memory(monkeypatch, optimizer, {failing})
    sizes, told = [], []
    result = nstjax.stylize(
        *pictures,
        recipe=recipe,
        weights=shallow_vgg19,
        callback=lambda progress: sizes.append(progress.image.shape[1]),
        callback_every=1,
        tell=told.append,
    )
    assert [entry["step"] for entry in result.history] == list(range(13))
    assert sizes == [32] * 6 + [40] * 7
    assert (set(tiles[:failing]), set(tiles[failing:])) == ({None}, {TILES[0]})
    (message,) = told
    assert f"there was too little memory: going on in tiles of {TILES[0]} rows: about" in message


@pytest.mark.parametrize("tile", ["auto", None, 2 * TILES[0]])
@pytest.mark.parametrize("stop", [4, 8])
def test_resumed_after_a_smaller_tile(
    monkeypatch, pictures, shallow_vgg19, shallow_recipe, tmp_path, stop, tile
):
    """The steps of a size count from its beginning, and the tile is kept for all that follow."""
    settings = SCHEDULE | {"tile": tile}
    recipe = override(shallow_recipe, optimizer="adam", tolerance=1e-9, **settings)
    options = {"recipe": recipe, "weights": shallow_vgg19, "callback_every": 1}
    with monkeypatch.context() as patch:
        short_of_memory(patch, "adam", {stop - 1})
        whole = nstjax.stylize(*pictures, **options)
    options["snapshot"] = tmp_path / "run.resume"
    with monkeypatch.context() as patch:
        short_of_memory(patch, "adam", {stop - 1})
        nstjax.stylize(*pictures, **options, callback=lambda progress: progress.step == stop)
    tiles = short_of_memory(monkeypatch, "adam", set())
    resumed = nstjax.stylize(*pictures, **options, resume=True)
    assert set(tiles) == {TILES[0]}
    assert [entry["total"] for entry in resumed.history] == [e["total"] for e in whole.history]
    np.testing.assert_array_equal(resumed.image, whole.image)


def test_the_start_fails(monkeypatch, pictures, shallow_vgg19, shallow_recipe):
    """Before any step: the same picture as of a run that begins with the tile."""
    recipe = override(shallow_recipe, steps=2, size=40)
    expected = nstjax.stylize(*pictures, recipe=recipe, weights=shallow_vgg19, tile=TILES[-1])
    short_of_memory(monkeypatch, "adam", {1})
    result = nstjax.stylize(*pictures, recipe=recipe, weights=shallow_vgg19, tile=TILES[-2])
    np.testing.assert_array_equal(result.image, expected.image)
    assert [e["total"] for e in result.history] == [e["total"] for e in expected.history]


def test_no_smaller_tile(monkeypatch, pictures, shallow_vgg19, shallow_recipe):
    recipe = override(shallow_recipe, steps=2, size=40)
    short_of_memory(monkeypatch, "adam", {1})
    with pytest.raises(jax.errors.JaxRuntimeError, match="RESOURCE_EXHAUSTED"):
        nstjax.stylize(*pictures, recipe=recipe, weights=shallow_vgg19, tile=TILES[-1])


def test_another_error_is_raised_as_it_is(monkeypatch, pictures, shallow_vgg19, shallow_recipe):
    def broken(*_args):
        raise ValueError("another")

    monkeypatch.setattr("nstjax.gatys.loop.run_chunk", broken)
    with pytest.raises(ValueError, match="another"):
        nstjax.stylize(*pictures, recipe=shallow_recipe, weights=shallow_vgg19)


def test_a_limit_nothing_fits_in(pictures, shallow_vgg19, shallow_recipe):
    with pytest.raises(NstjaxError, match=r"memory limit is 100MB.* set --memory-limit 0\.\dGB"):
        nstjax.stylize(
            *pictures, recipe=shallow_recipe, weights=shallow_vgg19, memory_limit="100MB"
        )


def test_a_limit_is_for_the_largest_size(shallow_recipe):
    small, large = (Stage((side, side), ((side, side),), 1) for side in (64, 2048))
    needed = estimate_bytes(shallow_recipe, large.content, large.style, TILES[-1])
    recipe = override(shallow_recipe, memory_limit="100MB")
    named = f"set --memory-limit {-(-needed // 10**8) / 10:.1f}GB"
    for stages in ([small, large], [large, small]):
        with pytest.raises(NstjaxError, match=named):
            Tiling(recipe, stages)
    assert Tiling(override(recipe, memory_limit=str(needed)), [small, large]).plan.tile == TILES[-1]


def test_a_limit_decides_on_the_tile(shallow_recipe):
    sizes = (3072, 4096), (3072, 4096)
    for tile in TILES:
        needed = estimate_bytes(shallow_recipe, *sizes, tile)
        recipe = override(shallow_recipe, memory_limit=str(needed))
        assert Tiling(recipe, [Stage(sizes[0], sizes[1:], 1)]).plan.tile == tile


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "lbfgs", "lbfgs-b"])
def test_estimates_grow_with_the_tile(shallow_recipe, optimizer):
    recipe = override(shallow_recipe, optimizer=optimizer)
    sizes = (3072, 4096), (3072, 4096)
    estimates = [estimate_bytes(recipe, *sizes, tile) for tile in (None, *TILES)]
    assert estimates == sorted(estimates, reverse=True)
    assert len(set(estimates)) == len(estimates)


def test_a_style_larger_than_the_photograph_counts(shallow_recipe):
    small, large = (512, 512), (4096, 4096)
    alike, apart = (estimate_bytes(shallow_recipe, small, style, None) for style in (small, large))
    # Activations of two layers at once, at the least.
    assert apart - alike > 2 * 64 * 4 * 4096**2 - 2e9
    held = Tiling(
        override(shallow_recipe, memory_limit="90GB"), [Stage(small, (large,), 1)], held=7
    )
    assert held.plan.estimate == apart + 7 * (jax.default_backend() == "cpu")


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices are not the host")
def test_estimates_count_the_average_and_the_copies(shallow_recipe):
    """A copy of each picture of the state, unless there is no smaller tile to go on in."""
    sizes = (3072, 4096), (3072, 4096)
    picture = 4 * 3 * 3072 * 4096
    for tile, pictures in ((TILES[-2], 2), (TILES[-1], 1)):
        with_average, without = (
            estimate_bytes(override(shallow_recipe, average=average), *sizes, tile)
            for average in (0.9, 0.0)
        )
        assert with_average - without == pytest.approx(pictures * picture, abs=1)
    sgd, adam = (
        [
            estimate_bytes(override(shallow_recipe, optimizer=name), *sizes, tile)
            for tile in TILES[-2:]
        ]
        for name in ("sgd", "adam")
    )
    assert (adam[0] - adam[1]) - (sgd[0] - sgd[1]) == pytest.approx(2 * picture, abs=2)


def test_a_resumed_run_keeps_to_its_tile(shallow_recipe):
    """Unless the settings name another than they did, or set a limit that it does not fit into."""
    stage = Stage((2048, 2048), ((2048, 2048),), 1)
    needed = {
        tile: estimate_bytes(shallow_recipe, stage.content, stage.style, tile)
        for tile in (None, 64)
    }
    for settings, before, asked, tile in (
        ({}, 32, "auto", 32),
        ({}, 32, 64, 32),
        ({}, None, "auto", None),
        ({"tile": 128}, 32, 128, 32),
        ({"tile": 128}, 32, "auto", 128),
        ({"tile": None}, 32, None, 32),
        ({"tile": None}, 32, 32, None),
        ({"tile": None}, None, None, None),
        ({"tile": 16}, 32, "auto", 16),
        ({"tile": 16}, None, None, 16),
        ({"memory_limit": str(needed[64])}, None, "auto", 64),
        ({"memory_limit": str(needed[64])}, 32, "auto", 32),
    ):
        tiling = Tiling(override(shallow_recipe, **{"tile": "auto"} | settings), [stage])
        tiling.keep_to(before, asked)
        assert tiling.recipe.tile == tile


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices are not the host")
def test_the_start_counts_as_it_was_read(
    monkeypatch, pictures, shallow_vgg19, shallow_recipe, tmp_path
):
    held = []

    class Watched(Tiling):
        def __init__(self, *args, **options):
            held.append(options["held"])
            super().__init__(*args, **options)

    monkeypatch.setattr(sys.modules["nstjax.gatys.stylize"], "Tiling", Watched)
    save_image(tmp_path / "start.png", np.zeros((1, 90, 70, 3), np.float32))
    for init in ("content", str(tmp_path / "start.png")):
        options = {"recipe": shallow_recipe, "weights": shallow_vgg19, "init": init, "steps": 0}
        nstjax.stylize(*pictures, **options)
    assert held == [2 * 4 * 3 * 40 * 32, 2 * 4 * 3 * 40 * 32 + 4 * 3 * 90 * 70]


@pytest.mark.parametrize("pairs", [3, 10])
def test_what_scipy_holds(monkeypatch, shallow_recipe, pairs):
    """No more than is counted; of NumPy and Python, while another program would be JAX's."""
    recipe = override(shallow_recipe, optimizer="lbfgs-b", history_size=pairs, steps=12)
    shape = (1, 96, 128, 3)
    slopes = np.linspace(1, 9, int(np.prod(shape)), dtype=np.float32).reshape(shape)

    def evaluate_picture(_structure, _inputs, image):
        away = np.asarray(image) - 0.4
        terms = dict.fromkeys(("content", "style", "tv"), np.float32(0))
        return np.float32((slopes * away**4).sum()), 4 * slopes * away**3, terms

    monkeypatch.setattr("nstjax.gatys.scipy_lbfgsb.evaluate_picture", evaluate_picture)
    tiling = Tiling(recipe, [Stage(shape[1:3], (shape[1:3],), 12)])
    recorder = Recorder(recipe, 12, None)
    image, objective = jnp.ones(shape), cast(Any, lambda: (None, None))
    run_scipy(tiling, objective, image, 1, recorder)  # imports
    tracemalloc.start()
    run_scipy(tiling, objective, image, 12, Recorder(recipe, 12, None))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    pictures = peak / (8 * np.prod(shape)) - 2 * pairs
    assert 0.8 * memory._SCIPY_PICTURES < pictures < memory._SCIPY_PICTURES


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices compile other programs")
def test_what_lbfgs_holds(shallow_vgg19, shallow_recipe):
    """By XLA's account, which has the gradient's memory too, and so against Adam's."""
    content = jnp.zeros((1, 256, 256, 3))
    held, counted = {}, {}
    for optimizer in ("lbfgs", "adam"):
        recipe = override(shallow_recipe, optimizer=optimizer, history_size=3, tile=16)
        structure, inputs = prepare(recipe, "caffe", shallow_vgg19.params, content, content)
        state, count = shapes_of_state(recipe, 256, 256), jax.ShapeDtypeStruct((), jnp.int32)
        arguments: Any = (structure, optimizer, inputs, rates_of(recipe), state, count)
        found = run_chunk.lower(*arguments).compile().memory_analysis()
        assert found
        bytes_held = found.temp_size_in_bytes + found.alias_size_in_bytes
        held[optimizer] = bytes_held / content.nbytes
        counted[optimizer] = memory._optimizer_pictures(recipe, False, 16)
    more = counted["lbfgs"] - counted["adam"]
    assert more - 4 < held["lbfgs"] - held["adam"] < more


def test_lbfgs_remembers_fewer_steps_where_no_tile_fits(shallow_recipe):
    """It says so, and the limit that nothing fits into names what the fewest need."""
    sizes, stage = ((3072, 4096), (3072, 4096)), Stage((3072, 4096), ((3072, 4096),), 1)
    recipe = override(shallow_recipe, optimizer="lbfgs", history_size=10, tile="auto")
    needed = {
        pairs: estimate_bytes(override(recipe, history_size=pairs), *sizes, TILES[-1])
        for pairs in (10, 5, 3)
    }
    for limit, pairs in (
        (needed[10], 10),
        (needed[10] - 1, 5),
        (needed[5], 5),
        (needed[5] - 1, 3),
        (needed[3], 3),
    ):
        tiling = Tiling(override(recipe, memory_limit=str(limit)), [stage])
        assert tiling.recipe.history_size == pairs
        assert tiling.plan.estimate <= limit
        assert tiling.saves_memory
        assert ("L-BFGS" in str(tiling)) == (pairs < 10)
    assert str(tiling).startswith(
        f"in tiles of {TILES[-1]} rows, with 3 of L-BFGS' 10 pairs of steps: about"
    )
    named = f"set --memory-limit {-(-needed[3] // 10**8) / 10:.1f}GB"
    with pytest.raises(NstjaxError, match=named):
        Tiling(override(recipe, memory_limit=str(needed[3] - 1)), [stage])
    # A tile that is named and does not fit is no reason, where a smaller one would do.
    with pytest.raises(NstjaxError, match="--tile auto"):
        Tiling(override(recipe, tile=None, memory_limit=str(needed[10])), [stage])
    for other in ({"optimizer": "adam"}, {"optimizer": "lbfgs-b"}, {"memory_limit": "900GB"}):
        limit = {"memory_limit": "90GB"} | other
        assert Tiling(override(recipe, **limit), [stage]).recipe.history_size == 10


def test_a_run_that_remembers_fewer_steps(pictures, shallow_vgg19, shallow_recipe, tmp_path):
    """Its settings say how many; and it goes on with as many, whatever is free then."""
    recipe = override(shallow_recipe, optimizer="lbfgs", steps=8, size=40, tile=TILES[-1])
    few = override(recipe, history_size=3)
    held = sum(picture.nbytes for picture in pictures)
    limit = str(held + estimate_bytes(few, (40, 32), (40, 32), TILES[-1]))
    options = {"weights": shallow_vgg19, "callback_every": 1, "snapshot": tmp_path / "run.resume"}
    told = []
    whole = nstjax.stylize(
        *pictures, recipe=recipe, memory_limit=limit, tell=told.append, **options
    )
    assert f"in tiles of {TILES[-1]} rows, with 3 of L-BFGS' 10 pairs of steps: about" in told[0]
    assert whole.settings["history_size"] == 3
    replayed = nstjax.stylize(*pictures, recipe=few, weights=shallow_vgg19, callback_every=1)
    np.testing.assert_array_equal(replayed.image, whole.image)
    nstjax.stylize(
        *pictures, recipe=recipe, memory_limit=limit, callback=lambda p: p.step == 5, **options
    )
    resumed = nstjax.stylize(*pictures, recipe=recipe, resume=True, **options)
    np.testing.assert_array_equal(resumed.image, whole.image)
    assert resumed.settings["history_size"] == 3
