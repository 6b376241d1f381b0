"""Settings stored in pictures, and read back."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from nstjax import __version__
from nstjax.errors import NstjaxError
from nstjax.images import read_settings, save_image

PIXELS = np.full((1, 4, 5, 3), 0.5, np.float32)
SETTINGS = {
    "content": "größe — 写真.jpg",
    "style_weight": 1e-05,
    "layers": ["block1_conv1", "block2_conv1"],
    "nested": {"on": True, "none": None, "text": "line\nbreak \x00 \u2028 'quotes' \"too\""},
}


@pytest.mark.parametrize(
    ("suffix", "bits"),
    [("png", 8), ("png", 16), ("jpg", 8), ("webp", 8), ("tif", 8), ("tiff", 16)],
)
@pytest.mark.parametrize("settings", [SETTINGS, {}])
def test_read_back(tmp_path, suffix, bits, settings):
    path = tmp_path / f"out.{suffix}"
    save_image(path, PIXELS, bits=bits, settings=settings)
    assert read_settings(path) == settings


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_software_is_named(tmp_path, suffix):
    path = tmp_path / f"out.{suffix}"
    save_image(path, PIXELS)
    with Image.open(path) as image:
        software = image.info["Software"] if suffix == "png" else image.getexif()[0x0131]
    assert software == f"nstjax {__version__}"
    assert read_settings(path) is None


@pytest.mark.parametrize("bits", [8, 16])
def test_other_programs_find_the_text(tmp_path, bits):
    save_image(tmp_path / "out.png", PIXELS, bits=bits, settings={"size": 512})
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["nstjax"] == '{"size": 512}'
    save_image(tmp_path / "out.tif", PIXELS, bits=bits, settings={"size": 512})
    with tifffile.TiffFile(tmp_path / "out.tif") as tiff:
        assert tiff.pages.first.description == '{"size": 512}'


def test_pictures_of_other_programs(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "plain.png")
    assert read_settings(tmp_path / "plain.png") is None
    tifffile.imwrite(tmp_path / "other.tif", np.zeros((4, 5, 3), np.uint8), photometric="rgb")
    with tifffile.TiffFile(tmp_path / "other.tif") as tiff:
        assert tiff.pages.first.description.startswith("{")  # JSON, but not settings
    assert read_settings(tmp_path / "other.tif") is None


@pytest.mark.parametrize("text", ["no JSON", "[1, 2]"])
def test_text_that_is_no_settings(tmp_path, text):
    from PIL import PngImagePlugin

    info = PngImagePlugin.PngInfo()
    info.add_text("nstjax", text)
    Image.new("RGB", (2, 2)).save(tmp_path / "edited.png", pnginfo=info)
    assert read_settings(tmp_path / "edited.png") is None


def test_missing_file(tmp_path):
    with pytest.raises(NstjaxError, match="does not exist"):
        read_settings(tmp_path / "missing.png")


@pytest.mark.parametrize("value", [object(), float("nan"), {1, 2}])
def test_settings_that_are_no_json(tmp_path, value):
    with pytest.raises(NstjaxError, match="do not fit into JSON"):
        save_image(tmp_path / "out.png", PIXELS, settings={"value": value})


def test_jpeg_has_room_for_so_much(tmp_path):
    save_image(tmp_path / "out.jpg", PIXELS, settings={"a": "x" * 64_990})
    assert read_settings(tmp_path / "out.jpg") == {"a": "x" * 64_990}
    with pytest.raises(NstjaxError, match=r"at most 65000\): save it as \.png"):
        save_image(tmp_path / "out.jpg", PIXELS, settings={"a": "x" * 65_000})
    save_image(tmp_path / "out.png", PIXELS, settings={"a": "x" * 65_000})
