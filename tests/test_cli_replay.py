"""`nstjax replay`: the same picture again, or what differs."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from commands import SHALLOW, expect_failure, picture
from PIL import Image, PngImagePlugin

import nstjax
from nstjax.assets import BUNDLED_STYLES
from nstjax.cli import main
from nstjax.cli.picture_record import recipe_from
from nstjax.cli.replay import compare
from nstjax.images import load_image, read_settings, save_image
from nstjax.recipes import RECIPES
from nstjax.settings import Recipe, override

PIXELS = ["--style", "painting.png", "--steps", "2", "--quiet", *SHALLOW]
SAME = "all inputs and versions are what they were"


def make(*arguments: str, photo: str = "photo.jpg", output: str = "out.png") -> bytes:
    """Stylises a photograph; returns the file."""
    assert main(["stylize", photo, *arguments, "--output", output, "--quiet"]) == 0
    return Path(output).read_bytes()


def replay(capsys, *arguments: str) -> list[str]:
    """Replays, and returns what was printed."""
    capsys.readouterr()
    assert main(["replay", *arguments]) == 0
    return capsys.readouterr().out.splitlines()


def resettle(source: str, target: str, **changes) -> None:
    """Copies a PNG with some settings changed, and those that become `...` left out."""
    settings = {**(read_settings(source) or {}), **changes}
    settings = {name: value for name, value in settings.items() if value is not ...}
    save_image(target, load_image(source).pixels, settings=settings)


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_comes_back_from_json(name):
    stored = {**dataclasses.asdict(RECIPES[name]), "recipe": name, "method": "gatys"}
    found = recipe_from(json.loads(json.dumps(stored)))
    assert found == RECIPES[name]
    assert hash(found) == hash(RECIPES[name])


def test_every_field_comes_back():
    """Also those that no recipe changes."""
    other = override(RECIPES["nstjax"], style_layers="block1_conv1:0.1,block3_conv1:1e-7")
    for field in dataclasses.fields(Recipe):
        value = getattr(other, field.name)
        kind = type(value)
        changed = {bool: lambda v: not v, int: lambda v: v + 2, float: lambda v: v / 3}
        if kind in changed and field.name not in ("tile",):
            other = override(other, **{field.name: changed[kind](value)})
    stored = {**dataclasses.asdict(other), "recipe": other.name}
    assert recipe_from(json.loads(json.dumps(stored))) == other


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_gives_the_same_bytes(folder, capsys, name):
    before = make(*PIXELS, "--recipe", name, "--size", "32")
    first, last = replay(capsys, "out.png")[0::2]
    assert first == f"out.png: {SAME}"
    assert last == "out-replay.png is out.png, byte for byte"
    assert Path("out-replay.png").read_bytes() == before
    assert Path("out.png").read_bytes() == before


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_a_trained_style(folder, capsys, suffix):
    before = make("--style", "starry", "--size", "33", output=f"out{suffix}")
    assert replay(capsys, f"out{suffix}")[0] == f"out{suffix}: {SAME}"
    assert Path(f"out-replay{suffix}").read_bytes() == before


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bits(folder, capsys, suffix):
    before = make("--style", "starry", "--bits", "16", output=f"out{suffix}")
    replay(capsys, f"out{suffix}")
    assert Path(f"out-replay{suffix}").read_bytes() == before


def test_noise_a_start_from_a_picture_and_transparency(folder, capsys):
    Path("starts").mkdir()
    picture("starts/start.png", 20, 20, seed=3)
    Path("starts/start.png").rename("starts/noise")  # which --init also knows as a word
    photo = Image.open("photo.jpg").convert("RGBA")
    photo.putalpha(Image.linear_gradient("L").resize(photo.size))
    photo.save("photo.png")
    options = ["--init", "starts/noise", "--noise-ratio", "0.5", "--seed", "7"]
    assert main(["stylize", "photo.png", *PIXELS, *options, "--output", "out.png"]) == 0
    assert (read_settings("out.png") or {})["init"] == "noise"  # and no folder
    expect_failure(capsys, main(["replay", "out.png"]), "the init, noise,", "--init")
    Path("starts/noise").rename("noise")
    lines = replay(capsys, "out.png", "--init", "noise")
    assert lines[0] == f"out.png: {SAME}"
    assert lines[-1].endswith("byte for byte")


def test_names_and_hashes_are_kept_and_no_folder(folder):
    make("--style", str(Path("painting.png").absolute()), "--steps", "0", *SHALLOW)
    settings = read_settings("out.png")
    assert settings is not None
    assert str(Path.cwd()) not in json.dumps(settings)
    # Computed by other programs: sha256sum's and Pillow's view of the same files.
    import hashlib

    for role, name in (("content", "photo.jpg"), ("style", "painting.png")):
        with Image.open(name) as image:
            assert settings["inputs"][role] == {
                "name": name,
                "sha256": hashlib.sha256(Path(name).read_bytes()).hexdigest(),
                "of": "file",
                "width": image.width,
                "height": image.height,
            }


def test_an_interrupted_run_ends_where_it_did(folder, capsys, weights_file):
    """At step 5 of 12, in the first of two stages."""
    result = nstjax.stylize(
        "photo.jpg",
        "painting.png",
        weights=weights_file,
        recipe="gatys-code",
        size=32,
        steps=12,
        content_layers="block2_conv1",
        style_layers="block1_conv1,block2_conv1",
        callback=lambda progress: progress.step >= 5,
        callback_every=1,
    )
    result.save("out.png")
    assert result.settings["steps_done"] == 5
    assert replay(capsys, "out.png")[-1] == "out-replay.png is out.png, byte for byte"


def test_pictures_that_were_kept_on_the_way(folder, capsys):
    """In the first of two stages, of its size, at its end, and at that of the second."""
    Image.linear_gradient("L").resize((40, 30)).convert("LA").save("photo.png")
    with Image.open("photo.png") as image:
        image.putalpha(128)
        image.save("photo.png")
    make(*PIXELS, "--schedule", "24:4,32:4", "--steps", "8", "--save-every", "2", photo="photo.png")
    sizes = {2: (24, 18), 4: (24, 18), 8: (32, 24)}
    for step, size in sizes.items():
        name = f"out-step{step:05d}"
        lines = replay(capsys, f"{name}.png")
        assert lines[0] == f"{name}.png: {SAME}"
        assert lines[-1] == f"{name}-replay.png is {name}.png, byte for byte"
        with Image.open(f"{name}.png") as image:
            assert image.size == size


def test_what_python_made(folder, capsys):
    """From a picture that was loaded smaller, and from an array."""
    small = nstjax.load_image("photo.jpg", size=24)
    nstjax.stylize_fast(small, "starry").save("small.png")
    assert replay(capsys, "small.png")[-1].endswith("byte for byte")

    levels = np.asarray(Image.open("painting.png"))
    nstjax.stylize_fast(levels, "starry").save("array.png")
    expect_failure(
        capsys, main(["replay", "array.png"]), "content was a picture in memory", "--content"
    )
    lines = replay(capsys, "array.png", "--content", "painting.png")
    assert lines[0] == f"array.png: {SAME}"
    # Of other name, so of other bytes.
    assert lines[-1] == "array-replay.png has the pixels of array.png, though not its bytes"
    lines = replay(capsys, "array.png", "--content", "photo.jpg")
    assert "sha256 of the pixels was" in lines[0]
    assert lines[0].endswith("it had 36×36 pixels, has 40×30")


def test_a_changed_input_is_told_of_and_taken(folder, capsys):
    make("--style", "starry")
    picture("photo.jpg", 50, 30, seed=9)
    lines = replay(capsys, "out.png")
    assert lines[0].startswith("content: photo.jpg has changed: sha256 was ")
    assert lines[0].endswith("; it had 40×30 pixels, has 50×30")
    # At the longest side that was recorded.
    assert lines[-1] == "out-replay.png has 40×24 pixels, and out.png has 40×30"
    picture("photo.jpg", 40, 30, seed=9)
    lines = replay(capsys, "out.png")
    assert lines[0].startswith("content: photo.jpg has changed")
    assert "pixels" not in lines[0]
    assert lines[-1].startswith("out-replay-2.png differs from out.png by up to ")


def test_a_changed_painting_and_changed_weights(folder, capsys, weights_file):
    make(*PIXELS, "--size", "32")
    picture("painting.png", 36, 36, seed=5)
    other = folder / "other.safetensors"
    from safetensors.numpy import load_file, save_file

    arrays = load_file(weights_file)
    save_file(arrays, other, metadata={"note": "other bytes"})
    lines = replay(capsys, "out.png", "--vgg-weights", "other.safetensors")
    assert lines[0].startswith("style: painting.png has changed: sha256 was ")
    assert lines[1].startswith("weights: sha256 was ")
    assert len(lines) == 4


def test_another_style_file(folder, capsys):
    shutil.copy(BUNDLED_STYLES["scream"], "mine.safetensors")
    make("--style", "mine.safetensors")
    assert replay(capsys, "out.png")[-1].endswith("byte for byte")
    Path("mine.safetensors").unlink()
    code = main(["replay", "out.png"])
    expect_failure(capsys, code, "the style, mine.safetensors,", "--style")
    lines = replay(capsys, "out.png", "--style", "starry")
    assert lines[0].startswith("style: starry has changed: sha256 was ")
    lines = replay(capsys, "out.png", "--style", str(BUNDLED_STYLES["scream"]))
    assert lines[0] == f"out.png: {SAME}"


def test_the_right_one_of_two_pictures_of_a_name(folder, capsys):
    """Beside the result, or in the current folder."""
    for here, there in (("right", "wrong"), ("wrong", "right")):
        Path(here).mkdir(exist_ok=True)
        picture("photo.jpg", 40, 30, seed=1)
        make("--style", "starry", output=f"{there}/out.png")
        picture("wrong/photo.jpg", 40, 30, seed=2)
        picture("right/photo.jpg", 40, 30, seed=1)
        picture("photo.jpg", 40, 30, seed=1 if here == "right" else 2)
        assert replay(capsys, f"{there}/out.png")[0] == f"{there}/out.png: {SAME}"


def test_a_result_is_not_taken_for_its_photograph(folder, capsys):
    Path("photos").mkdir()
    Path("photo.jpg").rename("photos/a.png")
    make("--style", "starry", photo="photos/a.png", output="out/a.png")
    Path("a.png").symlink_to("out/a.png")
    for path in ("out/a.png", "a.png"):
        expect_failure(capsys, main(["replay", path]), "the content, a.png,", "--content")
    lines = replay(capsys, "out/a.png", "--content", "photos/a.png")
    assert (lines[0], lines[-1]) == (
        f"out/a.png: {SAME}",
        "a-replay.png is out/a.png, byte for byte",
    )


def test_what_cannot_be_read_does_not_hide_what_can(folder, capsys):
    shutil.copy(BUNDLED_STYLES["scream"], "mine.safetensors")
    make("--style", "mine.safetensors", output="there/out.png")
    for name in ("photo.jpg", "mine.safetensors"):
        Path("there", name).write_text("something else")
    assert replay(capsys, "there/out.png")[0] == f"there/out.png: {SAME}"
    Path("photo.jpg").unlink()
    expect_failure(capsys, main(["replay", "there/out.png"]), "there/photo.jpg is not a picture")


def test_all_inputs_that_are_gone_are_named(folder, capsys):
    make(*PIXELS, "--size", "32")
    Path("photo.jpg").unlink()
    Path("painting.png").rename("elsewhere.png")
    code = main(["replay", "out.png"])
    expect_failure(capsys, code, "content, photo.jpg", "--content", "style, painting.png")
    assert sorted(p.name for p in Path().iterdir()) == ["elsewhere.png", "out.png"]


TWO = [*PIXELS, "--style", "other.jpg", "--style-weights", "2,1", "--size", "32"]


@pytest.fixture
def other(folder):
    return picture("other.jpg", 50, 30, seed=3)


@pytest.mark.parametrize("name", ["nstjax", "crowsonkb"])
def test_several_styles_give_the_same_bytes(folder, capsys, other, name):
    make(*TWO, "--recipe", name)
    assert replay(capsys, "out.png")[0::2] == [
        f"out.png: {SAME}",
        "out-replay.png is out.png, byte for byte",
    ]


def test_one_of_several_styles_is_another_or_gone(folder, capsys, other):
    make(*TWO)
    picture("other.jpg", 50, 30, seed=4)
    assert replay(capsys, "out.png")[0].startswith("style 2: other.jpg has changed: sha256 was ")
    other.rename("elsewhere.jpg")
    code = main(["replay", "out.png"])
    expect_failure(capsys, code, "the style 2, other.jpg,", "add --style", "--style 2 times")
    code = main(["replay", "out.png", "--style", "elsewhere.jpg"])
    expect_failure(capsys, code, "--style is given 1 times", "with 2")
    picture("elsewhere.jpg", 50, 30, seed=3)
    named = ["--style", "painting.png", "--style", "elsewhere.jpg"]
    lines = replay(capsys, "out.png", *named)
    assert lines[0] == f"out.png: {SAME}"
    assert lines[-1].endswith("though not its bytes")  # the name is another
    make(*PIXELS, "--size", "32")
    expect_failure(capsys, main(["replay", "out.png", *named]), "given 2 times", "with 1")


@pytest.mark.parametrize(
    "changes",
    [
        {"style_weights": [1.0]},
        {"style_weights": [0.0, 0.0]},
        {"style_weights": "ab"},
        {"style_weights": 5},
        {"style_weights": ...},
        {"inputs": ...},
        {"inputs": {"content": {"name": "photo.jpg"}, "style": {"name": "other.jpg"}}},
        {"inputs": {"content": {"name": "photo.jpg"}, "style": ["painting.png", "other.jpg"]}},
    ],
)
def test_several_styles_that_cannot_be_used(folder, capsys, other, changes):
    make(*TWO, "--steps", "0")
    resettle("out.png", "bad.png", **changes)
    expect_failure(capsys, main(["replay", "bad.png"]), "cannot use", "update nstjax")


def test_an_address_is_not_asked(folder, capsys):
    make("--style", "starry")
    inputs = (read_settings("out.png") or {})["inputs"]
    inputs["content"]["name"] = "https://example.org/photo.jpg"
    resettle("out.png", "url.png", inputs=inputs)
    code = main(["replay", "url.png"])
    expect_failure(capsys, code, "came from https://example.org/photo.jpg", "--content https://")
    lines = replay(capsys, "url.png", "--content", "photo.jpg")
    assert lines[0] == f"url.png: {SAME}"


def test_a_folder_in_a_name_is_not_followed(folder, capsys):
    make("--style", "starry")
    Path("private").mkdir()
    Path("photo.jpg").rename("private/photo.jpg")
    inputs = (read_settings("out.png") or {})["inputs"]
    inputs["content"]["name"] = "private/photo.jpg"
    resettle("out.png", "sly.png", inputs=inputs)
    expect_failure(capsys, main(["replay", "sly.png"]), "neither beside sly.png nor in the current")


def test_older_pictures_without_hashes(folder, capsys):
    for options in (["--style", "starry"], [*PIXELS, "--size", "32"]):
        make(*options)
        resettle("out.png", "old.png", inputs=..., numpy=..., platform=..., jax="0.4.1")
        lines = replay(capsys, "old.png")
        assert lines[0] == "content: photo.jpg; no hash was kept, so it may have changed"
        assert lines[1].startswith("style: ")
        assert lines[1].endswith("; no hash was kept, so it may have changed")
        assert lines[2].startswith("jax: was 0.4.1, is ")
        assert lines[-1].endswith("though not its bytes")


def test_where_it_goes(folder, capsys):
    make("--style", "starry")
    Path("there").mkdir()
    replay(capsys, "out.png", "--output", "there/")
    replay(capsys, "out.png", "--output", "there/again.jpg")
    assert {p.name for p in Path("there").iterdir()} == {"out-replay.png", "again.jpg"}
    for name in ("out.png", "photo.jpg"):
        before = Path(name).read_bytes()
        code = main(["replay", "out.png", "--output", name])
        expect_failure(capsys, code, f"--output {name}", "overwrite")
        assert Path(name).read_bytes() == before
    assert main(["replay", "out.png", "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert Path("out-replay.png").exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": ["fast"]}, ["['fast']", "update nstjax"]),
        ({"content_weight": 10**400}, ["settings that this version cannot use"]),
        ({"steps_done": -1}, ["steps_done is -1"]),
        ({"weights_sha256": 5}, ["weights_sha256 is 5"]),
        ({"method": "magic"}, ["'magic'", "update nstjax"]),
        ({"brushes": 3, "nstjax": "9.0"}, ["9.0", "brushes", "update nstjax"]),
        ({"optimizer": "sgdm"}, ["sgdm", "did you mean 'sgd'"]),
        ({"steps": "many"}, ["many"]),
        ({"steps": ...}, ["steps"]),
        ({"recipe": ...}, ["recipe"]),
        ({"schedule": 3}, ["schedule"]),
        ({"inputs": []}, ["settings that this version cannot use"]),
        ({"inputs": {"content": 5}}, ["settings that this version cannot use"]),
        ({"inputs": {"content": {"name": 5}}}, ["name is 5"]),
        ({"inputs": {"content": {"name": "photo.jpg", "sha256": "0"}}}, ["'of'"]),
        ({"inputs": ..., "content": 5}, ["name is 5"]),
        ({"inputs": ..., "content": ""}, ["content was a picture in memory"]),
        ({"inputs": ..., "content": "\0"}, ["the content, "]),
    ],
)
def test_settings_that_cannot_be_used(folder, capsys, changes, words):
    make(*PIXELS, "--size", "32", "--steps", "0")
    resettle("out.png", "bad.png", **changes)
    expect_failure(capsys, main(["replay", "bad.png"]), *words)
    assert not Path("bad-replay.png").exists()


def test_no_settings_no_picture_and_an_option_too_many(folder, capsys):
    expect_failure(capsys, main(["replay", "painting.png"]), "painting.png carries no settings")
    expect_failure(capsys, main(["replay", "missing.png"]), "missing.png does not exist")
    expect_failure(capsys, main(["replay"]), "PICTURE")
    make("--style", "starry")
    code = main(["replay", "out.png", "--init", "photo.jpg"])
    expect_failure(capsys, code, "made without --init")
    code = main(["replay", "out.png", "--style", "photo.jpg"])
    expect_failure(capsys, code, "photo.jpg")
    code = main(["replay", "out.png", "--content", "missing.jpg"])
    expect_failure(capsys, code, "missing.jpg does not exist")
    Image.new("RGB", (4, 4)).save("list.png", pnginfo=info_with("[1, 2]"))
    expect_failure(capsys, main(["replay", "list.png"]), "carries no settings")


LITTLE = 10**8  # bytes


@pytest.mark.parametrize("options", [["--style", "starry"], [*PIXELS, "--size", "32"]])
def test_tiles_that_do_not_fit_here_are_others(folder, capsys, monkeypatch, options):
    """As where a picture comes from a larger machine."""
    picture("photo.jpg", 400, 300)
    make(*options)
    monkeypatch.setattr("nstjax.memory.free_memory", lambda: LITTLE)
    monkeypatch.setattr("nstjax.gatys.memory._FEWER_PAIRS", ())  # L-BFGS is to remember as many
    lines = replay(capsys, "out.png")
    assert "out.png was computed with --tile off" in lines[1]
    assert "of 0.1 GB here: --tile auto is used" in lines[1]
    tile = (read_settings("out-replay.png") or {})["tile"]
    assert tile in (32, 64)  # the smallest of either route
    assert replay(capsys, "out.png", "--tile", "off")[-1].endswith("byte for byte")
    lines = replay(capsys, "out.png", "--memory-limit", "20GB")
    assert not any("--tile" in line for line in lines)
    lines = replay(capsys, "out-replay.png", "--memory-limit", "20GB", "--output", "again.png")
    assert not any("--tile" in line for line in lines)
    assert (read_settings("again.png") or {})["tile"] == tile
    expect_failure(
        capsys, main(["replay", "out.png", "--memory-limit", "1MB", "--quiet"]), "--memory-limit"
    )
    expect_failure(capsys, main(["replay", "out.png", "--tile", "8"]), "tile is 8: it must be 16")
    expect_failure(capsys, main(["replay", "out.png", "--memory-limit", "x"]), "'x' is no size of")


def test_a_limit_of_memory_is_of_the_machine(folder, capsys):
    """It is kept where it does, which the bytes are to say, too."""
    make(*PIXELS, "--size", "32", "--memory-limit", "20GB")
    assert replay(capsys, "out.png")[-1].endswith("byte for byte")
    resettle("out.png", "elsewhere.png", memory_limit="1MB")
    lines = replay(capsys, "elsewhere.png")
    assert lines[0] == f"elsewhere.png: {SAME}"
    assert lines[-1].endswith("has the pixels of elsewhere.png, though not its bytes")
    assert (read_settings("elsewhere-replay.png") or {})["memory_limit"] is None


def test_a_long_panorama(folder, capsys):
    picture("photo.jpg", 20_100, 16)
    make("--style", "starry")
    assert replay(capsys, "out.png")[-1].endswith("byte for byte")


def info_with(text: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_text("nstjax", text)
    return info


def test_comparisons_have_no_limit_but_the_size_of_what_was_made(tmp_path, monkeypatch):
    monkeypatch.setattr("nstjax.images.decode.MAX_PIXELS", 100)
    paths = [tmp_path / name for name in ("before.png", "after.png")]
    for path, settings in zip(paths, ({}, None), strict=True):
        save_image(path, np.zeros((1, 20, 10, 3), np.float32), settings=settings)
    assert "has the pixels of" in compare(*paths)
    save_image(paths[0], np.zeros((1, 900, 800, 3), np.float32))
    paths[0].write_bytes(paths[0].read_bytes()[:500])  # which nobody is to decode
    assert compare(*paths).endswith("before.png has 800×900")


def test_comparisons(tmp_path):
    levels = np.zeros((1, 10, 20, 3), np.float32)
    changed = levels.copy()
    changed[0, 3, 4] = [1 / 255, 0, 7 / 255]
    alpha = np.ones((1, 10, 20, 1), np.float32)
    paths = {name: tmp_path / f"{name}.png" for name in ("a", "b", "c", "d", "e")}
    save_image(paths["a"], levels)
    save_image(paths["b"], levels, settings={"other": 1})
    save_image(paths["c"], changed)
    save_image(paths["d"], levels, alpha=alpha)
    save_image(paths["e"], levels[:, :5])
    told = {
        name: compare(paths["a"], path).replace(str(tmp_path), "") for name, path in paths.items()
    }
    assert told == {
        "a": "/a.png is /a.png, byte for byte",
        "b": "/b.png has the pixels of /a.png, though not its bytes",
        "c": "/c.png differs from /a.png by up to 7 of 255 levels, in 0.33% of the values",
        "d": "of /d.png and /a.png only one has transparency",
        "e": "/e.png has 20×5 pixels, and /a.png has 20×10",
    }
