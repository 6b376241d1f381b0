"""The convolution and both its gradients, by both algorithms, against SciPy and XLA's own."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import convolve2d, correlate2d

from nstjax.errors import NstjaxError
from nstjax.ops import conv3x3, convolution, transform_frozen, winograd
from nstjax.ops.convolution import Transformed
from nstjax.ops.direct import direct as by_xla
from nstjax.ops.direct import flip_kernel

SHAPES = [(1, 8, 8), (2, 7, 5), (1, 1, 1), (1, 1, 6), (3, 9, 1), (1, 2, 3)]


def arrays_of(rng, n, h, w, pad=1, channels=(3, 4)):
    """Pictures, kernels, and a gradient of the result."""
    shapes = (n, h, w, channels[0]), (3, 3, *channels), (n, h + 2 * pad - 2, w + 2 * pad - 2)
    shapes = (*shapes[:2], (*shapes[2], channels[1]))
    return tuple(jnp.asarray(rng.standard_normal(shape, dtype=np.float32)) for shape in shapes)


@pytest.fixture(params=SHAPES, ids=str)
def arrays(request, rng):
    return arrays_of(rng, *request.param)


@pytest.fixture(params=["direct", "winograd"])
def _algorithm(request, monkeypatch):
    """Each algorithm for all shapes."""
    if request.param == "direct":
        monkeypatch.setenv("NSTJAX_CONV", "direct")
    else:
        monkeypatch.setattr(convolution, "WINOGRAD_FROM", {1: 1})


def assert_close(ours, theirs, tolerance=2e-6):
    """Within a tolerance relative to the largest value."""
    assert ours.shape == theirs.shape
    largest = np.max(np.abs(theirs), initial=0)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * largest)


def scipy_conv(x, kernel):
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    out = np.zeros((*x.shape[:3], kernel.shape[3]))
    for n, i, o in np.ndindex(x.shape[0], *kernel.shape[2:]):
        # "same" follows the larger array, and the kernel may be larger than the picture.
        full = correlate2d(x[n, ..., i], kernel[..., i, o], mode="full")
        out[n, ..., o] += full[1:-1, 1:-1]
    return out


def direct(x, kernel, pad=1):
    pads = ((pad, pad), (pad, pad))
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), pads, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


def is_winograd(x, kernel, **options):
    """Whether the algorithm with matrix products is chosen."""
    jaxpr = jax.make_jaxpr(lambda x, kernel: conv3x3(x, kernel, **options))(x, kernel)
    return "dot_general" in str(jaxpr)


@pytest.mark.usefixtures("_algorithm")
def test_forward_is_a_correlation_padded_with_zeros(arrays):
    x, kernel, _ = arrays
    y = conv3x3(x, kernel)
    assert y.dtype == jnp.float32
    assert_close(y, scipy_conv(x, kernel))


def test_gradients_are_those_of_the_plain_convolution(arrays):
    x, kernel, gradient = arrays
    ours = jax.vjp(conv3x3, x, kernel)[1](gradient)
    theirs = jax.vjp(direct, x, kernel)[1](gradient)
    for our, their in zip(ours, theirs, strict=True):
        assert_close(our, their)


@pytest.mark.usefixtures("_algorithm")
@pytest.mark.parametrize("shape", [(2, 7, 9), (1, 3, 3), (1, 4, 10)], ids=str)
def test_valid_is_without_what_the_border_spoils(shape, rng):
    x, kernel, gradient = arrays_of(rng, *shape, pad=0)
    y, vjp = jax.vjp(lambda x, kernel: conv3x3(x, kernel, padding="VALID"), x, kernel)
    assert_close(y, scipy_conv(x, kernel)[:, 1:-1, 1:-1])
    _, expected = jax.vjp(lambda x, kernel: direct(x, kernel, 0), x, kernel)
    for our, their in zip(vjp(gradient), expected(gradient), strict=True):
        assert_close(our, their)


def test_valid_of_less_than_a_kernel_is_empty():
    def total(x, kernel):
        return conv3x3(x, kernel, padding="VALID").sum()

    x, kernel = jnp.ones((1, 2, 5, 3)), jnp.ones((3, 3, 3, 4))
    assert conv3x3(x, kernel, padding="VALID").shape == (1, 0, 3, 4)
    for gradient, array in zip(jax.grad(total, (0, 1))(x, kernel), (x, kernel), strict=True):
        np.testing.assert_array_equal(gradient, np.zeros(array.shape))


def test_unknown_paddings_are_named():
    with pytest.raises(NstjaxError, match=r"unknown padding 'same' .*SAME, VALID"):
        conv3x3(jnp.ones((1, 3, 3, 1)), jnp.ones((3, 3, 1, 1)), padding="same")


@pytest.mark.usefixtures("_algorithm")
def test_gradients_against_scipy(arrays):
    x, kernel, gradient = arrays
    for_x, for_kernel = jax.vjp(conv3x3, x, kernel)[1](gradient)
    expected_x, padded = np.zeros(x.shape), np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    expected_kernel = np.zeros(kernel.shape)
    for n, i, o in np.ndindex(len(x), 3, 4):
        full = convolve2d(gradient[n, ..., o], kernel[..., i, o], mode="full")
        expected_x[n, ..., i] += full[1:-1, 1:-1]
        expected_kernel[..., i, o] += correlate2d(padded[n, ..., i], gradient[n, ..., o], "valid")
    assert_close(for_x, expected_x)
    assert_close(for_kernel, expected_kernel)


@pytest.mark.usefixtures("_algorithm")
def test_inside_scan(rng):
    """Where it is used: gradient descent on a picture, in a compiled loop."""
    x = jnp.asarray(rng.standard_normal((1, 6, 5, 3), dtype=np.float32))
    kernel = jnp.asarray(rng.standard_normal((3, 3, 3, 3), dtype=np.float32) / 10)

    def descend(convolution):
        def step(x, _):
            loss, gradient = jax.value_and_grad(lambda x: jnp.sum(convolution(x, kernel) ** 2))(x)
            return x - 0.1 * gradient, loss

        return jax.jit(lambda x: jax.lax.scan(step, x, length=5))(x)

    (moved, losses), (expected, expected_losses) = descend(conv3x3), descend(direct)
    np.testing.assert_allclose(moved, expected, atol=1e-5)
    np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_sums_in_float32_and_keeps_the_gradients_dtype(dtype):
    x, kernel = jnp.ones((1, 3, 3, 1), dtype), jnp.ones((3, 3, 1, 2), dtype)
    assert conv3x3(x, kernel).dtype == jnp.float32
    gradients = jax.vjp(conv3x3, x, kernel)[1](jnp.ones((1, 3, 3, 2)))
    assert [g.dtype for g in gradients] == [jnp.dtype(dtype)] * 2


def test_in_float64(rng):
    with jax.enable_x64(True):
        x, kernel, gradient = (
            jnp.asarray(rng.random(shape)) for shape in ((1, 4, 5, 2), (3, 3, 2, 3), (1, 4, 5, 3))
        )
        ours, theirs = (jax.vjp(f, x, kernel)[1](gradient) for f in (conv3x3, direct))
    for our, their in zip(ours, theirs, strict=True):
        assert our.dtype == jnp.float64
        np.testing.assert_allclose(our, their, rtol=1e-12)


@pytest.mark.parametrize(("strip_bytes", "pad"), [(1, 1), (40_000, 0), (2**60, 1)])
def test_winograd_by_strips(strip_bytes, pad, rng, monkeypatch):
    """Seven rows of tiles: one by one, by a number that does not divide them, and all at once."""
    monkeypatch.setattr(winograd, "STRIP_BYTES", strip_bytes)
    monkeypatch.setattr(winograd, "LEAST_TILES", 1)

    @jax.jit
    def ours(x, kernel, gradient):
        y = winograd.convolve(x, winograd.transform_kernel(kernel), pad)
        for_x = winograd.convolve(gradient, winograd.transform_kernel(flip_kernel(kernel)), 2 - pad)
        return y, for_x, winograd.kernel_gradient(x, gradient, pad)

    x, kernel, gradient = arrays_of(rng, 2, 27, 13, pad)
    y, vjp = jax.vjp(lambda x, kernel: direct(x, kernel, pad), x, kernel)
    for our, their in zip(ours(x, kernel, gradient), (y, *vjp(gradient)), strict=True):
        assert_close(our, their)


def test_strips_have_tiles_enough_for_fast_products():
    strips, rows, columns = winograd._split(1, 32, 32, 1024)
    assert (strips, rows, columns) == (1, 8, 8)  # of less than 128 tiles in all
    strips, rows, columns = winograd._split(1, 512, 512, 1024)
    assert (strips, rows, columns) == (128, 1, 128)
    strips, rows, columns = winograd._split(4, 64, 64, 1024)
    assert (strips, rows, columns) == (8, 2, 16)
    assert 4 * rows * columns == winograd.LEAST_TILES


def test_winograd_is_exact_enough_for_many_channels(rng):
    x, kernel, _ = arrays_of(rng, 1, 24, 24, channels=(256, 256))
    assert is_winograd(x, kernel)
    assert_close(conv3x3(x, kernel), direct(x, kernel), 1e-5)


def test_winograd_where_it_pays(monkeypatch):
    def shapes(i, o, side, dtype="float32"):
        picture, kernel = (1, side, side, i), (3, 3, i, o)
        return jax.ShapeDtypeStruct(picture, dtype), jax.ShapeDtypeStruct(kernel, dtype)

    assert is_winograd(*shapes(64, 64, 256))
    assert is_winograd(*shapes(128, 128, 66), padding="VALID")
    assert not is_winograd(*shapes(3, 64, 256))
    assert not is_winograd(*shapes(64, 64, 32))
    assert not is_winograd(*shapes(64, 64, 256, "bfloat16"))
    monkeypatch.setenv("NSTJAX_CONV", "direct")
    assert not is_winograd(*shapes(64, 64, 256))
    monkeypatch.setenv("NSTJAX_CONV", "fft")
    with pytest.raises(NstjaxError, match=r"NSTJAX_CONV 'fft' .*auto, direct"):
        is_winograd(*shapes(64, 64, 256))


@pytest.mark.usefixtures("_algorithm")
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_a_frozen_kernel_is_transformed_once_and_has_no_gradient(rng, padding):
    x, kernel, gradient = arrays_of(rng, 1, 9, 7, pad=convolution.PADS[padding])
    # Where it will not be used, none is made.
    assert (not transform_frozen({"": kernel})) == (os.environ.get("NSTJAX_CONV") == "direct")
    expected, vjp = jax.vjp(lambda x: conv3x3(x, kernel, padding=padding), x)

    def frozen(x, kernel):
        both = (winograd.transform_kernel(k) for k in (kernel, flip_kernel(kernel)))
        return conv3x3(x, kernel, padding=padding, transformed=Transformed(*both))

    y, frozen_vjp = jax.vjp(frozen, x, kernel)
    for_x, for_kernel = frozen_vjp(gradient)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(for_x, vjp(gradient)[0])
    assert not for_kernel.any()


def test_a_frozen_kernel_that_no_convolution_transforms():
    kernels = {
        "first": jnp.ones((3, 3, 3, 64)),
        "bfloat16": jnp.ones((3, 3, 64, 64), jnp.bfloat16),
        "second": jnp.ones((3, 3, 64, 128)),
    }
    transformed = transform_frozen(kernels)
    assert list(transformed) == ["second"]
    assert transformed["second"].forward.shape == (36, 64, 128)
    assert transformed["second"].backward.shape == (36, 128, 64)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_to_few_channels_by_rows_of_the_kernel(padding, rng, monkeypatch):
    x, kernel, gradient = arrays_of(rng, 2, 9, 6, pad=convolution.PADS[padding], channels=(3, 16))

    @jax.jit
    def picture_gradient(x, kernel, gradient):
        return jax.vjp(lambda x: conv3x3(x, kernel, padding=padding), x)[1](gradient)[0]

    by_rows = "tensor<1x3x16x9xf32>"
    assert by_rows in picture_gradient.lower(x, kernel, gradient).as_text()
    ours = picture_gradient(x, kernel, gradient)
    monkeypatch.setenv("NSTJAX_CONV", "direct")
    jax.clear_caches()
    assert by_rows not in picture_gradient.lower(x, kernel, gradient).as_text()
    np.testing.assert_allclose(ours, picture_gradient(x, kernel, gradient), atol=1e-4)


@pytest.mark.parametrize(("platform", "matrices"), [("cpu", True), ("gpu", False), ("tpu", False)])
def test_other_platforms_convolve_directly(platform, matrices, monkeypatch):
    x, kernel = jnp.ones((1, 64, 64, 64)), jnp.ones((3, 3, 64, 64))
    step = jax.jit(jax.value_and_grad(lambda x, kernel: conv3x3(x, kernel).sum(), (0, 1)))
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    text = step.lower(x, kernel).as_text()
    assert ("batching_dims" in text) == matrices
    assert ("stablehlo.convolution" in text) != matrices
    assert bool(transform_frozen({"": kernel})) == matrices


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
def test_bfloat16_comes_back_as_float32(platform, monkeypatch):
    x, kernel = (
        jax.random.normal(jax.random.key(seed), shape, jnp.bfloat16)
        for seed, shape in enumerate([(1, 8, 9, 16), (3, 3, 16, 8)])
    )
    expected = by_xla(*(array.astype(jnp.float32) for array in (x, kernel)))
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    found = by_xla(x, kernel)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=2**-8 * np.abs(expected).max())


def test_on_two_devices():
    code = """
import jax, jax.numpy as jnp
jax.config.update("jax_num_cpu_devices", 2)
from nstjax.ops import conv3x3
from nstjax.ops.direct import direct, direct_kernel_gradient, flip_kernel
x = jax.random.normal(jax.random.key(0), (2, 1, 64, 64, 64))
kernel = jax.random.normal(jax.random.key(1), (3, 3, 64, 64))
gradients = jax.grad(lambda x, kernel: jnp.sum(conv3x3(x, kernel) ** 2), (0, 1))
for_x, for_kernel = jax.pmap(gradients, in_axes=(0, None))(x, kernel)
assert len(for_x.sharding.device_set) == 2
twice = 2 * direct(x[:, 0], kernel, pad=1)
expected_x = direct(twice, flip_kernel(kernel), pad=1)
expected_kernel = direct_kernel_gradient(x[:, 0], twice, pad=1)
assert jnp.allclose(for_x[:, 0], expected_x, atol=1e-5 * jnp.abs(expected_x).max())
assert jnp.allclose(for_kernel.sum(0), expected_kernel, atol=1e-5 * jnp.abs(expected_kernel).max())
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        check=False,
    )
    assert run.returncode == 0, run.stderr
