"""Sizes and resampling, against hand-computed sizes and a filter written out."""

import numpy as np
import pytest

from nstjax.errors import NstjaxError
from nstjax.images import fit_size, resize_image


@pytest.mark.parametrize(
    ("height", "width", "size", "upscale", "expected"),
    [
        (480, 640, 320, False, (240, 320)),
        (640, 480, 320, False, (320, 240)),
        (200, 301, 100, False, (66, 100)),  # 66.4
        (100, 160, 8, False, (5, 8)),
        (50, 80, 40, False, (25, 40)),
        (3, 8, 4, False, (2, 4)),  # 1.5 rounds up
        (1, 5000, 100, False, (1, 100)),
        (30, 40, 40, False, (30, 40)),
        (30, 40, 80, False, (30, 40)),
        (30, 40, 80, True, (60, 80)),
        (1, 1, 7, True, (7, 7)),
    ],
)
def test_fit_size(height, width, size, upscale, expected):
    assert fit_size(height, width, size, upscale=upscale) == expected


@pytest.mark.parametrize("lengths", [(0, 1, 1), (1, 0, 1), (1, 1, 0), (1, 1, -5)])
def test_fit_size_refuses(lengths):
    with pytest.raises(NstjaxError, match="at least 1"):
        fit_size(*lengths)


def lanczos_matrix(old, new):
    """Row i holds the weights of the old samples in new sample i."""
    scale = max(old / new, 1)
    centres = (np.arange(new) + 0.5) * old / new
    x = (np.arange(old) + 0.5 - centres[:, None]) / scale
    weights = np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0)
    return weights / weights.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("shape", [(7, 5), (13, 40), (50, 60)])
def test_resize_is_an_antialiased_lanczos_filter(channels, shape):
    pixels = np.random.default_rng(0).random((1, 31, 23, channels), dtype=np.float32)
    resized = resize_image(pixels, *shape)
    down, along = lanczos_matrix(31, shape[0]), lanczos_matrix(23, shape[1])
    expected = np.clip(np.einsum("ih,jw,hwc->ijc", down, along, pixels[0]), 0, 1)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized[0], expected, atol=2e-6)


def test_resize_does_not_round_to_levels():
    ramp = np.linspace(0.5, 0.504, 64, dtype=np.float32)  # within one level of 255
    resized = resize_image(np.tile(ramp[None, None, :, None], (1, 8, 1, 3)), 4, 32)
    assert len(np.unique(resized)) == 32


def test_resize_clips_its_overshoot():
    edge = np.zeros((1, 8, 8, 3), np.float32)
    edge[:, :, 4:] = 1
    resized = resize_image(edge, 32, 32)
    assert resized.min() == 0
    assert resized.max() == 1


def test_resize_to_the_same_size_changes_nothing():
    pixels = np.random.default_rng(0).random((1, 4, 5, 3), dtype=np.float32)
    np.testing.assert_array_equal(resize_image(pixels, 4, 5), pixels)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
def test_resize_refuses_nothing(shape):
    with pytest.raises(NstjaxError, match="at least 1"):
        resize_image(np.zeros((1, 4, 4, 3), np.float32), *shape)
