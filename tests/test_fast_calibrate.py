"""The losses of photographs, against the same layer by layer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs

from nstjax.fast.calibrate import losses_of_photographs
from nstjax.fast.recipes import get_training_recipe
from nstjax.losses import content_loss, gram_matrix, style_loss, total_variation
from nstjax.objective import Inputs, Targets, structure_of, weights_of
from nstjax.settings import override
from nstjax.targets import style_targets
from nstjax.vgg import extract_features

BATCH = jnp.concatenate([inputs.batch(18, 21), inputs.picture(18, 21)[:, :, ::-1]])
STYLE = jnp.asarray(inputs.picture(16, 25)[..., ::-1])
CONTENT_LAYERS = {"block1_conv2": 0.5, "block2_conv1": 2.0}
STYLE_LAYERS = {"block1_conv1": 0.25, "block2_conv1": 0.75}
FORMS = {
    "nstjax": {},
    "vgg19": {"gram_divisor": "chw", "pixel_range": 255.0},
    "lengstrom": {"gram_divisor": "chw", "tv_form": "mean_squared", "pixel_range": 255.0},
}


def recipe_of(**settings):
    return override(
        get_training_recipe("nstjax"),
        content_layers=tuple(CONTENT_LAYERS.items()),
        style_layers=tuple(STYLE_LAYERS.items()),
        precision="float32",
        **settings,
    )


def losses_of(recipe, weights, batch=BATCH):
    structure = structure_of(recipe, weights.preprocessing)
    grams = jax.jit(style_targets, static_argnums=0)(structure, weights.params, STYLE)
    numbers = Inputs(weights.params, Targets({}, grams), weights_of(recipe))
    return losses_of_photographs(structure, numbers, batch)


@pytest.fixture(scope="module")
def features(shallow_vgg19):
    layers = tuple(sorted({*CONTENT_LAYERS, *STYLE_LAYERS}))
    return [
        extract_features(
            shallow_vgg19.params, image, network="vgg19", layers=layers, preprocessing="caffe"
        )
        for image in (BATCH, STYLE)
    ]


@pytest.mark.parametrize("form", FORMS)
def test_each_layers_loss_is_measured(shallow_vgg19, features, form):
    """Photographs are compared with their neighbours in the batch, and with the style image."""
    recipe = recipe_of(**FORMS[form])
    losses = losses_of(recipe, shallow_vgg19)
    photographs, style = features
    neighbours = {name: jnp.stack([f[2], f[0], f[1]]) for name, f in photographs.items()}
    assert losses.content_layers.keys() == CONTENT_LAYERS.keys()
    for name in CONTENT_LAYERS:
        expected = content_loss(photographs[name], neighbours[name])
        np.testing.assert_allclose(losses.content_layers[name], expected, rtol=1e-4)
    assert losses.style_layers.keys() == STYLE_LAYERS.keys()
    for name in STYLE_LAYERS:
        grams = [gram_matrix(f[name], divisor=recipe.gram_divisor) for f in (photographs, style)]
        np.testing.assert_allclose(losses.style_layers[name], style_loss(*grams), rtol=1e-4)
    tv = total_variation(BATCH * recipe.pixel_range, form=recipe.tv_form)
    np.testing.assert_allclose(losses.terms["tv"], tv, rtol=1e-5)
    assert (losses.terms["content"], losses.terms["style"]) == (1, 1)


def test_weights_do_not_matter(shallow_vgg19):
    first = losses_of(recipe_of(), shallow_vgg19)
    other = losses_of(recipe_of(content_weight=7.0, style_weight=0.0, tv_weight=3.0), shallow_vgg19)
    for ours, theirs in zip(jax.tree.leaves(first), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_photographs_that_are_alike_have_no_content_loss(shallow_vgg19):
    losses = losses_of(recipe_of(), shallow_vgg19, jnp.concatenate([BATCH[:1]] * 3))
    assert set(map(float, losses.content_layers.values())) == {0.0}
    assert min(losses.style_layers.values()) > 0
