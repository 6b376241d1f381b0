"""Pictures by their rows: operations give what they give of arrays."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nstjax.ops import (
    by_rows,
    conv3x3_stride2,
    doubled,
    materialize,
    over_windows,
    pixel_shuffle,
    pixel_unshuffle,
    pointwise,
    transposed_conv3x3,
    upsample_conv3x3,
)
from nstjax.ops.rowwise import Rowwise


@pytest.mark.parametrize("arrays", [(), (0,), (1,), (2,), (0, 1), (1, 2)])
@pytest.mark.parametrize("rows", [1, 3])
def test_arrays_among_the_pictures_of_a_pixelwise_function(rng, arrays, rows):
    pictures = rng.random((3, 1, 5, 4, 2), np.float32)
    mixed = [
        jnp.asarray(x) if number in arrays else by_rows(jnp.asarray(x), rows)
        for number, x in enumerate(pictures)
    ]
    found = pointwise(lambda a, b, c: a * b - c, *mixed)
    assert isinstance(found, Rowwise)
    expected = pictures[0] * pictures[1] - pictures[2]
    np.testing.assert_allclose(materialize(found), expected, atol=1e-6)


@pytest.mark.parametrize("height", range(3, 9))
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_windows(rng, height, rows):
    x = jnp.asarray(rng.random((1, height, 7, 2), np.float32))
    kernel = jnp.asarray(rng.random((3, 3, 2, 3), np.float32))

    def convolve(x: jax.Array) -> jax.Array:
        return conv3x3_stride2(x, kernel)

    found = materialize(over_windows(convolve, by_rows(x, rows), 3, stride=2))
    np.testing.assert_allclose(found, convolve(x), rtol=1e-6)


def test_squares_of_pixels(rng):
    x = jnp.asarray(rng.random((1, 6, 4, 2), np.float32))
    small = over_windows(lambda x: pixel_unshuffle(x, 2), by_rows(x, 2), 2, stride=2)
    assert small.shape == (1, 3, 2, 8)
    np.testing.assert_array_equal(materialize(doubled(lambda x: pixel_shuffle(x, 2), small)), x)


@pytest.mark.parametrize("convolution", [upsample_conv3x3, transposed_conv3x3])
@pytest.mark.parametrize("height", range(2, 8))
@pytest.mark.parametrize("rows", [1, 2, 3])
def test_doubled(rng, convolution, height, rows):
    x = jnp.asarray(rng.random((1, height, 5, 2), np.float32))
    kernel = jnp.asarray(rng.random((3, 3, 2, 3), np.float32))
    found = materialize(doubled(lambda x: convolution(x, kernel), by_rows(x, rows)))
    assert found.shape == (1, 2 * height, 10, 3)
    np.testing.assert_allclose(found, convolution(x, kernel), rtol=1e-5)
