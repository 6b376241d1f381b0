"""Every Pillow mode, against values worked out by hand."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from nstjax.errors import NstjaxError
from nstjax.images import load_image

SIZE = (3, 2)


def solid(mode, colour):
    return Image.new(mode, SIZE, colour)


def palette(mode, data, colours, **info):
    image = Image.frombytes(mode, SIZE, bytes(data))
    image.putpalette(colours)
    image.info.update(info)
    return image


def wide(mode, level):
    dtype = ">u2" if mode == "I;16B" else "<u2"
    return Image.frombytes(mode, SIZE, np.full(SIZE[::-1], level, dtype).tobytes())


OPAQUE = [
    ("1", solid("1", 1), (1, 1, 1)),
    ("L", solid("L", 51), (0.2, 0.2, 0.2)),
    ("P", palette("P", [1] * 6, [0, 0, 0, 255, 51, 0]), (1, 0.2, 0)),
    ("RGB", solid("RGB", (255, 51, 0)), (1, 0.2, 0)),
    ("RGBX", solid("RGBX", (255, 51, 0, 7)), (1, 0.2, 0)),
    ("CMYK cyan", solid("CMYK", (255, 0, 0, 0)), (0, 1, 1)),
    ("CMYK black", solid("CMYK", (0, 0, 0, 255)), (0, 0, 0)),
    # JFIF: red has Y 0.299, Cb below and Cr above the middle; 8-bit rounding leaves 1 level.
    ("YCbCr red", solid("YCbCr", (76, 85, 255)), (254 / 255, 0, 0)),
    ("HSV green", solid("HSV", (85, 255, 255)), (0, 1, 0)),
    # L* = 50.2 is luminance 0.1860, which sRGB encodes as 0.4690: level 120 of 255 within 1.
    ("LAB grey", solid("LAB", (128, 128, 128)), (0.469, 0.469, 0.469)),
    ("I", solid("I", 32768), (32768 / 65535,) * 3),
    ("F", solid("F", 0.3), (0.3, 0.3, 0.3)),
    *((mode, wide(mode, 32768), (32768 / 65535,) * 3) for mode in ("I;16", "I;16L", "I;16B")),
]

TRANSPARENT = [
    ("LA", solid("LA", (51, 102)), (0.2, 0.2, 0.2), 0.4),
    # Multiplied by an alpha of 102/255, a level of 51 was 127.5.
    ("La", Image.frombytes("La", SIZE, bytes([51, 102] * 6)), (0.5, 0.5, 0.5), 0.4),
    ("RGBA", solid("RGBA", (255, 51, 0, 102)), (1, 0.2, 0), 0.4),
    ("RGBa", Image.frombytes("RGBa", SIZE, bytes([102, 51, 0, 102] * 6)), (1, 0.5, 0), 0.4),
    ("PA", palette("PA", [1, 102] * 6, [0, 0, 0, 255, 51, 0]), (1, 0.2, 0), 0.4),
    ("P key", palette("P", [1] * 6, [0, 0, 0, 255, 51, 0], transparency=1), (1, 0.2, 0), 0),
    (
        "P table",
        palette("P", [1] * 6, [0, 0, 0, 255, 51, 0], transparency=b"\xff\x66"),
        (1, 0.2, 0),
        0.4,
    ),
]


@pytest.mark.parametrize(("image", "rgb"), [c[1:] for c in OPAQUE], ids=[c[0] for c in OPAQUE])
def test_opaque_modes(image, rgb):
    picture = load_image(image)
    assert picture.alpha is None
    assert picture.pixels.dtype == np.float32
    assert picture.pixels.shape == (1, 2, 3, 3)
    np.testing.assert_allclose(picture.pixels, np.broadcast_to(rgb, (1, 2, 3, 3)), atol=1.01 / 255)


@pytest.mark.parametrize(
    ("image", "rgb", "alpha"), [c[1:] for c in TRANSPARENT], ids=[c[0] for c in TRANSPARENT]
)
def test_transparent_modes(image, rgb, alpha):
    picture = load_image(image)
    assert picture.alpha is not None
    np.testing.assert_allclose(picture.pixels, np.broadcast_to(rgb, (1, 2, 3, 3)), atol=1.01 / 255)
    np.testing.assert_allclose(picture.alpha, np.full((1, 2, 3, 1), alpha), atol=1e-6)


@pytest.mark.parametrize("level", [0, 1, 32768, 65535])
@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_sixteen_bit_grey_keeps_its_bits_through_a_file(tmp_path, level, suffix):
    path = tmp_path / f"grey.{suffix}"
    wide("I;16", level).save(path)
    np.testing.assert_allclose(load_image(path).pixels, level / 65535, atol=1e-7)


def test_float_tiff(tmp_path):
    path = tmp_path / "float.tiff"
    levels = np.linspace(0, 1, 6, dtype=np.float32).reshape(2, 3)
    Image.fromarray(levels).save(path)
    np.testing.assert_array_equal(load_image(path).pixels[0, :, :, 1], levels)


@pytest.mark.parametrize(
    ("mode", "kept"),
    [("1", None), ("L", None), ("RGB", None), ("P", 0), ("L", 0), ("RGB", (0,) * 3)],
)
def test_png_transparency_keys(tmp_path, mode, kept):
    path = tmp_path / "key.png"
    options = {} if kept is None else {"transparency": kept}
    Image.new(mode, SIZE, 0).save(path, **options)
    alpha = load_image(path).alpha
    assert (alpha is None) if kept is None else (alpha is not None and not alpha.any())


@pytest.mark.parametrize(
    ("suffix", "mode"), [("jpg", "CMYK"), ("tiff", "LAB"), ("tiff", "CMYK"), ("gif", "P")]
)
def test_files_of_a_mode_load_as_the_mode_itself(tmp_path, suffix, mode):
    path = tmp_path / f"picture.{suffix}"
    image = palette("P", [1] * 6, [0, 0, 0, 255, 51, 0]) if mode == "P" else None
    image = image or solid(mode, (200, 60, 120, 30)[: len(Image.new(mode, (1, 1)).getbands())])
    image.save(path)
    np.testing.assert_allclose(load_image(path).pixels, load_image(image).pixels, atol=3 / 255)


def test_animation_gives_its_first_frame(tmp_path):
    path = tmp_path / "animation.gif"
    solid("RGB", (255, 0, 0)).save(path, save_all=True, append_images=[solid("RGB", (0, 255, 0))])
    np.testing.assert_array_equal(load_image(path).pixels[0, 0, 0], [1, 0, 0])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (solid("F", float("nan")), "NaN"),
        (solid("F", float("inf")), "infinite"),
        (solid("F", 200.0), "from 200 to 200: scale them to 0..1"),
        (solid("I", 70000), "from 70000 to 70000"),
        (solid("I", -1), "from -1 to -1"),
    ],
)
def test_grey_levels_out_of_range(tmp_path, image, message):
    path = tmp_path / "levels.tiff"
    image.save(path)
    with pytest.raises(NstjaxError, match=message) as caught:
        load_image(path)
    assert str(path) in str(caught.value)


def test_a_callers_picture_stays_as_it_was():
    image = palette("P", [1] * 6, [0, 0, 0, 255, 51, 0], transparency=1)
    before = image.tobytes(), image.mode, image.size, dict(image.info)
    load_image(image, size=1)
    assert (image.tobytes(), image.mode, image.size, dict(image.info)) == before


def test_sixteen_bit_colour_keeps_its_high_byte():
    # A 1x1 RGB TIFF by hand: 16-bit samples 0x8000, 0xFFFF and 0x00FF.
    entries = [
        (256, 4, 1, 1),
        (257, 4, 1, 1),
        (258, 3, 3, 134),
        (262, 3, 1, 2),
        (273, 4, 1, 140),
        (277, 3, 1, 3),
        (278, 4, 1, 1),
        (279, 4, 1, 6),
    ]
    table = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    data = b"II*\0" + struct.pack("<I", 8) + table + struct.pack("<I", 0)
    data = data.ljust(134, b"\0") + struct.pack("<6H", 16, 16, 16, 0x8000, 0xFFFF, 0x00FF)
    pixels = load_image(Image.open(io.BytesIO(data))).pixels
    np.testing.assert_allclose(pixels[0, 0, 0], [128 / 255, 1, 0], atol=1e-6)
