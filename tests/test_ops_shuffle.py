"""Pixels to channels and back."""

import jax.numpy as jnp
import numpy as np
import pytest

from nstjax.ops import pixel_shuffle, pixel_unshuffle


def test_there_and_back(rng):
    x = jnp.asarray(rng.random((2, 6, 9, 5), np.float32))
    small = pixel_unshuffle(x, 3)
    assert small.shape == (2, 2, 3, 45)
    np.testing.assert_array_equal(pixel_shuffle(small, 3), x)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_square_is_read_row_by_row(rng, channels):
    x = jnp.asarray(rng.random((1, 4, 4, channels), np.float32))
    expected = jnp.concatenate([x[0, 2, 0], x[0, 2, 1], x[0, 3, 0], x[0, 3, 1]])
    np.testing.assert_array_equal(pixel_unshuffle(x, 2)[0, 1, 0], expected)
