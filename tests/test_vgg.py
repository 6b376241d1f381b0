"""The network: golden activations, the layers' names and sizes, and what is not computed."""

import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs
from golden.record import load_resized

from nstjax.errors import NstjaxError
from nstjax.ops import conv3x3
from nstjax.vgg import VGG, canonical_layer, check_size, layer_names, minimum_size, preprocess
from nstjax.vgg.layers import kernel_shapes
from nstjax.vgg.network import POOLING

GOLDEN = json.loads((Path(__file__).parent / "golden" / "vgg_activations.json").read_text())


def check_case(case, params, image):
    """Compares all of a case's activations with Keras', relative to each layer's largest."""
    vgg = VGG(case["network"], tuple(case["layers"]), case["pooling"])
    run = jax.jit(lambda params, image: vgg.apply({"params": params}, preprocess(image, "caffe")))
    features = run(params, jnp.asarray(image))
    assert set(features) == set(case["layers"])
    for layer, expected in case["layers"].items():
        found = np.asarray(features[layer])
        assert found.shape == tuple(expected["shape"])
        tolerance = 1e-4 * expected["max"]
        values = found.ravel()[expected["positions"]]
        np.testing.assert_allclose(values, expected["values"], rtol=0, atol=tolerance)
        for statistic in ("mean", "std", "max"):
            found_statistic = getattr(found, statistic)()
            assert found_statistic == pytest.approx(expected[statistic], abs=tolerance)


def features_of(weights, image, *layers, **options) -> dict[str, Any]:
    features: Any = VGG(layers=layers, **options).apply({"params": weights.params}, image)
    return features


def random_picture(case):
    image = inputs.picture(*case["image_shape"][1:3])
    assert hashlib.sha256(image.tobytes()).hexdigest() == case["image_sha256"]
    return image


@pytest.mark.parametrize("name", GOLDEN["random"])
def test_random_weights(name):
    """Both networks, both poolings, with and without the classifier."""
    case = GOLDEN["random"][name]
    top = "predictions" in case["layers"]
    params = {
        layer: {"kernel": kernel, "bias": bias}
        for layer, kernel, bias in inputs.vgg_weights(case["network"], include_top=top)
    }
    check_case(case, params, random_picture(case))


@pytest.mark.parametrize("name", GOLDEN["photograph"])
def test_imagenet_weights(vgg19_weights, name):
    case = GOLDEN["photograph"][name]
    if vgg19_weights.sha256 != case["weights_sha256"]:
        pytest.skip("vgg19_notop.h5 is not the file that the golden values were made with")
    pixels = load_resized(case["image"], 256)
    if hashlib.sha256(pixels.tobytes()).hexdigest() != case["image_sha256"]:
        pytest.skip(f"{case['image']} decodes to other values than the golden ones were made with")
    check_case(case, vgg19_weights.params, (pixels / 255.0).astype(np.float32)[None])


def convolutions_of(network, layers):
    """The convolutions in the traced program."""
    vgg = VGG(network, layers)
    image = jnp.zeros((1, 32, 32, 3))
    params = jax.eval_shape(vgg.init, jax.random.key(0), image)
    return str(jax.make_jaxpr(vgg.apply)(params, image)).count("conv_general_dilated[")


@pytest.mark.parametrize(
    ("network", "layers", "count"),
    [
        ("vgg19", ("block1_conv1",), 1),
        ("vgg19", ("block1_pool",), 2),
        ("vgg19", ("block3_conv1", "block1_conv2"), 5),
        ("vgg19", ("block5_conv4",), 16),
        ("vgg16", ("block5_pool",), 13),
        ("vgg16", ("block4_conv1",), 8),
    ],
)
def test_nothing_above_the_highest_layer_is_computed(network, layers, count):
    assert convolutions_of(network, layers) == count


def test_layer_names():
    assert layer_names("vgg16") == (
        *("block1_conv1", "block1_conv2", "block1_pool"),
        *("block2_conv1", "block2_conv2", "block2_pool"),
        *("block3_conv1", "block3_conv2", "block3_conv3", "block3_pool"),
        *("block4_conv1", "block4_conv2", "block4_conv3", "block4_pool"),
        *("block5_conv1", "block5_conv2", "block5_conv3", "block5_pool"),
    )
    assert len(layer_names("vgg19")) == 16 + 5
    assert layer_names("vgg19", top=True)[-5:] == (
        *("block5_pool", "flatten", "fc1", "fc2", "predictions"),
    )


@pytest.mark.parametrize("network", ["vgg16", "vgg19"])
@pytest.mark.parametrize("top", [False, True])
def test_kernel_shapes(network, top):
    assert kernel_shapes(network, top=top) == inputs.vgg_kernel_shapes(network, top)


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("relu4_2", "block4_conv2"),
        ("conv1_1", "block1_conv1"),
        ("pool3", "block3_pool"),
        ("pool_3", "block3_pool"),
        ("block5_conv4", "block5_conv4"),
        ("fc2", "fc2"),
    ],
)
def test_aliases(alias, name):
    assert canonical_layer(alias) == name


@pytest.mark.parametrize(
    ("name", "network", "message"),
    [
        ("relu6_1", "vgg19", "unknown layer of vgg19 'relu6_1'"),
        ("block3_conv4", "vgg16", "did you mean 'block3_conv"),
        ("block4_conv_2", "vgg19", "did you mean 'block4_conv2'"),
        (
            "block1_conv1",
            "vgg18",
            r"unknown network 'vgg18': did you mean .* \(accepted: vgg16, vgg19",
        ),
    ],
)
def test_unknown_names(name, network, message):
    with pytest.raises(NstjaxError, match=message):
        canonical_layer(name, network)


