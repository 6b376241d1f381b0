"""The command line with trained styles."""

import sys
from pathlib import Path

import numpy as np
import pytest
from commands import SHALLOW, expect_failure, picture
from PIL import Image

from nstjax.assets import BUNDLED_STYLES, PAINTINGS
from nstjax.cli import main
from nstjax.images import read_settings


def test_nothing_named_paints_the_sample(folder, monkeypatch, capsys):
    monkeypatch.setattr("nstjax.cli.stylize.sample_path", lambda: picture("sample.jpg", 48, 32))
    assert main(["stylize"]) == 0
    assert capsys.readouterr().out.startswith("sample-starry.png: 48×32")
    settings = read_settings("sample-starry.png")
    assert settings is not None
    assert (settings["method"], settings["style"]) == ("fast", "starry")


def test_a_folder_in_a_bundled_style(folder):
    Path("photos").mkdir()
    for name in ("a", "b"):
        picture(f"photos/{name}.jpg", 33, 40)
    assert main(["stylize", "photos", "--style", "starry", "--output", "out/", "--quiet"]) == 0
    for name in ("a", "b"):
        with Image.open(f"out/{name}.png") as image:
            assert image.size == (33, 40)


def test_a_size(folder):
    code = main(["stylize", "photo.jpg", "--style", "starry", "--size", "64", "--output", "o.jpg"])
    assert code == 0
    with Image.open("o.jpg") as image:
        assert image.size == (64, 48)


def test_too_little_memory_is_told(folder, monkeypatch, capsys):
    module = sys.modules["nstjax.fast.stylize"]
    paint_pixels = module.paint_pixels

    def short_of_memory(style, pixels, *, tile):
        if tile is None:
            raise MemoryError
        return paint_pixels(style, pixels, tile=tile)

    monkeypatch.setattr(module, "paint_pixels", short_of_memory)
    assert main(["stylize", "photo.jpg", "--style", "starry"]) == 0
    told = capsys.readouterr()
    assert told.err.startswith("nstjax: there was too little memory: going on in tiles of 256 rows")
    assert "in tiles of 256 rows" in told.out
    assert main(["stylize", "photo.jpg", "--style", "starry", "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_a_bad_picture_does_not_stop_the_others(folder, capsys):
    Path("bad.jpg").write_text("no picture")
    code = main(["stylize", "bad.jpg", "photo.jpg", "--style", "starry", "--quiet"])
    assert code == 2
    assert "1 of 2 pictures done; failed: bad.jpg" in capsys.readouterr().err
    assert Path("photo-starry.png").exists()


def test_a_style_file_is_never_overwritten(folder, capsys):
    style = BUNDLED_STYLES["starry"]
    Path("mine.safetensors").write_bytes(style.read_bytes())
    code = main(
        ["stylize", "photo.jpg", "--style", "mine.safetensors", "--output", "mine.safetensors"]
    )
    expect_failure(capsys, code, "mine.safetensors")
    assert Path("mine.safetensors").read_bytes() == style.read_bytes()


def test_a_painting_by_name_on_the_pixel_route(folder, weights_file, capsys):
    (weights_file.parent / "styles").mkdir()
    options = ["--method", "gatys", "--steps", "1", "--quiet"]
    big = picture("big.png", 130, 140)
    big.rename(weights_file.parent / "styles" / "scream.png")
    assert main(["stylize", "photo.jpg", "--style", "scream", *options, *SHALLOW]) == 0
    settings = read_settings("photo-scream.png")
    assert settings is not None
    assert settings["method"] == "gatys"
    words = ["photo.jpg", "--style", "scream", "--style", "painting.png"]
    expect_failure(capsys, main(["stylize", *words]), "scream is a trained", "--method gatys")
    assert main(["stylize", *words, *options, *SHALLOW]) == 0
    settings = read_settings("photo-scream-painting.png") or {}
    assert [entry["name"] for entry in settings["inputs"]["style"]] == [
        "scream.png",
        "painting.png",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--style", "stary"], ["'stary'", "did you mean 'starry'"]),
        (["--style", "starry", "--steps", "5"], ["--steps", "pixel route", "--method gatys"]),
        (["--style", "starry", "--report", "r.png"], ["--report", "pixel route"]),
        (["--style", "painting.png", "--method", "fast"], ["painting.png"]),
        (["--style", "starry", "--method", "faster"], ["did you mean 'fast'"]),
        (["--style", "."], ["holds none yet"]),
        (["--style", "starry", "--size", "8"], ["too small for a style network"]),
        ([], ["no style is named", "starry"]),
        (["--style", "starry", "--style", "wave"], ["starry is a trained", "--method gatys"]),
        (["--style", "starry", "--style", "a.png", "--method", "fast"], ["one style and 2 are"]),
        (["--style", "starry", "--style-weights", "2"], ["--style-weights", "pixel route"]),
    ],
)
def test_bad_values(folder, capsys, arguments, words):
    expect_failure(capsys, main(["stylize", "photo.jpg", *arguments]), *words)


def test_styles(tmp_path, capsys):
    sheet = tmp_path / "sheet.png"
    assert main(["styles", "--sheet", str(sheet)]) == 0
    out = capsys.readouterr().out
    for name, painting in PAINTINGS.items():
        assert name in out
        assert painting.title in out
    with Image.open(sheet) as image:
        pixels = np.asarray(image.convert("RGB"))
    assert pixels.std() > 20


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--tile", "8", "tile is 8: it must be 16 to"),
        ("--tile", "33", "tile is 33: it must be even"),
        ("--tile", "most", "it must be auto, off, or an even number of rows"),
        ("--memory-limit", "little", "'little' is no size of memory: write a number and a unit"),
        ("--memory-limit", "1MB", "set --memory-limit "),
    ],
)
@pytest.mark.parametrize("style", ["starry", "painting.png"])
def test_unfit_tiles_and_limits(folder, capsys, style, option, value, message):
    """On both routes: one message, and nothing written."""
    before = sorted(Path().iterdir())
    code = main(["stylize", "photo.jpg", "--style", style, "--quiet", option, value])
    expect_failure(capsys, code, message)
    assert sorted(Path().iterdir()) == before


def test_tiles_are_told_of(folder, capsys):
    assert main(["stylize", "photo.jpg", "--style", "starry", "--tile", "16"]) == 0
    assert ", in tiles of 16 rows\n" in capsys.readouterr().out
    settings = read_settings("photo-starry.png")
    assert settings is not None
    assert settings["tile"] == 16
