"""What cannot be loaded is named in one line that says what to do."""

import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from nstjax.errors import NstjaxError
from nstjax.images import load_image, load_made_image, read_settings, read_size, save_image
from nstjax.images.decode import MAX_PIXELS


def png_header(width, height):
    data = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + data + struct.pack(">I", zlib.crc32(data))
    return head + struct.pack(">I", 4) + b"IDAT" + bytes(4) + struct.pack(">I", zlib.crc32(b"IDAT"))


def half(tmp_path, suffix):
    path = tmp_path / f"whole.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    data = path.read_bytes()
    return data[: len(data) // 2]


BROKEN = {
    "empty.png": (lambda _: b"", "is empty"),
    "text.jpg": (lambda _: b"this is no picture\n" * 40, "readable kind: convert it to PNG"),
    "drawing.svg": (lambda _: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "convert it to PNG"),
    "phone.heic": (lambda _: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "convert it to PNG or JPEG"),
    "page.eps": (
        lambda _: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",
        "convert it to PNG or JPEG",
    ),
    "cut.jpg": (lambda folder: half(folder, "jpg"), "cut short"),
    "cut.png": (lambda folder: half(folder, "png"), "cut short"),
    "cut.gif": (lambda folder: half(folder, "gif"), "cut short"),
    "cut.tiff": (lambda folder: half(folder, "tiff"), "PNG|cut short"),
    "cut.webp": (lambda folder: half(folder, "webp"), "PNG|cut short"),
    "header.png": (lambda _: png_header(9, 9), "cut short"),
    "zero.png": (lambda _: png_header(0, 9), "convert it to PNG"),
    "bomb.png": (lambda _: png_header(30_000, 30_000), "more than 180 megapixels: scale it down"),
    "big bomb.png": (lambda _: png_header(90_000, 90_000), "more than 180 megapixels"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_files(tmp_path, name):
    make, message = BROKEN[name]
    path = tmp_path / name
    path.write_bytes(make(tmp_path))
    with pytest.raises(NstjaxError, match=message) as caught:
        load_image(path, size=32)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("missing.png", "does not exist: check the path"),
        (".", "is a folder: give a picture file"),
        ("a\0b.png", "cannot be opened"),
        ("x" * 300 + ".png", "cannot be opened"),
    ],
)
def test_paths_that_are_no_file(tmp_path, monkeypatch, path, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NstjaxError, match=message):
        load_image(path)


def test_permission(tmp_path):
    path = tmp_path / "secret.png"
    Image.new("RGB", (1, 1)).save(path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read every file")
    with pytest.raises(NstjaxError, match="may not be read: check its permissions"):
        load_image(path)


def test_permission_refused_by_the_system(tmp_path, monkeypatch):
    path = tmp_path / "secret.png"

    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(NstjaxError, match="may not be read") as caught:
        load_image(path)
    assert str(path) in str(caught.value)


def test_zero_size_pillow_image():
    with pytest.raises(NstjaxError, match="0x5 pixels"):
        load_image(Image.new("RGB", (0, 5)))


def test_closed_pillow_image(tmp_path):
    path = tmp_path / "closed.png"
    Image.new("RGB", (1, 1)).save(path)
    with Image.open(path) as image:
        pass
    with pytest.raises(NstjaxError, match=r"closed\.png is damaged"):
        load_image(image)


def test_large_pictures_below_the_limit_are_no_bombs(tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(png_header(13_000, 13_000))  # Pillow alone refuses from 179 megapixels
    assert MAX_PIXELS > 13_000**2
    assert read_settings(path) is None


def test_a_header_and_what_was_made_here_have_no_limit(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    path.write_bytes(png_header(90_000, 40_000))
    assert read_settings(path) is None
    assert read_size(path) == (40_000, 90_000)
    monkeypatch.setattr("nstjax.images.decode.MAX_PIXELS", 100)
    save_image(path, np.full((1, 30, 40, 3), 0.2, np.float32), settings={"size": 40})
    with pytest.raises(NstjaxError, match="megapixels"):
        load_image(path)
    assert read_settings(path) == {"size": 40}
    np.testing.assert_allclose(load_made_image(path).pixels, 0.2)


def test_pillow_and_warnings_stay_as_they_were(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12_345)
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(30_000, 30_000))
    before = list(warnings.filters)
    with pytest.raises(NstjaxError):
        load_image(path)
    assert list(warnings.filters) == before
    assert Image.MAX_IMAGE_PIXELS == 12_345
