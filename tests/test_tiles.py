"""Tiles: the same objective and gradient as of whole pictures, in less memory."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nstjax.errors import NstjaxError
from nstjax.objective import Inputs, Structure, evaluate, evaluate_with_gradient, prepare
from nstjax.ops import map_tiles
from nstjax.recipes import get_recipe
from nstjax.settings import override
from nstjax.targets import content_targets
from nstjax.vgg import freeze

FORMS = {
    "mean": {"content_layers": "relu3_2", "style_layers": "relu1_1,relu2_1,relu3_1"},
    "pools": {
        "pooling": "avg",
        "content_layers": "pool1,relu2_2,pool2",
        "style_layers": "relu1_2,pool2,relu3_1",
        "content_reduction": "half_sum",
        "gram_divisor": "1",
        "style_reduction": "gatys",
    },
    "odd halo": {"network": "vgg16", "style_layers": "relu3_3", "content_layers": "relu3_2"},
    "wasserstein, avg": {
        "pooling": "avg-scaled",
        "style_loss": "wasserstein2",
        "first_padding": "replicate",
        "content_layers": "relu2_2",
        "style_layers": "relu1_1,relu2_1,pool2",
    },
    "wasserstein, max": {
        "style_loss": "wasserstein2",
        "first_padding": "replicate",
        "content_layers": "relu2_2",
        "style_layers": "relu1_1,relu2_1,pool2",
    },
    "wasserstein, l2": {
        "pooling": "l2-scaled",
        "style_loss": "wasserstein2",
        "first_padding": "replicate",
        "content_layers": "relu1_2",
        "style_layers": "relu1_1,relu2_1",
    },
}
# With tiles of 16 and 22 rows: two tiles, and several in the third block, too.
SIZES = {(19, 17): 16, (275, 12): 22}


def objective_of(recipe, weights, content, style) -> tuple[Structure, Inputs]:
    params = jax.tree.map(lambda array: jnp.asarray(array, content.dtype), dict(weights.params))
    return prepare(recipe, weights.preprocessing, params, content, style)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("form", FORMS)
def test_objective_and_gradient_are_those_of_the_whole(request, rng, form, size):
    """In float64, where no rounding decides which of nearly equal values a pool takes."""
    recipe = override(get_recipe("tensorflow"), **FORMS[form])
    weights = request.getfixturevalue(f"random_{recipe.network}")
    with jax.enable_x64(True):
        image, content, style = (jnp.asarray(rng.random((1, *size, 3))) for _ in range(3))

        def value_and_gradient(tile):
            structure, numbers = objective_of(
                override(recipe, tile=tile), weights, content, style[:, :, ::-1]
            )
            total = jax.jit(
                jax.value_and_grad(lambda image: evaluate(structure, numbers, image)[0])
            )
            return total(image)

        whole, whole_gradient = value_and_gradient(None)
        tiled, gradient = value_and_gradient(SIZES[size])
        assert whole > 0
        # Small eigenvalues of covariances are differences of large sums.
        close = 1e-12 if recipe.style_loss == "gram" else 1e-9
        np.testing.assert_allclose(tiled, whole, rtol=close)
        largest = float(jnp.max(jnp.abs(whole_gradient)))
        np.testing.assert_allclose(gradient, whole_gradient, rtol=0, atol=close * largest)


@pytest.mark.parametrize("rows", [15, 16, 17, 18, 31, 33])
def test_the_border_of_the_picture_is_replicated_in_its_tiles(shallow_vgg19, rng, rows):
    """However its last row lies in the last tile and in the halo of the one before."""
    recipe = override(
        get_recipe("tensorflow"),
        first_padding="replicate",
        content_layers="relu1_1,relu1_2",
        style_layers="relu1_1",
    )
    with jax.enable_x64(True):
        image = jnp.asarray(rng.random((1, rows, 5, 3)))
        whole, tiled = (
            content_targets(
                objective_of(override(recipe, tile=tile), shallow_vgg19, image, image)[0],
                shallow_vgg19.params,
                image,
            )
            for tile in (None, 16)
        )
    for name, array in whole.items():
        expected = np.asarray(array)
        np.testing.assert_allclose(tiled[name], expected, rtol=0, atol=1e-12 * expected.max())


def test_frozen_kernels_and_batches(random_vgg19, rng):
    """In float32, on this package's convolutions."""
    recipe = override(get_recipe("tensorflow"), content_layers="relu2_2", style_layers="relu1_1")
    images, contents = (jnp.asarray(rng.random((2, 70, 64, 3)), jnp.float32) for _ in range(2))
    params = freeze({name: random_vgg19.params[name] for name in random_vgg19.params})
    totals = []
    for tile in (None, 16):
        structure, numbers = prepare(
            override(recipe, tile=tile), "caffe", params, contents, contents[:1]
        )
        totals.append(jax.jit(evaluate, static_argnums=0)(structure, numbers, images)[0])
    np.testing.assert_allclose(totals[1], totals[0], rtol=2e-5)


