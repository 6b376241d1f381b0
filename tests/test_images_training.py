"""Squares of pictures, as training wants them."""

import io
import warnings

import numpy as np
import pytest
from PIL import Image
from test_images_colour import icc_profile
from test_images_load import BLUE, RED, STORED

from nstjax.errors import NstjaxError
from nstjax.images import decode_square, load_image


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def waves(height: int, width: int) -> np.ndarray:
    """Colours that change slowly enough for every way of resampling to agree on them."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    levels = np.stack([np.sin(5 * x), np.cos(4 * y), np.sin(3 * (x + y))], axis=2)
    return (127.5 + 127.5 * levels).astype(np.uint8)


@pytest.mark.parametrize(("along", "colour"), [(0.0, RED), (1.0, BLUE)])
@pytest.mark.parametrize("upright", [False, True])
def test_place(along, colour, upright):
    halves = np.zeros((10, 20, 3), np.uint8)
    halves[:, :10], halves[:, 10:] = RED, BLUE
    stored = Image.fromarray(halves.swapaxes(0, 1) if upright else halves)
    place = (0.5, along) if upright else (along, 0.5)
    square = decode_square(encoded(stored), "halves", size=10, place=place)
    assert square.dtype == np.uint8
    assert (square == colour).all()


def test_zoom_takes_a_smaller_square():
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[:21, :21] = 255  # the filter looks beyond the square
    square = decode_square(
        encoded(Image.fromarray(pixels)), "p", size=10, zoom=2.0, place=(0.0, 0.0)
    )
    assert (square == 255).all()


@pytest.mark.parametrize(("size", "side"), [(28, 28), (30, 30), (24, 24), (20, 24)])
def test_zoom_enlarges_no_more_than_needed(size, side):
    pixels = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    data = encoded(Image.fromarray(pixels))
    square = decode_square(data, "p", size=size, zoom=1.25, place=(0.0, 0.0))
    expected = Image.fromarray(pixels[:side, :side]).resize((size, size), Image.Resampling.BICUBIC)
    difference = np.abs(square - np.asarray(expected, int))[:-2, :-2]  # the rest is not cut off
    assert difference.max() <= 1


def test_squash_takes_everything():
    halves = np.zeros((8, 32, 3), np.uint8)
    halves[:, :16], halves[:, 16:] = RED, BLUE
    square = decode_square(encoded(Image.fromarray(halves)), "p", size=16, zoom=1.5, squash=True)
    assert (square[:, :6] == RED).all()
    assert (square[:, 10:] == BLUE).all()


@pytest.mark.parametrize(
    ("shape", "size", "zoom", "decoded"),
    [
        ((512, 1024), 64, 1.0, (128, 64)),
        ((512, 1024), 64, 1.01, (256, 128)),
        ((515, 550), 256, 2.0, (550, 515)),
        ((515, 550), 256, 1.0, (275, 258)),
        ((40, 90), 64, 1.2, (90, 40)),
    ],
)
def test_jpegs_are_decoded_at_reduced_scale(monkeypatch, shape, size, zoom, decoded):
    sizes = []
    resize = Image.Image.resize
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, *args: sizes.append(self.size) or resize(self, *args)
    )
    image = Image.fromarray(waves(*shape))
    place = (0.3, 0.8)
    reduced = decode_square(
        encoded(image, "JPEG", quality=95, subsampling=0), "p", size=size, zoom=zoom, place=place
    )
    whole = decode_square(encoded(image), "p", size=size, zoom=zoom, place=place)
    assert sizes == [decoded, image.size]
    assert np.abs(reduced - whole.astype(int)).max() <= 6


@pytest.mark.parametrize("orientation", STORED)
def test_orientation(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.array(STORED[orientation], np.uint8)).resize((40, 40), 0)
    square = decode_square(encoded(stored, exif=exif), "p", size=40)
    upright = Image.fromarray(np.array(STORED[1], np.uint8)).resize((40, 40), 0)
    np.testing.assert_array_equal(square, upright)


def palette(**options) -> bytes:
    return encoded(Image.fromarray(waves(20, 20)).quantize(16), **options)


def with_alpha() -> bytes:
    image = Image.fromarray(waves(20, 20)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((20, 20)))
    return encoded(image)


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(waves(20, 20))),
        encoded(Image.fromarray(waves(20, 20)), "JPEG"),
        encoded(Image.fromarray(waves(20, 20)), "WEBP"),
        encoded(Image.fromarray(waves(20, 20)).convert("L"), "JPEG"),
        encoded(Image.fromarray(waves(20, 20)).convert("CMYK"), "JPEG"),
        encoded(Image.fromarray(waves(20, 20)).convert("1")),
        encoded(Image.fromarray(waves(20, 20)[..., 0].astype(np.uint16) * 257)),
        encoded(Image.fromarray(waves(20, 20)).convert("CMYK"), "TIFF"),
        palette(),
        palette(transparency=3),
        palette(transparency=bytes(range(16))),
        with_alpha(),
        encoded(Image.fromarray(waves(20, 20)), "JPEG", icc_profile=icc_profile(b"RGB ", 1.0)),
        encoded(Image.new("L", (20, 20), 90), "JPEG", icc_profile=icc_profile(b"GRAY", 1.0)),
    ],
)
def test_every_mode_comes_out_as_it_is_loaded(tmp_path, data):
    path = tmp_path / "picture"
    path.write_bytes(data)
    expected = np.rint(load_image(path).pixels[0] * 255)
    np.testing.assert_array_equal(decode_square(data, "p", size=20), expected)
    np.testing.assert_array_equal(decode_square(path, "p", size=20), expected)


@pytest.mark.parametrize("shape", [(1, 300), (300, 1), (1, 1), (7, 5)])
def test_any_shape_will_do(shape):
    data = encoded(Image.fromarray(waves(*shape)), "JPEG")
    for place in [(0.0, 0.0), (1.0, 1.0), (1 / 3, 2 / 3)]:
        assert decode_square(data, "p", size=64, zoom=1.234, place=place).shape == (64, 64, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "p.jpg is not a picture of a readable kind"),
        (b"GIF98a?", "p.jpg "),
        (encoded(Image.fromarray(waves(90, 90)), "JPEG")[:900], "p.jpg cannot be decoded .*trunc"),
    ],
)
def test_what_is_broken(data, message):
    with pytest.raises(NstjaxError, match=message):
        decode_square(data, "p.jpg", size=64)


def test_a_file_that_is_gone(tmp_path):
    with pytest.raises(NstjaxError, match=r"gone\.jpg does not exist"):
        decode_square(tmp_path / "gone.jpg", "gone.jpg", size=64)


def test_nothing_global_changes(monkeypatch):
    # Both are shared with the threads that train.
    monkeypatch.setattr(warnings, "catch_warnings", None)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10**6)
    decode_square(encoded(Image.fromarray(waves(20, 20))), "p", size=8)
    assert Image.MAX_IMAGE_PIXELS == 10**6