def test_unknown_names_in_the_network(random_vgg19):
    image = jnp.zeros((1, 8, 8, 3))
    with pytest.raises(
        NstjaxError, match=r"unknown pooling 'mean': .*\(accepted: max, avg, avg-scaled"
    ):
        features_of(random_vgg19, image, "block1_conv1", pooling="mean")
    with pytest.raises(NstjaxError, match="unknown layer of vgg19 'block1_conv3'"):
        features_of(random_vgg19, image, "block1_conv3")
    with pytest.raises(NstjaxError, match="unknown network 'vgg11'"):
        features_of(random_vgg19, image, "block1_conv1", network="vgg11")


@pytest.mark.parametrize("layer", layer_names("vgg19"))
def test_minimum_size_is_the_smallest_that_leaves_a_pixel(layer):
    side, pooled = 1, int(layer[5]) - (0 if layer.endswith("pool") else 1)
    while side // 2**pooled < 1:
        side += 1
    assert minimum_size(layer) == side


def test_minimum_sizes_of_the_network(random_vgg19):
    smallest = features_of(random_vgg19, jnp.zeros((1, 4, 7, 3)), "block3_conv1")
    assert smallest["block3_conv1"].shape == (1, 1, 1, 256)
    message = "a picture of 7×3 pixels is too small for layer block3_conv1, which needs 4 pixels"
    with pytest.raises(NstjaxError, match=message):
        features_of(random_vgg19, jnp.zeros((1, 3, 7, 3)), "block3_conv1")


def test_the_classifier_takes_one_size():
    check_size(224, 224, "fc1")
    with pytest.raises(NstjaxError, match="fc1 takes pictures of 224×224 pixels, not 225×224"):
        check_size(224, 225, "fc1")


def test_pooling_leaves_out_an_odd_last_row(random_vgg19):
    image = jnp.asarray(inputs.picture(5, 7))
    for pooling, reduce in (("max", np.max), ("avg", np.mean)):
        features = features_of(random_vgg19, image, "block1_conv2", "block1_pool", pooling=pooling)
        before = np.asarray(features["block1_conv2"])[0, :4, :6].reshape(2, 2, 3, 2, 64)
        pooled = features["block1_pool"][0]
        np.testing.assert_allclose(pooled, reduce(before, axis=(1, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("pooling", "reduce"),
    [
        ("avg-scaled", lambda squares: 2 * squares.mean(axis=(1, 3))),
        ("l2-scaled", lambda squares: 0.78 * np.sqrt((squares**2).sum(axis=(1, 3)))),
    ],
)
def test_scaled_pooling_by_hand(rng, pooling, reduce):
    x = np.maximum(rng.standard_normal((1, 5, 7, 3)), 0)
    expected = reduce(x[0, :4, :6].reshape(2, 2, 3, 2, 3))
    with jax.enable_x64(True):
        np.testing.assert_allclose(POOLING[pooling](jnp.asarray(x))[0], expected, rtol=1e-12)


def test_the_norm_of_nothing_has_no_gradient():
    x = jnp.zeros((1, 2, 4, 1)).at[0, 0, 2, 0].set(3.0)
    gradient = jax.grad(lambda x: POOLING["l2-scaled"](x).sum())(x)
    np.testing.assert_allclose(gradient.ravel(), [0, 0, 0.78, 0, 0, 0, 0, 0], rtol=1e-6)


def test_the_border_is_replicated_for_the_first_convolution(random_vgg19, rng):
    """As in a picture with one more pixel around, which does have that border."""
    image = rng.random((1, 6, 5, 3), dtype=np.float32)
    larger = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    layers = ("block1_conv1", "block1_conv2")
    found = features_of(random_vgg19, jnp.asarray(image), *layers, first_padding="replicate")
    inner = features_of(random_vgg19, jnp.asarray(larger), layers[0])[layers[0]][:, 1:-1, 1:-1]
    np.testing.assert_allclose(found[layers[0]], inner, rtol=1e-5, atol=1e-5)
    # The second one sees zeros around, as ever.
    kernel, bias = (random_vgg19.params[layers[1]][kind] for kind in ("kernel", "bias"))
    second = jax.nn.relu(conv3x3(found[layers[0]], jnp.asarray(kernel)) + bias)
    np.testing.assert_allclose(found[layers[1]], second, rtol=1e-4, atol=1e-4)


def test_unknown_first_padding(random_vgg19):
    with pytest.raises(NstjaxError, match=r"unknown first padding 'edge' .*zeros, replicate"):
        features_of(random_vgg19, jnp.zeros((1, 8, 8, 3)), "block1_conv1", first_padding="edge")


def test_bfloat16(random_vgg19):
    """Activations come in the dtype asked for and stay close."""
    image = jnp.asarray(inputs.picture(16, 16))
    exact, rough = (
        features_of(random_vgg19, image, "block2_conv2", dtype=dtype)["block2_conv2"]
        for dtype in ("float32", "bfloat16")
    )
    assert rough.dtype == jnp.bfloat16
    tolerance = 0.03 * float(jnp.max(exact))
    np.testing.assert_allclose(np.asarray(rough, np.float32), exact, atol=tolerance)


def test_preprocessing_by_hand():
    pixels = jnp.array([0.2, 0.5, 1.0]).reshape(1, 1, 1, 3)
    caffe = [255 - 103.939, 127.5 - 116.779, 51 - 123.68]
    np.testing.assert_allclose(preprocess(pixels, "caffe").ravel(), caffe, rtol=1e-5)
    torchvision = [(0.2 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(preprocess(pixels, "torchvision").ravel(), torchvision, rtol=1e-5)
    with pytest.raises(NstjaxError, match=r"unknown preprocessing 'cafe': did you mean 'caffe'\?"):
        preprocess(pixels, "cafe")
