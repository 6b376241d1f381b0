"""The style network: sizes, variants, norms and precision.

What it paints is compared with PyTorch's in test_fast_trainer.py.
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from golden import inputs

from nstjax.errors import NstjaxError
from nstjax.fast import layers, memory, network
from nstjax.fast.network import check_side, init_params, paint
from nstjax.fast.settings import DESIGNS, OUTPUTS, UPSAMPLINGS, Architecture

pytestmark = pytest.mark.usefixtures("quick_compilation")

NARROW = Architecture(width=1 / 8)
# All that a division by four can leave over, the least, and sides of very different lengths.
SIZES = [(16, 16), (17, 30), (18, 19), (33, 16), (35, 57), (16, 202)]

IMAGE = inputs.picture(16, 18)  # one size: few programs to compile
PARAMS = inputs.nested(inputs.style_network_params(False, NARROW.width))

SUBPIXEL = dataclasses.replace(NARROW, design="subpixel")
VARIANTS = [NARROW, dataclasses.replace(NARROW, upsampling="transpose"), SUBPIXEL]

painted = jax.jit(paint, static_argnums=0, static_argnames="dtype")


def initial(architecture):
    """The shapes of the parameters that a network starts with, nothing computed."""
    return jax.eval_shape(lambda key: init_params(architecture, key), jax.random.key(0))


def random_params(architecture):
    """Parameters with which every layer does something."""
    rng = np.random.default_rng(0)

    def draw(leaf):
        if leaf.ndim == 1:
            return rng.uniform(0.2, 1, leaf.shape).astype(np.float32)
        return rng.normal(0, np.prod(leaf.shape[:3]) ** -0.5, leaf.shape).astype(np.float32)

    return jax.tree.map(draw, initial(architecture))


def shapes(tree):
    return {
        "/".join(key.key for key in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


@pytest.mark.parametrize("architecture", VARIANTS)
def test_the_picture_keeps_its_size(architecture):
    params = initial(architecture)
    for height, width in SIZES:
        image = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
        result = jax.eval_shape(partial(paint, architecture), params, image)
        assert (result.shape, result.dtype) == (image.shape, jnp.float32)


@pytest.mark.parametrize("architecture", VARIANTS)
def test_odd_sizes_are_painted_to_the_border(architecture):
    params = random_params(architecture)
    image = inputs.picture(17, 30)
    moved = painted(architecture, params, image) - painted(architecture, params, 1 - image)
    assert np.isfinite(moved).all()
    border = np.concatenate([moved[0, 0], moved[0, -1], moved[0, :, 0], moved[0, :, -1]])
    assert (np.abs(border).max(axis=-1) > 1e-4).all()


@pytest.mark.parametrize(("height", "width"), [(15, 40), (40, 15), (1, 1)])
def test_pictures_that_are_too_small(height, width):
    message = (
        rf"^a picture of {width}×{height} pixels is too small for a style network, which needs "
        "16 pixels a side: use a larger picture or --size"
    )
    with pytest.raises(NstjaxError, match=message):
        paint(NARROW, PARAMS, jnp.zeros((1, height, width, 3)))
    with pytest.raises(NstjaxError, match=message):
        check_side(height, width)


def test_every_choice_is_in_every_table():
    assert set(DESIGNS) == set(network.NETWORKS) == set(memory._PER_PIXEL)
    assert set(UPSAMPLINGS) == set(layers.ENLARGING)
    assert set(OUTPUTS) == set(layers._CURVES)


@pytest.mark.parametrize("norm_last", [False, True])
@pytest.mark.parametrize("upsampling", UPSAMPLINGS)
def test_layers_are_johnsons(norm_last, upsampling):
    architecture = Architecture(norm_last=norm_last, upsampling=upsampling)
    params = initial(architecture)
    golden = inputs.style_network_params(norm_last)
    assert shapes(params) == {name: array.shape for name, array in golden.items()}
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {np.dtype("float32")}


def test_layers_of_the_subpixel_design():
    kernels = {
        name.removesuffix("/kernel"): shape
        for name, shape in shapes(initial(Architecture(design="subpixel"))).items()
        if name.endswith("kernel")
    }
    blocks = {f"residual{k}_conv{i}": (3, 3, 128, 128) for k in (1, 2, 3) for i in (1, 2)}
    assert kernels == blocks | {
        "conv1": (3, 3, 12, 24),
        "conv2": (3, 3, 24, 64),
        "conv3": (3, 3, 64, 128),
        "up1": (3, 3, 128, 64),
        "fine_conv1": (3, 3, 64, 64),
        "fine_conv2": (3, 3, 64, 64),
        "up2": (3, 3, 64, 24),
        "output": (3, 3, 24, 12),
    }


def test_upsampling_is_johnsons():
    with pytest.raises(NstjaxError, match=r"transpose.*for design 'johnson'"):
        Architecture(design="subpixel", upsampling="transpose")


@pytest.mark.parametrize(
    ("width", "channels"),
    [(1.0, (32, 64, 128)), (0.5, (16, 32, 64)), (0.3, (10, 19, 38)), (1 / 32, (1, 2, 4))],
)
def test_width_multiplies_the_channels(width, channels):
    found = shapes(initial(Architecture(width=width)))
    narrow, middle, wide = channels
    assert found["conv1/kernel"] == (9, 9, 3, narrow)
    assert found["conv2/kernel"] == (3, 3, narrow, middle)
    assert found["conv3/kernel"] == (3, 3, middle, wide)
    assert found["residual5_conv2/kernel"] == (3, 3, wide, wide)
    assert found["up1/kernel"] == (3, 3, wide, middle)
    assert found["up2/kernel"] == (3, 3, middle, narrow)
    assert found["output/kernel"] == (9, 9, narrow, 3)


@pytest.mark.parametrize("output", OUTPUTS)
def test_what_ends_the_network(output):
    plain = dataclasses.replace(NARROW, output="linear", output_scale=1.0)
    x = np.asarray(painted(plain, PARAMS, IMAGE), np.float64)
    expected = {
        "linear": 0.3 * x,
        "tanh": 0.5 + 0.3 * np.tanh(x),
        "sigmoid": 1 / (1 + np.exp(-x)),
    }
    architecture = dataclasses.replace(NARROW, output=output, output_scale=0.3)
    result = painted(architecture, PARAMS, IMAGE)
    np.testing.assert_allclose(result, expected[output], rtol=1e-5, atol=1e-6)
    assert np.std(x) > 0.1


def test_a_gain_multiplies_what_the_output_is_made_of():
    plain = dataclasses.replace(NARROW, output="linear", output_scale=1.0)
    half = dataclasses.replace(plain, output_gain=0.5)
    np.testing.assert_allclose(
        painted(half, PARAMS, IMAGE), painted(plain, PARAMS, IMAGE) / 2, rtol=1e-6
    )
    # It leaves the first picture as it is: its kernel is drawn larger.
    first, larger = (
        # One layer alone: to compile the drawing of all takes ten seconds.
        jax.jit(lambda key, a=a: init_params(a, key)["output"]["kernel"])(jax.random.key(0))
        for a in (plain, half)
    )
    np.testing.assert_allclose(larger, 2 * first, rtol=1e-6)


def test_a_bias_is_added_where_no_norm_is():
    plain = dataclasses.replace(NARROW, output="linear", output_scale=1.0)
    moved = {**PARAMS, "output_bias": PARAMS["output_bias"] + np.array([1, 2, 3], np.float32)}
    difference = painted(plain, moved, IMAGE) - painted(plain, PARAMS, IMAGE)
    np.testing.assert_allclose(difference, np.broadcast_to([1, 2, 3], IMAGE.shape), atol=1e-5)


def test_a_norm_ends_the_network():
    architecture = dataclasses.replace(NARROW, output="linear", output_scale=1.0, norm_last=True)
    scale, bias = np.array([[1.0, 2.0, 3.0], [0.5, -1.0, 0.0]], np.float32)
    params = {**PARAMS, "output_norm": {"scale": scale, "bias": bias}}
    result = np.asarray(painted(architecture, params, inputs.batch(16, 18)), np.float64)
    # The norm leaves them a little below 1, as its epsilon adds to the variance.
    np.testing.assert_allclose(result.mean(axis=(1, 2)), [bias, bias], atol=1e-5)
    np.testing.assert_allclose(result.std(axis=(1, 2)), [scale, scale], rtol=1e-2)


def test_variance_is_exact_where_the_mean_is_large(rng):
    """The first norm takes away what a brighter picture adds, thousands of times the deviation."""
    bright = np.float32(100) + np.float32(0.1) * rng.random(IMAGE.shape, np.float32)
    plain = bright - np.float32(100)  # exactly what float32 holds of the difference
    difference = painted(NARROW, PARAMS, bright) - painted(NARROW, PARAMS, plain)
    assert np.abs(difference).mean() < 2e-3


def test_borders_are_reflected():
    """A picture of one colour is painted in one colour, where padding with zeros shows a frame."""
    # Rounding would be blown up where the variance is nothing, if epsilon were small.
    architecture = dataclasses.replace(NARROW, norm_epsilon=1.0)
    image = np.full(IMAGE.shape, [0.2, 0.5, 0.9], np.float32)
    assert np.ptp(painted(architecture, PARAMS, image), axis=(1, 2)).max() < 1e-4
    frame = dataclasses.replace(architecture, upsampling="transpose")
    assert np.ptp(painted(frame, PARAMS, image), axis=(1, 2)).max() > 1e-2


@pytest.mark.parametrize("architecture", [NARROW, SUBPIXEL])
def test_pictures_of_a_batch_know_nothing_of_each_other(architecture):
    batch, params = inputs.batch(16, 18), random_params(architecture)
    alone = [painted(architecture, params, batch[i : i + 1]) for i in range(2)]
    np.testing.assert_allclose(
        painted(architecture, params, batch), np.concatenate(alone), atol=1e-5
    )


@pytest.mark.parametrize("architecture", [NARROW, SUBPIXEL])
def test_bfloat16_is_near_and_comes_back_as_float32(architecture):
    params = random_params(architecture)
    exact = painted(architecture, params, IMAGE)
    rough = painted(architecture, params, IMAGE, dtype="bfloat16")
    assert rough.dtype == jnp.float32
    difference = np.abs(rough - exact)
    assert 1e-5 < difference.mean() < 0.02
    assert np.std(exact) > 0.1


def test_the_key_decides_the_first_parameters():
    draw = jax.jit(init_params, static_argnums=0)
    first, again, other = (draw(NARROW, jax.random.key(seed)) for seed in (0, 0, 1))
    for layer, arrays in first.items():
        for name in arrays if isinstance(arrays, dict) else ():
            np.testing.assert_array_equal(arrays[name], again[layer][name])
            assert np.array_equal(arrays[name], other[layer][name]) == (name != "kernel")
