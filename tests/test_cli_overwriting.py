"""What a run writes never replaces what it reads or what else it writes."""

from pathlib import Path

import pytest
from commands import SHALLOW, expect_failure, picture

from nstjax.cli import main
from nstjax.cli.outputs import Outputs
from nstjax.cli.overwriting import refuse_overwriting
from nstjax.errors import NstjaxError

EVERY_10 = Outputs(picture=Path("out.png"), save_every=10)


def stylize(*arguments: str) -> int:
    return main(["stylize", *arguments, "--style", "painting.png", "--quiet", *SHALLOW])


@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("out-step00010.png", True),
        ("out-step100000.png", True),
        ("out-step00005.png", False),  # of a step that is not kept
        ("out-step00000.png", False),
        ("out-step010.png", False),
        ("out-step00010.jpg", False),
        ("other/out-step00010.png", False),
    ],
)
def test_kept_pictures_replace_no_input(tmp_path, monkeypatch, name, refused):
    monkeypatch.chdir(tmp_path)
    refuse_overwriting([Outputs(picture=Path("out.png"))], [name])
    if not refused:
        refuse_overwriting([EVERY_10], [name])
        return
    with pytest.raises(NstjaxError, match=rf"--save-every.*{name} would overwrite an input"):
        refuse_overwriting([EVERY_10], [name])


def test_links_are_followed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("photo.jpg").touch()
    for name in ("out-step00010.png", "out.png", "h.jsonl"):
        Path(name).symlink_to("photo.jpg")
        with pytest.raises(NstjaxError, match=f"{name} would overwrite"):
            refuse_overwriting(
                [Outputs(picture=Path("out.png"), save_every=10, history=Path("h.jsonl"))],
                ["photo.jpg"],
            )
        Path(name).unlink()


@pytest.mark.parametrize(
    "other",
    [
        Outputs(picture=Path("out-step00010.png")),
        Outputs(picture=Path("o.png"), report=Path("out-step00010.png")),
        Outputs(picture=Path("o.png"), history=Path("out.png")),
        Outputs(picture=Path("o.png"), history=Path("out.png.resume")),
        Outputs(picture=Path("o.png"), history=Path("h"), report=Path("h")),
        Outputs(picture=Path("out.png")),
    ],
)
def test_runs_of_a_batch_replace_nothing_of_each_other(other):
    for runs in ([EVERY_10, other], [other, EVERY_10]):
        with pytest.raises(NstjaxError, match="would overwrite an input or another output"):
            refuse_overwriting(runs, [])
    refuse_overwriting([EVERY_10, Outputs(picture=Path("o.png"))], ["https://example.org/o.png"])


def test_nothing_is_painted_if_anything_would_be_lost(folder, capsys):
    """By the names that several pictures' kept pictures, histories and reports get."""
    start = picture("out-step00002.png", 40, 30).read_bytes()
    options = ["--steps", "2", "--save-every", "1"]
    code = stylize("photo.jpg", *options, "--output", "out.png", "--init", "out-step00002.png")
    expect_failure(capsys, code, "out-step00002.png would overwrite an input")
    assert Path("out-step00002.png").read_bytes() == start
    picture("photo-step00002.jpg", 40, 30)
    both = ["photo.jpg", "photo-step00002.jpg", "--output", "new/"]
    expect_failure(capsys, stylize(*both, *options), "new/photo-step00002.png would overwrite")
    picture("h-photo.jpg", 40, 30)
    both = ["photo.jpg", "h-photo.jpg", "--output", "new/"]
    for option, name in (("--report", "new/h.png"), ("--history", "new/h.png")):
        expect_failure(capsys, stylize(*both, option, name), f"{option} new/h-photo.png would")
    assert not list(Path("new").glob("*"))


def test_a_resumed_name_is_checked_again(folder, capsys):
    """A run goes on with the name that it had, whatever name it would get today."""
    Path("photo-painting.png.resume").write_bytes(b"")
    code = stylize("photo.jpg", "--resume", "--history", "photo-painting.png")
    expect_failure(capsys, code, "--history photo-painting.png would overwrite")
