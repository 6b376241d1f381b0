"""Rescaled filters: mean activations of one, and the same network otherwise."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs

from nstjax.errors import NstjaxError
from nstjax.images import load_image
from nstjax.vgg import (
    INPUT_SPREAD,
    POOLING,
    VGG,
    Weights,
    bundled_means,
    divide_activations,
    layer_names,
    mean_activations,
    preprocess,
    rescale,
)

LAYERS = tuple(name for name in layer_names("vgg16") if "conv" in name)
PICTURES = [inputs.picture(40, 56), inputs.picture(48, 33)]


def features_of(params, picture, pooling, layers=LAYERS):
    vgg = VGG("vgg16", layers, pooling)
    run = jax.jit(lambda params, x: vgg.apply({"params": params}, preprocess(x, "caffe")))
    return run(params, jnp.asarray(picture))


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_activations_are_divided_by_their_means(random_vgg16, pooling):
    means = mean_activations(random_vgg16, PICTURES, pooling=pooling)
    rescaled = rescale(random_vgg16.params, means)
    assert list(means) == list(LAYERS)
    averages = {layer: [] for layer in LAYERS}
    for picture in PICTURES:
        before = features_of(random_vgg16.params, picture, pooling)
        after = features_of(rescaled, picture, pooling)
        for layer in LAYERS:
            # In the original's units: what a filter that hardly fires gives is a small difference
            # of large sums, and uncertain relative to itself.
            original = np.asarray(before[layer])
            undone = after[layer] * np.where(means[layer] > 0, means[layer], 1)
            np.testing.assert_allclose(undone, original, rtol=1e-4, atol=1e-5 * original.max())
            averages[layer].append(np.asarray(after[layer]).mean(axis=(0, 1, 2)))
    for layer in LAYERS:
        fires = means[layer] > 1e-3 * means[layer].max()
        assert fires.mean() > 0.5
        np.testing.assert_allclose(np.mean(averages[layer], axis=0)[fires], 1, rtol=1e-3)


def test_means_by_hand(random_vgg16, compilations):
    """Each picture counts the same, whatever its size."""
    means = mean_activations(random_vgg16, PICTURES, pooling="max")
    by_hand = [
        np.asarray(
            features_of(random_vgg16.params, picture, "max", ("block2_conv1",))["block2_conv1"]
        )
        for picture in PICTURES
    ]
    expected = sum(features.mean(axis=(0, 1, 2)) for features in by_hand) / 2
    np.testing.assert_allclose(means["block2_conv1"], expected, rtol=1e-4)
    compilations.clear()
    mean_activations(random_vgg16, PICTURES, pooling="max")
    assert not compilations


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_the_classifier_is_unchanged(random_vgg16_top, pooling):
    weights = random_vgg16_top
    means = mean_activations(weights, PICTURES, pooling=pooling)
    picture = inputs.picture(224, 224)
    before, after = (
        np.asarray(features_of(params, picture, pooling, ("predictions",))["predictions"][0])
        for params in (weights.params, rescale(weights.params, means))
    )
    np.testing.assert_allclose(after, before, rtol=1e-3)
    best = np.argsort(-before)
    clear = -np.diff(before[best]) > 1e-3 * before[best][1:]  # not decided by rounding
    assert clear[:5].any()
    np.testing.assert_array_equal(np.argsort(-after)[:5][clear[:5]], best[:5][clear[:5]])


def test_a_filter_that_never_fires_keeps_its_scale(random_vgg16):
    params = {name: dict(kinds) for name, kinds in random_vgg16.params.items()}
    bias = params["block2_conv1"]["bias"].copy()
    bias[7] = -1e9
    params["block2_conv1"]["bias"] = bias
    weights = Weights("vgg16", "caffe", params, top=False, sha256="0" * 64)
    means = mean_activations(weights, PICTURES[:1], pooling="max")
    assert means["block2_conv1"][7] == 0
    rescaled = rescale(params, means)
    assert rescaled["block2_conv1"]["bias"][7] == np.float32(-1e9)
    following = means["block2_conv2"]
    np.testing.assert_array_equal(
        rescaled["block2_conv2"]["kernel"][:, :, 7],
        params["block2_conv2"]["kernel"][:, :, 7] / np.where(following > 0, following, 1),
    )
    for kinds in rescaled.values():
        for array in kinds.values():
            assert array.dtype == np.float32
            assert np.isfinite(array).all()


def test_rescale_leaves_its_argument_alone(random_vgg16):
    before = {name: kinds["kernel"].copy() for name, kinds in random_vgg16.params.items()}
    rescale(random_vgg16.params, mean_activations(random_vgg16, PICTURES[:1], pooling="avg"))
    for name, kernel in before.items():
        np.testing.assert_array_equal(random_vgg16.params[name]["kernel"], kernel)


@pytest.mark.parametrize("pooling", POOLING)
def test_all_activations_are_divided(shallow_vgg19, pooling):
    divided = divide_activations(shallow_vgg19.params, INPUT_SPREAD["caffe"])
    layers = ("block1_conv1", "block1_pool", "block2_conv1", "block2_pool")
    vgg = VGG("vgg19", layers, pooling)
    with jax.enable_x64(True):
        image = preprocess(jnp.asarray(inputs.picture(13, 18), jnp.float64), "caffe")
        features: Any = [
            vgg.clone(dtype="float64").apply({"params": jax.tree.map(jnp.float64, params)}, image)
            for params in (shallow_vgg19.params, divided)
        ]
    before, after = features
    for layer in layers:
        found, expected = np.asarray(after[layer]), np.asarray(before[layer])
        # The divided kernels and biases are rounded to float32, no more.
        tolerance = 1e-6 * expected.max()
        np.testing.assert_allclose(57.63 * found, expected, rtol=0, atol=tolerance)


def test_torchvisions_input_has_unit_spread():
    """Colours of ImageNet's spread become numbers of a spread of 1, by either preprocessing."""
    colours = np.array([0.485, 0.456, 0.406]) + np.array([[-1], [1]]) * [0.229, 0.224, 0.225]
    for kind, unit in INPUT_SPREAD.items():
        spread = np.std(preprocess(colours[None, None], kind), axis=(0, 1, 2)) / unit
        np.testing.assert_allclose(spread.mean(), 1, rtol=1e-5)
        np.testing.assert_allclose(spread, 1, rtol=0.02)


@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_bundled_means(pooling, vgg19_weights, assets):
    """They fit VGG19 and are what a photograph gives, within a photograph's scatter."""
    means = bundled_means("vgg19", pooling=pooling)
    photograph = load_image(assets / "content" / "tubingen.jpg", size=224).pixels
    measured = mean_activations(vgg19_weights, [photograph], pooling=pooling)
    assert set(means) == set(measured)
    for layer, values in measured.items():
        assert means[layer].shape == values.shape
        assert np.isfinite(means[layer]).all()
        assert 0.3 < values.mean() / means[layer].mean() < 3
        if layer < "block4":  # deeper filters are for things that one photograph may not show
            assert np.corrcoef(values, means[layer])[0, 1] > 0.6


def test_no_bundled_means_of_vgg16():
    with pytest.raises(
        NstjaxError, match="no mean activations of vgg16 with max pooling come with the package"
    ):
        bundled_means("vgg16", pooling="max")