def test_content_targets_are_whole(random_vgg19, rng):
    recipe = override(get_recipe("tensorflow"), content_layers="relu1_2,pool2")
    image = jnp.asarray(rng.random((1, 45, 30, 3)), jnp.float32)
    whole, tiled = (
        content_targets(
            objective_of(override(recipe, tile=tile), random_vgg19, image, image)[0],
            random_vgg19.params,
            image,
        )
        for tile in (None, 16)
    )
    assert {name: array.shape for name, array in tiled.items()} == {
        "block1_conv2": (1, 45, 30, 64),
        "block2_pool": (1, 11, 7, 128),
    }
    for name, array in whole.items():
        np.testing.assert_allclose(tiled[name], array, rtol=0, atol=1e-5 * float(array.max()))


def test_tiles_need_less_memory(shallow_vgg19, shallow_recipe):
    def temporary_bytes(tile):
        picture = jnp.zeros((1, 512, 256, 3))
        recipe = override(shallow_recipe, tile=tile)
        structure, numbers = objective_of(recipe, shallow_vgg19, picture, picture[:, :64])
        gradient = jax.jit(jax.grad(lambda image: evaluate(structure, numbers, image)[0]))
        memory = gradient.lower(picture).compile().memory_analysis()
        assert memory
        return memory.temp_size_in_bytes

    assert temporary_bytes(32) < 0.4 * temporary_bytes(None)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="other devices compile other programs")
def test_the_total_variation_waits_for_the_network(shallow_vgg19, shallow_recipe):
    """It holds none of its pictures while the network's gradient needs most memory."""
    picture = jnp.zeros((1, 512, 256, 3))
    recipe = override(shallow_recipe, tile=64, tv_form="half_squared")
    structure, numbers = objective_of(recipe, shallow_vgg19, picture, picture[:, :64])

    at_once = jax.value_and_grad(partial(evaluate, structure, numbers), has_aux=True)
    later = partial(evaluate_with_gradient, structure, numbers)
    taken = []
    for function in (at_once, later):
        memory = jax.jit(function).lower(picture).compile().memory_analysis()
        assert memory
        taken.append(memory.temp_size_in_bytes / picture.nbytes)
    assert taken[0] - taken[1] > 1.5


def test_a_tile_sees_where_the_picture_ends():
    """Sums of each row and its neighbours, on tiles of two rows with a halo of one."""
    x = jnp.arange(1.0, 6.0).reshape(1, 5, 1, 1)

    def tile(rows, inside, aligned, factor):
        three = factor * (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) + aligned
        three = jnp.where(inside[1:-1, None, None], three, 0)
        return three, jnp.sum(three)

    picture, total = map_tiles(tile, 2, 1, x, 100 * x, 1.0)
    assert picture.ravel()[:5].tolist() == [103, 206, 309, 412, 509]
    assert total == 1539
    gradient = jax.grad(lambda x: map_tiles(tile, 2, 1, x, 100 * x, 1.0)[1])(x)
    assert gradient.ravel().tolist() == [2, 3, 3, 3, 2]


@pytest.mark.parametrize("tile", [17, 8])
def test_unfit_tiles(tile):
    with pytest.raises(NstjaxError, match=rf"tile is {tile}: it must be"):
        override(get_recipe("tensorflow"), tile=tile)
