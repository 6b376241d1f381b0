"""ICC profiles, against the colour arithmetic done in NumPy."""

import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from nstjax.images import load_image

D50 = (0.9642, 1.0, 0.8249)
# Primaries adapted to D50, as the profiles carry them: columns are R, G and B.
SRGB = np.array([[0.4361, 0.3851, 0.1431], [0.2225, 0.7169, 0.0606], [0.0139, 0.0971, 0.7141]])
ADOBE = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])


def icc_profile(space, gamma, primaries=SRGB):
    """A version 2 display profile: primaries, or grey, with a gamma or a sampled curve."""

    def xyz(values):
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    samples = np.round(gamma * 65535) if np.ndim(gamma) else np.array([round(gamma * 256), 0])
    count = len(samples) if np.ndim(gamma) else 1
    curve = b"curv\0\0\0\0" + struct.pack(">I", count) + samples.astype(">u2").tobytes()
    tags = {b"wtpt": xyz(D50)}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    else:
        for index, name in enumerate((b"r", b"g", b"b")):
            tags[name + b"XYZ"] = xyz(primaries[:, index])
            tags[name + b"TRC"] = curve
    table, body = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", start + len(body), len(data))
        body += data
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"", 0x02100000, b"mntr", space, b"XYZ ")
    header = header.ljust(36, b"\0") + b"acsp".ljust(32, b"\0")
    header += b"".join(struct.pack(">i", round(v * 65536)) for v in D50)
    return header.ljust(128, b"\0") + table + body


def encoded(linear):
    """The sRGB transfer function of IEC 61966-2-1."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def srgb_curve():
    levels = np.linspace(0, 1, 1024)
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


@pytest.fixture
def colours():
    return np.random.default_rng(3).integers(0, 256, (8, 9, 3), np.uint8)


def tagged(tmp_path, levels, profile, suffix="png"):
    path = tmp_path / f"tagged.{suffix}"
    Image.fromarray(levels).save(path, icc_profile=profile)
    return load_image(path)


def test_linear_light_is_encoded(tmp_path, colours):
    pixels = tagged(tmp_path, colours, icc_profile(b"RGB ", 1.0)).pixels
    np.testing.assert_allclose(pixels[0], encoded(colours / 255), atol=2.5 / 255)
    grey = tagged(tmp_path, np.full((2, 2, 3), 128, np.uint8), icc_profile(b"RGB ", 1.0)).pixels
    np.testing.assert_allclose(grey, 188 / 255, atol=1.01 / 255)


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_wide_gamut_becomes_more_saturated_numbers(tmp_path, suffix):
    levels = np.array([[[128, 200, 100], [200, 100, 100], [90, 90, 90]]], np.uint8)
    pixels = tagged(tmp_path, levels, icc_profile(b"RGB ", 2.2, ADOBE), suffix).pixels[0]
    linear = (levels / 255) ** 2.2 @ (np.linalg.inv(SRGB) @ ADOBE).T
    np.testing.assert_allclose(pixels, encoded(linear), atol=2 / 255)
    assert np.ptp(pixels[0, 0]) > np.ptp(levels[0, 0] / 255) + 0.05


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_profile_applies_beside_transparency_and_palette(tmp_path, mode):
    path = tmp_path / "tagged.png"
    image = Image.new("RGBA", (2, 2), (128, 128, 128, 51)).convert(mode)
    image.save(path, icc_profile=icc_profile(b"RGB ", 1.0))
    picture = load_image(path)
    np.testing.assert_allclose(picture.pixels, 188 / 255, atol=1.01 / 255)
    if mode == "RGBA":
        assert picture.alpha is not None
        np.testing.assert_allclose(picture.alpha, 0.2, atol=1e-6)


@pytest.mark.parametrize(("mode", "level"), [("L", 128), ("LA", (128, 51)), ("I;16", 32896)])
@pytest.mark.parametrize("space", [b"GRAY", b"RGB "])
def test_grey_profiles(tmp_path, mode, level, space):
    path = tmp_path / "grey.png"
    Image.new(mode, (2, 2), level).save(path, icc_profile=icc_profile(space, 1.0))
    np.testing.assert_allclose(load_image(path).pixels, 188 / 255, atol=1.01 / 255)


def test_sixteen_bit_grey_follows_the_curve_between_its_levels(tmp_path):
    path = tmp_path / "grey.png"
    levels = np.arange(0, 65536, 50, dtype=np.uint16)[None]
    Image.fromarray(levels).save(path, icc_profile=icc_profile(b"GRAY", 1.0))
    grey = load_image(path).pixels[0, 0, :, 0]
    assert np.all(np.diff(grey) >= 0)
    assert len(np.unique(grey)) > 800  # of 1311; 8 bits would leave 256
    high = levels[0] > 4000  # the curve is steep near black
    np.testing.assert_allclose(grey[high], encoded(levels[0, high] / 65535), atol=1 / 255)


def test_sixteen_bit_grey_tagged_srgb_changes_nothing(tmp_path):
    path = tmp_path / "grey.png"
    levels = np.arange(0, 65536, 50, dtype=np.uint16)[None]
    Image.fromarray(levels).save(path, icc_profile=icc_profile(b"GRAY", srgb_curve() ** 1.01))
    np.testing.assert_allclose(load_image(path).pixels[0, ..., 0], levels / 65535, atol=1e-7)


@pytest.mark.parametrize(
    "profile",
    [
        ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        icc_profile(b"RGB ", srgb_curve() ** 1.01),  # moves some colours by one level
    ],
    ids=["LittleCMS", "rounded"],
)
def test_srgb_changes_nothing(tmp_path, colours, profile):
    np.testing.assert_array_equal(
        tagged(tmp_path, colours, profile).pixels[0], colours / np.float32(255)
    )


@pytest.mark.parametrize(
    "profile",
    [
        b"no profile",
        icc_profile(b"RGB ", 1.0)[:200],
        icc_profile(b"GRAY", 1.0),
        icc_profile(b"RGB ", 1.0)[:128] + b"\xff" * 400,
    ],
    ids=["text", "cut", "of another space", "damaged"],
)
def test_what_is_no_profile_is_ignored(tmp_path, colours, profile):
    np.testing.assert_array_equal(
        tagged(tmp_path, colours, profile, "tiff").pixels[0], colours / np.float32(255)
    )


def test_rgb_profile_on_cmyk_is_ignored(tmp_path):
    path = tmp_path / "cmyk.tiff"
    image = Image.new("CMYK", (2, 2), (255, 0, 0, 0))
    image.save(path, icc_profile=icc_profile(b"RGB ", 1.0))
    np.testing.assert_array_equal(load_image(path).pixels[0, 0, 0], [0, 1, 1])
