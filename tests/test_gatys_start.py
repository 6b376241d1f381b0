"""Where a run starts: the content, the style, a file, noise, and their blends."""

import numpy as np
import pytest
from golden import inputs

from nstjax.errors import NstjaxError
from nstjax.gatys.start import load_init, start_image
from nstjax.images import load_image, resize_image, save_image
from nstjax.recipes import get_recipe
from nstjax.settings import override

CONTENT, STYLE = inputs.picture(40, 60), inputs.picture(30, 20)


def start(preprocessing="caffe", **settings):
    recipe = override(get_recipe("tensorflow"), **settings)
    image = np.asarray(start_image(recipe, CONTENT, STYLE, preprocessing, load_init(recipe)))
    assert image.dtype == np.float32
    assert image.shape == CONTENT.shape
    return image


def test_content():
    np.testing.assert_array_equal(start(init="content"), CONTENT)


def test_style():
    np.testing.assert_array_equal(start(init="style"), resize_image(STYLE, 40, 60))


def test_a_picture_file(tmp_path):
    path = tmp_path / "start.png"
    save_image(path, inputs.picture(20, 20), bits=16)
    found = start(init=str(path))
    saved = load_image(path).pixels  # its numbers are rounded to levels
    np.testing.assert_allclose(saved, inputs.picture(20, 20), atol=1 / 250)
    np.testing.assert_array_equal(found, resize_image(saved, 40, 60))


def test_uniform_noise():
    noise = start(init="noise")
    assert 0 <= noise.min() < 0.01
    assert 0.99 < noise.max() <= 1
    assert noise.mean() == pytest.approx(0.5, abs=0.02)
    assert noise.std() == pytest.approx(1 / 12**0.5, abs=0.01)


MEANS = {
    ("caffe", 255.0): np.array([123.68, 116.779, 103.939]) / 255,
    ("caffe", 256.0): np.array([123.68, 116.779, 103.939]) / 256,
    ("torchvision", 255.0): np.array([0.485, 0.456, 0.406]),
}


@pytest.mark.parametrize(("preprocessing", "white"), MEANS)
def test_normal_noise_is_around_what_the_network_sees_as_zero(preprocessing, white):
    noise = start(preprocessing, init="noise", noise_std=0.01, input_range=white)
    around = noise - MEANS[preprocessing, white]
    np.testing.assert_allclose(around.mean(axis=(0, 1, 2)), 0, atol=1e-3)
    assert around.std() == pytest.approx(0.01, rel=0.05)
    exact = start(preprocessing, init="noise", noise_std=0.0, input_range=white)
    np.testing.assert_allclose(exact[0, 0, 0], MEANS[preprocessing, white], rtol=1e-6)


@pytest.mark.parametrize("init", ["content", "style"])
@pytest.mark.parametrize("noise_std", [None, 0.1])
def test_blends(init, noise_std):
    noise = start(init="noise", noise_std=noise_std)
    blended = start(init=init, noise_ratio=0.25, noise_std=noise_std)
    np.testing.assert_allclose(blended, 0.75 * start(init=init) + 0.25 * noise, atol=1e-6)


def test_the_seed_fixes_the_noise():
    np.testing.assert_array_equal(start(init="noise", seed=1), start(init="noise", seed=1))
    assert np.abs(start(init="noise", seed=1) - start(init="noise", seed=2)).mean() > 0.1


def test_neither_a_name_nor_a_file(tmp_path):
    with pytest.raises(NstjaxError, match=r"unknown init.*'contnt': did you mean 'content'\?"):
        start(init="contnt")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(NstjaxError, match=r"text\.png"):
        start(init=str(tmp_path / "text.png"))
