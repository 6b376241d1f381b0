"""Saved files, read back with Pillow, tifffile and a small PNG reader."""

import struct
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from nstjax.errors import NstjaxError
from nstjax.images import MadePicture, load_image, save_image, to_pillow
from nstjax.images.colour import srgb_profile

SUFFIXES = ["png", "jpg", "jpeg", "webp", "tif", "tiff"]
LOSSLESS = ["png", "tif"]
WITH_ALPHA = ["png", "webp", "tif"]


@pytest.fixture
def pixels():
    return np.random.default_rng(5).random((1, 11, 7, 3), dtype=np.float32)


@pytest.fixture
def alpha():
    return np.random.default_rng(6).random((1, 11, 7, 1), dtype=np.float32)


def nearest(image, bits):
    """Levels by exact arithmetic on integers, halves up."""
    top = 2**bits - 1
    return np.array([int(2 * float(v) * top + 1) // 2 for v in image.ravel()]).reshape(image.shape)


def png_levels(data):
    """Reads a 16-bit PNG whose rows all use the Up filter; checks every chunk's CRC."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, at = {}, 8
    while at < len(data):
        (length,) = struct.unpack_from(">I", data, at)
        body = data[at + 4 : at + 8 + length]
        assert struct.unpack_from(">I", data, at + 8 + length) == (zlib.crc32(body),)
        chunks[body[:4]] = body[4:]
        at += 12 + length
    width, height, bits, kind = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    assert bits == 16
    channels = {2: 3, 6: 4}[kind]
    rows = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, -1)
    assert np.all(rows[:, 0] == 2)
    samples = np.cumsum(rows[:, 1:], axis=0, dtype=np.uint8)
    return samples.view(">u2").reshape(height, width, channels)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("shape", [(1, 1), (11, 7), (40, 64)])
def test_every_suffix_has_the_size_and_profile(tmp_path, suffix, shape):
    path = tmp_path / f"out.{suffix.upper()}"
    save_image(path, np.full((1, *shape, 3), 0.6, np.float32))
    with Image.open(path) as image:
        assert image.size == shape[::-1]
        assert image.mode == "RGB"
        assert image.info["icc_profile"] == srgb_profile()
    np.testing.assert_allclose(load_image(path).pixels, 0.6, atol=2 / 255)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", LOSSLESS)
def test_eight_bits_are_the_nearest_levels(tmp_path, pixels, alpha, suffix):
    path = tmp_path / f"out.{suffix}"
    pixels[0, 0, 0] = [0.5 / 255, 1.49 / 255, 254.51 / 255]
    save_image(path, pixels, alpha=alpha)
    with Image.open(path) as image:
        levels = np.asarray(image)
    np.testing.assert_array_equal(levels, nearest(np.concatenate([pixels, alpha], 3)[0], 8))
    np.testing.assert_array_equal(levels[0, 0, :3], [1, 1, 255])


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("suffix", LOSSLESS)
def test_sixteen_bits_are_the_nearest_levels(tmp_path, pixels, alpha, suffix, channels):
    path = tmp_path / f"out.{suffix}"
    save_image(path, pixels, alpha=alpha if channels == 4 else None, bits=16)
    levels = png_levels(path.read_bytes()) if suffix == "png" else tifffile.imread(path)
    expected = nearest(np.concatenate([pixels, alpha], 3)[0, ..., :channels], 16)
    np.testing.assert_array_equal(levels, expected)
    picture = load_image(path)  # Pillow gives the high bytes
    np.testing.assert_array_equal(picture.pixels * 255, np.float32(expected[None, ..., :3] // 256))
    assert (picture.alpha is not None) == (channels == 4)


def test_values_outside_are_clipped():
    levels = np.asarray(to_pillow(np.array([[[[-0.4, 1.7, 1.0]]]])))
    np.testing.assert_array_equal(levels, [[[0, 255, 255]]])


@pytest.mark.parametrize("suffix", WITH_ALPHA)
def test_alpha_is_kept(tmp_path, pixels, alpha, suffix):
    path = tmp_path / f"out.{suffix}"
    save_image(path, pixels, alpha=alpha)
    saved = load_image(path).alpha
    assert saved is not None
    np.testing.assert_allclose(saved, alpha, atol=0.51 / 255)


def test_jpeg_is_flattened_on_white(tmp_path):
    path = tmp_path / "out.jpg"
    alpha = np.repeat([0, 0.5, 1], 16).astype(np.float32)[None, None, :, None]
    save_image(path, np.zeros((1, 16, 48, 3), np.float32), alpha=np.tile(alpha, (1, 16, 1, 1)))
    row = load_image(path).pixels[0, 8, [4, 24, 44], 0]
    np.testing.assert_allclose(row, [1, 0.5, 0], atol=3 / 255)


def test_jpeg_keeps_colour_at_full_resolution(tmp_path):
    path = tmp_path / "out.jpg"
    save_image(path, np.zeros((1, 16, 16, 3), np.float32))
    with Image.open(path) as image:
        assert [layer[1:3] for layer in image.layer] == [(1, 1)] * 3  # pyright: ignore


@pytest.mark.parametrize(
    ("suffix", "bits"), [("png", 8), ("png", 16), ("jpg", 8), ("webp", 8), ("tif", 8), ("tif", 16)]
)
def test_same_input_same_bytes(tmp_path, pixels, alpha, suffix, bits):
    first, second = tmp_path / f"a.{suffix}", tmp_path / f"b.{suffix}"
    for path in (first, second):
        save_image(path, pixels, alpha=alpha, bits=bits, settings={"size": 512})
    assert first.read_bytes() == second.read_bytes()


def test_profile_holds_no_time():
    assert struct.unpack(">6H", srgb_profile()[24:36]) == (2000, 1, 1, 0, 0, 0)


def test_an_own_picture_loads_unchanged(tmp_path, pixels):
    path = tmp_path / "out.png"
    save_image(path, pixels)
    np.testing.assert_allclose(load_image(path).pixels, pixels, atol=0.501 / 255)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path, pixels, alpha, bad):
    path = tmp_path / "out.png"
    alpha[0, 3, 4] = bad
    with pytest.raises(NstjaxError, match="NaN or infinite"):
        save_image(path, pixels, alpha=alpha)
    pixels[0, 3, 4, 1] = bad
    with pytest.raises(NstjaxError, match="NaN or infinite"):
        save_image(path, pixels)
    assert not path.exists()


@pytest.mark.parametrize("shape", [(4, 4, 3), (2, 4, 4, 3), (1, 4, 4, 4), (1, 0, 4, 3)])
def test_shapes_that_are_no_image(tmp_path, shape):
    with pytest.raises(NstjaxError, match="shape"):
        save_image(tmp_path / "out.png", np.zeros(shape, np.float32))


def test_alpha_of_another_shape(tmp_path, pixels):
    with pytest.raises(NstjaxError, match="alpha of shape"):
        save_image(tmp_path / "out.png", pixels, alpha=np.ones((1, 4, 4, 1), np.float32))


@pytest.mark.parametrize(
    ("name", "bits", "message"),
    [
        ("out.pngg", 8, r"did you mean '\.png'"),
        ("out", 8, r"accepted: \.png, \.jpg"),
        ("out.jpg", 16, r"16 bits per channel: save it as \.png, \.tif, \.tiff"),
        ("out.webp", 16, r"save it as \.png"),
        ("out.png", 12, "choose 8 or 16"),
    ],
)
def test_formats_refuse_what_they_cannot_hold(tmp_path, pixels, name, bits, message):
    with pytest.raises(NstjaxError, match=message) as caught:
        save_image(tmp_path / name, pixels, bits=bits)
    assert str(tmp_path / name) in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_webp_has_a_largest_side(tmp_path):
    with pytest.raises(NstjaxError, match=r"at most 16383 a side\): save it as \.png"):
        save_image(tmp_path / "out.webp", np.zeros((1, 1, 16384, 3), np.float32))
    save_image(tmp_path / "out.webp", np.zeros((1, 1, 16383, 3), np.float32))


def test_jpeg_takes_its_largest_side(tmp_path):
    with pytest.raises(NstjaxError, match="at most 65500 a side"):
        save_image(tmp_path / "out.jpg", np.zeros((1, 1, 65501, 3), np.float32))
    save_image(tmp_path / "out.jpg", np.zeros((1, 1, 65500, 3), np.float32))


def test_jax_arrays(tmp_path):
    jnp = pytest.importorskip("jax.numpy")
    save_image(tmp_path / "out.png", jnp.full((1, 2, 2, 3), 0.2))
    np.testing.assert_allclose(load_image(tmp_path / "out.png").pixels, 0.2)


def test_to_pillow(pixels, alpha):
    assert to_pillow(pixels).mode == "RGB"
    image = to_pillow(pixels, alpha)
    assert image.mode == "RGBA"
    np.testing.assert_array_equal(image, nearest(np.concatenate([pixels, alpha], 3)[0], 8))


def test_made_pictures_can_be_compared_and_hashed(pixels):
    one, other = (MadePicture(image=pixels, settings={}) for _ in range(2))
    assert one != other
    assert len({one, other, one}) == 2
