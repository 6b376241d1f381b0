"""Sources, sizes, orientation and reduced decoding."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from nstjax.errors import NstjaxError
from nstjax.images import Picture, load_image, resize_image, resize_picture

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)

# How EXIF 2.32 stores one upright picture, red green / blue white / red blue, for each value.
STORED = {
    1: [[RED, GREEN], [BLUE, WHITE], [RED, BLUE]],
    2: [[GREEN, RED], [WHITE, BLUE], [BLUE, RED]],
    3: [[BLUE, RED], [WHITE, BLUE], [GREEN, RED]],
    4: [[RED, BLUE], [BLUE, WHITE], [RED, GREEN]],
    5: [[RED, BLUE, RED], [GREEN, WHITE, BLUE]],
    6: [[GREEN, WHITE, BLUE], [RED, BLUE, RED]],
    7: [[BLUE, WHITE, GREEN], [RED, BLUE, RED]],
    8: [[RED, BLUE, RED], [BLUE, WHITE, GREEN]],
}


@pytest.mark.parametrize("suffix", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", STORED)
def test_orientation(tmp_path, orientation, suffix):
    path = tmp_path / f"turned.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.array(STORED[orientation], np.uint8))
    stored.save(path, exif=exif, lossless=True)
    np.testing.assert_array_equal(load_image(path).pixels[0] * 255, STORED[1])


def test_orientation_turns_alpha_and_size(tmp_path):
    path = tmp_path / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGBA", (40, 20), (9, 9, 9, 255))
    image.paste((9, 9, 9, 0), (0, 0, 20, 20))  # the left half, which is the top when upright
    image.save(path, exif=exif)
    picture = load_image(path, size=20)
    assert picture.pixels.shape == (1, 20, 10, 3)
    assert picture.alpha is not None
    assert picture.alpha[0, 0].max() == 0
    assert picture.alpha[0, -1].min() == 1


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\x7f", b"Exif\0\0no TIFF"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_damaged_exif_is_ignored(tmp_path, exif, suffix):
    path = tmp_path / f"photo.{suffix}"
    Image.new("RGB", (4, 3), RED).save(path, exif=exif)
    assert load_image(path).pixels.shape == (1, 3, 4, 3)


@pytest.mark.parametrize("shape", [(3, 4, 3), (1, 3, 4, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float16, np.float32, np.float64])
def test_arrays(shape, dtype):
    levels = np.random.default_rng(0).integers(0, 2, shape)
    array = (levels * 255).astype(dtype) if dtype == np.uint8 else levels.astype(dtype)
    picture = load_image(array)
    assert picture.pixels.dtype == np.float32
    np.testing.assert_array_equal(picture.pixels, levels.reshape(1, 3, 4, 3))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 4)), "shape"),
        (np.zeros((2, 3, 4, 3)), "shape"),
        (np.zeros((3, 4, 4)), "shape"),
        (np.zeros((0, 4, 3)), "shape"),
        (np.zeros((3, 4, 3), np.int64), "int64"),
        (np.full((3, 4, 3), 255.0), "255"),
        (np.full((3, 4, 3), np.nan), "NaN"),
        (None, "shape"),
    ],
)
def test_arrays_that_are_no_images(array, message):
    with pytest.raises(NstjaxError, match=message):
        load_image(array)


def test_name_is_the_source(tmp_path):
    path = tmp_path / "größe 1.png"
    Image.new("RGB", (1, 1)).save(path)
    assert load_image(path).name == load_image(str(path)).name == str(path)
    with Image.open(path) as image:
        assert Path(load_image(image).name) == path


@pytest.mark.parametrize(
    ("width", "height", "size", "shape"),
    [(640, 480, 100, (75, 100)), (301, 200, 100, (66, 100)), (1, 5000, 100, (100, 1))],
)
@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_size_is_exact(tmp_path, width, height, size, shape, suffix):
    path = tmp_path / f"picture.{suffix}"
    Image.new("RGB", (width, height), BLUE).save(path)
    assert load_image(path, size=size).pixels.shape == (1, *shape, 3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1)])
def test_thin_pictures(tmp_path, shape):
    path = tmp_path / "thin.png"
    Image.new("RGB", shape[::-1], BLUE).save(path)
    assert load_image(path).pixels.shape == (1, *shape, 3)


def test_enlarged_only_on_request():
    image = Image.new("RGBA", (40, 30), (*RED, 255))
    assert load_image(image, size=80).pixels.shape == (1, 30, 40, 3)
    enlarged = load_image(image, size=80, upscale=True)
    assert enlarged.pixels.shape == (1, 60, 80, 3)
    assert enlarged.alpha is not None
    assert enlarged.alpha.shape == (1, 60, 80, 1)


def test_size_must_be_positive():
    with pytest.raises(NstjaxError, match="at least 1"):
        load_image(Image.new("RGB", (4, 4)), size=0)


def test_large_jpegs_decode_at_reduced_scale_without_visible_loss(tmp_path, monkeypatch):
    path = tmp_path / "photo.jpg"
    noise = np.random.default_rng(1).integers(0, 256, (1203, 1601, 3), np.uint8)
    Image.fromarray(noise).filter(ImageFilter.GaussianBlur(3)).save(path, quality=95)
    with Image.open(path) as image:
        full = load_image(image, size=200).pixels  # a picture of Pillow's is decoded in full
    decoded = []
    load = Image.Image.load
    monkeypatch.setattr(Image.Image, "load", lambda im: decoded.append(im.size) or load(im))
    reduced = load_image(path, size=200).pixels
    assert decoded[0] == (401, 301)
    assert reduced.shape == full.shape == (1, 150, 200, 3)
    assert np.abs(reduced - full).max() < 4 / 255
    assert np.std(full) > 10 * np.std(reduced - full)


def test_hidden_colours_do_not_fringe():
    levels = np.zeros((40, 40, 4), np.uint8)
    levels[:, 13:] = (255, 255, 255, 255)  # white beside transparent black
    picture = load_image(Image.fromarray(levels), size=10)
    assert picture.alpha is not None
    visible = picture.alpha[..., 0] > 0.02
    assert picture.pixels[visible].min() > 0.99
    assert picture.alpha[0, 5, 3, 0] == pytest.approx(0.75, abs=0.1)


def test_resizing_a_loaded_picture_is_loading_it_in_that_size():
    levels = np.zeros((40, 40, 4), np.uint8)
    levels[:, 13:] = (255, 0, 0, 255)  # red beside transparent black
    whole, wanted = (load_image(Image.fromarray(levels), size=size) for size in (None, 10))
    resized = resize_picture(whole, 10, 10)
    np.testing.assert_array_equal(resized.pixels, wanted.pixels)
    assert whole.alpha is not None
    np.testing.assert_array_equal(resized.alpha, resize_image(whole.alpha, 10, 10))
    opaque = resize_picture(Picture(whole.pixels, None, "a", "b"), 10, 10)
    np.testing.assert_array_equal(opaque.pixels, resize_image(whole.pixels, 10, 10))
    assert (opaque.alpha, opaque.name, opaque.sha256) == (None, "a", "b")


def test_loading_twice_gives_the_same(tmp_path):
    path = tmp_path / "noise.jpg"
    noise = np.random.default_rng(2).integers(0, 256, (300, 400, 3), np.uint8)
    Image.fromarray(noise).save(path)
    first, second = (load_image(path, size=64).pixels for _ in range(2))
    np.testing.assert_array_equal(first, second)
