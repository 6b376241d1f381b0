"""Convolutions that double and halve a picture, against repetition, reflection and XLA's own."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from convolutions import (
    check_in_float32,
    check_in_other_dtypes,
    direct,
    result_and_gradients,
)

from nstjax.ops import strips
from nstjax.ops.downsample import conv3x3_stride2
from nstjax.ops.upsample import transposed_conv3x3, upsample_conv3x3

# N, H, W, I and O, and of how many bytes strips are: then they have one row, some, or all. Shapes
# differ, for programs are kept by shape.
CASES = [((2, 5, 8, 4, 3), 1), ((1, 16, 17, 3, 5), 12000), ((3, 4, 4, 2, 1), 2**20)]


def upsample(x, kernel):
    x = jnp.repeat(jnp.repeat(x, 2, 1), 2, 2)
    return direct(jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect"), kernel)


def transposed(x, kernel):
    return jax.lax.conv_transpose(
        x, kernel, (2, 2), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


ALL = [
    pytest.param(upsample_conv3x3, upsample, id="upsample"),
    pytest.param(transposed_conv3x3, transposed, id="transposed"),
    pytest.param(conv3x3_stride2, partial(direct, stride=2), id="stride2"),
]


@pytest.mark.parametrize(("shape", "strip_bytes"), CASES)
@pytest.mark.parametrize(("ours", "theirs"), ALL)
def test_result_and_gradients(ours, theirs, shape, strip_bytes, rng, monkeypatch):
    monkeypatch.setattr(strips, "STRIP_BYTES", strip_bytes)
    x = jnp.asarray(rng.standard_normal(shape[:4], dtype=np.float32))
    kernel = jnp.asarray(rng.standard_normal((3, 3, *shape[3:]), dtype=np.float32))
    check_in_float32(ours, theirs, x, kernel)


def test_one_pixel_is_enlarged(rng):
    """Reflection finds the pixel's own double."""
    x, kernel = rng.standard_normal((1, 1, 1, 2)), rng.standard_normal((3, 3, 2, 3))
    expected = np.broadcast_to(x[0, 0, 0] @ kernel.sum((0, 1)), (1, 2, 2, 3))
    y = upsample_conv3x3(jnp.float32(x), jnp.float32(kernel))
    np.testing.assert_allclose(y, expected, atol=1e-5)


@pytest.mark.parametrize(("ours", "theirs"), ALL)
def test_in_other_dtypes(ours, theirs, rng):
    x, kernel = rng.standard_normal((1, 5, 6, 2)), rng.standard_normal((3, 3, 2, 3))
    check_in_other_dtypes(ours, theirs, x, kernel)


# At stride 2 the result itself is computed directly everywhere, its gradients as products.
@pytest.mark.parametrize(
    ("convolve", "own"),
    [
        (upsample_conv3x3, lambda text: "tensor<2x2x3x12xf32>" in text),
        (transposed_conv3x3, lambda text: "tensor<2x2x3x12xf32>" in text),
        (conv3x3_stride2, lambda text: text.count("stablehlo.convolution") == 1),
    ],
)
def test_is_direct_on_other_platforms_and_where_forced(convolve, own, monkeypatch):
    x, kernel = jnp.ones((1, 16, 16, 3)), jnp.ones((3, 3, 3, 3))

    def is_own():
        compute = jax.jit(lambda x, kernel: result_and_gradients(convolve, x, kernel))
        return own(compute.lower(x, kernel).as_text())

    assert is_own()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(jax, "default_backend", lambda: "gpu")
        assert not is_own()
    monkeypatch.setenv("NSTJAX_CONV", "direct")
    assert not is_own()
