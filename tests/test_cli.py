"""The command line: what it makes, what it says, and what it exits with."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commands import SHALLOW, expect_failure, picture
from PIL import Image

import nstjax.cli.run
import nstjax.cli.stylize
from nstjax.cli import main
from nstjax.cli.main import COMMANDS
from nstjax.cli.outputs import default_path
from nstjax.images import read_settings


def stylize(*arguments: str, shallow: bool = True) -> int:
    return main(["stylize", *arguments, "--quiet", *(SHALLOW if shallow else [])])


def test_one_picture(folder, capsys):
    code = main(["stylize", "photo.jpg", "--style", "painting.png", "--steps", "3", *SHALLOW])
    assert code == 0
    out = capsys.readouterr().out
    assert out.startswith("photo-painting.png: 40×30, 3 steps")
    with Image.open("photo-painting.png") as image:
        assert image.size == (40, 30)
    settings = read_settings("photo-painting.png")
    assert settings is not None
    assert (settings["recipe"], settings["steps"], settings["steps_done"]) == ("nstjax", 3, 3)


def test_several_styles(folder, capsys):
    """In any order of the words, with what follows of them: name, report, settings."""
    picture("other.jpg", 50, 30, seed=3)
    words = ["--style", "painting.png", "photo.jpg", "--style", "other.jpg", "--steps", "1"]
    assert stylize(*words, "--style-weights", "2,0.5", "--report", "r.svg") == 0
    settings = read_settings("photo-painting-other.png") or {}
    assert settings["style"] == ["painting.png", "other.jpg"]
    assert settings["style_weights"] == [2.0, 0.5]
    assert Path("r.svg").stat().st_size > 1000
    assert stylize(*words[2:], "--style", "painting.png", "--report", "r.png") == 0
    assert (read_settings("photo-other-painting.png") or {})["style_weights"] == [1.0, 1.0]
    assert stylize("--style", "painting.png", "photo.jpg", "--steps", "1") == 0
    assert Path("photo-painting.png").exists()
    one_file = ["--output", "other.jpg", "--style", "other.jpg"]
    code = stylize("photo.jpg", "--style", "painting.png", *one_file)
    expect_failure(capsys, code, "other.jpg", "overwrite")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--style", "missing.jpg"], ["missing.jpg does not exist"]),
        (["--style", "painting.png,photo.jpg"], ["painting.png,photo.jpg", "--style A.jpg --s"]),
        (["--style", ""], ["--style"]),
        (["--style", "painting.png", "--style-weights", "1"], ["2 style images and 1 weights"]),
        (["--style-weights", "1,2"], ["1 style images and 2 weights"]),
        (["--style", "painting.png", "--style-weights", "1,x"], ["'1,x'", "as in 2,1"]),
        (["--style", "painting.png", "--style-weights", ""], ["''", "as in 2,1"]),
        (["--style", "painting.png", "--style-weights", "0,0"], ["at least 0, and one above"]),
        (["--style", "painting.png", "--style-weights=-1,2"], ["at least 0, and one above"]),
        (["--style", "painting.png", "--style-weights", "1,inf"], ["at least 0, and one above"]),
    ],
)
def test_several_styles_that_do_not_fit(folder, capsys, arguments, words):
    arguments = ["photo.jpg", "--style", "painting.png", *arguments, "--output", "new/o.png"]
    expect_failure(capsys, stylize(*arguments), *words)
    assert not list(folder.rglob("o.png"))


def test_the_default_name_never_overwrites(folder):
    for _ in range(2):
        assert stylize("photo.jpg", "--style", "painting.png", "--steps", "1") == 0
    assert Path("photo-painting.png").exists()
    assert Path("photo-painting-2.png").exists()


@pytest.mark.parametrize(
    ("route", "style", "few"),
    [
        ("stylize_sources", "painting.png", ["--steps", "1", *SHALLOW]),
        ("stylize_fast", "starry", ["--size", "32"]),
    ],
)
def test_runs_at_the_same_time_take_different_names(folder, monkeypatch, route, style, few):
    """A second run begins while the first computes, and ends before it."""
    arguments = ["stylize", "photo.jpg", "--style", style, *few, "--quiet"]
    first, second = (Path(f"photo-{Path(style).stem}{number}.png") for number in ("", "-2"))
    compute, during = getattr(nstjax.cli.run, route), []

    def both(*inputs, **settings):
        monkeypatch.setattr(f"nstjax.cli.run.{route}", compute)
        assert main(arguments) == 0
        during.extend([first.exists(), second.read_bytes()])
        return compute(*inputs, **settings)

    monkeypatch.setattr(f"nstjax.cli.run.{route}", both)
    assert main(arguments) == 0
    assert not during[0]
    assert read_settings(first) is not None
    assert second.read_bytes() == during[1]
    assert not list(folder.glob(".*"))  # of the locks


def test_a_name_that_another_user_holds(folder, monkeypatch):
    """Whose lock cannot be opened, which is not as where there are no locks."""
    Path(".photo-starry.png.nstjax-lock").touch()

    def refuse(lock, *_args, **_settings):
        if "starry.png" in lock.lock_file:
            raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("nstjax.cli.name_lock.FileLock.acquire", refuse)
    assert main(["stylize", "photo.jpg", "--style", "starry", "--size", "32", "--quiet"]) == 0
    assert Path("photo-starry-2.png").exists()
    assert not Path("photo-starry.png").exists()


def test_a_run_that_fails_gives_its_name_back(folder, monkeypatch):
    def fail(*_inputs, **_settings):
        raise MemoryError

    monkeypatch.setattr("nstjax.cli.run.stylize_sources", fail)
    assert stylize("photo.jpg", "--style", "painting.png") == 2
    assert {path.name for path in folder.iterdir()} == {"photo.jpg", "painting.png"}


def test_an_asked_for_size_is_met_exactly(folder):
    stylize(
        "photo.jpg", "--style", "painting.png", "--steps", "1", "--size", "64", "--output", "o.webp"
    )
    with Image.open("o.webp") as image:
        assert image.size == (64, 48)


def test_coarse_to_fine(folder, capsys):
    options = ["photo.jpg", "--style", "painting.png", "--output", "o.png", *SHALLOW]
    options += ["--schedule", "32:3,48:2", "--optimizer", "adam", "--learning-rate", "5"]
    options += ["--average", "0.9"]
    assert main(["stylize", *options]) == 0
    told = capsys.readouterr()
    assert told.out.startswith("o.png: 48×36, 5 steps")
    assert "/5 [" in told.err  # the bar's total
    settings = read_settings("o.png")
    assert settings is not None
    assert (settings["size"], settings["steps"], settings["average"]) == (48, 5, 0.9)


def test_history_report_and_snapshots(folder):
    code = stylize(
        *["photo.jpg", "--style", "painting.png", "--steps", "5", "--output", "o.png"],
        *["--history", "h.jsonl", "--report", "r.png", "--save-every", "2"],
    )
    assert code == 0
    entries = [json.loads(line) for line in Path("h.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in entries] == list(range(6))
    for entry in entries:
        assert entry["content"] + entry["style"] + entry["tv"] == pytest.approx(
            entry["total"], 1e-4
        )
        assert entry["seconds"] >= 0
    assert {p.name for p in Path().glob("o-step*.png")} == {"o-step00002.png", "o-step00004.png"}
    with Image.open("r.png") as report:
        assert report.width >= 1000


def test_a_picture_to_start_from_is_read_once(folder, monkeypatch):
    read = []

    def load_image(path):
        read.append(path)
        return nstjax.load_image(path)

    monkeypatch.setattr("nstjax.gatys.start.load_image", load_image)
    start = picture("start.png", 20, 20).name
    options = ["--init", start, "--steps", "2", "--save-every", "1", "--resume"]
    assert stylize("photo.jpg", "--style", "painting.png", *options) == 0
    assert read == [start]


def test_a_folder_and_a_file_into_a_folder(folder, capsys):
    Path("photos").mkdir()
    for i in range(2):
        picture(f"photos/{i}.jpg", 32, 32, seed=i)
    code = stylize(
        "photos", "photo.jpg", "--style", "painting.png", "--steps", "1", "--output", "new/"
    )
    assert code == 0
    assert sorted(p.name for p in Path("new").iterdir()) == ["0.png", "1.png", "photo.png"]


def test_a_bad_picture_does_not_stop_the_others(folder, capsys):
    Path("empty.jpg").write_bytes(b"")
    Path("text.jpg").write_text("not a picture")
    code = stylize(
        *["missing.jpg", "empty.jpg", "photo.jpg", "text.jpg", "--style", "painting.png"],
        *["--steps", "1", "--output", "out/"],
    )
    assert code == 2
    assert Path("out/photo.png").exists()
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 4
    assert "1 of 4 pictures done" in lines[-1]
    assert all(name in lines[-1] for name in ("missing.jpg", "empty.jpg", "text.jpg"))


def test_each_entry_counts_however_often_it_is_given(folder, capsys):
    Path("text.jpg").write_text("not a picture")
    entries = ["missing.jpg", "missing.jpg", "text.jpg", "text.jpg", "photo.jpg", "photo.jpg"]
    assert stylize(*entries, "--style", "painting.png", "--steps", "1", "--output", "out/") == 2
    assert {path.name for path in Path("out").iterdir()} == {"photo.png", "photo-2.png"}
    summary = capsys.readouterr().err.strip().splitlines()[-1]
    assert summary == "nstjax: 2 of 6 pictures done; failed: missing.jpg, text.jpg"


def test_pictures_may_stand_anywhere(folder):
    picture("b.jpg", 32, 32)
    options = ["--style", "painting.png", "--steps", "1", "--output", "out/"]
    assert stylize(*options[:2], "photo.jpg", *options[2:], "b.jpg", "--quiet") == 0
    assert sorted(p.name for p in Path("out").iterdir()) == ["b.png", "photo.png"]


def test_without_pictures_nothing_is_loaded(folder, capsys, monkeypatch):
    monkeypatch.delattr("nstjax.cli.stylize.load_weights")
    code = stylize("missing.jpg", "--style", "painting.png", "--output", "out/")
    expect_failure(capsys, code, "missing.jpg")
    expect_failure(capsys, stylize("", "--style", "painting.png"), "empty")
    assert not Path("out").exists()


def test_too_little_memory_for_one_picture(folder, capsys, monkeypatch):
    picture("b.jpg", 32, 32)
    real = nstjax.cli.stylize.stylize_one

    def stylize_one(sources, *rest, **options):
        if Path(sources.content.name).name == "photo.jpg":
            raise MemoryError
        return real(sources, *rest, **options)

    monkeypatch.setattr("nstjax.cli.stylize.stylize_one", stylize_one)
    pictures = ["photo.jpg", "b.jpg", "--style", "painting.png"]
    assert stylize(*pictures, "--steps", "1", "--output", "out/") == 2
    assert [p.name for p in Path("out").iterdir()] == ["b.png"]
    told, summary = capsys.readouterr().err.strip().splitlines()
    assert "too little memory" in told
    assert "1 of 2 pictures done" in summary


@pytest.mark.skipif(sys.platform != "linux", reason="names need not be text on Linux alone")
def test_names_that_cannot_be_printed(folder):
    name = os.fsdecode(b"\xff\xc3\x97.jpg")
    Path("photo.jpg").rename(name)
    script = Path(__file__).parents[1] / "stylize.py"
    command = [sys.executable, str(script), name, "--style", "painting.png", "--steps", "1"]
    command += ["--output", "out/", "--report", "r.png", *SHALLOW]
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("out/")
    assert len(list(Path("out").iterdir())) == 1
    assert Path("r.png").exists()


def test_one_file_for_several_pictures(folder, capsys):
    picture("b.jpg", 20, 20)
    code = stylize("photo.jpg", "b.jpg", "--style", "painting.png", "--output", "o.png")
    expect_failure(capsys, code, "o.png", "2 pictures", "--output o/")


@pytest.mark.parametrize("route", ["pixels", "fast"])
def test_long_names(folder, route):
    """Of a photograph, and as long as they may be for an output, with the snapshots beside it."""
    painting = f"{'ö' * 110}.png"
    Path("painting.png").rename(painting)
    style = ["--style", painting, "--steps", "1"] if route == "pixels" else ["--style", "starry"]
    options = [*style, *(SHALLOW if route == "pixels" else []), "--quiet"]
    options += ["--snapshot-every", "1e-9"] if route == "pixels" else []
    Path("photo.jpg").rename(f"{'ß' * 120}.jpg")
    for path in ("", "out/", f"out/{'x' * 240}.png"):
        chosen = ["--output", path] if path else []
        for _ in range(2 - bool(chosen)):
            assert main(["stylize", f"{'ß' * 120}.jpg", *options, *chosen]) == 0
    assert {p.name for p in Path("out").iterdir()} == {f"{'ß' * 100}.png", f"{'x' * 240}.png"}
    expected = "starry" if route == "fast" else "ö" * 39
    names = {f"{'ß' * 60}-{expected}{number}.png" for number in ("", "-2")}
    assert names < {p.name for p in Path().iterdir()}
    assert len(list(Path().iterdir())) == 5


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://example.org/a/T%C3%BCbingen%20Neckar.jpg?width=9", "Tübingen Neckar"),
        ("https://example.org/a%2Fb%00c%3A.jpg", "a_b_c_"),
        ("https://example.org/%FF.jpg", "\ufffd"),
        ("https://example.org", "picture"),
        ("http://[bad/x", "picture"),
        ("photos/100%25.jpg", "100%25"),
    ],
)
def test_names_from_addresses(address, name):
    assert str(default_path(None, address, ["wave"])) == f"{name}-wave.png"


@pytest.mark.parametrize(
    ("size", "style", "output", "most"),
    [
        ("17000", "starry", "o.webp", "16383"),
        ("17000", "painting.png", "o.webp", "16383"),
        ("65600", "starry", "o.jpg", "65500"),
    ],
)
def test_what_a_format_cannot_hold_is_told_of_first(
    folder, capsys, monkeypatch, size, style, output, most
):
    monkeypatch.delattr("nstjax.cli.run.stylize_sources")
    monkeypatch.delattr("nstjax.cli.run.stylize_fast")
    picture("wide.png", 8000, 32)
    code = stylize(
        *["wide.png", "--style", style, "--size", size, "--output", output],
        shallow=style != "starry",
    )
    expect_failure(capsys, code, output, f"at most {most} a side", "save it as .png")


def test_an_input_is_never_overwritten(folder, capsys):
    before = Path("photo.jpg").read_bytes()
    code = stylize("photo.jpg", "--style", "painting.png", "--output", "photo.jpg")
    expect_failure(capsys, code, "photo.jpg", "overwrite")
    for option in ("--history", "--report"):
        code = stylize("photo.jpg", "--style", "painting.png", option, "painting.png")
        expect_failure(capsys, code, option, "painting.png", "overwrite")
    same = ["--output", "o.png", "--report", "o.png"]
    expect_failure(capsys, stylize("photo.jpg", "--style", "painting.png", *same), "--report o.png")
    same = ["--output", "start.png", "--init", picture("start.png", 9, 9).name]
    expect_failure(capsys, stylize("photo.jpg", "--style", "painting.png", *same), "start.png")
    picture("only.png", 32, 32)
    assert stylize("only.png", "--style", "painting.png", "--steps", "1", "--output", ".") == 0
    assert Path("only-2.png").exists()
    assert Path("photo.jpg").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "tensorflw"], ["tensorflw", "did you mean 'tensorflow'"]),
        (["--optimizer", "adm"], ["adm", "did you mean 'adam'"]),
        (["--network", "vgg91"], ["vgg91", "vgg19"]),
        (["--pooling", "mean"], ["mean", "avg"]),
        (["--style-layers", "block1_conv9"], ["block1_conv9", "did you mean 'block1_conv"]),
        (["--style-layers", "block1_conv1:x"], ["block1_conv1:x", "LAYER:WEIGHT"]),
        (["--content-weight", "-1"], ["content weight", "-1"]),
        (["--style-weight", "nan"], ["style weight", "nan"]),
        (["--steps", "-5"], ["steps", "-5"]),
        (["--steps", "many"], ["--steps", "many"]),
        (["--size", "0"], ["size", "0"]),
        (["--schedule", "64,x"], ["'64,x'", "SIZE:STEPS"]),
        (["--schedule", "9" * 400], ["is no schedule", "from 1 to 1000000000"]),
        (["--schedule", f"32:{'9' * 400}"], ["is no schedule"]),
        (["--memory-limit", f"{'9' * 400}GB"], ["is no size of memory"]),
        (["--schedule", "32:5", "--min-size", "32"], ["schedule", "min size", "one of them"]),
        (["--schedule", "16:2,32:1"], ["at size 16 of the schedule", "16×12", "larger sizes"]),
        (["--min-size", "64", "--size", "32"], ["min size", "64", "32", "--size"]),
        (["--min-size", "8"], ["min size", "16 pixels", "--min-size 16"]),
        (["--initial-steps", "8"], ["initial steps", "--min-size"]),
        (
            ["--average", "0.9", "--optimizer", "lbfgs-b"],
            ["average", "lbfgs-b", "--optimizer lbfgs"],
        ),
        (["--size", "900000"], ["size", "900000", "1 to 20000"]),
        (["--size", "8", "--recipe", "tensorflow"], ["8", "16 pixels", "--size"]),
        (["--noise-ratio", "2"], ["noise ratio", "0 to 1"]),
        (["--init", "contnt"], ["contnt", "content"]),
        (["--init", "x" * 300], ["x" * 300, "content"]),
        (["--output", "x" * 300], ["x" * 300, ".png"]),
        (["--output", f"{'x' * 300}.png"], ["x" * 300, "too long"]),
        (["--output", f"{'x' * 245}.png"], ["x.png.resume.old", "choose a shorter name"]),
        (["--style", "http://[bad/x"], ["[bad"]),
        (["--style", ""], ["--style"]),
        (["--save-every", "0"], ["--save-every"]),
        (["--output", "o.gfi"], ["gfi", ".png"]),
        (["--output", "photo.jpg/o.png"], ["photo.jpg/o.png"]),
        (["--report", "r.xyz"], ["xyz"]),
        (["--bits", "16", "--output", "o.jpg"], ["16", ".jpg"]),
        (["--method", "magic"], ["magic", "gatys"]),
        (["--stepz", "3"], ["--stepz", "--steps"]),
        (["--vgg-weights", "missing.h5"], ["missing.h5"]),
        (["--vgg-weights", "photo.jpg"], ["photo.jpg", "HDF5"]),
        (["--style", "missing.png"], ["missing.png"]),
    ],
)
def test_bad_values(folder, capsys, arguments, words):
    code = stylize("photo.jpg", "--style", "painting.png", *arguments, shallow=False)
    expect_failure(capsys, code, *words)
    assert {p.name for p in folder.iterdir()} == {"photo.jpg", "painting.png"}


def broken(kind: str) -> None:
    """Writes `bad.jpg` or `bad.png`, broken in some way."""
    whole = Path("photo.jpg").read_bytes()
    Image.open("photo.jpg").save("whole.png")
    png = Path("whole.png").read_bytes()
    content = {
        "empty": b"",
        "truncated-jpeg": whole[: len(whole) * 2 // 3],
        "truncated-png": png[: len(png) // 2],
        "text": b"hello",
    }
    Path("whole.png").unlink()
    Path("bad.png" if kind == "truncated-png" else "bad.jpg").write_bytes(content[kind])


@pytest.mark.parametrize("kind", ["empty", "truncated-jpeg", "truncated-png", "text"])
@pytest.mark.parametrize("role", ["content", "style"])
def test_broken_pictures(folder, capsys, kind, role):
    broken(kind)
    bad = "bad.png" if kind == "truncated-png" else "bad.jpg"
    content, style = (bad, "painting.png") if role == "content" else ("photo.jpg", bad)
    expect_failure(capsys, stylize(content, "--style", style), bad)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 5000)])
def test_pictures_too_narrow_for_the_network(folder, capsys, width, height):
    picture("thin.png", width, height)
    code = stylize("thin.png", "--style", "painting.png", "--size", str(height))
    expect_failure(capsys, code, f"1×{height}", "too small")


def test_a_folder_without_pictures(folder, capsys):
    Path("empty").mkdir()
    expect_failure(capsys, stylize("empty", "--style", "painting.png"), "empty", "no pictures")


def test_nothing_named(capsys):
    expect_failure(capsys, main(["stylize", "a.jpg"]), "--style")
    expect_failure(capsys, main(["styelize"]), "did you mean 'stylize'")


def test_weights_of_the_wrong_network(folder, capsys, weights_file):
    code = stylize(
        *["photo.jpg", "--style", "painting.png", "--network", "vgg16"],
        *["--vgg-weights", str(weights_file)],
    )
    expect_failure(capsys, code, "vgg19", "--network vgg19")


def test_no_weights_and_no_network(folder, capsys, monkeypatch):
    monkeypatch.delenv("NSTJAX_ASSETS")
    code = stylize("photo.jpg", "--style", "painting.png")
    expect_failure(capsys, code, "vgg19_weights", "https://", "NSTJAX_ASSETS", "--vgg-weights")


def test_a_full_disk_loses_no_picture(folder, capsys, monkeypatch):
    """The picture cannot be where it should, so it is put where it can be."""
    rescue = folder / "rescue"
    rescue.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(rescue))
    real = os.replace

    def full(source, target):
        if Path(target).parent == folder:
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", full)
    code = stylize("photo.jpg", "--style", "painting.png", "--steps", "1", "--output", "o.webp")
    (rescued,) = rescue.glob("nstjax-*/picture.png")
    expect_failure(capsys, code, "o.webp", "No space left", str(rescued))
    with Image.open(rescued) as image:
        assert (image.format, image.size) == ("PNG", (40, 30))
    assert {p.name for p in folder.iterdir()} == {"photo.jpg", "painting.png", "rescue"}


def test_a_diverging_run_keeps_the_last_good_picture(folder, capsys):
    code = stylize(
        *["photo.jpg", "--style", "painting.png", "--recipe", "keras", "--output", "o.png"],
        *["--learning-rate", "1e30", "--size", "32", "--steps", "9"],
    )
    expect_failure(capsys, code, "step", "o.png", "--learning-rate")
    with Image.open("o.png") as image:
        assert image.height == 32


def test_recipe_list(capsys):
    assert main(["stylize", "--recipe", "list"]) == 0
    out = capsys.readouterr().out
    for words in ("tensorflow", "gatys-code", "keras.io", "jcjohnson/neural-style", "(default)"):
        assert words in out


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("nstjax 0.")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    assert main([command, "--help"]) == 0
    assert f"usage: nstjax {command} " in capsys.readouterr().out


def test_classify(folder, capsys, monkeypatch):
    found = [("daisy", 0.75), ("bee", 0.125)]
    monkeypatch.setattr("nstjax.cli.classify.load_weights", lambda name, **_: name)
    monkeypatch.setattr("nstjax.cli.classify.classify", lambda *_: found)
    assert main(["classify", "photo.jpg"]) == 0
    assert capsys.readouterr().out.splitlines() == [" 75.00%  daisy", " 12.50%  bee"]


def test_classify_needs_the_classifier(folder, capsys, weights_file):
    code = main(["classify", "photo.jpg", "--vgg-weights", str(weights_file)])
    expect_failure(capsys, code, "classifier")


@pytest.mark.skipif(sys.platform == "win32", reason="sends SIGINT")
def test_interrupt_saves_the_picture_so_far(folder):
    script = Path(__file__).parents[1] / "stylize.py"
    command = [sys.executable, str(script), "photo.jpg", "--style", "painting.png"]
    command += ["--steps", "1000000", "--save-every", "1", "--output", "o.png", *SHALLOW]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as run:
        deadline = time.monotonic() + 120
        while not list(Path().glob("o-step*.png")) and time.monotonic() < deadline:
            time.sleep(0.1)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    assert run.returncode == 130
    assert "interrupted" in err.splitlines()[-1]
    assert "o.png" in err.splitlines()[-1]
    assert "Traceback" not in err
    with Image.open("o.png") as image:
        assert image.size == (40, 30)


def test_interrupt_before_the_run(monkeypatch, capsys, folder):
    def interrupted(*_: object, **__: object):
        raise KeyboardInterrupt

    monkeypatch.setattr("nstjax.cli.stylize.load_weights", interrupted)
    assert stylize("photo.jpg", "--style", "painting.png") == 130
    assert capsys.readouterr().err == "nstjax: interrupted\n"
